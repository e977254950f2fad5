//! From a question to Bedrock's first word, retries included. Nothing was said to the client yet, so a failure here can
//! still be an HTTP error, and a question can still be asked again.

use std::sync::Arc;

use bytes::Bytes;
use messages::anthropic::ErrorType;
use messages::translate::{Call, Failure as Refused, Opening, Pipeline, Retry};
use tokio::time::Instant;

use super::access_log::Entry;
use super::error::ApiError;
use super::live::{self, Live, Sink};
use crate::app::App;
use crate::bedrock::{Attempts, Failure, Question};
use crate::catalog::Target;
use crate::ids;

/// A question, and what is needed to understand the answer.
#[derive(Debug)]
pub(super) struct Inquiry {
    question: Question,
    opening: Opening,
    entry: Entry,
}

impl Inquiry {
    pub(super) fn new(target: Target, call: Call, entry: Entry, tag_buffer: bool) -> Self {
        let opening = Opening {
            message_id: ids::message_id(),
            model: target.requested,
            request_id: entry.request_id().as_str().to_owned(),
            names: call.names,
            tag_buffer,
        };
        Self {
            question: Question { model_id: target.model_id, body: Bytes::from(call.body) },
            opening,
            entry,
        }
    }

    pub(super) fn entry(&self) -> &Entry {
        &self.entry
    }
}

/// Why an attempt did not get to a first word.
enum NotBegun {
    /// Bedrock said so in its first frames.
    Refused(Refused),
    /// Everything else; retries are behind it.
    Failed(ApiError),
}

/// Asks until there is a first word, and returns the answer with the events of that word in `sink`.
pub(super) async fn open<S: Sink>(
    app: Arc<App>,
    inquiry: Inquiry,
    mut sink: S,
) -> Result<(Live, S), ApiError> {
    let mut attempts = Attempts::default();
    let opened = loop {
        let begun = begin(&app, &inquiry, &mut attempts, &mut sink);
        let error = match tokio::time::timeout(app.relay.idle_timeout, begun).await {
            Ok(Ok(live)) => break Ok(live),
            Ok(Err(NotBegun::Refused(refused))) => {
                sink.forget();
                if refused.retry == Retry::AfterPause && attempts.again().await {
                    continue;
                }
                live::log(&inquiry.entry, &refused);
                refused.into()
            }
            Ok(Err(NotBegun::Failed(error))) => error,
            Err(_) => silent(),
        };
        break Err(error);
    };
    inquiry.entry.note(|fields| fields.retries = attempts.retries());
    opened.map(|live| (live, sink))
}

/// Bedrock has been silent for too long.
pub(super) fn silent() -> ApiError {
    ApiError::new(ErrorType::Timeout, "Bedrock did not answer in time")
}

async fn begin<S: Sink>(
    app: &App,
    inquiry: &Inquiry,
    attempts: &mut Attempts,
    sink: &mut S,
) -> Result<Live, NotBegun> {
    let entry = &inquiry.entry;
    let answer = app.bedrock.converse_stream(&inquiry.question, attempts).await;
    let answer = answer.map_err(|failure| NotBegun::Failed(failed(entry, failure)))?;
    entry.note(|fields| fields.aws_request_id = answer.request_id);
    let mut live = Live::new(answer.body, Pipeline::new(inquiry.opening.clone()), entry.clone());
    loop {
        let chunk = live.chunk().await;
        let ended = live.take(chunk, sink);
        if live.is_started() {
            entry.note(|fields| fields.first_word = Some(Instant::now()));
            return Ok(live);
        }
        if ended {
            return Err(live.failure().map_or_else(
                || NotBegun::Failed(ApiError::gateway("Bedrock ended its answer before it began")),
                |refused| NotBegun::Refused(refused.clone()),
            ));
        }
    }
}

/// The failure in the log, with AWS's own words, and as the client may see it.
fn failed(entry: &Entry, failure: Failure) -> ApiError {
    let request_id = entry.request_id();
    if let Failure::Refused(refusal) = &failure {
        entry.note(|fields| fields.aws_request_id.clone_from(&refusal.request_id));
        live::log(entry, &refusal.meaning);
    } else {
        tracing::error!(%request_id, %failure, "no answer from Bedrock");
    }
    failure.into()
}
