use serde_json::json;

use super::*;
use crate::auth::Scope;
use crate::config::Config;

const KEY: &str = "0123456789abcdef0123456789abcdef";
const OLD: &str = "the key of last month; 33 letters";
const NOW: i64 = 1_795_348_800;

fn keys(current: &str, previous: &str) -> JwtKeys {
    let config = Config::load(|name| match name {
        "JWT_SECRET_KEY" => Some(current.to_owned()),
        "JWT_PREVIOUS_SECRET_KEYS" => Some(previous.to_owned()),
        _ => None,
    });
    JwtKeys::new(&config.unwrap().auth).unwrap()
}

fn valid() -> Value {
    json!({"iss": "bedrock-proxy", "aud": "bedrock-api", "exp": NOW + 3600, "user_id": "user123"})
}

/// A token made without `JwtKeys`, so that signing and verifying are not only tested against each other.
fn signed(header: &str, payload: &str, key: &str) -> String {
    let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap();
    mac.update(text.as_bytes());
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

fn verify(payload: &str) -> Result<Claims, TokenError> {
    keys(KEY, "").verify(&signed(r#"{"typ":"JWT","alg":"HS256"}"#, payload, KEY), NOW)
}

/// The valid claims with one of them changed.
fn with(name: &str, value: Value) -> Result<Claims, TokenError> {
    let mut claims = valid();
    claims[name] = value;
    verify(&claims.to_string())
}

#[test]
fn token_of_another_tool_is_accepted() {
    // PyJWT 2: jwt.encode({"user_id": "user123", "team": "team-alpha", "iss": …, "aud": …, "iat": …, "exp": …}, KEY)
    let token = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ1c2VyX2lkIjoidXNlcjEyMyIsInRlYW0iOiJ0ZWFtLWFscGhhIiwiaXNzIjoiYmVkcm9jay1wcm94eSIsImF1ZCI6ImJlZHJvY2stYXBpIiwiaWF0IjoxNzk1MzQ4ODAwLCJleHAiOjE3OTU0MzUyMDB9.OYcEHpbynq8wICHpjkG4fzZLh8lUHga71wAO9UUJs78";
    let claims = keys(KEY, "").verify(token, NOW).unwrap();
    assert_eq!((claims.user_id.as_str(), claims.team.as_deref()), ("user123", Some("team-alpha")));
    assert_eq!((claims.issued_at, claims.expires_at), (Some(NOW), NOW + 86_400));
    assert_eq!((claims.scope, claims.jti, claims.default_inference_profile), (Scope::Inference, None, None));
}

#[test]
fn issued_inference_token_names_claude_gateway() {
    let audiences = |scope| {
        let claims = Claims {
            user_id: "ana".to_owned(),
            team: None,
            default_inference_profile: None,
            scope,
            jti: None,
            issued_at: None,
            expires_at: NOW + 60,
        };
        let token = keys(KEY, "").sign(&claims);
        let payload = token.expose().split('.').nth(1).unwrap().to_owned();
        let payload: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
        payload["aud"].clone()
    };
    assert_eq!(audiences(Scope::Inference), json!(["bedrock-api", "claude-gateway"]));
    assert_eq!(audiences(Scope::Admin), json!("bedrock-api"));
}

#[test]
fn signed_token_verifies_with_the_same_claims() {
    for scope in Scope::ALL {
        let claims = Claims {
            user_id: "Jürgen Müller".to_owned(),
            team: Some("payments".to_owned()),
            default_inference_profile: Some("us.anthropic.claude-sonnet-4-5-20250929-v1:0".to_owned()),
            scope,
            jti: Some("tok_1".to_owned()),
            issued_at: Some(NOW),
            expires_at: NOW + 60,
        };
        let token = keys(KEY, "").sign(&claims);
        assert_eq!(keys(KEY, "").verify(token.expose(), NOW), Ok(claims));
        assert_eq!(keys(OLD, "").verify(token.expose(), NOW), Err(TokenError::Signature));
        assert!(
            keys(OLD, &format!("another one that is long enough;-),{KEY}"))
                .verify(token.expose(), NOW)
                .is_ok()
        );
    }
}

#[test]
fn other_algorithms_are_rejected_in_any_spelling() {
    for algorithm in ["none", "None", "nOnE", "NONE", "HS384", "HS512", "RS256", "hs256", ""] {
        let header = json!({"alg": algorithm, "typ": "JWT"}).to_string();
        let token = signed(&header, &valid().to_string(), KEY);
        assert_eq!(keys(KEY, "").verify(&token, NOW), Err(TokenError::Algorithm), "{algorithm}");
        let unsigned = token.rsplit_once('.').unwrap().0.to_owned() + ".";
        assert_eq!(keys(KEY, "").verify(&unsigned, NOW), Err(TokenError::Algorithm), "{algorithm}");
    }
    assert_eq!(
        keys(KEY, "").verify(&signed("{}", &valid().to_string(), KEY), NOW),
        Err(TokenError::Algorithm)
    );
    let empty =
        signed(r#"{"alg":"HS256"}"#, &valid().to_string(), KEY).rsplit_once('.').unwrap().0.to_owned() + ".";
    assert_eq!(keys(KEY, "").verify(&empty, NOW), Err(TokenError::Signature));
}

#[test]
fn header_cannot_choose_the_key() {
    for kid in ["../../dev/null", "' OR 1=1; --"] {
        let header = json!({"alg": "HS256", "kid": kid, "jku": "http://127.0.0.1:1/", "x5u": "http://127.0.0.1:1/",
            "jwk": {"kty": "oct", "k": URL_SAFE_NO_PAD.encode("their own key, long enough to pass")}});
        let theirs = signed(&header.to_string(), &valid().to_string(), "their own key, long enough to pass");
        assert_eq!(keys(KEY, "").verify(&theirs, NOW), Err(TokenError::Signature));
        let ours = signed(&header.to_string(), &valid().to_string(), KEY);
        assert!(keys(KEY, "").verify(&ours, NOW).is_ok(), "headers about keys are ignored");
    }
    for header in [r#"{"alg":"HS256","crit":["b64"],"b64":false}"#, r#"{"alg":"HS256","typ":"JWE"}"#] {
        assert_eq!(
            keys(KEY, "").verify(&signed(header, &valid().to_string(), KEY), NOW),
            Err(TokenError::Malformed)
        );
    }
    let twice = signed(r#"{"alg":"none","alg":"HS256"}"#, &valid().to_string(), KEY);
    assert_eq!(keys(KEY, "").verify(&twice, NOW), Err(TokenError::Malformed));
}

#[test]
fn clocks_may_differ_by_a_minute() {
    let error_at = |name: &str, seconds: i64| with(name, json!(NOW + seconds)).err();
    assert_eq!(error_at("exp", -1), None);
    assert_eq!(error_at("exp", -59), None);
    assert_eq!(error_at("exp", -60), Some(TokenError::Expired));
    assert_eq!(error_at("exp", -61), Some(TokenError::Expired));
    assert_eq!(error_at("nbf", 60), None);
    assert_eq!(error_at("nbf", 61), Some(TokenError::NotYetValid));
    assert!(with("exp", json!(i64::MIN)).is_err() && with("exp", json!(i64::MAX)).is_ok());
    assert!(with("nbf", json!(i64::MAX)).is_err() && with("nbf", json!(i64::MIN)).is_ok());
}

#[test]
fn times_may_be_fractional() {
    let claims = with("exp", json!(1_895_348_800.5)).unwrap();
    assert_eq!(claims.expires_at, 1_895_348_800, "expires at the last whole second before");
    assert_eq!(with("iat", json!(1_795_348_799.999)).unwrap().issued_at, Some(NOW - 1));
    assert_eq!(with("iat", json!(-0.5)).unwrap().issued_at, Some(-1));
    let exponent = verify(&valid().to_string().replacen(&(NOW + 3600).to_string(), "1.895348800e9", 1));
    assert_eq!(exponent.unwrap().expires_at, 1_895_348_800);
    assert!(with("nbf", json!(1_795_348_859.5)).is_ok());
    assert_eq!(with("nbf", json!(1_795_348_860.5)), Err(TokenError::NotYetValid));
    assert_eq!(with("exp", json!(1_795_348_740.9)), Err(TokenError::Expired));
}

#[test]
fn times_must_be_numbers() {
    for claim in ["exp", "nbf", "iat"] {
        for value in
            [json!("1895348800"), json!(1e308), json!(-1e19), json!(true), json!([1]), json!(u64::MAX)]
        {
            let error = with(claim, value.clone()).unwrap_err();
            assert!(
                matches!(error, TokenError::Claim { name, .. } if name == claim),
                "{claim} {value}: {error}"
            );
        }
    }
    let endless = verify(r#"{"iss":"bedrock-proxy","aud":"bedrock-api","user_id":"u"}"#).unwrap_err();
    assert_eq!(endless.check(), "exp");
    assert_eq!(with("exp", Value::Null).unwrap_err().check(), "exp");
    let infinite = verify(r#"{"iss":"bedrock-proxy","aud":"bedrock-api","user_id":"u","exp":1e999}"#);
    assert_eq!(infinite, Err(TokenError::Payload));
}

#[test]
fn issuer_and_audience_are_compared_exactly() {
    for issuer in [json!("bedrock-proxy "), json!("Bedrock-Proxy"), json!(["bedrock-proxy"]), Value::Null] {
        assert_eq!(with("iss", issuer).unwrap_err().check(), "iss");
    }
    for audience in
        [json!("other"), json!(["other"]), json!([]), json!([["bedrock-api"]]), json!({}), Value::Null]
    {
        assert_eq!(with("aud", audience).unwrap_err().check(), "aud");
    }
    assert!(with("aud", json!(["other", "bedrock-api"])).is_ok());
}

#[test]
fn errors_name_the_expected_issuer_and_audience() {
    for (claim, value, message) in [
        ("iss", Value::Null, "the token has no issuer (`iss`); this proxy accepts \"bedrock-proxy\""),
        (
            "iss",
            json!("idp"),
            "the token was issued by \"idp\" (`iss`); this proxy accepts \"bedrock-proxy\"",
        ),
        ("aud", Value::Null, "the token has no audience (`aud`); this proxy accepts \"bedrock-api\""),
        ("aud", json!([]), "the token has no audience (`aud`); this proxy accepts \"bedrock-api\""),
        ("aud", json!(["a", "b"]), "the token is for \"a, b\" (`aud`); this proxy accepts \"bedrock-api\""),
    ] {
        assert_eq!(with(claim, value).unwrap_err().to_string(), message);
    }
    let long = with("iss", json!("x".repeat(4000))).unwrap_err().to_string();
    assert!(long.len() < 200, "{long}");
}

#[test]
fn invisible_characters_in_names_are_rejected() {
    let long = "x".repeat(256);
    for claim in ["user_id", "team", "jti"] {
        for name in
            ["", " ", "\t\n", "a\u{0}b", "a\nb", " a", "a ", "a\u{200b}", "a\u{202e}b", "\u{feff}a", &long]
        {
            assert_eq!(with(claim, json!(name)).unwrap_err().check(), claim, "{name:?}");
        }
        for invisible in [
            '\u{ad}',
            '\u{34f}',
            '\u{61c}',
            '\u{600}',
            '\u{115f}',
            '\u{1160}',
            '\u{17b4}',
            '\u{180e}',
            '\u{200d}',
            '\u{2060}',
            '\u{2064}',
            '\u{2800}',
            '\u{3164}',
            '\u{3000}',
            '\u{2003}',
            '\u{fe0f}',
            '\u{ffa0}',
            '\u{fff9}',
            '\u{ffff}',
            '\u{110bd}',
            '\u{13430}',
            '\u{1bca0}',
            '\u{1d159}',
            '\u{1d173}',
            '\u{e0001}',
            '\u{e0041}',
            '\u{e01ef}',
        ] {
            for name in [format!("a{invisible}b"), invisible.to_string()] {
                assert_eq!(with(claim, json!(name)).unwrap_err().check(), claim, "{invisible:?}");
            }
        }
        for visible in
            ["山田 太郎", "Zoë O’Neil-Łukasz", "محمد", "अनिल", "e\u{301}", "x_1@example.com", "\u{1f600}"]
        {
            assert!(with(claim, json!(visible)).is_ok(), "{visible}");
        }
        assert_eq!(with(claim, json!(7)).unwrap_err().check(), claim);
        assert!(with(claim, json!("x".repeat(255))).is_ok());
    }
    assert_eq!(with("user_id", Value::Null).unwrap_err().check(), "user_id");
    assert_eq!(with("team", Value::Null).unwrap().team, None);
    let cyrillic = with("user_id", json!("\u{430}dmin")).unwrap();
    assert_ne!(cyrillic.user_id, "admin", "names that look alike stay two names");
}

#[test]
fn duplicate_claims_are_rejected() {
    for twice in [r#""user_id":"other""#, r#""exp":1"#, r#""anything":1,"anything":2"#] {
        let payload = format!("{},{twice}}}", valid().to_string().strip_suffix('}').unwrap());
        assert_eq!(verify(&payload), Err(TokenError::Payload), "{payload}");
    }
    for payload in ["[]", "null", "7", "{", "", r#""x""#] {
        assert_eq!(verify(payload), Err(TokenError::Payload), "{payload}");
    }
}

#[test]
fn unknown_scopes_and_malformed_profiles_are_rejected() {
    assert_eq!(with("scope", json!("admin:read")).unwrap().scope, Scope::AdminRead);
    assert_eq!(with("scope", json!("inference")).unwrap().scope, Scope::Inference);
    for scope in [json!("root"), json!("admin inference"), json!(""), json!(["admin"])] {
        assert_eq!(with("scope", scope).unwrap_err().check(), "scope");
    }
    for profile in [json!(""), json!("a b"), json!("x".repeat(2049)), json!(1)] {
        assert_eq!(
            with("default_inference_profile", profile).unwrap_err().check(),
            "default_inference_profile"
        );
    }
}

#[test]
fn malformed_tokens_are_rejected_without_panic() {
    let keys = keys(KEY, "");
    for token in
        ["", ".", "..", "a.b", "a.b.c", "a.b.c.d", "' OR 1=1; --", "'; DROP TABLE users; --", "ä.ö.ü"]
    {
        assert_eq!(keys.verify(token, NOW), Err(TokenError::Malformed), "{token}");
    }
    assert_eq!(keys.verify(&"x".repeat(1 << 20), NOW), Err(TokenError::TooLong));
    let padded = signed(r#"{"alg":"HS256"}"#, &valid().to_string(), KEY) + "=";
    assert_eq!(keys.verify(&padded, NOW), Err(TokenError::Malformed), "one token has one spelling");
}

#[test]
fn checks_run_in_their_documented_order() {
    let mut claims = json!({"exp": NOW - 3600, "iss": "x", "aud": "x", "user_id": ""});
    let mut order = Vec::new();
    for repaired in ["exp", "iss", "aud", "user_id"] {
        order.push(verify(&claims.to_string()).unwrap_err().check());
        claims[repaired] = valid()[repaired].clone();
    }
    assert_eq!(order, ["exp", "iss", "aud", "user_id"]);
    assert!(verify(&claims.to_string()).is_ok());
}

#[test]
fn debug_output_hides_keys() {
    assert!(!format!("{:?}", keys(KEY, OLD)).contains("0123"));
}
