use super::*;

const BODY: &[u8] = br#"{"messages":[{"role":"user","content":[{"text":"hi"}]}]}"#;

fn now() -> Timestamp {
    "2026-11-22T12:00:00Z".parse().unwrap()
}

fn request(path: &str, signature: &str, token: Option<&str>) -> Parts {
    let headers = match token {
        Some(_) => "content-type;host;x-amz-date;x-amz-security-token",
        None => "content-type;host;x-amz-date",
    };
    let mut request = http::Request::post(path)
        .header("host", "bedrock-runtime.us-east-1.amazonaws.com")
        .header("content-type", "application/json")
        .header("x-amz-date", "20261122T120000Z")
        .header(
            "authorization",
            format!(
                "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261122/us-east-1/bedrock/aws4_request, \
                 SignedHeaders={headers}, Signature={signature}"
            ),
        );
    if let Some(token) = token {
        request = request.header("x-amz-security-token", token);
    }
    request.body(()).unwrap().into_parts().0
}

fn check(config: &Config, parts: &Parts, now: Timestamp) -> Result<(), AwsError> {
    match authenticate(config, parts, now, false)? {
        Authorization::Bearer => Ok(()),
        Authorization::Signed(signed) => signed.verify(config, parts, BODY),
    }
}

const ENCODED: &str = "/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse";
const ENCODED_SIGNATURE: &str = "a3e283817767a13826ffe457d061052060a6ec2694c66c0604f99a4c6fac8598";

#[test]
fn golden_signatures_are_valid() {
    let config = Config::default();
    let parts = request(ENCODED, ENCODED_SIGNATURE, None);
    assert_eq!(check(&config, &parts, now()), Ok(()));
    let parts = request(
        "/model/us.anthropic.claude-sonnet-4-5-20250929-v1:0/converse",
        "d4e2b51836ade3305de1da43082ed30760e236c73e2b6f068090c4be7c71bc74",
        None,
    );
    assert_eq!(check(&config, &parts, now()), Ok(()));
    let config = Config { session_token: Some("SESSIONTOKEN".into()), ..config };
    let parts = request(
        "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Aapplication-inference-profile%2Fabc123/converse-stream",
        "3c0455bb623fef29e6dfad2c5fffa6530a488026def26c11429329d4d2f3557f",
        Some("SESSIONTOKEN"),
    );
    assert_eq!(check(&config, &parts, now()), Ok(()));
}

#[test]
fn altered_secret_or_path_invalidates_the_signature() {
    let other = Config { secret_key: "other".into(), ..Config::default() };
    let parts = request(ENCODED, ENCODED_SIGNATURE, None);
    assert_eq!(check(&other, &parts, now()).unwrap_err().kind, "InvalidSignatureException");
    let parts = request("/model/a/converse", ENCODED_SIGNATURE, None);
    assert!(check(&Config::default(), &parts, now()).is_err());
    let parts = request(ENCODED, "zz", None);
    assert!(check(&Config::default(), &parts, now()).is_err());
}

#[test]
fn unknown_access_key_is_an_unrecognized_client() {
    let parts = request(ENCODED, ENCODED_SIGNATURE, None);
    for config in [
        Config { access_key: "AKIDOTHER".into(), ..Config::default() },
        Config { session_token: Some("wanted".into()), ..Config::default() },
    ] {
        assert_eq!(check(&config, &parts, now()).unwrap_err().kind, "UnrecognizedClientException");
    }
}

#[test]
fn signature_is_valid_for_five_minutes() {
    let parts = request(ENCODED, ENCODED_SIGNATURE, None);
    let at = |time: &str| check(&Config::default(), &parts, time.parse().unwrap());
    assert_eq!(at("2026-11-22T12:05:00Z"), Ok(()));
    assert_eq!(
        at("2026-11-22T12:05:01Z").unwrap_err().message,
        "Signature expired: 20261122T120000Z is now earlier than 20261122T120001Z (20261122T120501Z - 5 min.)"
    );
    assert!(at("2026-11-22T11:54:00Z").unwrap_err().message.starts_with("Signature not yet current"));
}

#[test]
fn bearer_key_must_match() {
    let bearer = |key: &str| {
        let request = http::Request::post("/").header("authorization", key).body(()).unwrap();
        check(&Config::default(), &request.into_parts().0, now())
    };
    assert_eq!(bearer("Bearer bedrock-api-key-example"), Ok(()));
    assert_eq!(bearer("Bearer nope").unwrap_err().kind, "AccessDeniedException");
    assert_eq!(bearer("Basic x").unwrap_err().kind, "MissingAuthenticationTokenException");
    let none = http::Request::post("/").body(()).unwrap().into_parts().0;
    assert_eq!(check(&Config::default(), &none, now()).unwrap_err().message, "Missing Authentication Token");
}

#[test]
fn x_api_key_is_accepted_on_some_routes() {
    let hmac_sha256 = |key: &str, x_api_key: bool| {
        let request = http::Request::post("/").header("x-api-key", key).body(()).unwrap();
        authenticate(&Config::default(), &request.into_parts().0, now(), x_api_key).map(|_| ())
    };
    assert_eq!(hmac_sha256("bedrock-api-key-example", true), Ok(()));
    assert_eq!(hmac_sha256("nope", true).unwrap_err().kind, "AccessDeniedException");
    assert_eq!(
        hmac_sha256("bedrock-api-key-example", false).unwrap_err().message,
        "Authorization header is missing"
    );
}

#[test]
fn mantle_requires_its_own_service_name() {
    let config = Config { mantle: true, ..Config::default() };
    let error = check(&config, &request(ENCODED, ENCODED_SIGNATURE, None), now()).unwrap_err();
    assert_eq!(error.message, "Credential should be scoped to correct service: 'bedrock-mantle'. ");
}

#[test]
fn project_header_must_be_signed() {
    let config = Config::default();
    let mut parts = request(ENCODED, ENCODED_SIGNATURE, None);
    parts.headers.insert(PROJECT_HEADER, "payments".parse().unwrap());
    assert_eq!(check(&config, &parts, now()).unwrap_err().kind, "InvalidSignatureException");
}
