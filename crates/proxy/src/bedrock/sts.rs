//! STS: the identity behind the credentials, and AWS's clock. STS responds in XML, of which a few elements are read.
//!
//! <https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html>

use std::sync::PoisonError;
use std::time::SystemTime;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use http_body_util::Full;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::xml::element;
use super::{Bedrock, UpstreamError, error};
use crate::http_client::ConnectionReuse;

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
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, form)]);
        let body = Bytes::from_static(GET_CALLER_IDENTITY);
        let request = target.request(Method::POST, "/", headers, body)?;
        let response = self.look_up(target, &request).await?;
        let bytes = error::read(response.into_body(), MAX_RESPONSE_BYTES).await.unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let (account, arn) = (element(&text, "Account"), element(&text, "Arn"));
        let identity = account.zip(arn).map(|(account, arn)| CallerIdentity { account, arn });
        let identity = identity.ok_or_else(|| UpstreamError::Response {
            host: target.host().to_owned(),
            cause: "it names no account".to_owned(),
        })?;
        *self.account.write().unwrap_or_else(PoisonError::into_inner) = Some(identity.account.clone());
        Ok(identity)
    }

    /// The time at Bedrock's endpoint, to the second. Needs no credentials.
    ///
    /// # Errors
    /// When there is no response, or it has no date.
    pub(crate) async fn server_time(&self) -> Result<SystemTime, UpstreamError> {
        let target = self.targets.runtime();
        let request = target.request(Method::GET, "/", HeaderMap::new(), Bytes::new())?;
        let response = target.send_signed(request.map(Full::new), ConnectionReuse::Forbidden).await?;
        let date = error::header_str(response.headers(), header::DATE.as_str());
        date.and_then(parse_date).ok_or_else(|| UpstreamError::Response {
            host: target.host().to_owned(),
            cause: "it has no date".to_owned(),
        })
    }
}

fn parse_date(text: &str) -> Option<SystemTime> {
    let date = DateTime::strptime(HTTP_DATE, text).ok()?;
    Some(date.to_zoned(TimeZone::UTC).ok()?.timestamp().into())
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
}
