//! STS: the identity behind the credentials, and AWS's clock. STS responds in XML, of which a few elements are read.
//!
//! <https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html>

use std::time::SystemTime;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, header};
use http_body_util::Full;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use protocol::converse::event::Exception;
use protocol::translate;

use super::send::USER_AGENT;
use super::{Bedrock, SignedRequest, UpstreamError, error};

const GET_CALLER_IDENTITY: &[u8] = b"Action=GetCallerIdentity&Version=2011-06-15";
/// The response has some hundred bytes.
const MAX_RESPONSE_BYTES: usize = 16 << 10;
/// The date format of HTTP, <https://www.rfc-editor.org/rfc/rfc9110#section-5.6.7>
const HTTP_DATE: &str = "%a, %d %b %Y %H:%M:%S GMT";

/// The AWS identity behind the credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CallerIdentity {
    /// The number of the AWS account.
    pub(crate) account: String,
    /// The ARN of the user or of the role session.
    pub(crate) arn: String,
}

impl Bedrock {
    /// GetCallerIdentity, which costs nothing and which no IAM policy can deny.
    ///
    /// # Errors
    /// When AWS rejects the credentials, there is no usable response, or the credential is a Bedrock API key, which STS
    /// does not know.
    pub(crate) async fn caller_identity(&self) -> Result<CallerIdentity, UpstreamError> {
        if self.credentials.is_api_key() {
            return Err(UpstreamError::construction("STS does not know Bedrock API keys"));
        }
        let target = self.targets.sts();
        let form = HeaderValue::from_static("application/x-www-form-urlencoded; charset=utf-8");
        let request = SignedRequest {
            method: Method::POST,
            path: "/".to_owned(),
            headers: HeaderMap::from_iter([(header::CONTENT_TYPE, form)]),
            body: Bytes::from_static(GET_CALLER_IDENTITY),
            media_type: None,
        };
        let response = self.send(target, &request).await?;
        let bytes = error::read(response.body, MAX_RESPONSE_BYTES).await.unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let (account, arn) = (element(&text, "Account"), element(&text, "Arn"));
        account.zip(arn).map(|(account, arn)| CallerIdentity { account, arn }).ok_or_else(|| {
            UpstreamError::Response {
                host: target.host().to_owned(),
                cause: "it names no account".to_owned(),
            }
        })
    }

    /// The time at Bedrock's endpoint, to the second. Needs no credentials.
    ///
    /// # Errors
    /// When there is no response, or it has no date.
    pub(crate) async fn server_time(&self) -> Result<SystemTime, UpstreamError> {
        let target = self.targets.runtime();
        let host = target.host();
        let request = Request::get(target.endpoint.url("/").map_err(UpstreamError::construction)?)
            .header(header::HOST, host)
            .header(header::USER_AGENT, USER_AGENT)
            .body(Full::new(Bytes::new()))
            .map_err(UpstreamError::construction)?;
        let response = target.client()?.request(request).await;
        let (head, _) = response.map_err(|error| UpstreamError::dispatch(host, &error))?.into_parts();
        let date = error::text_header(&head, header::DATE.as_str());
        date.as_deref().and_then(parse_date).ok_or_else(|| UpstreamError::Response {
            host: host.to_owned(),
            cause: "it has no date".to_owned(),
        })
    }
}

fn parse_date(text: &str) -> Option<SystemTime> {
    let date = DateTime::strptime(HTTP_DATE, text).ok()?;
    Some(date.to_zoned(TimeZone::UTC).ok()?.timestamp().into())
}

/// The error in a response of STS; `None` when `body` is no XML error.
pub(super) fn parse_error(status: u16, body: &[u8]) -> Option<translate::MappedError> {
    let text = std::str::from_utf8(body).ok().filter(|text| text.trim_start().starts_with('<'))?;
    let code = element(text, "Code")?;
    let exception = Exception { message: element(text, "Message"), ..Exception::default() };
    Some(translate::map_error(status, &code, &exception))
}

/// The text of the first element of this name. The ones that are read hold none that is escaped.
fn element(xml: &str, name: &str) -> Option<String> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    Some(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn http_dates_are_parsed() {
        let noon = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_348_800);
        assert_eq!(parse_date("Sun, 22 Nov 2026 12:00:00 GMT"), Some(noon));
        assert_eq!(parse_date("yesterday"), None);
    }

    #[test]
    fn sts_errors_map_to_known_errors() {
        let error = |code: &str, message: &str| {
            let xml = format!(
                "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\n  <Error>\n    <Type>Sender</Type>\n    \
                 <Code>{code}</Code>\n    <Message>{message}</Message>\n  </Error>\n</ErrorResponse>"
            );
            parse_error(403, xml.as_bytes()).unwrap().known_error.code
        };
        assert_eq!(
            error("InvalidClientTokenId", "The security token included in the request is invalid."),
            "E17"
        );
        assert_eq!(error("ExpiredToken", "The security token included in the request is expired"), "E17");
        let skewed = "Signature expired: 20261122T110000Z is now earlier than 20261122T115500Z";
        assert_eq!(error("SignatureDoesNotMatch", skewed), "E18");
        assert_eq!(
            error("SignatureDoesNotMatch", "The request signature we calculated does not match"),
            "E17b"
        );
        assert!(parse_error(403, b"<html>no</html>").is_none());
        assert!(parse_error(403, br#"{"message":"no"}"#).is_none());
    }
}
