//! Log lines: where they go and how they look.

use std::io;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::config::Log;

/// Logs to stdout as the configuration says. Lasts for the life of the process.
///
/// # Errors
/// When `RUST_LOG` is not a filter, or logging was set up before.
pub fn install(log: &Log) -> Result<(), String> {
    let filter = log.filter.as_deref().unwrap_or(log.level);
    let filter = EnvFilter::try_new(filter).map_err(|error| format!("RUST_LOG: {error}"))?;
    write_to(io::stdout, filter, log.json)
}

/// Logs warnings to stderr as text, so that stdout stays readable.
///
/// # Errors
/// When logging was set up before.
pub fn install_quiet() -> Result<(), String> {
    write_to(io::stderr, EnvFilter::new("warn"), false)
}

fn write_to<W>(writer: W, filter: EnvFilter, json: bool) -> Result<(), String>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_ansi(false);
    let installed = if json {
        lines
            .json()
            .flatten_event(true)
            .with_target(false)
            .with_current_span(false)
            .with_span_list(false)
            .try_init()
    } else {
        lines.with_target(false).try_init()
    };
    installed.map_err(|error| error.to_string())
}
