//! One small question to a model, by the way that requests go: for the doctor. Nobody's limit is asked, and nothing is
//! charged.

use std::sync::Arc;

use bytes::Bytes;
use http::Request as HttpRequest;
use protocol::anthropic::{MessageAccumulator, Request};
use serde_json::json;
use tokio::time::Instant;

use super::access_log::Entry;
use super::call::{self, Asked};
use super::error::ApiError;
use super::opening::{self, Inquiry, Opened};
use crate::app::App;
use crate::catalog::ResolvedModel;
use crate::ids::RequestId;

/// An answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probed {
    /// The route that it took.
    pub route: &'static str,
    /// From the question to the end of the answer.
    pub milliseconds: u128,
    /// Of the prompt and of the answer.
    pub tokens: u64,
    /// In nano-dollars.
    pub cost: i64,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unanswered {
    /// What a client would be told.
    pub said: String,
    /// The row of `docs/errors.md` that explains it.
    pub code: Option<&'static str>,
}

impl From<ApiError> for Unanswered {
    fn from(error: ApiError) -> Self {
        Self { said: error.error().message.clone(), code: error.explained() }
    }
}

/// Asks `target` for one token.
///
/// # Errors
/// When there is no answer.
pub async fn ask(app: &Arc<App>, target: ResolvedModel) -> Result<Probed, Unanswered> {
    let started = Instant::now();
    let tariff = app.catalog.pricing(&target, app.bedrock.region());
    let body = json!({
        "model": target.requested_model,
        "max_tokens": 1,
        "stream": true,
        "messages": [{"role": "user", "content": "Hi"}],
    });
    let body = Bytes::from(body.to_string());
    let asked = Asked { body: body.clone(), betas: Vec::new(), target, notices: Vec::new() };
    let request = Request::parse(&body).map_err(ApiError::from)?;
    let call = call::prepare(app, &asked, request)?;
    let route = call.route.as_str();
    let entry = Entry::new(RequestId::generate(), &HttpRequest::default(), Arc::clone(app));
    let inquiry = Inquiry::new(asked, call, entry.clone(), false);
    let Opened { mut live, mut sink, .. } =
        opening::open(Arc::clone(app), inquiry, MessageAccumulator::default()).await?;
    loop {
        let chunk = live.chunk().await;
        if live.take(chunk, &mut sink) {
            break;
        }
    }
    if let Some(failure) = live.failure() {
        return Err(ApiError::from(failure.clone()).into());
    }
    let usage = entry.usage().unwrap_or_default();
    let read = usage.input_tokens + usage.cache_read_input_tokens + usage.cache_creation_input_tokens;
    Ok(Probed {
        route,
        milliseconds: started.elapsed().as_millis(),
        tokens: read + usage.output_tokens,
        cost: tariff.rates(&usage).cost(&usage),
    })
}
