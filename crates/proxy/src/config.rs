//! The configuration: the only room that reads the environment. Everything is parsed before anything starts, and all
//! errors are reported together.
//!
//! `main` and `cli` load it and hand it out in parts; no other room looks up a variable by name.

mod auth;
mod bedrock;
mod browser;
mod database;
mod dotenv;
mod effective;
mod env;
mod inference;
mod load;
mod models;
mod operator;
mod parse;
mod prices;
mod quota;
mod server;
mod settings;
mod telemetry;
mod unknown_variables;
mod usage;
mod verbatim;

pub use auth::NewUserConfig;
pub(crate) use auth::{AuthConfig, AuthOnOutage, CallerConfig, SharedNewUsers, parse_limit};
pub(crate) use bedrock::{BedrockConfig, ControlPlaneConfig};
pub(crate) use browser::{BrowserConfig, CorsOrigins};
pub(crate) use database::PostgresParts;
pub use database::{DatabaseConfig, DatabaseUrl};
pub(crate) use effective::{Origin, Settings};
pub(crate) use env::ConfigError;
use env::EnvReader;
pub(crate) use inference::{InferenceConfig, UpstreamPolicy};
pub(crate) use load::{ChangedVariable, Loaded, Source, load_from_env, locale_language};
#[cfg(test)]
pub(crate) use models::parse_models;
pub(crate) use models::{CatalogConfig, ModelConfig};
pub(crate) use operator::operator_name;
pub(crate) use parse::{PREFIXES, is_region};
pub(crate) use prices::{Factor, IN_REGION, LongPrices, Price, Prices};
pub(crate) use quota::{FailMode, QuotaConfig, Schedule};
pub(crate) use server::{ServerConfig, TlsConfig};
pub(crate) use telemetry::{CollectorConfig, LogConfig, LogRetention, MetricsConfig, OtelConfig};
pub(crate) use usage::UsageConfig;

/// The whole configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The listener.
    pub server: ServerConfig,
    /// Authentication.
    pub(crate) auth: AuthConfig,
    /// Provisioning and limits of callers.
    pub(crate) callers: CallerConfig,
    /// Inference requests.
    pub inference: InferenceConfig,
    /// Model names.
    pub(crate) catalog: CatalogConfig,
    /// Region, credentials and endpoints of Bedrock.
    pub(crate) bedrock: BedrockConfig,
    /// The database of users, quotas, usage and events.
    pub database: DatabaseConfig,
    /// Limits.
    pub quota: QuotaConfig,
    /// Usage records.
    pub usage: UsageConfig,
    /// Prometheus metrics.
    pub(crate) metrics: MetricsConfig,
    /// OpenTelemetry.
    pub(crate) otel: OtelConfig,
    /// Logging.
    pub(crate) log: LogConfig,
    /// Variables that are set without effect or with a risk; logged once at start.
    pub(crate) warnings: Vec<String>,
}

impl Config {
    /// Loads the configuration through `lookup`, which returns the value of a variable.
    ///
    /// # Errors
    /// All errors at once.
    pub fn load(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, Vec<ConfigError>> {
        Self::read(&lookup, &|_| false).0
    }

    /// As [`Config::load`], with every variable that was looked up. `is_parsed` is true for the variables from `.env`.
    fn read(
        lookup: &dyn Fn(&str) -> Option<String>,
        is_parsed: &dyn Fn(&str) -> bool,
    ) -> (Result<Self, Vec<ConfigError>>, Settings) {
        let mut reader = EnvReader::new(lookup, is_parsed);
        let env = &mut reader;
        let bedrock = bedrock::bedrock(env);
        let auth = auth::auth(env);
        let quota = quota::quota(env);
        let callers = auth::callers(env);
        let mut config = Self {
            server: server::server(env, &auth),
            inference: inference::inference(env),
            catalog: models::catalog(env, &bedrock.region),
            database: database::database(env),
            quota,
            usage: usage::usage(env, callers.new_users.clone()),
            metrics: telemetry::metrics(env),
            otel: telemetry::otel(env),
            log: telemetry::log(env),
            warnings: warnings(env, &bedrock, &auth),
            auth,
            bedrock,
            callers,
        };
        config.log.secrets = env.take_secrets();
        if !env.stripped().is_empty() {
            let names: Vec<_> = env.stripped().iter().copied().collect();
            config.warnings.push(format!(
                "removed the comments or quotes around the values of {} in the environment; tools such as docker run --env-file \
                 do not remove them",
                names.join(", "),
            ));
        }
        let (errors, settings) = reader.finish();
        (if errors.is_empty() { Ok(config) } else { Err(errors) }, Settings(settings))
    }
}

/// Variables that are set without effect or with a risk, in one sentence each.
fn warnings(env: &mut EnvReader<'_>, bedrock: &BedrockConfig, auth: &AuthConfig) -> Vec<String> {
    let mut warnings = Vec::new();
    if env.text("LOG_FILE_PATH").is_some() && env.text("LOG_OUTPUT").as_deref() == Some("stdout") {
        warnings.push("LOG_FILE_PATH has no effect: LOG_OUTPUT=stdout".to_owned());
    }
    if auth.secret.is_some() && auth.allow_unauthenticated {
        warnings.push(
            "ALLOW_UNAUTHENTICATED has no effect: JWT_SECRET_KEY is set, so every request needs a token"
                .to_owned(),
        );
    }
    if bedrock.endpoints().any(parse::is_plain_and_remote) {
        warnings.push(
            "the custom endpoint is not https: prompts and bearer tokens are sent without encryption"
                .to_owned(),
        );
    }
    warnings
}

#[cfg(test)]
mod tests;
