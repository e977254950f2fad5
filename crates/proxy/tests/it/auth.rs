//! Authentication: tokens that are accepted and tokens that are rejected. `docs/hardening.md` names the tests of bad
//! inputs.

use std::time::Duration;

use bedrock_proxy::testing::{AuditEvent, EventFilter, Page, StoreError, User};
use http::{Method, Request};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::postgres;
use crate::harness::tokens::{
    KEY, authenticated_server, authenticated_server_with, claims, now, signed, token,
};
use crate::harness::{
    TestServer, captured_logs, full, log_line, message_body, read_response, test_server, wait_for,
};

fn hs256() -> Value {
    json!({"alg": "HS256", "typ": "JWT"})
}

fn event(kind: &str) -> AuditEvent {
    let id = bedrock_proxy::testing::event_id();
    let (user_id, team, actor) = (None, None, Some("test".to_owned()));
    AuditEvent { id, kind: kind.to_owned(), user_id, team, actor, details: json!({}), at: now() * 1000 }
}

/// Changes the row of `user`, which is made if there is none.
async fn set(server: &TestServer, user_id: &str, change: impl FnOnce(&mut User) + Send) {
    let changed = server.app.store.put_user(user_id, now() * 1000, |user| {
        let mut user = user.unwrap_or(User {
            user_id: user_id.to_owned(),
            team: None,
            daily_token_limit: None,
            default_inference_profile: None,
            disabled: false,
            tokens_valid_from: None,
            tokens_used_today: 0,
            last_reset_date: None,
            created_at: 0,
            updated_at: 0,
        });
        change(&mut user);
        Ok((user, event("user_changed")))
    });
    changed.await.unwrap();
}

/// Sends requests until a response has `status`, for as long as a change may take to act.
async fn until(server: &TestServer, token: &str, status: u16) -> String {
    wait_for("the change acts", async || {
        let response = server.post_as(token).await;
        (response.status.as_u16() == status).then_some(response.body)
    })
    .await
}

#[tokio::test]
async fn valid_token_is_accepted_in_either_header() {
    let server = authenticated_server().await;
    let token = token("ana", &json!({"team": "payments"}));
    for header in [("authorization", format!("Bearer {token}")), ("x-api-key", token.clone())] {
        let response = server.post_with(&[(header.0, &header.1)]).await;
        assert_eq!(response.status, 200, "{}", response.body);
        let line = log_line(response.request_id()).await;
        assert_eq!((&line["user"], &line["team"]), (&json!("ana"), &json!("payments")));
    }
    let ana = server.app.store.user("ana").await.unwrap();
    assert_eq!((ana.team.as_deref(), ana.daily_token_limit), (Some("payments"), Some(1_000_000)));
    assert!(!captured_logs().contains(&token) && !captured_logs().contains(KEY));
}

#[tokio::test]
async fn disabled_authentication_accepts_any_credential() {
    let server = test_server().await;
    assert_eq!(server.post_with(&[("authorization", "Basic x"), ("x-api-key", "any")]).await.status, 200);
}

#[tokio::test]
async fn unsigned_token_is_rejected() {
    let server = authenticated_server().await;
    for algorithm in ["none", "None", "NONE", "nOnE", "nonE"] {
        let header = json!({"alg": algorithm, "typ": "JWT"});
        let whole = signed(&header, &claims("ana", &json!({})).to_string(), KEY);
        let bare = whole.rsplit_once('.').unwrap().0.to_owned() + ".";
        for token in [whole, bare] {
            assert!(server.post_as(&token).await.refused(algorithm).contains("HS256"));
        }
    }
}

#[tokio::test]
async fn public_key_is_rejected_as_hmac_secret() {
    const PUBLIC: &str =
        "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\n-----END PUBLIC KEY-----";
    let server = authenticated_server().await;
    for algorithm in ["HS256", "RS256"] {
        let token = signed(&json!({"alg": algorithm}), &claims("ana", &json!({})).to_string(), PUBLIC);
        server.post_as(&token).await.refused(algorithm);
    }
}

#[tokio::test]
async fn key_fields_of_jwt_header_are_ignored() {
    let server = authenticated_server().await;
    let trap = format!("http://{}/keys", server.fake_address);
    let kids = ["../../dev/null".to_owned(), "' UNION SELECT 'key'; --".to_owned(), "k".repeat(10_000)];
    for kid in kids {
        let header = json!({"alg": "HS256", "kid": kid, "jku": trap, "x5u": trap,
            "jwk": {"kty": "oct", "k": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}});
        server.post_as(&signed(&header, &claims("ana", &json!({})).to_string(), "")).await.refused(&kid);
    }
    assert!(server.bedrock.requests().is_empty(), "nothing was fetched");
}

#[tokio::test]
async fn token_times_are_checked_with_one_minute_leeway() {
    let server = authenticated_server().await;
    for fine in [
        json!({"exp": now() - 50}),
        json!({"nbf": now() + 50}),
        json!({"exp": 1_895_348_800.5, "iat": 1_795_348_800.25, "nbf": 1_795_348_800.75}),
    ] {
        assert_eq!(server.post_as(&token("ana", &fine)).await.status, 200, "{fine}");
    }
    let wrong = [
        (json!({"exp": now() - 61}), "expired"),
        (json!({"nbf": now() + 120}), "nbf"),
        (json!({"exp": null}), "`exp` is missing"),
        (json!({"exp": "1895348800"}), "number of seconds"),
        (json!({"exp": 1e308}), "number of seconds"),
    ];
    for (claim, text) in wrong {
        let message = server.post_as(&token("ana", &claim)).await.refused(text);
        assert!(message.contains(text), "{claim}: {message}");
    }
}

#[tokio::test]
async fn cached_token_is_rejected_after_expiry() {
    let server = authenticated_server().await;
    // It ends, with the leeway, about a second from now.
    let token = token("ana", &json!({"exp": now() - 58}));
    assert_eq!(server.post_as(&token).await.status, 200);
    assert!(until(&server, &token, 401).await.contains("expired"));
}

#[tokio::test]
async fn foreign_issuer_audience_or_duplicate_claim_is_rejected() {
    let server = authenticated_server().await;
    assert_eq!(server.post_as(&token("ana", &json!({"aud": ["x", "bedrock-api"]}))).await.status, 200);
    for (claim, message) in [
        (json!({"iss": "other"}), "iss"),
        (json!({"iss": null}), "iss"),
        (json!({"aud": "other"}), "aud"),
        (json!({"aud": ["other"]}), "aud"),
        (json!({"aud": null}), "aud"),
        (json!({"user_id": null}), "user_id"),
    ] {
        assert!(server.post_as(&token("ana", &claim)).await.refused(message).contains(message));
    }
    let twice = claims("ana", &json!({})).to_string().replacen('{', r#"{"user_id":"boss","#, 1);
    assert!(server.post_as(&signed(&hs256(), &twice, KEY)).await.refused("twice").contains("unique"));
}

#[tokio::test]
async fn malformed_user_names_are_rejected() {
    let server = authenticated_server().await;
    let long = "x".repeat(4000);
    for name in ["", " ", "\u{0}", "a\u{0}", "a\nb", " a", "a\u{200b}", long.as_str()] {
        for claim in ["user_id", "team"] {
            let message = server.post_as(&token("ana", &json!({claim: name}))).await.refused(claim);
            assert!(message.contains(claim), "{name:?}: {message}");
        }
    }
    assert_eq!(server.app.store.user("ana").await, Err(StoreError::NotFound), "no user was created");
}

#[tokio::test]
async fn lookalike_names_are_distinct_users() {
    let server = authenticated_server().await;
    for name in ["admin", "\u{430}dmin"] {
        assert_eq!(server.post_as(&token(name, &json!({}))).await.status, 200);
        assert_eq!(server.app.store.user(name).await.unwrap().user_id, name);
    }
}

#[tokio::test]
async fn database_rows_override_claims() {
    let server = authenticated_server().await;
    set(&server, "ana", |ana| ana.team = Some("payments".to_owned())).await;
    let response = server.post_as(&token("ana", &json!({"team": "billing"}))).await;
    let line = log_line(response.request_id()).await;
    assert_eq!((response.status.as_u16(), &line["team"]), (200, &json!("payments")));
}

#[tokio::test]
async fn disabled_user_is_rejected_until_enabled() {
    let server = authenticated_server().await;
    let token = token("ana", &json!({}));
    assert_eq!(server.post_as(&token).await.status, 200);
    set(&server, "ana", |ana| ana.disabled = true).await;
    assert!(until(&server, &token, 403).await.contains("disabled"));
    set(&server, "ana", |ana| ana.disabled = false).await;
    until(&server, &token, 200).await;
}

#[tokio::test]
async fn unknown_user_is_rejected_without_provisioning() {
    let server = authenticated_server_with(&[("PROVISION_USERS", "false")], |_| {}).await;
    let (status, kind, message) = server.post_as(&token("ana", &json!({}))).await.error();
    assert_eq!((status, kind.as_str()), (403, "permission_error"), "{message}");
    set(&server, "bob", |_| {}).await;
    assert_eq!(server.post_as(&token("bob", &json!({}))).await.status, 200);
}

#[tokio::test]
async fn revoked_token_finishes_its_stream_then_is_rejected() {
    let server = authenticated_server().await;
    let token = token("ana", &json!({"jti": "tok_1"}));
    let request = Request::post("/v1/messages").header("x-api-key", &token);
    let request = request.body(full(message_body("[slow 300]", true).to_string().into())).unwrap();
    let stream = server.send(request).await;
    server.app.store.revoke_token("tok_1", &event("token_revoked")).await.unwrap();
    assert!(until(&server, &token, 401).await.contains("revoked"));
    assert_eq!(read_response(stream).await.events().last(), Some(&"message_stop"));
}

#[tokio::test]
async fn rejected_token_is_logged_with_user_and_check() {
    let server = authenticated_server().await;
    set(&server, "ana", |_| {}).await;
    set(&server, "bob", |bob| bob.disabled = true).await;
    set(&server, "eve", |eve| eve.tokens_valid_from = Some((now() + 60) * 1000)).await;
    server.app.store.revoke_token("tok_1", &event("token_revoked")).await.unwrap();
    for (token, user, check) in [
        (token("ana", &json!({"jti": "tok_1"})), Some("ana"), "revoked"),
        (token("bob", &json!({})), Some("bob"), "user_disabled"),
        (token("eve", &json!({})), Some("eve"), "superseded"),
        (token("zoe", &json!({"jti": "tok_1"})), None, "revoked"),
        ("x.y.z".to_owned(), None, "malformed"),
    ] {
        let response = server.post_as(&token).await;
        let line = log_line(response.request_id()).await;
        assert_eq!((line["user"].as_str(), &line["error_code"]), (user, &json!(check)), "{line}");
    }
}

#[tokio::test]
async fn failed_request_is_logged_with_code_and_model() {
    let server = test_server().await;
    for path in ["/v1/messages", "/v1/chat/completions", "/v1/messages/count_tokens"] {
        let mut body = message_body("Hello", false);
        body["model"] = json!("no-such-model");
        let response = server.request("POST", path, &[], body.to_string()).await;
        assert_eq!(response.status, 404, "{path}: {}", response.body);
        assert_eq!(log_line(response.request_id()).await["model_requested"], "no-such-model", "{path}");
    }
    let source = json!({"type": "url", "url": "https://example.com/Xylophon"});
    let body = json!({"model": "claude-sonnet-5", "max_tokens": 9, "messages": [{"role": "user", "content": [
        {"type": "image", "source": source}]}]});
    let response = server.request("POST", "/v1/messages", &[], body.to_string()).await;
    assert_eq!(
        log_line(response.request_id()).await["error_path"],
        "messages.0.content.0.source",
        "{}",
        response.body
    );
    // Clients read AWS's text as it is, so the message has no code.
    for stream in [false, true] {
        let response = server.post_message("[throttle]", stream).await;
        assert!(!response.body.contains("[E11"), "{}", response.body);
        let line = log_line(response.request_id()).await;
        assert_eq!(
            (&line["error_class"], &line["error_code"]),
            (&json!("upstream"), &json!("E11")),
            "{line}"
        );
    }
}

#[tokio::test]
async fn all_tokens_of_a_user_are_revoked_together() {
    let server = authenticated_server().await;
    let old = token("ana", &json!({"iat": now() - 10}));
    let undated = token("ana", &json!({"iat": null}));
    for token in [&old, &undated] {
        assert_eq!(server.post_as(token).await.status, 200);
    }
    server.app.store.revoke_user_tokens("ana", None, &event("tokens_revoked")).await.unwrap();
    for token in [&old, &undated] {
        assert!(until(&server, token, 401).await.contains("revoked"));
    }
    assert_eq!(server.post_as(&token("ana", &json!({"iat": now() + 1}))).await.status, 200);
}

#[tokio::test]
async fn conflicting_credentials_are_rejected() {
    let server = authenticated_server().await;
    let (ana, bob) = (token("ana", &json!({})), token("bob", &json!({})));
    let bearer = |token: &str| format!("Bearer {token}");
    let ours = bearer(&ana);
    for fine in [
        vec![("authorization", ours.as_str()), ("x-api-key", &ana)],
        vec![("authorization", &format!("bearer {ana}"))],
        vec![("authorization", &format!("BEARER {ana}"))],
    ] {
        assert_eq!(server.post_with(&fine).await.status, 200, "{fine:?}");
    }
    let conflict = server.post_with(&[("authorization", &ours), ("x-api-key", &bob)]).await;
    assert!(conflict.refused("both").contains("conflicting credentials"));
    for wrong in [
        vec![("authorization", ours.as_str()), ("authorization", &ours)],
        vec![("x-api-key", ana.as_str()), ("x-api-key", &bob)],
        vec![("authorization", &format!("Bearer  {ana}"))],
        vec![("authorization", &format!("{ours},{ours}"))],
        vec![("authorization", &format!("Basic {ana}"))],
        vec![("authorization", &ana)],
        vec![("x-api-key", &format!("{ana},{bob}"))],
        vec![("x-api-key", "")],
        vec![("authorization", "AWS4-HMAC-SHA256 Credential=AKID/20200101/us-east-1/bedrock/aws4_request")],
        vec![],
    ] {
        server.post_with(&wrong).await.refused(&format!("{wrong:?}"));
    }
    // A line end inside of a value never gets as far as to be a header.
    let raw = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: localhost\r\nauthorization: {ours}\n\r\ncontent-length: 0\r\n\r\n"
    );
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    socket.write_all(raw.as_bytes()).await.unwrap();
    let mut response = [0; 12];
    socket.read_exact(&mut response).await.unwrap();
    assert!(!response.ends_with(b"500"), "{}", String::from_utf8_lossy(&response));
}

#[tokio::test]
async fn sql_in_a_token_never_reaches_the_database() {
    let server = authenticated_server().await;
    let sql = ["' OR 1=1; --", "'; DROP TABLE users; --", "' UNION SELECT * FROM users; --"];
    for text in sql {
        server.post_with(&[("x-api-key", text)]).await.refused(text);
        server.post_with(&[("authorization", &format!("Bearer {text}"))]).await.refused(text);
        assert_eq!(server.post_as(&token(text, &json!({"jti": text, "team": text}))).await.status, 200);
        assert_eq!(server.app.store.user(text).await.unwrap().team.as_deref(), Some(text));
    }
    server.post_with(&[("x-api-key", &"k".repeat(20_000))]).await.refused("20 KB");
    let huge = server.post_with(&[("x-api-key", &"k".repeat(1 << 20))]).await;
    assert!(huge.status.is_client_error(), "{}", huge.status);
    assert_eq!(server.post_as(&token("ana", &json!({}))).await.status, 200);
}

#[tokio::test]
async fn admin_token_cannot_call_models() {
    let server = authenticated_server().await;
    for scope in ["admin", "admin:read"] {
        let (status, kind, message) = server.post_as(&token("op", &json!({"scope": scope}))).await.error();
        assert_eq!((status, kind.as_str()), (403, "permission_error"), "{message}");
    }
    assert_eq!(server.app.store.user("op").await, Err(StoreError::NotFound), "operators are no users");
    server.post_as(&token("op", &json!({"scope": "root"}))).await.refused("an unknown scope");
}

#[tokio::test]
async fn every_client_api_requires_the_token() {
    let server = authenticated_server().await;
    let paths = [
        (Method::POST, "/v1/messages"),
        (Method::POST, "/v1/messages/count_tokens"),
        (Method::GET, "/v1/models"),
        (Method::GET, "/v1/models/claude-sonnet-4-5"),
        (Method::POST, "/messages"),
        (Method::POST, "/v1/v1/messages"),
        (Method::POST, "/v1/messages/v1/messages"),
        (Method::POST, "/v1/messages/messages"),
        (Method::POST, "/anthropic/v1/messages"),
        (Method::POST, "/anthropic/messages"),
        (Method::POST, "/anthropic/messages/count_tokens"),
        (Method::GET, "/models"),
        (Method::GET, "/v1/messages/models"),
        (Method::GET, "/api/v1/models"),
        (Method::GET, "/api/tags"),
        (Method::GET, "/v1/messages"),
        (Method::DELETE, "/v1/messages"),
        (Method::GET, "/nowhere"),
        (Method::POST, "/v1/files"),
    ];
    for (method, path) in paths {
        let response =
            server.request(method.as_str(), path, &[], message_body("Hello", false).to_string()).await;
        response.refused(path);
    }
    assert_eq!(server.bedrock.requests().len(), 0);
}

#[tokio::test]
async fn health_and_hello_need_no_token() {
    let server = authenticated_server().await;
    for path in ["/health", "/api/hello", "/v1/api/hello", "/v1/messages/api/hello"] {
        assert_eq!(server.get(path).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn unknown_path_is_404_with_a_token() {
    let server = authenticated_server().await;
    let key = token("ana", &json!({}));
    let response = server.request("GET", "/nowhere", &[("x-api-key", &key)], "").await;
    assert_eq!(response.error().0, 404);
}

#[tokio::test]
async fn bedrock_clients_send_the_token_as_api_key() {
    let server = authenticated_server().await;
    let body = r#"{"messages":[{"role":"user","content":[{"text":"Hello"}]}]}"#;
    let bearer = format!("Bearer {}", token("ana", &json!({})));
    for base in ["", "/bedrock"] {
        for path in ["/model/claude-sonnet-4-5/converse", "/model/claude-sonnet-4-5/invoke"] {
            let path = format!("{base}{path}");
            let rejected =
                server.request("POST", &path, &[("authorization", "AWS4-HMAC-SHA256 x")], body).await;
            assert_eq!(rejected.status, 403, "{}", rejected.body);
            assert_eq!(rejected.headers["x-amzn-errortype"], "UnrecognizedClientException");
            assert!(
                rejected.json()["message"].as_str().unwrap().contains("AWS_BEARER_TOKEN_BEDROCK"),
                "{}",
                rejected.body
            );
        }
        let path = format!("{base}/model/claude-sonnet-4-5/converse");
        assert_eq!(server.request("POST", &path, &[("authorization", &bearer)], body).await.status, 200);
        let profiles = format!("{base}/inference-profiles");
        assert_eq!(server.get(&profiles).await.status, 403);
        assert_eq!(server.request("GET", &profiles, &[("authorization", &bearer)], "").await.status, 200);
    }
}

#[tokio::test]
async fn only_the_token_selects_the_charged_user() {
    let server = authenticated_server().await;
    let mut body = message_body("Hello", false);
    body["metadata"] = json!({"user_id": "boss"});
    let key = token("ana", &json!({"team": "payments"}));
    let headers = [
        ("x-api-key", key.as_str()),
        ("x-team", "board"),
        ("x-user-id", "boss"),
        ("x-claude-code-session-id", "boss"),
    ];
    let response = server.request("POST", "/v1/messages?user_id=boss", &headers, body.to_string()).await;
    let line = log_line(response.request_id()).await;
    assert_eq!((&line["user"], &line["team"]), (&json!("ana"), &json!("payments")));
}

#[tokio::test]
async fn token_is_checked_before_the_body_is_read() {
    let server = authenticated_server().await;
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    socket
        .write_all(b"POST /v1/messages HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99999999\r\n\r\n")
        .await
        .unwrap();
    let mut response = [0; 12];
    socket.read_exact(&mut response).await.unwrap();
    assert_eq!(&response, b"HTTP/1.1 401");
    // Whoever has sent much all the same gets to read why.
    server.request("POST", "/v1/messages", &[], vec![b' '; 8 << 20]).await.refused("a large body");
}

#[tokio::test]
async fn default_profile_serves_only_its_model() {
    const PROFILE: &str = "global.anthropic.claude-sonnet-4-5-20250929-v1:0";
    let server = authenticated_server().await;
    let key = token("ana", &json!({"default_inference_profile": PROFILE}));
    let upstream = async |key: &str, model: &str| {
        let mut body = message_body("Hello", false);
        body["model"] = json!(model);
        let response = server.request("POST", "/v1/messages", &[("x-api-key", key)], body.to_string()).await;
        assert_eq!(response.status, 200, "{}", response.body);
        log_line(response.request_id()).await["model_upstream"].as_str().unwrap().to_owned()
    };
    assert_eq!(upstream(&key, "claude-sonnet-4-5").await, PROFILE);
    assert_eq!(upstream(&key, "claude-haiku-4-5").await, "us.anthropic.claude-haiku-4-5-20251001-v1:0");
    let named = "us.anthropic.claude-sonnet-4-5-20250929-v1:0";
    assert_eq!(upstream(&key, named).await, named, "what a request names itself stays");
    // A row wins.
    set(&server, "bob", |bob| bob.default_inference_profile = Some(PROFILE.to_owned())).await;
    let bob = token("bob", &json!({"default_inference_profile": named}));
    assert_eq!(upstream(&bob, "claude-sonnet-4-5").await, PROFILE);
    let lost = token("eve", &json!({"default_inference_profile": "no-such-thing"}));
    assert_eq!(upstream(&lost, "claude-sonnet-4-5").await, "us.anthropic.claude-sonnet-4-5-20250929-v1:0");
}

#[tokio::test]
async fn cached_caller_is_used_during_database_outage() {
    let server = authenticated_server().await;
    let (ana, bob) = (token("ana", &json!({})), token("bob", &json!({})));
    set(&server, "bob", |bob| bob.disabled = true).await;
    assert_eq!(server.post_as(&ana).await.status, 200);
    assert_eq!(server.post_as(&bob).await.status, 403);
    server.app.store.close().await;
    // Decisions are cached for two seconds.
    tokio::time::pause();
    tokio::time::advance(Duration::from_millis(2100)).await;
    tokio::time::resume();
    assert_eq!(server.post_as(&ana).await.status, 200);
    assert_eq!(server.post_as(&bob).await.status, 403);
    assert_eq!(server.post_as(&token("eve", &json!({}))).await.status, 200, "open: by the claims");
}

#[tokio::test]
async fn other_tokens_use_cached_rows_during_outage() {
    let server = authenticated_server_with(&[("PROVISION_USERS", "false")], |_| {}).await;
    for name in ["ana", "bob", "old"] {
        set(&server, name, |user| {
            user.disabled = name == "bob";
            user.tokens_valid_from = (name == "old").then_some(now() * 1000 - 5000);
            user.team = (name == "ana").then(|| "payments".to_owned());
        })
        .await;
        server.post_as(&token(name, &json!({"jti": "first"}))).await;
    }
    server.post_as(&token("eve", &json!({"jti": "first"}))).await;
    server.app.store.close().await;
    let second = |name: &str, more: Value| {
        let mut claims = json!({"jti": "second", "team": "billing"});
        claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        token(name, &claims)
    };
    let response = server.post_as(&second("ana", json!({}))).await;
    let line = log_line(response.request_id()).await;
    assert_eq!((response.status.as_u16(), &line["team"]), (200, &json!("payments")), "{}", response.body);
    assert_eq!(server.post_as(&second("bob", json!({}))).await.status, 403, "disabled");
    assert_eq!(server.post_as(&second("old", json!({"iat": now() - 60}))).await.status, 401, "superseded");
    assert_eq!(server.post_as(&second("old", json!({}))).await.status, 200);
    assert_eq!(server.post_as(&second("eve", json!({}))).await.status, 503, "unknown");
}

#[tokio::test]
async fn closed_registration_stays_closed_during_outage() {
    let unavailable = ("DATABASE_URL", "postgres://nobody@127.0.0.1:1/nowhere?sslmode=disable");
    let server = authenticated_server_with(&[unavailable, ("PROVISION_USERS", "false")], |_| {}).await;
    let (status, kind, message) = server.post_as(&token("ana", &json!({}))).await.error();
    assert_eq!((status, kind.as_str()), (503, "api_error"), "{message}");
    let bearer = format!("Bearer {}", token("ana", &json!({})));
    let body = json!({"messages": [{"role": "user", "content": "Hello"}]}).to_string();
    for path in ["/v1/chat/completions", "/model/claude-sonnet-4-5/invoke", "/v1/models"] {
        let method = if path == "/v1/models" { "GET" } else { "POST" };
        let response = server.request(method, path, &[("authorization", &bearer)], body.clone()).await;
        assert!(response.status.is_server_error(), "{path}: {}", response.body);
    }
    assert!(server.bedrock.requests().is_empty());
}

#[tokio::test]
async fn user_of_an_outage_gets_the_configured_limits() {
    let cluster = tokio::task::spawn_blocking(postgres::Cluster::start).await.unwrap();
    let url = cluster.database().await;
    let variables = [
        ("DATABASE_URL", url.as_str()),
        ("DB_MIN_CONNS", "0"),
        ("DEFAULT_USER_DAILY_TOKENS", "5000"),
        ("DEFAULT_TEAM_DAILY_TOKENS", "70000"),
    ];
    let server = authenticated_server_with(&variables, |_| {}).await;
    let mut cluster = tokio::task::spawn_blocking(move || {
        let mut cluster = cluster;
        cluster.stop();
        cluster
    })
    .await
    .unwrap();
    assert_eq!(server.post_as(&token("eve", &json!({"team": "red"}))).await.status, 200);
    let _cluster = tokio::task::spawn_blocking(move || {
        cluster.serve();
        cluster
    })
    .await
    .unwrap();
    let eve = wait_for("the usage record is stored", async || server.app.store.user("eve").await.ok()).await;
    assert_eq!((eve.daily_token_limit, eve.disabled), (Some(5000), false));
    assert_eq!(server.app.store.team("red").await.unwrap().daily_token_limit, Some(70_000));
    let events = server.app.store.events(&EventFilter::default(), &Page { after: None, limit: 10 }).await;
    let events = events.unwrap().rows;
    let found = events.iter().filter(|event| event.kind == "user_provisioned").collect::<Vec<_>>();
    assert_eq!(found.len(), 1, "{events:?}");
    assert_eq!(found[0].details["daily_token_limit"], 5000);
}

#[tokio::test]
async fn fail_closed_rejects_unknown_caller_during_outage() {
    let unavailable = [("DATABASE_URL", "postgres://nobody@127.0.0.1:1/nowhere?sslmode=disable")];
    let open = authenticated_server_with(&unavailable, |_| {}).await;
    assert_eq!(open.post_as(&token("ana", &json!({}))).await.status, 200);
    let closed = authenticated_server_with(&[unavailable[0], ("AUTH_ON_OUTAGE", "closed")], |_| {}).await;
    let (status, kind, message) = closed.post_as(&token("ana", &json!({}))).await.error();
    assert_eq!((status, kind.as_str()), (503, "api_error"));
    assert!(message.contains("database"), "{message}");
    let refused = closed.post_as("x.y.z").await;
    refused.refused("a bad token is bad without a database, too");
}
