//! Table of models and lookup by model id.
//!
//! The table is not shared with any program under test: a wrong entry there would go unnoticed if it were.

use std::collections::BTreeMap;

use crate::error::AwsError;

/// Properties of one model.
#[derive(Debug)]
pub(crate) struct Model {
    /// Id of the foundation model.
    pub(crate) id: &'static str,
    /// Version of Claude times ten (4.5 is 45); 0 for other models.
    pub(crate) generation: u16,
    /// Prefixes of the model's inference profiles, separated by spaces.
    pub(crate) prefixes: &'static str,
    /// Context window in tokens.
    pub(crate) context_window: u64,
    /// Maximum number of output tokens.
    pub(crate) max_output_tokens: u64,
    /// Minimum length of a cached prefix, in tokens.
    pub(crate) min_cache_tokens: u64,
    features: &'static str,
    /// Valid values of `thinking.type`, separated by spaces.
    thinking: &'static str,
    /// Valid values of `output_config.effort`, separated by spaces.
    efforts: &'static str,
}

impl Model {
    /// Whether the table lists the feature for the model.
    pub(crate) fn has(&self, feature: &str) -> bool {
        contains_word(self.features, feature)
    }

    /// Whether the model accepts this value of `thinking.type`.
    pub(crate) fn accepts_thinking(&self, kind: &str) -> bool {
        contains_word(self.thinking, kind)
    }

    /// Whether the model accepts this value of `output_config.effort`; `None` when it has no effort.
    pub(crate) fn accepts_effort(&self, level: &str) -> Option<bool> {
        (!self.efforts.is_empty()).then(|| contains_word(self.efforts, level))
    }

    /// Whether the model supports deferred tools and tool search: Claude 4.5 and later.
    pub(crate) fn supports_tool_search(&self) -> bool {
        self.generation >= 45
    }

    /// Whether thinking has no text unless the request enables a summary: Claude 4.7 and later.
    pub(crate) fn omits_thinking_by_default(&self) -> bool {
        self.generation >= 47
    }

    /// Name of the models that can read this model's thinking; `None` for models whose thinking is not bound to its
    /// conversation.
    pub(crate) fn thinking_reader(&self) -> Option<&'static str> {
        match self.has("binding") {
            true if self.generation == 52 => Some("claude-5-2"),
            true => Some(self.id),
            false => None,
        }
    }

    /// Whether the model supports any `toolChoice`; Llama supports none.
    pub(crate) fn supports_tool_choice(&self) -> bool {
        self.is_claude() || self.has("forced_tool") || self.has("any_tool")
    }

    /// Id without vendor and version suffix.
    pub(crate) fn model_name(&self) -> &'static str {
        let name = self.id.split_once('.').map_or(self.id, |(_, name)| name);
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let without_revision = match name.rsplit_once(':') {
            Some((rest, number)) if is_number(number) => rest,
            _ => name,
        };
        match without_revision.rsplit_once("-v") {
            Some((rest, version)) if is_number(version) => rest,
            _ => without_revision,
        }
    }

    /// Model name without its release date, as used by the Mantle endpoint.
    pub(crate) fn alias(&self) -> &'static str {
        let name = self.model_name();
        match name.rsplit_once('-') {
            Some((rest, date)) if date.len() == 8 && date.bytes().all(|b| b.is_ascii_digit()) => rest,
            _ => name,
        }
    }

    pub(crate) fn is_claude(&self) -> bool {
        self.generation > 0
    }

    /// Name of the wording that the model's family has for a prompt that is too long.
    pub(crate) fn too_long_wording(&self) -> &'static str {
        match () {
            () if self.is_claude() => "prompt",
            () if self.is_nova() => "nova",
            () => "context-length",
        }
    }

    pub(crate) fn is_nova(&self) -> bool {
        self.id.starts_with("amazon.nova")
    }

    /// Whether CountTokens supports the model: Claude before 4.7.
    pub(crate) fn supports_count_tokens(&self) -> bool {
        self.is_claude() && self.generation < 47
    }
}

fn contains_word(words: &str, word: &str) -> bool {
    words.split(' ').any(|w| w == word)
}

#[allow(clippy::too_many_arguments, reason = "one line of a table")]
const fn row(
    id: &'static str,
    generation: u16,
    prefixes: &'static str,
    context_window: u64,
    max_output_tokens: u64,
    min_cache_tokens: u64,
    features: &'static str,
    thinking: &'static str,
    efforts: &'static str,
) -> Model {
    Model {
        id,
        generation,
        prefixes,
        context_window,
        max_output_tokens,
        min_cache_tokens,
        features,
        thinking,
        efforts,
    }
}

/// Id, Claude version, profile prefixes, context window, maximum output tokens, minimum cache tokens, features,
/// thinking types, effort levels.
#[rustfmt::skip]
static MODELS: &[Model] = &[
    row("anthropic.claude-fable-5", 50, "global us eu apac au", 1_000_000, 128_000, 512, "tools streaming_tools images documents cache cache_1h forced_tool system_turns", "adaptive", "low medium high xhigh max"),
    row("anthropic.claude-fable-5-1", 51, "global us eu us-gov", 1_000_000, 128_000, 512, "tools streaming_tools images documents cache cache_1h system_turns binding", "adaptive", "low medium high xhigh max"),
    row("anthropic.claude-fable-5-2", 52, "us global", 1_000_000, 128_000, 512, "tools streaming_tools images documents cache cache_1h sampling_default system_turns binding binding_error", "adaptive", "low medium high xhigh max"),
    row("anthropic.claude-mythos-5", 50, "us", 1_000_000, 128_000, 512, "tools streaming_tools images documents cache cache_1h forced_tool system_turns", "adaptive", "low medium high xhigh max"),
    row("anthropic.claude-mythos-5-1", 51, "global us", 1_000_000, 128_000, 512, "tools streaming_tools images documents cache cache_1h system_turns binding", "adaptive", "low medium high xhigh max"),
    row("anthropic.claude-mythos-5-2", 52, "us", 1_000_000, 128_000, 512, "tools streaming_tools images documents cache cache_1h sampling_default system_turns binding binding_error", "adaptive", "low medium high xhigh max"),
    row("anthropic.claude-mythos-preview", 50, "us apac au", 1_000_000, 128_000, 1024, "tools streaming_tools images documents cache cache_1h prefill", "adaptive", ""),
    row("anthropic.claude-opus-5-5", 55, "global us eu apac au jp us-gov", 1_000_000, 128_000, 512, "tools streaming_tools images documents cache cache_1h system_turns binding", "adaptive", "low medium high xhigh max"),
    row("anthropic.claude-opus-5", 50, "global us eu apac au jp us-gov", 1_000_000, 128_000, 512, "tools streaming_tools images documents cache cache_1h forced_tool system_turns", "adaptive disabled", "low medium high xhigh max"),
    row("anthropic.claude-opus-4-8", 48, "global us eu apac au jp us-gov", 1_000_000, 128_000, 1024, "tools streaming_tools images documents cache cache_1h forced_tool system_turns", "adaptive disabled", "low medium high xhigh max"),
    row("anthropic.claude-opus-4-7", 47, "global us eu apac au jp", 1_000_000, 128_000, 2048, "tools streaming_tools images documents cache cache_1h forced_tool", "adaptive disabled", "low medium high xhigh max"),
    row("anthropic.claude-opus-4-6-v1", 46, "global us eu au", 1_000_000, 128_000, 4096, "tools streaming_tools images documents cache cache_1h sampling format forced_tool", "adaptive enabled disabled", "low medium high max"),
    row("anthropic.claude-opus-4-5-20251101-v1:0", 45, "global us eu", 200_000, 64_000, 4096, "tools streaming_tools images documents cache cache_1h sampling prefill format forced_tool", "enabled disabled", "low medium high"),
    row("anthropic.claude-opus-4-1-20250805-v1:0", 41, "us eu", 200_000, 32_000, 1024, "tools streaming_tools images documents cache sampling prefill forced_tool", "enabled disabled", ""),
    row("anthropic.claude-opus-4-20250514-v1:0", 40, "us eu", 200_000, 32_000, 1024, "tools streaming_tools images documents cache sampling prefill forced_tool", "enabled disabled", ""),
    row("anthropic.claude-sonnet-5-5", 55, "global us eu apac au jp us-gov", 1_000_000, 128_000, 512, "tools streaming_tools images documents cache cache_1h system_turns binding", "adaptive between_tools", "low medium high xhigh max"),
    row("anthropic.claude-sonnet-5", 50, "global us eu apac au jp us-gov", 1_000_000, 128_000, 1024, "tools streaming_tools images documents cache cache_1h forced_tool system_turns", "adaptive disabled", "low medium high xhigh max"),
    row("anthropic.claude-sonnet-4-6", 46, "global us eu apac au jp", 1_000_000, 64_000, 1024, "tools streaming_tools images documents cache cache_1h sampling format forced_tool", "adaptive enabled disabled", "low medium high max"),
    row("anthropic.claude-sonnet-4-5-20250929-v1:0", 45, "global us eu au jp us-gov", 200_000, 64_000, 1024, "tools streaming_tools images documents cache cache_1h sampling prefill format forced_tool", "enabled disabled", ""),
    row("anthropic.claude-sonnet-4-20250514-v1:0", 40, "global us eu apac", 200_000, 64_000, 1024, "tools streaming_tools images documents cache sampling prefill forced_tool", "enabled disabled", ""),
    row("anthropic.claude-haiku-5-5", 55, "global us eu apac au jp us-gov", 1_000_000, 128_000, 512, "tools streaming_tools images documents cache cache_1h forced_tool system_turns binding", "adaptive disabled", "low medium high xhigh max"),
    row("anthropic.claude-haiku-4-5-20251001-v1:0", 45, "global us eu apac au jp", 200_000, 64_000, 4096, "tools streaming_tools images documents cache cache_1h sampling prefill format forced_tool", "enabled disabled", ""),
    row("anthropic.claude-3-7-sonnet-20250219-v1:0", 37, "us eu", 200_000, 8_192, 1024, "tools streaming_tools images documents cache sampling prefill forced_tool on_demand", "enabled disabled", ""),
    row("anthropic.claude-3-5-sonnet-20241022-v2:0", 35, "us eu", 200_000, 8_192, 1024, "tools streaming_tools images documents cache sampling prefill forced_tool on_demand", "", ""),
    row("anthropic.claude-3-5-sonnet-20240620-v1:0", 35, "us eu", 200_000, 4_096, 1024, "tools streaming_tools images documents sampling prefill forced_tool on_demand", "", ""),
    row("anthropic.claude-3-5-haiku-20241022-v1:0", 35, "us eu", 200_000, 8_192, 2048, "tools streaming_tools documents cache sampling prefill forced_tool on_demand", "", ""),
    row("anthropic.claude-3-opus-20240229-v1:0", 30, "us eu", 200_000, 4_096, 1024, "tools streaming_tools images documents cache sampling prefill forced_tool on_demand", "", ""),
    row("anthropic.claude-3-sonnet-20240229-v1:0", 30, "us eu apac", 200_000, 4_096, 1024, "tools streaming_tools images documents sampling prefill forced_tool on_demand", "", ""),
    row("anthropic.claude-3-haiku-20240307-v1:0", 30, "us eu apac", 200_000, 4_096, 1024, "tools streaming_tools images documents sampling prefill forced_tool on_demand", "", ""),
    row("amazon.nova-2-lite-v1:0", 0, "global us eu apac jp", 1_000_000, 64_000, 1024, "tools streaming_tools images documents cache sampling prefill format forced_tool on_demand", "", "low medium high"),
    row("amazon.nova-2-pro-preview-20251202-v1:0", 0, "us eu apac", 1_000_000, 64_000, 1024, "tools streaming_tools images documents cache sampling prefill format forced_tool on_demand", "", "low medium high"),
    row("amazon.nova-premier-v1:0", 0, "", 1_000_000, 10_000, 1024, "tools streaming_tools images documents cache sampling prefill format forced_tool on_demand", "", ""),
    row("amazon.nova-pro-v1:0", 0, "us eu apac", 300_000, 10_000, 1024, "tools streaming_tools images documents cache sampling prefill format forced_tool on_demand", "", ""),
    row("amazon.nova-lite-v1:0", 0, "us eu apac", 300_000, 10_000, 1536, "tools streaming_tools images documents cache sampling prefill format forced_tool on_demand", "", ""),
    row("amazon.nova-micro-v1:0", 0, "us eu apac", 128_000, 10_000, 1536, "tools streaming_tools cache sampling prefill format forced_tool on_demand", "", ""),
    row("meta.llama4-maverick-17b-instruct-v1:0", 0, "us", 1_000_000, 8_192, 1024, "tools images sampling prefill format on_demand", "", ""),
    row("meta.llama4-scout-17b-instruct-v1:0", 0, "us", 10_000_000, 8_192, 1024, "tools images sampling prefill format on_demand", "", ""),
    row("meta.llama3-3-70b-instruct-v1:0", 0, "us", 128_000, 4_096, 1024, "tools images sampling prefill format on_demand", "", ""),
    row("meta.llama3-1-70b-instruct-v1:0", 0, "us", 128_000, 4_096, 1024, "tools images sampling prefill format on_demand", "", ""),
    row("meta.llama3-1-8b-instruct-v1:0", 0, "us", 128_000, 4_096, 1024, "tools images sampling prefill format on_demand", "", ""),
    row("deepseek.r1-v1:0", 0, "us", 128_000, 8_192, 1024, "documents sampling prefill format on_demand", "", ""),
    row("deepseek.v3-v1:0", 0, "", 128_000, 8_000, 1024, "tools streaming_tools documents sampling prefill format any_tool on_demand", "", "low medium high"),
    row("deepseek.v3.2", 0, "us eu", 164_000, 8_000, 1024, "tools streaming_tools documents sampling prefill format any_tool on_demand", "", ""),
    row("mistral.mistral-large-3-675b-instruct", 0, "", 256_000, 32_000, 1024, "tools streaming_tools images documents sampling prefill format any_tool on_demand", "", ""),
    row("mistral.devstral-2-123b", 0, "", 256_000, 32_000, 1024, "tools streaming_tools documents sampling prefill format any_tool on_demand", "", ""),
    row("mistral.magistral-small-2509", 0, "", 128_000, 40_000, 1024, "tools streaming_tools images documents sampling prefill format any_tool on_demand", "", ""),
    row("mistral.ministral-3-14b-instruct", 0, "", 128_000, 8_000, 1024, "tools streaming_tools images documents sampling prefill format any_tool on_demand", "", ""),
    row("mistral.pixtral-large-2502-v1:0", 0, "us eu", 128_000, 16_384, 1024, "tools images documents sampling prefill format any_tool on_demand", "", ""),
    row("mistral.mistral-large-2407-v1:0", 0, "", 128_000, 8_191, 1024, "tools documents sampling prefill format any_tool on_demand", "", ""),
    row("qwen.qwen3-coder-480b-a35b-v1:0", 0, "", 262_144, 16_384, 1024, "tools streaming_tools documents sampling prefill format any_tool on_demand", "", ""),
    row("qwen.qwen3-coder-30b-a3b-v1:0", 0, "", 262_144, 16_384, 1024, "tools streaming_tools documents sampling prefill format any_tool on_demand", "", ""),
    row("qwen.qwen3-235b-a22b-2507-v1:0", 0, "", 262_144, 8_192, 1024, "tools streaming_tools documents sampling prefill format any_tool on_demand", "", ""),
    row("qwen.qwen3-32b-v1:0", 0, "", 32_768, 8_192, 1024, "tools streaming_tools documents sampling prefill format any_tool on_demand", "", ""),
    row("qwen.qwen3-coder-next", 0, "", 256_000, 16_000, 1024, "tools streaming_tools documents sampling prefill format any_tool on_demand", "", ""),
    row("qwen.qwen3-next-80b-a3b", 0, "", 256_000, 8_000, 1024, "tools streaming_tools documents sampling prefill format any_tool on_demand", "", ""),
    row("qwen.qwen3-vl-235b-a22b", 0, "", 256_000, 8_000, 1024, "tools streaming_tools images documents sampling prefill format any_tool on_demand", "", ""),
    row("openai.gpt-oss-120b-1:0", 0, "us-gov", 128_000, 16_384, 1024, "tools streaming_tools documents sampling prefill format any_tool on_demand", "", "low medium high"),
    row("openai.gpt-oss-20b-1:0", 0, "us-gov", 128_000, 16_384, 1024, "tools streaming_tools documents sampling prefill format any_tool on_demand", "", "low medium high"),
    row("openai.gpt-5.4", 0, "global us", 922_000, 128_000, 1024, "tools streaming_tools images documents prefill format any_tool on_demand", "", "low medium high xhigh"),
    row("openai.gpt-5.5", 0, "global us", 922_000, 128_000, 1024, "tools streaming_tools images documents prefill format any_tool on_demand", "", "low medium high xhigh"),
    row("openai.gpt-5.6-sol", 0, "global us", 922_000, 128_000, 1024, "tools streaming_tools images documents prefill format any_tool no_stop_sequences on_demand", "", "low medium high xhigh max"),
    row("openai.gpt-5.6-terra", 0, "global us", 922_000, 128_000, 1024, "tools streaming_tools images documents prefill format any_tool no_stop_sequences on_demand", "", "low medium high xhigh max"),
    row("openai.gpt-5.6-luna", 0, "global us", 922_000, 128_000, 1024, "tools streaming_tools images documents prefill format any_tool no_stop_sequences on_demand", "", "low medium high xhigh max"),
    row("openai.gpt-6-astra", 0, "global us", 922_000, 128_000, 1024, "tools streaming_tools images documents prefill format any_tool no_stop_sequences on_demand", "", "low medium high xhigh max"),
    row("openai.gpt-6-sol", 0, "global us", 922_000, 128_000, 1024, "tools streaming_tools images documents prefill format any_tool no_stop_sequences on_demand", "", "low medium high xhigh max"),
    row("openai.gpt-6-luna", 0, "global us", 922_000, 128_000, 1024, "tools streaming_tools images documents prefill format any_tool no_stop_sequences on_demand", "", "low medium high xhigh max"),
    row("openai.gpt-6.1-sol", 0, "global us", 1_000_000, 131_072, 1024, "tools streaming_tools images documents prefill format any_tool no_stop_sequences on_demand", "", "low medium high xhigh max"),
    row("openai.gpt-6.1-terra", 0, "global us", 922_000, 128_000, 1024, "tools streaming_tools images documents prefill format any_tool no_stop_sequences on_demand", "", "low medium high xhigh max"),
    row("xai.grok-4.6", 0, "global us us-gov", 500_000, 500_000, 1024, "tools streaming_tools images documents sampling prefill format any_tool no_stop_sequences on_demand", "", ""),
    row("xai.grok-4.7", 0, "global us", 524_288, 524_288, 1024, "tools streaming_tools images documents sampling prefill format any_tool no_stop_sequences on_demand", "", ""),
    row("moonshotai.kimi-k3", 0, "global us in", 1_000_000, 131_072, 1024, "tools streaming_tools images documents sampling prefill format any_tool on_demand", "", ""),
    row("moonshotai.kimi-k2.5", 0, "", 262_144, 16_000, 1024, "tools streaming_tools images documents sampling prefill format any_tool on_demand", "", "high"),
    row("moonshotai.kimi-k2-thinking", 0, "", 262_144, 16_000, 1024, "tools streaming_tools documents sampling prefill format any_tool on_demand", "", ""),
    row("zai.glm-5.3", 0, "global us", 1_000_000, 128_000, 1024, "tools streaming_tools documents sampling prefill format any_tool on_demand", "", ""),
    row("zai.glm-5", 0, "", 200_000, 128_000, 1024, "tools streaming_tools documents sampling prefill format any_tool on_demand", "", ""),
    row("zai.glm-4.7", 0, "", 203_000, 128_000, 1024, "tools streaming_tools documents sampling prefill format any_tool on_demand", "", ""),
    row("zai.glm-4.7-flash", 0, "", 203_000, 128_000, 1024, "tools streaming_tools documents sampling prefill format any_tool on_demand", "", ""),
    row("minimax.minimax-m2", 0, "", 1_000_000, 8_000, 1024, "tools streaming_tools documents sampling prefill format any_tool on_demand", "", ""),
    row("minimax.minimax-m2.1", 0, "", 196_000, 8_000, 1024, "tools streaming_tools documents sampling prefill format any_tool on_demand", "", ""),
    row("minimax.minimax-m2.5", 0, "", 196_000, 8_000, 1024, "tools streaming_tools documents sampling prefill format any_tool on_demand", "", ""),
    row("nvidia.nemotron-super-3-120b", 0, "us-gov", 256_000, 32_000, 1024, "tools streaming_tools documents sampling prefill format any_tool on_demand", "", ""),
    row("nvidia.nemotron-nano-3-30b", 0, "us-gov", 256_000, 8_000, 1024, "tools streaming_tools documents sampling prefill format any_tool on_demand", "", ""),
    row("nvidia.nemotron-nano-9b-v2", 0, "us-gov", 128_000, 8_000, 1024, "tools streaming_tools documents sampling prefill format any_tool on_demand", "", ""),
    row("nvidia.nemotron-nano-12b-v2", 0, "us-gov", 128_000, 8_000, 1024, "tools streaming_tools images documents sampling prefill format any_tool on_demand", "", ""),
    row("google.gemma-3-27b-it", 0, "", 128_000, 8_000, 1024, "tools streaming_tools images documents sampling prefill format any_tool on_demand", "", ""),
    row("google.gemma-3-12b-it", 0, "", 128_000, 8_000, 1024, "tools streaming_tools images documents sampling prefill format any_tool on_demand", "", ""),
    row("google.gemma-3-4b-it", 0, "", 128_000, 8_000, 1024, "tools streaming_tools images documents sampling prefill format any_tool on_demand", "", ""),
    row("writer.palmyra-x5-v1:0", 0, "us", 128_000, 8_192, 1024, "tools streaming_tools documents sampling prefill format any_tool on_demand", "", ""),
];

/// Model of every provisioned throughput; its ARN does not contain the model.
const PROVISIONED_MODEL_ID: &str = "anthropic.claude-sonnet-4-5-20250929-v1:0";

const PREFIXES: &[&str] = &["global", "us-gov", "us", "eu", "apac", "au", "jp", "ca", "in"];

/// Form of a model id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ModelIdForm {
    /// `anthropic.claude-…`, or the ARN of a foundation model.
    FoundationModel,
    /// `us.anthropic.claude-…`, or the ARN of an inference profile.
    InferenceProfile,
}

/// Finds the model of a decoded `modelId`, which may be the ARN of an application inference profile.
///
/// # Errors
/// As [`find`].
pub(crate) fn resolve(
    model_id: &str,
    region: &str,
    profiles: &BTreeMap<String, String>,
) -> Result<(&'static Model, ModelIdForm), AwsError> {
    match profiles.get(model_id) {
        Some(target) => Ok((find(target, region)?.0, ModelIdForm::InferenceProfile)),
        None => find(model_id, region),
    }
}

/// Finds the Claude model of this id on the Mantle endpoint; `None` when the endpoint does not serve it.
pub(crate) fn find_mantle_model(id: &str) -> Option<&'static Model> {
    let name = id.strip_prefix("anthropic.")?;
    all().iter().find(|model| model.generation >= 45 && model.alias() == name)
}

/// All models.
pub(crate) fn all() -> &'static [Model] {
    MODELS
}

/// Finds the model of a decoded `modelId` in the region of the endpoint.
///
/// # Errors
/// `The provided model identifier is invalid.` for an unknown id, a prefix without a profile of the model, and a
/// profile of another geography.
pub(crate) fn find(model_id: &str, region: &str) -> Result<(&'static Model, ModelIdForm), AwsError> {
    let invalid = || AwsError::validation("The provided model identifier is invalid.");
    let mut id = model_id;
    if model_id.starts_with("arn:") {
        let resource = model_id.splitn(6, ':').nth(5).ok_or_else(invalid)?;
        let (kind, rest) = resource.split_once('/').ok_or_else(invalid)?;
        match kind {
            "foundation-model" | "inference-profile" => id = rest,
            "provisioned-model" if !rest.is_empty() => {
                return by_id(PROVISIONED_MODEL_ID)
                    .map(|model| (model, ModelIdForm::InferenceProfile))
                    .ok_or_else(invalid);
            }
            _ => return Err(invalid()),
        }
    }
    if let Some(model) = by_id(id) {
        return Ok((model, ModelIdForm::FoundationModel));
    }
    let (prefix, model_id_without_prefix) = PREFIXES
        .iter()
        .find_map(|p| Some((*p, id.strip_prefix(p)?.strip_prefix('.')?)))
        .ok_or_else(invalid)?;
    let model = by_id(model_id_without_prefix).ok_or_else(invalid)?;
    if !contains_word(model.prefixes, prefix) || !prefix_covers_region(prefix, region) {
        return Err(invalid());
    }
    Ok((model, ModelIdForm::InferenceProfile))
}

/// Rejects a foundation model id when the model is offered through inference profiles only.
///
/// # Errors
/// AWS's message about on-demand throughput, with a typographic apostrophe.
pub(crate) fn check_on_demand(model: &Model, form: ModelIdForm, model_id: &str) -> Result<(), AwsError> {
    if form == ModelIdForm::InferenceProfile || model.has("on_demand") {
        return Ok(());
    }
    Err(AwsError::validation(format!(
        "Invocation of model ID {model_id} with on-demand throughput isn\u{2019}t supported. Retry your request with \
         the ID or ARN of an inference profile that contains this model."
    )))
}

fn by_id(id: &str) -> Option<&'static Model> {
    MODELS.iter().find(|model| model.id == id)
}

/// Whether a profile with this prefix can be called from the region.
pub(crate) fn prefix_covers_region(prefix: &str, region: &str) -> bool {
    let is_gov = region.starts_with("us-gov-");
    match prefix {
        "global" => !is_gov,
        "us-gov" => is_gov,
        "us" => (region.starts_with("us-") && !is_gov) || region.starts_with("ca-"),
        "eu" => region.starts_with("eu-"),
        "jp" => region.starts_with("ap-northeast-"),
        "in" => region.starts_with("ap-south-"),
        "ca" => region.starts_with("ca-"),
        _ => region.starts_with("ap-"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_id_finds_its_model() {
        for (id, region, form) in [
            ("us.anthropic.claude-opus-5-5", "us-east-1", ModelIdForm::InferenceProfile),
            ("global.anthropic.claude-haiku-4-5-20251001-v1:0", "eu-west-1", ModelIdForm::InferenceProfile),
            ("us-gov.anthropic.claude-opus-5", "us-gov-west-1", ModelIdForm::InferenceProfile),
            ("anthropic.claude-3-5-haiku-20241022-v1:0", "us-east-1", ModelIdForm::FoundationModel),
            ("arn:aws:bedrock:us-east-1:1:provisioned-model/abc", "us-east-1", ModelIdForm::InferenceProfile),
            (
                "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-pro-v1:0",
                "us-east-1",
                ModelIdForm::FoundationModel,
            ),
            (
                "arn:aws:bedrock:us-east-1:1:inference-profile/us.anthropic.claude-sonnet-4-5-20250929-v1:0",
                "us-east-1",
                ModelIdForm::InferenceProfile,
            ),
        ] {
            assert_eq!(find(id, region).unwrap().1, form, "{id}");
        }
    }

    #[test]
    fn unknown_ids_and_other_geographies_are_rejected() {
        for (id, region) in [
            ("anthropic.claude-9", "us-east-1"),
            ("us.anthropic.claude-opus-5[1m]", "us-east-1"),
            ("eu.anthropic.claude-opus-5", "us-east-1"),
            ("apac.anthropic.claude-haiku-4-5-20251001-v1:0", "eu-west-1"),
            ("arn:aws:bedrock:us-east-1:1:imported-model/abc", "us-east-1"),
            ("arn:aws:bedrock:us-east-1:1:application-inference-profile/abc", "us-east-1"),
            ("", "us-east-1"),
        ] {
            assert!(find(id, region).is_err(), "{id}");
        }
    }

    #[test]
    fn application_profile_resolves_to_its_model() {
        let arn = "arn:aws:bedrock:us-east-1:1:application-inference-profile/abc".to_owned();
        let profiles = BTreeMap::from([(arn.clone(), "us.anthropic.claude-opus-5".to_owned())]);
        let (model, form) = resolve(&arn, "us-east-1", &profiles).unwrap();
        assert_eq!((model.id, form), ("anthropic.claude-opus-5", ModelIdForm::InferenceProfile));
        assert!(resolve(&arn, "us-east-1", &BTreeMap::new()).is_err());
    }

    #[test]
    fn model_names_and_aliases_are_derived() {
        for (id, name, alias) in [
            ("anthropic.claude-opus-5", "claude-opus-5", "claude-opus-5"),
            ("anthropic.claude-opus-4-6-v1", "claude-opus-4-6", "claude-opus-4-6"),
            ("anthropic.claude-haiku-4-5-20251001-v1:0", "claude-haiku-4-5-20251001", "claude-haiku-4-5"),
            ("anthropic.claude-3-5-sonnet-20241022-v2:0", "claude-3-5-sonnet-20241022", "claude-3-5-sonnet"),
        ] {
            let model = by_id(id).unwrap();
            assert_eq!((model.model_name(), model.alias()), (name, alias));
        }
        assert_eq!(find_mantle_model("anthropic.claude-haiku-4-5").unwrap().generation, 45);
        assert!(find_mantle_model("us.anthropic.claude-opus-5").is_none());
    }

    #[test]
    fn on_demand_message_has_a_typographic_apostrophe() {
        let (model, form) = find("anthropic.claude-opus-5", "us-east-1").unwrap();
        let error = check_on_demand(model, form, "anthropic.claude-opus-5").unwrap_err();
        assert!(error.message.contains("on-demand throughput isn\u{2019}t supported"));
    }
}
