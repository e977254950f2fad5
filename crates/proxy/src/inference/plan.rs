//! Plans a request: which upstream API, which body, and what it may cost.
//!
//! The body is normalized first, so that every upstream API gets the same conversation.
//! The body is made for Converse first: every model has it. If Converse cannot carry a field, the client's own body is
//! sent with InvokeModel, for Claude models; else the request is rejected with the fields that are not supported. Bedrock's own
//! Messages API is for operators who choose it, and for models that have nothing else.

mod forward;

use bytes::Bytes;
use http::Method;
use protocol::anthropic::{InvalidRequest, Request};
use protocol::apis::UpstreamApi;
use protocol::capabilities::Capabilities;
use protocol::translate::{
    self, InvokeOptions, Normalized, Notice, RequestedBetas, StreamContext, ToolNames, TranslationOptions,
    UnsupportedFeature, UnsupportedField,
};

pub(super) use forward::{LeftOut, forwarded_prompt};

use super::beta_trials::BetaTrials;
use super::large_bodies::hash_large;
use super::request::{ClientBody, InferenceRequest, UpstreamRequest};
use super::{Inference, InferenceError, debug};
use crate::bedrock::{Operation, RetryPolicy};
use crate::catalog::ResolvedModel;
use crate::config::UpstreamPolicy;
use crate::estimate::{self, PromptEstimate, Tokenizer};
use crate::ids;
use crate::quota::TokenEstimate;

/// Why an upstream API was taken without a choice.
const CONFIGURED: &str = "AWS_BEDROCK_ROUTE or the row of the model sets it";

/// The client's body on its way to a plan.
struct Planned<'a> {
    request: &'a InferenceRequest,
    body: &'a Bytes,
    betas: &'a [String],
    /// Betas that are left out of this request alone.
    trials: &'a BetaTrials,
    /// Tokens of the prompt.
    prompt: PromptEstimate,
    /// Whether the client expects `safeguard_results`.
    expects_safeguard_results: bool,
    /// Whether the request only fills the cache.
    is_cache_only: bool,
    /// What normalization has changed in the client's body.
    normalized: Option<&'a Normalized>,
}

impl Planned<'_> {
    /// The error with the path of the client's body.
    fn locate_error(&self, error: InvalidRequest) -> InvalidRequest {
        let error = match self.normalized {
            Some(normalized) => normalized.locate_error(error),
            None => error,
        };
        locate_error(self.request, error)
    }

    /// Changes the paths to those of the client's body.
    fn locate(&self, unsupported: &mut [UnsupportedField], notices: &mut [Notice]) {
        if let Some(normalized) = self.normalized {
            normalized.locate(unsupported, notices);
        }
        for field in unsupported {
            field.path = self.request.format.locate(&field.path).unwrap_or_default();
        }
        locate_notices(self.request, notices);
    }
}

/// The error of a Messages request with the path of the client's body.
fn locate_error(request: &InferenceRequest, mut error: InvalidRequest) -> InvalidRequest {
    if !error.path.is_empty() {
        error.path = request.format.locate(&error.path).unwrap_or_default();
    }
    error
}

/// Changes the paths of a Messages request to those of the client's body, where it has them.
fn locate_notices(request: &InferenceRequest, notices: &mut [Notice]) {
    for notice in notices {
        if let Some(path) = request.format.locate(&notice.path) {
            notice.path = path;
        }
    }
}

/// A body for an upstream API.
struct Body {
    api: UpstreamApi,
    reason: &'static str,
    operation: Operation,
    bytes: Vec<u8>,
    /// The limit of output tokens in it.
    max_tokens: Option<u64>,
    service_tier: Option<String>,
    betas: Vec<String>,
    tool_names: ToolNames,
    notices: Vec<Notice>,
}

impl Inference {
    /// The capabilities of a model for the translation of a chat. Converse takes instructions between turns, but none at
    /// the end; where a Claude model is called by Converse alone, they are the user's words in every turn.
    pub(crate) fn chat_capabilities(&self, model: &ResolvedModel) -> Capabilities {
        let mut capabilities = model.capabilities;
        capabilities.mid_conversation_system &= !(capabilities.claude && self.is_converse_only(model));
        capabilities
    }

    fn is_converse_only(&self, model: &ResolvedModel) -> bool {
        model.upstream_policy(self.config.upstream_policy) == UpstreamPolicy::Only(UpstreamApi::Converse)
    }

    /// Plans `request`. `parsed` is the Messages request in its body, parsed here when a fallback is planned.
    ///
    /// # Errors
    /// When the request is not valid, or no upstream API that may be used can carry all of it.
    pub(super) fn plan(
        &self,
        request: &InferenceRequest,
        parsed: Option<Request<'_>>,
    ) -> Result<UpstreamRequest, InferenceError> {
        self.plan_trial(request, parsed, &BetaTrials::default())
    }

    /// The same, without the betas that are left out on trial.
    fn plan_trial(
        &self,
        request: &InferenceRequest,
        parsed: Option<Request<'_>>,
        trials: &BetaTrials,
    ) -> Result<UpstreamRequest, InferenceError> {
        match &request.body {
            ClientBody::Bedrock { operation, headers, body } => {
                self.forward(request, (*operation, headers, body), trials)
            }
            ClientBody::Messages { body, betas } => {
                let parsed = match parsed {
                    Some(parsed) => parsed,
                    None => Request::parse(body)?,
                };
                debug::request(request.id(), body, betas, &parsed);
                let strict = self.config.options.strict;
                let rejected = self.unsupported.schemas(&request.model.model_id, caller_id(request));
                let normalized = normalize(body, &parsed, &request.model.capabilities, strict, &rejected);
                match normalized.map_err(|error| locate_error(request, error))? {
                    None => self.plan_messages(request, (body, betas, trials), parsed, None),
                    Some((body, normalized)) => {
                        let parsed = Request::parse(&body)?;
                        self.plan_messages(request, (&body, betas, trials), parsed, Some(&normalized))
                    }
                }
            }
        }
    }

    /// Plans a Messages request that is valid for every upstream API.
    fn plan_messages(
        &self,
        request: &InferenceRequest,
        (body, betas, trials): (&Bytes, &[String], &BetaTrials),
        parsed: Request<'_>,
        normalized: Option<&Normalized>,
    ) -> Result<UpstreamRequest, InferenceError> {
        translate::check_cache_only(&parsed, request.is_streamed)
            .map_err(|error| locate_error(request, error))?;
        let context = context_tokens(&request.model, betas, body);
        let prompt = estimate::tokens(&parsed, tokenizer(&request.model), context);
        let expects_safeguard_results = parsed.safeguards.is_some_and(translate::requests_check);
        let is_cache_only = translate::is_cache_only(&parsed);
        let planned = Planned {
            request,
            body,
            betas,
            trials,
            prompt,
            expects_safeguard_results,
            is_cache_only,
            normalized,
        };
        let body = self.choose(&planned, parsed)?;
        self.upstream_request(&planned, body)
    }

    /// The request that goes without `feature`, unless it is the same one, is not valid, or may cost more than is
    /// reserved.
    pub(super) fn replan(
        &self,
        request: &InferenceRequest,
        failed: &UpstreamRequest,
        feature: &UnsupportedFeature,
        trials: &mut BetaTrials,
        reserved: Option<i64>,
    ) -> Option<UpstreamRequest> {
        let api = failed.rules_api?;
        while *feature == UnsupportedFeature::AllBetas && trials.advance(api, failed.request.body()) {
            if let Some(other) = self.other_request(request, failed, trials, reserved) {
                return Some(other);
            }
        }
        self.remember_unsupported(request, api, feature);
        self.other_request(request, failed, trials, reserved)
    }

    /// Leaves `feature` out of later requests.
    pub(super) fn remember_unsupported(
        &self,
        request: &InferenceRequest,
        api: UpstreamApi,
        feature: &UnsupportedFeature,
    ) {
        if let UnsupportedFeature::Betas(names) = feature {
            for name in names {
                self.remember_unsupported(request, api, &UnsupportedFeature::Beta(name.clone()));
            }
            return;
        }
        let (model, caller) = (&request.model.model_id, caller_id(request));
        if self.unsupported.insert(api, model, feature, caller) {
            self.metrics.unsupported_feature(api.as_str(), debug::feature_kind(feature));
            tracing::info!(model, route = api.as_str(), %feature, "model does not support a feature");
        }
    }

    /// The plan of today, unless it is the one that failed, or may cost more than is reserved.
    fn other_request(
        &self,
        request: &InferenceRequest,
        failed: &UpstreamRequest,
        trials: &BetaTrials,
        reserved: Option<i64>,
    ) -> Option<UpstreamRequest> {
        let other = self.plan_trial(request, None, trials).ok()?;
        let is_covered = reserved.is_none_or(|reserved| other.estimate.total() <= reserved);
        (is_covered && !other.is_same_as(failed)).then_some(other)
    }

    fn choose(&self, planned: &Planned<'_>, mut parsed: Request<'_>) -> Result<Body, InferenceError> {
        let model = &planned.request.model;
        let is_claude = model.capabilities.claude;
        match model.upstream_policy(self.config.upstream_policy) {
            UpstreamPolicy::Only(UpstreamApi::Converse) => {
                // The client learns from the response that its tool calls are not checked.
                let safeguards = parsed.safeguards.take().map(|_| Notice {
                    path: "safeguards".to_owned(),
                    what: "left out: Converse does not carry it".to_owned(),
                    dropped: false,
                });
                let body = self.converse(planned, parsed)?;
                let mut body = body.map_err(|fields| translate::unsupported_error(&fields))?;
                body.notices.extend(safeguards);
                Ok(body)
            }
            UpstreamPolicy::Only(UpstreamApi::Messages) if model.has_messages_api() => {
                self.client_body(planned, UpstreamApi::Messages, CONFIGURED)
            }
            UpstreamPolicy::Only(UpstreamApi::Messages | UpstreamApi::InvokeModel) if is_claude => {
                self.client_body(planned, UpstreamApi::InvokeModel, CONFIGURED)
            }
            UpstreamPolicy::Only(_) | UpstreamPolicy::Auto => match self.converse(planned, parsed)? {
                Ok(body) if !(is_claude && self.has_field_unsupported_by_converse(planned)) => Ok(body),
                Err(fields) if !is_claude => Err(translate::unsupported_error(&fields).into()),
                Ok(_) => self.client_body(
                    planned,
                    UpstreamApi::InvokeModel,
                    "Converse was seen not to support one of its fields",
                ),
                Err(_) => self.client_body(
                    planned,
                    UpstreamApi::InvokeModel,
                    "Converse cannot carry all of its fields",
                ),
            },
        }
    }

    /// The body for Converse, or the fields that it cannot carry.
    fn converse(
        &self,
        planned: &Planned<'_>,
        parsed: Request<'_>,
    ) -> Result<Result<Body, Vec<UnsupportedField>>, InferenceError> {
        let model = &planned.request.model;
        let has_tools = parsed.tools.as_ref().is_some_and(|tools| !tools.is_empty());
        let caller = caller_id(planned.request);
        let features = self.unsupported.get(UpstreamApi::Converse, &model.model_id, caller);
        let unsupported = beta_names(&features, planned.trials.left_out(UpstreamApi::Converse));
        let betas = requested_betas(planned, &unsupported, &features);
        let converse_only = self.is_converse_only(model);
        let mut call = translate::to_converse(
            parsed,
            betas,
            planned.body.len(),
            &model.capabilities,
            &TranslationOptions { converse_only, ..self.config.options },
        )
        .map_err(|error| planned.locate_error(error))?;
        planned.locate(&mut call.unsupported, &mut call.notices);
        if !call.unsupported.is_empty() {
            debug::unsupported_fields(&call.unsupported);
            return Ok(Err(call.unsupported));
        }
        let can_stream_tools =
            model.capabilities.streaming_tools && !features.contains(&UnsupportedFeature::ToolStreaming);
        let is_streamed = !has_tools || can_stream_tools;
        Ok(Ok(Body {
            api: UpstreamApi::Converse,
            reason: "Converse carries all of it",
            operation: if is_streamed { Operation::ConverseStream } else { Operation::Converse },
            bytes: call.body,
            max_tokens: call.max_tokens,
            service_tier: None,
            betas: Vec::new(),
            tool_names: call.tool_names,
            notices: call.notices,
        }))
    }

    /// The client's own body, edited for InvokeModel or for the Messages API.
    fn client_body(
        &self,
        planned: &Planned<'_>,
        api: UpstreamApi,
        reason: &'static str,
    ) -> Result<Body, InferenceError> {
        let model = &planned.request.model;
        let features = self.unsupported.get(api, &model.model_id, caller_id(planned.request));
        let fields = field_names(&features);
        let unsupported_betas = beta_names(&features, planned.trials.left_out(api));
        let model_id = self.upstream_model_id(planned.request, api);
        let options = self.config.options;
        let options = match api {
            UpstreamApi::Messages => InvokeOptions::messages(&model_id, options),
            UpstreamApi::InvokeModel | UpstreamApi::Converse => InvokeOptions::invoke_model(options),
        };
        let betas = requested_betas(planned, &unsupported_betas, &features);
        let stream = !planned.is_cache_only;
        let options = InvokeOptions { betas, unsupported_fields: &fields, stream, ..options };
        let body = std::str::from_utf8(planned.body)
            .map_err(|_| InvalidRequest::new("", "the body is not valid UTF-8"))?;
        let mut call = translate::to_invoke(body, &model.capabilities, &options)
            .map_err(|error| planned.locate_error(error))?;
        planned.locate(&mut call.unsupported, &mut call.notices);
        if !call.unsupported.is_empty() {
            return Err(translate::unsupported_error(&call.unsupported).into());
        }
        let operation = match (api, stream) {
            (UpstreamApi::Messages, true) if model.mantle => Operation::MantleMessages,
            (UpstreamApi::Messages, false) if model.mantle => Operation::MantleMessagesDocument,
            (UpstreamApi::Messages, true) => Operation::Messages,
            (UpstreamApi::Messages, false) => Operation::MessagesDocument,
            (_, true) => Operation::InvokeModelWithResponseStream,
            (_, false) => Operation::InvokeModel,
        };
        Ok(Body {
            api,
            reason,
            operation,
            bytes: call.body,
            max_tokens: call.max_tokens,
            service_tier: call.service_tier,
            betas: call.betas,
            tool_names: ToolNames::default(),
            notices: call.notices,
        })
    }

    fn upstream_request(&self, planned: &Planned<'_>, body: Body) -> Result<UpstreamRequest, InferenceError> {
        let request = planned.request;
        let model_id = self.upstream_model_id(request, body.api);
        let headers = body.operation.headers(body.service_tier.as_deref(), &body.betas)?;
        let mut tool_names = body.tool_names;
        let mut notices = request.notices.clone();
        if let Some(normalized) = planned.normalized {
            tool_names.extend(&normalized.tool_names);
            let before = notices.len();
            notices.extend_from_slice(&normalized.notices);
            locate_notices(request, &mut notices[before..]);
        }
        notices.extend(body.notices);
        let context = StreamContext {
            message_id: ids::message_id(),
            model: request.model.requested_model.clone(),
            request_id: request.id().as_str().to_owned(),
            tag_buffer: self.config.xml_buffer,
            tool_names,
            expects_safeguard_results: planned.expects_safeguard_results,
            is_cache_only: planned.is_cache_only,
        };
        let target = self.bedrock.target_for(body.operation, &model_id);
        let (path, body_hash) = (body.operation.path(&model_id), hash_large(&body.bytes));
        let pricing = self.catalog.pricing_as(&request.model, &model_id, self.bedrock.region());
        let sent = target.request(Method::POST, &path, headers, Bytes::from(body.bytes))?;
        let upstream = UpstreamRequest {
            target,
            operation: body.operation,
            upstream_api: Some(body.api),
            rules_api: Some(body.api),
            reason: body.reason,
            model_id,
            request: sent,
            body_hash,
            retry: RetryPolicy::Standard,
            estimate: self.estimate(planned.prompt, body.max_tokens, &request.model),
            pricing,
            context,
            notices,
        };
        debug::upstream_request(request.id(), &upstream);
        Ok(upstream)
    }

    /// What a request may cost: the prompt, and the limit of output tokens that is sent, or else the most that the
    /// model writes.
    fn estimate(
        &self,
        prompt: PromptEstimate,
        max_tokens: Option<u64>,
        model: &ResolvedModel,
    ) -> TokenEstimate {
        let most = self.catalog.max_output_tokens(model);
        let output = match (max_tokens, most) {
            (Some(sent), Some(most)) => sent.min(most),
            (Some(sent), None) => sent,
            (None, most) => most.unwrap_or(self.config.options.default_max_tokens),
        };
        let tokens = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        TokenEstimate {
            input_tokens: tokens(prompt.max_tokens),
            min_input_tokens: tokens(prompt.min_tokens),
            output_tokens: tokens(output),
        }
    }

    /// The model id for `api`: the inference profile where AWS wants one, the foundation model on Mantle, else the id
    /// as it is.
    fn upstream_model_id(&self, request: &InferenceRequest, api: UpstreamApi) -> String {
        let model = &request.model;
        let id = &model.model_id;
        if model.mantle {
            return model.foundation_model.clone().unwrap_or_else(|| id.clone());
        }
        let needs_profile = api == UpstreamApi::Messages
            || self
                .unsupported
                .get(api, id, caller_id(request))
                .contains(&UnsupportedFeature::OnDemandThroughput);
        let profile = needs_profile.then(|| self.catalog.inference_profile_for(id)).flatten();
        profile.unwrap_or_else(|| id.clone())
    }

    /// Whether the body holds a field that Converse was seen not to support for this model.
    fn has_field_unsupported_by_converse(&self, planned: &Planned<'_>) -> bool {
        let (model, caller) = (&planned.request.model.model_id, caller_id(planned.request));
        let features = self.unsupported.get(UpstreamApi::Converse, model, caller);
        let body = || std::str::from_utf8(planned.body).unwrap_or_default();
        features.iter().filter_map(field_name).any(|name| {
            // The older name has the same place in Converse.
            let names = [name, if name == "output_config.format" { "output_format" } else { name }];
            names.iter().any(|name| {
                let member = format!("{}\"", name.split('.').next_back().unwrap_or(name));
                memchr::memmem::find(planned.body, member.as_bytes()).is_some()
                    && translate::has_field(body(), name)
            })
        })
    }
}

/// Whose requests taught what a model does not support.
fn caller_id(request: &InferenceRequest) -> &str {
    &request.caller.caller.user_id
}

/// Normalizes a Messages request: the new body, and what was changed; `None` for a body that is valid as it is.
pub(super) fn normalize(
    body: &Bytes,
    parsed: &Request<'_>,
    capabilities: &Capabilities,
    strict: bool,
    rejected: &[u64],
) -> Result<Option<(Bytes, Normalized)>, InvalidRequest> {
    let normalized = translate::normalize_without_schemas(body, parsed, capabilities, strict, rejected)?;
    Ok(normalized.map(|mut normalized| (Bytes::from(std::mem::take(&mut normalized.body)), normalized)))
}

/// The tokenizer of a model.
pub(super) fn tokenizer(model: &ResolvedModel) -> Tokenizer {
    Tokenizer::for_model(model.foundation_model.as_deref().unwrap_or(&model.model_id))
}

/// The context window of a model, as far as a request can extend it.
fn context_tokens(model: &ResolvedModel, betas: &[String], body: &[u8]) -> Option<u64> {
    const LONG_CONTEXT: &str = "context-1m";
    const LONG_CONTEXT_TOKENS: u64 = 1_000_000;
    let tokens = model.capabilities.context_tokens?;
    let is_long = betas.iter().any(|beta| beta.starts_with(LONG_CONTEXT))
        || memchr::memmem::find(body, LONG_CONTEXT.as_bytes()).is_some();
    Some(if is_long { tokens.max(LONG_CONTEXT_TOKENS) } else { tokens })
}

/// The betas of the client, with those that the model was seen not to support.
fn requested_betas<'a>(
    planned: &Planned<'a>,
    unsupported: &'a [String],
    features: &[UnsupportedFeature],
) -> RequestedBetas<'a> {
    let all_unsupported = features.contains(&UnsupportedFeature::AllBetas);
    RequestedBetas { names: planned.betas, unsupported, all_unsupported }
}

fn field_names(features: &[UnsupportedFeature]) -> Vec<String> {
    features.iter().filter_map(field_name).map(str::to_owned).collect()
}

fn field_name(feature: &UnsupportedFeature) -> Option<&str> {
    if let UnsupportedFeature::Field(name) = feature { Some(name) } else { None }
}

/// Names of betas, those on trial too, and displays of thinking: a display is governed by a beta.
fn beta_names(features: &[UnsupportedFeature], trial: &[String]) -> Vec<String> {
    let name = |feature: &UnsupportedFeature| match feature {
        UnsupportedFeature::Beta(name) | UnsupportedFeature::UnprovenBeta(name) => Some(name.clone()),
        UnsupportedFeature::Display(value) if value.is_empty() => Some("thinking.display".to_owned()),
        UnsupportedFeature::Display(value) => Some(format!("thinking.display.{value}")),
        _ => None,
    };
    features.iter().filter_map(name).chain(trial.iter().cloned()).collect()
}

#[cfg(test)]
pub(super) mod tests;
