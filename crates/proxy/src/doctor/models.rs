//! Model checks: one request to each configured model, because only a request proves access. It takes the path of client
//! requests, with a temporary database.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::Finding;
use crate::api::probe::{self, Probed};
use crate::app::App;
use crate::catalog::ResolveError;
use crate::clock::Clock;
use crate::config::{Config, DatabaseConfig, DatabaseUrl};

/// Limit for one request: a cold model may need tens of seconds for its first token.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// The models of the configuration and `more`, without duplicates.
pub(super) fn configured(config: &Config, more: &[String]) -> Vec<String> {
    let catalog = &config.catalog;
    let rows = catalog.models.iter().filter(|model| !model.is_only_prices()).map(|model| &model.id);
    let mapped = catalog.mappings.iter().map(|(name, _)| name);
    let all = catalog.default_model.iter().chain(mapped).chain(rows).chain(more);
    let mut names: Vec<String> = Vec::new();
    for name in all {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}

/// Requests one token from each model.
pub(super) async fn check(
    config: &Config,
    clock: &Clock,
    names: &[String],
    report: &mut (dyn FnMut(Finding) + Send),
) {
    if names.is_empty() {
        report(Finding::note("Models", "no model is configured; check one with --model claude-sonnet-4-5"));
        return;
    }
    let directory = std::env::temp_dir().join(format!("bedrock-proxy-doctor-{}", std::process::id()));
    match open(config, clock, directory.clone()).await {
        Ok(app) => {
            for name in names {
                report(check_model(&app, name).await);
            }
            app.tasks.shutdown();
            app.store.close().await;
        }
        Err(error) => report(Finding::fail("Models", error, "Set TMPDIR to a writable directory.")),
    }
    let _ = std::fs::remove_dir_all(directory);
}

async fn open(config: &Config, clock: &Clock, directory: PathBuf) -> Result<Arc<App>, String> {
    let database = DatabaseConfig {
        url: DatabaseUrl::Sqlite(directory.join("doctor.db")),
        data_dir: directory,
        ..config.database.clone()
    };
    let config = Config { database, ..config.clone() };
    App::open(&config, clock.clone()).await.map(Arc::new).map_err(|error| error.to_string())
}

async fn check_model(app: &Arc<App>, name: &str) -> Finding {
    let target = match app.resolve(Some(name)).await {
        Ok(target) => target,
        Err(
            error @ (ResolveError::MissingModel
            | ResolveError::InvalidName(_)
            | ResolveError::UnknownModel(_)),
        ) => {
            return Finding::fail(name, error.to_string(), "GET /v1/models lists the known models.");
        }
    };
    let id = target.model_id.clone();
    match tokio::time::timeout(REQUEST_TIMEOUT, probe::ask(app, target)).await {
        Ok(Ok(Probed { route, milliseconds, tokens, cost })) => {
            let detail = format!("{id} by {route}, {milliseconds} ms, {tokens} tokens ({})", dollars(cost));
            Finding::ok(name, detail)
        }
        Ok(Err(error)) => Finding::from_code(name, format!("{id}: {}", error.said), error.code),
        Err(_) => Finding::from_code(
            name,
            format!("{id}: no response within {} s", REQUEST_TIMEOUT.as_secs()),
            Some("E15b"),
        ),
    }
}

/// Nano-dollars as dollars, never in scientific notation.
fn dollars(nano: i64) -> String {
    let micro = nano.saturating_add(500) / 1_000;
    format!("${}.{:06}", micro / 1_000_000, micro % 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_cost_is_printed_in_full() {
        assert_eq!(dollars(123_456), "$0.000123");
        assert_eq!(dollars(2_000_000_000), "$2.000000");
    }

    #[test]
    fn each_model_is_checked_once() {
        let set =
            [("AWS_BEDROCK_ANTHROPIC_DEFAULT_MODEL", "a"), ("AWS_BEDROCK_MODEL_MAPPINGS", "b=x.y,a=x.z")];
        let lookup = |name: &str| {
            set.iter().find(|(variable, _)| *variable == name).map(|(_, value)| (*value).to_owned())
        };
        let config = Config::load(lookup).unwrap();
        assert_eq!(configured(&config, &["c".to_owned(), "b".to_owned()]), ["a", "b", "c"]);
    }
}
