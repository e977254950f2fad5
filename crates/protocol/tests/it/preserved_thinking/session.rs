//! Random sessions, and what each client API makes of them.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde_json::{Value, json};

/// A conversation: what stays the same, and its rounds.
#[derive(Clone, Debug)]
pub(super) struct Session {
    system: Vec<String>,
    /// Names and descriptions of tools.
    tools: Vec<(String, String)>,
    /// Whether the conversation begins with calls of another model, with these ids.
    foreign_ids: Option<(String, String)>,
    rounds: Vec<Round>,
    /// Whether unmarked messages of one text are strings, as Claude Code sends them.
    has_strings: bool,
}

/// What the client sends, and what the model responds.
#[derive(Clone, Debug)]
pub(super) struct Round {
    blocks: Vec<UserBlock>,
    /// Results of the calls of the round before, in turn.
    results: Vec<ResultContent>,
    is_result_last: bool,
    /// Instructions behind the blocks.
    instructions: Option<String>,
    pub(super) pieces: Vec<Piece>,
    effort: &'static str,
    choice: &'static str,
    /// Whether the request has cache markers.
    has_markers: bool,
    prefill: Option<String>,
}

#[derive(Clone, Debug)]
enum UserBlock {
    Text(String),
    Image,
    Pdf { title: String },
    Plain { title: Option<String>, text: String },
    SearchResult(String),
}

#[derive(Clone, Debug)]
enum ResultContent {
    None,
    Text(String),
    Blocks(Vec<String>),
    Image,
    Two(String),
    Error(String),
}

/// A block of a response.
#[derive(Clone, Debug)]
pub(super) enum Piece {
    Thinking(String, String),
    Redacted(String),
    Text(String),
    /// Number of the tool, and its arguments.
    Call(usize, String),
}

impl Piece {
    /// Whether it is a blank text, which no API takes back.
    pub(super) fn is_blank(&self) -> bool {
        matches!(self, Self::Text(text) if text.trim().is_empty())
    }
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![4 => "[a-zé<>/\"\\\\ 😀]{1,12}", 1 => "[ \n\t\u{a0}]{0,2}"]
}

fn name() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9_-]{1,20}|[a-z./: é]{1,10}|mcp__[a-z]{60,80}"
}

fn piece() -> impl Strategy<Value = Piece> {
    prop_oneof![
        ("[a-z \n]{0,12}", "[A-Za-z0-9+/]{4,12}==")
            .prop_map(|(text, signature)| Piece::Thinking(text, signature)),
        "[A-Za-z0-9+/]{4,12}".prop_map(Piece::Redacted),
        text().prop_map(Piece::Text),
        (0..3_usize, "[a-zé\"]{0,5}")
            .prop_map(|(tool, value)| Piece::Call(tool, json!({"z": value, "a": [1.5, null]}).to_string())),
        (0..3_usize).prop_map(|tool| Piece::Call(tool, String::new())),
    ]
}

fn result() -> impl Strategy<Value = ResultContent> {
    prop_oneof![
        Just(ResultContent::None),
        text().prop_map(ResultContent::Text),
        vec(text(), 0..3).prop_map(ResultContent::Blocks),
        Just(ResultContent::Image),
        text().prop_map(ResultContent::Two),
        text().prop_map(ResultContent::Error),
    ]
}

fn user_block() -> impl Strategy<Value = UserBlock> {
    prop_oneof![
        5 => text().prop_map(UserBlock::Text),
        1 => Just(UserBlock::Image),
        1 => text().prop_map(|title| UserBlock::Pdf { title }),
        1 => (option::of(text()), text()).prop_map(|(title, text)| UserBlock::Plain { title, text: format!("t{text}") }),
        1 => text().prop_map(|text| UserBlock::SearchResult(format!("s{text}"))),
    ]
}

fn round() -> impl Strategy<Value = Round> {
    let content =
        (vec(user_block(), 0..4), vec(result(), 1..3), any::<bool>(), option::weighted(0.2, "[a-z]{1,5}"));
    let settings = (
        proptest::sample::select(vec!["low", "medium", "high"]),
        proptest::sample::select(vec!["", "auto", "auto", "none", "any"]),
        any::<bool>(),
        option::weighted(0.1, "[a-z]{0,3}[ \n]{0,2}"),
    );
    let says_something = |pieces: &Vec<Piece>| {
        pieces.iter().any(|piece| matches!(piece, Piece::Call(..) | Piece::Text(_)) && !piece.is_blank())
    };
    (content, vec(piece(), 1..5).prop_filter("a response with content", says_something), settings).prop_map(
        |(
            (blocks, results, is_result_last, instructions),
            pieces,
            (effort, choice, has_markers, prefill),
        )| Round {
            blocks,
            results,
            is_result_last,
            instructions,
            pieces,
            effort,
            choice,
            has_markers,
            prefill,
        },
    )
}

pub(super) fn session() -> impl Strategy<Value = Session> {
    let tools = vec((name(), text()), 0..4);
    let foreign = option::weighted(0.3, ("call\\|[a-z.:]{1,5}|[a-z]{60,90}|é", name()));
    (vec(text(), 0..3), tools, foreign, vec(round(), 2..5), any::<bool>()).prop_map(
        |(system, mut tools, foreign_ids, rounds, has_strings)| {
            let mut names = std::collections::HashSet::new();
            tools.retain(|(name, _)| names.insert(name.clone()));
            Session { system, tools, foreign_ids, rounds, has_strings }
        },
    )
}

fn marker() -> Value {
    json!({"type": "ephemeral"})
}

const PNG: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

impl Session {
    pub(super) fn rounds(&self) -> &[Round] {
        &self.rounds
    }

    /// The same session without instructions between turns.
    pub(super) fn without_instructions(&self) -> Self {
        let mut session = self.clone();
        session.rounds.iter_mut().for_each(|round| round.instructions = None);
        session
    }

    /// The Messages request of a round, with the content of the responses so far, and whether it has a prefill.
    pub(super) fn messages_body(&self, round: usize, responses: &[Value]) -> (Value, bool) {
        let mut messages = Vec::new();
        if let Some((id, name)) = &self.foreign_ids {
            messages.push(json!({"role": "user", "content": "go"}));
            messages.push(json!({"role": "assistant", "content": [
                {"type": "tool_use", "id": id, "name": name, "input": ""}]}));
        }
        let mut calls: Vec<String> = self.foreign_ids.iter().map(|(id, _)| id.clone()).collect();
        for (index, round) in self.rounds[..=round].iter().enumerate() {
            messages.push(json!({"role": "user", "content": round.user_content(&calls)}));
            messages.extend(round.instructions.iter().map(|text| json!({"role": "system", "content": text})));
            if let Some(response) = responses.get(index) {
                messages.push(json!({"role": "assistant", "content": response}));
                let blocks = response.as_array().unwrap().iter();
                let ids = blocks
                    .filter(|block| block["type"] == "tool_use")
                    .map(|block| block["id"].as_str().unwrap());
                calls = ids.map(str::to_owned).collect();
            }
        }
        let current = &self.rounds[round];
        mark(&mut messages, current.has_markers);
        if self.has_strings {
            messages.iter_mut().for_each(as_string);
        }
        if let Some(prefill) = &current.prefill {
            messages.push(json!({"role": "assistant", "content": prefill}));
        }
        let system: Vec<Value> =
            self.system.iter().map(|text| json!({"type": "text", "text": text})).collect();
        let tools: Vec<Value> = self.tools.iter().map(|(name, description)| {
            json!({"name": name, "description": description, "input_schema": {"properties": {"z": {"type": "string"}}}})
        }).collect();
        let mut body = json!({
            "max_tokens": 3000, "system": system, "messages": messages,
            "thinking": {"type": "adaptive"}, "output_config": {"effort": current.effort},
        });
        if !tools.is_empty() {
            body["tools"] = json!(tools);
            if !current.choice.is_empty() {
                body["tool_choice"] = json!({"type": current.choice});
            }
            if current.has_markers {
                body["tools"][self.tools.len() - 1]["cache_control"] = marker();
            }
        }
        if current.has_markers && !self.system.is_empty() {
            body["system"][self.system.len() - 1]["cache_control"] = marker();
        }
        (body, current.prefill.is_some())
    }

    /// The chat request of the round; `responses` are the messages of the completions.
    pub(super) fn chat_body(&self, round: usize, responses: &[Value]) -> Value {
        let mut messages: Vec<Value> =
            self.system.iter().map(|text| json!({"role": "system", "content": text})).collect();
        for (index, round) in self.rounds[..=round].iter().enumerate() {
            let content: Vec<Value> = round.blocks.iter().map(UserBlock::for_chat).collect();
            messages.push(json!({"role": "user", "content": content}));
            messages
                .extend(round.instructions.iter().map(|text| json!({"role": "developer", "content": text})));
            if let Some(response) = responses.get(index) {
                messages.push(response.clone());
                let calls = response["tool_calls"].as_array().into_iter().flatten();
                let results = self.rounds.get(index + 1).map(|next| &next.results);
                for (call, result) in calls.zip(results.into_iter().flatten().cycle()) {
                    let text = match result {
                        ResultContent::Text(text) | ResultContent::Error(text) => text,
                        _ => "x",
                    };
                    messages.push(json!({"role": "tool", "tool_call_id": call["id"], "content": text}));
                }
            }
        }
        let current = &self.rounds[round];
        let tools: Vec<Value> = self
            .tools
            .iter()
            .map(|(name, description)| {
                let function = json!({"name": name, "description": description, "parameters": {}});
                json!({"type": "function", "function": function})
            })
            .collect();
        let mut body = json!({"max_tokens": 3000, "messages": messages, "reasoning_effort": current.effort});
        if !tools.is_empty() {
            body["tools"] = json!(tools);
            if current.choice == "none" {
                body["tool_choice"] = json!("none");
            }
        }
        body
    }
}

/// Puts markers on the last two messages of the user, as Claude Code does.
fn mark(messages: &mut [Value], is_marked: bool) {
    let users = messages.iter_mut().rev().filter(|message| message["role"] == "user").take(2);
    for message in users.filter(|_| is_marked) {
        if let Some(last) = message["content"].as_array_mut().and_then(|blocks| blocks.last_mut()) {
            last["cache_control"] = marker();
        }
    }
}

/// Makes content of one unmarked text a string.
fn as_string(message: &mut Value) {
    let text = match message["content"].as_array().map(Vec::as_slice) {
        Some([block]) if block["type"] == "text" && block.get("cache_control").is_none() => {
            block["text"].clone()
        }
        _ => return,
    };
    message["content"] = text;
}

impl Round {
    fn user_content(&self, calls: &[String]) -> Vec<Value> {
        let results = calls.iter().zip(self.results.iter().cycle()).map(|(id, result)| result.block(id));
        let blocks = self.blocks.iter().map(UserBlock::block);
        if self.is_result_last { blocks.chain(results).collect() } else { results.chain(blocks).collect() }
    }
}

impl ResultContent {
    fn block(&self, id: &str) -> Value {
        let mut block = json!({"type": "tool_result", "tool_use_id": id});
        let text = |text: &String| json!({"type": "text", "text": text});
        match self {
            Self::None => {}
            Self::Text(text) => block["content"] = json!(text),
            Self::Blocks(texts) => block["content"] = texts.iter().map(text).collect(),
            Self::Image => block["content"] = json!([UserBlock::Image.block()]),
            Self::Two(first) => {
                block["content"] = json!([text(first), {"type": "text", "text": "end"}]);
            }
            Self::Error(text) => {
                block["is_error"] = json!(true);
                block["content"] = json!(text);
            }
        }
        block
    }
}

impl UserBlock {
    fn block(&self) -> Value {
        let document = |source: Value, title: Option<&String>| {
            let mut block = json!({"type": "document", "source": source});
            if let Some(title) = title {
                block["title"] = json!(title);
            }
            block
        };
        match self {
            Self::Text(text) => json!({"type": "text", "text": text}),
            Self::Image => {
                json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}})
            }
            Self::Pdf { title } => {
                let source =
                    json!({"type": "base64", "media_type": "application/pdf", "data": "JVBERi0xLjQK"});
                let mut block = document(source, Some(title));
                block["citations"] = json!({"enabled": true});
                block
            }
            Self::Plain { title, text } => {
                document(json!({"type": "text", "media_type": "text/plain", "data": text}), title.as_ref())
            }
            Self::SearchResult(text) => json!({"type": "search_result", "source": "s", "title": "t",
                "content": [{"type": "text", "text": text}]}),
        }
    }

    fn for_chat(&self) -> Value {
        match self {
            Self::Text(text) | Self::SearchResult(text) => json!({"type": "text", "text": text}),
            Self::Image => {
                json!({"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{PNG}")}})
            }
            Self::Pdf { title } => {
                json!({"type": "file", "file": {"filename": title, "file_data": "data:application/pdf;base64,JVBERi0xLjQK"}})
            }
            Self::Plain { text, .. } => json!({"type": "text", "text": text}),
        }
    }
}
