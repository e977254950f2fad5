//! What is told about a request: facts and counts, and nothing of what was said in it. There is no field for that, so it
//! cannot be built by oversight.

use std::time::{Duration, SystemTime};

use protocol::anthropic::Usage;

use crate::telemetry::trace_context::Trace;

/// A request that is over.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    /// Its place in a trace.
    pub trace: &'a Trace,
    /// What the log calls it.
    pub request_id: &'a str,
    /// Its method, if that is a known one, else `_OTHER`.
    pub method: &'static str,
    /// The template of its path; `None` when there is no such path.
    pub route: Option<&'a str>,
    /// The status that was sent.
    pub status: Option<u16>,
    /// The program that asked, out of a closed list.
    pub client: &'static str,
    /// Who pays.
    pub team: Option<&'a str>,
    /// The kind of error that was sent.
    pub error: Option<&'static str>,
    /// From when to when.
    pub time: (SystemTime, SystemTime),
    /// What was asked of Bedrock, if anything.
    pub call: Option<Call<'a>>,
}

/// What was asked of Bedrock, all attempts together.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// What the client called the model.
    pub requested: &'a str,
    /// The foundation model, out of a bounded list.
    pub model: &'a str,
    /// Where.
    pub region: &'a str,
    /// The host.
    pub host: &'a str,
    /// `converse`, `invoke` or `messages`.
    pub api: &'static str,
    /// Whether the client asked for a stream.
    pub stream: bool,
    /// The client's session.
    pub session: Option<&'a str>,
    /// Why the model stopped.
    pub stop: Option<&'a str>,
    /// What became of it: `ok`, or why not.
    pub outcome: &'static str,
    /// `x-amzn-requestid`.
    pub aws_request_id: Option<&'a str>,
    /// How often Bedrock was asked again.
    pub retries: u32,
    /// What Bedrock counted.
    pub usage: Option<Usage>,
    /// From the question to the first word.
    pub first_chunk: Option<Duration>,
    /// From when to when.
    pub time: (SystemTime, SystemTime),
}

impl Call<'_> {
    /// How long it took.
    pub(super) fn took(&self) -> Duration {
        self.time.1.duration_since(self.time.0).unwrap_or_default()
    }

    /// Why it failed, if it did.
    pub(super) fn failure(&self) -> Option<&'static str> {
        (self.outcome != "ok").then_some(self.outcome)
    }
}

/// All tokens of a prompt: Anthropic counts those of the cache apart.
pub(super) fn prompt(usage: &Usage) -> u64 {
    let cached = usage.cache_read_input_tokens.saturating_add(usage.cache_creation_input_tokens);
    usage.input_tokens.saturating_add(cached)
}
