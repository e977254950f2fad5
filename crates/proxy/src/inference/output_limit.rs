//! The limit of output tokens in bodies of the Bedrock API.
//!
//! Each model family has its own native body, and Converse has one for all. The reservation uses the limit that AWS
//! reads; the same field elsewhere in the body is ignored.

use serde::Deserialize;

use crate::bedrock::Operation;

/// The limit of output tokens in a body of the Bedrock API, where the operation and the model read it: a limit that
/// stands elsewhere is not believed.
pub(super) fn sent_limit(operation: Operation, id: &str, body: &[u8]) -> Option<u64> {
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Converse {
        inference_config: ConverseLimit,
        additional_model_request_fields: Option<NativeLimits>,
    }
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct ConverseLimit {
        max_tokens: Option<u64>,
    }
    match operation {
        Operation::Converse | Operation::ConverseStream => {
            let body: Converse = serde_json::from_slice(body).ok()?;
            let limit = body.inference_config.max_tokens?;
            // AWS may let the model's own field win.
            let native = body.additional_model_request_fields.and_then(|fields| fields.largest());
            Some(native.map_or(limit, |native| native.max(limit)))
        }
        _ => serde_json::from_slice::<NativeLimits>(body).ok()?.of_model(id),
    }
}

/// Output tokens of the families that have a default limit, at the most.
const LARGEST_DEFAULT: u64 = 8192;

/// The limits in the native bodies of all model families.
/// <https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html>
#[derive(Default, Deserialize)]
#[serde(default)]
struct NativeLimits {
    max_tokens: Option<u64>,
    max_completion_tokens: Option<u64>,
    max_gen_len: Option<u64>,
    #[serde(rename = "inferenceConfig")]
    inference_config: NovaLimit,
    #[serde(rename = "textGenerationConfig")]
    text_generation_config: TitanLimit,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct NovaLimit {
    #[serde(rename = "maxTokens", alias = "max_new_tokens")]
    max_tokens: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct TitanLimit {
    #[serde(rename = "maxTokenCount")]
    max_tokens: Option<u64>,
}

impl NativeLimits {
    /// The limit that the family of model `id` reads.
    fn of_model(&self, id: &str) -> Option<u64> {
        let id = id.rsplit_once("amazon.").map_or(id, |(_, name)| name);
        let reads_max_tokens = ["anthropic.", "cohere.", "ai21."];
        if reads_max_tokens.iter().any(|family| id.contains(family)) {
            self.max_tokens
        } else if id.starts_with("nova") {
            self.inference_config.max_tokens
        } else if id.starts_with("titan") {
            self.text_generation_config.max_tokens
        } else if id.contains("meta.") {
            self.max_gen_len
        } else if id.starts_with("arn:") {
            // The model may read none of the limits that are there.
            self.largest().map(|limit| limit.max(LARGEST_DEFAULT))
        } else {
            // Families with OpenAI's body take either name; of two, AWS may read the larger.
            self.max_tokens.max(self.max_completion_tokens)
        }
    }

    /// The largest limit, for a model whose family is not known.
    fn largest(&self) -> Option<u64> {
        let all = [
            self.max_tokens,
            self.max_completion_tokens,
            self.max_gen_len,
            self.inference_config.max_tokens,
            self.text_generation_config.max_tokens,
        ];
        all.into_iter().flatten().max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limit_counts_where_the_operation_reads_it() {
        let converse = |body: &str| sent_limit(Operation::Converse, "anthropic.claude-x", body.as_bytes());
        let invoke = |id: &str, body: &str| sent_limit(Operation::InvokeModel, id, body.as_bytes());
        let config = r#"{"max_tokens":1,"inferenceConfig":{"maxTokens":9}}"#;
        assert_eq!(converse(config), Some(9));
        assert_eq!(converse(r#"{"max_tokens":1,"maxTokens":1,"inferenceConfig":{"max_tokens":1}}"#), None);
        assert_eq!(
            converse(r#"{"inferenceConfig":{"maxTokens":9},"inferenceConfig":{"maxTokens":1}}"#),
            None
        );
        assert_eq!(converse(r#"{"inferenceConfig":{"maxTokens":9,"maxTokens":1}}"#), None);
        let fields = |fields: &str| {
            converse(&format!(
                r#"{{"inferenceConfig":{{"maxTokens":9}},"additionalModelRequestFields":{fields}}}"#
            ))
        };
        assert_eq!(fields(r#"{"max_tokens":99}"#), Some(99));
        assert_eq!(fields(r#"{"max_tokens":1,"inferenceConfig":{"topK":20}}"#), Some(9));
        assert_eq!(fields("null"), Some(9));
        assert_eq!(invoke("anthropic.claude-x", config), Some(1));
        assert_eq!(invoke("amazon.nova-pro-v1:0", config), Some(9));
        assert_eq!(invoke("meta.llama3-8b-instruct-v1:0", r#"{"max_tokens":1,"max_gen_len":9}"#), Some(9));
        assert_eq!(invoke("meta.llama3-8b-instruct-v1:0", config), None);
        let completion = r#"{"max_tokens":1,"max_completion_tokens":9}"#;
        for id in ["mistral.mistral-large-3-675b-instruct", "openai.gpt-oss-120b-1:0", "qwen.qwen3-32b-v1:0"]
        {
            assert_eq!(invoke(id, completion), Some(9), "{id}");
        }
        let imported = "arn:aws:bedrock:us-east-1:1:imported-model/x";
        assert_eq!(invoke(imported, config), Some(LARGEST_DEFAULT));
        assert_eq!(invoke(imported, r#"{"max_tokens":1,"max_gen_len":9000}"#), Some(9000));
        assert_eq!(invoke(imported, "{}"), None);
    }
}
