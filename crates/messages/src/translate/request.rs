//! What a client asks, into what Bedrock is asked.

use super::{Findings, Loss, Notice, Path, ToolNames};
use crate::anthropic::InvalidRequest;
use crate::anthropic::request::{Metadata, OutputConfig, Request};
use crate::capability::Capabilities;
use crate::converse::request as converse;
use crate::json::{RawJson, Text};

/// The largest number Bedrock takes for `maxTokens`.
const MAX_TOKENS: u64 = i32::MAX as u64;

/// Where a Claude model's answer names the stop sequence, whole and streamed.
const STOP_SEQUENCE: &[&str] = &["/stop_sequence", "/delta/stop_sequence"];

/// What the operator decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How many tokens to answer with when the request does not say.
    pub default_max_tokens: u64,
}

/// A call of ConverseStream, ready to be signed and sent.
#[derive(Debug)]
pub struct Call {
    /// The body, JSON.
    pub body: Vec<u8>,
    /// For translating the answer back.
    pub names: ToolNames,
    /// What Converse cannot carry. When there is any, do not send the body.
    pub losses: Vec<Loss>,
    /// What was changed or left out.
    pub notices: Vec<Notice>,
}

/// The state of one translation.
pub(super) struct Translation<'a> {
    pub(super) capabilities: Capabilities,
    pub(super) names: ToolNames,
    pub(super) findings: Findings,
    /// How many blocks asked to be cached.
    pub(super) cache_markers: usize,
    /// The tools that the conversation calls, by their upstream names.
    pub(super) called: Vec<std::borrow::Cow<'a, str>>,
    /// Whether the conversation holds calls or results.
    pub(super) has_tool_blocks: bool,
}

/// Translates a request for a model with these `capabilities`.
///
/// # Errors
/// When the request is not valid whatever the route. What merely cannot be carried by Converse is in
/// [`Call::losses`].
pub fn request(
    request: Request<'_>,
    capabilities: &Capabilities,
    options: &Options,
) -> Result<Call, InvalidRequest> {
    let mut translation = Translation {
        capabilities: *capabilities,
        names: ToolNames::default(),
        findings: Findings::default(),
        cache_markers: 0,
        called: Vec::new(),
        has_tool_blocks: false,
    };
    let upstream = translation.request(request, options)?;
    let body = serde_json::to_vec(&upstream).map_err(|error| InvalidRequest::new("", error.to_string()))?;
    let Translation { names, findings: Findings { losses, notices }, .. } = translation;
    Ok(Call { body, names, losses, notices })
}

impl<'a> Translation<'a> {
    fn request(
        &mut self,
        mut request: Request<'a>,
        options: &Options,
    ) -> Result<converse::Request<'a>, InvalidRequest> {
        let root = Path::ROOT;
        // Which model and which operation are the caller's to read.
        request.model.take();
        request.stream.take();

        let system = self.system(request.system.take(), root.key("system"))?;
        let messages = self.messages(request.messages.take(), root.key("messages"))?;
        let (tool_config, tool_choice) =
            self.tool_config(request.tools.take(), request.tool_choice.take(), root)?;
        self.check_cache_markers()?;
        let inference_config = self.inference_config(&mut request, options)?;
        let additional_model_response_field_paths =
            if self.capabilities.claude && !inference_config.stop_sequences.is_empty() {
                STOP_SEQUENCE
            } else {
                &[]
            };

        let upstream = converse::Request {
            system,
            messages,
            inference_config,
            tool_config,
            additional_model_request_fields: converse::AdditionalRequestFields {
                thinking: self.thinking_config(request.thinking.take())?,
                top_k: self.claude_only(request.top_k.take(), root.key("top_k")),
                tool_choice,
                output_config: self.output_config(request.output_config.take()),
            },
            additional_model_response_field_paths,
            request_metadata: self.metadata(request.metadata.take()),
            service_tier: service_tier(request.service_tier.take().as_deref())?,
        };
        self.context_management(&mut request);
        self.findings.lose_rest(root, request.left_over());
        Ok(upstream)
    }

    fn inference_config(
        &mut self,
        request: &mut Request<'a>,
        options: &Options,
    ) -> Result<converse::InferenceConfig<'a>, InvalidRequest> {
        let path = Path::ROOT.key("max_tokens");
        let max_tokens = request.max_tokens.take().unwrap_or_else(|| {
            let default = options.default_max_tokens;
            self.findings.note(path, format!("not given; {default} was used"));
            default
        });
        if max_tokens == 0 {
            self.findings.lose(path, "0, which only fills the cache, cannot be sent through Converse");
        }
        if max_tokens > MAX_TOKENS {
            return Err(InvalidRequest::new(
                path,
                format!("Input should be less than or equal to {MAX_TOKENS}"),
            ));
        }
        let stop_sequences = request.stop_sequences.take().unwrap_or_default().0;
        Ok(converse::InferenceConfig {
            max_tokens,
            temperature: fraction(request.temperature.take(), "temperature")?,
            top_p: fraction(request.top_p.take(), "top_p")?,
            stop_sequences: stop_sequences.into_iter().map(|text| text.0).collect(),
        })
    }

    fn thinking_config(
        &mut self,
        thinking: Option<RawJson<'a>>,
    ) -> Result<Option<&'a serde_json::value::RawValue>, InvalidRequest> {
        let path = Path::ROOT.key("thinking");
        match self.claude_only(thinking, path) {
            Some(thinking) if !thinking.is_object() => {
                Err(InvalidRequest::new(path, "Input should be an object"))
            }
            thinking => Ok(thinking.map(RawJson::raw)),
        }
    }

    fn output_config(&mut self, config: Option<OutputConfig<'a>>) -> Option<converse::OutputConfig<'a>> {
        let path = Path::ROOT.key("output_config");
        let mut config = config?;
        let effort = self.claude_only(config.effort.take(), path.key("effort"));
        self.findings.lose_rest(path, config.left_over());
        effort.map(|effort| converse::OutputConfig { effort: effort.0 })
    }

    /// What only a Claude model understands; others do without it.
    fn claude_only<T>(&mut self, value: Option<T>, path: Path<'_>) -> Option<T> {
        if value.is_some() && !self.capabilities.claude {
            self.findings.note(path, "left out: the model is not a Claude model");
            return None;
        }
        value
    }

    fn metadata(&mut self, metadata: Option<Metadata<'a>>) -> Option<converse::RequestMetadata<'a>> {
        let path = Path::ROOT.key("metadata");
        let mut metadata = metadata?;
        let user_id = metadata.user_id.take();
        self.findings.lose_rest(path, metadata.left_over());
        let user_id = user_id?;
        if !is_legal_metadata(&user_id) {
            self.findings
                .note(path.key("user_id"), "left out: Bedrock takes no such characters in request metadata");
            return None;
        }
        Some(converse::RequestMetadata { user_id: user_id.0 })
    }

    /// An edit that keeps everything asks for nothing.
    fn context_management(&mut self, request: &mut Request<'a>) {
        if request.context_management.take_if(|edits| keeps_everything(*edits)).is_some() {
            let path = Path::ROOT.key("context_management");
            self.findings.note(path, "left out: keeping all thinking is what Bedrock does anyway");
        }
    }
}

fn fraction(value: Option<f64>, name: &str) -> Result<Option<f64>, InvalidRequest> {
    match value {
        Some(value) if !(0.0..=1.0).contains(&value) => {
            Err(InvalidRequest::new(name, "Input should be between 0 and 1"))
        }
        value => Ok(value),
    }
}

fn service_tier(tier: Option<&str>) -> Result<Option<converse::ServiceTier>, InvalidRequest> {
    let r#type = match tier {
        None | Some("auto") => return Ok(None),
        Some("standard_only") => "default",
        Some(_) => {
            return Err(InvalidRequest::new("service_tier", "Input should be 'auto' or 'standard_only'"));
        }
    };
    Ok(Some(converse::ServiceTier { r#type }))
}

pub(super) fn is_legal_metadata(value: &str) -> bool {
    (1..=256).contains(&value.len())
        && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b" \t\n\r:_@$#=/+,-.".contains(&byte))
}

fn keeps_everything(edits: RawJson<'_>) -> bool {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct ContextManagement<'a> {
        #[serde(default, borrow)]
        edits: Vec<Edit<'a>>,
    }

    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Edit<'a> {
        #[serde(borrow)]
        r#type: Text<'a>,
        #[serde(default, borrow)]
        keep: Option<RawJson<'a>>,
    }

    edits.read::<ContextManagement<'_>>().is_ok_and(|management| {
        management.edits.iter().all(|edit| {
            let all = edit.keep.is_some_and(|keep| matches!(keep.get(), "\"all\"" | r#"{"type":"all"}"#));
            &*edit.r#type == "clear_thinking_20251015" && all
        })
    })
}
