//! The spans of a request: the server's, and under it that of the question to Bedrock.

use std::str::FromStr;
use std::time::SystemTime;

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{Array, InstrumentationScope, KeyValue, StringValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use super::attributes as names;
use super::request_span::{Call, Told, prompt};
use crate::ids;
use crate::telemetry::trace_context;

/// What the spans of one request share.
pub(super) struct Frame {
    pub(super) scope: InstrumentationScope,
    /// Whether the newest names are used.
    pub(super) newest: bool,
}

impl Frame {
    /// The spans of a request that is over.
    pub(super) fn spans(&self, told: &Told<'_>) -> Vec<SpanData> {
        let mut spans = vec![self.server(told)];
        spans.extend(told.call.as_ref().map(|call| self.client(told, call)));
        spans
    }

    fn server(&self, told: &Told<'_>) -> SpanData {
        let mut attributes = vec![
            KeyValue::new(names::METHOD, told.method),
            KeyValue::new(names::REQUEST_ID, told.request_id.to_owned()),
            KeyValue::new(names::CLIENT, told.client),
        ];
        attributes.extend(told.route.map(|route| KeyValue::new(names::ROUTE, route.to_owned())));
        attributes.extend(told.team.map(|team| KeyValue::new(names::TEAM, team.to_owned())));
        attributes.extend(told.status.map(|status| KeyValue::new(names::STATUS, i64::from(status))));
        attributes.extend(told.error.map(|error| KeyValue::new(names::ERROR, error)));
        let parent = told.trace.parent.as_ref();
        // What the client got wrong is no failure of the server's.
        let failed = told.status.is_none_or(|status| status >= 500);
        SpanData {
            span_context: context(told.trace, told.trace.span.0),
            parent_span_id: parent.map_or(SpanId::INVALID, |parent| SpanId::from_bytes(parent.span.0)),
            parent_span_is_remote: parent.is_some(),
            span_kind: SpanKind::Server,
            name: [Some(told.method), told.route].into_iter().flatten().collect::<Vec<_>>().join(" ").into(),
            attributes,
            status: status(failed.then(|| told.error.unwrap_or("cancelled"))),
            ..self.blank(told.time)
        }
    }

    fn client(&self, told: &Told<'_>, call: &Call<'_>) -> SpanData {
        let mut attributes = vec![
            KeyValue::new(names::OPERATION, names::CHAT),
            KeyValue::new(names::PROVIDER, names::BEDROCK),
            KeyValue::new(names::REQUEST_MODEL, call.requested.to_owned()),
            KeyValue::new(names::RESPONSE_MODEL, call.model.to_owned()),
            KeyValue::new(names::STREAM, call.stream),
            KeyValue::new(names::SERVER, call.host.to_owned()),
            KeyValue::new(names::REGION, call.region.to_owned()),
            KeyValue::new(names::API, call.api),
            KeyValue::new(names::RETRIES, i64::from(call.retries)),
        ];
        let words = [(names::CONVERSATION, call.session), (names::AWS_REQUEST, call.aws_request_id)];
        for (name, word) in words {
            attributes.extend(word.map(|word| KeyValue::new(name, word.to_owned())));
        }
        attributes.extend(call.stop.map(|stop| {
            let reasons = vec![StringValue::from(stop.to_owned())];
            KeyValue::new(names::FINISH, Value::Array(Array::String(reasons)))
        }));
        attributes.extend(call.first_chunk.map(|took| KeyValue::new(names::FIRST_CHUNK, took.as_secs_f64())));
        attributes.extend(call.failure().map(|failure| KeyValue::new(names::ERROR, failure)));
        attributes.extend(self.usage(call));
        SpanData {
            span_context: context(told.trace, ids::span_id()),
            parent_span_id: SpanId::from_bytes(told.trace.span.0),
            span_kind: SpanKind::Client,
            name: format!("{} {}", names::CHAT, call.requested).into(),
            attributes,
            status: status(call.failure()),
            ..self.blank(call.time)
        }
    }

    fn usage(&self, call: &Call<'_>) -> Vec<KeyValue> {
        let Some(usage) = &call.usage else { return Vec::new() };
        let written = if self.newest { names::CACHE_WRITE } else { names::CACHE_CREATION };
        let counts = [
            (names::INPUT, prompt(usage)),
            (names::OUTPUT, usage.output_tokens),
            (names::CACHE_READ, usage.cache_read_input_tokens),
            (written, usage.cache_creation_input_tokens),
        ];
        counts.map(|(name, count)| KeyValue::new(name, i64::try_from(count).unwrap_or(i64::MAX))).to_vec()
    }

    /// A span of which nothing is known but the time.
    fn blank(&self, (start_time, end_time): (SystemTime, SystemTime)) -> SpanData {
        SpanData {
            span_context: SpanContext::NONE,
            parent_span_id: SpanId::INVALID,
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            name: "".into(),
            start_time,
            end_time,
            attributes: Vec::new(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: self.scope.clone(),
        }
    }
}

fn context(trace: &trace_context::Trace, span: [u8; 8]) -> SpanContext {
    let state = trace.parent.as_ref().and_then(|parent| TraceState::from_str(&parent.state).ok());
    SpanContext::new(
        TraceId::from_bytes(trace.id.0),
        SpanId::from_bytes(span),
        TraceFlags::SAMPLED,
        false,
        state.unwrap_or_default(),
    )
}

fn status(failure: Option<&'static str>) -> Status {
    failure.map_or(Status::Unset, Status::error)
}
