//! A Bedrock runtime that speaks the real wire: Converse, ConverseStream, InvokeModel (both forms) and CountTokens,
//! with `SigV4` and bearer authentication, AWS's validation texts, and answers chosen by magic words in the prompt.
//!
//! It is no model and no simulation of one: answers are canned. It is also no client library, and it shares no code with
//! any program that is tested against it.
//!
//! # Magic words
//!
//! A word in square brackets in the last user text chooses the answer; case does not matter. `[slow MS]` and `[pause MS]`
//! may stand beside another word. Without one, the answer quotes the prompt, or the tool results of the turn.
//!
//! | Word | Answer |
//! |---|---|
//! | `[tool]`, `[tools]` | one call, two parallel calls, with arguments made from the schema |
//! | `[tool-empty]`, `[toolcut]` | a call without any input delta; arguments cut off by `max_tokens` |
//! | `[thinking]`, `[redacted]` | reasoning (signed for Claude), or redacted reasoning in two parts, then text |
//! | `[xml]` | text with tags that are cut across deltas |
//! | `[long N]`, `[paced N MS]`, `[size N]` | N deltas at once, N deltas MS apart, one delta of N bytes |
//! | `[slow MS]`, `[pause MS]` | silence before the first event, silence in the middle |
//! | `[throttle]`, `[throttle-once]`, `[refuse NAME STATUS]` | an HTTP error: always, once per body, any exception |
//! | `[throttle-first-frame]`, `[throttle-mid]`, `[exception NAME STATUS]` | an exception frame after HTTP 200 |
//! | `[error-frame]`, `[bad-crc]`, `[cut]`, `[cut-before]` | an unmodelled error frame, damage, a dropped connection |
//! | `[no-metadata]`, `[no-stop]` | a stream that ends after `messageStop`, or after some deltas |
//! | `[unknown-event]`, `[empty-first]`, `[index-gap]` | what a reader must bear |
//! | `[stop REASON]`, `[stop-sequence]`, `[max_tokens]` | other stop reasons |
//!
//! The STATUS of `[refuse]` and `[exception]` is the `originalStatusCode` of the two exceptions that have one.

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
