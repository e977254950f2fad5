//! How a request to AWS can fail, and how AWS writes its errors. The kinds are those of the AWS SDK's `SdkError`.
//!
//! The code stands in `x-amzn-errortype` or in the body, the text in `message` or `Message`.
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/CommonErrors.html>

use std::time::Duration;

use bytes::Bytes;
use http::response::Parts;
use http::{HeaderMap, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy;
use protocol::anthropic::ErrorType;
use protocol::converse::event::Exception;
use protocol::translate::{self, Retry};
use serde::Deserialize;

use super::{CredentialsError, xml};
use crate::error_text::with_causes;
use crate::http_client;

pub(super) const REQUEST_ID: &str = "x-amzn-requestid";
/// AWS's errors are some hundred bytes; a proxy in between may send a page.
const MAX_ERROR_BYTES: usize = 64 * 1024;
/// A short body follows its head at once.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// Time within which the end of an idle connection reaches a request: a round trip or two. A later end may be that of a
/// request on which AWS has worked, and which it may bill.
const MAX_CLOSE_DELAY: Duration = Duration::from_secs(5);

/// Why a request to AWS got no usable response.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpstreamError {
    /// AWS responded with an error, before a stream or as its first frame.
    #[error("{0}")]
    Service(Box<ServiceError>),
    /// A response of status 200 with another media type: a proxy in between, or a wrong endpoint.
    #[error("unexpected content type {content_type} from server {server:?}")]
    UnexpectedContentType {
        /// The content type.
        content_type: String,
        /// The `server` header.
        server: String,
    },
    /// A response that cannot be decoded.
    #[error("the response of {host} cannot be decoded: {cause}")]
    Response {
        /// Where it came from.
        host: String,
        /// What is wrong with it.
        cause: String,
    },
    /// A document that is too large to be translated.
    #[error("the response is too large")]
    TooLarge,
    /// A response that ended before its first event.
    #[error("the response ended before its first event")]
    Incomplete,
    /// No response: connecting, TLS or the connection failed.
    #[error("no response from {host}: {cause}")]
    Dispatch {
        /// Where to.
        host: String,
        /// The error with its causes.
        cause: String,
        /// How far the request came.
        stage: ConnectStage,
    },
    /// No response, or no first event, within the idle timeout.
    #[error("no response in time")]
    Timeout,
    /// The proxy has no credentials.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The request cannot be built or signed.
    #[error("the request cannot be built: {0}")]
    Construction(String),
}

/// An error that AWS responded with.
#[derive(Debug)]
pub(crate) struct ServiceError {
    /// The error as clients see it, with its row in the table of known errors.
    pub(crate) mapped: translate::MappedError,
    /// The HTTP status; `None` for an exception frame and for errors that are not AWS's.
    pub(crate) status: Option<u16>,
    /// `x-amzn-requestid`.
    pub(crate) request_id: Option<String>,
    /// How long AWS wants clients to wait before they send the request again.
    pub(crate) retry_after: Option<Duration>,
}

/// How far a request came that got no response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConnectStage {
    /// The name of the host has no address.
    Dns,
    /// No connection.
    Connect,
    /// A connection to a host that cannot prove to be AWS.
    Tls,
    /// The request was sent on an idle connection, which the peer closed without a response at the same time.
    IdleClosed,
    /// The request was sent.
    Sent,
}

impl ConnectStage {
    /// The text for clients; the host stands in the operator's log.
    fn client_message(self) -> &'static str {
        match self {
            Self::Dns => "The proxy cannot reach Bedrock: the name of its host cannot be resolved (DNS)",
            Self::Connect => "The proxy cannot reach Bedrock: connecting failed",
            Self::Tls => "The proxy cannot reach Bedrock: the TLS connection failed",
            Self::IdleClosed | Self::Sent => "Bedrock closed the connection without a response",
        }
    }
}

impl std::fmt::Display for ServiceError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(status) = self.status {
            write!(f, "AWS responded {status} {}: {}", self.mapped.code, self.mapped.aws_message)
        } else {
            write!(f, "{}: {}", self.mapped.code, self.mapped.aws_message)
        }
    }
}

impl UpstreamError {
    /// The outcome of the attempt, one of a closed list, for metrics and the request record.
    #[must_use]
    pub(crate) fn outcome(&self) -> &'static str {
        match self {
            Self::Service(error) => attempt_outcome(error.mapped.error.kind),
            Self::UnexpectedContentType { .. } | Self::Response { .. } | Self::TooLarge => "unreadable",
            Self::Incomplete => "broken",
            Self::Dispatch { .. } => "unreachable",
            Self::Timeout => "timeout",
            Self::Credentials(_) => "credentials",
            Self::Construction(_) => "unsendable",
        }
    }

    /// AWS's error, if AWS responded with one.
    #[must_use]
    pub(crate) fn service(&self) -> Option<&translate::MappedError> {
        match self {
            Self::Service(error) => Some(&error.mapped),
            _ => None,
        }
    }

    /// Whether the response, or its first event, is too large to be read.
    #[must_use]
    pub(crate) fn is_too_large(&self) -> bool {
        matches!(self, Self::TooLarge) || self.service().is_some_and(translate::MappedError::is_too_large)
    }

    /// AWS's id of the request, if AWS responded.
    #[must_use]
    pub(crate) fn request_id(&self) -> Option<&str> {
        match self {
            Self::Service(error) => error.request_id.as_deref(),
            _ => None,
        }
    }

    /// AWS's status and code; the outcome where AWS sent neither.
    pub(super) fn summary(&self) -> (Option<u16>, &str) {
        match self {
            Self::Service(error) => (error.status, &error.mapped.code),
            _ => (None, self.outcome()),
        }
    }

    /// Whether AWS does not accept the credentials, so that new ones may help.
    #[must_use]
    pub(crate) fn is_credentials_rejected(&self) -> bool {
        // A wrong secret key in a file is repaired there, too.
        const WRONG_SECRET: &str = "E17b";
        matches!(self, Self::Service(error) if error.mapped.retry == Retry::WithNewCredentials
            || error.mapped.known_error.code == WRONG_SECRET)
    }

    /// Whether AWS rejects the proxy's identity or its clock, and so every other request, too.
    #[must_use]
    pub(crate) fn is_identity_error(&self) -> bool {
        const ROWS: [&str; 4] = ["E17", "E17b", "E18", "E28"];
        matches!(self, Self::Service(error) if ROWS.contains(&error.mapped.known_error.code))
    }

    /// Whether no connection was made, so that AWS cannot have seen the request.
    pub(super) fn is_connect_error(&self) -> bool {
        matches!(
            self,
            Self::Dispatch { stage: ConnectStage::Dns | ConnectStage::Connect | ConnectStage::Tls, .. }
        )
    }

    /// Whether the request met the end of an idle connection, so that AWS has most likely not seen it.
    pub(super) fn is_idle_connection_closed(&self) -> bool {
        matches!(self, Self::Dispatch { stage: ConnectStage::IdleClosed, .. })
    }

    /// Whether nothing of AWS arrived.
    pub(super) fn is_without_response(&self) -> bool {
        matches!(self, Self::Dispatch { .. } | Self::Timeout)
    }

    /// Whether AWS throttles, or has no capacity.
    #[must_use]
    pub(crate) fn is_overload(&self) -> bool {
        matches!(self, Self::Service(error) if error.mapped.retry == Retry::AfterPause)
    }

    /// How long AWS wants clients to wait before they send the request again.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Service(error) => error.retry_after,
            _ => None,
        }
    }

    /// Whether the error is of a kind that can name a feature that the model does not have.
    pub(crate) fn may_name_unsupported_feature(&self) -> bool {
        let kind = self.service().map(|mapped| mapped.error.kind);
        matches!(kind, Some(ErrorType::InvalidRequest | ErrorType::Permission))
    }

    /// The error as clients see it.
    #[must_use]
    pub(crate) fn into_mapped(self) -> translate::MappedError {
        use translate::MappedError as Mapped;
        match self {
            Self::Service(error) => error.mapped,
            Self::UnexpectedContentType { content_type, .. } => {
                let text = format!("Bedrock's endpoint responded with content-type {content_type}");
                Mapped::local(Mapped::NOT_A_STREAM, &text)
            }
            Self::Response { .. } | Self::Incomplete => {
                Mapped::local(Mapped::BAD_STREAM, "Bedrock's response cannot be decoded")
            }
            Self::TooLarge => {
                Mapped::local(Mapped::BAD_STREAM, "Bedrock's response is too large; use \"stream\": true")
            }
            Self::Dispatch { stage, .. } => Mapped::local(Mapped::UNREACHABLE, stage.client_message()),
            Self::Timeout => Mapped::local("", "Bedrock did not respond in time"),
            Self::Credentials(_) => Mapped::local(Mapped::NO_CREDENTIALS, ""),
            Self::Construction(_) => Mapped::local("", "the proxy could not build the request to Bedrock"),
        }
    }

    pub(super) fn response(host: &str, error: &dyn std::error::Error) -> Self {
        Self::Response { host: host.to_owned(), cause: error.to_string() }
    }

    pub(super) fn construction(error: impl std::fmt::Display) -> Self {
        Self::Construction(error.to_string())
    }

    /// The error of a request that was sent to `host` `elapsed` ago.
    pub(super) fn dispatch(host: &str, error: &legacy::Error, elapsed: Duration) -> Self {
        let cause = with_causes(error);
        let stage = if http_client::is_closed_idle_connection(error) && elapsed < MAX_CLOSE_DELAY {
            ConnectStage::IdleClosed
        } else if !error.is_connect() {
            ConnectStage::Sent
        } else if cause.contains("dns error") {
            ConnectStage::Dns
        } else if is_tls_error(error) {
            ConnectStage::Tls
        } else {
            ConnectStage::Connect
        };
        Self::Dispatch { host: host.to_owned(), cause, stage }
    }
}

/// The outcome of an attempt that ended with an error of `kind`, one of a closed list.
#[must_use]
pub(crate) fn attempt_outcome(kind: ErrorType) -> &'static str {
    match kind {
        ErrorType::InvalidRequest | ErrorType::TooLarge => "validation",
        ErrorType::Authentication | ErrorType::Permission | ErrorType::Billing => "access",
        ErrorType::NotFound => "not_found",
        ErrorType::RateLimit => "throttled",
        ErrorType::Timeout => "timeout",
        ErrorType::Api | ErrorType::Overloaded => "5xx",
    }
}

/// Whether TLS failed: an I/O error holds its reason in itself, not as its source, and may hold another I/O error.
fn is_tls_error(error: &(dyn std::error::Error + 'static)) -> bool {
    if error.is::<rustls::Error>() {
        return true;
    }
    let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    inner.is_some_and(|inner| is_tls_error(inner)) || error.source().is_some_and(is_tls_error)
}

/// A header as text, if it is there and readable.
pub(super) fn header_str<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

fn text_header(head: &Parts, name: &str) -> Option<String> {
    header_str(&head.headers, name).map(str::to_owned)
}

/// `x-amzn-requestid` in the head of a response, which AWS support requires.
pub(crate) fn request_id(headers: &HeaderMap) -> Option<String> {
    header_str(headers, REQUEST_ID).map(str::to_owned)
}

/// A short body; `None` when it is longer than `max_bytes`, late or broken off.
pub(super) async fn read(body: Incoming, max_bytes: usize) -> Option<Bytes> {
    let collected = tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, max_bytes).collect()).await;
    collected.ok().and_then(Result::ok).map(http_body_util::Collected::to_bytes)
}

/// The code of an error in a body, where there is no header `x-amzn-errortype`.
#[derive(Debug, Default, Deserialize)]
struct ErrorCode {
    #[serde(rename = "__type", alias = "code")]
    code: Option<String>,
}

/// The error in a response of status 200 whose media type is not the one expected.
pub(super) async fn unexpected_content_type(head: &Parts, body: Incoming) -> UpstreamError {
    #[derive(Default, Deserialize)]
    struct Unknown {
        #[serde(rename = "Output")]
        output: ErrorCode,
    }
    let content_type = text_header(head, header::CONTENT_TYPE.as_str());
    // Bedrock's response to an operation that it does not have has status 200.
    if content_type.as_deref().is_some_and(|kind| kind.starts_with("application/json")) {
        let bytes = read(body, MAX_ERROR_BYTES).await.unwrap_or_default();
        let unknown: Unknown = serde_json::from_slice(&bytes).unwrap_or_default();
        if let Some(code) = unknown.output.code {
            let mapped = translate::map_error(404, &code, &Exception::default());
            let request_id = text_header(head, REQUEST_ID);
            return UpstreamError::Service(Box::new(ServiceError {
                mapped,
                status: Some(404),
                request_id,
                retry_after: None,
            }));
        }
    }
    UpstreamError::UnexpectedContentType {
        content_type: content_type.unwrap_or_else(|| "none".to_owned()),
        server: text_header(head, header::SERVER.as_str()).unwrap_or_default(),
    }
}

/// The error in a response whose status is none of success.
pub(super) async fn service_error(head: &Parts, body: Incoming) -> UpstreamError {
    let bytes = read(body, MAX_ERROR_BYTES).await.unwrap_or_default();
    let header = text_header(head, "x-amzn-errortype");
    let status = head.status.as_u16();
    // The Messages API wraps the model's own errors in Anthropic's envelope, but not those of AWS's front end.
    let enveloped = if header.is_none() { translate::parse_error(&bytes) } else { None };
    let enveloped = enveloped.or_else(|| xml::parse_error(status, &bytes));
    let mapped = enveloped.unwrap_or_else(|| {
        let code = header.or_else(|| {
            let error: ErrorCode = serde_json::from_slice(&bytes).unwrap_or_default();
            error.code
        });
        translate::map_error(status, code.as_deref().unwrap_or_default(), &Exception::parse(&bytes))
    });
    UpstreamError::Service(Box::new(ServiceError {
        mapped,
        status: Some(status),
        request_id: text_header(head, REQUEST_ID),
        retry_after: retry_after(head),
    }))
}

/// `x-amz-retry-after` in milliseconds, as services that use it send; else `retry-after` in seconds. A date is not
/// understood: AWS sends none, and the clock of this machine may be wrong.
fn retry_after(head: &Parts) -> Option<Duration> {
    let number = |name: &str| text_header(head, name)?.trim().parse::<u64>().ok();
    let milliseconds = number("x-amz-retry-after").map(Duration::from_millis);
    milliseconds.or_else(|| number(header::RETRY_AFTER.as_str()).map(Duration::from_secs))
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn tls_errors_are_found_at_any_depth() {
        let tls = || io::Error::other(rustls::Error::General("x".to_owned()));
        assert!(is_tls_error(&tls()) && is_tls_error(&io::Error::other(io::Error::other(tls()))));
        assert!(!is_tls_error(&io::Error::other(io::Error::from(io::ErrorKind::ConnectionReset))));
    }

    #[test]
    fn retry_after_is_read_in_both_forms() {
        let read = |headers: &[(&str, &str)]| {
            let builder = http::Response::builder();
            let builder =
                headers.iter().fold(builder, |builder, (name, value)| builder.header(*name, *value));
            retry_after(&builder.body(()).unwrap().into_parts().0)
        };
        assert_eq!(read(&[("Retry-After", "3")]), Some(Duration::from_secs(3)));
        let both = [("retry-after", "3"), ("x-amz-retry-after", "250")];
        assert_eq!(read(&both), Some(Duration::from_millis(250)));
        assert_eq!(read(&[("retry-after", "Sun, 22 Nov 2026 12:00:00 GMT")]), None);
        assert_eq!(read(&[]), None);
    }
}
