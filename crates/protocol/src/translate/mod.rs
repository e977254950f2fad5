//! The only place that knows more than one language.
//!
//! `request` (with `content`, `tools` and `cache`): what a client asks, into what Converse is asked.
//! `stream`: what Converse answers, into what the client is told; `pipeline` runs it over raw bytes, `unfold`
//! over an answer that comes whole. `invoke` and `events`: the same two ways where Bedrock speaks the client's
//! language already; `chunks` and `sent` read the events of InvokeModel and of the Messages API. `error` and
//! `envelope`: what AWS calls a failure, into what Anthropic calls it; `lesson`: what a
//! refusal teaches. `chat`: what clients of OpenAI's ask and are told, into a Messages request and out of its answer.
//!
//! Nothing is dropped in silence. What a route cannot carry is a [`UnsupportedField`] that names its place in the
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
mod passthrough;
mod path;
mod server_tools;
mod thinking;
mod to_converse;
mod to_invoke;
mod tool_names;
mod unsupported;

use std::fmt;

pub use betas::RequestedBetas;
pub use chat::{
    ChatCall, ChatFormat, ChatOptions, ChatStream, chat_completion, chat_error, chat_to_messages,
};
pub use diagnostics::{Notice, notice_summary};
pub use error::anthropic_error::parse_error;
pub use error::{Fault, KNOWN_ERRORS, KnownError, MappedError, Retry, known_error, map_error};
pub use from_converse::{
    ConverseStream, End, Outcome, Step, StreamContext, StreamSummary, StreamTranslator, translate_response,
};
pub use from_invoke::InvokeStream;
pub use from_messages_api::MessagesApiStream;
pub use passthrough::{MAX_DOCUMENT_BYTES, ObservedResponse, UsageObserver};
pub use server_tools::ServerTools;
pub use to_converse::{ConverseCall, TranslationOptions, to_converse};
pub use to_invoke::{InvokeCall, InvokeOptions, to_invoke};
pub use tool_names::ToolNames;
pub use unsupported::{UnsupportedFeature, detect_unsupported};

use crate::anthropic;
use path::JsonPath;

/// Something in a request that the route cannot carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsupportedField {
    /// Where it stands: members and indices joined by dots.
    pub path: String,
    /// Why it cannot be carried, in the words of Anthropic's API where it has some: clients recover on them.
    pub reason: String,
}

impl fmt::Display for UnsupportedField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.reason)
    }
}

/// Tells a client what its request loses.
#[must_use]
pub fn unsupported_error(unsupported: &[UnsupportedField]) -> anthropic::Error {
    const MAX_LISTED: usize = 8;
    let mut message =
        unsupported.iter().take(MAX_LISTED).map(ToString::to_string).collect::<Vec<_>>().join("; ");
    if unsupported.len() > MAX_LISTED {
        message.push_str(&format!("; and {} more", unsupported.len() - MAX_LISTED));
    }
    anthropic::Error::new(anthropic::ErrorType::InvalidRequest, message)
}

/// What a translation found on its way.
#[derive(Debug, Default)]
struct Diagnostics {
    unsupported: Vec<UnsupportedField>,
    notices: Vec<Notice>,
}

impl Diagnostics {
    fn unsupported(&mut self, path: JsonPath<'_>, reason: impl Into<String>) {
        self.unsupported.push(UnsupportedField { path: path.to_string(), reason: reason.into() });
    }

    /// Members that nobody took.
    fn unknown_fields<'n>(&mut self, path: JsonPath<'_>, names: impl Iterator<Item = &'n str>) {
        for name in names {
            self.unsupported(path.key(name), "Extra inputs are not permitted");
        }
    }

    /// The same was said otherwise, or what was left out changes no answer.
    fn adjusted(&mut self, path: JsonPath<'_>, what: impl Into<String>) {
        self.notices.push(Notice { path: path.to_string(), what: what.into(), dropped: false });
    }

    /// Something that was asked for is not done.
    fn dropped(&mut self, path: JsonPath<'_>, what: impl Into<String>) {
        self.notices.push(Notice { path: path.to_string(), what: what.into(), dropped: true });
    }

    /// What was found; when nothing may be dropped, what was is a loss.
    fn finish(self, strict: bool) -> (Vec<UnsupportedField>, Vec<Notice>) {
        let Self { mut unsupported, notices } = self;
        let (dropped, kept): (Vec<_>, Vec<_>) =
            notices.into_iter().partition(|notice| strict && notice.dropped);
        unsupported.extend(dropped.into_iter().map(|Notice { path, what, .. }| {
            let why = what.strip_prefix("left out: ").unwrap_or(&what);
            UnsupportedField {
                path,
                reason: format!("{why}; nothing may be left out here (AWS_BEDROCK_STRICT)"),
            }
        }));
        (unsupported, kept)
    }
}
