//! The fake as a program of its own, for benches and for other people's continuous integration.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use fake_bedrock::{Config, FakeBedrock};
use tokio::signal::unix::{SignalKind, signal};

/// A Bedrock that speaks the real wire. Prints one JSON line with its address, then serves until SIGTERM, and prints
/// another with how many tokens it has handed out.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The address to listen on; port 0 takes any free one.
    #[arg(long, default_value = "127.0.0.1:9090")]
    listen: SocketAddr,
    /// The region of the endpoint.
    #[arg(long, default_value = "us-east-1")]
    region: String,
    /// The access key id that is known.
    #[arg(long, default_value = "AKIDEXAMPLE")]
    access_key: String,
    /// Its secret.
    #[arg(long, default_value = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")]
    secret_key: String,
    /// The session token that signed requests must carry.
    #[arg(long)]
    session_token: Option<String>,
    /// The Bedrock API key that is known; an empty one lets nobody in.
    #[arg(long, default_value = "bedrock-api-key-example")]
    bearer_token: String,
    /// An application inference profile, as ARN=MODEL; may be repeated.
    #[arg(long = "profile", value_name = "ARN=MODEL", value_parser = profile)]
    profiles: Vec<(String, String)>,
    /// Be the Mantle endpoint instead of the runtime and the control plane.
    #[arg(long)]
    mantle: bool,
    /// The id of a foundation model that may not be used; may be repeated.
    #[arg(long = "deny", value_name = "MODEL")]
    denied_models: Vec<String>,
    /// How many seconds the clock is ahead of the machine's.
    #[arg(long, default_value_t = 0, allow_hyphen_values = true)]
    clock_skew: i64,
    /// A directory of scripts, one `*.json` each.
    #[arg(long)]
    fixtures: Option<PathBuf>,
    /// Milliseconds of silence between the deltas of ordinary answers.
    #[arg(long, default_value_t = 0)]
    pace_ms: u64,
}

fn profile(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((arn, model)) if arn.starts_with("arn:") && !model.is_empty() => Ok((arn.into(), model.into())),
        _ => Err("it must look like arn:…:application-inference-profile/ID=MODEL".into()),
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
        fixtures: arguments.fixtures,
        pace: Duration::from_millis(arguments.pace_ms),
        // Memory has to stay flat under load.
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
            print_json(&serde_json::json!({"tokens": log.totals().total()}));
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "fake-bedrock cannot start on {}: {error}", arguments.listen);
            ExitCode::FAILURE
        }
    }
}

fn print_json(line: &serde_json::Value) {
    // Nobody reading the line is no reason not to serve.
    let mut stdout = std::io::stdout();
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}

/// Resolves at SIGTERM; never where there are no signals.
async fn terminated() {
    if let Ok(mut signal) = signal(SignalKind::terminate()) {
        signal.recv().await;
    } else {
        std::future::pending::<()>().await;
    }
}
