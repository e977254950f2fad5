//! The operators' API, on both databases.

use serde_json::{Value, json};

use crate::harness::postgres;
use crate::harness::tokens::{authenticated_server, authenticated_server_with, now, token};
use crate::harness::{TestResponse, TestServer, captured_logs, message_body, test_server, wait_for};
use crate::openapi::check_response;

/// A server on each database.
async fn servers() -> [TestServer; 2] {
    let url = postgres::database().await;
    let settings = [("DATABASE_URL", url.as_str()), ("DB_MIN_CONNS", "0"), ("DB_MAX_CONNS", "10")];
    [authenticated_server().await, authenticated_server_with(&settings, |_| {}).await]
}

fn operator(scope: &str) -> String {
    token("op", &json!({"scope": scope}))
}

impl TestServer {
    /// An operator's request.
    pub(crate) async fn act(&self, method: &str, path: &str, body: &Value) -> TestResponse {
        self.act_as(&operator("admin"), method, path, body).await
    }

    pub(crate) async fn act_as(&self, token: &str, method: &str, path: &str, body: &Value) -> TestResponse {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let (path, bearer) = (format!("/admin/v1{path}"), format!("Bearer {token}"));
        let response = self.request(method, &path, &[("authorization", &bearer)], body).await;
        check_response(method, &path, &response);
        response
    }

    pub(crate) async fn look(&self, path: &str) -> Value {
        let response = self.act("GET", path, &Value::Null).await;
        assert_eq!(response.status, 200, "{path}: {}", response.body);
        assert_eq!(response.headers["cache-control"], "no-store");
        response.json()
    }

    /// The kinds of the last events, the newest first, each with its actor.
    async fn trail(&self) -> Vec<(String, String)> {
        let events = self.look("/events?limit=1000").await;
        let text = |event: &Value, name: &str| event[name].as_str().unwrap_or_default().to_owned();
        let events = events["data"].as_array().unwrap().iter();
        let trail = events.map(|event| (text(event, "kind"), text(event, "actor")));
        // Those are the server's own, and come when they come.
        trail.filter(|(kind, _)| !["quota_reset", "config_loaded"].contains(&kind.as_str())).collect()
    }
}

#[tokio::test]
async fn admin_changes_are_listed_and_recorded_as_events() {
    for server in servers().await {
        let team =
            server.act("POST", "/teams", &json!({"team": "payments", "daily_token_limit": 5000})).await;
        assert_eq!((team.status.as_u16(), &team.json()["type"]), (201, &json!("team")), "{}", team.body);
        let added = server.act("POST", "/users", &json!({"user_id": "ana/o'neil", "team": "payments"})).await;
        assert_eq!(added.status, 201, "{}", added.body);
        let added = added.json();
        assert_eq!((&added["type"], &added["daily_token_limit"]), (&json!("user"), &json!(1_000_000)));
        assert_eq!((&added["team"], &added["disabled"]), (&json!("payments"), &json!(false)));
        // What is left out stays, and null takes away.
        let change = json!({"daily_token_limit": null, "default_inference_profile": "us.anthropic.x"});
        let changed = server.act("PATCH", "/users/ana%2Fo'neil", &change).await.json();
        assert_eq!((&changed["daily_token_limit"], &changed["team"]), (&Value::Null, &json!("payments")));
        let changed =
            server.act("PATCH", "/users/ana%2Fo'neil", &json!({"team": null, "disabled": true})).await.json();
        assert_eq!((&changed["team"], &changed["disabled"]), (&Value::Null, &json!(true)));
        assert_eq!(changed["default_inference_profile"], "us.anthropic.x");
        assert_eq!(server.look("/users/ana%2Fo'neil").await, changed);
        let team = server.act("PATCH", "/teams/payments", &json!({"daily_token_limit": 0})).await.json();
        assert_eq!(team["daily_token_limit"], 0);
        assert_eq!(server.look("/teams").await["data"], json!([team]));
        assert_eq!(server.look("/users?team=payments").await["data"], json!([]));
        let trail = server.trail().await;
        let kinds: Vec<_> = trail.iter().map(|(kind, _)| kind.as_str()).collect();
        assert_eq!(kinds, ["team_changed", "user_changed", "user_changed", "user_added", "team_added"]);
        assert!(trail.iter().all(|(_, actor)| actor == "op"));
        let events = server.look("/events?kind=user_changed&limit=1").await;
        let details = &events["data"][0]["details"];
        assert_eq!(
            (&details["before"]["team"], &details["after"]["team"]),
            (&json!("payments"), &Value::Null)
        );
        assert_eq!(events["has_more"], true);
    }
}

#[tokio::test]
async fn invalid_admin_requests_are_rejected_without_changes() {
    for server in servers().await {
        assert_eq!(server.act("POST", "/users", &json!({"user_id": "ana"})).await.status, 201);
        let refusals = [
            ("POST", "/users", json!({"user_id": "ana"}), 409),
            ("POST", "/users", json!({"user_id": "bob", "team": "nobodys"}), 404),
            ("POST", "/users", json!({"user_id": " "}), 400),
            ("POST", "/users", json!({"user_id": "a\u{0}"}), 400),
            ("POST", "/users", json!({"user_id": "bob", "role": "admin"}), 400),
            ("POST", "/users", json!({"team": "payments"}), 400),
            ("POST", "/users", json!([]), 400),
            ("PATCH", "/users/ana", json!({"user_id": "boss"}), 400),
            ("PATCH", "/users/ana", json!({"tokens_used_today": 0}), 400),
            ("PATCH", "/users/ana", json!({"tokens_valid_from": null}), 400),
            ("PATCH", "/users/ana", json!({"daily_token_limit": -1}), 400),
            ("PATCH", "/users/ana", json!({"daily_token_limit": "many"}), 400),
            ("PATCH", "/users/ana", json!({"default_inference_profile": "a b"}), 400),
            ("PATCH", "/users/nobody", json!({"disabled": true}), 404),
            ("PATCH", "/teams/nobodys", json!({"disabled": true}), 404),
            ("POST", "/tokens", json!({"user_id": "ana", "scope": "root"}), 400),
            ("POST", "/tokens", json!({"user_id": "ana", "expires_in_seconds": 0}), 400),
            ("POST", "/tokens", json!({"user_id": "ana", "team": "payments"}), 400),
            ("DELETE", "/tokens", Value::Null, 400),
            ("DELETE", "/tokens?user_id=nobody", Value::Null, 404),
            ("GET", "/users?limit=1000000000", Value::Null, 400),
            ("GET", "/users?sort=1;DROP TABLE users".replace(' ', "%20").leak(), Value::Null, 400),
            ("GET", "/users?team=a&team=b", Value::Null, 400),
            ("GET", "/usage?by=password", Value::Null, 400),
            ("GET", "/usage?from=yesterday", Value::Null, 400),
            ("GET", "/events?after_id='%20OR%201=1", Value::Null, 400),
            ("GET", "/events?from=x", Value::Null, 400),
            ("GET", "/nowhere", Value::Null, 404),
            ("DELETE", "/users", Value::Null, 405),
        ];
        for (method, path, body, expected) in refusals {
            let response = server.act(method, path, &body).await;
            assert_eq!(response.error().0, expected, "{method} {path} {body}: {}", response.body);
            assert_eq!(response.headers["cache-control"], "no-store");
        }
        assert_eq!(server.trail().await.len(), 1, "a refused act leaves no trace");
        assert_eq!(server.look("/users").await["data"].as_array().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn lists_come_in_pages_to_their_end() {
    for server in servers().await {
        for number in 0..7 {
            server.act("POST", "/users", &json!({"user_id": format!("user-{number}")})).await;
        }
        for (path, name) in [("/users", "user_id"), ("/events?kind=user_added", "id")] {
            let (mut seen, mut after) = (Vec::new(), String::new());
            loop {
                let more = if path.contains('?') { '&' } else { '?' };
                let page = server.look(&format!("{path}{more}limit=3{after}")).await;
                seen.extend(page["data"].as_array().unwrap().iter().map(|row| row[name].to_string()));
                if page["has_more"] == false {
                    assert_eq!(page["last_id"], Value::Null);
                    break;
                }
                after = format!("&after_id={}", page["last_id"].as_str().unwrap());
            }
            let many = seen.len();
            seen.sort();
            seen.dedup();
            assert_eq!((many, seen.len()), (7, 7), "{path}");
        }
    }
}

#[tokio::test]
async fn token_for_unknown_user_names_similar_users() {
    for server in servers().await {
        for name in ["dev1@example.com", "dev2@example.com", "somebody"] {
            assert_eq!(server.act("POST", "/users", &json!({"user_id": name})).await.status, 201);
        }
        let mistyped = json!({"user_id": "dev1@exmaple.com"});
        let (status, _, message) = server.act("POST", "/tokens", &mistyped).await.error();
        assert_eq!(status, 404, "{message}");
        let expected = "there is no user \"dev1@exmaple.com\"; did you mean \"dev1@example.com\" or \
                        \"dev2@example.com\"? To issue the token and add the user, use --create (in the admin API: \
                        \"create\": true)";
        assert_eq!(message, expected);
        let unlike = server.act("POST", "/tokens", &json!({"user_id": "zoe"})).await.error().2;
        assert!(unlike.starts_with("there is no user \"zoe\". To issue"), "{unlike}");
        let added = server.act("POST", "/tokens", &json!({"user_id": "zoe", "create": true})).await;
        assert_eq!(added.status, 201, "{}", added.body);
        assert_eq!(server.act("GET", "/users/zoe", &Value::Null).await.status, 200);
    }
}

#[tokio::test]
async fn revoking_an_unknown_token_reports_it() {
    for server in servers().await {
        let revoked = server.act("DELETE", "/tokens/nope", &Value::Null).await.json();
        assert_eq!(
            (&revoked["was_valid"], &revoked["was_issued"]),
            (&json!(true), &json!(false)),
            "{revoked}"
        );
        let message = "no token with this id was issued here; it is rejected from now on";
        assert_eq!(revoked["message"], message);
        server.post_as(&token("ana", &json!({"jti": "nope"}))).await.refused("it is rejected");
    }
}

#[tokio::test]
async fn tokens_are_issued_listed_and_taken_back() {
    for server in servers().await {
        server.act("POST", "/teams", &json!({"team": "red"})).await;
        let wanted = json!({
            "user_id": "ana", "team": "red", "expires_in_seconds": 60, "create": true, "name": "laptop",
        });
        let issued = server.act("POST", "/tokens", &wanted).await;
        assert_eq!(issued.status, 201, "{}", issued.body);
        let issued = issued.json();
        let (key, jti) = (issued["token"].as_str().unwrap(), issued["jti"].as_str().unwrap());
        assert_eq!(server.post_as(key).await.status, 200);
        let listed = server.act("GET", "/tokens?user_id=ana", &Value::Null).await;
        assert_eq!(
            (&listed.json()["data"][0]["jti"], &listed.json()["data"][0]["issued_by"]),
            (&json!(jti), &json!("op"))
        );
        assert_eq!(listed.json()["data"][0]["name"], "laptop");
        assert!(!listed.body.contains(key), "a token is shown once");
        let revoked = server.act("DELETE", &format!("/tokens/{jti}"), &Value::Null).await.json();
        assert_eq!((&revoked["type"], &revoked["was_valid"]), (&json!("token_revoked"), &json!(true)));
        let again = server.act("DELETE", &format!("/tokens/{jti}"), &Value::Null).await.json();
        assert_eq!(again["was_valid"], false);
        // All at once; a token of the very same second counts again.
        assert_eq!(server.act("DELETE", "/tokens?user_id=ana", &Value::Null).await.status, 200);
        let next = server.act("POST", "/tokens", &json!({"user_id": "ana"})).await.json();
        assert_eq!(next["team"], "red", "the team of the row");
        assert_eq!(server.post_as(next["token"].as_str().unwrap()).await.status, 200);
        let kinds: Vec<_> = server.trail().await.into_iter().map(|(kind, _)| kind).collect();
        assert_eq!(
            kinds,
            ["token_issued", "tokens_revoked", "token_revoked", "token_issued", "user_added", "team_added"]
        );
        let disabled = server.act("PATCH", "/users/ana", &json!({"disabled": true})).await;
        assert_eq!(disabled.status, 200);
        assert_eq!(server.act("POST", "/tokens", &json!({"user_id": "ana"})).await.status, 400);
    }
}

#[tokio::test]
async fn admin_api_checks_scopes_of_operators() {
    let server = authenticated_server().await;
    let paths = ["/users", "/teams", "/tokens", "/usage", "/events", "/users/ana"];
    for path in paths {
        let refused = server.act_as(&token("ana", &json!({})), "GET", path, &Value::Null).await;
        assert_eq!(refused.error().0, 403, "{path}");
        server.request("GET", &format!("/admin/v1{path}"), &[], "").await.refused(path);
    }
    let reader = operator("admin:read");
    assert_eq!(server.act_as(&reader, "GET", "/users", &Value::Null).await.status, 200);
    let (status, _, message) =
        server.act_as(&reader, "POST", "/users", &json!({"user_id": "ana"})).await.error();
    assert!(status == 403 && message.contains("admin:read"), "{message}");
    for (method, path) in [("PATCH", "/users/ana"), ("DELETE", "/tokens/x"), ("POST", "/tokens")] {
        assert_eq!(server.act_as(&reader, method, path, &json!({"user_id": "x"})).await.status, 403);
    }
    let expired = token("op", &json!({"scope": "admin", "exp": now() - 100}));
    server.act_as(&expired, "GET", "/users", &Value::Null).await.refused("expired");
}

/// Waits for an event of this kind and gives it.
async fn event(server: &TestServer, kind: &str) -> Value {
    wait_for(kind, async || server.look(&format!("/events?kind={kind}")).await["data"].get(0).cloned()).await
}

#[tokio::test]
async fn rejections_leave_an_event_without_the_token() {
    for server in servers().await {
        let ana = token("ana", &json!({}));
        assert_eq!(server.act_as(&ana, "GET", "/users", &Value::Null).await.status, 403);
        let denied = event(&server, "admin_denied").await;
        assert_eq!(
            (&denied["user_id"], &denied["details"]["path"]),
            (&json!("ana"), &json!("/admin/v1/users"))
        );
        // Many more than anybody wants to read about.
        for _ in 0..60 {
            server.post_as("canary.of.secret").await.refused("no token");
        }
        let refused = event(&server, "auth_refused").await;
        assert_eq!((&refused["details"]["check"], &refused["user_id"]), (&json!("malformed"), &Value::Null));
        let all = server.look("/events?limit=1000").await.to_string();
        assert!(all.matches("auth_refused").count() <= 25, "the number of events is bounded");
        for secret in [ana.as_str(), "canary.of.secret"] {
            assert!(!all.contains(secret) && !captured_logs().contains(secret));
        }
    }
}

#[tokio::test]
async fn callers_see_own_quota_and_operators_see_all() {
    for server in servers().await {
        server.act("POST", "/teams", &json!({"team": "red", "daily_token_limit": 5000})).await;
        server
            .act("POST", "/users", &json!({"user_id": "ana", "team": "red", "daily_token_limit": 9000}))
            .await;
        let ana = token("ana", &json!({"jti": "t1", "default_inference_profile": "us.anthropic.x"}));
        let me = async || server.request("GET", "/v1/me", &[("x-api-key", &ana)], "").await.json();
        let before = me().await;
        assert_eq!(
            (&before["user_id"], &before["team"], &before["jti"]),
            (&json!("ana"), &json!("red"), &json!("t1"))
        );
        let fresh = |scope: &str, name: &str, limit: i64| json!({"type": "limit", "scope": scope, "name": name, "limit": limit, "used": 0, "reserved": 0, "remaining": limit});
        assert_eq!(before["limits"], json!([fresh("user", "ana", 9000), fresh("team", "red", 5000)]));
        assert!(before["resets_at"].as_str().unwrap().ends_with("T00:00:00Z"), "{before}");
        assert!(before["token_expires_at"].is_string() && before["scope"] == "inference");
        assert_eq!(server.post_as(&ana).await.status, 200);
        let limits = wait_for("the request is settled", async || {
            let limits = me().await["limits"].clone();
            (limits[0]["used"].as_i64() > Some(0) && limits[0]["reserved"] == 0).then_some(limits)
        })
        .await;
        assert_eq!(limits[0]["used"], limits[1]["used"]);
        assert_eq!(limits[1]["remaining"], 5000 - limits[1]["used"].as_i64().unwrap());
        let op = server.request("GET", "/v1/me", &[("x-api-key", &operator("admin:read"))], "").await.json();
        assert_eq!(op["scope"], "admin:read");
        server.request("GET", "/v1/me", &[], "").await.refused("/v1/me");
        let cost = wait_for("the cost is known", async || {
            let me = server.request("GET", "/v1/me", &[("x-api-key", &ana)], "").await;
            check_response("GET", "/v1/me", &me);
            Some(me.json()["cost_usd"].clone()).filter(|cost| cost != "0.000000000")
        })
        .await;
        assert_eq!(server.look("/usage?user_id=ana").await["totals"]["cost_usd"], cost);
        let usage = server.look("/usage?by=user,team").await;
        assert_eq!((&usage["data"][0]["user_id"], &usage["data"][0]["requests"]), (&json!("ana"), &json!(1)));
    }
}

#[tokio::test]
async fn usage_report_counts_by_client_api() {
    for server in servers().await {
        let bearer = format!("Bearer {}", token("ana", &json!({})));
        let post = async |path: &str, body: Value| {
            server.request("POST", path, &[("authorization", bearer.as_str())], body.to_string()).await
        };
        let messages: Value = serde_json::from_str(&message_body("Hello", false).to_string()).unwrap();
        assert_eq!(post("/v1/messages", messages.clone()).await.status, 200);
        let chat = json!({"model": "claude-sonnet-4-5", "messages": [{"role": "user", "content": "Hello"}]});
        for stream in [false, true] {
            let mut chat = chat.clone();
            chat["stream"] = stream.into();
            assert_eq!(post("/v1/chat/completions", chat).await.status, 200);
        }
        let converse = json!({"messages": [{"role": "user", "content": [{"text": "Hello"}]}]});
        let path = "/bedrock/model/us.anthropic.claude-sonnet-4-5-20250929-v1:0/converse";
        assert_eq!(post(path, converse).await.status, 200);
        // A misspelt model costs nothing: it is no model without a price.
        let mut misspelt = messages;
        misspelt["model"] = "claude-sonnet-99".into();
        assert_eq!(post("/v1/messages", misspelt).await.status, 404);
        let report = wait_for("all requests are stored", async || {
            let report = server.look("/usage?by=client_api").await;
            (report["totals"]["requests"] == 5).then_some(report)
        })
        .await;
        let rows = report["data"].as_array().unwrap().iter();
        let counts: Vec<_> = rows
            .map(|row| (row["client_api"].as_str().unwrap(), row["requests"].as_i64().unwrap()))
            .collect();
        assert_eq!(counts, [("bedrock", 1), ("chat_completions", 2), ("messages", 2)]);
        assert_eq!((&report["totals"]["failed"], &report["totals"]["unpriced"]), (&json!(1), &json!(0)));
        let month = report["to"].as_str().unwrap()[..7].to_owned();
        let of_month = server.look(&format!("/usage?from={month}&to={month}")).await;
        assert_eq!(of_month["totals"], report["totals"]);
        assert_eq!(of_month["from"], format!("{month}-01"));
    }
}

#[tokio::test]
async fn usage_report_has_totals_and_csv() {
    for server in servers().await {
        server.act("POST", "/users", &json!({"user_id": "=1+1"})).await;
        for (user, session) in [("=1+1", "s1"), ("ana", "s2"), ("ana", "s2")] {
            let bearer = format!("Bearer {}", token(user, &json!({})));
            let headers = [
                ("authorization", bearer.as_str()),
                ("user-agent", "claude-cli/2.1.332 (external, cli)"),
                ("x-claude-code-session-id", session),
            ];
            assert_eq!(server.post_with(&headers).await.status, 200);
        }
        let report = wait_for("all requests are stored", async || {
            let report = server.look("/usage?limit=1").await;
            (report["totals"]["requests"] == 3).then_some(report)
        })
        .await;
        assert_eq!((report["data"].as_array().unwrap().len(), &report["has_more"]), (1, &json!(true)));
        let today = report["to"].as_str().unwrap();
        assert_eq!(report["from"], format!("{}01", &today[..8]), "this month");
        let sessions = server.look("/usage?by=client,client_api,session,route,month").await;
        let row = &sessions["data"][1];
        assert_eq!((&row["client"], &row["client_api"]), (&json!("claude-code"), &json!("messages")));
        assert_eq!((&row["session_id"], &row["requests"]), (&json!("s2"), &json!(2)));
        assert_eq!((&row["route"], row["month"].as_str()), (&json!("converse"), Some(&today[..7])));
        let of_session = server.look("/usage?session_id=s1&by=user").await;
        assert_eq!(of_session["data"][0]["user_id"], "=1+1");

        let csv = server.act("GET", "/usage?by=user&format=csv", &Value::Null).await;
        assert_eq!(csv.headers["content-type"], "text/csv; charset=utf-8; header=present");
        let lines: Vec<_> = csv.body.split("\r\n").collect();
        assert!(
            lines[0].starts_with("user_id,requests,failed") && lines[0].ends_with("cost_usd"),
            "{}",
            csv.body
        );
        assert!(lines[1].starts_with("'=1+1,1,0,") && lines[2].starts_with("ana,2,0,"), "{}", csv.body);
        let bearer = format!("Bearer {}", operator("admin:read"));
        let accepting = [("authorization", bearer.as_str()), ("accept", "text/csv, application/json;q=0.5")];
        let accepted = server.request("GET", "/admin/v1/usage?by=user", &accepting, "").await;
        assert_eq!(accepted.body, csv.body);
        let json = server.request("GET", "/admin/v1/usage?format=json", &accepting, "").await;
        assert_eq!(json.json()["type"], "list");
        let empty = server.act("GET", "/usage?by=team,day&user_id=nobody&format=csv", &Value::Null).await;
        assert!(empty.body.starts_with("day,team,requests,") && empty.body.lines().count() == 1);
        let events = server.act("GET", "/events?kind=user_added&format=csv", &Value::Null).await;
        assert!(events.body.starts_with("id,kind,user_id,team,actor,details,at\r\n"), "{}", events.body);
        assert!(events.body.contains(",user_added,'=1+1,,op,"), "{}", events.body);
        let users = server.act("GET", "/users?format=csv", &Value::Null).await;
        assert!(
            users.body.starts_with("user_id,team,daily_token_limit,") && users.body.contains("\r\n'=1+1,")
        );
        server.act("POST", "/teams", &json!({"team": "red"})).await;
        let teams = server.act("GET", "/teams?format=csv", &Value::Null).await;
        assert!(teams.body.contains("\r\nred,,false,"), "{}", teams.body);
        let tokens = server.act("GET", "/tokens?format=csv", &Value::Null).await;
        assert_eq!((tokens.status.as_u16(), tokens.body.as_str()), (200, ""), "no rows");
        for query in ["format=xml", "format=csv&limit=5", "from=2026-02-02&to=2026-02-01", "by=session,ip"] {
            assert_eq!(
                server.act("GET", &format!("/usage?{query}"), &Value::Null).await.status,
                400,
                "{query}"
            );
        }
    }
}

#[tokio::test]
async fn an_operators_token_can_be_taken_back_too() {
    let server = authenticated_server().await;
    let issued = server.act("POST", "/tokens", &json!({"user_id": "op2", "scope": "admin"})).await.json();
    let key = issued["token"].as_str().unwrap();
    assert_eq!(
        server
            .act("DELETE", &format!("/tokens/{}", issued["jti"].as_str().unwrap()), &Value::Null)
            .await
            .status,
        200
    );
    server.act_as(key, "GET", "/users", &Value::Null).await.refused("revoked");
}

#[tokio::test]
async fn all_tokens_of_an_operator_are_revoked_together() {
    for closed in ["false", "true"] {
        let url = postgres::database().await;
        let variables = [("DATABASE_URL", url.as_str()), ("DB_MIN_CONNS", "0"), ("PROVISION_USERS", closed)];
        for variables in [&variables[..], &variables[2..]] {
            let server = authenticated_server_with(variables, |_| {}).await;
            let grant = json!({"user_id": "op2", "scope": "admin"});
            let issued = server.act("POST", "/tokens", &grant).await.json();
            let leaked = token("op2", &json!({"scope": "admin", "iat": now() - 60}));
            let undated = token("op2", &json!({"scope": "admin:read", "iat": null}));
            let all = [issued["token"].as_str().unwrap(), &leaked, &undated];
            for key in all {
                assert_eq!(server.act_as(key, "GET", "/users", &Value::Null).await.status, 200);
            }
            assert_eq!(server.act("DELETE", "/tokens?user_id=op2", &Value::Null).await.status, 200);
            for key in all {
                wait_for("the token is revoked", async || {
                    let response = server.act_as(key, "GET", "/users", &Value::Null).await;
                    (response.status == 401).then_some(())
                })
                .await;
            }
            let next = server.act("POST", "/tokens", &grant).await.json();
            let next = next["token"].as_str().unwrap();
            assert_eq!(server.act_as(next, "GET", "/users", &Value::Null).await.status, 200);
            // The row does not open a closed registration.
            let user = server.post_as(&token("op2", &json!({"iat": now() + 1}))).await;
            assert_eq!(user.status, if closed == "false" { 429 } else { 200 }, "{}", user.body);
            let (status, _, message) =
                server.act("DELETE", "/tokens?user_id=eve", &Value::Null).await.error();
            assert!(status == 404 && message.contains("add the user first"), "{message}");
        }
    }
}

#[tokio::test]
async fn without_authentication_there_is_no_admin_api() {
    let server = test_server().await;
    for path in ["/admin/v1/users", "/admin/v1/nowhere"] {
        let (status, _, message) = server.get(path).await.error();
        assert!(status == 403 && message.contains("JWT_SECRET_KEY"), "{message}");
    }
    assert_eq!(server.post(message_body("Hello", false).to_string()).await.status, 200);
}
