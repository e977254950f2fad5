//! Plans a request of the Bedrock API, which is forwarded to the operation that the client called.

use bytes::Bytes;
use http::{HeaderMap, Method};
use protocol::anthropic::Request;
use protocol::apis::UpstreamApi;
use protocol::capabilities::Capabilities;
use protocol::translate::{self, InvokeOptions, Notice, RequestedBetas, StreamContext, UnsupportedFeature};

use super::{beta_names, caller_id, context_tokens, field_names, normalize, tokenizer};
use crate::bedrock::{self, Operation, RetryPolicy};
use crate::catalog::ResolvedModel;
use crate::estimate::{self, PromptEstimate};
use crate::inference::beta_trials::BetaTrials;
use crate::inference::large_bodies::hash_large;
use crate::inference::output_limit::sent_limit;
use crate::inference::request::{InferenceRequest, UpstreamRequest};
use crate::inference::{Inference, InferenceError};

/// What a model was seen not to support by InvokeModel.
#[derive(Debug, Default)]
pub(in crate::inference) struct LeftOut {
    fields: Vec<String>,
    betas: Vec<String>,
    all_betas: bool,
    /// Fingerprints of schemas.
    schemas: Vec<u64>,
}

impl Inference {
    /// A request of the Bedrock API, forwarded. A Claude body is normalized and edited by the rules of InvokeModel, as
    /// clients in their Bedrock mode send what AWS rejects (blank text, JSON in `metadata`, betas of Anthropic's own
    /// service). What the rules cannot mend is forwarded as it came: AWS decides.
    pub(super) fn forward(
        &self,
        request: &InferenceRequest,
        (operation, headers, body): (Operation, &HeaderMap, &Bytes),
        trials: &BetaTrials,
    ) -> Result<UpstreamRequest, InferenceError> {
        let model = &request.model;
        let is_invoke =
            matches!(operation, Operation::InvokeModel | Operation::InvokeModelWithResponseStream);
        let rules_api = (is_invoke && model.capabilities.claude).then_some(UpstreamApi::InvokeModel);
        // Parsed once: that takes most of the work on a large body.
        let parsed = rules_api.and_then(|_| Request::parse_valid(body));
        let (edited, notices) = match rules_api {
            Some(api) => {
                let caller = caller_id(request);
                let features = self.unsupported.get(api, &model.model_id, caller);
                let left_out = LeftOut {
                    fields: field_names(&features),
                    betas: beta_names(&features, trials.left_out(api)),
                    all_betas: features.contains(&UnsupportedFeature::AllBetas),
                    schemas: self.unsupported.schemas(&model.model_id, caller),
                };
                self.edit_parsed(&model.capabilities, body, parsed.as_ref(), &left_out)
            }
            None => (body.clone(), Vec::new()),
        };
        let id = model.foundation_model.as_deref().unwrap_or(&model.model_id);
        let prompt = match parsed {
            parsed if edited == *body => prompt(model, parsed, body),
            _ => forwarded_prompt(model, is_invoke, &edited),
        };
        let max_tokens = sent_limit(operation, id, &edited);
        let target = self.bedrock.target_for(operation, &model.model_id);
        let (path, body_hash) = (operation.path(&model.model_id), hash_large(&edited));
        let headers = bedrock::forwarded_request_headers(headers);
        let sent = target.request(Method::POST, &path, headers, edited)?;
        Ok(UpstreamRequest {
            target,
            operation,
            upstream_api: None,
            rules_api,
            reason: "the client called the Bedrock API",
            model_id: model.model_id.clone(),
            request: sent,
            body_hash,
            estimate: self.estimate(prompt, max_tokens, model),
            pricing: self.catalog.pricing(model, self.bedrock.region()),
            retry: RetryPolicy::ConnectOnly,
            context: StreamContext::default(),
            notices,
        })
    }

    /// A Claude body as InvokeModel takes it, without `left_out`, and what was changed; the same bytes if it is none.
    pub(in crate::inference) fn edit_for_invoke(
        &self,
        capabilities: &Capabilities,
        body: &Bytes,
        left_out: &LeftOut,
    ) -> (Bytes, Vec<Notice>) {
        self.edit_parsed(capabilities, body, Request::parse_valid(body).as_ref(), left_out)
    }

    fn edit_parsed(
        &self,
        capabilities: &Capabilities,
        body: &Bytes,
        parsed: Option<&Request<'_>>,
        left_out: &LeftOut,
    ) -> (Bytes, Vec<Notice>) {
        let betas =
            RequestedBetas { names: &[], unsupported: &left_out.betas, all_unsupported: left_out.all_betas };
        let options = InvokeOptions {
            betas,
            unsupported_fields: &left_out.fields,
            ..InvokeOptions::invoke_model(self.config.options)
        };
        let (body, mut notices) = self.normalize_for_invoke(capabilities, body, parsed, &left_out.schemas);
        let text = std::str::from_utf8(&body).ok();
        match text.map(|text| translate::to_invoke(text, capabilities, &options)) {
            Some(Ok(call)) if call.unsupported.is_empty() => {
                notices.extend(call.notices);
                (Bytes::from(call.body), notices)
            }
            _ => (body, notices),
        }
    }

    /// A Claude body of the Bedrock API, normalized, and what was changed; the same bytes if it is valid, or invalid
    /// beyond mending.
    fn normalize_for_invoke(
        &self,
        capabilities: &Capabilities,
        body: &Bytes,
        parsed: Option<&Request<'_>>,
        rejected_schemas: &[u64],
    ) -> (Bytes, Vec<Notice>) {
        let Some(parsed) = parsed else { return (body.clone(), Vec::new()) };
        match normalize(body, parsed, capabilities, self.config.options.strict, rejected_schemas) {
            // AWS's response is forwarded unchanged, so an alias would reach the client.
            Ok(Some((body, normalized))) if normalized.tool_names.is_empty() => (body, normalized.notices),
            _ => (body.clone(), Vec::new()),
        }
    }
}

/// The tokens of the prompt in a body of the Bedrock API. What InvokeModel takes for a Claude model is a Messages request.
pub(in crate::inference) fn forwarded_prompt(
    model: &ResolvedModel,
    is_invoke: bool,
    body: &[u8],
) -> PromptEstimate {
    let is_messages = is_invoke && model.capabilities.claude;
    let request = is_messages.then(|| Request::parse_valid(body)).flatten();
    prompt(model, request, body)
}

fn prompt(model: &ResolvedModel, request: Option<Request<'_>>, body: &[u8]) -> PromptEstimate {
    let context = context_tokens(model, &[], body);
    match request {
        Some(request) => estimate::tokens(&request, tokenizer(model), context),
        None => estimate::body_tokens(body, tokenizer(model), context),
    }
}
