//! Capabilities of a model: plain data, filled from the table of models.
//!
//! Each member is read by a translation. A row of the table that does not mention one gets the
//! cautious default, except that Claude models newer than the table get [`Capabilities::NEWEST_CLAUDE`].

use serde::Deserialize;

/// Capabilities of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Capabilities {
    /// Whether it is a Claude model, which takes Anthropic's members.
    pub claude: bool,
    /// Context window in tokens, input and output together.
    pub context_tokens: Option<u64>,
    /// Maximum of output tokens; `max_tokens` above it is lowered.
    pub max_output_tokens: Option<u64>,
    /// Minimum of `max_tokens`; a lower value is raised.
    pub min_output_tokens: u64,
    /// Prompt caching on request.
    pub prompt_cache: PromptCache,
    /// Whether tools, and messages with tool content, may end a cached prefix.
    pub cache_with_tools: bool,
    /// Minimum length of a cached prefix, in tokens.
    pub min_cache_tokens: Option<u64>,
    /// Whether it can call tools.
    pub tools: bool,
    /// Whether it can call tools while streaming.
    pub streaming_tools: bool,
    /// Tool choices it takes.
    pub tool_choice: ToolChoices,
    /// Whether arguments can be forced to match the schema (`strict`).
    pub strict_tools: bool,
    /// Whether it has tool search (`defer_loading`); not by Converse.
    pub tool_search: bool,
    /// Whether it takes images.
    pub images: bool,
    /// Whether tool results may contain images.
    pub images_in_results: bool,
    /// Whether it takes documents.
    pub documents: bool,
    /// Whether it takes stop sequences.
    pub stop_sequences: bool,
    /// Sampling parameters it takes.
    pub sampling: Sampling,
    /// Field for `top_k` of a model that is not a Claude model.
    pub top_k: TopK,
    /// Whether the conversation may end with an assistant message (prefill).
    pub prefill: bool,
    /// Whether it has structured output (`output_config.format`).
    pub structured_output: bool,
    /// Whether system messages are allowed inside a conversation.
    pub mid_conversation_system: bool,
    /// Types of `thinking` it takes.
    pub thinking: Thinking,
    /// Field for the reasoning effort of a model that is not a Claude model.
    pub reasoning: Reasoning,
    /// Levels of `output_config.effort` it takes.
    pub effort: Efforts,
    /// Whether Bedrock's CountTokens knows it.
    pub counts_tokens: bool,
}

impl Capabilities {
    /// Defaults for an unknown model.
    pub const UNKNOWN: Self = Self {
        claude: false,
        context_tokens: None,
        max_output_tokens: None,
        min_output_tokens: 1,
        prompt_cache: PromptCache::None,
        cache_with_tools: false,
        min_cache_tokens: None,
        tools: true,
        streaming_tools: true,
        tool_choice: ToolChoices::Any,
        strict_tools: false,
        tool_search: false,
        images: true,
        images_in_results: false,
        documents: false,
        stop_sequences: true,
        sampling: Sampling::All,
        top_k: TopK::Nowhere,
        prefill: false,
        structured_output: false,
        mid_conversation_system: false,
        thinking: Thinking { enabled: false, adaptive: false, disabled: false, between_tools: false },
        reasoning: Reasoning::None,
        effort: Efforts { low: false, medium: false, high: false, xhigh: false, max: false },
        counts_tokens: false,
    };

    /// Claude model of the newest generation; the default for Claude models that are not in the table. Where sources
    /// disagree (structured output, strict tools), it is sent, and a 400 shows that it is not supported.
    pub const NEWEST_CLAUDE: Self = Self {
        claude: true,
        context_tokens: Some(1_000_000),
        max_output_tokens: Some(128_000),
        prompt_cache: PromptCache::OneHour,
        cache_with_tools: true,
        min_cache_tokens: Some(512),
        tool_choice: ToolChoices::Auto,
        strict_tools: true,
        structured_output: true,
        tool_search: true,
        images_in_results: true,
        documents: true,
        sampling: Sampling::None,
        mid_conversation_system: true,
        thinking: Thinking { enabled: false, adaptive: true, disabled: false, between_tools: false },
        effort: Efforts { low: true, medium: true, high: true, xhigh: true, max: true },
        ..Self::UNKNOWN
    };

    /// Claude model before the restrictions of later generations.
    pub const CLASSIC_CLAUDE: Self = Self {
        claude: true,
        context_tokens: Some(200_000),
        max_output_tokens: Some(64_000),
        prompt_cache: PromptCache::OneHour,
        cache_with_tools: true,
        tool_choice: ToolChoices::Named,
        strict_tools: true,
        tool_search: true,
        images_in_results: true,
        documents: true,
        prefill: true,
        structured_output: true,
        thinking: Thinking { enabled: true, adaptive: true, disabled: true, between_tools: false },
        effort: Efforts { low: true, medium: true, high: true, xhigh: true, max: true },
        counts_tokens: true,
        ..Self::UNKNOWN
    };
}

impl Default for Capabilities {
    fn default() -> Self {
        Self::UNKNOWN
    }
}

/// Prompt caching of a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum PromptCache {
    /// Not on request: a cache point is rejected.
    #[default]
    #[serde(rename = "none")]
    None,
    /// For five minutes.
    #[serde(rename = "5m")]
    FiveMinutes,
    /// For five minutes or an hour.
    #[serde(rename = "1h")]
    OneHour,
}

/// Tool choices that a model takes. Each includes the ones before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolChoices {
    /// No tool choice.
    None,
    /// `auto`.
    #[default]
    Auto,
    /// `any`.
    Any,
    /// A named tool.
    Named,
}

/// Sampling parameters that a model takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sampling {
    /// All of them.
    #[default]
    All,
    /// `temperature` or `top_p`, not both.
    OneOf,
    /// The values that it uses anyway: [`Sampling::DEFAULT_TEMPERATURE`] or [`Sampling::DEFAULT_TOP_P`], not both.
    Defaults,
    /// None of them.
    None,
}

impl Sampling {
    /// The only `temperature` of a model that takes its defaults.
    pub const DEFAULT_TEMPERATURE: f64 = 1.0;
    /// The only `top_p` of a model that takes its defaults.
    pub const DEFAULT_TOP_P: f64 = 0.99;

    /// Whether a model that takes its defaults takes this value of `temperature` or `top_p`.
    pub(crate) fn is_default(name: &str, value: f64) -> bool {
        let default = match name {
            "temperature" => Self::DEFAULT_TEMPERATURE,
            "top_p" => Self::DEFAULT_TOP_P,
            _ => return false,
        };
        (value - default).abs() < f64::EPSILON
    }

    /// Whether the model takes any value of a client's own.
    pub(crate) fn is_adjustable(self) -> bool {
        matches!(self, Self::All | Self::OneOf)
    }
}

/// Field for `top_k` of a model that is not a Claude model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TopK {
    /// Not supported.
    #[default]
    Nowhere,
    /// `inferenceConfig: {topK}` in `additionalModelRequestFields`.
    InferenceConfig,
}

/// Types of `thinking` that a model takes. Of a model that is not a Claude model only `disabled` is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "Vec<ThinkingKind>")]
pub struct Thinking {
    /// `enabled`, with a budget.
    pub enabled: bool,
    /// `adaptive`.
    pub adaptive: bool,
    /// `disabled`.
    pub disabled: bool,
    /// `between_tools`.
    pub between_tools: bool,
}

#[derive(Clone, Copy, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum ThinkingKind {
    Enabled,
    Adaptive,
    Disabled,
    BetweenTools,
}

impl From<Vec<ThinkingKind>> for Thinking {
    fn from(kinds: Vec<ThinkingKind>) -> Self {
        Self {
            enabled: kinds.contains(&ThinkingKind::Enabled),
            adaptive: kinds.contains(&ThinkingKind::Adaptive),
            disabled: kinds.contains(&ThinkingKind::Disabled),
            between_tools: kinds.contains(&ThinkingKind::BetweenTools),
        }
    }
}

/// Field for the reasoning effort of a model that is not a Claude model: the member of
/// `additionalModelRequestFields`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reasoning {
    /// None.
    #[default]
    None,
    /// `reasoningConfig: {type: enabled, maxReasoningEffort}`.
    ReasoningConfig,
    /// `reasoning_config: "low"`.
    ReasoningConfigText,
    /// `reasoning_effort: "low"`.
    ReasoningEffort,
    /// `reasoning: {effort}`.
    ReasoningObject,
}

/// Levels of effort.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "Vec<EffortLevel>")]
pub struct Efforts {
    /// `low`.
    pub low: bool,
    /// `medium`.
    pub medium: bool,
    /// `high`.
    pub high: bool,
    /// `xhigh`.
    pub xhigh: bool,
    /// `max`.
    pub max: bool,
}

impl Efforts {
    /// The level, or the highest below it that the model takes; `None` when it supports no effort or
    /// the level is unknown.
    #[must_use]
    pub fn at_most(self, level: &str) -> Option<&'static str> {
        let levels = [
            ("low", self.low),
            ("medium", self.medium),
            ("high", self.high),
            ("xhigh", self.xhigh),
            ("max", self.max),
        ];
        let wanted = levels.iter().position(|(name, _)| *name == level)?;
        levels[..=wanted].iter().rev().find(|(_, taken)| *taken).map(|(name, _)| *name)
    }
}

#[derive(Clone, Copy, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum EffortLevel {
    Low,
    Medium,
    High,
    Xhigh,
    Max,
}

impl From<Vec<EffortLevel>> for Efforts {
    fn from(levels: Vec<EffortLevel>) -> Self {
        Self {
            low: levels.contains(&EffortLevel::Low),
            medium: levels.contains(&EffortLevel::Medium),
            high: levels.contains(&EffortLevel::High),
            xhigh: levels.contains(&EffortLevel::Xhigh),
            max: levels.contains(&EffortLevel::Max),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_overrides_the_default_capabilities() {
        let row = r#"{"claude":true,"thinking":["adaptive"],"effort":["low","high"],"prompt_cache":"1h","sampling":"one_of"}"#;
        let row: Capabilities = serde_json::from_str(row).unwrap();
        let thinking = Thinking { adaptive: true, ..Thinking::default() };
        assert_eq!(
            (row.thinking, row.prompt_cache, row.sampling),
            (thinking, PromptCache::OneHour, Sampling::OneOf)
        );
        assert_eq!(row.min_output_tokens, 1);
        assert!(serde_json::from_str::<Capabilities>(r#"{"novel":1}"#).is_err());
    }

    #[test]
    fn effort_is_lowered_to_what_the_model_takes() {
        let efforts = Efforts { low: true, high: true, ..Efforts::default() };
        assert_eq!(efforts.at_most("max"), Some("high"));
        assert_eq!(efforts.at_most("medium"), Some("low"));
        assert_eq!(efforts.at_most("extreme"), None);
        assert_eq!(Efforts::default().at_most("high"), None);
    }
}
