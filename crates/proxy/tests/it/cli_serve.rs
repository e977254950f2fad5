//! The program itself: exit codes and start-up messages.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::harness::wait_for;

pub(crate) fn program(directory: &std::path::Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bedrock-proxy"));
    command.env_clear().current_dir(directory);
    command
}

pub(crate) fn output_text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn every_mistake_is_reported_before_anything_starts() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join(".env"), "PORT=x\nAWS_BEDROCK_ACCESS_KEY=AKIA\n").unwrap();
    for arguments in [&["config", "check"][..], &["serve"], &[]] {
        let output = program(directory.path()).args(arguments).env("HOST", "0.0.0.0").output().unwrap();
        assert_eq!(output.status.code(), Some(78));
        for variable in ["PORT", "AWS_BEDROCK_SECRET_KEY", "HOST"] {
            assert!(output_text(&output).contains(variable), "{variable}: {}", output_text(&output));
        }
    }
}

#[test]
fn the_real_environment_wins_over_the_file() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join(".env"), "PORT=x\n").unwrap();
    let output = program(directory.path()).args(["config", "check"]).env("PORT", "8081").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", output_text(&output));
}

/// The variables of a file as `docker run --env-file` passes them on: each line, with its comment and its quotes.
fn verbatim(file: &str) -> Vec<(&str, &str)> {
    let lines = file.lines().filter(|line| !line.trim_start().starts_with('#'));
    lines.filter_map(|line| line.split_once('=')).collect()
}

/// The `.env` of the earlier service, with comments behind its values.
const EARLIER_FILE: &str = r#"# AWS Bedrock
AWS_BEDROCK_ACCESS_KEY=AKIAIOSFODNN7EXAMPLE        # from IAM
AWS_BEDROCK_SECRET_KEY=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY
AWS_BEDROCK_REGION=eu-west-1 # Ireland
AWS_BEDROCK_ANTHROPIC_DEFAULT_MODEL=anthropic.claude-3-5-sonnet-20241022-v2:0   # used when the request names none
AWS_BEDROCK_MODEL_MAPPINGS="claude-3-5-sonnet=anthropic.claude-3-5-sonnet-20241022-v2:0,claude-3-opus=anthropic.claude-3-opus-20240229-v1:0"  # two
JWT_ISSUER="bedrock-proxy"
AWS_BEDROCK_ENABLE_OUTPUT_REASON=false     # extended thinking
AWS_BEDROCK_REASON_BUDGET_TOKENS=2048
PORT=8081
HOST='127.0.0.1'
LOG_LEVEL=info        # debug, info, warn, error
LOG_FORMAT=json       # json, text
LOG_FILE_PATH=./logs/bedrock-proxy.json    # rotated daily: ./logs/bedrock-proxy_YYYY-MM-DD.json
DB_PASSWORD= 
"#;

#[test]
fn comments_of_an_env_file_are_no_values() {
    let directory = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        program(directory.path()).args(arguments).envs(verbatim(EARLIER_FILE)).output().unwrap()
    };
    let check = run(&["config", "check"]);
    assert_eq!(check.status.code(), Some(0), "{}", output_text(&check));
    for name in ["LOG_LEVEL", "JWT_ISSUER", "AWS_BEDROCK_ANTHROPIC_DEFAULT_MODEL", "--env-file"] {
        assert!(output_text(&check).contains(name), "{name}: {}", output_text(&check));
    }
    let rows: Vec<Value> = serde_json::from_slice(&run(&["config", "print", "--json"]).stdout).unwrap();
    for (name, value) in [
        ("AWS_BEDROCK_REGION", "eu-west-1"),
        ("AWS_BEDROCK_ANTHROPIC_DEFAULT_MODEL", "anthropic.claude-3-5-sonnet-20241022-v2:0"),
        ("JWT_ISSUER", "bedrock-proxy"),
        ("AWS_BEDROCK_ENABLE_OUTPUT_REASON", "false"),
        ("HOST", "127.0.0.1"),
        ("LOG_FORMAT", "json"),
        ("LOG_FILE_PATH", "./logs/bedrock-proxy.json"),
    ] {
        let row = rows.iter().find(|row| row["name"] == name).unwrap();
        assert_eq!(row["value"], value, "{name}");
    }
}

#[test]
fn ambiguous_values_are_rejected_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let key = "0123456789abcdef0123456789-canary";
    for (name, value) in [
        ("JWT_SECRET_KEY", format!("{key}   # at least 32 characters")),
        ("JWT_SECRET_KEY", format!("\"{key}\"")),
        ("DB_PASSWORD", "canary #1".to_owned()),
        ("LOG_FILE_PATH", "./canary #1/log.json".to_owned()),
        ("DB_HOST", "localhost  DB_PORT=5432".to_owned()),
        ("JWT_ISSUER", "bedrock-proxy  JWT_AUDIENCE=bedrock-api".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "canary # from IAM".to_owned()),
    ] {
        for arguments in [["config", "check"].as_slice(), &["serve"]] {
            let output = program(directory.path()).args(arguments).env(name, &value).output().unwrap();
            let text = output_text(&output);
            assert_eq!(output.status.code(), Some(78), "{name}={value}: {text}");
            assert!(
                text.contains(&format!("  {name}")) && !text.contains("canary"),
                "{name}={value}: {text}"
            );
        }
    }
    // In the file, quotes decide.
    let file = format!("JWT_SECRET_KEY='{key}   # mine' # not mine\nDB_PASSWORD='pa$word #1'\n");
    std::fs::write(directory.path().join(".env"), file).unwrap();
    let output = program(directory.path()).args(["config", "check"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", output_text(&output));
    std::fs::write(directory.path().join(".env"), "DB_PASSWORD=pa$word\n").unwrap();
    let output = program(directory.path()).args(["config", "check"]).output().unwrap();
    assert!(output_text(&output).contains("DB_PASSWORD: contains $word"), "{}", output_text(&output));
}

/// What the server prints until a line contains `end`.
fn printed(variables: &[(&str, &str)], end: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    let mut command = program(directory.path());
    command.env("PORT", "0").envs(variables.iter().copied()).stdout(Stdio::piped());
    let mut server = command.spawn().unwrap();
    let mut text = String::new();
    for line in BufReader::new(server.stdout.take().unwrap()).lines().map(Result::unwrap) {
        text += &format!("{line}\n");
        if line.contains(end) {
            break;
        }
    }
    server.kill().unwrap();
    server.wait().unwrap();
    text
}

#[test]
fn banner_names_reach_and_missing_credentials() {
    // No credentials: no file, no role, and no metadata service.
    let none = ("AWS_EC2_METADATA_DISABLED", "true");
    let text = printed(&[none], "credentials:");
    for wanted in [
        "only this machine can reach it; JWT_SECRET_KEY and HOST=0.0.0.0",
        "no authentication",
        "not ready (GET /readyz is 503)",
        "credentials: there are none. Requests to models fail",
        "AWS_BEDROCK_ACCESS_KEY",
    ] {
        assert!(text.contains(wanted), "{wanted}: {text}");
    }
    let key = ("JWT_SECRET_KEY", "0123456789abcdef0123456789abcdef");
    let text = printed(&[none, key], "try:");
    assert!(text.contains("only this machine can reach it; HOST=0.0.0.0 opens it"), "{text}");
    let text = printed(&[none, key, ("HOST", "0.0.0.0")], "try:");
    assert!(text.contains("other machines can reach it") && !text.contains("only this machine"), "{text}");
}

#[test]
fn a_port_in_use_is_named_with_advice() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let directory = tempfile::tempdir().unwrap();
    let output = program(directory.path()).arg("serve").env("PORT", &port).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(output_text(&output).contains("another port with PORT"), "{}", output_text(&output));
}

#[tokio::test]
async fn blocked_output_neither_delays_requests_nor_shutdown() {
    /// The capacity of a pipe: <https://man7.org/linux/man-pages/man7/pipe.7.html>
    const PIPE_BYTES: usize = 65_536;
    let directory = tempfile::tempdir().unwrap();
    let (_reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(&[b'x'; PIPE_BYTES]).unwrap();
    let mut command = program(directory.path());
    command
        .env("PORT", "0")
        .env("AWS_BEDROCK_ACCESS_KEY", "AKIDEXAMPLE")
        .env("AWS_BEDROCK_SECRET_KEY", "secret");
    let mut server = command.env("AWS_ENDPOINT_URL", "http://127.0.0.1:9").stdout(writer).spawn().unwrap();
    let log = directory.path().join("logs/bedrock-proxy.json");
    let address: SocketAddr = wait_for("the server listens", async || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter_map(|line| line["address"].as_str()?.parse().ok()).next()
    })
    .await;
    let mut client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
    client.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
    let mut status = String::new();
    BufReader::new(&client).read_line(&mut status).unwrap();
    assert_eq!(status, "HTTP/1.1 200 OK\r\n");
    let signalled =
        Command::new("/bin/sh").args(["-c", r#"kill -TERM "$0""#, &server.id().to_string()]).status();
    assert!(signalled.unwrap().success());
    let ended = wait_for("the server ends", async || server.try_wait().unwrap()).await;
    assert_eq!(ended.code(), Some(0), "it drains although nothing reads its output");
}
