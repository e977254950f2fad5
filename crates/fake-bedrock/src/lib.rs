//! A Bedrock runtime that speaks the real wire: Converse, ConverseStream, InvokeModel (both forms) and CountTokens,
//! with `SigV4` and bearer authentication, AWS's validation texts, and answers chosen by magic words in the prompt.
//!
//! It is no model and no simulation of one: answers are canned. It is also no client library, and it shares no code with
//! any program that is tested against it.

mod arguments;
mod auth;
mod converse;
mod error;
mod fixtures;
mod frame;
mod invoke;
mod issued;
mod log;
mod models;
mod prompts;
mod script;
mod server;
mod stream;
mod tokens;
mod validate;

use std::path::PathBuf;
use std::time::Duration;

pub use log::{Log, Recorded, Usage};
pub use server::FakeBedrock;

/// Whom the fake lets in, and how it answers.
#[derive(Clone, Debug)]
pub struct Config {
    /// The region that signatures must name and that inference profiles must serve.
    pub region: String,
    /// The one access key id that is known.
    pub access_key: String,
    /// Its secret.
    pub secret_key: String,
    /// When set, signed requests must carry (and sign) this session token; when not, they must carry none.
    pub session_token: Option<String>,
    /// The one Bedrock API key that is known; without it every bearer request is refused.
    pub bearer_token: Option<String>,
    /// A directory of `*.json` scripts that take precedence over the magic words.
    pub fixtures: Option<PathBuf>,
    /// Silence between the deltas of ordinary answers; zero sends them as fast as possible.
    pub pace: Duration,
    /// Whether the log keeps the bodies of the requests.
    pub record_bodies: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            region: "us-east-1".into(),
            access_key: "AKIDEXAMPLE".into(),
            secret_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into(),
            session_token: None,
            bearer_token: Some("bedrock-api-key-example".into()),
            fixtures: None,
            pace: Duration::ZERO,
            record_bodies: true,
        }
    }
}
