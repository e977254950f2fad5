//! Attribute and metric names of OpenTelemetry's semantic conventions.
//!
//! Those for generative AI are in development and have moved to a repository of their own, with newer names for some
//! attributes; the newer ones are used where `OTEL_SEMCONV_STABILITY_OPT_IN` selects them.
//! <https://github.com/open-telemetry/semantic-conventions-genai>, <https://opentelemetry.io/docs/specs/semconv/http/>

pub(super) const SCOPE: &str = "bedrock-proxy";

pub(super) const METHOD: &str = "http.request.method";
pub(super) const ROUTE: &str = "http.route";
pub(super) const STATUS: &str = "http.response.status_code";
pub(super) const ERROR: &str = "error.type";
pub(super) const SERVER: &str = "server.address";
pub(super) const REGION: &str = "cloud.region";
pub(super) const AWS_REQUEST: &str = "aws.request_id";

pub(super) const OPERATION: &str = "gen_ai.operation.name";
pub(super) const CHAT: &str = "chat";
pub(super) const PROVIDER: &str = "gen_ai.provider.name";
pub(super) const BEDROCK: &str = "aws.bedrock";
pub(super) const REQUEST_MODEL: &str = "gen_ai.request.model";
pub(super) const RESPONSE_MODEL: &str = "gen_ai.response.model";
pub(super) const STREAM: &str = "gen_ai.request.stream";
pub(super) const FINISH: &str = "gen_ai.response.finish_reasons";
pub(super) const FIRST_CHUNK: &str = "gen_ai.response.time_to_first_chunk";
pub(super) const CONVERSATION: &str = "gen_ai.conversation.id";
/// Includes cache reads and cache writes, unlike Anthropic's count.
pub(super) const INPUT: &str = "gen_ai.usage.input_tokens";
pub(super) const OUTPUT: &str = "gen_ai.usage.output_tokens";
pub(super) const CACHE_READ: &str = "gen_ai.usage.cache_read.input_tokens";
pub(super) const CACHE_CREATION: &str = "gen_ai.usage.cache_creation.input_tokens";
pub(super) const CACHE_WRITE: &str = "gen_ai.usage.cache_write.input_tokens";
pub(super) const TOKEN_TYPE: &str = "gen_ai.token.type";

/// Attributes of our own: request id, team, client program, retries and upstream API.
pub(super) const REQUEST_ID: &str = "bedrock_proxy.request_id";
pub(super) const TEAM: &str = "bedrock_proxy.team";
pub(super) const CLIENT: &str = "bedrock_proxy.client";
pub(super) const RETRIES: &str = "bedrock_proxy.retries";
pub(super) const API: &str = "bedrock_proxy.api";

pub(super) const SERVER_DURATION: &str = "http.server.request.duration";
pub(super) const TOKEN_USAGE: &str = "gen_ai.client.token.usage";
pub(super) const DURATION: &str = "gen_ai.client.operation.duration";
pub(super) const TIME_TO_FIRST_CHUNK: &str = "gen_ai.client.operation.time_to_first_chunk";

/// Newest names of the three metrics above.
pub(super) mod newest {
    pub(in crate::telemetry::otel) const DURATION: &str = "gen_ai.client.inference.duration";
    pub(in crate::telemetry::otel) const TIME_TO_FIRST_CHUNK: &str =
        "gen_ai.client.inference.time_to_first_chunk";
    pub(in crate::telemetry::otel) const INPUT: &str = "gen_ai.client.inference.usage.input_tokens";
    pub(in crate::telemetry::otel) const OUTPUT: &str = "gen_ai.client.inference.usage.output_tokens";
    pub(in crate::telemetry::otel) const CACHE_READ: &str =
        "gen_ai.client.inference.usage.cache_read.input_tokens";
    pub(in crate::telemetry::otel) const CACHE_WRITE: &str =
        "gen_ai.client.inference.usage.cache_write.input_tokens";
}
