//! Sources of AWS credentials that fail, hang, or provide others: seen by a process that is not restarted.

mod sources;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use fake_bedrock::FakeBedrock;
use futures_util::future::join_all;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::harness::process::Process;
use crate::harness::{SECRET, full, message_body, spawn, wait_for};

/// A proxy in a process of its own, in front of a fake Bedrock, with the credential chain.
struct Proxy {
    process: Process,
    home: tempfile::TempDir,
}

const EXPIRED: &str = "2020-01-01T00:00:00Z";
const SESSION: &str = "session-token-example";

fn keys(valid: bool) -> String {
    let secret = if valid { SECRET } else { "another-secret" };
    format!("[default]\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = {secret}\n")
}

impl Proxy {
    /// Prepares files in the home of the process with `prepare`, which returns further variables.
    async fn start(prepare: impl FnOnce(&Path) -> Vec<(&'static str, String)>) -> Self {
        Self::start_with(None, prepare).await
    }

    /// The same in front of a Bedrock that requires this session token.
    async fn start_with(
        session_token: Option<&str>,
        prepare: impl FnOnce(&Path) -> Vec<(&'static str, String)>,
    ) -> Self {
        let session_token = session_token.map(str::to_owned);
        let config = fake_bedrock::Config { session_token, ..fake_bedrock::Config::default() };
        let fake = FakeBedrock::bind(config, ([127, 0, 0, 1], 0).into());
        let fake = fake.await.unwrap();
        let (url, home) = (fake.url(), tempfile::tempdir().unwrap());
        spawn(fake.run());
        let variables = prepare(home.path());
        let file = |name: &str| home.path().join(name).display().to_string();
        let (config, credentials) = (file("config"), file("credentials"));
        let own = [
            ("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", url.as_str()),
            ("AWS_ENDPOINT_URL_STS", url.as_str()),
            ("AWS_CONFIG_FILE", config.as_str()),
            ("AWS_SHARED_CREDENTIALS_FILE", credentials.as_str()),
            ("HOME", home.path().to_str().unwrap()),
            ("PATH", "/usr/bin:/bin"),
            ("PORT", "0"),
            ("DATA_DIR", "data"),
        ];
        let mut all: Vec<(&str, &str)> = own.to_vec();
        all.extend(variables.iter().map(|(name, value)| (*name, value.as_str())));
        if !variables.iter().any(|(name, _)| *name == "AWS_EC2_METADATA_SERVICE_ENDPOINT") {
            all.push(("AWS_EC2_METADATA_DISABLED", "true"));
        }
        let process = Process::start(home.path(), "", &all);
        Self { process, home }
    }

    async fn status(&self) -> u16 {
        let client = Client::builder(TokioExecutor::new()).build_http();
        let request = Request::post(format!("http://{}/v1/messages", self.process.address))
            .body(full(message_body("Hello", false).to_string().into()));
        let response = client.request(request.unwrap()).await.unwrap();
        let status = response.status().as_u16();
        response.into_body().collect().await.unwrap();
        status
    }

    /// What `/readyz?verbose` responds.
    async fn readiness(&self) -> (u16, String) {
        let client = Client::builder(TokioExecutor::new()).build_http();
        let request = Request::get(format!("http://{}/readyz?verbose", self.process.address));
        let response = client.request(request.body(full(Bytes::new())).unwrap()).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.home.path().join(name), text).unwrap();
    }

    async fn wait_for_status(&self, expected: u16) {
        wait_for("a response of this status", async || (self.status().await == expected).then_some(())).await;
    }
}

#[tokio::test]
async fn renewed_credentials_file_needs_no_restart() {
    let proxy = Proxy::start(|home| {
        std::fs::write(home.join("credentials"), keys(false)).unwrap();
        Vec::new()
    })
    .await;
    assert_eq!(proxy.status().await, 502, "AWS rejects the keys");
    proxy.write("credentials", &keys(true));
    proxy.wait_for_status(200).await;
    proxy.write("credentials", &keys(false));
    assert_eq!(proxy.status().await, 200, "valid keys are not replaced");
}

#[tokio::test]
async fn credentials_file_may_appear_after_the_start() {
    let proxy = Proxy::start(|_| Vec::new()).await;
    assert_eq!(proxy.status().await, 502);
    proxy.write("credentials", &keys(true));
    proxy.wait_for_status(200).await;
}

#[tokio::test]
async fn credential_process_runs_once_for_all_requests() {
    let script = |body: &str| format!("#!/bin/sh\necho run >> runs\n{body}\n");
    let proxy = Proxy::start(|home| {
        let text = format!("[default]\ncredential_process = /bin/sh {}/source\n", home.display());
        std::fs::write(home.join("config"), text).unwrap();
        let expired = json!({"Version": 1, "AccessKeyId": "AKIDEXAMPLE", "SecretAccessKey": SECRET, "Expiration": EXPIRED});
        std::fs::write(home.join("source"), script(&format!("echo '{expired}'"))).unwrap();
        Vec::new()
    })
    .await;
    let runs = || std::fs::read_to_string(proxy.home.path().join("runs")).unwrap_or_default().lines().count();
    let begun = Instant::now();
    for _ in 0..10 {
        let statuses = join_all((0..10).map(|_| proxy.status())).await;
        assert!(statuses.iter().all(|status| *status == 502), "expired keys are an error: {statuses:?}");
    }
    let most = 2 + usize::try_from(begun.elapsed().as_secs() / 2).unwrap();
    assert!(runs() <= most, "{} runs for 100 requests in {:?}", runs(), begun.elapsed());
    let valid = json!({"Version": 1, "AccessKeyId": "AKIDEXAMPLE", "SecretAccessKey": SECRET});
    proxy.write("source", &script(&format!("echo '{valid}'")));
    proxy.wait_for_status(200).await;
}

/// What an instance metadata service provides.
type Metadata = Arc<Mutex<Option<Value>>>;

/// An instance metadata service of version 2 with one role. Without credentials it responds 404. Returns its URL.
async fn metadata_service(metadata: Metadata) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let metadata = Arc::clone(&metadata);
            let service = service_fn(move |request: Request<Incoming>| {
                let keys = metadata.lock().unwrap().clone();
                let (status, body) = match (request.method(), request.uri().path(), keys) {
                    (&Method::PUT, "/latest/api/token", _) => (200, "token".to_owned()),
                    (_, "/latest/meta-data/iam/security-credentials/", Some(_)) => {
                        (200, "gateway".to_owned())
                    }
                    (_, "/latest/meta-data/iam/security-credentials/gateway", Some(keys)) => {
                        (200, keys.to_string())
                    }
                    _ => (404, String::new()),
                };
                let response = Response::builder()
                    .status(status)
                    .header("x-aws-ec2-metadata-token-ttl-seconds", "21600");
                async move { Ok::<_, Infallible>(response.body(Full::new(Bytes::from(body))).unwrap()) }
            });
            spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    format!("http://{address}")
}

fn role_keys(secret: &str, expiration: &str) -> Value {
    json!({
        "Code": "Success", "LastUpdated": EXPIRED, "Type": "AWS-HMAC", "AccessKeyId": "AKIDEXAMPLE",
        "SecretAccessKey": secret, "Token": SESSION, "Expiration": expiration,
    })
}

#[tokio::test]
async fn instance_role_may_change_while_running() {
    let metadata = Metadata::default();
    let url = metadata_service(Arc::clone(&metadata)).await;
    let variables = |_: &Path| vec![("AWS_EC2_METADATA_SERVICE_ENDPOINT", url)];
    let proxy = Proxy::start_with(Some(SESSION), variables).await;
    assert_eq!(proxy.status().await, 502, "the instance has no role");
    *metadata.lock().unwrap() = Some(role_keys("another-secret", "2099-01-01T00:00:00Z"));
    wait_for("AWS rejects the keys", async || {
        proxy.status().await;
        proxy.process.output_text().contains("AWS rejected the credentials").then_some(())
    })
    .await;
    *metadata.lock().unwrap() = Some(role_keys(SECRET, "2099-01-01T00:00:00Z"));
    proxy.wait_for_status(200).await;
}

#[tokio::test]
async fn silent_metadata_service_delays_requests_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    spawn(async move {
        let mut open = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            open.push(stream);
        }
    });
    let proxy = Proxy::start(|_| vec![("AWS_EC2_METADATA_SERVICE_ENDPOINT", url)]).await;
    let begun = Instant::now();
    let statuses = join_all((0..50).map(|_| proxy.status())).await;
    assert!(statuses.iter().all(|status| *status == 502), "{statuses:?}");
    assert!(begun.elapsed() < Duration::from_secs(13), "{:?}", begun.elapsed());
}

/// The portal of IAM Identity Center, which provides keys for `token` alone. Returns its URL.
async fn sso_portal(token: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(move |request: Request<Incoming>| {
                let is_valid =
                    request.headers().get("x-amz-sso_bearer_token").is_some_and(|sent| sent == token);
                let keys = json!({"roleCredentials": {
                    "accessKeyId": "AKIDEXAMPLE", "secretAccessKey": SECRET, "sessionToken": SESSION,
                    "expiration": 4_070_908_800_000_i64,
                }});
                let (status, body) = match is_valid {
                    true => (200, keys),
                    false => (401, json!({"message": "Session token not found or invalid"})),
                };
                let response = Response::builder().status(status).header("content-type", "application/json");
                let body = Full::new(Bytes::from(body.to_string()));
                async move { Ok::<_, Infallible>(response.body(body).unwrap()) }
            });
            spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    format!("http://{address}")
}

#[tokio::test]
async fn renewed_sso_session_needs_no_restart() {
    const CACHE: &str = ".aws/sso/cache/e8be5486177c5b5392bd9aa76563515b29358e6e.json";
    let url = sso_portal("renewed").await;
    let proxy = Proxy::start_with(Some(SESSION), |home| {
        let config = "[default]\nsso_start_url = https://example.awsapps.com/start\nsso_region = us-east-1\n\
                      sso_account_id = 123456789012\nsso_role_name = gateway\n";
        std::fs::write(home.join("config"), config).unwrap();
        std::fs::create_dir_all(home.join(".aws/sso/cache")).unwrap();
        vec![("AWS_ENDPOINT_URL_SSO", url)]
    })
    .await;
    assert_eq!(proxy.status().await, 502, "there is no session yet");
    let session = |token: &str, end: &str| {
        json!({"accessToken": token, "expiresAt": end, "region": "us-east-1", "startUrl": "https://example.awsapps.com/start"}).to_string()
    };
    for (token, end) in [("renewed", EXPIRED), ("revoked", "2099-01-01T00:00:00Z")] {
        proxy.write(CACHE, &session(token, end));
        assert_eq!(proxy.status().await, 502, "{token} {end}");
    }
    proxy.write(CACHE, &session("renewed", "2099-01-01T00:00:00Z"));
    proxy.wait_for_status(200).await;
}
