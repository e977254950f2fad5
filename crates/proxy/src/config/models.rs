//! Model names, and rows of the model table as the built-in table and `AWS_BEDROCK_MODELS_FILE` contain them.

use protocol::capabilities::Capabilities;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::UpstreamPolicy;
use super::env::EnvReader;
use super::parse;
use super::prices::Prices;

/// Model names, and rows that override the built-in table.
#[derive(Clone, Debug)]
pub(crate) struct CatalogConfig {
    /// `AWS_BEDROCK_ANTHROPIC_DEFAULT_MODEL`: used when a request names no model.
    pub(crate) default_model: Option<String>,
    /// `AWS_BEDROCK_MODEL_MAPPINGS`: model name of the client → id or ARN for Bedrock.
    pub(crate) mappings: Vec<(String, String)>,
    /// `AWS_BEDROCK_REGION_PREFIX`, or the prefix of the region; `None` for ids without an inference profile.
    pub(crate) prefix: Option<&'static str>,
    /// The rows of `AWS_BEDROCK_MODELS_FILE`, which override the built-in ones.
    pub(crate) models: Vec<ModelConfig>,
}

/// One row of the model table.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ModelConfig {
    /// The id of the foundation model, without an inference-profile prefix.
    pub(crate) id: String,
    /// The model's names in Anthropic's API.
    #[serde(default)]
    pub(crate) names: Vec<String>,
    /// The prefixes of its inference profiles; empty: requests use the id itself.
    #[serde(default)]
    pub(crate) prefixes: Vec<String>,
    /// The day after which AWS may stop serving it, as `2027-01-08`.
    #[serde(default)]
    pub(crate) end_of_life: Option<String>,
    /// Overrides `AWS_BEDROCK_ROUTE` for this model.
    #[serde(default)]
    pub(crate) route: Option<UpstreamPolicy>,
    /// Whether only the Mantle endpoint serves it, with the Messages API.
    #[serde(default)]
    pub(crate) mantle: bool,
    /// Its capabilities.
    #[serde(default)]
    pub(crate) capabilities: Capabilities,
    /// Its prices; absent: unknown.
    #[serde(default)]
    pub(crate) prices: Option<Prices>,
}

impl ModelConfig {
    /// Whether the row contains nothing but an id and prices.
    #[must_use]
    pub(crate) fn is_only_prices(&self) -> bool {
        let no_names = self.names.is_empty() && self.prefixes.is_empty() && self.end_of_life.is_none();
        let no_options = self.route.is_none() && !self.mantle && self.capabilities == Capabilities::default();
        self.prices.is_some() && no_names && no_options
    }
}

/// Parses a file of rows.
///
/// # Errors
/// When it is not a JSON array of rows; the text names the row, or the line and column of invalid JSON.
pub(crate) fn parse_models(json: &str) -> Result<Vec<ModelConfig>, String> {
    let document: Value = serde_json::from_str(json).map_err(|error| format!("is not JSON: {error}"))?;
    if !document.is_array() {
        return Err("is not an array of rows".to_owned());
    }
    let rows: Vec<Box<RawValue>> = serde_json::from_str(json).map_err(|error| error.to_string())?;
    let parse = |(at, row): (usize, &RawValue)| {
        serde_json::from_str(row.get()).map_err(|error| format!("row {}: {}", at + 1, describe(&error)))
    };
    rows.iter().map(|row| &**row).enumerate().map(parse).collect()
}

/// The text of an error in a row, in JSON's words.
fn describe(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let text = text.split(" at line ").next().unwrap_or_default();
    let words = [
        ("type: map", "type: object"),
        ("type: sequence", "type: array"),
        ("expected a map", "expected an object"),
        ("expected a sequence", "expected an array"),
        ("expected struct ModelConfig", "expected an object"),
        ("expected u64", "expected a whole number"),
    ];
    words.iter().fold(text.to_owned(), |text, (rust, json)| text.replace(rust, json))
}

pub(super) fn catalog(env: &mut EnvReader<'_>, region: &str) -> CatalogConfig {
    CatalogConfig {
        default_model: Some(env.word("AWS_BEDROCK_ANTHROPIC_DEFAULT_MODEL"))
            .filter(|model| !model.is_empty()),
        mappings: mappings(env),
        prefix: prefix(env, region),
        models: env.parse("AWS_BEDROCK_MODELS_FILE", read_models).unwrap_or_default(),
    }
}

fn mappings(env: &mut EnvReader<'_>) -> Vec<(String, String)> {
    const NAME: &str = "AWS_BEDROCK_MODEL_MAPPINGS";
    let Some(text) = env.text(NAME) else { return Vec::new() };
    parse::mappings(&text).unwrap_or_else(|reasons| {
        for reason in reasons {
            env.error(NAME, None, reason);
        }
        Vec::new()
    })
}

fn prefix(env: &mut EnvReader<'_>, region: &str) -> Option<&'static str> {
    const NAME: &str = "AWS_BEDROCK_REGION_PREFIX";
    let default = parse::prefix_of_region(region);
    env.set_default(NAME, default);
    env.parse(NAME, parse::prefix).unwrap_or(Some(default))
}

fn read_models(path: &str) -> Result<Vec<ModelConfig>, String> {
    let json = std::fs::read_to_string(path)
        .map_err(|error| format!("cannot be read ({error}); name a JSON file of model rows"))?;
    parse_models(&json).map_err(|reason| format!("{reason}; .env.example has an example"))
}
