//! Tool calls that are answered without the thinking that led to them.
//!
//! With a budget for thinking a model refuses such a conversation, and some clients keep no thinking between calls.
//! Then thinking gives way, and not the conversation.

use crate::converse::request::{ContentBlock, Message, Role};
use crate::json::{RawJson, Text};
use crate::json_edit::{items, members};

/// What a client is told.
pub(super) const LEFT_OUT: &str =
    "left out: the tool calls being answered came without thinking, which the model wants back with them";

/// A message, as far as the rule is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    /// The user asked for something.
    Asked,
    /// The user's tools answered.
    Results,
    /// The model began with a thought.
    Thought,
    /// The model began with something else.
    Other,
    /// Neither of them spoke.
    Aside,
}

/// Whether tools have just answered and no message of the model since the user spoke began with a thought. A model that
/// does not think between calls begins its later messages without; so one thought is enough.
fn is_thoughtless(backwards: impl Iterator<Item = Said>) -> bool {
    let mut messages = backwards.filter(|said| *said != Said::Aside);
    messages.next() == Some(Said::Results)
        && messages.take_while(|said| *said != Said::Asked).all(|said| said != Said::Thought)
}

/// Whether `messages` are such a conversation.
pub(super) fn in_converse(messages: &[Message<'_>]) -> bool {
    is_thoughtless(messages.iter().rev().map(|message| {
        let results = || message.content.iter().any(|block| matches!(block, ContentBlock::ToolResult(_)));
        match message.role {
            Role::System => Said::Aside,
            Role::User if results() => Said::Results,
            Role::User => Said::Asked,
            Role::Assistant => match message.content.first() {
                Some(ContentBlock::ReasoningContent(_)) => Said::Thought,
                _ => Said::Other,
            },
        }
    }))
}

/// The same in the client's own words.
pub(super) fn in_body(messages: RawJson<'_>) -> bool {
    is_thoughtless(items(messages).into_iter().rev().map(said))
}

fn said(message: RawJson<'_>) -> Said {
    let all = members(message);
    let member = |name: &str| all.iter().find(|member| &*member.key == name).map(|member| member.value);
    let blocks = || member("content").map(items).unwrap_or_default().into_iter().map(kind);
    match member("role").and_then(|role| role.read::<Text<'_>>().ok()).as_deref() {
        Some("user") if blocks().any(|kind| kind.as_deref() == Some("tool_result")) => Said::Results,
        Some("user") => Said::Asked,
        Some("assistant") => match blocks().next().flatten().as_deref() {
            Some("thinking" | "redacted_thinking") => Said::Thought,
            _ => Said::Other,
        },
        _ => Said::Aside,
    }
}

fn kind(block: RawJson<'_>) -> Option<Text<'_>> {
    let kind = members(block).into_iter().find(|member| &*member.key == "type")?;
    kind.value.read().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversation_is_thoughtless_when_no_call_of_the_turn_came_with_a_thought() {
        use Said::*;
        for (said, expected) in [
            (&[Asked][..], false),
            (&[Asked, Other, Asked], false),
            (&[Asked, Other, Results], true),
            (&[Asked, Other, Results, Aside], true),
            (&[Asked, Thought, Results], false),
            (&[Asked, Thought, Results, Other, Results], false),
            (&[Asked, Other, Results, Thought, Results], false),
            (&[Asked, Thought, Results, Other, Asked, Other, Results], true),
            (&[], false),
        ] {
            assert_eq!(is_thoughtless(said.iter().rev().copied()), expected, "{said:?}");
        }
    }

    #[test]
    fn messages_are_told_apart_in_the_clients_own_words() {
        for (message, expected) in [
            (r#"{"role":"user","content":"x"}"#, Said::Asked),
            (
                r#"{"content":[{"type":"text"},{"tool_use_id":"a","type":"tool_result"}],"role":"user"}"#,
                Said::Results,
            ),
            (
                r#"{"role":"assistant","content":[{"type":"redacted_thinking"},{"type":"text"}]}"#,
                Said::Thought,
            ),
            (r#"{"role":"assistant","content":[{"type":"text"},{"type":"thinking"}]}"#, Said::Other),
            (r#"{"role":"assistant","content":"x"}"#, Said::Other),
            (r#"{"role":"system","content":"x"}"#, Said::Aside),
            ("7", Said::Aside),
        ] {
            assert_eq!(said(serde_json::from_str(message).unwrap()), expected, "{message}");
        }
    }
}
