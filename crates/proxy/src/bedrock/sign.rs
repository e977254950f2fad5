//! Signs a request: a SigV4 signature, or a bearer token.
//!
//! The path is encoded twice in the canonical request, and no `x-amz-content-sha256` header is sent.
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>

use std::time::SystemTime;

pub(super) use aws_sigv4::http_request::SignableBody;
use aws_sigv4::http_request::{SignableRequest, SigningSettings, sign as compute_signature};
use aws_sigv4::sign::v4;
use http::header::{AUTHORIZATION, HeaderValue};
use http::{Request, header};
use sha2::{Digest as _, Sha256};

use super::credentials::Credentials;

/// The name Bedrock signs under, on the runtime host as well.
pub(super) const BEDROCK: &str = "bedrock";
/// The name that the Mantle endpoint signs under.
pub(super) const MANTLE: &str = "bedrock-mantle";
/// The name that STS signs under.
pub(super) const STS: &str = "sts";
/// Prefix of Bedrock's own headers.
pub(super) const BEDROCK_HEADER_PREFIX: &str = "x-amzn-bedrock-";

/// A header or URL that is not text, or a bearer token with control characters.
#[derive(Debug, thiserror::Error)]
#[error("the request cannot be signed: {0}")]
pub(super) struct SigningError(String);

/// The SHA-256 of a body, as a signature contains it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BodyHash(String);

impl BodyHash {
    /// Hashes `body`, in time in proportion to its length.
    #[must_use]
    pub(crate) fn new(body: &[u8]) -> Self {
        Self(Sha256::digest(body).iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

impl From<&BodyHash> for SignableBody<'_> {
    fn from(hash: &BodyHash) -> Self {
        Self::Precomputed(hash.0.clone())
    }
}

/// What a signature is valid for: a service and a region.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-signing-elements.html>
#[derive(Clone, Copy, Debug)]
pub(super) struct CredentialScope<'a> {
    pub(super) service: &'static str,
    pub(super) region: &'a str,
}

/// Adds the signature of `credentials` over `request` and `body` to its headers.
pub(super) fn sign<B>(
    request: &mut Request<B>,
    body: SignableBody<'_>,
    credentials: &Credentials,
    scope: CredentialScope<'_>,
    now: SystemTime,
) -> Result<(), SigningError> {
    match credentials {
        Credentials::Bearer(token) => {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose()))
                .map_err(|_| SigningError("the bearer token is not a header value".to_owned()))?;
            value.set_sensitive(true);
            request.headers_mut().insert(AUTHORIZATION, value);
            Ok(())
        }
        Credentials::Keys(keys) => sigv4(request, body, keys, scope, now),
    }
}

fn sigv4<B>(
    request: &mut Request<B>,
    body: SignableBody<'_>,
    keys: &aws_credential_types::Credentials,
    scope: CredentialScope<'_>,
    now: SystemTime,
) -> Result<(), SigningError> {
    let unsignable = |error: &dyn std::fmt::Display| SigningError(error.to_string());
    let identity = keys.clone().into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(scope.region)
        .name(scope.service)
        .time(now)
        .settings(SigningSettings::default())
        .build()
        .map_err(|error| unsignable(&error))?;
    let uri = request.uri().to_string();
    // Only these are signed: what a hop may rewrite must not break the signature.
    let is_signed = |name: &header::HeaderName| {
        [header::CONTENT_TYPE, header::HOST].contains(name)
            || name.as_str().starts_with(BEDROCK_HEADER_PREFIX)
    };
    let headers = request.headers().iter().filter(|(name, _)| is_signed(name));
    let headers = headers.filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
    let method = request.method().as_str();
    let signable = SignableRequest::new(method, uri, headers, body).map_err(|error| unsignable(&error))?;
    let (instructions, _) =
        compute_signature(signable, &parameters.into()).map_err(|error| unsignable(&error))?.into_parts();
    instructions.apply_to_request_http1x(request);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::secret::Secret;

    const SCOPE: CredentialScope<'_> = CredentialScope { service: BEDROCK, region: "us-east-1" };
    const BODY: &str = r#"{"messages":[{"role":"user","content":[{"text":"hi"}]}]}"#;

    fn request(path: &str) -> Request<()> {
        Request::post(format!("https://bedrock-runtime.us-east-1.amazonaws.com{path}"))
            .header("host", "bedrock-runtime.us-east-1.amazonaws.com")
            .header("content-type", "application/json")
            .header("user-agent", "never signed")
            .body(())
            .unwrap()
    }

    fn authorization(path: &str, token: Option<&str>) -> String {
        let keys = aws_credential_types::Credentials::new(
            "AKIDEXAMPLE",
            "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
            token.map(str::to_owned),
            None,
            "test",
        );
        // 2026-11-22T12:00:00Z
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_348_800);
        let mut request = request(path);
        let credentials = Credentials::Keys(keys);
        let mut hashed = request.clone();
        sign(&mut request, SignableBody::Bytes(BODY.as_bytes()), &credentials, SCOPE, now).unwrap();
        let body = SignableBody::from(&BodyHash::new(BODY.as_bytes()));
        sign(&mut hashed, body, &credentials, SCOPE, now).unwrap();
        assert_eq!(hashed.headers(), request.headers());
        assert!(!request.headers().contains_key("x-amz-content-sha256"));
        assert_eq!(request.headers().contains_key("x-amz-security-token"), token.is_some());
        request.headers()[AUTHORIZATION].to_str().unwrap().to_owned()
    }

    #[test]
    fn signatures_match_botocore() {
        let encoded = authorization("/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse", None);
        assert_eq!(
            encoded,
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261122/us-east-1/bedrock/aws4_request, \
             SignedHeaders=content-type;host;x-amz-date, \
             Signature=a3e283817767a13826ffe457d061052060a6ec2694c66c0604f99a4c6fac8598"
        );
        let raw = authorization("/model/us.anthropic.claude-sonnet-4-5-20250929-v1:0/converse", None);
        assert!(raw.ends_with("d4e2b51836ade3305de1da43082ed30760e236c73e2b6f068090c4be7c71bc74"), "{raw}");
        let arn = "arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Aapplication-inference-profile%2Fabc123";
        let with_token = authorization(&format!("/model/{arn}/converse-stream"), Some("SESSIONTOKEN"));
        assert!(with_token.contains("SignedHeaders=content-type;host;x-amz-date;x-amz-security-token"));
        assert!(with_token.ends_with("3c0455bb623fef29e6dfad2c5fffa6530a488026def26c11429329d4d2f3557f"));
    }

    #[test]
    fn bearer_token_replaces_the_signature_and_is_sensitive() {
        let mut request = request("/model/m/converse-stream");
        let credentials = Credentials::Bearer(Secret::new("ABSKtoken"));
        sign(&mut request, SignableBody::Bytes(&[]), &credentials, SCOPE, SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(request.headers()[AUTHORIZATION], "Bearer ABSKtoken");
        assert!(request.headers()[AUTHORIZATION].is_sensitive());
        assert!(!request.headers().contains_key("x-amz-date"));
    }
}
