//! Whether each model that the configuration names can be asked: only a call proves it. It goes the way that requests
//! go, in a server of its own that keeps its books in a folder that is thrown away.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::Check;
use crate::api::probe::{self, Probed};
use crate::app::App;
use crate::catalog::ResolveError;
use crate::clock::Clock;
use crate::config::{Config, Database, Place};

/// What a call may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Every model that the configuration names, and `more`; each once.
pub(super) fn named(config: &Config, more: &[String]) -> Vec<String> {
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

/// Asks each of them for one token.
pub(super) async fn ask(
    config: &Config,
    clock: &Clock,
    names: &[String],
    tell: &mut (dyn FnMut(Check) + Send),
) {
    if names.is_empty() {
        tell(Check::note("Models", "none is named; try one with --model claude-sonnet-4-5"));
        return;
    }
    let folder = std::env::temp_dir().join(format!("bedrock-proxy-doctor-{}", std::process::id()));
    match open(config, clock, folder.clone()).await {
        Ok(app) => {
            for name in names {
                tell(one(&app, name).await);
            }
            app.tasks.stop();
            app.store.close().await;
        }
        Err(error) => tell(Check::fail("Models", error, "Name a folder that can be written to with TMPDIR.")),
    }
    let _ = std::fs::remove_dir_all(folder);
}

async fn open(config: &Config, clock: &Clock, folder: PathBuf) -> Result<Arc<App>, String> {
    let database = Database {
        place: Place::File(folder.join("doctor.db")),
        data_dir: folder,
        ..config.database.clone()
    };
    let config = Config { database, ..config.clone() };
    App::open(&config, clock.clone()).await.map(Arc::new).map_err(|error| error.to_string())
}

async fn one(app: &Arc<App>, name: &str) -> Check {
    let target = match app.resolve(Some(name)).await {
        Ok(target) => target,
        Err(
            error @ (ResolveError::MissingModel
            | ResolveError::InvalidName(_)
            | ResolveError::UnknownModel(_)),
        ) => {
            return Check::fail(name, error.to_string(), "GET /v1/models lists what this proxy knows.");
        }
    };
    let id = target.model_id.clone();
    match tokio::time::timeout(PATIENCE, probe::ask(app, target)).await {
        Ok(Ok(Probed { route, milliseconds, tokens, cost })) => {
            let said = format!("{id} by {route}, {milliseconds} ms, {tokens} tokens ({})", dollars(cost));
            Check::ok(name, said)
        }
        Ok(Err(failure)) => Check::coded(name, format!("{id}: {}", failure.said), failure.code),
        Err(_) => {
            Check::coded(name, format!("{id}: no answer within {} s", PATIENCE.as_secs()), Some("E15b"))
        }
    }
}

/// Nano-dollars, never in scientific notation.
fn dollars(nano: i64) -> String {
    let micro = nano.saturating_add(500) / 1_000;
    format!("${}.{:06}", micro / 1_000_000, micro % 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_money_is_told_in_full() {
        assert_eq!(dollars(123_456), "$0.000123");
        assert_eq!(dollars(2_000_000_000), "$2.000000");
    }

    #[test]
    fn each_model_is_named_once() {
        let set =
            [("AWS_BEDROCK_ANTHROPIC_DEFAULT_MODEL", "a"), ("AWS_BEDROCK_MODEL_MAPPINGS", "b=x.y,a=x.z")];
        let lookup =
            |name: &str| set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        let config = Config::load(lookup).unwrap();
        assert_eq!(named(&config, &["c".to_owned(), "b".to_owned()]), ["a", "b", "c"]);
    }
}
