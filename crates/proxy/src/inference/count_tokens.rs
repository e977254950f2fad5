//! Token counting, for both client APIs: by AWS where it counts, from the cache, or else an estimate.
//!
//! A client without a count sends the prompt to the model, which costs money, so every valid request gets a count.
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_CountTokens.html>

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, Method};
use protocol::anthropic::{ErrorType, InvalidRequest, Request};
use protocol::capabilities::Capabilities;
use protocol::translate::{self, InvokeOptions, Notice, RequestedBetas, TranslationOptions};
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;

use super::large_bodies::hash_large;
use super::plan::{LeftOut, forwarded_prompt, normalize, tokenizer};
use super::token_counts::Key;
use super::{Inference, InferenceError};
use crate::auth::Caller;
use crate::bedrock::{self, BodyHash, Operation, UpstreamError};
use crate::catalog::ResolvedModel;
use crate::estimate;
use crate::telemetry::RecordHandle;
use crate::telemetry::record::{Attempt, UpstreamRecord};

/// Time limit of a count: clients wait for it before they send.
const COUNT_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest model id that CountTokens takes.
const MAX_ID_LEN: usize = 256;
/// The response is `{"inputTokens":N}` and little else.
const MAX_RESPONSE_BYTES: usize = 4096;

/// The tokens of a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenCount {
    /// Counted by AWS.
    Exact(u64),
    /// Estimated.
    Estimate(u64),
}

/// The response to a CountTokens request of the Bedrock API.
#[derive(Debug)]
pub(crate) enum CountTokensResponse {
    /// AWS's own.
    Forwarded(u16, HeaderMap, Bytes, Vec<Notice>),
    /// An estimate, where AWS does not count.
    Estimate(u64),
}

/// What becomes of a CountTokens request of the Bedrock API.
pub(super) enum ForwardedCount {
    /// An estimate, where AWS does not count.
    Estimate(u64),
    /// The body for AWS, and what was changed in it.
    Request(Bytes, Option<BodyHash>, Vec<Notice>),
}

/// A request to count.
pub(super) struct CountRequest {
    operation: Operation,
    body: Bytes,
    body_hash: Option<BodyHash>,
    betas: Vec<String>,
    /// The key in the cache of counts.
    key: Key,
}

impl Inference {
    /// Counts the tokens of the Messages request in `body`.
    ///
    /// # Errors
    /// When the request is not valid, or the server shuts down.
    pub(crate) async fn count_tokens(
        &self,
        record: &RecordHandle,
        caller: &Caller,
        model: &ResolvedModel,
        parsed: Request<'_>,
        body: &Bytes,
        betas: &[String],
    ) -> Result<TokenCount, InferenceError> {
        let plan = || self.plan_count(model, parsed, body, betas);
        let (estimate, count) = self.work_on_body(caller, body.len(), plan).await??;
        let Some(count) = count else { return Ok(TokenCount::Estimate(estimate)) };
        let counted = tokio::select! {
            counted = self.send_count(record, model, count) => counted,
            () = self.tasks.aborted() => return Err(InferenceError::ShuttingDown),
        };
        Ok(counted.map_or(TokenCount::Estimate(estimate), TokenCount::Exact))
    }

    /// Normalizes the body, then plans the count.
    pub(super) fn plan_count(
        &self,
        model: &ResolvedModel,
        parsed: Request<'_>,
        body: &Bytes,
        betas: &[String],
    ) -> Result<(u64, Option<CountRequest>), InvalidRequest> {
        match normalize(body, &parsed, &model.capabilities, false, &[])? {
            None => self.count_request(model, parsed, body, betas),
            Some((body, normalized)) => self
                .count_request(model, Request::parse(&body)?, &body, betas)
                .map_err(|error| normalized.locate_error(error)),
        }
    }

    /// The estimate, and the request to AWS; `None` for what cannot be counted there.
    fn count_request(
        &self,
        model: &ResolvedModel,
        mut parsed: Request<'_>,
        body: &Bytes,
        betas: &[String],
    ) -> Result<(u64, Option<CountRequest>), InvalidRequest> {
        // A client takes the number for the length of its prompt: for what cannot be seen, the least.
        let context = model.capabilities.context_tokens;
        let estimate = estimate::tokens(&parsed, tokenizer(model), context).min_tokens;
        // Betas cost nothing, and one that the model does not know would spoil the count.
        parsed.anthropic_beta = None;
        let count = if model.mantle {
            self.mantle_count(model, body, betas)?
        } else {
            self.runtime_count(model, parsed, body)?
        };
        Ok((estimate, count))
    }

    /// The CountTokens request; `None` for what Converse cannot carry.
    fn runtime_count(
        &self,
        model: &ResolvedModel,
        parsed: Request<'_>,
        body: &Bytes,
    ) -> Result<Option<CountRequest>, InvalidRequest> {
        let options = self.config.options;
        let max_tokens = model.capabilities.max_output_tokens.unwrap_or(options.default_max_tokens);
        // Translating needs a max_tokens; it is not in what is counted.
        let options = TranslationOptions { default_max_tokens: max_tokens, strict: false, ..options };
        let betas = RequestedBetas::default();
        // It costs no tokens of the prompt.
        let mut parsed = Request { safeguards: None, ..parsed };
        // The tools are sent with it.
        parsed.tool_choice.take_if(|choice| choice.kind.as_deref() == Some("none"));
        let call = translate::to_converse(parsed, betas, body.len(), &model.capabilities, &options)?;
        if !call.unsupported.is_empty() {
            return Ok(None);
        }
        let body = count_tokens_body(&call.body);
        Ok(body.map(|body| self.new_count(model, Operation::CountTokens, body, Vec::new())))
    }

    /// The client's own body, for a model that lives on Mantle.
    fn mantle_count(
        &self,
        model: &ResolvedModel,
        body: &Bytes,
        betas: &[String],
    ) -> Result<Option<CountRequest>, InvalidRequest> {
        let id = model.foundation_model.as_deref().unwrap_or(&model.model_id);
        let options = TranslationOptions { strict: false, ..self.config.options };
        let options = InvokeOptions {
            betas: RequestedBetas { names: betas, ..RequestedBetas::default() },
            ..InvokeOptions::count_tokens(id, options)
        };
        let Ok(text) = std::str::from_utf8(body) else { return Ok(None) };
        let call = translate::to_invoke(text, &model.capabilities, &options)?;
        let is_complete = call.unsupported.is_empty();
        Ok(is_complete
            .then(|| self.new_count(model, Operation::MantleCountTokens, Bytes::from(call.body), call.betas)))
    }

    fn new_count(
        &self,
        model: &ResolvedModel,
        operation: Operation,
        body: Bytes,
        betas: Vec<String>,
    ) -> CountRequest {
        let key = self.token_counts.key(counted_id(model), &body);
        CountRequest { operation, body_hash: hash_large(&body), body, betas, key }
    }

    /// What AWS counts, from the cache if it has counted it before; `None` when it does not count.
    async fn send_count(
        &self,
        record: &RecordHandle,
        model: &ResolvedModel,
        count: CountRequest,
    ) -> Option<u64> {
        let id = model.foundation_model.as_deref().filter(|id| id.len() <= MAX_ID_LEN)?;
        if !(model.capabilities.counts_tokens || model.mantle) || self.token_counts.is_unsupported(id) {
            return None;
        }
        let key = count.key;
        if let Some(tokens) = self.token_counts.get(key) {
            return Some(tokens);
        }
        record.set_upstream(UpstreamRecord { model_id: Some(id.to_owned()), ..UpstreamRecord::default() });
        let request_id = record.request_id();
        let _waiting = record.upstream_wait();
        match tokio::time::timeout(COUNT_TIMEOUT, self.count_once(id, count)).await {
            Ok(Ok(tokens)) => {
                self.token_counts.insert(key, tokens);
                return Some(tokens);
            }
            Ok(Err(error)) => {
                if is_counting_unsupported(&error) {
                    self.token_counts.mark_unsupported(id);
                }
                tracing::warn!(%request_id, %error, "CountTokens failed; the response is an estimate");
            }
            Err(_) => tracing::warn!(%request_id, "CountTokens timed out; the response is an estimate"),
        }
        None
    }

    async fn count_once(&self, id: &str, count: CountRequest) -> Result<u64, UpstreamError> {
        #[derive(Deserialize)]
        struct Counted {
            #[serde(alias = "inputTokens")]
            input_tokens: u64,
        }
        let target = self.bedrock.target_for(count.operation, id);
        let headers = count.operation.headers(None, &count.betas)?;
        let request = target.request(Method::POST, &count.operation.path(id), headers, count.body)?;
        let response = self.bedrock.send(&target, &request, count.body_hash.as_ref()).await?;
        let counted: Counted = target.read_json(response.into_body(), MAX_RESPONSE_BYTES).await?;
        Ok(counted.input_tokens)
    }

    /// Forwards a CountTokens request of the Bedrock API. A Claude body inside is edited as for InvokeModel.
    ///
    /// # Errors
    /// What AWS responds with, or a timeout.
    pub(crate) async fn forward_count_tokens(
        &self,
        record: &RecordHandle,
        caller: &Caller,
        model: &ResolvedModel,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<CountTokensResponse, InferenceError> {
        let id = counted_id(model);
        let planned =
            self.work_on_body(caller, body.len(), || self.plan_forwarded_count(model, body)).await?;
        let (sent, body_hash, notices) = match planned {
            ForwardedCount::Estimate(tokens) => return Ok(CountTokensResponse::Estimate(tokens)),
            ForwardedCount::Request(body, hash, notices) => (body, hash, notices),
        };
        let target = self.bedrock.target_for(Operation::CountTokens, id);
        let headers = bedrock::forwarded_request_headers(headers);
        let request = target.request(Method::POST, &Operation::CountTokens.path(id), headers, sent)?;
        let mut upstream = UpstreamRecord {
            model_id: Some(id.clone()),
            notices: notices.len(),
            ..UpstreamRecord::default()
        };
        let waiting = record.upstream_wait();
        let sending = tokio::time::timeout(self.config.request_timeout, async {
            let response = self.bedrock.send(&target, &request, body_hash.as_ref()).await?;
            let (status, request_id) = (response.status().as_u16(), bedrock::request_id(response.headers()));
            let headers = bedrock::forwarded_response_headers(response.headers());
            Ok((status, headers, request_id, target.read(response.into_body(), MAX_RESPONSE_BYTES).await?))
        });
        let response = tokio::select! {
            response = sending => response.unwrap_or(Err(UpstreamError::Timeout)),
            () = self.tasks.aborted() => return Err(InferenceError::ShuttingDown),
        };
        drop(waiting);
        let request_id = match &response {
            Ok((_, _, request_id, _)) => request_id.clone(),
            Err(error) => error.request_id().map(str::to_owned),
        };
        upstream.attempts.push(Attempt { outcome: "ok", aws_request_id: request_id });
        record.set_upstream(upstream);
        match response {
            Ok((status, headers, _, body)) => {
                Ok(CountTokensResponse::Forwarded(status, headers, body, notices))
            }
            Err(error) => {
                tracing::warn!(request_id = %record.request_id(), %error, "Bedrock returned an error");
                if is_counting_unsupported(&error) {
                    self.token_counts.mark_unsupported(id);
                    let estimate = || forwarded_estimate(model, body);
                    if let Some(tokens) = self.work_on_body(caller, body.len(), estimate).await? {
                        return Ok(CountTokensResponse::Estimate(tokens));
                    }
                }
                Err(error.into())
            }
        }
    }

    /// An estimate where AWS does not count, else the body for AWS and what was changed in it.
    pub(super) fn plan_forwarded_count(&self, model: &ResolvedModel, body: &Bytes) -> ForwardedCount {
        let is_unsupported = (model.capabilities.claude && !model.capabilities.counts_tokens)
            || self.token_counts.is_unsupported(counted_id(model));
        if is_unsupported && let Some(tokens) = forwarded_estimate(model, body) {
            return ForwardedCount::Estimate(tokens);
        }
        let (body, notices) = self.edit_count(&model.capabilities, body);
        let hash = hash_large(&body);
        ForwardedCount::Request(body, hash, notices)
    }

    fn edit_count(&self, capabilities: &Capabilities, body: &Bytes) -> (Bytes, Vec<Notice>) {
        let Some((native, true)) = counted_body(body).filter(|_| capabilities.claude) else {
            return (body.clone(), Vec::new());
        };
        let (native, notices) = self.edit_for_invoke(capabilities, &native.into(), &LeftOut::default());
        let native = STANDARD.encode(native);
        (json!({"input": {"invokeModel": {"body": native}}}).to_string().into(), notices)
    }
}

/// The id for CountTokens, which takes foundation models and no inference profiles.
fn counted_id(model: &ResolvedModel) -> &String {
    model.foundation_model.as_ref().unwrap_or(&model.model_id)
}

/// The CountTokens request for a Converse body: its fields that cost, byte for byte.
fn count_tokens_body(converse: &[u8]) -> Option<Bytes> {
    #[derive(Deserialize, Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Prompt<'a> {
        #[serde(borrow)]
        messages: &'a RawValue,
        #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
        system: Option<&'a RawValue>,
        #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
        tool_config: Option<&'a RawValue>,
        #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
        additional_model_request_fields: Option<&'a RawValue>,
    }
    #[derive(Serialize)]
    struct Input<'a> {
        converse: Prompt<'a>,
    }
    #[derive(Serialize)]
    struct Body<'a> {
        input: Input<'a>,
    }
    let converse = serde_json::from_slice(converse).ok()?;
    serde_json::to_vec(&Body { input: Input { converse } }).ok().map(Bytes::from)
}

/// The body inside a CountTokens request: Anthropic's, which was base64, or Converse's; and whether it is Anthropic's.
fn counted_body(body: &[u8]) -> Option<(Vec<u8>, bool)> {
    #[derive(Deserialize)]
    struct Body<'a> {
        #[serde(borrow)]
        input: Input<'a>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Input<'a> {
        #[serde(default)]
        invoke_model: Option<InvokeModel>,
        #[serde(borrow, default)]
        converse: Option<&'a RawValue>,
    }
    #[derive(Deserialize)]
    struct InvokeModel {
        /// Base64.
        body: String,
    }
    let Body { input } = serde_json::from_slice(body).ok()?;
    match (input.invoke_model, input.converse) {
        (Some(native), _) => STANDARD.decode(native.body).ok().map(|body| (body, true)),
        (None, Some(converse)) => Some((converse.get().as_bytes().to_vec(), false)),
        (None, None) => None,
    }
}

/// An estimate for a CountTokens request; `None` for what cannot be parsed, which AWS decides about.
fn forwarded_estimate(model: &ResolvedModel, body: &[u8]) -> Option<u64> {
    let (counted, is_native) = counted_body(body)?;
    Some(forwarded_prompt(model, is_native, &counted).min_tokens)
}

/// Whether the model does not count at all, or the credentials may not count.
fn is_counting_unsupported(error: &UpstreamError) -> bool {
    error.service().is_some_and(|mapped| {
        mapped.aws_message.to_lowercase().contains("support counting tokens")
            || matches!(mapped.error.kind, ErrorType::Permission | ErrorType::NotFound)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn count_keeps_the_fields_that_cost_unchanged() {
        let body = br#"{"system":[{"text":"s"}],"messages":[ {"z":1,"a":1.0} ],"inferenceConfig":{"maxTokens":1},"toolConfig":{"tools":[{"b":1,"a":2}]},"requestMetadata":{}}"#;
        let expected = r#"{"input":{"converse":{"messages":[ {"z":1,"a":1.0} ],"system":[{"text":"s"}],"toolConfig":{"tools":[{"b":1,"a":2}]}}}}"#;
        assert_eq!(count_tokens_body(body).unwrap(), expected);
        assert_eq!(count_tokens_body(b"{}"), None);
    }

    #[test]
    fn both_forms_of_a_count_hold_a_body() {
        let native = STANDARD.encode(r#"{"messages":[{"role":"user","content":"Hello there"}]}"#);
        for body in [
            json!({"input": {"invokeModel": {"body": native}}}),
            json!({"input": {"converse": {"messages": [{"role": "user", "content": [{"text": "Hello there"}]}]}}}),
        ] {
            assert!(counted_body(body.to_string().as_bytes()).is_some(), "{body}");
        }
        for body in [json!({}), json!({"input": {}}), json!({"input": {"invokeModel": {"body": "!"}}})] {
            assert!(counted_body(body.to_string().as_bytes()).is_none(), "{body}");
        }
    }
}
