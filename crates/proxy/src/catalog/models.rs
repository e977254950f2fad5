//! The models this version knows by name: data only, no decisions.
//!
//! State of November 2026. A model that is missing here still works by its Bedrock id or through a mapping.

use messages::capability::PromptCache::{self, FiveMinutes, None, OneHour};

/// One model on Bedrock.
#[derive(Debug)]
pub(super) struct Model {
    /// The foundation-model id, without a profile prefix.
    pub(super) id: &'static str,
    /// What Anthropic's own API calls it.
    pub(super) names: &'static [&'static str],
    /// The inference-profile prefixes it is offered with; none: the id is called as it is.
    pub(super) prefixes: &'static [&'static str],
    /// The most tokens it answers with.
    pub(super) max_output_tokens: u64,
    /// How it caches prompts on request.
    pub(super) cache: PromptCache,
}

const fn model(
    id: &'static str,
    names: &'static [&'static str],
    prefixes: &'static [&'static str],
    max_output_tokens: u64,
    cache: PromptCache,
) -> Model {
    Model { id, names, prefixes, max_output_tokens, cache }
}

#[rustfmt::skip]
pub(super) const MODELS: &[Model] = &[
    model("anthropic.claude-fable-5", &["claude-fable-5"], &["global", "us", "eu", "apac", "au"], 128_000, OneHour),
    model("anthropic.claude-fable-5-1", &["claude-fable-5-1"], &["global", "us", "eu", "us-gov"], 128_000, OneHour),
    model("anthropic.claude-mythos-5", &["claude-mythos-5"], &["us"], 128_000, OneHour),
    model("anthropic.claude-mythos-5-1", &["claude-mythos-5-1"], &["global", "us"], 128_000, OneHour),
    model("anthropic.claude-mythos-preview", &["claude-mythos-preview"], &["us", "apac", "au"], 128_000, OneHour),
    model("anthropic.claude-opus-5-5", &["claude-opus-5-5"], &["global", "us", "eu", "apac", "au", "jp", "us-gov"], 128_000, OneHour),
    model("anthropic.claude-opus-5", &["claude-opus-5"], &["global", "us", "eu", "apac", "au", "jp", "us-gov"], 128_000, OneHour),
    model("anthropic.claude-opus-4-8", &["claude-opus-4-8"], &["global", "us", "eu", "apac", "au", "jp", "us-gov"], 128_000, OneHour),
    model("anthropic.claude-opus-4-7", &["claude-opus-4-7"], &["global", "us", "eu", "apac", "au", "jp"], 128_000, OneHour),
    model("anthropic.claude-opus-4-6-v1", &["claude-opus-4-6"], &["global", "us", "eu", "au"], 128_000, OneHour),
    model("anthropic.claude-opus-4-5-20251101-v1:0", &["claude-opus-4-5", "claude-opus-4-5-20251101"], &["global", "us", "eu"], 64_000, OneHour),
    model("anthropic.claude-opus-4-1-20250805-v1:0", &["claude-opus-4-1", "claude-opus-4-1-20250805"], &["us", "eu"], 32_000, FiveMinutes),
    model("anthropic.claude-opus-4-20250514-v1:0", &["claude-opus-4", "claude-opus-4-20250514", "claude-opus-4-0"], &["us", "eu"], 32_000, FiveMinutes),
    model("anthropic.claude-sonnet-5-5", &["claude-sonnet-5-5"], &["global", "us", "eu", "apac", "au", "jp", "us-gov"], 128_000, OneHour),
    model("anthropic.claude-sonnet-5", &["claude-sonnet-5"], &["global", "us", "eu", "apac", "au", "jp", "us-gov"], 128_000, OneHour),
    model("anthropic.claude-sonnet-4-6", &["claude-sonnet-4-6"], &["global", "us", "eu", "apac", "au", "jp"], 64_000, OneHour),
    model("anthropic.claude-sonnet-4-5-20250929-v1:0", &["claude-sonnet-4-5", "claude-sonnet-4-5-20250929"], &["global", "us", "eu", "au", "jp", "us-gov"], 64_000, OneHour),
    model("anthropic.claude-sonnet-4-20250514-v1:0", &["claude-sonnet-4", "claude-sonnet-4-20250514", "claude-sonnet-4-0"], &["global", "us", "eu", "apac"], 64_000, FiveMinutes),
    model("anthropic.claude-haiku-5-5", &["claude-haiku-5-5"], &["global", "us", "eu", "apac", "au", "jp", "us-gov"], 128_000, OneHour),
    model("anthropic.claude-haiku-4-5-20251001-v1:0", &["claude-haiku-4-5", "claude-haiku-4-5-20251001"], &["global", "us", "eu", "apac", "au", "jp"], 64_000, OneHour),
    model("anthropic.claude-3-7-sonnet-20250219-v1:0", &["claude-3-7-sonnet", "claude-3-7-sonnet-20250219", "claude-3-7-sonnet-latest"], &["us", "eu"], 8_192, FiveMinutes),
    model("anthropic.claude-3-5-sonnet-20241022-v2:0", &["claude-3-5-sonnet", "claude-3-5-sonnet-20241022", "claude-3-5-sonnet-latest"], &["us", "eu"], 8_192, FiveMinutes),
    model("anthropic.claude-3-5-sonnet-20240620-v1:0", &["claude-3-5-sonnet-20240620"], &["us", "eu"], 4_096, None),
    model("anthropic.claude-3-5-haiku-20241022-v1:0", &["claude-3-5-haiku", "claude-3-5-haiku-20241022", "claude-3-5-haiku-latest"], &["us", "eu"], 8_192, FiveMinutes),
    model("anthropic.claude-3-opus-20240229-v1:0", &["claude-3-opus", "claude-3-opus-20240229", "claude-3-opus-latest"], &["us", "eu"], 4_096, None),
    model("anthropic.claude-3-sonnet-20240229-v1:0", &["claude-3-sonnet", "claude-3-sonnet-20240229"], &["us", "eu", "apac"], 4_096, None),
    model("anthropic.claude-3-haiku-20240307-v1:0", &["claude-3-haiku", "claude-3-haiku-20240307"], &["us", "eu", "apac"], 4_096, None),
    model("amazon.nova-2-lite-v1:0", &[], &["global", "us", "eu", "apac", "jp"], 64_000, FiveMinutes),
    model("amazon.nova-2-pro-preview-20251202-v1:0", &[], &["us", "eu", "apac"], 64_000, FiveMinutes),
    model("amazon.nova-premier-v1:0", &[], &[], 10_000, FiveMinutes),
    model("amazon.nova-pro-v1:0", &[], &["us", "eu", "apac"], 10_000, FiveMinutes),
    model("amazon.nova-lite-v1:0", &[], &["us", "eu", "apac"], 10_000, FiveMinutes),
    model("amazon.nova-micro-v1:0", &[], &["us", "eu", "apac"], 10_000, FiveMinutes),
    model("meta.llama4-maverick-17b-instruct-v1:0", &[], &["us"], 8_192, None),
    model("meta.llama4-scout-17b-instruct-v1:0", &[], &["us"], 8_192, None),
    model("meta.llama3-3-70b-instruct-v1:0", &[], &["us"], 4_096, None),
    model("meta.llama3-1-70b-instruct-v1:0", &[], &["us"], 4_096, None),
    model("meta.llama3-1-8b-instruct-v1:0", &[], &["us"], 4_096, None),
    model("deepseek.r1-v1:0", &[], &["us"], 8_192, None),
    model("deepseek.v3-v1:0", &[], &[], 8_000, None),
    model("deepseek.v3.2", &[], &["us", "eu"], 8_000, None),
    model("mistral.mistral-large-3-675b-instruct", &[], &[], 32_000, None),
    model("mistral.devstral-2-123b", &[], &[], 32_000, None),
    model("mistral.magistral-small-2509", &[], &[], 40_000, None),
    model("mistral.ministral-3-14b-instruct", &[], &[], 8_000, None),
    model("mistral.pixtral-large-2502-v1:0", &[], &["us", "eu"], 16_384, None),
    model("mistral.mistral-large-2407-v1:0", &[], &[], 8_191, None),
    model("qwen.qwen3-coder-480b-a35b-v1:0", &[], &[], 16_384, None),
    model("qwen.qwen3-coder-30b-a3b-v1:0", &[], &[], 16_384, None),
    model("qwen.qwen3-235b-a22b-2507-v1:0", &[], &[], 8_192, None),
    model("qwen.qwen3-32b-v1:0", &[], &[], 8_192, None),
    model("qwen.qwen3-coder-next", &[], &[], 16_000, None),
    model("qwen.qwen3-next-80b-a3b", &[], &[], 8_000, None),
    model("qwen.qwen3-vl-235b-a22b", &[], &[], 8_000, None),
    model("openai.gpt-oss-120b-1:0", &[], &["us-gov"], 16_384, None),
    model("openai.gpt-oss-20b-1:0", &[], &["us-gov"], 16_384, None),
    model("openai.gpt-5.4", &[], &["global", "us"], 128_000, None),
    model("openai.gpt-5.5", &[], &["global", "us"], 128_000, None),
    model("openai.gpt-5.6-sol", &[], &["global", "us"], 128_000, None),
    model("openai.gpt-5.6-terra", &[], &["global", "us"], 128_000, None),
    model("openai.gpt-5.6-luna", &[], &["global", "us"], 128_000, None),
    model("openai.gpt-6-astra", &[], &["global", "us"], 128_000, None),
    model("openai.gpt-6-sol", &[], &["global", "us"], 128_000, None),
    model("openai.gpt-6-luna", &[], &["global", "us"], 128_000, None),
    model("openai.gpt-6.1-sol", &[], &["global", "us"], 131_072, None),
    model("openai.gpt-6.1-terra", &[], &["global", "us"], 128_000, None),
    model("xai.grok-4.6", &[], &["global", "us", "us-gov"], 500_000, None),
    model("xai.grok-4.7", &[], &["global", "us"], 524_288, None),
    model("moonshotai.kimi-k3", &[], &["global", "us", "in"], 131_072, None),
    model("moonshotai.kimi-k2.5", &[], &[], 16_000, None),
    model("moonshotai.kimi-k2-thinking", &[], &[], 16_000, None),
    model("zai.glm-5.3", &[], &["global", "us"], 128_000, None),
    model("zai.glm-5", &[], &[], 128_000, None),
    model("zai.glm-4.7", &[], &[], 128_000, None),
    model("zai.glm-4.7-flash", &[], &[], 128_000, None),
    model("minimax.minimax-m2", &[], &[], 8_000, None),
    model("minimax.minimax-m2.1", &[], &[], 8_000, None),
    model("minimax.minimax-m2.5", &[], &[], 8_000, None),
    model("nvidia.nemotron-super-3-120b", &[], &["us-gov"], 32_000, None),
    model("nvidia.nemotron-nano-3-30b", &[], &["us-gov"], 8_000, None),
    model("nvidia.nemotron-nano-9b-v2", &[], &["us-gov"], 8_000, None),
    model("nvidia.nemotron-nano-12b-v2", &[], &["us-gov"], 8_000, None),
    model("google.gemma-3-27b-it", &[], &[], 8_000, None),
    model("google.gemma-3-12b-it", &[], &[], 8_000, None),
    model("google.gemma-3-4b-it", &[], &[], 8_000, None),
    model("writer.palmyra-x5-v1:0", &[], &["us"], 8_192, None),
];
