//! A fake Amazon Bedrock for demos, tests and benchmarks.
//!
//! It implements the Converse, ConverseStream, InvokeModel, InvokeModelWithResponseStream, CountTokens and Messages
//! operations, the control plane's lists of models and inference profiles, the Mantle endpoint, and STS
//! GetCallerIdentity. It checks `SigV4` signatures and Bedrock API keys, and rejects invalid requests with AWS's messages.
//!
//! Responses are canned; no model runs. The package shares no code with the programs that are tested against it.
//!
//! # Directives
//!
//! A directive in square brackets in the last user text chooses the response. Case does not matter. `[slow MS]` and
//! `[pause MS]` may stand beside another directive. Without a directive, the response quotes the prompt or the tool
//! results of the turn.
//!
//! | Directive | Response |
//! |---|---|
//! | `[tool]`, `[tool NAME]`, `[tools]` | one tool call, two parallel calls, with arguments generated from the schema |
//! | `[tool NAME COMMAND]` | a call of a tool whose arguments have a `command`, with this command |
//! | `[tools-same-id]`, `[tool-stop REASON]` | two calls with one id, a call that ends with another stop reason |
//! | `[tool-empty]`, `[toolcut]` | a tool call without an input delta; arguments truncated by `max_tokens` |
//! | `[thinking]`, `[redacted]` | thinking (signed for Claude), or redacted thinking in two parts, then text |
//! | `[cite]` | a sentence and a citation for each document or search result with citations enabled |
//! | `[tool-search]` | a search for the first deferred tool and a call of it, or a call of the client's own `ToolSearch` |
//! | `[xml]` | text with tags that are split across deltas |
//! | `[long N]`, `[paced N MS]`, `[size N]` | N deltas at once, N deltas MS apart, one delta of N bytes |
//! | `[slow MS]`, `[pause MS]` | a delay before the first event, a delay in the middle |
//! | `[throttle]`, `[throttle-once]`, `[refuse NAME STATUS]` | an HTTP error: always, once for each body, any exception |
//! | `[throttle-first-frame]`, `[throttle-mid]`, `[exception NAME STATUS]` | an exception frame after HTTP 200 |
//! | `[error-frame]`, `[bad-crc]`, `[cut]`, `[cut-before]` | an unmodelled error frame, a corrupt frame, a dropped connection |
//! | `[chunk-error TYPE]` | the model's own error: in a chunk, as an `error` event, as an error frame |
//! | `[no-metadata]`, `[no-stop]` | a stream that ends after `messageStop`, or after some deltas |
//! | `[unknown-event]`, `[empty-first]`, `[index-gap]` | unusual events that a client must accept |
//! | `[too-long NAME]` | a rejection in one of AWS's wordings for a prompt that is too long; without NAME, the model family's |
//! | `[stop REASON]`, `[stop-sequence]`, `[max_tokens]` | other stop reasons |
//!
//! STATUS is the `originalStatusCode` of `ModelErrorException` and `ModelStreamErrorException`.
//!
//! NAME is one of `prompt`, `prompt-and-max-tokens`, `input`, `input-for-model`, `nova`, `context-length`, `text-bytes`,
//! `titan`, `max-length`.
//!
//! Thinking of newer Claude models is bound to the conversation before it, as with preserved thinking: Fable 5.2 and
//! Mythos 5.2 reject a block whose conversation was changed, the others ignore it, and the log counts it.
//!
//! Without a directive, structured output is supported: the response is JSON that satisfies the schema. Thinking has no
//! text where `thinking.display` is `omitted`, explicitly or by the model's default.

mod anthropic;
mod arguments;
mod auth;
mod binding;
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
mod safeguards;
mod script;
mod scripted_body;
mod server;
mod signatures;
mod sse;
mod state;
mod sts;
mod tokens;
mod validate;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

pub use log::{BilledUsage, Log, RecordedRequest};
pub use safeguards::Safeguards;
pub use server::FakeBedrock;

/// Configuration of a fake.
#[derive(Clone, Debug)]
pub struct Config {
    /// Region of the endpoint, of signatures and of inference profiles.
    pub region: String,
    /// Valid access key id.
    pub access_key: String,
    /// Secret access key.
    pub secret_key: String,
    /// Session token that signed requests must contain and sign; `None` rejects requests with one.
    pub session_token: Option<String>,
    /// Valid Bedrock API key; `None` rejects every API key.
    pub bearer_token: Option<String>,
    /// Application inference profiles: ARN, and the id of the model or system-defined profile.
    pub application_profiles: BTreeMap<String, String>,
    /// Whether to serve bedrock-mantle (the Messages API with foundation model ids) instead of bedrock-runtime.
    pub mantle: bool,
    /// Ids of the foundation models that the account has no access to.
    pub denied_models: BTreeSet<String>,
    /// Clock skew in seconds; positive values are ahead of the machine's clock.
    pub clock_skew: i64,
    /// What InvokeModel and the Messages API do with the `safeguards` of a request.
    pub safeguards: Safeguards,
    /// Directory of `*.json` fixtures, which take precedence over directives.
    pub fixtures: Option<PathBuf>,
    /// Delay between the deltas of default responses; zero sends them as fast as possible.
    pub pace: Duration,
    /// Whether the log contains the request bodies.
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
            safeguards: Safeguards::Judged,
            fixtures: None,
            pace: Duration::ZERO,
            record_bodies: true,
        }
    }
}
