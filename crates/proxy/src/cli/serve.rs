//! `serve`: the server until a signal, with its log and its banner.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{EX_CONFIG, in_runtime, print, print_error};
use crate::app::App;
use crate::clock::Clock;
use crate::config::{Config, Source, locale_language};
use crate::language::{BANNER, Language};
use crate::readiness::Check;
use crate::server::{Drained, Server};
use crate::{http_client, ids, telemetry};

/// Serves with a log. The log outlives the runtime, because the last requests are logged when the runtime drops them.
pub(super) fn serve_with_logging(config: Config, source: Source) -> ExitCode {
    match telemetry::install(&config.log, &Clock::machine()) {
        Ok(logs) => {
            let code = in_runtime(serve(config, source));
            drop(logs);
            code
        }
        Err(error) => {
            print_error(&format!("bedrock-proxy cannot start: {error}\n"));
            ExitCode::from(EX_CONFIG)
        }
    }
}

async fn serve(config: Config, source: Source) -> Result<ExitCode, String> {
    ids::check()?;
    // Before anything else: without a handler, SIGHUP ends the process.
    let mut signals = ShutdownSignals::new()?;
    let server = tokio::select! {
        bound = Server::bind(&config, Clock::machine()) => bound.map_err(|error| error.to_string())?,
        () = signals.shutdown() => {
            tracing::info!("server stopped before it was ready");
            return Ok(ExitCode::SUCCESS);
        }
    };
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let app = server.app();
    *app.source.lock().await = Some(source);
    let warning =
        if app.store.is_connected() { None } else { app.authenticator.report_start_without_database() };
    tracing::info!(
        address = %server.address(),
        tls = server.tls().is_some(),
        bedrock = app.bedrock.host(),
        version = env!("CARGO_PKG_VERSION"),
        "server listening",
    );
    if !config.log.stdout {
        print_aside(localize(&banner(&config, server.address(), warning), locale_language()));
    }
    app.monitor_credentials();
    if !config.log.stdout {
        print_when_not_ready(app);
    }
    run_until_signal(server, signals).await;
    Ok(ExitCode::SUCCESS)
}

/// Prints beside the server: a terminal that is stopped, or a full pipe, must not hold it up.
pub(super) fn print_aside(text: String) {
    let printing = std::thread::Builder::new().name("banner".to_owned()).spawn(move || print(&text));
    if let Err(error) = printing {
        tracing::debug!(%error, "banner not printed");
    }
}

/// Prints what keeps `/readyz` red, when the credentials were checked once. The log has it too, but the log is a file.
fn print_when_not_ready(app: &Arc<App>) {
    let (app, tasks) = (Arc::clone(app), app.background.clone());
    app.background.clone().spawn(async move {
        tokio::select! {
            () = app.bedrock.first_credential_check() => {
                if let Some(text) = not_ready(&app.readiness.checks()) {
                    print_aside(localize(&text, locale_language()));
                }
            }
            () = tasks.shutdown_begun() => {}
        }
    });
}

/// The failed checks, and those with a restriction, with what to do.
fn not_ready(checks: &[Check]) -> Option<String> {
    let restricted: Vec<_> =
        checks.iter().filter(|check| !check.passed || !check.detail.is_empty()).collect();
    let is_ready = restricted.iter().all(|check| check.passed);
    let mut text = match (restricted.is_empty(), is_ready) {
        (true, _) => return None,
        (false, true) => "  ready, with a restriction (GET /readyz?verbose):\n".to_owned(),
        (false, false) => "  not ready (GET /readyz is 503):\n".to_owned(),
    };
    for check in restricted {
        let effect = match (check.name, check.passed) {
            ("credentials", false) => {
                ". Requests to models fail with status 502 or 403 until this is repaired. Set AWS_BEDROCK_ACCESS_KEY and \
                 AWS_BEDROCK_SECRET_KEY, or AWS_BEARER_TOKEN_BEDROCK, or an AWS profile or role; \
                 check with `bedrock-proxy doctor`"
            }
            ("database" | "migrations", false) => ". Requests fail with status 503 until it is available",
            ("database" | "migrations", true) => {
                ". Requests are served; limits and revocations may not apply"
            }
            _ => "",
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "    {}: {}{effect}", check.name, check.detail);
    }
    Some(text)
}

/// Which machines can connect, and how to change that.
fn reach(config: &Config, address: SocketAddr) -> String {
    let has_key = config.auth.secret.is_some();
    match (address.ip().is_loopback(), has_key) {
        (true, true) => "only this machine can reach it; HOST=0.0.0.0 opens it to other machines".to_owned(),
        (true, false) => {
            "only this machine can reach it; JWT_SECRET_KEY and HOST=0.0.0.0 open it to other machines"
                .to_owned()
        }
        (false, _) if address.ip().is_unspecified() => {
            format!("other machines can reach it, at every address of this machine, port {}", address.port())
        }
        (false, _) => format!("other machines can reach it, at {address}"),
    }
}

/// Printed at the terminal when the log goes to a file.
fn banner(config: &Config, address: SocketAddr, warning: Option<&str>) -> String {
    let logs = config.log.file.as_deref().unwrap_or(Path::new("none")).display();
    let local = SocketAddr::new(http_client::loopback_for(address.ip()), address.port());
    let (access, token) = if config.auth.secret.is_some() {
        (
            "every request needs a token; issue one with `bedrock-proxy token issue --user NAME --create`",
            "<token>",
        )
    } else if address.ip().is_loopback() {
        ("no authentication; set JWT_SECRET_KEY to require tokens", "any")
    } else {
        ("no authentication (ALLOW_UNAUTHENTICATED); set JWT_SECRET_KEY to require tokens", "any")
    };
    let warning = warning.map(|warning| format!("\n  warning: {warning}")).unwrap_or_default();
    let scheme = if config.server.tls.is_some() { "https" } else { "http" };
    format!(
        "bedrock-proxy {} listens on {scheme}://{address}\n  {}\n  {access}{warning}\n  logs: {logs} (LOG_OUTPUT=stdout prints them here)\n  \
         try: ANTHROPIC_BASE_URL={scheme}://{local} ANTHROPIC_AUTH_TOKEN={token} claude",
        env!("CARGO_PKG_VERSION"),
        reach(config, address),
    )
}

/// The lines of `text` in `language`. Texts that the log has too stay as they are.
fn localize(text: &str, language: Language) -> String {
    if language == Language::English {
        return text.to_owned();
    }
    let lines = text.lines().map(|line| {
        let (indent, line) = line.split_at(line.len() - line.trim_start().len());
        format!("{indent}{}", BANNER.translate(line).unwrap_or_else(|| line.to_owned()))
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Serves until SIGTERM or SIGINT, then drains and logs the result. A second signal ends the drain. SIGHUP reloads the
/// configuration, and never ends the process.
pub(super) async fn run_until_signal(server: Server, signals: ShutdownSignals) {
    let ShutdownSignals { mut first, mut second, mut hangup } = signals;
    let app = Arc::clone(server.app());
    server.app().background.spawn(async move {
        loop {
            tokio::select! {
                // It is logged, whatever its result.
                _ = hangup.recv() => drop(app.reload("signal").await),
                () = app.background.shutdown_begun() => return,
            }
        }
    });
    let second_signal = async {
        second.recv().await;
        second.recv().await;
    };
    match server.run(first.recv(), second_signal).await {
        Drained::Clean => tracing::info!("server stopped; all requests finished"),
        Drained::Aborted(connections) => tracing::warn!(connections, "server stopped; open requests aborted"),
    }
}

/// The signals that stop the server or reload its configuration, from its start on.
pub(super) struct ShutdownSignals {
    first: SignalPair,
    second: SignalPair,
    hangup: Signal,
}

struct SignalPair {
    terminate: Signal,
    interrupt: Signal,
}

fn signal_stream(kind: SignalKind) -> Result<Signal, String> {
    signal(kind).map_err(|error| format!("cannot listen for signals: {error}"))
}

impl ShutdownSignals {
    /// Handles the signals from here on.
    ///
    /// # Errors
    /// When the system allows no handler.
    pub(super) fn new() -> Result<Self, String> {
        Ok(Self {
            first: SignalPair::new()?,
            second: SignalPair::new()?,
            hangup: signal_stream(SignalKind::hangup())?,
        })
    }

    /// Resolves at the first signal.
    async fn shutdown(&mut self) {
        self.first.recv().await;
    }
}

impl SignalPair {
    fn new() -> Result<Self, String> {
        Ok(Self {
            terminate: signal_stream(SignalKind::terminate())?,
            interrupt: signal_stream(SignalKind::interrupt())?,
        })
    }

    async fn recv(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &'static str, passed: bool) -> Check {
        Check { name, passed, detail: "a reason" }
    }

    #[test]
    fn every_line_of_the_banner_has_a_translation() {
        let key = ("JWT_SECRET_KEY", "0123456789abcdefghijklmnopqrstuv");
        let open = ("ALLOW_UNAUTHENTICATED", "true");
        let mut texts = Vec::new();
        for (variables, host) in
            [(&[key][..], "127.0.0.1:1"), (&[], "[::1]:1"), (&[key], "0.0.0.0:1"), (&[open], "10.0.0.1:1")]
        {
            let find = |name: &str| {
                let found = variables.iter().find(|(variable, _)| *variable == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            let config = Config::load(find).unwrap();
            texts.push(banner(&config, host.parse().unwrap(), Some("a warning")));
        }
        let failed = ["credentials", "database", "migrations"].map(|name| check(name, false));
        texts.extend(not_ready(&failed));
        texts.extend(not_ready(&[check("database", true)]));
        for text in &texts {
            let spanish = localize(text, Language::Spanish);
            assert_eq!(localize(text, Language::English), *text);
            for (line, translated) in text.lines().zip(spanish.lines()) {
                assert_ne!(line, translated);
            }
        }
    }
}
