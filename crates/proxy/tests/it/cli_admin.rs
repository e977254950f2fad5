//! Commands for users, teams and tokens, as a process beside a running server.

use std::process::Command;

use serde_json::{Value, json};

use crate::harness::postgres;
use crate::harness::tokens::{KEY, authenticated_server_with};
use crate::harness::{TestServer, wait_for};

/// Output and exit code of a command.
struct CommandOutput {
    out: String,
    error: String,
    code: Option<i32>,
}

/// Runs `bedrock-proxy <words>` on the database that `variables` name.
async fn run(variables: &[(&str, &str)], words: &str) -> CommandOutput {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bedrock-proxy"));
    command.env_clear().env("JWT_SECRET_KEY", KEY).envs(variables.iter().copied());
    command.args(words.split(' ')).current_dir("/");
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    CommandOutput { out: text(&output.stdout), error: text(&output.stderr), code: output.status.code() }
}

async fn fine(variables: &[(&str, &str)], words: &str) -> String {
    let message = run(variables, words).await;
    assert_eq!(message.code, Some(0), "{words}: {}{}", message.out, message.error);
    message.out
}

async fn until(server: &TestServer, token: &str, status: u16) {
    wait_for("the change acts", async || {
        (server.post_as(token).await.status.as_u16() == status).then_some(())
    })
    .await;
}

#[tokio::test]
async fn cli_changes_act_on_a_running_server() {
    let url = postgres::database().await;
    let directory = tempfile::tempdir().unwrap();
    let file = format!("sqlite:{}", directory.path().join("x.db").display());
    for url in [url.as_str(), file.as_str()] {
        let database = [("DATABASE_URL", url), ("DB_MIN_CONNS", "0"), ("DB_MAX_CONNS", "5")];
        let server = authenticated_server_with(&database, |_| {}).await;
        fine(&database, "team add red --limit 5_000_000").await;
        let added: Value =
            serde_json::from_str(&fine(&database, "user add ana --team red --limit unlimited").await)
                .unwrap();
        assert_eq!((&added["team"], &added["daily_token_limit"]), (&json!("red"), &Value::Null));
        let token = fine(&database, "token print --user ana --ttl 1h").await;
        assert_eq!(token.lines().count(), 1, "{token}");
        let token = token.trim();
        assert_eq!(server.post_as(token).await.status, 200);
        let explained = fine(&database, "quota explain ana").await;
        assert!(
            explained.contains("The user ana: no limit (") && explained.contains("of 5000000 tokens"),
            "{explained}"
        );
        fine(&database, "user disable ana").await;
        until(&server, token, 403).await;
        fine(&database, "user enable ana").await;
        until(&server, token, 200).await;
        fine(&database, "token revoke --user ana").await;
        until(&server, token, 401).await;
        let issued = fine(&database, "token issue --user ana --name ci-bot --limit 1_000_000").await;
        let token = issued.lines().next().unwrap();
        assert_eq!(server.post_as(token).await.status, 200);
        let listed: Value =
            serde_json::from_str(&fine(&database, "token list --user ana --format json").await).unwrap();
        let jti = listed[0]["jti"].as_str().unwrap();
        assert!(issued.contains(jti));
        assert_eq!(
            (&listed[0]["name"], &listed[0]["daily_token_limit"]),
            (&json!("ci-bot"), &json!(1_000_000))
        );
        fine(&database, &format!("token revoke {jti}")).await;
        until(&server, token, 401).await;
        let admin = fine(&database, "token print --user op --scope admin").await;
        let bearer = format!("Bearer {}", admin.trim());
        let users = server.request("GET", "/admin/v1/users", &[("authorization", &bearer)], "").await;
        assert_eq!(users.json()["data"][0]["user_id"], "ana");
        let events = fine(&database, "events --format csv").await;
        let kinds = events.lines().skip(1).map(|line| line.split(',').nth(1).unwrap());
        // Those are the server's own, and come when they come.
        let kinds: Vec<_> =
            kinds.filter(|kind| !["quota_reset", "auth_refused", "config_loaded"].contains(kind)).collect();
        let expected = "token_issued token_revoked token_issued tokens_revoked user_changed user_changed token_issued \
                        user_added team_added";
        assert_eq!(kinds, expected.split(' ').collect::<Vec<_>>());
        let report = fine(&database, "usage report").await;
        let lines: Vec<_> = report.lines().collect();
        assert!(lines[0].starts_with("Usage from ") && lines[0].contains("-01 to "), "{report}");
        assert!(lines[2].starts_with("user_id ") && lines[2].ends_with(" cost_usd"), "{report}");
        assert!(lines[3].starts_with("ana ") && lines[4].starts_with("total "), "{report}");
        assert!(!report.contains('█'), "no bars in a pipe: {report}");
        let unknown = run(&database, "usage report --user nobody").await;
        assert!(unknown.code == Some(1) && unknown.error.contains("nobody"), "{}", unknown.error);
        let quiet = fine(&database, "usage report --from 2026-01-01 --to 2026-01-02 --by team,model").await;
        assert_eq!(quiet, "no usage from 2026-01-01 to 2026-01-02\n");
        let csv =
            fine(&database, "usage report --from 2026-01-01 --to 2026-01-02 --by month --format csv").await;
        assert!(csv.starts_with("month,requests,"), "{csv}");
        assert!(explained.contains("Cost of the user since the last reset: $"), "{explained}");
        assert!(fine(&database, "user list").await.starts_with("user_id"));
        assert!(fine(&database, "team list --format json").await.contains("5000000"));
        assert!(
            fine(&database, "user set ana --team none --profile us.anthropic.x")
                .await
                .contains("us.anthropic.x")
        );
        assert!(fine(&database, "user show ana").await.contains("\"team\": null"));
        assert!(fine(&database, "team set red --disabled true").await.contains("\"disabled\": true"));
        assert!(fine(&database, "team show red").await.contains("red"));
        assert!(fine(&database, "user rename ana anna").await.contains("\"user_id\": \"anna\""));
        assert!(fine(&database, "team rename red crimson").await.contains("crimson"));
        fine(&database, "user set anna --team crimson").await;
        let rejected = run(&database, "team remove crimson").await;
        assert!(rejected.code == Some(1) && rejected.error.contains("has 1 users"), "{}", rejected.error);
        assert!(
            fine(&database, "team remove crimson --move-users-to none").await.contains("1 user was moved")
        );
        assert!(fine(&database, "user remove anna").await.contains("anna is removed"));
        let erased = fine(&database, "user remove anna --erase-name").await;
        assert!(erased.contains("erased-") && !erased.contains("anna"), "{erased}");
        let failed = run(&database, "user remove anna").await;
        assert!(failed.code == Some(1) && failed.error.contains("no user"), "{}", failed.error);
        assert!(!fine(&database, "events --format csv").await.contains("anna"));
    }
}

#[tokio::test]
async fn events_name_the_operating_systems_user() {
    let directory = tempfile::tempdir().unwrap();
    let data = [("DATA_DIR", directory.path().to_str().unwrap())];
    fine(&data, "team add red --limit 5M").await;
    let sudo = [data[0], ("SUDO_USER", "ana")];
    fine(&sudo, "team set red --limit 2.5M").await;
    let shown: Value = serde_json::from_str(&fine(&data, "team show red").await).unwrap();
    assert_eq!(shown["daily_token_limit"], 2_500_000);
    let actors = async |words: &str| {
        let events: Value =
            serde_json::from_str(&fine(&data, format!("events --format json {words}").trim_end()).await)
                .unwrap();
        let events = events.as_array().unwrap().iter();
        events.map(|event| event["actor"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let all = actors("").await;
    assert!(
        all.len() == 2 && all.iter().all(|actor| actor.starts_with("cli:") && actor.len() > 4),
        "{all:?}"
    );
    // Only root may name another user.
    let is_root = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap()) == 0;
    assert_eq!(all[0] == "cli:ana", is_root, "{all:?}");
    assert_eq!(actors(&format!("--actor {}", all[1])).await.len(), if is_root { 1 } else { 2 });
    assert_eq!(actors("--team red --since 1h").await.len(), 2);
    assert_eq!(actors("--until 2026-01-01").await.len(), 0);
    assert_eq!(actors("--since 2026-01-01 --limit 1").await.len(), 1);
    for words in
        ["--kind nosuchkind", "--since yesterday", "--since 2026-02-01 --until 2026-01-01", "--limit 0"]
    {
        let failed = run(&data, &format!("events {words}")).await;
        assert!(failed.code != Some(0) && failed.out.is_empty(), "{words}: {}", failed.out);
    }
}

#[tokio::test]
async fn cli_errors_never_print_tokens() {
    let directory = tempfile::tempdir().unwrap();
    let data = [("DATA_DIR", directory.path().to_str().unwrap())];
    for (words, message) in [
        ("user set nobody --limit 5", "no user"),
        ("user add ana --team nobodys", "no team"),
        ("quota explain nobody", "no user"),
        ("token revoke --user nobody", "no user"),
        ("user add ana --limit lots", "unlimited"),
        ("token issue --user ana --ttl forever", "24h"),
        ("token issue --user ana --scope root", "admin:read"),
        ("usage report --by password", "user, team"),
        ("usage report --from yesterday", "yesterday"),
        ("usage report --from 2026-11-20 --to 2026-11-01", "is after the last day"),
        (
            "usage report --from 2999-01-01 --to 2999-02-01",
            "the first day, 2999-01-01, is in the future; today is",
        ),
        ("token revoke", "<JTI|--user <USER>>"),
        ("usage prices no-such-model", "no model with a price"),
        ("token revoke nope", "no token with this id was issued here; it is rejected from now on"),
        ("token issue --user ana", "--create"),
        ("token issue --user ana --create --team nobodys", "no team"),
        ("token issue --user ana --create --limit lots", "unlimited"),
    ] {
        let failed = run(&data, words).await;
        assert!(
            failed.code.is_some_and(|code| code != 0) && failed.out.is_empty(),
            "{words}: {}",
            failed.out
        );
        assert!(failed.error.contains(message), "{words}: {}", failed.error);
    }
    assert!(directory.path().join("bedrock-proxy.db").exists());
}

#[tokio::test]
async fn unknown_names_suggest_similar_ones() {
    let directory = tempfile::tempdir().unwrap();
    let data = [("DATA_DIR", directory.path().to_str().unwrap())];
    fine(&data, "team add payments").await;
    fine(&data, "user add ana --team payments").await;
    for words in [
        "user show anna",
        "user set anna --limit 5",
        "user disable anna",
        "user enable anna",
        "user rename anna ben",
        "user remove anna",
        "user remove anna --erase-name",
        "quota explain anna",
        "token issue --user anna",
        "token list --user anna",
        "token revoke --user anna",
        "events --user anna",
        "usage report --user anna",
        "team show paymets",
        "team set paymets --limit 5",
        "team rename paymets billing",
        "team remove paymets",
        "team remove payments --move-users-to paymets",
        "user add ben --team paymets",
        "user set ana --team paymets",
        "user list --team paymets",
        "events --team paymets",
        "usage report --team paymets",
    ] {
        let failed = run(&data, words).await;
        let meant = if words.contains("anna") { "ana" } else { "payments" };
        assert!(failed.code == Some(1) && failed.out.is_empty(), "{words}: {}", failed.out);
        assert!(failed.error.contains(&format!("did you mean {meant:?}?")), "{words}: {}", failed.error);
    }
    let kept = run(&data, "team remove payments").await;
    assert!(kept.code == Some(1) && kept.error.contains("--move-users-to"), "{}", kept.error);
    assert_eq!(
        fine(&data, "token list --user ana").await.trim(),
        "no rows",
        "a user without tokens is no error"
    );
}

#[tokio::test]
async fn change_to_the_same_values_writes_no_event() {
    let directory = tempfile::tempdir().unwrap();
    let data = [("DATA_DIR", directory.path().to_str().unwrap())];
    fine(&data, "team add red --limit 5M").await;
    let added = fine(&data, "user add ana --team red --limit 1M").await;
    for (words, kind) in [
        ("user set ana --limit 1_000_000 --team red --profile none", "user_changed"),
        ("user enable ana", "user_changed"),
        ("team set red --limit 5_000_000 --disabled false", "team_changed"),
    ] {
        let same = fine(&data, words).await;
        assert!(!words.starts_with("user") || same == added, "{words}: {same}");
        assert_eq!(fine(&data, &format!("events --kind {kind}")).await.trim(), "no rows", "{words}");
    }
    // A command without a change is a typing error.
    for words in ["user set ana", "team set red"] {
        let failed = run(&data, words).await;
        assert!(failed.code == Some(2) && failed.error.contains("--limit"), "{words}: {}", failed.error);
    }
    for profile in ["nonsense", "claude-sonnet-5"] {
        let failed = run(&data, &format!("user set ana --profile {profile}")).await;
        assert!(failed.code == Some(1) && failed.error.contains("inference profile"), "{}", failed.error);
    }
}

#[tokio::test]
async fn prices_are_those_of_the_costs() {
    let directory = tempfile::tempdir().unwrap();
    let models = directory.path().join("models.json");
    let row = r#"[{"id":"acme.novel-1","prices":{"basis":"bare","input":"1.5","output":"3.000001","version":"contract"}}]"#;
    std::fs::write(&models, row).unwrap();
    let settings =
        [("AWS_BEDROCK_MODELS_FILE", models.to_str().unwrap()), ("AWS_BEDROCK_REGION", "eu-west-1")];
    let csv = fine(&settings, "usage prices claude-sonnet-4-5 --format csv").await;
    let id = "anthropic.claude-sonnet-4-5-20250929-v1:0";
    let version = csv.lines().nth(1).unwrap().rsplit(',').next().unwrap();
    let expected = [
        "model_id,name,prompt_above,input,output,cache_read,cache_write_5m,cache_write_1h,version".to_owned(),
        format!("{id},claude-sonnet-4-5,0,3,15,0.3,3.75,6,{version}"),
        format!("{id},claude-sonnet-4-5,200000,6,22.5,0.6,7.5,12,{version}"),
        format!("eu.{id},claude-sonnet-4-5,0,3.3,16.5,0.33,4.125,6.6,{version}"),
        format!("eu.{id},claude-sonnet-4-5,200000,6.6,24.75,0.66,8.25,13.2,{version}"),
        format!("global.{id},claude-sonnet-4-5,0,3,15,0.3,3.75,6,{version}"),
        format!("global.{id},claude-sonnet-4-5,200000,6,22.5,0.6,7.5,12,{version}"),
    ];
    assert_eq!(csv, expected.map(|line| line + "\r\n").concat());
    let own = fine(&settings, "usage prices novel --format csv").await;
    assert!(own.ends_with("acme.novel-1,,0,1.5,3.000001,,,,contract\r\n"), "{own}");
    assert!(fine(&settings, "usage prices").await.lines().count() > 50);
}

#[tokio::test]
async fn help_of_the_report_explains_every_column() {
    let help = fine(&[], "usage report --help").await;
    let document = crate::openapi::document();
    let members = document["components"]["schemas"]["Usage"]["properties"].as_object().unwrap();
    for name in members.keys().map(|name| name.trim_end_matches("_id")).filter(|name| *name != "type") {
        assert!(
            help.contains(&format!("  {name} ")) || help.contains(&format!("{name}, ")),
            "{name}: {help}"
        );
    }
}

#[tokio::test]
async fn tokens_need_a_signing_key() {
    let directory = tempfile::tempdir().unwrap();
    let variables = [("DATA_DIR", directory.path().to_str().unwrap()), ("JWT_SECRET_KEY", "")];
    let output = run(&variables, "token print --user ana").await;
    assert!(output.code == Some(1) && output.error.contains("JWT_SECRET_KEY"), "{}", output.error);
}

#[tokio::test]
async fn unavailable_database_prints_no_token() {
    let unavailable = [("DATABASE_URL", "postgres://nobody@127.0.0.1:1/nowhere?sslmode=disable")];
    let output = run(&unavailable, "token print --user ana").await;
    assert!(output.code == Some(1) && output.out.is_empty(), "{}", output.out);
    assert!(output.error.contains("database"), "{}", output.error);
}
