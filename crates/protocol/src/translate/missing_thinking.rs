//! Tool results whose turn has no thinking.
//!
//! With a budget of thinking a model rejects such a conversation, and some clients keep no thinking between calls.
//! Then thinking is dropped, so that the conversation continues.

use crate::converse::request::{ContentBlock, ConversationRole, Message};
use crate::json::{JsonStr, RawJson};
use crate::json_edit::{items, members};

/// Notice for the client.
pub(super) const DROPPED_NOTICE: &str =
    "left out: the tool calls came without thinking, which the model requires with their results";

/// Begin of a message, as far as the rule needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TurnStart {
    /// User message without tool results.
    UserText,
    /// User message with tool results.
    ToolResults,
    /// Assistant message that begins with thinking.
    Thinking,
    /// Assistant message that begins with something else.
    Other,
    /// Message of another role.
    Ignored,
}

/// Whether the last message has tool results and no message of the model since the last user text began with thinking. A model that
/// does not think between calls begins its later messages without; so one thought is enough.
fn lacks_thinking(backwards: impl Iterator<Item = TurnStart>) -> bool {
    let mut messages = backwards.filter(|turn| *turn != TurnStart::Ignored);
    messages.next() == Some(TurnStart::ToolResults)
        && messages.take_while(|turn| *turn != TurnStart::UserText).all(|turn| turn != TurnStart::Thinking)
}

/// Whether `messages` are such a conversation.
pub(super) fn in_converse(messages: &[Message<'_>]) -> bool {
    lacks_thinking(messages.iter().rev().map(|message| {
        let results = || message.content.iter().any(|block| matches!(block, ContentBlock::ToolResult(_)));
        match message.role {
            ConversationRole::System => TurnStart::Ignored,
            ConversationRole::User if results() => TurnStart::ToolResults,
            ConversationRole::User => TurnStart::UserText,
            ConversationRole::Assistant => match message.content.first() {
                Some(ContentBlock::ReasoningContent(_)) => TurnStart::Thinking,
                _ => TurnStart::Other,
            },
        }
    }))
}

/// The same in the client's own words.
pub(super) fn in_body(messages: RawJson<'_>) -> bool {
    lacks_thinking(items(messages).into_iter().rev().map(turn_start))
}

fn turn_start(message: RawJson<'_>) -> TurnStart {
    let all = members(message);
    let member = |name: &str| all.iter().find(|member| &*member.key == name).map(|member| member.value);
    let blocks = || member("content").map(items).unwrap_or_default().into_iter().map(kind);
    match member("role").and_then(|role| role.read::<JsonStr<'_>>().ok()).as_deref() {
        Some("user") if blocks().any(|kind| kind.as_deref() == Some("tool_result")) => TurnStart::ToolResults,
        Some("user") => TurnStart::UserText,
        Some("assistant") => match blocks().next().flatten().as_deref() {
            Some("thinking" | "redacted_thinking") => TurnStart::Thinking,
            _ => TurnStart::Other,
        },
        _ => TurnStart::Ignored,
    }
}

fn kind(block: RawJson<'_>) -> Option<JsonStr<'_>> {
    let kind = members(block).into_iter().find(|member| &*member.key == "type")?;
    kind.value.read().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turn_without_thinking_is_detected() {
        use TurnStart::*;
        for (turns, expected) in [
            (&[UserText][..], false),
            (&[UserText, Other, UserText], false),
            (&[UserText, Other, ToolResults], true),
            (&[UserText, Other, ToolResults, Ignored], true),
            (&[UserText, Thinking, ToolResults], false),
            (&[UserText, Thinking, ToolResults, Other, ToolResults], false),
            (&[UserText, Other, ToolResults, Thinking, ToolResults], false),
            (&[UserText, Thinking, ToolResults, Other, UserText, Other, ToolResults], true),
            (&[], false),
        ] {
            assert_eq!(lacks_thinking(turns.iter().rev().copied()), expected, "{turns:?}");
        }
    }

    #[test]
    fn turn_starts_are_parsed_from_the_body() {
        for (message, expected) in [
            (r#"{"role":"user","content":"x"}"#, TurnStart::UserText),
            (
                r#"{"content":[{"type":"text"},{"tool_use_id":"a","type":"tool_result"}],"role":"user"}"#,
                TurnStart::ToolResults,
            ),
            (
                r#"{"role":"assistant","content":[{"type":"redacted_thinking"},{"type":"text"}]}"#,
                TurnStart::Thinking,
            ),
            (r#"{"role":"assistant","content":[{"type":"text"},{"type":"thinking"}]}"#, TurnStart::Other),
            (r#"{"role":"assistant","content":"x"}"#, TurnStart::Other),
            (r#"{"role":"system","content":"x"}"#, TurnStart::Ignored),
            ("7", TurnStart::Ignored),
        ] {
            assert_eq!(turn_start(serde_json::from_str(message).unwrap()), expected, "{message}");
        }
    }
}
