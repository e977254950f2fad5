//! Authentication: AWS Signature Version 4 and Bedrock API keys, checked as AWS does.
//!
//! Built on `hmac` and `sha2`, after the AWS General Reference page "Create a signed AWS API request". It shares no
//! code with the signer of a program under test: a bug in shared code would cancel itself out.

use hmac::{Hmac, KeyInit as _, Mac as _};
use http::StatusCode;
use http::request::Parts;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};

use crate::Config;
use crate::error::AwsError;
use crate::routes;

type HmacSha256 = Hmac<Sha256>;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const DATE_FORMAT: &str = "%Y%m%dT%H%M%SZ";
/// Clock skew that AWS accepts.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/signature-v4-troubleshooting.html>
const MAX_SKEW: SignedDuration = SignedDuration::from_mins(5);

/// Caller according to the headers.
#[derive(Debug)]
pub(crate) enum Authorization {
    /// A Bedrock API key, already verified.
    Bearer,
    /// A signature; verifying it needs the body.
    Signed(Signed),
}

/// Fields of a `SigV4` authorization header.
#[derive(Debug)]
pub(crate) struct Signed {
    date: String,
    region: String,
    amz_date: String,
    signed_headers: Vec<String>,
    signature: Vec<u8>,
}

/// Service that the credential scope must name.
fn expected_service(config: &Config, parts: &Parts) -> &'static str {
    match parts.uri.path() {
        _ if config.mantle => "bedrock-mantle",
        routes::STS_PATH => "sts",
        _ => "bedrock",
    }
}

/// Checks the headers, before the body is read. `accepts_x_api_key`: whether the route accepts a Bedrock API key in
/// `x-api-key`.
///
/// # Errors
/// AWS's 403 (or 400 for a malformed header) with AWS's text.
pub(crate) fn authenticate(
    config: &Config,
    parts: &Parts,
    now: Timestamp,
    accepts_x_api_key: bool,
) -> Result<Authorization, AwsError> {
    let missing_token =
        || AwsError::forbidden("MissingAuthenticationTokenException", "Missing Authentication Token");
    let authorization = match (header(parts, "authorization"), header(parts, "x-api-key")) {
        (Some(authorization), _) => authorization,
        (None, Some(key)) if accepts_x_api_key => return check_bearer(config, key),
        (None, Some(_)) => {
            return Err(AwsError::forbidden("AccessDeniedException", "Authorization header is missing"));
        }
        (None, None) => return Err(missing_token()),
    };
    if let Some(key) = authorization.strip_prefix("Bearer ") {
        return check_bearer(config, key);
    }
    let fields = authorization.strip_prefix(ALGORITHM).ok_or_else(missing_token)?;
    let mut signed = parse(fields)?;
    let credential = std::mem::take(&mut signed.region);
    let scope: Vec<&str> = credential.split('/').collect();
    let [access_key, date, region, service, terminator] = scope[..] else {
        return Err(incomplete("Credential must have exactly 5 slash-delimited elements"));
    };
    check_access_key(config, parts, access_key, &signed)?;
    let amz_date = header(parts, "x-amz-date").ok_or_else(|| {
        incomplete("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")
    })?;
    check_date(amz_date, now)?;
    if !amz_date.starts_with(date) {
        return Err(invalid_signature(format!(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '{date}' != \
             '{}', from '{amz_date}'.",
            amz_date.get(..8).unwrap_or_default()
        )));
    }
    check_scope(config, parts, region, service, terminator)?;
    signed.date = date.to_owned();
    signed.region = region.to_owned();
    signed.amz_date = amz_date.to_owned();
    Ok(Authorization::Signed(signed))
}

fn header<'a>(parts: &'a Parts, name: &str) -> Option<&'a str> {
    parts.headers.get(name).and_then(|value| value.to_str().ok())
}

fn check_bearer(config: &Config, key: &str) -> Result<Authorization, AwsError> {
    if config.bearer_token.as_deref().is_some_and(|expected| constant_time_eq(expected, key.trim())) {
        return Ok(Authorization::Bearer);
    }
    Err(AwsError::forbidden(
        "AccessDeniedException",
        "Authentication failed: Please make sure your API Key is valid.",
    ))
}

/// Checks the access key id and the session token, which must be signed.
fn check_access_key(
    config: &Config,
    parts: &Parts,
    access_key: &str,
    signed: &Signed,
) -> Result<(), AwsError> {
    let is_token_valid = match (&config.session_token, header(parts, "x-amz-security-token")) {
        (None, None) => true,
        (Some(expected), Some(token)) => {
            constant_time_eq(expected, token)
                && signed.signed_headers.iter().any(|h| h == "x-amz-security-token")
        }
        _ => false,
    };
    if access_key == config.access_key && is_token_valid {
        return Ok(());
    }
    Err(unknown_key())
}

/// Error for an access key that does not exist.
pub(crate) fn unknown_key() -> AwsError {
    AwsError::forbidden(
        "UnrecognizedClientException",
        "The security token included in the request is invalid.",
    )
}

/// Checks region, service and terminator of the credential scope.
fn check_scope(
    config: &Config,
    parts: &Parts,
    region: &str,
    service: &str,
    terminator: &str,
) -> Result<(), AwsError> {
    if region != config.region {
        return Err(invalid_signature(format!(
            "Credential should be scoped to a valid region, not '{region}'. "
        )));
    }
    let expected = expected_service(config, parts);
    if service != expected {
        return Err(invalid_signature(format!(
            "Credential should be scoped to correct service: '{expected}'. "
        )));
    }
    if terminator != "aws4_request" {
        return Err(invalid_signature(
            "Credential should be scoped with a valid terminator: 'aws4_request'. ",
        ));
    }
    Ok(())
}

impl Signed {
    /// Verifies the signature.
    ///
    /// # Errors
    /// `InvalidSignatureException` for every mismatch.
    pub(crate) fn verify(&self, config: &Config, parts: &Parts, body: &[u8]) -> Result<(), AwsError> {
        let mismatch = || {
            invalid_signature(
                "The request signature we calculated does not match the signature you provided. Check your AWS \
                 Secret Access Key and signing method. Consult the service documentation for details.",
            )
        };
        let canonical = canonical_request(parts, &self.signed_headers, body).ok_or_else(mismatch)?;
        let service = expected_service(config, parts);
        let scope = format!("{}/{}/{service}/aws4_request", self.date, self.region);
        let string_to_sign = format!(
            "{ALGORITHM}\n{}\n{scope}\n{}",
            self.amz_date,
            encode_hex(&Sha256::digest(canonical.as_bytes()))
        );
        let mut key = format!("AWS4{}", config.secret_key).into_bytes();
        for part in [self.date.as_str(), &self.region, service, "aws4_request"] {
            key = hmac_sha256(&key, part.as_bytes()).ok_or_else(mismatch)?.finalize().into_bytes().to_vec();
        }
        // `verify_slice` compares in constant time.
        hmac_sha256(&key, string_to_sign.as_bytes())
            .ok_or_else(mismatch)?
            .verify_slice(&self.signature)
            .map_err(|_| mismatch())
    }
}

/// Header of the project that a request belongs to.
pub(crate) const PROJECT_HEADER: &str = "x-amzn-bedrock-projectidentifier";

/// Canonical request; `None` when a signed header is absent, or when a header that has to be signed is not.
fn canonical_request(parts: &Parts, signed_headers: &[String], body: &[u8]) -> Option<String> {
    let mut text = format!("{}\n{}\n{}\n", parts.method, canonical_path(parts.uri.path()), query(parts));
    let project = parts.headers.contains_key(PROJECT_HEADER).then_some(PROJECT_HEADER);
    for required in ["host", "x-amz-date"].into_iter().chain(project) {
        if !signed_headers.iter().any(|name| name == required) {
            return None;
        }
    }
    for name in signed_headers {
        let mut values: Vec<String> = parts
            .headers
            .get_all(name)
            .iter()
            .map(|value| {
                let value = String::from_utf8_lossy(value.as_bytes());
                value.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
            })
            .collect();
        if values.is_empty() && name == "host" {
            // HTTP/2 carries the host in `:authority`.
            values.push(parts.uri.authority()?.to_string());
        }
        if values.is_empty() {
            return None;
        }
        text.push_str(&format!("{name}:{}\n", values.join(",")));
    }
    text.push_str(&format!("\n{}\n{}", signed_headers.join(";"), encode_hex(&Sha256::digest(body))));
    Some(text)
}

/// Canonical path: the encoded path, encoded again, as every service except S3 requires.
fn canonical_path(wire: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in wire.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            _ => segments.push(segment),
        }
    }
    let mut path = String::with_capacity(wire.len() + 16);
    for segment in segments {
        path.push('/');
        for byte in segment.bytes() {
            if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
                path.push(char::from(byte));
            } else {
                path.push_str(&format!("%{byte:02X}"));
            }
        }
    }
    if path.is_empty() || wire.len() > 1 && wire.ends_with('/') {
        path.push('/');
    }
    path
}

fn query(parts: &Parts) -> String {
    let mut pairs: Vec<String> = parts
        .uri
        .query()
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| if pair.contains('=') { pair.to_owned() } else { format!("{pair}=") })
        .collect();
    pairs.sort();
    pairs.join("&")
}

/// Parses ` Credential=…, SignedHeaders=…, Signature=…`; `region` holds the whole credential.
fn parse(fields: &str) -> Result<Signed, AwsError> {
    let (mut credential, mut headers, mut signature) = (None, None, None);
    for field in fields.split(',') {
        match field.trim().split_once('=') {
            Some(("Credential", value)) => credential = Some(value),
            Some(("SignedHeaders", value)) => headers = Some(value),
            Some(("Signature", value)) => signature = Some(value),
            _ => {}
        }
    }
    let missing_field =
        |name: &str| incomplete(&format!("Authorization header requires '{name}' parameter."));
    let signature = signature.ok_or_else(|| missing_field("Signature"))?;
    Ok(Signed {
        date: String::new(),
        region: credential.ok_or_else(|| missing_field("Credential"))?.to_owned(),
        amz_date: String::new(),
        signed_headers: headers
            .ok_or_else(|| missing_field("SignedHeaders"))?
            .split(';')
            .map(str::to_ascii_lowercase)
            .collect(),
        signature: decode_hex(signature).unwrap_or_default(),
    })
}

fn check_date(amz_date: &str, now: Timestamp) -> Result<(), AwsError> {
    let signed_at = DateTime::strptime(DATE_FORMAT, amz_date)
        .and_then(|date| date.to_zoned(TimeZone::UTC))
        .map_err(|_| incomplete("Date must be in ISO-8601 'basic format'."))?
        .timestamp();
    let text = |time: Timestamp| time.strftime(DATE_FORMAT).to_string();
    let skew = now.duration_since(signed_at);
    if skew > MAX_SKEW {
        return Err(invalid_signature(format!(
            "Signature expired: {amz_date} is now earlier than {} ({} - 5 min.)",
            text(now - MAX_SKEW),
            text(now)
        )));
    }
    if -skew > MAX_SKEW {
        return Err(invalid_signature(format!(
            "Signature not yet current: {amz_date} is still later than {} ({} + 5 min.)",
            text(now + MAX_SKEW),
            text(now)
        )));
    }
    Ok(())
}

fn incomplete(message: &str) -> AwsError {
    AwsError::new(StatusCode::BAD_REQUEST, "IncompleteSignatureException", message)
}

fn invalid_signature(message: impl Into<String>) -> AwsError {
    AwsError::forbidden("InvalidSignatureException", message)
}

/// HMAC-SHA256 of the data; never `None`, because keys of every length are valid.
pub(crate) fn hmac_sha256(key: &[u8], data: &[u8]) -> Option<HmacSha256> {
    let mut mac = HmacSha256::new_from_slice(key).ok()?;
    mac.update(data);
    Some(mac)
}

/// Compares two secrets in constant time, through their digests.
fn constant_time_eq(expected: &str, actual: &str) -> bool {
    let key = b"compare";
    let Some(expected) = hmac_sha256(key, expected.as_bytes()) else {
        return false;
    };
    let Some(actual) = hmac_sha256(key, actual.as_bytes()) else {
        return false;
    };
    actual.verify_slice(&expected.finalize().into_bytes()).is_ok()
}

pub(crate) fn encode_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn decode_hex(text: &str) -> Option<Vec<u8>> {
    let pair = |i: usize| u8::from_str_radix(text.get(i..i + 2)?, 16).ok();
    if !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len()).step_by(2).map(pair).collect()
}

#[cfg(test)]
#[path = "auth_tests.rs"]
mod tests;
