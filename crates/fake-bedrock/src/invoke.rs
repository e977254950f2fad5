//! Encoder of InvokeModelWithResponseStream: Anthropic's events in chunks.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::BytesMut;
use serde::Serialize;
use serde_json::{Value, json};

use crate::anthropic::Translator;
use crate::frame::{self, Padding};
use crate::response_metadata::ResponseMetadata;
use crate::script::ScriptEvent;

#[derive(Serialize)]
struct Chunk<'a> {
    bytes: String,
    p: &'a str,
}

/// Appends the chunks of one event.
pub(crate) fn write(
    translator: &mut Translator,
    event: ScriptEvent,
    metadata: &ResponseMetadata,
    latency_ms: u64,
    padding: &mut Padding,
    out: &mut BytesMut,
) {
    for mut value in translator.translate(event, metadata) {
        if value["type"] == "message_stop" {
            value["amazon-bedrock-invocationMetrics"] = metrics(metadata, latency_ms);
        }
        chunk(&value, padding, out);
    }
}

/// Appends the model's own error, which InvokeModel sends in a chunk.
pub(crate) fn error(kind: &str, message: &str, padding: &mut Padding, out: &mut BytesMut) {
    chunk(&json!({"type": "error", "error": {"type": kind, "message": message}}), padding, out);
}

fn chunk(value: &Value, padding: &mut Padding, out: &mut BytesMut) {
    let bytes = BASE64.encode(value.to_string());
    let payload = serde_json::to_vec(&Chunk { bytes, p: padding.next() }).unwrap_or_default();
    frame::event("chunk", payload, out);
}

fn metrics(metadata: &ResponseMetadata, latency_ms: u64) -> Value {
    let usage = &metadata.metered.usage;
    json!({
        "inputTokenCount": usage.input_tokens,
        "outputTokenCount": usage.output_tokens,
        "invocationLatency": latency_ms,
        "firstByteLatency": latency_ms.min(1),
        "cacheReadInputTokenCount": usage.cache_read_tokens,
        "cacheWriteInputTokenCount": usage.cache_write_tokens,
    })
}
