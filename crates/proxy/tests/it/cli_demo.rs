//! `demo`: what it prints, and that everything it prints works.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cli_serve::{output_text, program};

/// A demo that runs. Dropped, it is killed.
struct Demo {
    child: Child,
    /// What it has printed.
    text: String,
    address: SocketAddr,
    _directory: TempDir,
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Demo {
    fn start(arguments: &[&str], change: impl FnOnce(&Path, &mut Command)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut command = program(directory.path());
        command.arg("demo").args(arguments).stdout(Stdio::piped());
        change(directory.path(), &mut command);
        let mut child = command.spawn().unwrap();
        let mut text = String::new();
        for line in BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap) {
            text += &format!("{line}\n");
            if line.contains("Ctrl-C") {
                break;
            }
        }
        let address = text.split("http://").nth(1).unwrap().split_whitespace().next().unwrap();
        Self { child, address: address.parse().unwrap(), text, _directory: directory }
    }

    /// The value of a variable in the text.
    fn variable(&self, name: &str) -> &str {
        let start = format!("{name}=");
        self.text.split_whitespace().find_map(|word| word.strip_prefix(&start)).unwrap()
    }

    /// The status and the body of a request with this token.
    fn request(&self, line: &str, token: Option<&str>, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let token = token.map(|token| format!("x-api-key: {token}\r\n")).unwrap_or_default();
        let length = body.len();
        write!(
            stream,
            "{line} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{token}content-type: application/json\r\n\
             content-length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        let status = response.split(' ').nth(1).unwrap().parse().unwrap();
        (status, response.split_once("\r\n\r\n").unwrap().1.to_owned())
    }

    /// The status of a short message.
    fn message(&self, token: Option<&str>) -> (u16, String) {
        let messages = json!([{"role": "user", "content": "Hello"}]);
        let body = json!({"model": "claude-sonnet-5", "max_tokens": 100, "messages": messages});
        self.request("POST /v1/messages", token, &body.to_string())
    }

    fn get(&self, path: &str, token: Option<&str>) -> (u16, Value) {
        let (status, body) = self.request(&format!("GET {path}"), token, "");
        (status, serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}")))
    }
}

#[test]
fn demo_prints_commands_in_any_environment() {
    let demo = Demo::start(&["--port", "0"], |directory, command| {
        std::fs::write(directory.join(".env"), "PORT=x\n").unwrap();
        command.env("AWS_BEDROCK_SECRET_KEY", "half a pair");
    });
    for wanted in [
        "curl -N http://127.0.0.1:",
        "export ANTHROPIC_BASE_URL=http://127.0.0.1:",
        "[tool Bash]",
        "Clients repeat a request after [throttle] and [cut]",
        "usage report --by team,model",
    ] {
        assert!(demo.text.contains(wanted), "{wanted}: {}", demo.text);
    }
}

#[test]
fn demo_listens_on_loopback_by_default() {
    for (arguments, reached) in [(&["--port", "0", "--host", "0.0.0.0"][..], true), (&["--port", "0"], false)]
    {
        let demo = Demo::start(arguments, |_, _| {});
        // The banner has an address that works on this machine, also when the demo listens on all addresses.
        assert!(demo.address.ip().is_loopback());
        let outside = TcpStream::connect(("127.0.0.2", demo.address.port()));
        assert_eq!(outside.is_ok(), reached, "{arguments:?}: {outside:?}");
    }
}

#[test]
fn demo_takes_the_next_free_port() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let demo = Demo::start(&["--port", &port.to_string()], |_, _| {});
    assert!(demo.text.contains(&format!("Port {port} is taken; the demo uses port")), "{}", demo.text);
    assert!(demo.address.port() > port);
    assert_eq!(demo.message(None).0, 200);
}

#[test]
fn demo_serves_guests_and_rejects_invalid_tokens() {
    let demo = Demo::start(&["--port", "0"], |_, _| {});
    for token in [None, Some("demo"), Some("any"), Some("sk-ant-api03-x")] {
        assert_eq!(demo.message(token).0, 200, "{token:?}");
    }
    assert_eq!(demo.get("/v1/me", None).1["user_id"], "guest");
    let forged = format!("{}x", demo.variable("ANA"));
    for token in [forged.as_str(), "eyJhbGciOiJub25lIn0.e30."] {
        assert_eq!(demo.message(Some(token)).0, 401, "{token}");
    }
    for token in [None, Some("any")] {
        assert_eq!(demo.get("/admin/v1/users", token).0, 401, "{token:?}");
    }
    assert_eq!(demo.get("/admin/v1/users", Some(demo.variable("ANA"))).0, 403);
}

#[test]
fn small_limit_of_the_demo_fills_up() {
    let demo = Demo::start(&["--port", "0"], |_, _| {});
    let ben = demo.variable("BEN");
    let limit = |me: &Value| {
        me["limits"].as_array().unwrap().iter().find(|limit| limit["scope"] == "user").unwrap().clone()
    };
    let before = limit(&demo.get("/v1/me", Some(ben)).1);
    assert_eq!((before["limit"].as_i64(), before["used"].as_i64()), (Some(1_000), Some(640)), "{before}");
    // The printed loop, word for word.
    let line = demo.text.lines().find(|line| line.trim().starts_with("for i in 1 2 3 4 5 6; do")).unwrap();
    let mut shell = Command::new("/bin/sh");
    let output = shell.args(["-c", &format!("BEN={ben}\n{line}")]).output().unwrap();
    let text = output_text(&output);
    let answers: Vec<Value> =
        text.lines().filter(|line| line.starts_with('{')).map(|line| line.parse().unwrap()).collect();
    assert_eq!(answers.len(), 6, "{text}");
    assert_eq!(answers[0]["type"], "message", "{text}");
    assert_eq!(answers[5]["error"]["type"], "billing_error", "{text}");
    // One request at a time meets no reservation of its own, not even of the request before, which was just settled.
    assert!(!text.contains("reserved"), "{text}");
    assert_eq!(demo.message(Some(demo.variable("ANA"))).0, 200, "other limits are not reached");
}

#[test]
fn reports_of_the_demo_have_a_week() {
    let demo = Demo::start(&["--port", "0"], |_, _| {});
    let admin = Some(demo.variable("ADMIN"));
    let line = demo.text.lines().find(|line| line.contains("/admin/v1/usage")).unwrap();
    let query = line.split("/admin/v1/usage").nth(1).unwrap().split('\'').next().unwrap();
    let (status, report) = demo.get(&format!("/admin/v1/usage{query}"), admin);
    assert_eq!(status, 200, "{report}");
    let rows = report["data"].as_array().unwrap();
    for team in ["payments", "research"] {
        let cost: f64 = rows
            .iter()
            .filter(|row| row["team"] == team)
            .map(|row| row["cost_usd"].as_str().unwrap().parse::<f64>().unwrap())
            .sum();
        assert!(cost > 1.0, "{team}: {report}");
    }
    // The commands work as they are printed, without the rest of the environment.
    let export = demo.text.lines().find(|line| line.contains("export DATA_DIR=")).unwrap();
    let binary = env!("CARGO_BIN_EXE_bedrock-proxy");
    let commands: Vec<_> = demo.text.lines().filter(|line| line.trim().starts_with(binary)).collect();
    assert!(commands.len() >= 4, "{}", demo.text);
    let directory = tempfile::tempdir().unwrap();
    for command in commands {
        let mut shell = Command::new("/bin/sh");
        shell.env_clear().current_dir(directory.path()).args(["-c", &format!("{export}\n{command}")]);
        let output = shell.output().unwrap();
        assert!(output.status.success(), "{command}: {}", output_text(&output));
        let is_listed = output_text(&output).contains("payments")
            || output_text(&output).contains("ben")
            || command.contains("token");
        assert!(is_listed, "{command}: {}", output_text(&output));
    }
}

#[test]
fn demo_deletes_its_data_on_sigterm() {
    let mut demo = Demo::start(&["--port", "0"], |_, _| {});
    let directory = demo.variable("DATA_DIR").to_owned();
    assert!(Path::new(&directory).join("bedrock-proxy.db").exists());
    let id = demo.child.id().to_string();
    let signalled = Command::new("/bin/sh").args(["-c", r#"kill -TERM "$0""#, &id]).status().unwrap();
    assert!(signalled.success() && demo.child.wait().unwrap().success());
    assert!(!Path::new(&directory).exists());
}
