//! The few elements that are read from the XML of STS: its errors, and the identity of the caller.

use protocol::converse::event::Exception;
use protocol::translate;

/// The error in a response of STS; `None` when `body` is no XML error.
pub(super) fn parse_error(status: u16, body: &[u8]) -> Option<translate::MappedError> {
    let text = std::str::from_utf8(body).ok().filter(|text| text.trim_start().starts_with('<'))?;
    let code = element(text, "Code")?;
    let exception = Exception { message: element(text, "Message"), ..Exception::default() };
    Some(translate::map_error(status, &code, &exception))
}

/// The text of the first element of this name. The ones that are read hold none that is escaped.
pub(super) fn element(xml: &str, name: &str) -> Option<String> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    Some(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

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
