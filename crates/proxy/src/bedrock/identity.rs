//! Whom AWS takes the proxy for, and what time it is there. STS answers in XML, of which a few elements are read.
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

use super::exchange::Exchange;
use super::{Attempts, Bedrock, Failure, Known, USER_AGENT, failure};

const QUESTION: &[u8] = b"Action=GetCallerIdentity&Version=2011-06-15";
/// Some hundred bytes.
const LONGEST_ANSWER: usize = 16 << 10;
/// How HTTP writes a date, <https://www.rfc-editor.org/rfc/rfc9110#section-5.6.7>
const HTTP_DATE: &str = "%a, %d %b %Y %H:%M:%S GMT";

/// Whom AWS takes the proxy for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallerIdentity {
    /// The number of the AWS account.
    pub account: String,
    /// The user or the session of a role.
    pub arn: String,
}

impl Bedrock {
    /// GetCallerIdentity, which costs nothing and which no policy of IAM can deny.
    ///
    /// # Errors
    /// When AWS refuses the credentials, the answer cannot be had, or there is only a Bedrock API key, which STS does
    /// not know.
    pub async fn caller_identity(&self) -> Result<CallerIdentity, Failure> {
        if self.known() == Known::ApiKey {
            return Err(Failure::unsendable("STS does not know Bedrock API keys"));
        }
        let (place, client) = self.sts()?;
        let form = HeaderValue::from_static("application/x-www-form-urlencoded; charset=utf-8");
        let exchange = Exchange {
            place: &place,
            client,
            method: Method::POST,
            uri: place.endpoint.url("/").map_err(Failure::unsendable)?,
            headers: &HeaderMap::from_iter([(header::CONTENT_TYPE, form)]),
            body: Bytes::from_static(QUESTION),
        };
        let answer = self.exchange(&exchange, &mut Attempts::default()).await?;
        let bytes = failure::read(answer.into_body(), LONGEST_ANSWER).await.unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let (account, arn) = (element(&text, "Account"), element(&text, "Arn"));
        account.zip(arn).map(|(account, arn)| CallerIdentity { account, arn }).ok_or_else(|| {
            Failure::Unreadable {
                host: place.endpoint.host().to_owned(),
                cause: "it names no account".to_owned(),
            }
        })
    }

    /// What time it is at Bedrock, by the second, whoever asks.
    ///
    /// # Errors
    /// When there is no answer, or it has no date.
    pub async fn date(&self) -> Result<SystemTime, Failure> {
        let host = self.endpoint.host();
        let request = Request::get(self.endpoint.url("/").map_err(Failure::unsendable)?)
            .header(header::HOST, host)
            .header(header::USER_AGENT, USER_AGENT)
            .body(Full::new(Bytes::new()))
            .map_err(Failure::unsendable)?;
        let sent = self.client.request(request).await;
        let (head, _) = sent.map_err(|error| Failure::unreachable(host, &error))?.into_parts();
        let date = failure::text_header(&head, header::DATE.as_str());
        date.as_deref()
            .and_then(parse_date)
            .ok_or_else(|| Failure::Unreadable { host: host.to_owned(), cause: "it has no date".to_owned() })
    }
}

fn parse_date(text: &str) -> Option<SystemTime> {
    let date = DateTime::strptime(HTTP_DATE, text).ok()?;
    Some(date.to_zoned(TimeZone::UTC).ok()?.timestamp().into())
}

/// What an error of STS means; `None` when `body` is none.
pub(super) fn refused(status: u16, body: &[u8]) -> Option<translate::MappedError> {
    let text = std::str::from_utf8(body).ok().filter(|text| text.trim_start().starts_with('<'))?;
    let code = element(text, "Code")?;
    let said = Exception { message: element(text, "Message"), ..Exception::default() };
    Some(translate::map_error(status, &code, &said))
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
    fn dates_of_http_are_read() {
        let noon = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_348_800);
        assert_eq!(parse_date("Sun, 22 Nov 2026 12:00:00 GMT"), Some(noon));
        assert_eq!(parse_date("yesterday"), None);
    }

    #[test]
    fn errors_of_sts_are_rows_of_the_same_table() {
        let error = |code: &str, message: &str| {
            let xml = format!(
                "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\n  <Error>\n    <Type>Sender</Type>\n    \
                 <Code>{code}</Code>\n    <Message>{message}</Message>\n  </Error>\n</ErrorResponse>"
            );
            refused(403, xml.as_bytes()).unwrap().known_error.code
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
        assert!(refused(403, b"<html>no</html>").is_none());
        assert!(refused(403, br#"{"message":"no"}"#).is_none());
    }
}
