//! Reload of the configuration while requests are served: all or nothing.
//!
//! Requests in flight keep their model and its price.

use serde_json::json;

use super::App;
use crate::catalog::default_model_error;
use crate::config::{ChangedVariable, Config, ConfigError, Loaded, Source};
use crate::store::AuditEvent;
use crate::{ids, telemetry};

/// What a reload has changed.
#[derive(Debug)]
pub(crate) struct Reloaded {
    /// Variables with new values, which are used from now on.
    pub(crate) changed: Vec<ChangedVariable>,
    /// Variables with new values, which are used after a restart.
    pub(crate) needs_restart: Vec<&'static str>,
}

/// Why nothing was reloaded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReloadError {
    /// The configuration of the demo and of tests is not from the environment.
    #[error("the configuration was not read from the environment; there is nothing to reload")]
    NothingToReload,
    /// The new configuration is invalid.
    #[error("configuration not reloaded; {} to fix: {}", .0.len(), join(.0))]
    Invalid(Vec<ConfigError>),
    /// The log does not accept its filter.
    #[error("configuration not reloaded; the log filter cannot be replaced: {0}")]
    Filter(String),
}

fn join(errors: &[ConfigError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl App {
    /// Reads `.env`, the environment and their files again and uses the models, prices, mappings, log level, defaults of
    /// new users and certificate from now on. `actor` is in the log and in the audit event. One reload runs at a time.
    ///
    /// # Errors
    /// When the configuration is invalid; then nothing has changed.
    pub(crate) async fn reload(&self, actor: &str) -> Result<Reloaded, ReloadError> {
        let mut running = self.source.lock().await;
        let result = match running.as_mut() {
            Some(running) => self.reload_from(running).await,
            None => Err(ReloadError::NothingToReload),
        };
        match &result {
            Ok(reloaded) => self.report(reloaded, actor),
            Err(error @ ReloadError::NothingToReload) => {
                tracing::info!(actor, %error, "configuration not reloaded");
            }
            Err(error) => {
                tracing::error!(event = "configuration_refused", actor, %error, "configuration not reloaded; nothing has changed");
            }
        }
        result
    }

    async fn reload_from(&self, running: &mut Source) -> Result<Reloaded, ReloadError> {
        let (config, source) = load_again(running.clone()).await.map_err(ReloadError::Invalid)?;
        // The only step that can fail comes first.
        telemetry::set_filter(&config.log.filter).map_err(ReloadError::Filter)?;
        let has_new_rows = self.catalog.reload(&config.catalog);
        self.metrics().set_price_versions(&self.catalog.price_versions());
        self.new_users.set(config.callers.new_users.get());
        self.certificate_reload.notify_one();
        for warning in &config.warnings {
            tracing::warn!("{warning}");
        }
        let (mut changed, needs_restart) = running.changes(&source);
        const MODELS: &str = "AWS_BEDROCK_MODELS_FILE";
        if has_new_rows && changed.iter().all(|changed| changed.name != MODELS) {
            let file = source.value(MODELS);
            changed.push(ChangedVariable { name: MODELS, from: file.clone(), to: file });
        }
        running.take_reloaded(&source);
        Ok(Reloaded { changed, needs_restart: needs_restart.iter().map(|changed| changed.name).collect() })
    }

    /// Writes the log line and the audit event.
    fn report(&self, reloaded: &Reloaded, actor: &str) {
        let Reloaded { changed, needs_restart } = reloaded;
        let value = |value: &Option<String>| value.clone().unwrap_or_default();
        let texts: Vec<_> = changed
            .iter()
            .map(|changed| format!("{}: {} -> {}", changed.name, value(&changed.from), value(&changed.to)))
            .collect();
        tracing::info!(
            event = "configuration_reloaded",
            actor,
            changed = texts.join("; "),
            needs_restart = needs_restart.join(", "),
            "configuration reloaded"
        );
        self.recorder.record_event(AuditEvent {
            id: ids::event_id(),
            kind: "configuration_reloaded".to_owned(),
            user_id: None,
            team: None,
            actor: Some(actor.to_owned()),
            details: json!({"changed": changed, "needs_restart": needs_restart}),
            at: self.clock.milliseconds(),
        });
    }
}

/// Files may be on a network file system, which may block.
async fn load_again(running: Source) -> Result<(Config, Source), Vec<ConfigError>> {
    let load = move || {
        let Loaded { config, source } = running.load_again();
        let config = config?;
        match default_model_error(&config.catalog) {
            Some(error) => Err(vec![error]),
            None => Ok((config, source)),
        }
    };
    let loaded = tokio::task::spawn_blocking(load).await;
    loaded.unwrap_or_else(|error| Err(vec![ConfigError::of_file(".env", format!("cannot be read: {error}"))]))
}
