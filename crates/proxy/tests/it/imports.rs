//! Users and teams from files: `user import` and `apply`, on the command line and over the admin API.

use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::postgres;
use crate::harness::tokens::{authenticated_server, authenticated_server_with, token};
use crate::harness::{TestResponse, TestServer};
use crate::openapi::check_response;

async fn servers() -> [TestServer; 2] {
    let url = postgres::database().await;
    let settings = [("DATABASE_URL", url.as_str()), ("DB_MIN_CONNS", "0"), ("DB_MAX_CONNS", "10")];
    [authenticated_server().await, authenticated_server_with(&settings, |_| {}).await]
}

/// Imports a CSV.
async fn import(server: &TestServer, query: &str, csv: &str) -> TestResponse {
    let bearer = format!("Bearer {}", token("op", &json!({"scope": "admin"})));
    let path = format!("/admin/v1/import{query}");
    let response = server.request("POST", &path, &[("authorization", &bearer)], csv.to_owned()).await;
    check_response("POST", &path, &response);
    response
}

fn changes(plan: &Value) -> Vec<String> {
    let text = |change: &Value, name: &str| change[name].as_str().unwrap().to_owned();
    let changes = plan["changes"].as_array().unwrap().iter();
    changes.map(|change| ["action", "object", "name"].map(|name| text(change, name)).join(" ")).collect()
}

#[tokio::test]
async fn import_adds_and_changes_users_once() {
    for server in servers().await {
        server.act("POST", "/teams", &json!({"team": "red"})).await;
        server.act("POST", "/users", &json!({"user_id": "ana", "daily_token_limit": 5})).await;
        let csv = "user,team,limit\r\nana,red,\r\nben,red,5M\r\ncleo,,unlimited\r\n";
        let planned = import(&server, "?dry_run=true", csv).await.json();
        assert_eq!((&planned["applied"], planned["changes"].as_array().unwrap().len()), (&json!(false), 3));
        assert_eq!(
            server.look("/users").await["data"].as_array().unwrap().len(),
            1,
            "a dry run changes nothing"
        );
        let applied = import(&server, "", csv).await.json();
        assert_eq!(changes(&applied), ["change user ana", "add user ben", "add user cleo"]);
        assert_eq!(applied["applied"], true);
        let users = server.look("/users").await["data"].clone();
        let values = |at: usize| (users[at]["team"].clone(), users[at]["daily_token_limit"].clone());
        assert_eq!(values(0), (json!("red"), json!(5)), "an empty cell keeps a value");
        assert_eq!(values(1), (json!("red"), json!(5_000_000)));
        assert_eq!(values(2), (Value::Null, Value::Null));
        let again = import(&server, "", csv).await.json();
        assert_eq!((changes(&again).len(), &again["unchanged"]), (0, &json!(3)));
        let events = server.look("/events?actor=op&kind=user_added").await;
        assert_eq!(events["data"].as_array().unwrap().len(), 3);
    }
}

#[tokio::test]
async fn import_with_mistakes_changes_nothing() {
    for server in servers().await {
        let csv =
            "user,team,limit,disabled\nana,,5M,\nben,nowhere,,\n ,,,\ncleo,,many,perhaps\nana,,,\nx,y\n";
        let (status, kind, message) = import(&server, "", csv).await.error();
        assert_eq!((status, kind.as_str()), (400, "invalid_request_error"));
        for part in [
            "line 3: there is no team",
            "line 4: ",
            "line 5: limit",
            "line 5: disabled",
            "line 6: ",
            "line 7: ",
        ] {
            assert!(message.contains(part), "{part}: {message}");
        }
        assert!(message.starts_with("6 mistakes, nothing is changed:"), "{message}");
        let lines: Vec<_> = message.lines().skip(1).map(|line| line.trim().split(':').next()).collect();
        assert!(lines.is_sorted(), "in the order of the file: {message}");
        assert_eq!(server.look("/users").await["data"], json!([]));
        for csv in ["", "name\nana\n", "user,rank\nana,1\n", "user\n\"ana\n"] {
            assert_eq!(import(&server, "", csv).await.status, 400, "{csv}");
        }
        assert_eq!(import(&server, "?dry_run=perhaps", "user\nana\n").await.status, 400);
        assert_eq!(server.look("/users").await["data"], json!([]));
    }
}

#[tokio::test]
async fn document_is_applied_once_and_prunes_on_request() {
    for server in servers().await {
        server.act("POST", "/teams", &json!({"team": "old"})).await;
        server.act("POST", "/users", &json!({"user_id": "zed", "team": "old"})).await;
        let document = json!({
            "teams": {"red": {"limit": "50M"}},
            "users": {"ana": {"team": "red", "limit": 7}, "ben": {"disabled": true, "profile": "us.x"}},
        });
        let planned = server.act("POST", "/apply?dry_run=true", &document).await.json();
        assert_eq!(changes(&planned), ["add team red", "add user ana", "add user ben"]);
        assert_eq!(server.look("/users").await["data"].as_array().unwrap().len(), 1);
        let applied = server.act("POST", "/apply", &document).await.json();
        assert_eq!((&applied["applied"], &applied["unchanged"]), (&json!(true), &json!(0)));
        assert_eq!(server.look("/teams/red").await["daily_token_limit"], 50_000_000);
        assert_eq!(server.look("/users/ana").await["team"], "red");
        let again = server.act("POST", "/apply", &document).await.json();
        assert_eq!((changes(&again).len(), &again["unchanged"]), (0, &json!(3)));
        assert_eq!(server.look("/users/zed").await["team"], "old", "what the document does not name stays");
        // Only of a kind that it has: zed would stay in a team that is removed.
        let teams_only = json!({"teams": {"red": {}}});
        let (status, _, message) = server.act("POST", "/apply?prune=true", &teams_only).await.error();
        assert!(status == 400 && message.contains("\"zed\" is in the team \"old\""), "{message}");
        let pruned = server.act("POST", "/apply?prune=true", &document).await.json();
        assert_eq!(changes(&pruned), ["remove user zed", "remove team old"]);
        let empty = server.act("POST", "/apply?prune=true", &document).await.json();
        assert_eq!(changes(&empty).len(), 0);
        let wrong = json!({"team": {}, "users": {"ana": {"team": "nowhere", "limt": 5}}});
        let (status, _, message) = server.act("POST", "/apply", &wrong).await.error();
        assert_eq!((status, message.lines().count()), (400, 4), "{message}");
        assert_eq!(server.look("/users/ana").await["team"], "red");
    }
}

/// A directory for the database and the files of commands.
struct Place(TempDir);

impl Place {
    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.path().join(name), text).unwrap();
    }

    /// Runs a command; its exit code and what it wrote to stdout and stderr.
    fn run(&self, words: &str) -> (Option<i32>, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bedrock-proxy"));
        command.env_clear().env("DATA_DIR", self.0.path()).current_dir(self.0.path());
        let output = command.args(words.split(' ')).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    }
}

#[test]
fn commands_print_the_plan_and_apply_it() {
    let place = Place(tempfile::tempdir().unwrap());
    let file = "# Comments are allowed\n[teams.red]\nlimit = \"50M\"\n\n[users.\"ana@example.com\"]\nteam = \"red\"\nlimit = 1_000\n";
    place.write("teams.toml", file);
    let plan = "+ team red  limit 50000000\n+ user ana@example.com  team red, limit 1000\n\
                2 to add, 0 to change, 0 to remove, 0 unchanged\n";
    let (code, out, error) = place.run("apply -f teams.toml --dry-run");
    assert_eq!((code, out), (Some(0), format!("{plan}nothing is changed\n")), "{error}");
    // Without a terminal there is no confirmation.
    let (code, out, error) = place.run("apply -f teams.toml");
    assert!(code == Some(1) && out == plan && error.contains("--yes"), "{out}{error}");
    assert!(place.run("user list").1.contains("no rows"));
    let (code, out, error) = place.run("apply -f teams.toml --yes");
    assert_eq!((code, out, error.as_str()), (Some(0), format!("{plan}applied\n"), ""));
    assert!(place.run("apply -f teams.toml --yes").1.contains("2 unchanged\nnothing is changed"));
    place.write("teams.json", r#"{"users": {"ben": {"limit": "unlimited"}}}"#);
    let (code, out, _) = place.run("apply -f teams.json --yes --prune");
    assert!(code == Some(0) && out.contains("- user ana@example.com\n"), "{out}");

    place.write("users.csv", "user,team,limit\nben,red,2.5M\neve,,\n");
    let (code, out, _) = place.run("user import users.csv --dry-run");
    let expected = "~ user ben  team none → red, limit unlimited → 2500000\n+ user eve  limit 1000000\n";
    assert!(code == Some(0) && out.starts_with(expected) && out.ends_with("nothing is changed\n"), "{out}");
    assert!(place.run("user import users.csv").1.ends_with("applied\n"));
    assert!(place.run("user import users.csv").1.contains("0 to add, 0 to change, 0 to remove, 2 unchanged"));
    let exported = place.run("user list --format csv").1;
    place.write("export.csv", &exported);
    assert!(
        place.run("user import export.csv").1.contains("0 to add, 0 to change, 0 to remove, 2 unchanged")
    );

    place.write("wrong.csv", "user,limit\nana,many\n,5\n");
    place.write("wrong.toml", "[users.ana]\nlimit = \"5M\nteam = 1\n");
    place.write("wrong.json", r#"{"users": {"ana": {"limit": true}}}"#);
    for (words, part) in [
        ("user import wrong.csv", "line 3:"),
        ("user import nowhere.csv", "nowhere.csv"),
        ("apply -f wrong.toml --yes", "line 2"),
        ("apply -f wrong.json --yes", "users.ana.limit"),
        ("apply --yes", "--file"),
    ] {
        let (code, out, error) = place.run(words);
        assert!(
            code.is_some_and(|code| code != 0) && out.is_empty() && error.contains(part),
            "{words}: {out}{error}"
        );
    }
}
