//! Turns of a conversation, and the order that Bedrock wants them in.

use std::collections::HashMap;

use crate::anthropic::InvalidRequest;
use crate::anthropic::request::InputMessage;
use crate::converse::request::{ContentBlock, ConversationRole, Message, ToolResult};
use crate::translate::diagnostics::JsonPath;

/// Turn, and the index of its first message.
pub(super) struct Turn<'a> {
    pub(super) index: usize,
    pub(super) message: Message<'a>,
}

/// For each message, whether it comes between a user's and the assistant's turn: the one place where a system message
/// may stand.
pub(super) fn between_turns(messages: &[InputMessage<'_>]) -> Vec<bool> {
    let role = |message: &InputMessage<'_>, name: &str| message.role.as_deref() == Some(name);
    let mut is_before_assistant = false;
    let mut between = vec![false; messages.len()];
    for (message, between) in messages.iter().zip(&mut between).rev() {
        *between = is_before_assistant;
        if !role(message, "system") {
            is_before_assistant = role(message, "assistant");
        }
    }
    let mut is_after_user = false;
    for (message, between) in messages.iter().zip(&mut between) {
        *between &= is_after_user;
        if !role(message, "system") {
            is_after_user = role(message, "user");
        }
    }
    between
}

/// Checks that the user begins, and that each call has its result in the next turn.
pub(super) fn check_order(turns: &[Turn<'_>], path: JsonPath<'_>) -> Result<(), InvalidRequest> {
    if turns.first().is_some_and(|turn| turn.message.role != ConversationRole::User) {
        return Err(InvalidRequest::new(path, "first message must use the \"user\" role"));
    }
    let mut calls = OpenCalls::default();
    let mut calls_at = 0;
    for turn in turns {
        for block in &turn.message.content {
            if let ContentBlock::ToolResult(ToolResult { tool_use_id: id, .. }) = block
                && !calls.close(id)
            {
                let message = format!(
                    "unexpected `tool_use_id` found in `tool_result` blocks: {id}. Each `tool_result` block must have a corresponding `tool_use` block in the previous message."
                );
                return Err(InvalidRequest::new(path.index(turn.index), message));
            }
        }
        calls.check(path.index(calls_at))?;
        calls_at = turn.index;
        for block in &turn.message.content {
            if let ContentBlock::ToolUse(call) = block {
                calls.open(&call.tool_use_id);
            }
        }
    }
    calls.check(path.index(calls_at))
}

/// The calls of a turn without a result so far.
#[derive(Default)]
struct OpenCalls<'t> {
    ids: Vec<&'t str>,
    /// Number of open calls of each id.
    open: HashMap<&'t str, usize>,
}

impl<'t> OpenCalls<'t> {
    fn open(&mut self, id: &'t str) {
        self.ids.push(id);
        *self.open.entry(id).or_default() += 1;
    }

    /// Closes the call of a result; whether there is one.
    fn close(&mut self, id: &str) -> bool {
        let Some(count) = self.open.get_mut(id) else { return false };
        *count -= 1;
        if *count == 0 {
            self.open.remove(id);
        }
        true
    }

    /// Forgets the calls of the turn, all of which must have results.
    fn check(&mut self, path: JsonPath<'_>) -> Result<(), InvalidRequest> {
        if self.open.is_empty() {
            self.ids.clear();
            return Ok(());
        }
        let without_result: Vec<&str> = {
            let ids = std::mem::take(&mut self.ids);
            ids.into_iter().filter(|id| self.close(id)).collect()
        };
        let message = format!(
            "`tool_use` ids were found without `tool_result` blocks immediately after: {}. Each `tool_use` block must have a corresponding `tool_result` block in the next message.",
            without_result.join(", ")
        );
        Err(InvalidRequest::new(path, message))
    }
}
