//! The log of the program: its lines, its files, and failing writes.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::Duration;

use bedrock_proxy::testing::Clock;
use fake_bedrock::FakeBedrock;
use serde_json::{Value, json};

use crate::harness::tokens::{KEY, token};
use crate::harness::{SECRET, message_body, spawn};
use crate::upstream_apis::{BETAS, everyday};

/// A server of its own process, in a folder of its own.
pub(crate) struct Program {
    home: tempfile::TempDir,
    child: Child,
    out: BufReader<ChildStdout>,
    address: SocketAddr,
    /// Its output until it listened.
    output: String,
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(home: &Path, variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bedrock-proxy"));
    command.env_clear().current_dir(home).envs(variables.iter().copied());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Starts one before a fake Bedrock, and returns when its address is in its output: in a line of the log, or in its banner.
pub(crate) async fn start(home: tempfile::TempDir, variables: &[(&str, &str)]) -> Program {
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let fake = FakeBedrock::bind(fake_bedrock::Config::default(), anywhere).await.unwrap();
    let url = fake.url();
    spawn(fake.run());
    let base = [
        ("AWS_BEDROCK_ACCESS_KEY", "AKIDEXAMPLE"),
        ("AWS_BEDROCK_SECRET_KEY", SECRET),
        ("AWS_ENDPOINT_URL", &url),
        ("PORT", "0"),
    ];
    let all: Vec<_> = base.iter().chain(variables).copied().collect();
    tokio::task::block_in_place(|| {
        let mut child = command(home.path(), &all).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut output = String::new();
        let address = loop {
            let before = output.len();
            assert!(out.read_line(&mut output).unwrap() > 0, "it does not start: {output}");
            let digits = |c: char| c.is_ascii_digit() || c == '.' || c == ':';
            let line = &output[before..];
            let found = line.split("127.0.0.1:").nth(1).filter(|_| line.contains("listen"));
            if let Some(port) = found {
                let port: String = port.chars().take_while(|c| digits(*c)).collect();
                break format!("127.0.0.1:{port}").parse().unwrap();
            }
        };
        Program { home, child, out, address, output }
    })
}

impl Program {
    /// Sends a request as it is, and returns the answer as far as `enough` wants it.
    pub(crate) fn send(&self, head: &str, body: &str, enough: impl Fn(&str) -> bool) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let length = body.len();
        write!(
            stream,
            "{head}\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let (mut response, mut piece) = (String::new(), [0; 4096]);
        while !enough(&response) {
            let read = stream.read(&mut piece).unwrap();
            if read == 0 {
                break;
            }
            response.push_str(&String::from_utf8_lossy(&piece[..read]));
        }
        response
    }

    fn post(&self, headers: &str, body: &Value) -> String {
        self.send(&format!("POST /v1/messages HTTP/1.1{headers}"), &body.to_string(), |_| false)
    }

    /// Ends it by SIGTERM, and returns the rest of its output.
    pub(crate) fn stop(mut self) -> (tempfile::TempDir, String) {
        let id = self.child.id().to_string();
        assert!(
            Command::new("/bin/sh").args(["-c", r#"kill "$@""#, "kill"]).arg(&id).status().unwrap().success()
        );
        let mut rest = std::mem::take(&mut self.output);
        self.out.read_to_string(&mut rest).unwrap();
        assert!(self.child.wait().unwrap().success(), "{rest}");
        let home = std::mem::replace(&mut self.home, tempfile::tempdir().unwrap());
        (home, rest)
    }
}

fn lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

/// The lines of requests, in the order in which they ended.
fn requests(text: &str) -> Vec<Value> {
    lines(text).into_iter().filter(|line| line["event"] == "request").collect()
}

fn names(line: &Value) -> Vec<&str> {
    line.as_object().unwrap().keys().map(String::as_str).collect()
}

/// Today's file, as it is called.
fn todays(extension: &str) -> String {
    format!("logs/bedrock-proxy_{}{extension}", &Clock::machine().rfc3339()[..10])
}

#[tokio::test(flavor = "multi_thread")]
async fn each_request_is_one_documented_log_line() {
    let variables = [("JWT_SECRET_KEY", KEY)];
    let program = start(tempfile::tempdir().unwrap(), &variables).await;
    assert!(
        program.output.contains("needs a token") || program.output.contains("listens on"),
        "{}",
        program.output
    );
    let ana = token("ana", &json!({"team": "payments", "jti": "tok_1"}));
    let headers = format!(
        "\r\nauthorization: Bearer {ana}\r\nuser-agent: claude-cli/2.1.330 (external, cli)\r\n\
         x-claude-code-session-id: 5d1f0a\r\nx-request-id: mine-1"
    );
    let (completed, rejected, unknown) = tokio::task::block_in_place(|| {
        let completed = program.post(&headers, &message_body("Geheimes Xylophon", true));
        let mut wrong = message_body("Geheimes Xylophon", true);
        wrong["max_tokens"] = json!(-1);
        let rejected = program.post(&headers, &wrong);
        let unknown = program.send("GET /x\u{9b}31m%0Alevel=error?token=Xylophon HTTP/1.1", "", |_| false);
        (completed, rejected, unknown)
    });
    assert!(
        completed.contains("message_stop") && rejected.contains(" 400 ") && unknown.contains(" 401 "),
        "{unknown}"
    );
    let (home, said) = program.stop();
    assert!(
        said.contains("./logs/bedrock-proxy.json") && said.contains("ANTHROPIC_BASE_URL=http://127.0.0.1:")
    );
    let text = fs::read_to_string(home.path().join(todays(".json"))).unwrap();
    assert_eq!(fs::read_to_string(home.path().join("logs/bedrock-proxy.json")).unwrap(), text, "the link");
    assert!(
        !text.contains("Xylophon") && !text.contains(&ana) && !text.contains(SECRET) && !text.contains(KEY)
    );
    let [completed, rejected, unknown] = &requests(&text)[..] else { panic!("{text}") };
    assert_eq!(
        names(completed),
        [
            "ts",
            "level",
            "msg",
            "event",
            "request_id",
            "client_request_id",
            "trace_id",
            "span_id",
            "user",
            "team",
            "token_id",
            "session_id",
            "client",
            "client_version",
            "client_ip",
            "method",
            "route",
            "status",
            "api",
            "model_requested",
            "model_upstream",
            "upstream_api",
            "region",
            "stream",
            "ttft_ms",
            "duration_ms",
            "upstream_ms",
            "overhead_ms",
            "in_tok",
            "out_tok",
            "cache_read_tok",
            "cache_write_5m_tok",
            "cache_write_1h_tok",
            "cost_usd",
            "stop_reason",
            "retries",
            "notices",
            "aws_request_id",
            "bytes_in",
            "bytes_out",
            "outcome",
        ]
    );
    for (name, value) in [
        ("level", json!("info")),
        ("msg", json!("POST /v1/messages")),
        ("user", json!("ana")),
        ("team", json!("payments")),
        ("token_id", json!("tok_1")),
        ("session_id", json!("5d1f0a")),
        ("client", json!("claude-code")),
        ("client_version", json!("2.1.330")),
        ("client_ip", json!("127.0.0.1")),
        ("route", json!("/v1/messages")),
        ("status", json!(200)),
        ("api", json!("messages")),
        ("upstream_api", json!("converse")),
        ("region", json!("us-east-1")),
        ("stream", json!(true)),
        ("stop_reason", json!("end_turn")),
        ("outcome", json!("finished")),
    ] {
        assert_eq!(completed[name], value, "{name}");
    }
    assert!(
        completed["ts"].as_str().unwrap().len() == 24 && completed["cost_usd"].is_string(),
        "{completed}"
    );
    let number = |name: &str| completed[name].as_f64().unwrap();
    let parts = number("upstream_ms") + number("overhead_ms");
    assert!(number("overhead_ms") > 0.0 && parts <= number("duration_ms") + 1.0, "{completed}");
    assert!(
        number("bytes_in") > 50.0 && number("bytes_out") > 500.0 && number("out_tok") > 0.0,
        "{completed}"
    );
    let blamed =
        |line: &Value| json!([line["status"], line["error_type"], line["error_class"], line["outcome"]]);
    assert_eq!(blamed(rejected), json!([400, "invalid_request_error", "client", "failed"]));
    assert!(rejected["bytes_out"].as_u64() > Some(50), "the words of an error count, too: {rejected}");
    assert_eq!(blamed(unknown), json!([401, "authentication_error", "auth", "failed"]));
    assert_eq!((&unknown["route"], &unknown["api"]), (&json!("other"), &json!("other")));
    assert!(rejected.get("in_tok").is_none() && unknown.get("user").is_none(), "{rejected} {unknown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_is_one_line_too() {
    let program = start(tempfile::tempdir().unwrap(), &[("LOG_OUTPUT", "stdout")]).await;
    tokio::task::block_in_place(|| {
        let body = message_body("[paced 50 20]", true).to_string();
        program.send("POST /v1/messages HTTP/1.1", &body, |response| response.contains("content_block_delta"))
    });
    let (home, output) = program.stop();
    assert!(!home.path().join("logs").exists());
    let [line] = &requests(&output)[..] else { panic!("{output}") };
    assert_eq!((&line["outcome"], &line["status"]), (&json!("cancelled"), &json!(200)));
    assert!(line["out_tok"].as_u64() > Some(0), "what it cost is known all the same: {line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn text_and_json_logs_hold_the_same() {
    let variables =
        [("LOG_OUTPUT", "both"), ("LOG_FORMAT", "text"), ("LOG_FILE_PATH", "logs/bedrock-proxy.log")];
    let program = start(tempfile::tempdir().unwrap(), &variables).await;
    let agent = "\r\nuser-agent: x\u{9b}31m level=error\r\nsession-id: a\"b";
    tokio::task::block_in_place(|| program.post(agent, &message_body("Hello", false)));
    let (home, output) = program.stop();
    assert_eq!(fs::read_to_string(home.path().join(todays(".log"))).unwrap(), output);
    let line = output.lines().find(|line| line.contains("event=request")).unwrap();
    assert!(line.contains("Z INFO  POST /v1/messages event=request request_id=req_"), "{line}");
    assert!(
        line.contains(" status=200 ") && line.contains(" client=other ") && !line.contains("session_id"),
        "{line}"
    );
    assert!(!output.contains("level=error"), "{output}");
}

#[tokio::test(flavor = "multi_thread")]
async fn debug_logs_hold_shapes_and_no_content() {
    let program =
        start(tempfile::tempdir().unwrap(), &[("LOG_OUTPUT", "stdout"), ("AWS_BEDROCK_DEBUG", "true")]).await;
    tokio::task::block_in_place(|| {
        let mut body = everyday(false);
        body["messages"] =
            json!([{"role": "user", "content": [{"type": "text", "text": "Geheimes Xylophon"}]}]);
        program.post(&format!("\r\nanthropic-beta: {BETAS}"), &body);
        program.post("", &message_body("[throttle 1] Xylophon", false));
    });
    let (_, output) = program.stop();
    assert!(!output.contains("Xylophon"), "{output}");
    let all = lines(&output);
    let reported =
        |msg: &str| all.iter().find(|line| line["msg"] == msg).unwrap_or_else(|| panic!("{msg}: {output}"));
    let shape = reported("request received");
    assert_eq!((&shape["messages"], &shape["text"], &shape["betas"]), (&json!(1), &json!(1), &json!(3)));
    assert!(reported("Converse cannot carry all fields of the request")["fields"].as_u64() > Some(0));
    let route = reported("upstream API chosen");
    assert_eq!(
        (&route["upstream_api"], &route["why"]),
        (&json!("invoke"), &json!("Converse cannot carry all of its fields"))
    );
    assert_eq!(reported("attempt failed")["status"], 429);
    assert!(reported("request is sent again after a delay")["delay_ms"].is_u64());
}

#[tokio::test(flavor = "multi_thread")]
async fn full_disk_drops_and_counts_log_lines() {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join("logs")).unwrap();
    symlink("/dev/full", home.path().join(todays(".json"))).unwrap();
    let program = start(home, &[]).await;
    let file = program.home.path().join(todays(".json"));
    let metrics = tokio::task::block_in_place(|| {
        assert!(program.post("", &message_body("Hello", false)).contains(" 200 "));
        let counted = |response: &str| {
            let line =
                response.lines().find(|line| line.starts_with("bedrock_proxy_log_lines_dropped_total"));
            line.is_some_and(|line| !line.ends_with(" 0"))
        };
        let mut metrics = String::new();
        for _ in 0..200 {
            metrics = program.send("GET /metrics HTTP/1.1", "", |_| false);
            if counted(&metrics) {
                break;
            }
        }
        assert!(counted(&metrics), "{metrics}");
        fs::remove_file(&file).unwrap();
        program.post("", &message_body("Hello", false));
        metrics
    });
    let (home, _) = program.stop();
    let text = fs::read_to_string(home.path().join(todays(".json"))).unwrap();
    assert_eq!(requests(&text).len(), 1, "{metrics}");
    let lost = lines(&text).into_iter().find(|line| line["event"] == "log_lines_lost").unwrap();
    assert!(lost["lines"].as_u64() >= Some(2) && lost["level"] == "warn", "{lost}");
}

fn run(home: &Path, variables: &[(&str, &str)], words: &[&str]) -> Output {
    command(home, variables).args(words).output().unwrap()
}

#[test]
fn unwritable_log_fails_startup_with_advice() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("file"), "").unwrap();
    let output = run(home.path(), &[("LOG_FILE_PATH", "file/x.json"), ("PORT", "0")], &["serve"]);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(78), "{message}");
    assert!(
        message.contains("LOG_FILE_PATH=file/x.json") && message.contains("LOG_OUTPUT=stdout"),
        "{message}"
    );
}

#[test]
fn commands_without_a_server_write_no_log() {
    let home = tempfile::tempdir().unwrap();
    for words in
        [&["config", "check"][..], &["user", "add", "ana"], &["usage", "report"], &["explain", "E01"]]
    {
        let output = run(home.path(), &[("JWT_SECRET_KEY", KEY)], words);
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    assert!(!home.path().join("logs").exists());
}
