//! Script: the content of a response, independent of its format.
//!
//! Directives and fixtures create scripts; the encoders in `converse`, `invoke` and `sse` write them. The events are
//! those of ConverseStream; Anthropic's events are translated from them.

use std::borrow::Cow;
use std::time::Duration;

use serde_json::Value;

use crate::error::AwsError;

/// One step of a response.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ScriptStep {
    Event(ScriptEvent),
    /// Exception frame, or HTTP error of a non-streaming response. It ends the script.
    Exception(AwsError),
    /// Unmodelled error frame: `:error-code` and `:error-message`.
    Error(String, String),
    /// The model's own error: type and message. InvokeModel sends it in a chunk.
    ErrorObject(String, String),
    /// Delay. Everything before it is flushed.
    Sleep(Duration),
    /// Corrupts the checksum of the next event.
    CorruptNext,
    /// Sends half of the next event, then drops the connection.
    Cut,
}

/// A ConverseStream event.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ScriptEvent {
    MessageStart,
    ToolStart {
        index: u32,
        id: String,
        name: String,
    },
    Text {
        index: u32,
        text: Cow<'static, str>,
    },
    /// A fragment of a tool call's JSON arguments.
    ToolInput {
        index: u32,
        json: String,
    },
    Thinking {
        index: u32,
        text: String,
    },
    Signature {
        index: u32,
        signature: String,
    },
    /// A fragment of redacted thinking; base64 on the wire.
    Redacted {
        index: u32,
        data: String,
    },
    /// A citation for the text of the block, as in Converse.
    Citation {
        index: u32,
        citation: Value,
    },
    /// Start of a block that only Anthropic's format has; deltas may follow.
    AnthropicBlockStart {
        index: u32,
        block: Value,
    },
    BlockStop {
        index: u32,
    },
    MessageStop {
        reason: String,
        stop_sequence: Option<String>,
    },
    /// Usage; the encoder fills it in.
    Metadata,
    /// Any other event, sent unchanged and without padding.
    Other {
        name: String,
        payload: Value,
    },
}

impl ScriptEvent {
    /// Output tokens of the event: one for each word, at least one for each delta.
    pub(crate) fn tokens(&self) -> u64 {
        match self {
            Self::Text { text, .. } => count_words(text),
            Self::ToolInput { json, .. } => count_words(json),
            Self::Thinking { text, .. } => count_words(text),
            Self::Redacted { .. } => 1,
            _ => 0,
        }
    }

    /// Index of the block that the event starts or continues.
    fn block(&self) -> Option<u32> {
        match self {
            Self::ToolStart { index, .. }
            | Self::Text { index, .. }
            | Self::ToolInput { index, .. }
            | Self::Thinking { index, .. }
            | Self::Signature { index, .. }
            | Self::Redacted { index, .. }
            | Self::Citation { index, .. }
            | Self::AnthropicBlockStart { index, .. } => Some(*index),
            _ => None,
        }
    }
}

fn count_words(text: &str) -> u64 {
    if text.is_empty() { 0 } else { (text.split_ascii_whitespace().count() as u64).max(1) }
}

/// Output tokens of the whole script.
pub(crate) fn output_tokens(steps: &[ScriptStep]) -> u64 {
    steps
        .iter()
        .map(|step| match step {
            ScriptStep::Event(event) => event.tokens(),
            _ => 0,
        })
        .sum()
}

/// Output tokens of thinking.
pub(crate) fn thinking_tokens(steps: &[ScriptStep]) -> u64 {
    steps
        .iter()
        .map(|step| match step {
            ScriptStep::Event(event @ (ScriptEvent::Thinking { .. } | ScriptEvent::Redacted { .. })) => {
                event.tokens()
            }
            _ => 0,
        })
        .sum()
}

/// Truncates the script to `max` output tokens and ends it with `max_tokens`.
pub(crate) fn limit(steps: Vec<ScriptStep>, max: u64) -> Vec<ScriptStep> {
    if output_tokens(&steps) <= max {
        return steps;
    }
    if max == 0 {
        // A request for zero tokens only fills the cache; its response has no blocks.
        let reason = "max_tokens".to_owned();
        return vec![
            ScriptStep::Event(ScriptEvent::MessageStart),
            ScriptStep::Event(ScriptEvent::MessageStop { reason, stop_sequence: None }),
            ScriptStep::Event(ScriptEvent::Metadata),
        ];
    }
    let mut remaining = max;
    let mut limited = Vec::with_capacity(steps.len());
    let mut open = None;
    for step in steps {
        if let ScriptStep::Event(event) = &step {
            let tokens = event.tokens();
            if tokens > remaining {
                if let ScriptEvent::Text { index, text } = event
                    && remaining > 0
                {
                    let text = first_words(text, remaining).to_owned().into();
                    limited.push(ScriptStep::Event(ScriptEvent::Text { index: *index, text }));
                    open = Some(*index);
                }
                break;
            }
            remaining -= tokens;
            match event {
                ScriptEvent::BlockStop { .. } => open = None,
                other => open = other.block().or(open),
            }
        }
        limited.push(step);
    }
    limited.extend(open.map(|index| ScriptStep::Event(ScriptEvent::BlockStop { index })));
    limited.push(ScriptStep::Event(ScriptEvent::MessageStop {
        reason: "max_tokens".into(),
        stop_sequence: None,
    }));
    limited.push(ScriptStep::Event(ScriptEvent::Metadata));
    limited
}

fn first_words(text: &str, count: u64) -> &str {
    let mut count_so_far = 0;
    let mut in_word = false;
    for (at, c) in text.char_indices() {
        let word = !c.is_ascii_whitespace();
        if word && !in_word {
            count_so_far += 1;
            if count_so_far > count {
                return text[..at].trim_end();
            }
        }
        in_word = word;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &'static str) -> ScriptStep {
        ScriptStep::Event(ScriptEvent::Text { index: 0, text: text.into() })
    }

    #[test]
    fn truncated_script_ends_with_max_tokens() {
        let steps = vec![
            ScriptStep::Event(ScriptEvent::MessageStart),
            text("one two "),
            text("three four five"),
            ScriptStep::Event(ScriptEvent::BlockStop { index: 0 }),
            ScriptStep::Event(ScriptEvent::MessageStop { reason: "end_turn".into(), stop_sequence: None }),
            ScriptStep::Event(ScriptEvent::Metadata),
        ];
        assert_eq!(limit(steps.clone(), 5), steps);
        let short = limit(steps, 3);
        assert_eq!(output_tokens(&short), 3);
        assert_eq!(short[2], text("three"));
        assert_eq!(short[3], ScriptStep::Event(ScriptEvent::BlockStop { index: 0 }));
        assert!(
            matches!(&short[4], ScriptStep::Event(ScriptEvent::MessageStop { reason, .. }) if reason == "max_tokens")
        );
    }
}
