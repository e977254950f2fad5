//! W3C Trace Context of a request: the client's, where it sends a valid one, else a new one.
//!
//! <https://www.w3.org/TR/trace-context/>. Parsing is strict: an invalid `traceparent` starts a new trace. AWS is sent no
//! trace context: it gets a closed list of headers, which are signed and which clients must not fill.
//!
//! Not here: spans and their export (`otel`).

use std::fmt;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue};

use crate::ids;

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";
/// Response header that names the trace. <https://w3c.github.io/trace-context/#traceresponse-header>
pub(crate) const TRACERESPONSE: &str = "traceresponse";

/// Bytes of a `traceparent` of version 0: `00-` trace id `-` span id `-` flags.
const TRACEPARENT_BYTES: usize = 55;
/// Members of `tracestate` at most. <https://www.w3.org/TR/trace-context/#tracestate-header-field-values>
const MAX_TRACESTATE_MEMBERS: usize = 32;
/// Bytes of `tracestate` that every implementation must pass on; longer ones are dropped.
const MAX_TRACESTATE_BYTES: usize = 512;
const SAMPLED: u8 = 1;

/// Trace id: 16 bytes, never all zero. Displayed in hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TraceId(pub(crate) [u8; 16]);

/// Span id: 8 bytes, never all zero. Displayed in hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SpanId(pub(crate) [u8; 8]);

/// Trace context of one request. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// Trace the request belongs to.
    pub(crate) trace_id: TraceId,
    /// Span of the request.
    pub(crate) span_id: SpanId,
    /// The client's span, when the client sent a trace context.
    pub(crate) parent: Option<ParentSpan>,
}

/// Span of the client, from `traceparent` and `tracestate`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ParentSpan {
    /// Span id.
    pub(crate) span_id: SpanId,
    /// Whether the client records the trace.
    pub(crate) sampled: bool,
    /// `tracestate` to pass on; empty without one, or when it is invalid.
    pub(crate) state: Arc<str>,
}

impl TraceContext {
    /// Parses the trace context of `headers`; starts a new trace when there is none, an invalid one or more than one.
    #[must_use]
    pub fn from_headers(headers: &HeaderMap) -> Self {
        let span_id = SpanId(ids::span_id());
        let mut values = headers.get_all(TRACEPARENT).iter();
        match (values.next().and_then(parse_traceparent), values.next()) {
            (Some((trace_id, parent_id, sampled)), None) => {
                let state = parse_tracestate(headers);
                Self { trace_id, span_id, parent: Some(ParentSpan { span_id: parent_id, sampled, state }) }
            }
            _ => Self { trace_id: TraceId(ids::trace_id()), span_id, parent: None },
        }
    }

    /// Whether the client records this trace.
    #[must_use]
    pub(crate) fn is_sampled(&self) -> bool {
        self.parent.as_ref().is_some_and(|parent| parent.sampled)
    }

    /// Value of the response header [`TRACERESPONSE`].
    #[must_use]
    pub(crate) fn response_header(&self) -> Option<HeaderValue> {
        let sampled = u8::from(self.is_sampled());
        HeaderValue::from_str(&format!("00-{}-{}-{sampled:02x}", self.trace_id, self.span_id)).ok()
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

/// Parses a `traceparent` into trace id, span id of the client, and whether it is sampled.
fn parse_traceparent(value: &HeaderValue) -> Option<(TraceId, SpanId, bool)> {
    let text = value.to_str().ok()?;
    let (version, rest) = (text.get(..2)?, text.get(TRACEPARENT_BYTES..)?);
    let [version] = parse_hex::<1>(version)?;
    // Later versions may only append.
    let is_complete = match version {
        0 => rest.is_empty(),
        0xff => false,
        _ => rest.is_empty() || rest.starts_with('-'),
    };
    let has_dashes = [2, 35, 52].iter().all(|index| text.as_bytes().get(*index) == Some(&b'-'));
    let (trace_id, span_id) = (parse_hex::<16>(text.get(3..35)?)?, parse_hex::<8>(text.get(36..52)?)?);
    let [flags] = parse_hex::<1>(text.get(53..TRACEPARENT_BYTES)?)?;
    let has_ids = trace_id != [0; 16] && span_id != [0; 8];
    (is_complete && has_dashes && has_ids).then_some((
        TraceId(trace_id),
        SpanId(span_id),
        flags & SAMPLED != 0,
    ))
}

/// Parses lowercase hexadecimal digits; the specification allows no uppercase.
fn parse_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |letter: u8| match letter {
        b'0'..=b'9' => Some(letter - b'0'),
        b'a'..=b'f' => Some(letter - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

/// Joins all `tracestate` headers into one value; empty when any member is invalid.
fn parse_tracestate(headers: &HeaderMap) -> Arc<str> {
    let values: Option<Vec<&str>> =
        headers.get_all(TRACESTATE).iter().map(|value| value.to_str().ok()).collect();
    let joined = values.unwrap_or_default().join(",");
    let members: Vec<&str> =
        joined.split(',').map(|member| member.trim_matches([' ', '\t'])).filter(|m| !m.is_empty()).collect();
    let state = members.join(",");
    let is_valid =
        members.len() <= MAX_TRACESTATE_MEMBERS && members.iter().all(|member| is_valid_member(member));
    if is_valid && state.len() <= MAX_TRACESTATE_BYTES { state.into() } else { Arc::default() }
}

fn is_valid_member(member: &str) -> bool {
    let Some((key, value)) = member.split_once('=') else { return false };
    let in_key =
        |letter: u8| letter.is_ascii_lowercase() || letter.is_ascii_digit() || b"_-*/@".contains(&letter);
    let in_value = |letter: u8| matches!(letter, b' '..=b'~') && letter != b'=';
    let has_valid_start =
        key.bytes().next().is_some_and(|first| first.is_ascii_lowercase() || first.is_ascii_digit());
    has_valid_start
        && key.len() <= 256
        && key.bytes().all(in_key)
        && (1..=256).contains(&value.len())
        && value.bytes().all(in_value)
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
                (trace.trace_id.to_string(), parent.span_id.to_string()),
                (TRACE.to_owned(), SPAN.to_owned())
            );
            assert_eq!((trace.is_sampled(), parent.sampled), (sampled, sampled));
            assert_ne!(trace.span_id, parent.span_id, "the request is a span of its own");
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
                trace.trace_id.to_string() != TRACE && trace.trace_id.0 != [0; 16] && !trace.is_sampled()
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
            parse(&pairs).parent.unwrap().state.to_string()
        };
        assert_eq!(state(&["a=1, b=2", "t@v=x y,,"]), "a=1,b=2,t@v=x y");
        let many = vec!["a=1"; 33].join(",");
        let long = format!("a={}", "x".repeat(257));
        for broken in ["a", "A=1", "=1", "a=", "a=b=c", "a=1,b", many.as_str(), long.as_str()] {
            assert_eq!(state(&[broken]), "", "{broken}");
        }
    }
}
