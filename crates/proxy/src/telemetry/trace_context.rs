//! W3C Trace Context of a request: the client's, where it sends a valid one, else a new one.
//!
//! <https://www.w3.org/TR/trace-context/>. Parsing is strict: an invalid `traceparent` starts a new trace. AWS is sent no
//! trace context: it gets a closed list of headers, which are signed and which clients must not fill.
//!
//! Not here: spans and their export (`otel`).

use std::collections::HashMap;

use http::{HeaderMap, HeaderValue};
use opentelemetry::Context;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceId};
use opentelemetry_sdk::propagation::TraceContextPropagator;

use crate::ids;

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";
/// Response header that names the trace. <https://w3c.github.io/trace-context/#traceresponse-header>
pub(crate) const TRACERESPONSE: &str = "traceresponse";

/// Bytes of a `traceparent` of version 0: `00-` trace id `-` span id `-` flags.
const TRACEPARENT_BYTES: usize = 55;
/// Bytes of `tracestate` that every implementation must pass on; longer ones are dropped.
const MAX_TRACESTATE_BYTES: usize = 512;

/// Trace context of one request. Cheap to clone.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceContext {
    /// Trace the request belongs to.
    pub(crate) trace_id: TraceId,
    /// Span of the request.
    pub(crate) span_id: SpanId,
    /// The client's span, when the client sent a trace context.
    pub(crate) parent: Option<SpanContext>,
}

impl TraceContext {
    /// Parses the trace context of `headers`; starts a new trace when there is none, an invalid one or more than one.
    #[must_use]
    pub fn from_headers(headers: &HeaderMap) -> Self {
        let parent = parse_parent(headers);
        let new_trace = || TraceId::from_bytes(ids::trace_id());
        let trace_id = parent.as_ref().map_or_else(new_trace, SpanContext::trace_id);
        Self { trace_id, span_id: SpanId::from_bytes(ids::span_id()), parent }
    }

    /// Whether the client records this trace.
    #[must_use]
    pub(crate) fn is_sampled(&self) -> bool {
        self.parent.as_ref().is_some_and(SpanContext::is_sampled)
    }

    /// Value of the response header [`TRACERESPONSE`].
    #[must_use]
    pub(crate) fn response_header(&self) -> Option<HeaderValue> {
        let sampled = u8::from(self.is_sampled());
        HeaderValue::from_str(&format!("00-{}-{}-{sampled:02x}", self.trace_id, self.span_id)).ok()
    }
}

/// The client's span, when the headers have one valid `traceparent`.
fn parse_parent(headers: &HeaderMap) -> Option<SpanContext> {
    let mut values = headers.get_all(TRACEPARENT).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let traceparent = value.to_str().ok().filter(|value| is_well_formed(value.as_bytes()))?;
    let mut carrier = HashMap::from([(TRACEPARENT.to_owned(), traceparent.to_owned())]);
    let states: Option<Vec<&str>> =
        headers.get_all(TRACESTATE).iter().map(|value| value.to_str().ok()).collect();
    let state = states.unwrap_or_default().join(",");
    if state.len() <= MAX_TRACESTATE_BYTES {
        carrier.insert(TRACESTATE.to_owned(), state);
    }
    let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &carrier);
    let parent = context.span().span_context().clone();
    parent.is_valid().then_some(parent)
}

/// Whether `value` has the lengths, the lowercase digits and the dashes of a `traceparent`, which the SDK does not require.
/// Later versions may only append.
fn is_well_formed(value: &[u8]) -> bool {
    let Some((head, rest)) = value.split_at_checked(TRACEPARENT_BYTES) else { return false };
    let has_form = head.iter().enumerate().all(|(index, byte)| match index {
        2 | 35 | 52 => *byte == b'-',
        _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
    });
    has_form && (rest.is_empty() || (rest.starts_with(b"-") && !head.starts_with(b"00")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";

    fn parse(pairs: &[(&'static str, &str)]) -> TraceContext {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        TraceContext::from_headers(&headers)
    }

    #[test]
    fn client_trace_is_continued() {
        for (version, flags, rest, sampled) in [
            ("00", "01", "", true),
            ("00", "00", "", false),
            ("00", "ff", "", true),
            ("cc", "01", "-x", true),
        ] {
            let trace = parse(&[("traceparent", &format!("{version}-{TRACE}-{SPAN}-{flags}{rest}"))]);
            let parent = trace.parent.clone().unwrap();
            assert_eq!(
                (trace.trace_id.to_string(), parent.span_id().to_string()),
                (TRACE.to_owned(), SPAN.to_owned())
            );
            assert_eq!((trace.is_sampled(), parent.is_sampled()), (sampled, sampled));
            assert_ne!(trace.span_id, parent.span_id(), "the request is a span of its own");
            let response = trace.response_header().unwrap();
            let expected = format!("00-{TRACE}-{}-0{}", trace.span_id, u8::from(sampled));
            assert_eq!(response.to_str().unwrap(), expected);
        }
    }

    #[test]
    fn invalid_traceparent_starts_a_new_trace() {
        let zeros = ("0".repeat(32), "0".repeat(16));
        let upper = TRACE.to_uppercase();
        for broken in [
            String::new(),
            "00".to_owned(),
            format!("00-{TRACE}-{SPAN}"),
            format!("00-{TRACE}-{SPAN}-01-"),
            format!("00-{TRACE}-{SPAN}-1"),
            format!("cc-{TRACE}-{SPAN}-01x"),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("00-{upper}-{SPAN}-01"),
            format!("00-{}-{SPAN}-01", zeros.0),
            format!("00-{TRACE}-{}-01", zeros.1),
            format!("00_{TRACE}-{SPAN}-01"),
            format!("0x-{TRACE}-{SPAN}-01"),
            format!("00-{TRACE}-{SPAN}-zz"),
        ] {
            let trace = parse(&[("traceparent", &broken)]);
            assert_eq!(trace.parent, None, "{broken}");
            assert!(
                trace.trace_id.to_string() != TRACE
                    && trace.trace_id != TraceId::INVALID
                    && !trace.is_sampled()
            );
        }
        let valid = format!("00-{TRACE}-{SPAN}-01");
        assert_eq!(
            parse(&[("traceparent", &valid), ("traceparent", &valid)]).parent,
            None,
            "more than one is invalid"
        );
    }

    #[test]
    fn valid_tracestate_is_passed_on() {
        let parent = format!("00-{TRACE}-{SPAN}-01");
        let state = |lines: &[&str]| {
            let mut pairs = vec![("traceparent", parent.as_str())];
            pairs.extend(lines.iter().map(|line| ("tracestate", *line)));
            parse(&pairs).parent.unwrap().trace_state().header()
        };
        assert_eq!(state(&["a=1, b=2", "t@v=x y,,"]), "a=1,b=2,t@v=x y");
        let (long, longest) = (format!("a={}", "x".repeat(257)), vec!["a=1"; 200].join(","));
        for broken in ["a", "A=1", "a=b=c", "a=1,b", long.as_str(), longest.as_str()] {
            assert_eq!(state(&[broken]), "", "{broken}");
        }
    }
}
