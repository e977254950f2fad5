//! TLS of the server, with a certificate authority of the tests.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use bedrock_proxy::testing::Config;
use bytes::Bytes;
use http::{Request, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::harness::{TestServer, captured_logs, message_body, spawn, test_server_with};

const BOTH: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];

/// An authority, and a folder for what it signs.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    root: CertificateDer<'static>,
    home: TempDir,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = params.self_signed(&key).unwrap().der().clone();
        let authority = Self { issuer: Issuer::new(params, key), root, home: tempfile::tempdir().unwrap() };
        authority.sign(2100);
        authority
    }

    fn certificate(&self) -> PathBuf {
        self.home.path().join("tls.crt")
    }

    fn key(&self) -> PathBuf {
        self.home.path().join("tls.key")
    }

    /// A new certificate for this machine in the place of the last one, valid until `year`. Returns it.
    fn sign(&self, year: i32) -> CertificateDer<'static> {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.not_after = date_time_ymd(year, 1, 1);
        let signed = params.signed_by(&key, &self.issuer).unwrap();
        fs::write(self.certificate(), signed.pem()).unwrap();
        fs::write(self.key(), key.serialize_pem()).unwrap();
        fs::set_permissions(self.key(), Permissions::from_mode(0o600)).unwrap();
        signed.der().clone()
    }

    async fn test_server(&self) -> TestServer {
        self.test_server_with(|_| {}).await
    }

    async fn test_server_with(&self, change: impl FnOnce(&mut Config)) -> TestServer {
        let (certificate, key) = (self.certificate(), self.key());
        let variables =
            [("TLS_CERT_FILE", certificate.to_str().unwrap()), ("TLS_KEY_FILE", key.to_str().unwrap())];
        test_server_with(&variables, change).await
    }

    /// A client that trusts this authority and speaks these protocols.
    fn client(&self, protocols: &[&str], versions: &[&'static SupportedProtocolVersion]) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        TlsConnector::from(Arc::new(config))
    }
}

async fn connect(address: SocketAddr, client: &TlsConnector) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    client.connect(ServerName::try_from("localhost").unwrap(), stream).await
}

fn shown(stream: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

/// Sends a request by the negotiated protocol, and returns with the head of the response.
async fn begin(stream: TlsStream<TcpStream>, prompt: &str) -> http::Response<Incoming> {
    let second = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let body = Full::new(Bytes::from(message_body(prompt, true).to_string()));
    let request = Request::post("https://localhost/v1/messages").header("host", "localhost").body(body);
    let (io, request) = (TokioIo::new(stream), request.unwrap());
    if second {
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
        spawn(connection);
        sender.send_request(request).await.unwrap()
    } else {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        spawn(connection);
        let (mut parts, body) = request.into_parts();
        parts.uri = parts.uri.path().parse().unwrap();
        sender.send_request(Request::from_parts(parts, body)).await.unwrap()
    }
}

async fn text(response: http::Response<Incoming>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

#[tokio::test]
async fn alpn_selects_the_http_version() {
    let authority = Authority::new();
    let server = authority.test_server().await;
    for (protocols, version) in [
        (&["h2", "http/1.1"][..], Version::HTTP_2),
        (&["http/1.1"], Version::HTTP_11),
        (&[], Version::HTTP_11),
    ] {
        for versions in [&[&TLS13][..], &[&TLS12]] {
            let stream = connect(server.address, &authority.client(protocols, versions)).await.unwrap();
            let response = begin(stream, "[long 31]").await;
            assert_eq!((response.status().as_u16(), response.version()), (200, version));
            assert!(text(response).await.contains("event: message_stop"));
        }
    }
}

#[tokio::test]
async fn failed_handshakes_do_not_affect_other_connections() {
    let (authority, unknown) = (Authority::new(), Authority::new());
    let server = authority.test_server_with(|config| config.server.max_connections = 2).await;
    let mut plain = TcpStream::connect(server.address).await.unwrap();
    plain.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut reported = Vec::new();
    // Closed with a word of TLS's own, or without.
    let _ = plain.read_to_end(&mut reported).await;
    assert!(!reported.starts_with(b"HTTP"), "{reported:?}");
    for _ in 0..5 {
        assert!(connect(server.address, &unknown.client(&[], BOTH)).await.is_err());
    }
    let stream = connect(server.address, &authority.client(&[], BOTH)).await.unwrap();
    assert!(text(begin(stream, "hello").await).await.contains("event: message_stop"));
}

#[tokio::test]
async fn certificate_is_reloaded_during_a_stream() {
    let authority = Authority::new();
    let first = authority.sign(2100);
    let server = authority.test_server().await;
    let tls = server.tls.clone().unwrap();
    let client = authority.client(&["h2"], BOTH);
    let stream = connect(server.address, &client).await.unwrap();
    assert_eq!(shown(&stream), first);
    let response = begin(stream, "[paced 60 10]").await;

    let second = authority.sign(2100);
    tls.reload().await;
    let later = connect(server.address, &authority.client(&["h2"], BOTH)).await.unwrap();
    assert_eq!(shown(&later), second);

    // What cannot be used is reported, and changes nothing.
    fs::write(authority.key(), "no key").unwrap();
    tls.reload().await;
    assert!(captured_logs().contains("certificate_refused"));
    let last = connect(server.address, &authority.client(&["h2"], BOTH)).await.unwrap();
    assert_eq!(shown(&last), second);
    assert!(text(begin(last, "hello").await).await.contains("event: message_stop"));
    assert!(text(response).await.contains("event: message_stop"));
}

#[tokio::test]
async fn a_drain_waits_for_no_handshake() {
    let authority = Authority::new();
    let mut server = authority.test_server().await;
    let silent = TcpStream::connect(server.address).await.unwrap();
    // The connection is taken before this one is answered.
    let stream = connect(server.address, &authority.client(&[], BOTH)).await.unwrap();
    assert!(text(begin(stream, "hello").await).await.contains("event: message_stop"));
    server.stop.notify_one();
    let drained = tokio::time::timeout(Duration::from_secs(5), &mut server.task).await;
    assert_eq!(drained.unwrap().unwrap(), bedrock_proxy::testing::Drained::Clean);
    drop(silent);
}

/// The program with these files; its lines from when it listens.
fn program(data: &Path, certificate: &Path, key: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bedrock-proxy"));
    command.env_clear().current_dir(data).env("PORT", "0").env("LOG_OUTPUT", "stdout");
    command.env("AWS_BEARER_TOKEN_BEDROCK", "key").env("AWS_ENDPOINT_URL", "http://127.0.0.1:9");
    command.env("TLS_CERT_FILE", certificate).env("TLS_KEY_FILE", key).stdout(Stdio::piped());
    command
}

/// The lines of its output.
fn lines(stdout: ChildStdout) -> Receiver<String> {
    let (say, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            // After the test there is no receiver.
            let _ = say.send(line);
        }
    });
    lines
}

fn until(lines: &Receiver<String>, wanted: &str) -> Value {
    loop {
        let line = lines.recv_timeout(Duration::from_secs(20));
        let line = line.unwrap_or_else(|_| panic!("its output has no {wanted}"));
        if line.contains(wanted) {
            return serde_json::from_str(&line).unwrap();
        }
    }
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_reloads_files_and_expired_certificate_warns() {
    let authority = Authority::new();
    let expired = authority.sign(2020);
    let mut child =
        Killed(program(authority.home.path(), &authority.certificate(), &authority.key()).spawn().unwrap());
    let lines = lines(child.0.stdout.take().unwrap());
    until(&lines, "has expired");
    let listens = until(&lines, "\"address\"");
    let address: SocketAddr = listens["address"].as_str().unwrap().parse().unwrap();
    let client = authority.client(&[], BOTH);
    let rejected = connect(address, &client).await.unwrap_err().to_string();
    assert!(rejected.contains("certificate expired"), "{rejected}");

    let renewed = authority.sign(2100);
    assert_ne!(renewed, expired);
    let hang_up = Command::new("/bin/sh")
        .args(["-c", r#"kill "$@""#, "kill"])
        .args(["-HUP", &child.0.id().to_string()])
        .status()
        .unwrap();
    assert!(hang_up.success());
    until(&lines, "certificate_loaded");
    assert_eq!(shown(&connect(address, &client).await.unwrap()), renewed);
}

#[test]
fn invalid_tls_files_fail_startup() {
    let (one, other) = (Authority::new(), Authority::new());
    let open = one.home.path().join("open.key");
    fs::copy(one.key(), &open).unwrap();
    fs::set_permissions(&open, Permissions::from_mode(0o644)).unwrap();
    for (certificate, key, words) in [
        (one.certificate(), other.key(), ["TLS_KEY_FILE", "does not belong"]),
        (one.certificate(), open, ["TLS_KEY_FILE", "mode 0644"]),
        (one.key(), one.key(), ["TLS_CERT_FILE", "is missing in the file"]),
        ("/nonexistent.pem".into(), one.key(), ["TLS_CERT_FILE", "cannot be read"]),
    ] {
        for arguments in [&["serve"][..], &["config", "check"]] {
            let mut command = program(one.home.path(), &certificate, &key);
            let output = command.args(arguments).output().unwrap();
            let message = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(78), "{message}");
            assert!(words.iter().all(|word| message.contains(word)), "{message}");
        }
    }
}
