//! Handling of one request, from its headers to the response.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt as _, Either, Full, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::anthropic::{self, Translator};
use crate::auth::{self, Authorization};
use crate::binding::ThinkingBindings;
use crate::directives::{self, ResponsePlan, ScriptOptions};
use crate::error::AwsError;
use crate::fixtures;
use crate::models::{self, Model, ModelIdForm};
use crate::response_metadata::ResponseMetadata;
use crate::routes::{Api, CalledOperation, ModelOperation};
use crate::script::{self, ScriptStep};
use crate::scripted_body::{ScriptedBody, StreamFormat};
use crate::signatures::Binding;
use crate::state::State;
use crate::tokens::{CacheablePrompt, MeteredUsage};
use crate::validate::{self, Version};
use crate::{control, converse, mantle, sts};

/// Maximum body size that AWS documents, in bytes.
const MAX_BODY_BYTES: usize = 25_000_000;

pub(crate) type HandlerBody = Either<Full<Bytes>, ScriptedBody>;

/// Failure of a request, by error format.
pub(crate) enum HandlerError {
    /// AWS's format.
    Aws(AwsError),
    /// Anthropic's format, on the Messages API.
    Model(AwsError),
    /// STS's XML.
    Sts(AwsError),
    ConnectionDropped,
}

impl From<AwsError> for HandlerError {
    fn from(error: AwsError) -> Self {
        Self::Aws(error)
    }
}

impl HandlerError {
    /// Removes the prefix that only Converse sends.
    fn without_model_prefix(self) -> Self {
        match self {
            Self::Aws(error) => Self::Aws(error.without_model_prefix()),
            other => other,
        }
    }

    /// Changes the format to Anthropic's.
    fn into_anthropic(self) -> Self {
        match self {
            Self::Aws(error) => Self::Model(error.without_model_prefix()),
            other => other,
        }
    }
}

/// Handler of one request.
pub(crate) struct Handler<'a> {
    pub(crate) state: &'a State,
    pub(crate) parts: &'a Parts,
    /// Number of the request in the log.
    pub(crate) number: u64,
    pub(crate) seed: u64,
    pub(crate) started: Instant,
}

impl Handler<'_> {
    /// Authenticates the request, reads its body and responds.
    ///
    /// # Errors
    /// An error in the format of the API.
    pub(crate) async fn handle(
        &self,
        operation: CalledOperation,
        body: Incoming,
    ) -> Result<Response<HandlerBody>, HandlerError> {
        let is_sts = operation == CalledOperation::CallerIdentity;
        self.dispatch(operation, body).await.map_err(|failure| match failure {
            HandlerError::Aws(error) if is_sts => HandlerError::Sts(error),
            other => other,
        })
    }

    async fn dispatch(
        &self,
        operation: CalledOperation,
        body: Incoming,
    ) -> Result<Response<HandlerBody>, HandlerError> {
        let config = &self.state.config;
        let accepts_x_api_key = matches!(
            operation,
            CalledOperation::Messages(_) | CalledOperation::MantleCountTokens | CalledOperation::MantleModels
        );
        let caller = auth::authenticate(config, self.parts, self.state.now(), accepts_x_api_key)?;
        if self.state.key_deleted.load(Ordering::Relaxed) {
            return Err(auth::unknown_key().into());
        }
        let body = read_body(body).await?;
        if config.record_bodies {
            self.state.log.set_body(self.number, &body);
        }
        if let Authorization::Signed(signed) = caller {
            signed.verify(config, self.parts, &body)?;
        }
        match operation {
            CalledOperation::Model { id, operation } => self.model(&id, operation, &body).await,
            CalledOperation::Messages(api) => {
                self.messages(api, &body).await.map_err(HandlerError::into_anthropic)
            }
            CalledOperation::MantleCountTokens => {
                self.count_tokens(&body).map_err(HandlerError::into_anthropic)
            }
            CalledOperation::MantleModels => Ok(json_response(&mantle::models())),
            CalledOperation::FoundationModels => {
                Ok(json_response(&control::foundation_models(config, self.parts)?))
            }
            CalledOperation::FoundationModel(id) => {
                Ok(json_response(&control::foundation_model(config, &id)?))
            }
            CalledOperation::InferenceProfiles => {
                Ok(json_response(&control::inference_profiles(config, self.parts)?))
            }
            CalledOperation::InferenceProfile(id) => {
                Ok(json_response(&control::inference_profile(config, &id)?))
            }
            CalledOperation::CallerIdentity => {
                Ok(sts::get_caller_identity(&body)?.map(|body| Either::Left(Full::new(body))))
            }
        }
    }

    async fn model(
        &self,
        id: &str,
        operation: ModelOperation,
        body: &Bytes,
    ) -> Result<Response<HandlerBody>, HandlerError> {
        let config = &self.state.config;
        let mut value: Value = serde_json::from_slice(body).map_err(|error| invalid_json(&error))?;
        let (model, form) = models::resolve(id, &config.region, &config.application_profiles)?;
        if operation == ModelOperation::CountTokens {
            if let Some(request) = value.get_mut("input").and_then(|input| input.get_mut("converse")) {
                validate::drop_nulls(request);
            }
            let tokens = validate::count_tokens(id, &value, model, form)?;
            return Ok(json_response(&json!({"inputTokens": tokens})));
        }
        models::check_on_demand(model, form, id)?;
        self.check_access(model)?;
        self.check_project(config.application_profiles.contains_key(id))?;
        match operation {
            ModelOperation::Converse => self.converse(model, &mut value, body, false).await,
            ModelOperation::ConverseStream => self.converse(model, &mut value, body, true).await,
            _ => {
                let is_streaming = operation == ModelOperation::InvokeModelStream;
                self.invoke(model, &value, body, is_streaming)
                    .await
                    .map_err(HandlerError::without_model_prefix)
            }
        }
    }

    fn check_access(&self, model: &Model) -> Result<(), AwsError> {
        if self.state.config.denied_models.contains(model.id) {
            return Err(AwsError::from_name("AccessDeniedException", None));
        }
        Ok(())
    }

    /// Checks the header of the project: absent, `default`, or a project and no application inference profile.
    fn check_project(&self, is_application_profile: bool) -> Result<(), AwsError> {
        const MAX_BYTES: usize = 2048;
        let Some(project) = self.parts.headers.get(auth::PROJECT_HEADER) else {
            return Ok(());
        };
        let project = project.to_str().unwrap_or_default();
        let id = match project.strip_prefix("arn:aws").and_then(|arn| arn.split_once(":bedrock:")) {
            Some((_, arn)) => arn.split_once(":project/").map_or("", |(_, id)| id),
            None => project,
        };
        let is_valid = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
        if id.is_empty() || project.len() > MAX_BYTES || !id.chars().all(is_valid) {
            return Err(AwsError::validation(format!(
                "1 validation error detected: Value '{project}' at 'projectIdentifier' failed to satisfy constraint: \
                 Member must satisfy regular expression pattern: ([a-zA-Z0-9_-]+|arn:aws(|-us-gov|-cn|-iso|-iso-b|\
                 -iso-f|-eusc):bedrock:[0-9a-z-]{{1,20}}:[0-9]{{12}}:project/[a-zA-Z0-9_-]+)"
            )));
        }
        if is_application_profile && id != "default" {
            return Err(AwsError::validation(
                "Application inference profiles don't support non-default projects.",
            ));
        }
        Ok(())
    }

    async fn converse(
        &self,
        model: &'static Model,
        value: &mut Value,
        body: &Bytes,
        is_streaming: bool,
    ) -> Result<Response<HandlerBody>, HandlerError> {
        validate::drop_nulls(value);
        validate::converse(value, model, is_streaming)?;
        let cacheable = converse::cacheable_prompt(value, model);
        let betas = converse::items(&value["additionalModelRequestFields"], "anthropic_beta");
        let betas: Vec<&str> = betas.iter().filter_map(Value::as_str).collect();
        validate::check_context_window(cacheable.tokens(), &betas, model)?;
        let mut prompt = converse::prompt(value, model);
        prompt.binding = self.check_bindings(&ThinkingBindings::from_converse(value), model)?;
        let max = converse::max_tokens(value, model);
        let (steps, metered) = self.plan_script(model, &cacheable, &prompt, max, body)?;
        let metadata = ResponseMetadata::from_converse(value, model, metered, &steps);
        if is_streaming {
            return Ok(self.stream(steps, StreamFormat::Converse, metadata));
        }
        let steps = self.collect_steps(steps).await?;
        self.state.log.add_usage(self.number, metadata.metered.usage);
        Ok(json_response(&converse::accumulate(steps, &metadata, self.latency_ms())))
    }

    async fn invoke(
        &self,
        model: &'static Model,
        value: &Value,
        body: &Bytes,
        is_streaming: bool,
    ) -> Result<Response<HandlerBody>, HandlerError> {
        let echoed_headers = self.echoed_headers()?;
        let betas = converse::items(value, "anthropic_beta");
        let betas: Vec<&str> = betas.iter().filter_map(Value::as_str).collect();
        self.state.config.safeguards.check(value, Api::InvokeModel, &betas)?;
        validate::invoke(value, model, is_streaming)?;
        let (steps, metadata) = self.plan_anthropic(model, value, body, Api::InvokeModel, &betas)?;
        let translator = Translator::new(model, self.seed);
        let mut response = if is_streaming {
            let mut response = self.stream(steps, StreamFormat::Invoke(translator), metadata);
            let json = HeaderValue::from_static("application/json");
            response.headers_mut().insert("x-amzn-bedrock-content-type", json);
            response
        } else {
            let steps = self.collect_steps(steps).await?;
            let usage = metadata.metered.usage;
            self.state.log.add_usage(self.number, usage);
            let mut response = json_response(&anthropic::accumulate(translator, steps, &metadata));
            for (name, count) in [
                ("x-amzn-bedrock-input-token-count", usage.input_tokens),
                ("x-amzn-bedrock-output-token-count", usage.output_tokens),
                ("x-amzn-bedrock-cache-read-input-token-count", usage.cache_read_tokens),
                ("x-amzn-bedrock-cache-write-input-token-count", usage.cache_write_tokens),
                ("x-amzn-bedrock-invocation-latency", self.latency_ms()),
            ] {
                response.headers_mut().insert(name, count.into());
            }
            response
        };
        for (name, value) in echoed_headers {
            response.headers_mut().insert(name, value);
        }
        Ok(response)
    }

    /// Request headers that InvokeModel returns in its response.
    fn echoed_headers(&self) -> Result<Vec<(&'static str, HeaderValue)>, AwsError> {
        let mut echoed_headers = Vec::new();
        for (name, values) in [
            ("x-amzn-bedrock-service-tier", &["priority", "default", "flex", "reserved"][..]),
            ("x-amzn-bedrock-performanceconfig-latency", &["standard", "optimized"][..]),
        ] {
            let Some(value) = self.parts.headers.get(name) else {
                continue;
            };
            let text = value.to_str().unwrap_or_default();
            if !values.contains(&text) {
                let member = name.trim_start_matches("x-amzn-bedrock-").replace('-', "_");
                return Err(AwsError::validation(format!(
                    "1 validation error detected: Value '{text}' at '{member}' failed to satisfy constraint: Member \
                     must satisfy enum value set: [{}]",
                    values.join(", ")
                )));
            }
            echoed_headers.push((name, value.clone()));
        }
        Ok(echoed_headers)
    }

    async fn messages(&self, api: Api, body: &Bytes) -> Result<Response<HandlerBody>, HandlerError> {
        let value: Value = serde_json::from_slice(body).map_err(|error| invalid_json(&error))?;
        let model = self.find_messages_model(api, &value)?;
        self.check_access(model)?;
        let betas = self.beta_header();
        let betas: Vec<&str> = betas.iter().map(String::as_str).collect();
        let version = self.api_version(api, &value)?;
        self.state.config.safeguards.check(&value, api, &betas)?;
        validate::messages(&value, model, api, &betas, version)?;
        let (steps, metadata) = self.plan_anthropic(model, &value, body, api, &betas)?;
        let translator = Translator::new(model, self.seed);
        if value["stream"] == true {
            return Ok(self.stream(steps, StreamFormat::Messages { translator, ping_sent: false }, metadata));
        }
        let steps = self.collect_steps(steps).await?;
        self.state.log.add_usage(self.number, metadata.metered.usage);
        Ok(json_response(&anthropic::accumulate(translator, steps, &metadata)))
    }

    fn count_tokens(&self, body: &Bytes) -> Result<Response<HandlerBody>, HandlerError> {
        let value: Value = serde_json::from_slice(body).map_err(|error| invalid_json(&error))?;
        let model = self.find_messages_model(Api::MantleMessages, &value)?;
        let betas = self.beta_header();
        let betas: Vec<&str> = betas.iter().map(String::as_str).collect();
        let version = self.api_version(Api::MantleMessages, &value)?;
        validate::mantle_count_tokens(&value, model, &betas, version)?;
        ThinkingBindings::from_anthropic(&value).check(model)?;
        let tokens = anthropic::cacheable_prompt(&value, model).tokens();
        Ok(json_response(&json!({"input_tokens": tokens})))
    }

    /// Model of a Messages body: an inference profile on bedrock-runtime, a foundation model id on bedrock-mantle.
    fn find_messages_model(&self, api: Api, body: &Value) -> Result<&'static Model, AwsError> {
        let id = body["model"].as_str().ok_or_else(|| AwsError::validation("model: Field required"))?;
        if api == Api::MantleMessages {
            return mantle::find(id, &self.state.config.region);
        }
        let (model, form) = models::find(id, &self.state.config.region)?;
        models::check_on_demand(model, form, id)?;
        if form == ModelIdForm::FoundationModel || id.starts_with("arn:") || !model.is_claude() {
            return Err(AwsError::validation("The provided model identifier is invalid."));
        }
        Ok(model)
    }

    /// Values of `anthropic-beta`, which may be repeated and may hold lists.
    fn beta_header(&self) -> Vec<String> {
        let lines = self.parts.headers.get_all("anthropic-beta").iter().filter_map(|line| line.to_str().ok());
        lines
            .flat_map(|line| line.split(','))
            .map(|name| name.trim().to_owned())
            .filter(|name| !name.is_empty())
            .collect()
    }

    /// Version in the header; bedrock-runtime also accepts InvokeModel's version in the body.
    fn api_version(&self, api: Api, body: &Value) -> Result<Version, AwsError> {
        let header =
            self.parts.headers.get("anthropic-version").map(|value| value.to_str().unwrap_or_default());
        match header {
            Some("2023-06-01") => Ok(Version::V2023),
            Some("2026-10-21") => Ok(Version::V2026),
            Some(other) => {
                Err(AwsError::validation(format!("anthropic-version: \"{other}\" is not a valid version")))
            }
            None if api == Api::RuntimeMessages && body["anthropic_version"] == "bedrock-2023-05-31" => {
                Ok(Version::V2023)
            }
            None => Err(AwsError::validation("anthropic-version: header is required")),
        }
    }

    /// Script and metadata of the response to an Anthropic body.
    fn plan_anthropic(
        &self,
        model: &'static Model,
        value: &Value,
        body: &Bytes,
        api: Api,
        betas: &[&str],
    ) -> Result<(Vec<ScriptStep>, ResponseMetadata), HandlerError> {
        let cacheable = anthropic::cacheable_prompt(value, model);
        validate::check_context_window(cacheable.tokens(), betas, model)?;
        let mut prompt = anthropic::prompt(value, model, api);
        prompt.binding = self.check_bindings(&ThinkingBindings::from_anthropic(value), model)?;
        let max = value["max_tokens"].as_u64().unwrap_or(model.max_output_tokens);
        let (steps, metered) = self.plan_script(model, &cacheable, &prompt, max, body)?;
        let safeguards = self.state.config.safeguards;
        let metadata = ResponseMetadata::from_anthropic(value, metered, &steps, safeguards);
        Ok((steps, metadata))
    }

    /// Checks the bindings of thinking blocks, logs the ignored ones, and returns the binding of the response.
    fn check_bindings(
        &self,
        conversation: &ThinkingBindings,
        model: &Model,
    ) -> Result<Option<Binding>, AwsError> {
        self.state.log.set_ignored_thinking(self.number, conversation.check(model)?);
        Ok(conversation.binding(model))
    }

    /// Chooses the script and computes its usage.
    fn plan_script(
        &self,
        model: &Model,
        cacheable: &CacheablePrompt,
        prompt: &directives::Prompt,
        max: u64,
        body: &Bytes,
    ) -> Result<(Vec<ScriptStep>, MeteredUsage), HandlerError> {
        let fixture = prompt.texts.iter().rev().find_map(|text| fixtures::find(&self.state.fixtures, text));
        let steps = match fixture {
            Some(steps) => steps.to_vec(),
            None => {
                let options = ScriptOptions { seed: self.seed, pace: self.state.config.pace };
                let steps = match directives::plan(prompt, options) {
                    ResponsePlan::Respond(steps) => steps,
                    ResponsePlan::Fail(error) => return Err(error.into()),
                    ResponsePlan::FailOnce(error, steps) => {
                        if self.state.is_first_attempt(body) {
                            return Err(error.into());
                        }
                        steps
                    }
                    ResponsePlan::DropConnection => return Err(HandlerError::ConnectionDropped),
                };
                script::limit(steps, max)
            }
        };
        let mut metered = self.state.cache.meter(model, cacheable, self.started);
        metered.usage.output_tokens = script::output_tokens(&steps);
        // A fixture may contain its own usage.
        let metered = fixtures::usage(&steps).unwrap_or(metered);
        Ok((steps, metered))
    }

    fn stream(
        &self,
        steps: Vec<ScriptStep>,
        format: StreamFormat,
        metadata: ResponseMetadata,
    ) -> Response<HandlerBody> {
        let log = Arc::clone(&self.state.log);
        let kind = match format {
            StreamFormat::Messages { .. } => "text/event-stream; charset=utf-8",
            _ => "application/vnd.amazon.eventstream",
        };
        let body = ScriptedBody::new(steps, format, metadata, self.started, log, self.number);
        let mut response = Response::new(Either::Right(body));
        response.headers_mut().insert("content-type", HeaderValue::from_static(kind));
        response
    }

    /// Runs the script of a non-streaming response: waits for its delays and fails at its first error.
    async fn collect_steps(&self, steps: Vec<ScriptStep>) -> Result<Vec<ScriptStep>, HandlerError> {
        let mut collected = Vec::with_capacity(steps.len());
        for step in steps {
            match step {
                ScriptStep::Sleep(time) => sleep(time).await,
                ScriptStep::Exception(mut error) => {
                    // `ModelStreamErrorException` exists in streams only.
                    if error.kind == "ModelStreamErrorException" {
                        error.kind = "ModelErrorException".into();
                    }
                    return Err(error.into());
                }
                ScriptStep::Error(..) => {
                    return Err(AwsError::from_name("InternalServerException", None).into());
                }
                ScriptStep::ErrorObject(kind, message) => {
                    let status = match kind.as_str() {
                        "overloaded_error" => 529,
                        "rate_limit_error" => 429,
                        "invalid_request_error" => 400,
                        _ => 500,
                    };
                    let mut error = AwsError::from_name("ModelErrorException", Some(status));
                    error.message = message;
                    return Err(error.into());
                }
                ScriptStep::Cut => return Err(HandlerError::ConnectionDropped),
                other => collected.push(other),
            }
        }
        Ok(collected)
    }

    fn latency_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

async fn read_body(body: Incoming) -> Result<Bytes, HandlerError> {
    match Limited::new(body, MAX_BODY_BYTES).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            let status = StatusCode::PAYLOAD_TOO_LARGE;
            Err(AwsError::new(status, "RequestEntityTooLargeException", "Request size limit exceeded").into())
        }
        Err(_) => Err(HandlerError::ConnectionDropped),
    }
}

fn invalid_json(error: &serde_json::Error) -> AwsError {
    AwsError::validation(format!(
        "1 validation error detected: Value at '/' failed to satisfy constraint: Member must be valid JSON: {error}"
    ))
}

fn json_response(value: &Value) -> Response<HandlerBody> {
    let mut response = Response::new(Either::Left(Full::new(Bytes::from(value.to_string()))));
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
    response
}
