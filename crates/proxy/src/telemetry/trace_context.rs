//! Which trace a request belongs to: the caller's, when it names one, else a new one.
//!
//! <https://www.w3.org/TR/trace-context/>. Read strictly: what is not exactly a trace is none, and a new one starts.
//! AWS is sent no trace: it gets a closed list of headers, which are signed and which strangers must not fill.
//!
//! Not here: spans and where they are sent (`otel`).

use std::fmt;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue};

use crate::ids;

const PARENT: &str = "traceparent";
const STATE: &str = "tracestate";
/// The name of a trace in an answer. <https://w3c.github.io/trace-context/#traceresponse-header>
pub const RESPONSE: &str = "traceresponse";

/// How long a parent of version 0 is: the version, two ids, the flags, and what stands between them.
const LENGTH: usize = 55;
/// The most members of a state, and the most letters of all of them that are handed on.
const MOST_MEMBERS: usize = 32;
const LONGEST_STATE: usize = 512;
const SAMPLED: u8 = 1;

/// A trace: 16 bytes, never all zero. Printed in hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceId(pub [u8; 16]);

/// A part of a trace: 8 bytes, never all zero. Printed in hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanId(pub [u8; 8]);

/// One request's place in a trace. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// The trace.
    pub id: TraceId,
    /// This request in it.
    pub span: SpanId,
    /// Whose part this request is, when a caller named a trace.
    pub parent: Option<Parent>,
}

/// What the caller said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parent {
    /// The caller's own part.
    pub span: SpanId,
    /// Whether the caller records the trace.
    pub sampled: bool,
    /// `tracestate`, to be handed on; empty without one, or when it is not valid.
    pub state: Arc<str>,
}

impl Trace {
    /// The trace that `headers` name, or a new one.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let span = SpanId(ids::span_id());
        let mut parents = headers.get_all(PARENT).iter();
        match (parents.next().and_then(parent), parents.next()) {
            (Some((id, parent, sampled)), None) => {
                Self { id, span, parent: Some(Parent { span: parent, sampled, state: state(headers) }) }
            }
            _ => Self { id: TraceId(ids::trace_id()), span, parent: None },
        }
    }

    /// Whether the caller asks for this trace to be recorded.
    #[must_use]
    pub fn sampled(&self) -> bool {
        self.parent.as_ref().is_some_and(|parent| parent.sampled)
    }

    /// The value of [`RESPONSE`].
    #[must_use]
    pub fn response(&self) -> Option<HeaderValue> {
        HeaderValue::from_str(&format!("00-{}-{}-{:02x}", self.id, self.span, u8::from(self.sampled()))).ok()
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

/// The trace, the caller's part and whether it is recorded.
fn parent(value: &HeaderValue) -> Option<(TraceId, SpanId, bool)> {
    let text = value.to_str().ok()?;
    let (version, rest) = (text.get(..2)?, text.get(LENGTH..)?);
    let [version] = bytes::<1>(version)?;
    // Later versions may add to the end, and nothing else.
    let fits = match version {
        0 => rest.is_empty(),
        0xff => false,
        _ => rest.is_empty() || rest.starts_with('-'),
    };
    let dashes = [2, 35, 52].iter().all(|place| text.as_bytes().get(*place) == Some(&b'-'));
    let (id, span) = (bytes::<16>(text.get(3..35)?)?, bytes::<8>(text.get(36..52)?)?);
    let [flags] = bytes::<1>(text.get(53..LENGTH)?)?;
    let named = id != [0; 16] && span != [0; 8];
    (fits && dashes && named).then_some((TraceId(id), SpanId(span), flags & SAMPLED != 0))
}

/// Hexadecimal in small letters.
fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
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

/// All `tracestate` headers as one, or nothing when any member is not valid.
fn state(headers: &HeaderMap) -> Arc<str> {
    let lines: Option<Vec<&str>> = headers.get_all(STATE).iter().map(|value| value.to_str().ok()).collect();
    let joined = lines.unwrap_or_default().join(",");
    let members: Vec<&str> =
        joined.split(',').map(|member| member.trim_matches([' ', '\t'])).filter(|m| !m.is_empty()).collect();
    let state = members.join(",");
    let valid = members.len() <= MOST_MEMBERS && members.iter().all(|member| is_member(member));
    if valid && state.len() <= LONGEST_STATE { state.into() } else { Arc::default() }
}

fn is_member(member: &str) -> bool {
    let Some((key, value)) = member.split_once('=') else { return false };
    let in_key =
        |letter: u8| letter.is_ascii_lowercase() || letter.is_ascii_digit() || b"_-*/@".contains(&letter);
    let in_value = |letter: u8| matches!(letter, b' '..=b'~') && letter != b'=';
    let begins = key.bytes().next().is_some_and(|first| first.is_ascii_lowercase() || first.is_ascii_digit());
    begins
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

    fn of(pairs: &[(&'static str, &str)]) -> Trace {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        Trace::of(&headers)
    }

    #[test]
    fn the_callers_trace_is_continued() {
        for (version, flags, rest, sampled) in [
            ("00", "01", "", true),
            ("00", "00", "", false),
            ("00", "ff", "", true),
            ("cc", "01", "-x", true),
        ] {
            let trace = of(&[("traceparent", &format!("{version}-{TRACE}-{SPAN}-{flags}{rest}"))]);
            let parent = trace.parent.clone().unwrap();
            assert_eq!((trace.id.to_string(), parent.span.to_string()), (TRACE.to_owned(), SPAN.to_owned()));
            assert_eq!((trace.sampled(), parent.sampled), (sampled, sampled));
            assert_ne!(trace.span, parent.span, "this request is a part of its own");
            let response = trace.response().unwrap();
            let expected = format!("00-{TRACE}-{}-0{}", trace.span, u8::from(sampled));
            assert_eq!(response.to_str().unwrap(), expected);
        }
    }

    #[test]
    fn what_is_not_exactly_a_trace_starts_a_new_one() {
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
            let trace = of(&[("traceparent", &broken)]);
            assert_eq!(trace.parent, None, "{broken}");
            assert!(trace.id.to_string() != TRACE && trace.id.0 != [0; 16] && !trace.sampled());
        }
        let whole = format!("00-{TRACE}-{SPAN}-01");
        assert_eq!(of(&[("traceparent", &whole), ("traceparent", &whole)]).parent, None, "two are none");
    }

    #[test]
    fn the_state_is_handed_on_when_it_is_valid() {
        let parent = format!("00-{TRACE}-{SPAN}-01");
        let state = |lines: &[&str]| {
            let mut pairs = vec![("traceparent", parent.as_str())];
            pairs.extend(lines.iter().map(|line| ("tracestate", *line)));
            of(&pairs).parent.unwrap().state.to_string()
        };
        assert_eq!(state(&["a=1, b=2", "t@v=x y,,"]), "a=1,b=2,t@v=x y");
        let many = vec!["a=1"; 33].join(",");
        let long = format!("a={}", "x".repeat(257));
        for broken in ["a", "A=1", "=1", "a=", "a=b=c", "a=1,b", many.as_str(), long.as_str()] {
            assert_eq!(state(&[broken]), "", "{broken}");
        }
    }
}
