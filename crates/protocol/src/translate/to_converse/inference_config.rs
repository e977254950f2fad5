//! `inferenceConfig`: `max_tokens`, sampling and stop sequences.

use super::ConverseRequestBuilder;
use crate::anthropic::{InvalidRequest, Request};
use crate::capabilities::{Sampling, TopK};
use crate::converse::request::{InferenceConfiguration, MoreInferenceConfig};
use crate::json::{JsonStr, List};
use crate::translate::diagnostics::JsonPath;

/// Maximum of `maxTokens` in Bedrock: its type is a 32-bit integer.
const MAX_TOKENS: u64 = i32::MAX as u64;

/// Notice for a sampling parameter of a model that takes its defaults.
const NO_OTHER_VALUE: &str = "left out: the model takes its default only";

impl ConverseRequestBuilder {
    pub(super) fn inference_config<'a>(
        &mut self,
        request: &mut Request<'a>,
    ) -> Result<InferenceConfiguration<'a>, InvalidRequest> {
        let max_tokens = self.max_tokens(request.max_tokens.take())?;
        let stop_sequences = self.stop_sequences(request.stop_sequences.take());
        let (temperature, top_p) = self.sampling(request)?;
        Ok(InferenceConfiguration { max_tokens: Some(max_tokens), temperature, top_p, stop_sequences })
    }

    /// Maximum of `maxTokens` for the model.
    pub(super) fn max_output_tokens(&self) -> u64 {
        self.capabilities.max_output_tokens.unwrap_or(MAX_TOKENS).min(MAX_TOKENS)
    }

    fn max_tokens(&mut self, given: Option<u64>) -> Result<u64, InvalidRequest> {
        let path = JsonPath::ROOT.key("max_tokens");
        let max = self.max_output_tokens();
        let min = self.capabilities.min_output_tokens.clamp(1, max);
        let Some(given) = given else {
            let default = self.options.default_max_tokens.clamp(min, max);
            self.diagnostics.adjusted(path, format!("not given; {default} was used"));
            return Ok(default);
        };
        if given == 0 {
            let what = format!("{min} was sent, as Converse does not accept 0, and the text is left out");
            self.diagnostics.adjusted(path, what);
            return Ok(min);
        }
        if given > MAX_TOKENS {
            return Err(InvalidRequest::new(
                path,
                format!("Input should be less than or equal to {MAX_TOKENS}"),
            ));
        }
        let sent = given.clamp(min, max);
        if sent < given {
            self.diagnostics.adjusted(path, format!("lowered to {sent}, the maximum of the model"));
        } else if sent > given {
            self.diagnostics.adjusted(path, format!("raised to {sent}, the minimum of the model"));
        }
        Ok(sent)
    }

    fn stop_sequences<'a>(&mut self, sequences: Option<List<JsonStr<'a>>>) -> Vec<std::borrow::Cow<'a, str>> {
        let sequences = sequences.unwrap_or_default().0;
        if !self.capabilities.stop_sequences && !sequences.is_empty() {
            self.diagnostics.unsupported(
                JsonPath::ROOT.key("stop_sequences"),
                "the model does not support stop sequences",
            );
            return Vec::new();
        }
        sequences.into_iter().map(|text| text.0).collect()
    }

    /// `temperature` and `top_p`, as far as the model takes them. Even values that change nothing are
    /// rejected by models that take none.
    fn sampling(&mut self, request: &mut Request<'_>) -> Result<(Option<f64>, Option<f64>), InvalidRequest> {
        let temperature = fraction(request.temperature.take(), "temperature")?;
        let top_p = fraction(request.top_p.take(), "top_p")?;
        match self.capabilities.sampling {
            Sampling::All => Ok((temperature, top_p)),
            Sampling::OneOf => Ok(self.one_of(temperature, top_p)),
            Sampling::Defaults => {
                let temperature = self.default_only("temperature", temperature);
                let top_p = self.default_only("top_p", top_p);
                Ok(self.one_of(temperature, top_p))
            }
            Sampling::None => {
                for (name, value) in [("temperature", temperature), ("top_p", top_p)] {
                    if value.is_some() {
                        self.takes_no_sampling(name);
                    }
                }
                Ok((None, None))
            }
        }
    }

    /// `temperature` or `top_p`, not both.
    fn one_of(&mut self, temperature: Option<f64>, top_p: Option<f64>) -> (Option<f64>, Option<f64>) {
        let both = temperature.is_some() && top_p.is_some();
        if both {
            self.diagnostics.dropped(
                JsonPath::ROOT.key("top_p"),
                "left out: the model takes temperature or top_p, not both",
            );
        }
        (temperature, top_p.filter(|_| !both))
    }

    /// The value, if it is the one that the model uses anyway.
    fn default_only(&mut self, name: &str, value: Option<f64>) -> Option<f64> {
        let kept = value.filter(|value| Sampling::is_default(name, *value));
        if kept.is_none() && value.is_some() {
            self.diagnostics.dropped(JsonPath::ROOT.key(name), NO_OTHER_VALUE);
        }
        kept
    }

    /// A Claude model's `top_k`, and that of Amazon's models.
    pub(super) fn top_k(&mut self, top_k: Option<u64>) -> (Option<u64>, Option<MoreInferenceConfig>) {
        let Some(value) = top_k else { return (None, None) };
        if self.capabilities.top_k == TopK::InferenceConfig {
            return (None, Some(MoreInferenceConfig { top_k: value }));
        }
        let top_k = self.claude_only(top_k, JsonPath::ROOT.key("top_k"));
        if top_k.is_some() && !self.capabilities.sampling.is_adjustable() {
            self.takes_no_sampling("top_k");
            return (None, None);
        }
        (top_k, None)
    }

    fn takes_no_sampling(&mut self, name: &str) {
        self.diagnostics
            .dropped(JsonPath::ROOT.key(name), "left out: the model does not support sampling parameters");
    }
}

fn fraction(value: Option<f64>, name: &str) -> Result<Option<f64>, InvalidRequest> {
    match value {
        Some(value) if !(0.0..=1.0).contains(&value) => {
            Err(InvalidRequest::new(name, "Input should be between 0 and 1"))
        }
        value => Ok(value),
    }
}
