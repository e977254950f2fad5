//! Row 44 of `docs/hardening.md`: secrets and content are placed in every input of the program, every command and API
//! is used, and then everything that it wrote is searched for them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use fake_bedrock::FakeBedrock;
use http::Request;
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

use crate::harness::postgres;
use crate::harness::process::{Process, command};
use crate::harness::tokens::{claims, signed};
use crate::harness::{full, spawn};
use crate::otel::Collector;

/// Words that appear nowhere else. What the operator gave, and what callers bring, must be nowhere in what is written;
/// the words of a conversation may be told to whoever has it, and to nobody else.
const KEY: &str = "canary-jwt-key-5Zr8qLw2mN7xVb4tRc6y";
const OLD_KEY: &str = "canary-old-key-9Qe3yHk6pJ1sDf0gUi2o";
const AWS_SECRET: &str = "canaryAwsSecret/4kTq+ZbW7xYp2mRn";
const SESSION: &str = "canary-session-token-8Gv5";
const BEARER: &str = "canary-bedrock-api-key-2Lm9";
const DB_PASSWORD: &str = "canary-db-password-7Xc1";
const OTLP: &str = "canary-otlp-header-3Nb6";
const OTLP_HEADERS: &str = "authorization=canary-otlp-header-3Nb6";
const OF_OPERATORS: [&str; 7] = [KEY, OLD_KEY, AWS_SECRET, SESSION, BEARER, DB_PASSWORD, OTLP];

const WORDS: [&str; 10] = [
    "canary-prompt",
    "canary-context",
    "canary-system",
    "canary-tool-argument",
    "canary-file-name",
    "canary-query-string",
    "canary-header-value",
    "canary-cookie",
    "canary-stop",
    "canary-broken-json",
];

/// Where the program runs and what it was asked with.
struct LeakTest {
    address: SocketAddr,
    tokens: Vec<String>,
    responses: Vec<String>,
}

impl LeakTest {
    async fn call(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<String>,
    ) -> u16 {
        let client = Client::builder(TokioExecutor::new()).build_http();
        let uri = format!("http://{}{path}?key=canary-query-string", self.address);
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in
            [("x-custom", "canary-header-value"), ("cookie", "s=canary-cookie")].iter().chain(headers)
        {
            request = request.header(*name, *value);
        }
        let request = request.body(full(body.into().into())).unwrap();
        let response =
            tokio::time::timeout(Duration::from_secs(20), client.request(request)).await.unwrap().unwrap();
        let (head, body) = response.into_parts();
        // An answer that breaks off is one, too.
        let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        self.responses.push(format!("{:?} {}", head.headers, String::from_utf8_lossy(&body)));
        head.status.as_u16()
    }

    /// Goes through every door with `token`.
    async fn sing(&mut self, token: &str) {
        self.tokens.push(token.to_owned());
        let bearer = format!("Bearer {token}");
        let key = [("authorization", bearer.as_str())];
        let prompts = [
            "",
            "[tool]",
            "[thinking]",
            "[throttle]",
            "[throttle-mid]",
            "[exception internalServerException]",
            "[refuse AccessDeniedException]",
            "[refuse ValidationException]",
            "[error-frame]",
            "[cut]",
            "[cut-before]",
            "[no-metadata]",
            "[no-stop]",
            "[bad-crc]",
            "[unknown-event]",
        ];
        for (number, prompt) in prompts.iter().enumerate() {
            let body = question(&format!("{prompt} canary-prompt"), number % 2 == 0);
            self.call("POST", "/v1/messages", &key, body.to_string()).await;
        }
        let mut body = question("canary-prompt", true);
        body["safeguards"] =
            json!([{"type": "dangerous_tool_use", "classifier_context": {"live_cwd": "canary-context"}}]);
        self.call("POST", "/v1/messages", &key, body.to_string()).await;
        body["safeguards"][0]["other"] = json!("canary-context");
        self.call("POST", "/v1/messages", &key, body.to_string()).await;
        let body = question("canary-prompt", false);
        let mut chat = json!({"model": "claude-sonnet-4-5", "messages": [{"role": "system", "content": "canary-system"},
            {"role": "user", "content": "canary-prompt"}], "user": "canary-prompt"});
        let converse = json!({"messages": [{"role": "user", "content": [{"text": "canary-prompt"}]}]});
        self.call("POST", "/v1/chat/completions", &key, chat.to_string()).await;
        chat["n"] = json!("canary-broken-json");
        self.call("POST", "/v1/chat/completions", &key, chat.to_string()).await;
        self.call("POST", "/v1/messages/count_tokens", &key, body.to_string()).await;
        for verb in ["converse", "converse-stream", "count-tokens"] {
            self.call("POST", &format!("/model/claude-sonnet-4-5/{verb}"), &key, converse.to_string()).await;
        }
        self.call("POST", "/model/claude-sonnet-4-5/invoke", &key, body.to_string()).await;
        for broken in [
            r#"{"model":"claude-sonnet-4-5","messages":["canary-broken-json"#,
            r#"{"model":"claude-sonnet-4-5","max_tokens":"canary-broken-json","messages":[]}"#,
            r#"{"model":"claude-sonnet-4-5","strange":"canary-broken-json","messages":[{"role":"user","content":"canary-prompt"}]}"#,
            r#"{"model":"claude-sonnet-4-5","messages":[{"role":"user","content":[{"type":"strange","text":"canary-broken-json"}]}]}"#,
        ] {
            self.call("POST", "/v1/messages", &key, broken).await;
            self.call("POST", "/model/claude-sonnet-4-5/converse", &key, broken).await;
        }
        for path in [
            "/v1/models",
            "/v1/me",
            "/metrics",
            "/health",
            "/livez",
            "/readyz",
            "/admin/v1/users",
            "/nowhere",
            "/admin/v1/events",
            "/admin/v1/tokens",
            "/admin/v1/usage",
            "/api/hello",
        ] {
            self.call("GET", path, &key, "").await;
        }
    }
}

/// A request with a canary in every place that has words of the client's.
fn question(prompt: &str, stream: bool) -> Value {
    json!({
        "model": "claude-sonnet-4-5", "max_tokens": 256, "stream": stream,
        "system": "canary-system",
        "stop_sequences": ["canary-stop"],
        "metadata": {"user_id": "canary-prompt"},
        "tools": [{"name": "t", "description": "canary-prompt", "input_schema": {"type": "object",
            "properties": {"a": {"type": "string", "const": "canary-tool-argument"}}, "required": ["a"]}}],
        "messages": [{"role": "user", "content": [
            {"type": "document", "title": "canary-file-name",
                "source": {"type": "text", "media_type": "text/plain", "data": "canary-prompt"}},
            {"type": "text", "text": prompt},
        ]}],
    })
}

/// All files in `folder` and below, as text.
fn files(folder: &Path, found: &mut BTreeMap<String, String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else {
            let bytes = std::fs::read(&path).unwrap();
            found.insert(path.display().to_string(), String::from_utf8_lossy(&bytes).into_owned());
        }
    }
}

/// Every row of every table.
async fn dump(url: &str) -> String {
    let mut connection = postgres::connect(url).await;
    let xml = "SELECT schema_to_xml('public', true, true, '')::text";
    sqlx::query_scalar(xml).fetch_one(&mut connection).await.unwrap()
}

fn fails_to_find(places: &BTreeMap<String, String>, words: impl IntoIterator<Item = impl AsRef<str>>) {
    for word in words {
        let word = word.as_ref();
        for (place, text) in places {
            if let Some(at) = text.find(word) {
                let from = text.floor_char_boundary(at.saturating_sub(300));
                panic!("{word} is in {place}: {}", &text[from..text.ceil_char_boundary(at + 100)]);
            }
        }
    }
}

/// A bad token is logged somewhere sooner or later, so it must not be a whole one anywhere.
fn tokens() -> [String; 5] {
    let (header, more) = (json!({"alg": "HS256"}), json!({"team": "red"}));
    [
        signed(&header, &claims("ana", &more).to_string(), KEY),
        signed(&header, &claims("op", &json!({"scope": "admin"})).to_string(), OLD_KEY),
        signed(&header, &claims("ana", &json!({"exp": 1})).to_string(), KEY),
        signed(&header, &claims("ana", &more).to_string(), "canary-forged-with-another-key-1Tg4"),
        "canary-token-that-is-none-6Pw0".to_owned(),
    ]
}

/// Runs the program with `variables` through everything, ends it with `signal`, and searches.
async fn search(bedrock: &str, variables: &[(&str, &str)], database: Option<&str>, signal: &str) {
    let home = tempfile::tempdir().unwrap();
    let collector = Collector::default();
    let endpoint = format!("http://{}", collector.listen().await);
    let base = [
        ("JWT_SECRET_KEY", KEY),
        ("JWT_PREVIOUS_SECRET_KEYS", OLD_KEY),
        ("AWS_ENDPOINT_URL", bedrock),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_EXPORTER_OTLP_HEADERS", OTLP_HEADERS),
        ("AWS_BEDROCK_DEBUG", "true"),
        ("LOG_OUTPUT", "both"),
        ("LOG_FILE_PATH", "logs/canary.json"),
        ("DATA_DIR", "data"),
        ("PORT", "0"),
    ];
    let all: Vec<_> = base.iter().chain(variables).copied().collect();
    let mut process = Process::start(home.path(), "ulimit -c 0", &all);
    let mut bird = LeakTest { address: process.address, tokens: Vec::new(), responses: Vec::new() };
    for token in tokens() {
        bird.sing(&token).await;
    }
    let basic = [("authorization", "Basic canary-header-value"), ("x-api-key", "canary-header-value")];
    bird.call("POST", "/v1/messages", &basic, "{}").await;
    let served = bird.responses.iter().filter(|response| response.contains("\"stop_reason\":\"")).count();
    assert!(served > 3, "the right token is served, else nothing was tried: {served}");
    process.signal(signal);
    // The collector has to go on while the program ends.
    let message = tokio::task::spawn_blocking(move || process.end()).await.unwrap();
    assert!(message.matches("\"event\":\"request\"").count() > 100, "every request has its line");

    let mut places = BTreeMap::from([("what it said".to_owned(), message)]);
    files(home.path(), &mut places);
    assert!(places.keys().any(|path| path.contains("logs/canary_")), "the log's file is searched, too");
    // What is killed sends nothing more.
    let collected = collector.text();
    assert!(signal != "TERM" || collected.contains("/v1/messages"), "the collector gets requests");
    places.insert("what the collector got".to_owned(), collected);
    if let Some(url) = database {
        places.insert("the database".to_owned(), dump(url).await);
    }
    for words in
        ["--help", "config check", "config print", "user list", "token list", "events", "usage report"]
    {
        let output = command(home.path(), "", &all).args(words.split(' ')).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        places.insert(words.to_owned(), String::from_utf8_lossy(&text).into_owned());
    }
    fails_to_find(&places, WORDS);
    fails_to_find(&places, ["canary-header", "canary-forged", "canary-token"]);
    for (number, response) in bird.responses.iter().enumerate() {
        places.insert(format!("answer {number}"), response.clone());
    }
    fails_to_find(&places, OF_OPERATORS);
    fails_to_find(&places, &bird.tokens);
    fails_to_find(
        &places,
        bird.tokens.iter().filter_map(|token| token.rsplit_once('.')).map(|(_, signature)| signature),
    );
}

#[tokio::test]
async fn secrets_and_content_are_never_written() {
    let config = fake_bedrock::Config {
        secret_key: AWS_SECRET.to_owned(),
        session_token: Some(SESSION.to_owned()),
        bearer_token: Some(BEARER.to_owned()),
        ..fake_bedrock::Config::default()
    };
    let fake = FakeBedrock::bind(config, SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let url = fake.url();
    spawn(fake.run());
    let signed = [
        ("AWS_BEDROCK_ACCESS_KEY", "AKIDEXAMPLE"),
        ("AWS_BEDROCK_SECRET_KEY", AWS_SECRET),
        ("AWS_BEDROCK_SESSION_TOKEN", SESSION),
    ];
    search(&url, &signed, None, "TERM").await;
    let database = postgres::database().await;
    let with_password =
        database.replace("postgres://postgres@", &format!("postgres://postgres:{DB_PASSWORD}@"));
    let bearer = [
        ("AWS_BEARER_TOKEN_BEDROCK", BEARER),
        ("DATABASE_URL", with_password.as_str()),
        ("DB_MIN_CONNS", "0"),
        ("AWS_BEDROCK_ROUTE", "invoke"),
        ("LOG_LEVEL", "trace,bedrock_proxy=trace"),
    ];
    search(&url, &bearer, Some(&database), "ABRT").await;
}
