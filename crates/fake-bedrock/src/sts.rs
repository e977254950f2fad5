//! STS GetCallerIdentity, in XML and with STS's error codes.
//!
//! After the API reference page "GetCallerIdentity" and the page "Common errors" of AWS STS.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode};

use crate::control::ACCOUNT_ID;
use crate::error::AwsError;

const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

/// Response to GetCallerIdentity.
///
/// # Errors
/// `InvalidAction` for every other action.
pub(crate) fn get_caller_identity(body: &[u8]) -> Result<Response<Bytes>, AwsError> {
    let form = String::from_utf8_lossy(body);
    if !form.split('&').any(|pair| pair == "Action=GetCallerIdentity") {
        return Err(AwsError::new(StatusCode::BAD_REQUEST, "InvalidAction", "Could not find operation"));
    }
    let arn = format!("arn:aws:sts::{ACCOUNT_ID}:assumed-role/gateway/fake");
    Ok(xml(
        StatusCode::OK,
        format!(
            "<GetCallerIdentityResponse xmlns=\"{NAMESPACE}\">\n  <GetCallerIdentityResult>\n    <Arn>{arn}</Arn>\n    \
             <UserId>AROAEXAMPLE:fake</UserId>\n    <Account>{ACCOUNT_ID}</Account>\n  </GetCallerIdentityResult>\n\
             </GetCallerIdentityResponse>\n"
        ),
    ))
}

/// Error response in STS's format.
pub(crate) fn error_response(error: &AwsError, request_id: &str) -> Response<Bytes> {
    let code = match &*error.kind {
        "UnrecognizedClientException" => "InvalidClientTokenId",
        "InvalidSignatureException" => "SignatureDoesNotMatch",
        "MissingAuthenticationTokenException" => "MissingAuthenticationToken",
        "IncompleteSignatureException" => "IncompleteSignature",
        other => other,
    };
    let message = error.message.replace('&', "&amp;").replace('<', "&lt;");
    xml(
        error.status,
        format!(
            "<ErrorResponse xmlns=\"{NAMESPACE}\">\n  <Error>\n    <Type>Sender</Type>\n    <Code>{code}</Code>\n    \
             <Message>{message}</Message>\n  </Error>\n  <RequestId>{request_id}</RequestId>\n</ErrorResponse>\n"
        ),
    )
}

fn xml(status: StatusCode, text: String) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert("content-type", HeaderValue::from_static("text/xml"));
    response
}
