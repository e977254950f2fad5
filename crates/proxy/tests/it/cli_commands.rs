//! Commands that neither serve nor change users: their output and their exit codes.

use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::cli_serve::{output_text, program};
use crate::harness::test_server;

fn run(directory: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    program(directory).args(arguments).envs(variables.iter().copied()).output().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

#[test]
fn config_print_shows_origins_without_secrets() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join(".env"), "PORT=9000\nHOST=::1\nDB_PASSWORD=canary-1\n").unwrap();
    let key = format!("JWT-{}", "canary-2-abcdefghijklmnopqrstuvwxyz");
    let variables =
        [("HOST", "127.0.0.1"), ("JWT_SECRET_KEY", key.as_str()), ("AWS_BEDROCK_REGION", "eu-west-1")];
    let output = run(directory.path(), &["config", "print", "--json"], &variables);
    assert_eq!(code(&output), 0, "{}", output_text(&output));
    assert!(!output_text(&output).contains("canary"), "{}", output_text(&output));
    let rows: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let row = |name: &str| {
        let row = rows.iter().find(|row| row["name"] == name).unwrap();
        (row["value"].as_str().unwrap_or("null").to_owned(), row["origin"].as_str().unwrap().to_owned())
    };
    for (name, value, origin) in [
        ("PORT", "9000", ".env"),
        ("HOST", "127.0.0.1", "environment"),
        ("DB_PASSWORD", "[redacted]", ".env"),
        ("JWT_SECRET_KEY", "[redacted]", "environment"),
        ("JWT_ISSUER", "bedrock-proxy", "default"),
        ("AWS_BEDROCK_REGION_PREFIX", "eu", "default"),
        ("AWS_BEDROCK_SECRET_KEY", "null", "AWS chain"),
        ("AWS_CA_BUNDLE", "null", "not set"),
    ] {
        assert_eq!(row(name), (value.to_owned(), origin.to_owned()), "{name}");
    }
    let table = output_text(&run(directory.path(), &["config", "print"], &variables));
    assert!(!table.contains("canary"));
    let line = table.lines().find(|line| line.starts_with("PORT ")).unwrap();
    assert_eq!(line.split_whitespace().collect::<Vec<_>>(), ["PORT", ".env", "9000"]);
}

#[test]
fn misspelt_variables_are_reported_with_suggestions() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join(".env"), "AWS_BEDROK_REGION=eu-west-1\nAWS_PROFILE=x\n").unwrap();
    let output = run(directory.path(), &["config", "check"], &[("JWT_SECRET", "x"), ("DB_PASS", "canary")]);
    assert_eq!(code(&output), 78);
    let text = output_text(&output);
    assert!(
        text.contains("AWS_BEDROK_REGION: there is no such variable; did you mean AWS_BEDROCK_REGION?"),
        "{text}"
    );
    assert!(text.contains("JWT_SECRET: there is no such variable; did you mean JWT_SECRET_KEY?"), "{text}");
    assert!(text.contains("2 to fix") && !text.contains("AWS_PROFILE") && !text.contains("canary"), "{text}");
    let empty = tempfile::tempdir().unwrap();
    let output = run(empty.path(), &["config", "check"], &[("DB_PASS", "canary")]);
    assert_eq!(code(&output), 0);
    assert!(
        output_text(&output)
            .contains("DB_PASS is set, but there is no such variable; did you mean DB_PASSWORD?")
    );
}

#[test]
fn completions_ignore_an_invalid_configuration() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join(".env"), "PORT=x\n").unwrap();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let output = run(directory.path(), &["completions", shell], &[]);
        assert_eq!(code(&output), 0, "{shell}");
        assert!(output_text(&output).contains("healthcheck"), "{shell}");
    }
}

#[test]
fn man_pages_ignore_an_invalid_configuration() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join(".env"), "PORT=x\n").unwrap();
    let page = output_text(&run(directory.path(), &["man"], &[]));
    assert!(page.contains(".TH bedrock-proxy 1") && page.contains("Exit codes"), "{page}");
    let output = run(directory.path(), &["man", "--dir", "man1"], &[]);
    assert_eq!((code(&output), output_text(&output).as_str()), (0, ""));
    assert!(directory.path().join("man1/bedrock-proxy-token-issue.1").is_file());
}

#[test]
fn unwritable_man_page_folder_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join(".env"), "").unwrap();
    let output = run(directory.path(), &["man", "--dir", ".env"], &[]);
    assert_eq!(code(&output), 1);
    assert!(output_text(&output).contains("cannot write the manual: .env"), "{}", output_text(&output));
}

#[test]
fn version_lists_facts_for_bug_reports() {
    let directory = tempfile::tempdir().unwrap();
    let output = run(directory.path(), &["version", "--json"], &[]);
    let version: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    assert!(version["sqlite"].as_str().unwrap().starts_with("3."), "{version}");
    assert!(version["target"].as_str().unwrap().contains(std::env::consts::ARCH), "{version}");
    assert!(output_text(&run(directory.path(), &["version"], &[])).starts_with("bedrock-proxy "));
}

#[test]
fn migrations_are_listed_before_they_are_applied() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("data/bedrock-proxy.db");
    let listed = output_text(&run(directory.path(), &["migrate", "--dry-run"], &[]));
    assert!(listed.contains("pending: 0001_seed") && listed.contains("pending: 0002_accounting"), "{listed}");
    assert!(!file.exists(), "a dry run makes nothing");
    let applied = output_text(&run(directory.path(), &["migrate"], &[]));
    assert!(applied.contains("applied: 0001_seed"), "{applied}");
    assert!(file.exists());
    for arguments in [&["migrate", "--dry-run"][..], &["migrate"]] {
        assert_eq!(output_text(&run(directory.path(), arguments, &[])).trim(), "the schema is up to date");
    }
    let broken = [("DATABASE_URL", "postgres://u:canary@127.0.0.1:1/none?sslmode=disable")];
    let output = run(directory.path(), &["migrate", "--dry-run"], &broken);
    assert_eq!(code(&output), 1);
    assert!(
        output_text(&output).contains("unavailable") && !output_text(&output).contains("canary"),
        "{}",
        output_text(&output)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn healthcheck_command_checks_the_local_server() {
    let server = test_server().await;
    let directory = tempfile::tempdir().unwrap();
    let port = server.address.port().to_string();
    let check = |arguments: &'static [&'static str], port: String| {
        let directory = directory.path().to_owned();
        tokio::task::spawn_blocking(move || run(&directory, arguments, &[("PORT", &port)]))
    };
    let alive = check(&["healthcheck"], port.clone()).await.unwrap();
    assert_eq!((code(&alive), output_text(&alive).trim()), (0, "ok"));
    let ready = check(&["healthcheck", "--ready"], port.clone()).await.unwrap();
    assert!(code(&ready) == 0 && output_text(&ready).contains("healthy"), "{}", output_text(&ready));
    server.app.bedrock.set_credentials_rejected(true);
    let ill = check(&["healthcheck", "--ready"], port).await.unwrap();
    assert!(code(&ill) == 1 && output_text(&ill).contains("503"), "{}", output_text(&ill));
    let unreachable = check(&["healthcheck"], "1".to_owned()).await.unwrap();
    assert!(
        code(&unreachable) == 1 && output_text(&unreachable).contains("127.0.0.1:1"),
        "{}",
        output_text(&unreachable)
    );
    let unknown = check(&["healthcheck"], "0".to_owned()).await.unwrap();
    assert!(code(&unknown) == 1 && output_text(&unknown).contains("--url"), "{}", output_text(&unknown));
}

#[test]
fn connect_prints_settings_for_each_client() {
    let directory = tempfile::tempdir().unwrap();
    let list = output_text(&run(directory.path(), &["connect"], &[]));
    for client in ["claude-code", "claude-code-bedrock", "cline-openai", "zed", "openai-typescript", "curl"] {
        assert!(list.contains(&format!("  {client} ")), "{list}");
    }
    let open = output_text(&run(directory.path(), &["connect", "claude-code"], &[("PORT", "9000")]));
    assert!(open.contains("ANTHROPIC_BASE_URL=http://127.0.0.1:9000 ANTHROPIC_AUTH_TOKEN=any"), "{open}");
    let key = [("JWT_SECRET_KEY", "0123456789abcdefghijklmnopqrstuvwxyz"), ("HOST", "0.0.0.0")];
    let secured = output_text(&run(directory.path(), &["connect", "claude-code", "--user", "ana"], &key));
    assert!(
        secured.contains("\"apiKeyHelper\": \"cd ") && secured.contains("token print --user ana"),
        "{secured}"
    );
    assert!(secured.contains("\"ANTHROPIC_BASE_URL\": \"http://127.0.0.1:8081\""), "{secured}");
    let elsewhere = ["connect", "opencode", "--url", "https://proxy.example.com/"];
    let elsewhere = output_text(&run(directory.path(), &elsewhere, &key));
    assert!(
        elsewhere.contains("\"baseURL\": \"https://proxy.example.com/v1\", \"apiKey\": \"TOKEN\""),
        "{elsewhere}"
    );
    assert!(elsewhere.contains("NODE_EXTRA_CA_CERTS"), "{elsewhere}");
    let unknown = run(directory.path(), &["connect", "netscape"], &[]);
    assert!(code(&unknown) == 2 && output_text(&unknown).contains("opencode"), "{}", output_text(&unknown));
}

#[test]
fn closed_stdout_is_not_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = program(directory.path()).arg("explain").stdout(writer).output().unwrap();
    assert_eq!((code(&output), output_text(&output).as_str()), (0, ""));
}

#[test]
fn passwords_in_urls_are_never_printed() {
    let variables = [
        "AWS_ENDPOINT_URL",
        "AWS_ENDPOINT_URL_BEDROCK",
        "AWS_ENDPOINT_URL_BEDROCK_RUNTIME",
        "AWS_ENDPOINT_URL_STS",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "DATABASE_URL",
        "CORS_ALLOWED_ORIGINS",
        "HOST",
        "DB_HOST",
    ];
    let directory = tempfile::tempdir().unwrap();
    for name in variables {
        for value in [
            "https://ana:canary@host.example/x",
            "https://ana:can@canary@host.example",
            "ana:canary@host.example:4318",
            "postgres://ana:canary@host.example:nowhere/db",
            "https://host.example/v1?api_key=canary",
        ] {
            for arguments in [&["config", "check"][..], &["config", "print"], &["config", "print", "--json"]]
            {
                let output = program(directory.path()).args(arguments).env(name, value).output().unwrap();
                assert!(
                    !output_text(&output).contains("canary"),
                    "{name} {arguments:?}: {}",
                    output_text(&output)
                );
            }
        }
        for arguments in [&["serve"][..], &["doctor"]] {
            let mut command = program(directory.path());
            // Another mistake: nothing is contacted.
            command.args(arguments).env(name, "https://ana:canary@host.example/x").env("PORT", "x");
            let output = command.output().unwrap();
            assert!(
                !output_text(&output).contains("canary"),
                "{name} {arguments:?}: {}",
                output_text(&output)
            );
        }
    }
}
