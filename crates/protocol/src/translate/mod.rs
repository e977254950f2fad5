//! The only place that knows more than one language.
//!
//! `request` (with `content`, `tools` and `cache`): what a client asks, into what Converse is asked.
//! `stream`: what Converse answers, into what the client is told; `pipeline` runs it over raw bytes, `unfold`
//! over an answer that comes whole. `invoke` and `events`: the same two ways where Bedrock speaks the client's
//! language already; `chunks` and `sent` read the events of InvokeModel and of the Messages API. `error` and
//! `envelope`: what AWS calls a failure, into what Anthropic calls it; `lesson`: what a
//! refusal teaches. `chat`: what clients of OpenAI's ask and are told, into a Messages request and out of its answer.
//!
//! Nothing is dropped in silence. What a route cannot carry is a [`Loss`] that names its place in the
//! request; what was left out or changed all the same is a [`Notice`], which says whether that may change the answer.

mod betas;
mod cache;
mod chat;
mod diagnostics;
mod error;
mod fast_path;
mod forward;
mod from_converse;
mod from_invoke;
mod from_messages_api;
mod missing_thinking;
mod path;
mod server_tools;
mod thinking;
mod to_converse;
mod to_invoke;
mod tool_names;
mod unsupported;

use std::fmt;

pub use betas::AskedBetas;
pub use chat::{ChatCall, ChatOptions, ChatStream, chat, chat_completion, chat_error};
pub use diagnostics::{Notice, summary};
pub use error::anthropic_error::envelope;
pub use error::{Failure, Fault, Retry, Row as ErrorRow, TABLE as ERRORS, error, row as error_row};
pub use forward::Sink;
pub use from_converse::{End, Opening, Outcome, Pipeline, Step, StreamTranslator, Summary, unfold};
pub use from_invoke::ChunkPipeline;
pub use from_messages_api::SsePipeline;
pub use server_tools::ServerTools;
pub use to_converse::{Call, Options, request};
pub use to_invoke::{Form, InvokeCall, InvokeOptions, invoke};
pub use tool_names::ToolNames;
pub use unsupported::{Lesson, lesson};

use crate::anthropic;
use path::Path;

/// Something in a request that the route cannot carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Where it stands: members and indices joined by dots.
    pub path: String,
    /// Why it cannot be carried, in the words of Anthropic's API where it has some: clients recover on them.
    pub reason: String,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.reason)
    }
}

/// Tells a client what its request loses.
#[must_use]
pub fn refusal(losses: &[Loss]) -> anthropic::Error {
    const MOST: usize = 8;
    let mut message = losses.iter().take(MOST).map(ToString::to_string).collect::<Vec<_>>().join("; ");
    if losses.len() > MOST {
        message.push_str(&format!("; and {} more", losses.len() - MOST));
    }
    anthropic::Error::new(anthropic::ErrorType::InvalidRequest, message)
}

/// What a translation found on its way.
#[derive(Debug, Default)]
struct Findings {
    losses: Vec<Loss>,
    notices: Vec<Notice>,
}

impl Findings {
    fn lose(&mut self, path: Path<'_>, reason: impl Into<String>) {
        self.losses.push(Loss { path: path.to_string(), reason: reason.into() });
    }

    /// Members that nobody took.
    fn lose_rest<'n>(&mut self, path: Path<'_>, names: impl Iterator<Item = &'n str>) {
        for name in names {
            self.lose(path.key(name), "Extra inputs are not permitted");
        }
    }

    /// The same was said otherwise, or what was left out changes no answer.
    fn note(&mut self, path: Path<'_>, what: impl Into<String>) {
        self.notices.push(Notice { path: path.to_string(), what: what.into(), dropped: false });
    }

    /// Something that was asked for is not done.
    fn drop(&mut self, path: Path<'_>, what: impl Into<String>) {
        self.notices.push(Notice { path: path.to_string(), what: what.into(), dropped: true });
    }

    /// What was found; when nothing may be dropped, what was is a loss.
    fn settle(self, strict: bool) -> (Vec<Loss>, Vec<Notice>) {
        let Self { mut losses, notices } = self;
        let (dropped, kept): (Vec<_>, Vec<_>) =
            notices.into_iter().partition(|notice| strict && notice.dropped);
        losses.extend(dropped.into_iter().map(|Notice { path, what, .. }| {
            let why = what.strip_prefix("left out: ").unwrap_or(&what);
            Loss { path, reason: format!("{why}; nothing may be left out here (AWS_BEDROCK_STRICT)") }
        }));
        (losses, kept)
    }
}
