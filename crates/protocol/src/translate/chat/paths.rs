//! Paths of the translated Messages request → paths of the chat request.
//!
//! Errors and notices name a place in the body that the client sent.

use super::reasoning::Paths;
use crate::openai;
use crate::openai::request::TextOr;

/// Where a block of the Messages request comes from in the chat request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BlockOrigin {
    /// Index of the message.
    pub(super) message: u32,
    pub(super) part: Part,
}

/// The part of a message that became a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The content, a string.
    Content,
    /// A part of the content, by its index.
    Item(u32),
    /// The refusal.
    Refusal,
    /// A tool call, by its index.
    Call(u32),
    /// The function call.
    FunctionCall,
    /// A tool result: the whole message. Whether each of its content parts is a block.
    Result { has_all_parts: bool },
    /// Nothing that the client sent.
    Added,
}

/// Where the values of a Messages request come from in the chat request that it was made from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChatPaths {
    pub(super) system: Vec<BlockOrigin>,
    pub(super) turns: Vec<Vec<BlockOrigin>>,
    /// Indexes of the tools that are sent, where some are left out.
    pub(super) tools: Option<Vec<usize>>,
    /// Names of the members that became another.
    pub(super) members: ChatMembers,
}

/// Members of the chat request with another name in the Messages request. `None` for a member that the client did not send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ChatMembers {
    pub(super) max_tokens: Option<&'static str>,
    pub(super) tools: Option<&'static str>,
    pub(super) tool_choice: Option<&'static str>,
    pub(super) thinking: Paths,
    /// Whether the index of a stop sequence is the client's.
    pub(super) has_all_stops: bool,
}

impl ChatMembers {
    pub(super) fn new(chat: &openai::Request<'_>) -> Self {
        let name = |name: &'static str, is_given: bool| is_given.then_some(name);
        let is_list = matches!(chat.stop, Some(TextOr::More(_)));
        Self {
            max_tokens: name("max_completion_tokens", chat.max_completion_tokens.is_some())
                .or(name("max_tokens", chat.max_tokens.is_some())),
            tools: name("tools", chat.tools.is_some()).or(name("functions", chat.functions.is_some())),
            tool_choice: name("tool_choice", chat.tool_choice.is_some())
                .or(name("function_call", chat.function_call.is_some()))
                .or(name("parallel_tool_calls", chat.parallel_tool_calls.is_some())),
            thinking: Paths::default(),
            has_all_stops: is_list,
        }
    }
}

impl ChatPaths {
    /// The path in the chat request of the value at `path` in the Messages request; `None` when the client sent no such
    /// value.
    #[must_use]
    pub fn locate(&self, path: &str) -> Option<String> {
        let (first, rest) = path.split_once('.').unwrap_or((path, ""));
        let mut rest = rest.split('.').filter(|segment| !segment.is_empty());
        let with =
            |name: &str, rest: &str| if rest.is_empty() { name.to_owned() } else { format!("{name}.{rest}") };
        let last = path.rsplit('.').next().unwrap_or_default();
        match first {
            "messages" => self.message(rest),
            "system" => match index(rest.next()) {
                Some(at) => locate_block(*self.system.get(at)?, rest),
                None => Some(format!("messages.{}", self.system.first()?.message)),
            },
            "tools" => {
                let name = self.members.tools?;
                let Some(at) = index(rest.next()) else { return Some(name.to_owned()) };
                let at = self.tools.as_ref().map_or(Some(at), |tools| tools.get(at).copied())?;
                let base =
                    if name == "tools" { format!("tools.{at}.function") } else { format!("{name}.{at}") };
                Some(match rest.next() {
                    None => base,
                    Some("type") => format!("tools.{at}.type"),
                    Some("cache_control") => format!("tools.{at}.cache_control"),
                    Some("input_schema") => {
                        with(&format!("{base}.parameters"), &rest.collect::<Vec<_>>().join("."))
                    }
                    Some(member) => format!("{base}.{member}"),
                })
            }
            "tool_choice" => {
                let name = self.members.tool_choice?;
                Some(match (name, last) {
                    ("tool_choice", "name") => format!("{name}.function.name"),
                    ("function_call", "name") => format!("{name}.name"),
                    _ => name.to_owned(),
                })
            }
            "stop_sequences" if self.members.has_all_stops => {
                Some(with("stop", rest.next().unwrap_or_default()))
            }
            "stop_sequences" => Some("stop".to_owned()),
            "max_tokens" => self.members.max_tokens.map(str::to_owned),
            "thinking" if rest.next() == Some("budget_tokens") => {
                let Paths { budget, thinking, .. } = self.members.thinking;
                budget.or(thinking).map(str::to_owned)
            }
            "thinking" => self.members.thinking.thinking.map(str::to_owned),
            "output_config" if rest.next() == Some("effort") => {
                self.members.thinking.effort.map(str::to_owned)
            }
            "output_config" => {
                let rest: Vec<&str> = rest.collect();
                Some(with("response_format.json_schema", &rest.join(".")))
            }
            "metadata" => Some("user".to_owned()),
            _ => Some(path.to_owned()),
        }
    }

    fn message<'p>(&self, mut rest: impl Iterator<Item = &'p str>) -> Option<String> {
        let Some(at) = index(rest.next()) else { return Some("messages".to_owned()) };
        let turn = self.turns.get(at)?;
        let first = turn.iter().find(|origin| origin.part != Part::Added)?;
        match (rest.next(), index(rest.next())) {
            (Some("content"), Some(block)) => locate_block(*turn.get(block)?, rest),
            _ => Some(format!("messages.{}", first.message)),
        }
    }
}

fn index(segment: Option<&str>) -> Option<usize> {
    segment?.parse().ok()
}

/// The path of a member of a block, or of the block.
fn locate_block<'p>(origin: BlockOrigin, mut rest: impl Iterator<Item = &'p str>) -> Option<String> {
    let message = format!("messages.{}", origin.message);
    let member = rest.next();
    Some(match (origin.part, member) {
        (Part::Added, _) => return None,
        (Part::Content, _) => format!("{message}.content"),
        (Part::Refusal, _) => format!("{message}.refusal"),
        (Part::Item(at), Some("source")) => format!("{message}.content.{at}"),
        (Part::Item(at), Some("title")) => format!("{message}.content.{at}.file.filename"),
        (Part::Item(at), Some(member)) => format!("{message}.content.{at}.{member}"),
        (Part::Item(at), None) => format!("{message}.content.{at}"),
        (Part::Call(at), Some("id")) => format!("{message}.tool_calls.{at}.id"),
        (Part::Call(at), Some("name")) => format!("{message}.tool_calls.{at}.function.name"),
        (Part::Call(at), Some("input")) => format!("{message}.tool_calls.{at}.function.arguments"),
        (Part::Call(at), _) => format!("{message}.tool_calls.{at}"),
        (Part::FunctionCall, Some("name")) => format!("{message}.function_call.name"),
        (Part::FunctionCall, Some("input")) => format!("{message}.function_call.arguments"),
        (Part::FunctionCall, _) => format!("{message}.function_call"),
        (Part::Result { .. }, Some("tool_use_id")) => format!("{message}.tool_call_id"),
        (Part::Result { has_all_parts }, Some("content")) => match rest.next() {
            Some(at) if has_all_parts => {
                let part = Part::Item(at.parse().ok()?);
                return locate_block(BlockOrigin { part, ..origin }, rest);
            }
            _ => format!("{message}.content"),
        },
        (Part::Result { .. }, _) => message,
    })
}
