//! How asking Bedrock can fail, and how AWS writes its errors.
//!
//! The code stands in `x-amzn-errortype` or in the body, the text in `message` or `Message`.
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/CommonErrors.html>

use std::time::Duration;

use bytes::Bytes;
use http::header;
use http::response::Parts;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy;
use protocol::anthropic::ErrorType;
use protocol::converse::event::Exception;
use protocol::translate::{self, Retry};
use serde::Deserialize;

use super::{NoCredentials, identity};

pub(super) const REQUEST_ID: &str = "x-amzn-requestid";
const LONGEST_ERROR: usize = 64 * 1024;
const PATIENCE: Duration = Duration::from_secs(5);

/// Why there is no stream.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// AWS answered with an error.
    #[error("{0}")]
    Refused(Box<Refusal>),
    /// Something answered 200, but not with a stream: a proxy in between, or a wrong endpoint.
    #[error("expected an event stream, got content-type {content_type} from server {server:?}")]
    NotAStream {
        /// What it was instead.
        content_type: String,
        /// Who says it answered.
        server: String,
    },
    /// Something answered 200, but not what was asked for.
    #[error("the answer of {host} cannot be read: {cause}")]
    Unreadable {
        /// Who answered.
        host: String,
        /// What is wrong with it.
        cause: String,
    },
    /// No answer: connecting, TLS or the connection failed.
    #[error("no answer from {host}: {cause}")]
    Unreachable {
        /// Where to.
        host: String,
        /// What happened, with its causes.
        cause: String,
        /// How far it came.
        phase: Phase,
    },
    /// The gateway has no credentials.
    #[error(transparent)]
    NoCredentials(#[from] NoCredentials),
    /// No request could be made of the question.
    #[error("no request can be made: {0}")]
    Unsendable(String),
}

/// An error that AWS answered with.
#[derive(Debug)]
pub struct Refusal {
    /// What it means, in words a client may see.
    pub meaning: translate::MappedError,
    /// The HTTP status from AWS.
    pub status: u16,
    /// `x-amzn-requestid`.
    pub request_id: Option<String>,
}

/// How far a request came that got no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The name of the host has no address.
    Dns,
    /// Nobody was reached.
    Connect,
    /// Somebody was reached who cannot prove to be AWS.
    Tls,
    /// The request was on its way.
    Sent,
}

impl Phase {
    /// What a client is told; where Bedrock is, the operator's log says.
    fn told(self) -> &'static str {
        match self {
            Self::Dns => "The gateway cannot reach Bedrock: the name of its host cannot be resolved (DNS)",
            Self::Connect => "The gateway cannot reach Bedrock: no connection can be made",
            Self::Tls => "The gateway cannot reach Bedrock: no secure connection can be made (TLS)",
            Self::Sent => "Bedrock closed the connection without an answer",
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AWS answered {} {}: {}", self.status, self.meaning.code, self.meaning.aws_message)
    }
}

impl Failure {
    /// Whether the same request may succeed a moment later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Refused(refusal) => refusal.meaning.retry == Retry::AfterPause,
            Self::Unreachable { phase, .. } => *phase != Phase::Sent,
            Self::NotAStream { .. }
            | Self::Unreadable { .. }
            | Self::NoCredentials(_)
            | Self::Unsendable(_) => false,
        }
    }

    /// What became of the attempt, in one word of a closed list, for counting.
    #[must_use]
    pub fn outcome(&self) -> &'static str {
        match self {
            Self::Refused(refusal) => outcome(refusal.meaning.error.kind),
            Self::NotAStream { .. } | Self::Unreadable { .. } => "unreadable",
            Self::Unreachable { .. } => "unreachable",
            Self::NoCredentials(_) => "credentials",
            Self::Unsendable(_) => "unsendable",
        }
    }

    /// The status and the code from AWS; what became of the attempt where AWS said neither.
    pub(super) fn brief(&self) -> (Option<u16>, &str) {
        match self {
            Self::Refused(refusal) => (Some(refusal.status), &refusal.meaning.code),
            _ => (None, self.outcome()),
        }
    }

    /// Whether AWS does not accept who we say we are.
    #[must_use]
    pub fn blames_credentials(&self) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.meaning.retry == Retry::WithNewCredentials)
    }

    /// Whether AWS minds who we are, or what time it is here, so that it will refuse everything else, too.
    #[must_use]
    pub fn is_about_us(&self) -> bool {
        const ROWS: [&str; 4] = ["E17", "E17b", "E18", "E28"];
        matches!(self, Self::Refused(refusal) if ROWS.contains(&refusal.meaning.known_error.code))
    }

    /// Whether nobody was reached, so that nothing can have happened.
    pub(super) fn is_connecting(&self) -> bool {
        matches!(self, Self::Unreachable { phase: Phase::Dns | Phase::Connect | Phase::Tls, .. })
    }

    /// What it means, in words a client may see.
    #[must_use]
    pub fn meaning(self) -> translate::MappedError {
        use translate::MappedError as Meaning;
        match self {
            Self::Refused(refusal) => refusal.meaning,
            Self::NotAStream { content_type, .. } => {
                let text = format!("Bedrock's endpoint answered with content-type {content_type}");
                Meaning::local(Meaning::NOT_A_STREAM, &text)
            }
            Self::Unreadable { .. } => Meaning::local(Meaning::BAD_STREAM, "Bedrock's answer cannot be read"),
            Self::Unreachable { phase, .. } => Meaning::local(Meaning::UNREACHABLE, phase.told()),
            Self::NoCredentials(_) => Meaning::local(Meaning::NO_CREDENTIALS, ""),
            Self::Unsendable(_) => Meaning::local("", "the gateway could not make a request of this"),
        }
    }

    pub(super) fn unreadable(host: &str, error: &dyn std::error::Error) -> Self {
        Self::Unreadable { host: host.to_owned(), cause: error.to_string() }
    }

    pub(super) fn unsendable(error: impl std::fmt::Display) -> Self {
        Self::Unsendable(error.to_string())
    }

    pub(super) fn unreachable(host: &str, error: &legacy::Error) -> Self {
        let cause = crate::http_client::with_causes(error);
        let phase = if !error.is_connect() {
            Phase::Sent
        } else if cause.contains("dns error") {
            Phase::Dns
        } else if with_tls(error) {
            Phase::Tls
        } else {
            Phase::Connect
        };
        Self::Unreachable { host: host.to_owned(), cause, phase }
    }
}

/// What an error of `kind` makes of an attempt, in one word of a closed list, for counting.
#[must_use]
pub fn outcome(kind: ErrorType) -> &'static str {
    match kind {
        ErrorType::InvalidRequest | ErrorType::TooLarge => "validation",
        ErrorType::Authentication | ErrorType::Permission | ErrorType::Billing => "access",
        ErrorType::NotFound => "not_found",
        ErrorType::RateLimit => "throttled",
        ErrorType::Timeout => "timeout",
        ErrorType::Api | ErrorType::Overloaded => "5xx",
    }
}

/// Whether TLS is what failed.
fn with_tls(error: &legacy::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if error.is::<rustls::Error>() || inner.is_some_and(|inner| inner.is::<rustls::Error>()) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// A header as text, if it is there and readable.
pub(super) fn text_header(head: &Parts, name: &str) -> Option<String> {
    head.headers.get(name)?.to_str().ok().map(str::to_owned)
}

/// A short body, whole; `None` when it is longer than `limit`, late or broken off.
pub(super) async fn read(body: Incoming, limit: usize) -> Option<Bytes> {
    let whole = tokio::time::timeout(PATIENCE, Limited::new(body, limit).collect()).await;
    whole.ok().and_then(Result::ok).map(http_body_util::Collected::to_bytes)
}

/// The names that AWS's errors go by in a body; the header `x-amzn-errortype` is better.
#[derive(Debug, Default, Deserialize)]
struct Name {
    #[serde(rename = "__type", alias = "code")]
    code: Option<String>,
}

/// What is wrong with an answer of status 200 that is not of the media type asked for.
pub(super) async fn not_a_stream(head: &Parts, body: Incoming) -> Failure {
    #[derive(Default, Deserialize)]
    struct Unknown {
        #[serde(rename = "Output")]
        output: Name,
    }
    let content_type = text_header(head, header::CONTENT_TYPE.as_str());
    // Bedrock says of an operation that it does not have: 200.
    if content_type.as_deref().is_some_and(|kind| kind.starts_with("application/json")) {
        let bytes = read(body, LONGEST_ERROR).await.unwrap_or_default();
        let unknown: Unknown = serde_json::from_slice(&bytes).unwrap_or_default();
        if let Some(code) = unknown.output.code {
            let meaning = translate::map_error(404, &code, &Exception::default());
            let request_id = text_header(head, REQUEST_ID);
            return Failure::Refused(Box::new(Refusal { meaning, status: 404, request_id }));
        }
    }
    Failure::NotAStream {
        content_type: content_type.unwrap_or_else(|| "none".to_owned()),
        server: text_header(head, header::SERVER.as_str()).unwrap_or_default(),
    }
}

/// Reads the error in a response whose status is not 200.
pub(super) async fn refused(head: &Parts, body: Incoming) -> Failure {
    let bytes = read(body, LONGEST_ERROR).await.unwrap_or_default();
    let header = text_header(head, "x-amzn-errortype");
    let status = head.status.as_u16();
    // On the Messages routes the model's own refusals come in Anthropic's envelope, those of the front door do not.
    let enveloped = if header.is_none() { translate::parse_error(&bytes) } else { None };
    let enveloped = enveloped.or_else(|| identity::refused(status, &bytes));
    let meaning = enveloped.unwrap_or_else(|| {
        let code = header.or_else(|| {
            let name: Name = serde_json::from_slice(&bytes).unwrap_or_default();
            name.code
        });
        translate::map_error(status, code.as_deref().unwrap_or_default(), &Exception::parse(&bytes))
    });
    Failure::Refused(Box::new(Refusal { meaning, status, request_id: text_header(head, REQUEST_ID) }))
}
