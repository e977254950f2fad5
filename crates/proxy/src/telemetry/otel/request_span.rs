//! Input of the spans and the OpenTelemetry metrics of a request. It holds facts and counts; there is no field for
//! content.

use std::time::{Duration, SystemTime};

use http::Method;
use protocol::anthropic::Usage;
use tokio::time::Instant;

use crate::telemetry::record::{RequestRecord, UpstreamRecord};
use crate::telemetry::trace_context::TraceContext;

/// Complete request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestSpan<'a> {
    /// Trace context of the request.
    pub(crate) trace: &'a TraceContext,
    /// Id of the request, as logged.
    pub(crate) request_id: &'a str,
    /// HTTP method, if it is a standard one, else `_OTHER`.
    pub(crate) method: &'static str,
    /// Route; `None` when none matches.
    pub(crate) route: Option<&'a str>,
    /// Status of the response.
    pub(crate) status: Option<u16>,
    /// Client program, out of a closed list.
    pub(crate) client: &'static str,
    /// Team of the caller.
    pub(crate) team: Option<&'a str>,
    /// Error type, or the outcome of a request that did not finish.
    pub(crate) error: Option<&'static str>,
    /// When the request arrived.
    pub(crate) started_at: SystemTime,
    /// When the request was complete.
    pub(crate) ended_at: SystemTime,
    /// Bedrock's part, if anything was sent to a model.
    pub(crate) upstream: Option<UpstreamSpan<'a>>,
}

/// Bedrock's part of a request, all attempts together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UpstreamSpan<'a> {
    /// Model that the client requested.
    pub(crate) requested_model: &'a str,
    /// Foundation model, out of a bounded list.
    pub(crate) model: &'a str,
    /// Region, out of a bounded list.
    pub(crate) region: &'a str,
    /// Host.
    pub(crate) host: &'a str,
    /// Upstream API: `converse`, `invoke` or `messages`.
    pub(crate) upstream_api: &'static str,
    /// Whether the client requested a stream.
    pub(crate) streamed: bool,
    /// Session id of the client program.
    pub(crate) session_id: Option<&'a str>,
    /// Stop reason.
    pub(crate) stop_reason: Option<&'a str>,
    /// Outcome: `ok`, or the reason why not.
    pub(crate) outcome: &'static str,
    /// `x-amzn-requestid`.
    pub(crate) aws_request_id: Option<&'a str>,
    /// Sends after a backoff.
    pub(crate) retries: u32,
    /// Usage that Bedrock reported.
    pub(crate) usage: Option<Usage>,
    /// From the first attempt to the first event.
    pub(crate) time_to_first_chunk: Option<Duration>,
    /// When the first attempt was sent.
    pub(crate) started_at: SystemTime,
    /// When the response ended.
    pub(crate) ended_at: SystemTime,
}

impl<'a> RequestSpan<'a> {
    /// Creates the input from a record that is complete at `now`; `labels` are the bounded model and Region.
    pub(super) fn from_record(
        record: &'a RequestRecord,
        labels: Option<(&'a str, &'a str)>,
        now: SystemTime,
    ) -> Self {
        let head = &*record.head;
        let instant = Instant::now();
        let at = |then: Instant| now - instant.saturating_duration_since(then);
        let outcome = record.outcome();
        let upstream = record.upstream.as_ref().zip(labels);
        Self {
            trace: &head.trace,
            request_id: head.request_id.as_str(),
            method: method(&head.method),
            route: head.route.as_deref(),
            status: record.status.map(|status| status.as_u16()),
            client: head.user_agent.name,
            team: record.team.as_deref(),
            error: record
                .error
                .as_ref()
                .map(|error| error.kind)
                .or((outcome != "finished").then_some(outcome)),
            started_at: at(head.started_at),
            ended_at: now,
            upstream: upstream
                .and_then(|(upstream, labels)| UpstreamSpan::new(record, upstream, labels, at, now)),
        }
    }
}

impl<'a> UpstreamSpan<'a> {
    fn new(
        record: &'a RequestRecord,
        upstream: &'a UpstreamRecord,
        (model, region): (&'a str, &'a str),
        at: impl Fn(Instant) -> SystemTime,
        now: SystemTime,
    ) -> Option<Self> {
        let started_at = upstream.started_at?;
        let since_start = |then: Instant| then.saturating_duration_since(started_at);
        Some(Self {
            requested_model: record.requested_model.as_deref().unwrap_or(model),
            model,
            region,
            host: &upstream.host,
            upstream_api: upstream.upstream_api.unwrap_or("other"),
            streamed: record.streamed.unwrap_or(false),
            session_id: record.head.session_id.as_deref(),
            stop_reason: upstream.stop_reason.as_deref(),
            outcome: upstream.final_outcome()?,
            aws_request_id: upstream.aws_request_id(),
            retries: upstream.retries,
            usage: upstream.usage,
            time_to_first_chunk: upstream.first_token_at.map(since_start),
            started_at: at(started_at),
            ended_at: upstream.ended_at.map_or(now, at),
        })
    }

    /// Duration of all attempts together.
    pub(super) fn duration(&self) -> Duration {
        self.ended_at.duration_since(self.started_at).unwrap_or_default()
    }

    /// Reason of a failure.
    pub(super) fn error(&self) -> Option<&'static str> {
        (self.outcome != "ok").then_some(self.outcome)
    }
}

/// All tokens of a prompt: Anthropic counts those of the cache apart, OpenTelemetry's conventions include them.
pub(super) fn prompt_tokens(usage: &Usage) -> u64 {
    let cached = usage.cache_read_input_tokens.saturating_add(usage.cache_creation_input_tokens);
    usage.input_tokens.saturating_add(cached)
}

/// Method of the request, if it is a standard one.
/// <https://opentelemetry.io/docs/specs/semconv/http/http-spans/#common-attributes>
fn method(method: &Method) -> &'static str {
    const STANDARD: [&str; 7] = ["GET", "POST", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE"];
    STANDARD.into_iter().find(|standard| *standard == method.as_str()).unwrap_or("_OTHER")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::record::ErrorRecord;
    use crate::telemetry::record::tests::{record, upstream};

    #[tokio::test(start_paused = true)]
    async fn spans_have_the_times_of_the_record() {
        let second = Duration::from_secs(1);
        let mut record = record();
        let started_at = record.head.started_at;
        tokio::time::advance(9 * second).await;
        record.response_sent = true;
        record.requested_model = Some("sonnet".to_owned());
        record.upstream = Some(UpstreamRecord {
            started_at: Some(started_at + second),
            first_token_at: Some(started_at + 3 * second),
            ended_at: Some(started_at + 8 * second),
            ..upstream(&["throttled", "ok"])
        });
        let now = SystemTime::UNIX_EPOCH + 100 * second;
        let span = RequestSpan::from_record(&record, Some(("m", "r")), now);
        assert_eq!((span.started_at, span.ended_at, span.error), (now - 9 * second, now, None));
        let upstream = span.upstream.unwrap();
        assert_eq!((upstream.requested_model, upstream.model, upstream.region), ("sonnet", "m", "r"));
        assert_eq!((upstream.started_at, upstream.ended_at), (now - 8 * second, now - second));
        assert_eq!(upstream.time_to_first_chunk, Some(2 * second));
        assert_eq!((upstream.outcome, upstream.error()), ("ok", None));
    }

    #[test]
    fn error_is_the_type_sent_or_the_outcome() {
        let now = SystemTime::UNIX_EPOCH;
        let mut record = record();
        assert_eq!(RequestSpan::from_record(&record, None, now).error, Some("cancelled"));
        record.error = Some(ErrorRecord { kind: "api_error", class: "upstream", code: None, path: None });
        let span = RequestSpan::from_record(&record, None, now);
        assert_eq!(span.error, Some("api_error"));
        assert!(span.upstream.is_none());
    }

    #[test]
    fn a_call_without_a_model_has_no_span() {
        let mut record = record();
        record.upstream = Some(UpstreamRecord { started_at: None, ..upstream(&["ok"]) });
        let span = RequestSpan::from_record(&record, Some(("m", "r")), SystemTime::UNIX_EPOCH);
        assert!(span.upstream.is_none());
    }
}
