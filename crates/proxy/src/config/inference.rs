//! Inference: the upstream API, options of the translation, timeouts and limits of one request.

use std::time::Duration;

use protocol::translate::TranslationOptions;
use serde::Deserialize;

use protocol::apis::UpstreamApi;

use super::env::EnvReader;

/// Which upstream APIs a request may use: `auto`, `converse`, `invoke` or `messages`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) enum UpstreamPolicy {
    /// Converse, and InvokeModel for requests to Claude models that Converse cannot carry.
    Auto,
    /// One API for the models that have it. The Messages API needs a model id, so Claude models known by ARN only use
    /// InvokeModel; other models have only Converse.
    Only(UpstreamApi),
}

const UPSTREAM_POLICIES: [(&str, UpstreamPolicy); 4] = [
    ("auto", UpstreamPolicy::Auto),
    ("converse", UpstreamPolicy::Only(UpstreamApi::Converse)),
    ("invoke", UpstreamPolicy::Only(UpstreamApi::InvokeModel)),
    ("messages", UpstreamPolicy::Only(UpstreamApi::Messages)),
];

impl TryFrom<String> for UpstreamPolicy {
    type Error = &'static str;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        let found = UPSTREAM_POLICIES.into_iter().find(|(word, _)| *word == name);
        found.map(|(_, policy)| policy).ok_or("use auto, converse, invoke or messages")
    }
}

/// Upstream API, options, timeouts and limits of one request.
#[derive(Clone, Debug)]
pub struct InferenceConfig {
    /// `AWS_BEDROCK_ROUTE`.
    pub(crate) upstream_policy: UpstreamPolicy,
    /// Options of the translation: `AWS_BEDROCK_MAX_TOKENS`, `AWS_BEDROCK_ENABLE_OUTPUT_REASON` with
    /// `AWS_BEDROCK_REASON_BUDGET_TOKENS`, `AWS_BEDROCK_ENABLE_COMPUTER_USE`, `AWS_BEDROCK_STRICT`.
    pub(crate) options: TranslationOptions,
    /// `AWS_BEDROCK_AUTO_CACHE`: set cache points for clients of the chat-completions API, which set none.
    pub(crate) auto_cache: bool,
    /// `AWS_BEDROCK_XML_BUFFER`: never cut an XML-like tag between two deltas.
    pub(crate) xml_buffer: bool,
    /// `AWS_BEDROCK_ENABLE_S3_LOCATIONS`: let clients of the Bedrock API name objects that Bedrock reads from S3.
    pub(crate) s3_locations: bool,
    /// `REQUEST_TIMEOUT_SECONDS`: limit for a whole request that is not streamed.
    pub request_timeout: Duration,
    /// `STREAM_IDLE_TIMEOUT_SECONDS`: longest time without bytes from Bedrock.
    pub idle_timeout: Duration,
    /// Longest time without bytes to the client.
    pub ping_interval: Duration,
    /// How long a detached read goes on after its client left, to learn the usage.
    pub detached_read_timeout: Duration,
    /// Concurrent detached reads; the usage of further ones is estimated.
    pub max_detached_reads: usize,
    /// How long the response head waits for the first event.
    pub max_head_delay: Duration,
}

/// A quarter of the 60 s after which AWS load balancers close an idle connection.
const PING_INTERVAL: Duration = Duration::from_secs(15);
/// As long as a request that is not streamed.
const DETACHED_READ_TIMEOUT: Duration = Duration::from_secs(300);
/// Bounds the upstream connections without a client.
const MAX_DETACHED_READS: usize = 256;
/// Throttling and validation errors arrive within seconds, so that they become HTTP errors.
const MAX_HEAD_DELAY: Duration = Duration::from_secs(10);

pub(super) fn inference(env: &mut EnvReader<'_>) -> InferenceConfig {
    InferenceConfig {
        upstream_policy: env.choice("AWS_BEDROCK_ROUTE", UPSTREAM_POLICIES),
        options: options(env),
        auto_cache: env.boolean("AWS_BEDROCK_AUTO_CACHE"),
        xml_buffer: env.boolean("AWS_BEDROCK_XML_BUFFER"),
        s3_locations: env.boolean("AWS_BEDROCK_ENABLE_S3_LOCATIONS"),
        // Less than the 10 minutes after which Anthropic's SDKs time out, so that clients receive the error.
        request_timeout: env.seconds("REQUEST_TIMEOUT_SECONDS"),
        // The default timeout of Anthropic's SDKs: a model may think for minutes without an event.
        idle_timeout: env.seconds("STREAM_IDLE_TIMEOUT_SECONDS"),
        ping_interval: PING_INTERVAL,
        detached_read_timeout: DETACHED_READ_TIMEOUT,
        max_detached_reads: MAX_DETACHED_READS,
        max_head_delay: MAX_HEAD_DELAY,
    }
}

fn options(env: &mut EnvReader<'_>) -> TranslationOptions {
    let thinking = env.boolean("AWS_BEDROCK_ENABLE_OUTPUT_REASON");
    // 1,024 tokens are the minimum of the Messages API.
    let budget = env.number("AWS_BEDROCK_REASON_BUDGET_TOKENS");
    TranslationOptions {
        // Within the output limit of all Claude models since 3.5.
        default_max_tokens: env.number("AWS_BEDROCK_MAX_TOKENS"),
        default_thinking_budget: thinking.then_some(budget),
        computer_use: env.boolean("AWS_BEDROCK_ENABLE_COMPUTER_USE"),
        strict: env.boolean("AWS_BEDROCK_STRICT"),
        converse_only: false,
    }
}
