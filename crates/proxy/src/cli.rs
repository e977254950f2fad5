//! The command line: what there is to say, and the way from a command to its face in one of the files beside this one.
//! Without a command it serves.

mod config;
mod connect;
pub mod demo;
mod doctor;
pub mod explain;
mod healthcheck;
mod man;
mod migrate;
mod table;
mod users;
mod version;

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::clock::Clock;
use crate::config::{Config, ConfigError, Loaded, load_from_env};
use crate::server::{Drained, Server};
use crate::{ids, telemetry};

/// The configuration is wrong (`EX_CONFIG` of sysexits.h).
const EX_CONFIG: u8 = 78;
const LAST_BREATH: Duration = Duration::from_millis(200);

/// At the end of the help.
const EXAMPLES: &str = "\
Examples:
  bedrock-proxy demo            try it without an AWS account
  bedrock-proxy config check    look for mistakes in the environment and .env
  bedrock-proxy doctor          look at everything that serving needs
  bedrock-proxy                 serve

Exit codes:
  0   done
  1   it failed, or something that was looked at is not as it should be
  2   the command line is wrong
  78  the configuration is wrong";

#[derive(Debug, Parser)]
#[command(name = "bedrock-proxy", version, about = "Anthropic Messages API in, AWS Bedrock out", after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Operator(users::Operator),
    /// Serve the Messages API (also without a command). Configured by the environment and .env; see .env.example
    #[command(after_help = "Example:\n  PORT=8081 AWS_BEDROCK_REGION=eu-west-1 bedrock-proxy serve")]
    Serve,
    /// Try it without an AWS account: a fake Bedrock inside this process, and what to type
    #[command(after_help = "Example:\n  bedrock-proxy demo --port 9000")]
    Demo {
        /// The port to serve on
        #[arg(long, default_value_t = 8081)]
        port: u16,
        /// The address to serve on; 0.0.0.0 inside a container
        #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
        host: IpAddr,
    },
    /// Look at the configuration
    Config {
        #[command(subcommand)]
        command: config::ConfigCommand,
    },
    /// Look at everything that the server needs, and say what to do about what is not as it should be
    Doctor(doctor::Arguments),
    /// Print what to type into a client
    Connect(connect::Arguments),
    /// Ask the server that this configuration describes whether it is well; for the HEALTHCHECK of a container
    Healthcheck(healthcheck::Arguments),
    /// Bring the schema of the database up to date, as every start does
    Migrate(migrate::Arguments),
    /// Explain an error by the code at the end of its message, such as E07; all of them without one
    #[command(after_help = "Example:\n  bedrock-proxy explain E07")]
    Explain {
        /// The code
        code: Option<String>,
    },
    /// Print the completions of a shell
    Completions(man::Completions),
    /// Print the manual page, or write one for each command
    Man(man::Man),
    /// What this binary is
    Version(version::Arguments),
}

/// Runs the command that the process was started with.
#[must_use]
pub fn run() -> ExitCode {
    let command = Arguments::parse().command.unwrap_or(Command::Serve);
    let loaded = || load_from_env(Path::new(".env"));
    match command {
        Command::Demo { port, host } => {
            in_runtime(async move { demo::run(host, port).await.map(|()| ExitCode::SUCCESS) })
        }
        Command::Config { command } => config::run(command, &loaded()),
        Command::Explain { code } => explain(code.as_deref()),
        Command::Completions(arguments) => man::completions(&arguments),
        Command::Man(arguments) => man::pages(&arguments),
        Command::Version(arguments) => in_runtime(version::run(arguments)),
        Command::Doctor(arguments) => doctor::run(arguments, loaded()),
        Command::Connect(arguments) => with(loaded(), |config| connect::run(config, arguments)),
        Command::Operator(command) => with(loaded(), |config| users::run(config, command)),
        Command::Healthcheck(arguments) => with(loaded(), |config| healthcheck::run(config, arguments)),
        Command::Migrate(arguments) => with(loaded(), |config| migrate::run(config, arguments)),
        Command::Serve => match loaded().config {
            Ok(config) => logged(config),
            Err(problems) => refuse(&problems),
        },
    }
}

/// Does `work` by the configuration, if there is nothing wrong with it.
fn with<F>(loaded: Loaded, work: impl FnOnce(Config) -> F) -> ExitCode
where
    F: Future<Output = Result<ExitCode, String>>,
{
    match loaded.config {
        Ok(config) => in_runtime(work(config)),
        Err(problems) => refuse(&problems),
    }
}

fn explain(code: Option<&str>) -> ExitCode {
    match code.map_or_else(|| Some(explain::all()), explain::one) {
        Some(text) => {
            say(&text);
            ExitCode::SUCCESS
        }
        None => {
            complain(
                "bedrock-proxy: there is no error with this code; `bedrock-proxy explain` lists them all\n",
            );
            ExitCode::FAILURE
        }
    }
}

fn refuse(problems: &[ConfigError]) -> ExitCode {
    let mut text = format!("bedrock-proxy cannot start; {} to fix:\n", problems.len());
    for problem in problems {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {problem}");
    }
    complain(&text);
    ExitCode::from(EX_CONFIG)
}

/// Serves with a log. It outlives the runtime, whose last requests are logged when they are dropped.
fn logged(config: Config) -> ExitCode {
    match telemetry::install(&config.log, &Clock::machine()) {
        Ok(logs) => {
            let code = in_runtime(serve(config));
            drop(logs);
            code
        }
        Err(error) => {
            complain(&format!("bedrock-proxy cannot start: {error}\n"));
            ExitCode::from(EX_CONFIG)
        }
    }
}

fn in_runtime(work: impl Future<Output = Result<ExitCode, String>>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("bedrock-proxy cannot start: {error}\n"));
            return ExitCode::FAILURE;
        }
    };
    let done = runtime.block_on(work);
    // What a drain has given up on is dropped, so that it is logged, but not waited for.
    runtime.shutdown_timeout(LAST_BREATH);
    match done {
        Ok(code) => code,
        Err(error) => {
            complain(&format!("bedrock-proxy: {error}\n"));
            ExitCode::FAILURE
        }
    }
}

async fn serve(config: Config) -> Result<ExitCode, String> {
    ids::check()?;
    let server = Server::bind(&config, Clock::machine()).await.map_err(|error| error.to_string())?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let app = server.app();
    tracing::info!(
        address = %server.address(),
        tls = server.tls().is_some(),
        bedrock = app.bedrock.host(),
        version = env!("CARGO_PKG_VERSION"),
        "bedrock-proxy listens",
    );
    if !config.log.stdout {
        say(&banner(&config, server.address()));
    }
    app.keep_identified();
    if let Some(tls) = server.tls().cloned() {
        let mut hang_up = listen(SignalKind::hangup())?;
        let upkeep = app.upkeep.clone();
        app.upkeep.spawn(async move {
            loop {
                tokio::select! {
                    _ = hang_up.recv() => tls.reload().await,
                    () = upkeep.shutdown_begun() => return,
                }
            }
        });
    }
    until_stopped(server).await.map(|()| ExitCode::SUCCESS)
}

/// What a person at the terminal wants to know when the log is elsewhere.
fn banner(config: &Config, address: SocketAddr) -> String {
    let logs = config.log.file.as_deref().unwrap_or(Path::new("nowhere")).display();
    let mut reached = address;
    if address.ip().is_unspecified() {
        reached.set_ip(if address.is_ipv4() {
            Ipv4Addr::LOCALHOST.into()
        } else {
            Ipv6Addr::LOCALHOST.into()
        });
    }
    let (who, token) = if config.auth.secret.is_some() {
        ("a token is needed; `bedrock-proxy token issue --user NAME` makes one", "<token>")
    } else if address.ip().is_loopback() {
        ("everybody on this machine is served; set JWT_SECRET_KEY to ask for tokens", "any")
    } else {
        ("everybody is served, as ALLOW_UNAUTHENTICATED says; set JWT_SECRET_KEY to ask for tokens", "any")
    };
    let scheme = if config.server.tls.is_some() { "https" } else { "http" };
    format!(
        "bedrock-proxy {} listens on {scheme}://{address}\n  {who}\n  logs: {logs} (LOG_OUTPUT=stdout shows them here)\n  \
         try: ANTHROPIC_BASE_URL={scheme}://{reached} ANTHROPIC_AUTH_TOKEN={token} claude",
        env!("CARGO_PKG_VERSION"),
    )
}

/// Serves until SIGTERM or SIGINT, drains, and says how that went. A second signal ends the drain.
pub(crate) async fn until_stopped(server: Server) -> Result<(), String> {
    let mut signals = Signals::listen()?;
    let mut more_signals = Signals::listen()?;
    let hurry = async {
        more_signals.next().await;
        more_signals.next().await;
    };
    match server.run(signals.next(), hurry).await {
        Drained::Clean => tracing::info!("stopped; every request was finished"),
        Drained::Aborted(connections) => tracing::warn!(connections, "stopped; open requests were cut off"),
    }
    Ok(())
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

fn listen(kind: SignalKind) -> Result<Signal, String> {
    signal(kind).map_err(|error| format!("cannot listen for signals: {error}"))
}

impl Signals {
    fn listen() -> Result<Self, String> {
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// To the person at the terminal, or to a program that may not read all of it.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
}

fn complain(text: &str) {
    let _ = write!(std::io::stderr(), "{text}");
}
