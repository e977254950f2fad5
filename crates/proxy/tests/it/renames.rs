//! New names of users and teams, removal, and erasure of names, on both databases.

use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Row as _};
use tempfile::TempDir;

use crate::harness::tokens::{authenticated_server_with, now, token};
use crate::harness::{TestServer, postgres, wait_for};

/// A server and the URL of its database.
struct Place {
    server: TestServer,
    url: String,
    _directory: TempDir,
}

async fn places() -> [Place; 2] {
    let directory = tempfile::tempdir().unwrap();
    let file = format!("sqlite:{}", directory.path().join("x.db").display());
    [place(file, directory).await, place(postgres::database().await, tempfile::tempdir().unwrap()).await]
}

async fn place(url: String, directory: TempDir) -> Place {
    let settings = [("DATABASE_URL", url.as_str()), ("DB_MIN_CONNS", "0"), ("DB_MAX_CONNS", "10")];
    Place { server: authenticated_server_with(&settings, |_| {}).await, url, _directory: directory }
}

/// Waits until `token` gets `status`.
async fn until(server: &TestServer, token: &str, status: u16) {
    wait_for("the change acts", async || {
        (server.post_as(token).await.status.as_u16() == status).then_some(())
    })
    .await;
}

/// Waits until all requests of a report are stored, and returns its rows.
async fn usage(server: &TestServer, query: &str, requests: i64) -> Value {
    wait_for("the requests are stored", async || {
        let report = server.look(&format!("/usage?{query}")).await;
        (report["totals"]["requests"] == requests).then(|| report["data"].clone())
    })
    .await
}

#[tokio::test]
async fn renamed_user_keeps_history_limits_and_tokens() {
    for Place { server, .. } in places().await {
        server.act("POST", "/teams", &json!({"team": "red"})).await;
        let user = json!({"user_id": "ana", "team": "red", "daily_token_limit": 77_000_000});
        server.act("POST", "/users", &user).await;
        server.act("POST", "/users", &json!({"user_id": "ben"})).await;
        let ana = token("ana", &json!({"iat": now() - 60}));
        let issued = server.act("POST", "/tokens", &json!({"user_id": "ana"})).await.json();
        for key in [ana.as_str(), issued["token"].as_str().unwrap()] {
            assert_eq!(server.post_as(key).await.status, 200);
        }
        usage(&server, "by=user", 2).await;
        let used = server.look("/users/ana").await["tokens_used_today"].clone();
        for (path, name, status) in
            [("ana", "ben", 409), ("nobody", "x", 404), ("ana", "ana", 400), ("ana", " ", 400)]
        {
            let body = json!({"user_id": name});
            assert_eq!(
                server.act("POST", &format!("/users/{path}/rename"), &body).await.status,
                status,
                "{name}"
            );
        }
        let renamed = server.act("POST", "/users/ana/rename", &json!({"user_id": "ana.garcia"})).await;
        assert_eq!(renamed.status, 200, "{}", renamed.body);
        let renamed = renamed.json();
        assert_eq!((&renamed["user_id"], &renamed["team"]), (&json!("ana.garcia"), &json!("red")));
        assert_eq!(
            (&renamed["daily_token_limit"], &renamed["tokens_used_today"]),
            (&json!(77_000_000), &used)
        );
        assert_eq!(server.act("GET", "/users/ana", &Value::Null).await.status, 404);
        assert_eq!(server.look("/users").await["data"].as_array().unwrap().len(), 2);
        // By the daily sums and by the records.
        for by in ["user", "user,client_api"] {
            let rows = usage(&server, &format!("by={by}"), 2).await;
            assert_eq!(
                (rows.as_array().unwrap().len(), &rows[0]["user_id"]),
                (1, &json!("ana.garcia")),
                "{by}"
            );
        }
        let tokens = server.look("/tokens?user_id=ana.garcia").await;
        assert_eq!(tokens["data"][0]["jti"], issued["jti"]);
        // Tokens with the old name are those of the new one.
        for key in [ana.as_str(), issued["token"].as_str().unwrap()] {
            wait_for("the name is new", async || {
                let me = server.request("GET", "/v1/me", &[("x-api-key", key)], "").await.json();
                (me["user_id"] == "ana.garcia" && me["limits"][0]["used"] == used).then_some(())
            })
            .await;
        }
        for key in [ana.as_str(), issued["token"].as_str().unwrap()] {
            assert_eq!(server.post_as(key).await.status, 200);
        }
        let rows = usage(&server, "by=user", 4).await;
        assert_eq!(rows.as_array().unwrap().len(), 1, "{rows}");
        let event = server.look("/events?kind=user_renamed").await["data"][0].clone();
        assert_eq!((&event["user_id"], &event["actor"]), (&json!("ana.garcia"), &json!("op")));
        assert_eq!(event["details"], json!({"from": "ana", "to": "ana.garcia"}));
        // Another user may have the old name, and not the old tokens.
        assert_eq!(server.act("POST", "/users", &json!({"user_id": "ana"})).await.status, 201);
        until(&server, &ana, 401).await;
    }
}

#[tokio::test]
async fn name_may_be_taken_back() {
    for Place { server, .. } in places().await {
        server.act("POST", "/users", &json!({"user_id": "ana"})).await;
        let ana = token("ana", &json!({}));
        assert_eq!(server.post_as(&ana).await.status, 200);
        usage(&server, "by=user", 1).await;
        for (from, to) in [("ana", "b"), ("b", "c"), ("c", "ana")] {
            let renamed = server.act("POST", &format!("/users/{from}/rename"), &json!({"user_id": to})).await;
            assert_eq!(renamed.status, 200, "{}", renamed.body);
        }
        let rows = usage(&server, "by=user,session", 1).await;
        assert_eq!(rows[0]["user_id"], "ana");
        assert_eq!(server.look("/users").await["data"].as_array().unwrap().len(), 1);
        assert_eq!(server.post_as(&ana).await.status, 200);
    }
}

#[tokio::test]
async fn renamed_team_keeps_users_limits_and_history() {
    for Place { server, .. } in places().await {
        server.act("POST", "/teams", &json!({"team": "red", "daily_token_limit": 88_000_000})).await;
        server.act("POST", "/users", &json!({"user_id": "ana", "team": "red"})).await;
        let ana = token("ana", &json!({}));
        assert_eq!(server.post_as(&ana).await.status, 200);
        usage(&server, "by=team", 1).await;
        let renamed = server.act("POST", "/teams/red/rename", &json!({"team": "crimson"})).await;
        assert_eq!(renamed.json()["daily_token_limit"], 88_000_000, "{}", renamed.body);
        assert_eq!(server.look("/users/ana").await["team"], "crimson");
        for by in ["team", "team,client_api"] {
            assert_eq!(usage(&server, &format!("by={by}"), 1).await[0]["team"], "crimson");
        }
        // A token of a user who was never seen names the old team.
        let ben = token("ben", &json!({"team": "red"}));
        assert_eq!(server.post_as(&ben).await.status, 200);
        assert_eq!(server.look("/users/ben").await["team"], "crimson");
        assert_eq!(server.look("/teams").await["data"].as_array().unwrap().len(), 1);
        let rows = usage(&server, "by=team", 2).await;
        assert_eq!((rows.as_array().unwrap().len(), &rows[0]["team"]), (1, &json!("crimson")), "{rows}");
        let taken = json!({"team": "crimson"});
        server.act("POST", "/teams", &json!({"team": "blue"})).await;
        assert_eq!(server.act("POST", "/teams/blue/rename", &taken).await.status, 409);
    }
}

#[tokio::test]
async fn removed_user_is_rejected_and_keeps_history() {
    for Place { server, .. } in places().await {
        server.act("POST", "/users", &json!({"user_id": "ana"})).await;
        let foreign = token("ana", &json!({"iat": now() - 60}));
        let issued = server.act("POST", "/tokens", &json!({"user_id": "ana"})).await.json();
        let own = issued["token"].as_str().unwrap();
        for key in [&foreign, own] {
            assert_eq!(server.post_as(key).await.status, 200);
        }
        usage(&server, "by=user", 2).await;
        let removed = server.act("DELETE", "/users/ana", &Value::Null).await;
        assert_eq!(removed.json(), json!({"type": "user_removed", "user_id": "ana", "erased": false}));
        for key in [&foreign, own] {
            wait_for("the token is rejected", async || {
                let status = server.post_as(key).await.status.as_u16();
                [401, 403].contains(&status).then_some(())
            })
            .await;
        }
        for (method, status) in [("GET", 404), ("DELETE", 404)] {
            assert_eq!(server.act(method, "/users/ana", &Value::Null).await.status, status);
        }
        assert_eq!(server.look("/users").await["data"], json!([]));
        assert_eq!(server.look("/usage?by=user").await["data"][0]["user_id"], "ana");
        let event = server.look("/events?kind=user_removed").await["data"][0].clone();
        assert_eq!((&event["user_id"], &event["details"]["erased"]), (&json!("ana"), &json!(false)));
        // A new user with the name does not get the old tokens.
        assert_eq!(server.act("POST", "/users", &json!({"user_id": "ana"})).await.status, 201);
        until(&server, &foreign, 401).await;
        let next = server.act("POST", "/tokens", &json!({"user_id": "ana"})).await.json();
        until(&server, next["token"].as_str().unwrap(), 200).await;
    }
}

#[tokio::test]
async fn removed_team_hands_over_its_users() {
    for Place { server, .. } in places().await {
        for team in ["red", "blue"] {
            server.act("POST", "/teams", &json!({"team": team})).await;
        }
        server.act("POST", "/users", &json!({"user_id": "ana", "team": "red"})).await;
        for (path, status) in [
            ("/teams/red", 409),
            ("/teams/red?move_users_to=nowhere", 404),
            ("/teams/red?move_users_to=red", 400),
            ("/teams/green", 404),
        ] {
            assert_eq!(server.act("DELETE", path, &Value::Null).await.status, status, "{path}");
        }
        let removed = server.act("DELETE", "/teams/red?move_users_to=blue", &Value::Null).await.json();
        assert_eq!(removed, json!({"type": "team_removed", "team": "red", "users_moved": 1}));
        assert_eq!(server.look("/users/ana").await["team"], "blue");
        let removed = server.act("DELETE", "/teams/blue?move_users_to=", &Value::Null).await.json();
        assert_eq!(removed["users_moved"], 1);
        assert_eq!(server.look("/users/ana").await["team"], Value::Null);
        assert_eq!(server.look("/teams").await["data"], json!([]));
        // A token that names it does not make it again.
        assert_eq!(server.post_as(&token("ben", &json!({"team": "red"}))).await.status, 403);
        assert_eq!(server.act("POST", "/teams", &json!({"team": "red"})).await.status, 201);
    }
}

/// Every row of every table as text.
async fn dump(url: &str) -> String {
    let mut text = String::new();
    if let Some(path) = url.strip_prefix("sqlite:") {
        let mut connection = SqliteConnectOptions::new().filename(path).connect().await.unwrap();
        let tables = "SELECT m.name, group_concat('COALESCE(CAST(\"' || c.name || '\" AS TEXT), '''')', ' || ''|'' || ')
             FROM sqlite_master m, pragma_table_info(m.name) c WHERE m.type = 'table' GROUP BY m.name";
        for table in sqlx::query(tables).fetch_all(&mut connection).await.unwrap() {
            let (name, columns) = (table.get::<String, _>(0), table.get::<String, _>(1));
            let rows = AssertSqlSafe(format!("SELECT {columns} FROM \"{name}\""));
            for row in sqlx::query(rows).fetch_all(&mut connection).await.unwrap() {
                text += &format!("{name}: {}\n", row.get::<String, _>(0));
            }
        }
    } else {
        let mut connection = postgres::connect(url).await;
        let tables =
            "SELECT CAST(table_name AS TEXT) FROM information_schema.tables WHERE table_schema = 'public'";
        for table in sqlx::query(tables).fetch_all(&mut connection).await.unwrap() {
            let name = table.get::<String, _>(0);
            let rows = AssertSqlSafe(format!("SELECT CAST(t AS TEXT) FROM \"{name}\" t"));
            for row in sqlx::query(rows).fetch_all(&mut connection).await.unwrap() {
                text += &format!("{name}: {}\n", row.get::<String, _>(0));
            }
        }
    }
    text
}

#[tokio::test]
async fn erased_name_is_nowhere_in_the_database() {
    for Place { server, url, .. } in places().await {
        let (first, name) = ("zoe.first@example.com", "zoe.quill@example.com");
        server.act("POST", "/users", &json!({"user_id": first})).await;
        let profile = json!({"default_inference_profile": "us.profile"});
        server.act("PATCH", &format!("/users/{first}"), &profile).await;
        let tokens = [first, name].map(|user| token(user, &json!({"iat": now() - 60})));
        assert_eq!(server.post_as(&tokens[0]).await.status, 200);
        usage(&server, "by=user", 1).await;
        server.act("POST", &format!("/users/{first}/rename"), &json!({"user_id": name})).await;
        until(&server, &tokens[1], 200).await;
        // An operator too, whose name is in paths and in what it did.
        let admin = token(name, &json!({"scope": "admin"}));
        let issued =
            server.act_as(&admin, "POST", "/tokens", &json!({"user_id": "ben", "create": true})).await;
        assert_eq!(issued.status, 201, "{}", issued.body);
        let path = "/users/zoe%2Equill%40example.com";
        assert_eq!(server.act_as(&token("eve", &json!({})), "GET", path, &Value::Null).await.status, 403);
        wait_for("the rejection is stored", async || {
            let events = server.look("/events?kind=admin_denied").await;
            events["data"].get(0).cloned()
        })
        .await;
        usage(&server, "by=user", 2).await;
        assert!(dump(&url).await.contains("zoe.quill"));

        let erased = server.act("DELETE", &format!("{path}?erase_name=true"), &Value::Null).await;
        assert_eq!(erased.status, 200, "{}", erased.body);
        let erased = erased.json();
        let pseudonym = erased["user_id"].as_str().unwrap();
        assert!(pseudonym.starts_with("erased-") && erased["erased"] == true, "{erased}");
        let all = dump(&url).await;
        let left: Vec<_> = all.lines().filter(|line| line.contains("zoe")).collect();
        assert!(left.is_empty(), "{left:?}");
        let rows = usage(&server, &format!("by=user,client_api&user_id={pseudonym}"), 2).await;
        assert_eq!(rows[0]["user_id"], pseudonym);
        let events = server.look(&format!("/events?user_id={pseudonym}&limit=100")).await;
        let kinds = events["data"].as_array().unwrap().iter().map(|event| event["kind"].as_str().unwrap());
        let kinds: Vec<_> = kinds.filter(|kind| kind.starts_with("user_")).collect();
        assert_eq!(kinds, ["user_removed", "user_renamed", "user_changed", "user_added"]);
        assert!(!server.look("/users").await.to_string().contains("zoe"));
        for key in &tokens {
            until(&server, key, 401).await;
        }
        until(&server, &token(pseudonym, &json!({})), 403).await;
        // Requests that were admitted before are recorded under the pseudonym.
        wait_for("open requests have ended", async || {
            let all = dump(&url).await;
            let left: Vec<_> = all.lines().filter(|line| line.contains("zoe")).collect();
            println!("{left:?}");
            left.is_empty().then_some(())
        })
        .await;
        let again = server.act("DELETE", &format!("{path}?erase_name=true"), &Value::Null).await;
        assert_eq!(again.status, 404, "{}", again.body);
        assert_eq!(server.act("DELETE", "/users/ben?erase_name=maybe", &Value::Null).await.status, 400);
    }
}

#[tokio::test]
async fn removed_user_can_be_erased_later() {
    for Place { server, url, .. } in places().await {
        server.act("POST", "/users", &json!({"user_id": "zoe.quill"})).await;
        assert_eq!(server.post_as(&token("zoe.quill", &json!({}))).await.status, 200);
        usage(&server, "by=user", 1).await;
        assert_eq!(server.act("DELETE", "/users/zoe.quill", &Value::Null).await.status, 200);
        let erased = server.act("DELETE", "/users/zoe.quill?erase_name=true", &Value::Null).await;
        assert_eq!(erased.status, 200, "{}", erased.body);
        assert!(!dump(&url).await.contains("zoe"));
    }
}
