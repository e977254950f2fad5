//! Parser of Converse requests.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use crate::directives::{CitableSource, ForcedTool, Prompt, ToolDefinition};
use crate::models::Model;
use crate::tokens::{CacheablePrompt, Ttl};

/// Maximum number of characters of a citation: about a sentence.
pub(crate) const MAX_CITED_CHARS: usize = 200;

/// Items of an array member; empty when the member is absent.
pub(crate) fn items<'a>(value: &'a Value, member: &str) -> &'a [Value] {
    value.get(member).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Blocks of the prompt in cache order.
pub(crate) fn cacheable_prompt(body: &Value, model: &Model) -> CacheablePrompt {
    let tools = body.get("toolConfig").map_or(&[][..], |config| items(config, "tools"));
    let system = items(body, "system");
    let messages = items(body, "messages");
    let is_point = |block: &Value| block.get("cachePoint").is_some();
    let has_cache_points = tools.iter().chain(system).any(is_point)
        || messages.iter().any(|message| items(message, "content").iter().any(is_point));
    let mut cacheable = CacheablePrompt::new(model, has_cache_points);
    let add = |cacheable: &mut CacheablePrompt, role: &str, block: &Value| match block.get("cachePoint") {
        Some(point) => cacheable.cache_point(Ttl::parse(point.get("ttl"))),
        None => cacheable.block(role, block),
    };
    for tool in tools {
        add(&mut cacheable, "tool", tool);
    }
    for block in system {
        add(&mut cacheable, "system", block);
    }
    for message in messages {
        cacheable.message();
        let role = message.get("role").and_then(Value::as_str).unwrap_or_default();
        for block in items(message, "content") {
            add(&mut cacheable, role, block);
        }
    }
    cacheable
}

/// Parses the last user turn.
pub(crate) fn prompt(body: &Value, model: &Model) -> Prompt {
    let fields = &body["additionalModelRequestFields"];
    let mut prompt = Prompt {
        signs_thinking: model.is_claude(),
        omits_thinking: omits_thinking(&fields["thinking"], model),
        too_long: model.too_long_wording(),
        output_schema: output_schema(body),
        citable_sources: citable_sources(body),
        ..Prompt::default()
    };
    let last = items(body, "messages").iter().rev().find(|message| message["role"] == "user");
    for block in last.map_or(&[][..], |message| items(message, "content")) {
        if let Some(text) = block.get("text").and_then(Value::as_str) {
            prompt.texts.push(text.to_owned());
        } else if let Some(image) = block.get("image") {
            prompt.images.push(describe(image));
        } else if let Some(result) = block.get("toolResult") {
            let mut texts = Vec::new();
            for part in items(result, "content") {
                if let Some(text) = part.get("text").and_then(Value::as_str) {
                    texts.push(text.to_owned());
                } else if let Some(value) = part.get("json") {
                    texts.push(value.to_string());
                } else if let Some(image) = part.get("image") {
                    prompt.images.push(describe(image));
                }
            }
            prompt.tool_results.push(texts.join(" "));
        }
    }
    if let Some(config) = body.get("toolConfig") {
        prompt.tools = items(config, "tools")
            .iter()
            .filter_map(|tool| {
                let spec = tool.get("toolSpec")?;
                let name = spec.get("name")?.as_str()?.to_owned();
                Some(ToolDefinition { name, schema: spec["inputSchema"]["json"].clone(), deferred: false })
            })
            .collect();
        let choice = config.get("toolChoice");
        prompt.forced_tool = choice.and_then(|choice| match choice.get("tool") {
            Some(tool) => Some(ForcedTool::Named(tool.get("name")?.as_str()?.to_owned())),
            None => choice.get("any").map(|_| ForcedTool::Any),
        });
    }
    let stops = body.get("inferenceConfig").map_or(&[][..], |config| items(config, "stopSequences"));
    prompt.stop_sequences = stops.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    prompt
}

/// Whether thinking has a signature but no text: on request, or by the model's default.
pub(crate) fn omits_thinking(thinking: &Value, model: &Model) -> bool {
    match thinking["display"].as_str() {
        Some(display) => display == "omitted",
        None => thinking.is_object() && model.omits_thinking_by_default(),
    }
}

fn output_schema(body: &Value) -> Option<Value> {
    let schema = &body["outputConfig"]["textFormat"]["structure"]["jsonSchema"]["schema"];
    let anthropic_schema = &body["additionalModelRequestFields"]["output_config"]["format"]["schema"];
    match schema.as_str() {
        Some(schema) => serde_json::from_str(schema).ok(),
        None => anthropic_schema.is_object().then(|| anthropic_schema.clone()),
    }
}

/// Documents and search results with citations enabled. The indexes count all of them, as Anthropic's do.
fn citable_sources(body: &Value) -> Vec<CitableSource> {
    let mut sources = Vec::new();
    let (mut documents, mut results) = (0, 0);
    let blocks = items(body, "messages").iter().flat_map(|message| items(message, "content"));
    for block in blocks {
        let is_enabled = |member: &Value| member["citations"]["enabled"] == true;
        if let Some(document) = block.get("document") {
            let (index, source) = (documents, &document["source"]);
            documents += 1;
            if !is_enabled(document) {
                continue;
            }
            let (text, location) = if let Some(text) = source["text"].as_str() {
                let end = text.chars().count().min(MAX_CITED_CHARS);
                (text.to_owned(), json!({"documentChar": {"documentIndex": index, "start": 0, "end": end}}))
            } else if let Some(parts) = source["content"].as_array() {
                let text = parts.first().and_then(|part| part["text"].as_str()).unwrap_or_default();
                let location = json!({"documentChunk": {"documentIndex": index, "start": 0, "end": 1}});
                (text.to_owned(), location)
            } else {
                let location = json!({"documentPage": {"documentIndex": index, "start": 1, "end": 2}});
                ("text of the first page".to_owned(), location)
            };
            let title = document["name"].as_str().unwrap_or_default().to_owned();
            sources.push(CitableSource { title, source: None, text, location });
        } else if let Some(result) = block.get("searchResult") {
            let index = results;
            results += 1;
            if !is_enabled(result) {
                continue;
            }
            let text = items(result, "content").first().and_then(|part| part["text"].as_str());
            sources.push(CitableSource {
                title: result["title"].as_str().unwrap_or_default().to_owned(),
                source: result["source"].as_str().map(str::to_owned),
                text: text.unwrap_or_default().to_owned(),
                location: json!({"searchResultLocation": {"searchResultIndex": index, "start": 0, "end": 1}}),
            });
        }
    }
    sources
}

fn describe(image: &Value) -> String {
    let format = image["format"].as_str().unwrap_or("unknown");
    let bytes = image["source"]["bytes"].as_str().and_then(|data| BASE64.decode(data).ok());
    match bytes {
        Some(bytes) => format!("image/{format}, {} bytes", bytes.len()),
        None => format!("image/{format}"),
    }
}

/// Maximum number of output tokens.
pub(crate) fn max_tokens(body: &Value, model: &Model) -> u64 {
    body["inferenceConfig"]["maxTokens"].as_u64().unwrap_or(model.max_output_tokens)
}
