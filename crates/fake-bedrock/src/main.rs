//! The fake as a program, for benchmarks and continuous integration.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use fake_bedrock::{Config, FakeBedrock, Safeguards};
use tokio::signal::unix::{SignalKind, signal};

/// Serve a fake Amazon Bedrock until SIGTERM. Prints one JSON line with the address at the start, and one with the
/// numbers of tokens and of refused requests at the end.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Listen on this address; port 0 takes a free port
    #[arg(long, default_value = "127.0.0.1:9090")]
    listen: SocketAddr,
    /// Set the region of the endpoint
    #[arg(long, default_value = "us-east-1")]
    region: String,
    /// Accept this access key id
    #[arg(long, default_value = "AKIDEXAMPLE")]
    access_key: String,
    /// Verify signatures with this secret access key
    #[arg(long, default_value = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")]
    secret_key: String,
    /// Require this session token in signed requests
    #[arg(long)]
    session_token: Option<String>,
    /// Accept this Bedrock API key; an empty value rejects every API key
    #[arg(long, default_value = "bedrock-api-key-example")]
    bearer_token: String,
    /// Add an application inference profile (repeatable)
    #[arg(long = "profile", value_name = "ARN=MODEL", value_parser = parse_profile)]
    profiles: Vec<(String, String)>,
    /// Serve bedrock-mantle instead of bedrock-runtime and the control plane
    #[arg(long)]
    mantle: bool,
    /// Deny access to this foundation model (repeatable)
    #[arg(long = "deny", value_name = "MODEL")]
    denied_models: Vec<String>,
    /// Set the clock ahead by this many seconds
    #[arg(long, default_value_t = 0, allow_hyphen_values = true)]
    clock_skew: i64,
    /// Judge tool calls for `safeguards`, respond that this is unsupported, or refuse the field or its beta
    #[arg(long, value_name = "judged|unsupported|refuse-field|refuse-beta", default_value = "judged")]
    safeguards: Safeguards,
    /// Load the `*.json` fixtures of this directory
    #[arg(long)]
    fixtures: Option<PathBuf>,
    /// Wait this many milliseconds between the deltas of default responses
    #[arg(long, default_value_t = 0)]
    pace_ms: u64,
}

fn parse_profile(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((arn, model)) if arn.starts_with("arn:") && !model.is_empty() => Ok((arn.into(), model.into())),
        _ => Err("expected arn:…:application-inference-profile/ID=MODEL".into()),
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let defaults = Config::default();
    let config = Config {
        region: arguments.region,
        access_key: arguments.access_key,
        secret_key: arguments.secret_key,
        session_token: arguments.session_token,
        bearer_token: Some(arguments.bearer_token).filter(|key| !key.is_empty()),
        application_profiles: defaults.application_profiles.into_iter().chain(arguments.profiles).collect(),
        mantle: arguments.mantle,
        denied_models: arguments.denied_models.into_iter().collect(),
        clock_skew: arguments.clock_skew,
        safeguards: arguments.safeguards,
        fixtures: arguments.fixtures,
        pace: Duration::from_millis(arguments.pace_ms),
        // Memory must stay flat under load.
        record_bodies: false,
    };
    match FakeBedrock::bind(config, arguments.listen).await {
        Ok(fake) => {
            print_json(&serde_json::json!({"addr": fake.addr().to_string(), "url": fake.url()}));
            let log = fake.log();
            tokio::select! {
                () = fake.run() => {}
                () = terminated() => {}
            }
            print_json(&serde_json::json!({"tokens": log.totals().total(), "refused": log.refused()}));
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ =
                writeln!(std::io::stderr(), "fake-bedrock could not listen on {}: {error}", arguments.listen);
            ExitCode::FAILURE
        }
    }
}

fn print_json(value: &serde_json::Value) {
    // A closed stdout does not stop the server.
    let mut stdout = std::io::stdout();
    let _ = writeln!(stdout, "{value}").and_then(|()| stdout.flush());
}

/// Resolves at SIGTERM; never where signals are unsupported.
async fn terminated() {
    if let Ok(mut signal) = signal(SignalKind::terminate()) {
        signal.recv().await;
    } else {
        std::future::pending::<()>().await;
    }
}
