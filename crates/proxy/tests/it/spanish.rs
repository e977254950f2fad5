//! Spanish: errors of the proxy for clients that prefer it, help for operators with a Spanish locale. Types, codes and the
//! sentences on which clients recover stay as they are.

use std::path::Path;

use bedrock_proxy::testing::spanish_error;
use serde_json::{Value, json};

use crate::cli_serve::program;
use crate::harness::tokens::{authenticated_server_with, token};
use crate::harness::{TestResponse, TestServer, message_body, test_server};

const SPANISH: (&str, &str) = ("accept-language", "es-MX,es;q=0.9,en;q=0.8");

fn message(response: &TestResponse) -> String {
    let json = response.json();
    let message = if json["error"].is_object() { &json["error"]["message"] } else { &json["message"] };
    message.as_str().unwrap_or_else(|| panic!("{json}")).to_owned()
}

/// Sends the request in both languages: everything but the message is the same. Returns the Spanish message.
async fn in_spanish(server: &TestServer, path: &str, headers: &[(&str, &str)], body: &str) -> String {
    let english = server.request("POST", path, headers, body.to_owned()).await;
    let headers: Vec<_> = headers.iter().copied().chain([SPANISH]).collect();
    let spanish = server.request("POST", path, &headers, body.to_owned()).await;
    assert!(english.status.as_u16() >= 400, "{path}: {}", english.body);
    assert_eq!(english.status, spanish.status, "{path}");
    for name in ["x-should-retry", "x-amzn-errortype"] {
        assert_eq!(english.headers.get(name), spanish.headers.get(name), "{path}");
    }
    assert_eq!(spanish.headers["content-language"], "es", "{path}: {}", spanish.body);
    assert!(!english.headers.contains_key("content-language"));
    let (before, after) = (english.json(), spanish.json());
    for name in ["type", "code", "param"] {
        assert_eq!(before["error"].get(name), after["error"].get(name), "{path}");
    }
    let message = message(&spanish);
    assert_ne!(message, self::message(&english), "{path}");
    message
}

#[tokio::test]
async fn errors_are_spanish_for_clients_that_prefer_it() {
    let server = authenticated_server_with(&[("DEFAULT_USER_DAILY_TOKENS", "0")], |_| {}).await;
    let bearer = format!("Bearer {}", token("ana", &json!({})));
    let ana = [("authorization", bearer.as_str())];
    let body = message_body("Hello", false).to_string();
    let converse = json!({"messages": [{"role": "user", "content": [{"text": "Hello"}]}]}).to_string();
    for (path, body) in [
        ("/v1/messages", &body),
        ("/v1/chat/completions", &body),
        ("/model/claude-sonnet-4-5/converse", &converse),
    ] {
        let missing = in_spanish(&server, path, &[], body).await;
        assert!(missing.contains("no se ha enviado ninguna credencial"), "{missing}");
        let foreign = format!("Bearer {}", token("ana", &json!({"iss": "idp"})));
        let foreign = in_spanish(&server, path, &[("authorization", &foreign)], body).await;
        assert!(foreign.contains("este proxy acepta \"bedrock-proxy\""), "{foreign}");
        let limit = in_spanish(&server, path, &ana, body).await;
        assert!(limit.contains("ha usado 0 de su límite de 0 tokens"), "{limit}");
        assert!(limit.contains("El límite se restablece a las 20"), "{limit}");
    }
    for path in ["/v1/messages", "/v1/chat/completions"] {
        let unknown = body.replace("\"model\":\"", "\"model\":\"no-such-");
        let unknown = in_spanish(&server, path, &ana, &unknown).await;
        assert!(unknown.contains("no existe"), "{unknown}");
        let broken = in_spanish(&server, path, &ana, "{").await;
        assert!(broken.contains("no es JSON válido"), "{path}: {broken}");
        let nowhere = in_spanish(&server, "/v1/nowhere", &ana, &body).await;
        assert_eq!(nowhere, "la ruta /v1/nowhere no existe");
    }
}

#[tokio::test]
async fn sentences_that_clients_recover_on_stay_english() {
    let server = test_server().await;
    let mut wrong_type = message_body("Hello", false);
    wrong_type["max_tokens"] = json!("a");
    let response = server.request("POST", "/v1/messages", &[SPANISH], wrong_type.to_string()).await;
    assert_eq!(message(&response), "max_tokens: Input should be a valid integer");
    assert!(!response.headers.contains_key("content-language"));
    let throttled = message_body("[throttle]", false).to_string();
    let response = server.request("POST", "/v1/messages", &[SPANISH], throttled).await;
    assert_eq!(response.status, 429);
    assert!(!response.headers.contains_key("content-language"), "{}", response.body);
    for message in
        ["prompt is too long: 200001 tokens > 200000 maximum", "Input is too long for requested model."]
    {
        assert_eq!(spanish_error(message), None);
    }
}

/// The string literal that begins at or after `at` within the statement there, with its placeholders as they are.
fn literal(source: &str, at: usize) -> Option<String> {
    let rest = &source[at..];
    let end = rest.find(';').unwrap_or(rest.len());
    let start = rest[..end].find('"')? + 1;
    let mut text = String::new();
    let mut letters = rest[start..].chars();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => return Some(text),
            '\\' => match letters.next()? {
                '\n' => {
                    let rest = letters.as_str().trim_start();
                    letters = rest.chars();
                }
                escaped => text.push(escaped),
            },
            letter => text.push(letter),
        }
    }
    None
}

/// A sentence with a value for each placeholder.
fn filled(sentence: &str) -> String {
    let mut text = String::new();
    let mut rest = sentence;
    while let Some((before, after)) = rest.split_once('{') {
        text.push_str(before);
        text.push_str("\"x\"");
        rest = after.split_once('}').map_or("", |(_, rest)| rest);
    }
    text + rest
}

/// Errors that clients of the three APIs get from the proxy itself, as they stand in the code.
#[test]
fn every_own_error_has_a_spanish_sentence() {
    // Composed sentences, which `errors_are_spanish_for_clients_that_prefer_it` and the unit tests have, and AWS's own.
    const COMPOSED: [&str; 7] = [
        "{}",
        "the token's claim `{name}` {reason}",
        "model: Field required",
        "model: {0}",
        "model: {name}",
        "model: {id}",
        "{} of the {} tokens",
    ];
    let mut count = 0;
    let mut check = |file: &str, sentence: &str| {
        if sentence.len() < 12 || COMPOSED.iter().any(|composed| sentence.starts_with(composed)) {
            return;
        }
        count += 1;
        let sentence = filled(sentence);
        assert!(spanish_error(&sentence).is_some(), "{file}: add to language/errors.es.po: {sentence}");
    };
    let source = |file: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(file);
        let text = std::fs::read_to_string(path).unwrap();
        text.split("#[cfg(test)]\nmod tests").next().unwrap().to_owned()
    };
    for file in ["auth/error.rs", "catalog.rs"] {
        let text = source(file);
        for (at, _) in text.match_indices("#[error(") {
            // The attribute ends before the variant.
            let end = text[at..].find(")]").unwrap();
            if let Some(sentence) = literal(&text[..at + end], at) {
                check(file, &sentence);
            }
        }
    }
    let api = [
        "api/aliases.rs",
        "api/extract.rs",
        "api/health.rs",
        "api/inference_profiles.rs",
        "api/rate_limit_headers.rs",
        "api/layers/catch_panic.rs",
        "api/layers/host.rs",
        "api/layers/cors.rs",
        "api/layers/cross_site.rs",
        "server/router.rs",
        "inference/error.rs",
        "inference/json_body.rs",
        "api/admin.rs",
    ];
    for file in api {
        let text = source(file);
        for call in [
            "ApiError::new(",
            "Self::new(\n",
            "let message =",
            "Error::new(\n",
            "Error::new(ErrorType",
            "Self::Timeout(",
            "Self::BadGateway(",
        ] {
            for (at, _) in text.match_indices(call) {
                if let Some(sentence) = literal(&text, at + call.len()) {
                    check(file, &sentence);
                }
            }
        }
    }
    assert!(count > 40, "{count}");
}

#[test]
fn help_is_spanish_in_a_spanish_locale() {
    let folder = tempfile::tempdir().unwrap();
    let help = |variable: &str, value: &str, arguments: &[&str]| {
        let output = program(folder.path()).env(variable, value).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    for variable in ["LC_ALL", "LC_MESSAGES", "LANG"] {
        let spanish = help(variable, "es_MX.UTF-8", &["token", "issue", "--help"]);
        assert!(spanish.contains("Uso: ") && spanish.contains("Opciones:"), "{spanish}");
        assert!(spanish.contains("Emite un token") && spanish.contains("--ttl"), "{spanish}");
    }
    let english = help("LANG", "de_DE.UTF-8", &["token", "issue", "--help"]);
    assert!(english.contains("Usage:") && english.contains("Issue a token"), "{english}");
    let list = help("LANG", "es_ES.UTF-8", &["--help"]);
    assert!(list.contains("Órdenes:") && list.contains("[ORDEN]"), "{list}");
    // What programs read stays as it is.
    let version: Value = serde_json::from_str(&help("LANG", "es_ES.UTF-8", &["version", "--json"])).unwrap();
    assert_eq!(version["name"], "bedrock-proxy");
}
