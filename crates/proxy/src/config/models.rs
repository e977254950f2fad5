//! A row of the table of models, as the built-in table and the operator's file write it.

use protocol::capabilities::Capabilities;
use serde::Deserialize;

use super::RoutePolicy;
use super::prices::Prices;

/// One model on Bedrock: a row of the table.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// The foundation-model id, without a profile prefix.
    pub id: String,
    /// What Anthropic's own API calls it.
    #[serde(default)]
    pub names: Vec<String>,
    /// The inference-profile prefixes it is offered with; none: the id is called as it is.
    #[serde(default)]
    pub prefixes: Vec<String>,
    /// The day after which AWS may stop serving it, `2027-01-08`.
    #[serde(default)]
    pub end_of_life: Option<String>,
    /// Which routes requests to it may take, when they are others than `AWS_BEDROCK_ROUTE` says.
    #[serde(default)]
    pub route: Option<RoutePolicy>,
    /// Whether it lives on the Mantle endpoint only, which has nothing but the Messages API.
    #[serde(default)]
    pub mantle: bool,
    /// What it can take.
    #[serde(default)]
    pub capabilities: Capabilities,
    /// What it costs; absent: not known.
    #[serde(default)]
    pub prices: Option<Prices>,
}

impl Model {
    /// Whether the row says nothing but what the model costs.
    #[must_use]
    pub fn is_only_prices(&self) -> bool {
        let nameless = self.names.is_empty() && self.prefixes.is_empty() && self.end_of_life.is_none();
        let silent = self.route.is_none() && !self.mantle && self.capabilities == Capabilities::default();
        self.prices.is_some() && nameless && silent
    }
}

/// Reads a file of rows.
///
/// # Errors
/// When it is not a JSON array of rows; the text says where.
pub fn parse_models(json: &str) -> Result<Vec<Model>, String> {
    serde_json::from_str(json).map_err(|error| error.to_string())
}
