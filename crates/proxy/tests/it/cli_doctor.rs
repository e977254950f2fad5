//! The doctor as a process in front of a fake Bedrock: each finding once.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use fake_bedrock::FakeBedrock;
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::cli_serve::{output_text, program};
use crate::harness::{SECRET, spawn, test_server, test_server_with};
use crate::otel::Collector;

/// A folder to run in, and a fake Bedrock.
struct DoctorRun {
    folder: TempDir,
    url: String,
    bedrock: std::sync::Arc<fake_bedrock::Log>,
    fake: JoinHandle<()>,
}

impl Drop for DoctorRun {
    fn drop(&mut self) {
        self.fake.abort();
    }
}

/// What the doctor found, and how it ended.
struct Findings {
    code: i32,
    checks: Vec<Value>,
}

impl Findings {
    fn of(&self, name: &str) -> &Value {
        let found = self.checks.iter().find(|check| check["name"] == name);
        found.unwrap_or_else(|| panic!("{name} is missing in {:#?}", self.checks))
    }

    /// The state and the code of a check.
    fn state(&self, name: &str) -> (&str, &str) {
        let check = self.of(name);
        (check["state"].as_str().unwrap(), check["code"].as_str().unwrap_or_default())
    }

    fn failed(&self) -> Vec<&str> {
        let failed = self.checks.iter().filter(|check| check["state"] == "fail");
        failed.map(|check| check["name"].as_str().unwrap()).collect()
    }
}

async fn doctor(config: fake_bedrock::Config) -> DoctorRun {
    let fake = FakeBedrock::bind(config, SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.unwrap();
    let (url, bedrock) = (fake.url(), fake.log());
    DoctorRun { folder: tempfile::tempdir().unwrap(), url, bedrock, fake: spawn(fake.run()) }
}

impl DoctorRun {
    async fn run(&self, arguments: &[&str], variables: &[(&str, &str)]) -> std::process::Output {
        let mut command = program(self.folder.path());
        command.arg("doctor").args(arguments).env("TMPDIR", self.folder.path());
        command.envs([
            ("AWS_BEDROCK_ACCESS_KEY", "AKIDEXAMPLE"),
            ("AWS_BEDROCK_SECRET_KEY", SECRET),
            ("AWS_ENDPOINT_URL", self.url.as_str()),
            ("PORT", "0"),
        ]);
        command.envs(variables.iter().copied());
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }

    async fn examine(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Findings {
        let output = self.run(&[&["--json"], arguments].concat(), variables).await;
        let json: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", output_text(&output)));
        let checks = json["checks"].as_array().unwrap().clone();
        let code = output.status.code().unwrap();
        assert_eq!(json["passed"], code == 0);
        assert!(!output_text(&output).contains("canary"), "{}", output_text(&output));
        Findings { code, checks }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn healthy_configuration_is_printed_check_by_check() {
    let run = doctor(fake_bedrock::Config::default()).await;
    let arn = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123";
    let mappings = format!("house={arn}");
    let variables = [
        ("AWS_BEDROCK_ANTHROPIC_DEFAULT_MODEL", "claude-sonnet-4-5"),
        ("AWS_BEDROCK_MODEL_MAPPINGS", mappings.as_str()),
    ];
    let output = run.run(&["--model", "amazon.nova-pro-v1:0"], &variables).await;
    let text = output_text(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    for wanted in [
        "AWS identity         ok     arn:aws:sts::123456789012:assumed-role/gateway/fake",
        "Region               ok     us-east-1 (default), inference profiles of us, by 127.0.0.1:",
        "Clock                ok     in sync with AWS",
        "claude-sonnet-4-5    ok     us.anthropic.claude-sonnet-4-5-20250929-v1:0 by converse, ",
        " tokens ($0.000",
        "house's profile      ok     resolves to anthropic.claude-sonnet-4-5-20250929-v1:0 in 3 regions",
        "amazon.nova-pro-v1:0 ok     ",
        "Database             note   sqlite ./data/bedrock-proxy.db does not exist yet",
        "Data directory       ok     ./data is writable (the first start creates it)",
    ] {
        assert!(text.contains(wanted), "{wanted}\n{text}");
    }
    let left: Vec<_> = std::fs::read_dir(run.folder.path()).unwrap().collect();
    assert!(left.is_empty(), "nothing is left behind: {left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn collectors_get_an_empty_export() {
    let run = doctor(fake_bedrock::Config::default()).await;
    let endpoint = format!("http://{}", Collector::default().listen().await);
    let findings = run.examine(&["--no-calls"], &[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)]).await;
    assert_eq!((findings.state("Traces"), findings.state("Metrics")), (("ok", ""), ("ok", "")));
    let server = test_server().await;
    let wrong_path = format!("http://{}/v1/traces", server.address);
    for (endpoint, advice) in [("http://127.0.0.1:9/v1/traces", "port 4318"), (&wrong_path, "Check the path")]
    {
        let variables = [("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", endpoint)];
        let findings = run.examine(&["--no-calls"], &variables).await;
        assert_eq!((findings.code, findings.state("Traces")), (1, ("fail", "")));
        assert!(findings.of("Traces")["fix"].as_str().unwrap().contains(advice));
        assert_eq!(findings.failed(), ["Traces"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sts_finds_a_wrong_key_before_models() {
    let run = doctor(fake_bedrock::Config::default()).await;
    let findings =
        run.examine(&["--model", "claude-sonnet-4-5"], &[("AWS_BEDROCK_SECRET_KEY", "canary-wrong")]).await;
    assert_eq!((findings.code, findings.state("AWS identity")), (1, ("fail", "E17b")));
    assert!(findings.of("AWS identity")["fix"].as_str().unwrap().contains("Compare the secret key"));
    assert_eq!(findings.failed(), ["AWS identity"]);
    assert_eq!(findings.state("claude-sonnet-4-5"), ("note", ""));
    assert!(run.bedrock.requests().iter().all(|request| request.path == "/"));
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_credentials_are_found_with_hop_limit_advice() {
    let run = doctor(fake_bedrock::Config::default()).await;
    let none = [
        ("AWS_BEDROCK_ACCESS_KEY", ""),
        ("AWS_BEDROCK_SECRET_KEY", ""),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ];
    let findings = run.examine(&[], &none).await;
    assert_eq!((findings.code, findings.state("AWS identity")), (1, ("fail", "E19")));
    assert!(findings.of("AWS identity")["fix"].as_str().unwrap().contains("hop-limit"));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_denied_model_does_not_stop_the_others() {
    let denied = ["anthropic.claude-opus-4-5-20251101-v1:0".to_owned()].into();
    let run = doctor(fake_bedrock::Config { denied_models: denied, ..Default::default() }).await;
    let models = ["--model", "claude-opus-4-5", "--model", "claude-haiku-4-5", "--model", "gpt-4"];
    let findings = run.examine(&models, &[]).await;
    assert_eq!(findings.code, 1);
    assert_eq!(findings.state("claude-opus-4-5"), ("fail", "E07"));
    assert!(findings.of("claude-opus-4-5")["fix"].as_str().unwrap().contains("Model access"));
    assert_eq!(findings.state("claude-haiku-4-5"), ("ok", ""));
    assert_eq!(findings.failed(), ["claude-opus-4-5", "gpt-4"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn clock_skew_is_found_before_signature_errors() {
    let run = doctor(fake_bedrock::Config { clock_skew: 3600, ..Default::default() }).await;
    let findings = run.examine(&[], &[]).await;
    assert_eq!((findings.code, findings.state("Clock")), (1, ("fail", "E18")));
    assert!(findings.of("Clock")["said"].as_str().unwrap().contains("behind the clock of AWS"));
    assert!(findings.of("Clock")["fix"].as_str().unwrap().contains("NTP"));
    assert_eq!(findings.state("AWS identity"), ("fail", "E18"));
}

#[tokio::test(flavor = "multi_thread")]
async fn unreachable_endpoint_is_one_finding() {
    let run = doctor(fake_bedrock::Config::default()).await;
    let nowhere = [("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", "http://127.0.0.1:1")];
    let findings = run.examine(&["--model", "claude-sonnet-4-5"], &nowhere).await;
    assert_eq!(findings.state("Connection to Bedrock"), ("fail", "E48"));
    assert_eq!(findings.failed(), ["Connection to Bedrock"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn bedrock_api_key_is_checked_by_listing_models() {
    let run = doctor(fake_bedrock::Config::default()).await;
    for (key, state) in [("bedrock-api-key-example", ("ok", "")), ("canary", ("fail", "E28"))] {
        let key = [
            ("AWS_BEDROCK_ACCESS_KEY", ""),
            ("AWS_BEDROCK_SECRET_KEY", ""),
            ("AWS_BEARER_TOKEN_BEDROCK", key),
        ];
        let findings = run.examine(&["--no-calls"], &key).await;
        assert_eq!(findings.state("AWS identity"), state);
    }
    assert!(run.bedrock.requests().iter().all(|request| request.method == "GET"), "STS is not asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn port_in_use_fails_unless_it_is_ours() {
    let run = doctor(fake_bedrock::Config::default()).await;
    // It accepts nothing, and its silence is waited for; so it is closed at the first connection.
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port().to_string();
    let slammed = tokio::task::spawn_blocking(move || drop(other.accept()));
    let port = [("PORT", port.as_str())];
    let findings = run.examine(&["--no-calls"], &port).await;
    assert_eq!((findings.code, findings.state("Port")), (1, ("fail", "")));
    assert!(findings.of("Port")["said"].as_str().unwrap().contains("another program"));
    slammed.await.unwrap();
    let running = test_server().await;
    let port = running.address.port().to_string();
    let findings = run.examine(&["--no-calls"], &[("PORT", &port)]).await;
    assert_eq!((findings.code, findings.state("Port")), (0, ("ok", "")));
    assert!(findings.of("Port")["said"].as_str().unwrap().ends_with(": healthy"));
    // A server whose database is unavailable is one of ours, and a failure.
    let unavailable = [("DATABASE_URL", "postgres://nobody@127.0.0.1:1/nowhere?sslmode=disable")];
    let degraded = test_server_with(&unavailable, |_| {}).await;
    let port = degraded.address.port().to_string();
    let findings = run.examine(&["--no-calls"], &[("PORT", &port)]).await;
    assert_eq!((findings.code, findings.state("Port")), (1, ("fail", "")));
    let detail = findings.of("Port")["said"].as_str().unwrap();
    assert!(detail.ends_with(": degraded, database disconnected"), "{detail}");
}

#[tokio::test(flavor = "multi_thread")]
async fn unavailable_database_and_unwritable_folder_are_found() {
    let run = doctor(fake_bedrock::Config::default()).await;
    let unavailable = [
        ("DATABASE_URL", "postgres://u:canary@127.0.0.1:1/none?sslmode=disable"),
        ("DATA_DIR", "/proc/nowhere"),
    ];
    let findings = run.examine(&["--no-calls"], &unavailable).await;
    assert_eq!(findings.code, 1);
    assert_eq!(findings.failed(), ["Database", "Data directory"]);
    assert!(findings.of("Database")["fix"].as_str().unwrap().contains("DB_SSLMODE"));
    assert!(findings.of("Data directory")["fix"].as_str().unwrap().contains("DATA_DIR"));
}

/// A server that accepts connections of PostgreSQL's clients and has no TLS.
fn postgres_without_tls() -> SocketAddr {
    use std::io::{Read as _, Write as _};
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // The request for TLS has eight bytes, and `N` rejects it.
            let _ = stream.read_exact(&mut [0; 8]).and_then(|()| stream.write_all(b"N"));
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn connection_errors_of_the_database_have_their_reason() {
    let run = doctor(fake_bedrock::Config::default()).await;
    let closed = "postgres://u:canary@127.0.0.1:1/none?sslmode=disable";
    let findings = run.examine(&["--no-calls"], &[("DATABASE_URL", closed)]).await;
    let detail = findings.of("Database")["said"].as_str().unwrap();
    assert!(detail.contains("cannot connect to 127.0.0.1:1: connection refused"), "{detail}");
    let without_tls = format!("postgres://u:canary@{}/none?sslmode=require", postgres_without_tls());
    let findings = run.examine(&["--no-calls"], &[("DATABASE_URL", &without_tls)]).await;
    let detail = findings.of("Database")["said"].as_str().unwrap();
    assert!(detail.contains("has no TLS; set DB_SSLMODE=disable"), "{detail}");
    assert!(!detail.contains("canary"), "{detail}");
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_configuration_has_its_own_exit_code() {
    let run = doctor(fake_bedrock::Config::default()).await;
    let wrong = [("JWT_SECRET_KEY", "canary-short"), ("HOST", "nowhere")];
    let findings = run.examine(&[], &wrong).await;
    assert_eq!((findings.code, findings.checks.len()), (78, 2));
    assert!(findings.of("Configuration")["said"].as_str().unwrap().contains("JWT_SECRET_KEY"));
}
