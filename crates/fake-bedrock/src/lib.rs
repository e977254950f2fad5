//! A Bedrock that speaks the real wire: Converse, ConverseStream, InvokeModel (both forms), CountTokens and the runtime's
//! own Messages route, the control plane's lists of models and profiles, the Mantle endpoint, and who the caller is by STS; with `SigV4` and key
//! authentication, AWS's validation texts, and answers chosen by magic words in the prompt.
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
//! | `[tool]`, `[tool NAME]`, `[tools]` | one call, two parallel calls, with arguments made from the schema |
//! | `[tool-empty]`, `[toolcut]` | a call without any input delta; arguments cut off by `max_tokens` |
//! | `[thinking]`, `[redacted]` | reasoning (signed for Claude), or redacted reasoning in two parts, then text |
//! | `[cite]` | a sentence and a citation for each document or search result that may be cited |
//! | `[tool-search]` | a search for the first deferred tool and a call of it, or a call of the caller's own `ToolSearch` |
//! | `[xml]` | text with tags that are cut across deltas |
//! | `[long N]`, `[paced N MS]`, `[size N]` | N deltas at once, N deltas MS apart, one delta of N bytes |
//! | `[slow MS]`, `[pause MS]` | silence before the first event, silence in the middle |
//! | `[throttle]`, `[throttle-once]`, `[refuse NAME STATUS]` | an HTTP error: always, once per body, any exception |
//! | `[throttle-first-frame]`, `[throttle-mid]`, `[exception NAME STATUS]` | an exception frame after HTTP 200 |
//! | `[error-frame]`, `[bad-crc]`, `[cut]`, `[cut-before]` | an unmodelled error frame, damage, a dropped connection |
//! | `[chunk-error TYPE]` | an error object of the model's own: in a chunk, as an `error` event, as an error frame |
//! | `[no-metadata]`, `[no-stop]` | a stream that ends after `messageStop`, or after some deltas |
//! | `[unknown-event]`, `[empty-first]`, `[index-gap]` | what a reader must bear |
//! | `[stop REASON]`, `[stop-sequence]`, `[max_tokens]` | other stop reasons |
//!
//! Without a magic word, a wanted output format is kept: the answer is JSON that satisfies the schema. Thinking comes
//! without its text where `thinking.display` is, or is by default, `omitted`.
//!
//! The STATUS of `[refuse]` and `[exception]` is the `originalStatusCode` of the two exceptions that have one.

mod anthropic;
mod arguments;
mod auth;
mod control;
mod converse;
mod directives;
mod error;
mod fixtures;
mod frame;
mod handler;
mod invoke;
mod log;
mod mantle;
mod models;
mod response_metadata;
mod routes;
mod script;
mod scripted_body;
mod server;
mod signatures;
mod sse;
mod sts;
mod tokens;
mod validate;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

pub use log::{Log, RecordedRequest, Usage};
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
    /// The account's own inference profiles: their ARNs, and the model or system profile behind each.
    pub application_profiles: BTreeMap<String, String>,
    /// Whether this is the Mantle endpoint: the Messages routes with bare ids and a service name of their own, and nothing
    /// of the runtime.
    pub mantle: bool,
    /// The ids of foundation models that the account may not use.
    pub denied_models: BTreeSet<String>,
    /// How many seconds its clock is ahead of the machine's.
    pub clock_skew: i64,
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
            application_profiles: BTreeMap::from([(
                "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123".into(),
                "us.anthropic.claude-sonnet-4-5-20250929-v1:0".into(),
            )]),
            mantle: false,
            denied_models: BTreeSet::new(),
            clock_skew: 0,
            fixtures: None,
            pace: Duration::ZERO,
            record_bodies: true,
        }
    }
}
