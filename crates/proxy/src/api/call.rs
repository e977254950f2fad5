//! Which route a request takes, and the call it becomes there.
//!
//! Converse is tried first: every model has it. What it cannot carry goes by InvokeModel with the client's own
//! body, if the model is a Claude model; else the request is refused, with the places that would be lost. Bedrock's own
//! Messages API is for whoever asks for it, and for models that have nothing else.

use bytes::Bytes;
use protocol::anthropic::Request;
use protocol::translate::{
    self, InvokeOptions, Notice, RequestedBetas, ToolNames, UnsupportedFeature, UnsupportedField,
};

use super::detail;
use super::error::ApiError;
use crate::app::App;
use crate::bedrock::Operation;
use crate::catalog::{ResolvedModel, Route};
use crate::config::RoutePolicy;

/// Why a route was taken without a choice.
const CONFIGURED: &str = "AWS_BEDROCK_ROUTE or the row of the model says so";

/// What the client asked for. Cheap to keep: a repaired request is made from it once more.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// The body as it came; it has been read as a request once.
    pub(super) body: Bytes,
    /// The values of `anthropic-beta`.
    pub(super) betas: Vec<String>,
    /// Which model.
    pub(super) target: ResolvedModel,
    /// What was changed or left out when the body was made, if it came in another language.
    pub(super) notices: Vec<Notice>,
}

/// A request in the language of its route.
#[derive(Debug)]
pub(super) struct Call {
    /// Which route.
    pub(super) route: Route,
    /// Why that one.
    pub(super) why: &'static str,
    /// What is asked of Bedrock.
    pub(super) operation: Operation,
    /// The id or ARN of the model.
    pub(super) model_id: String,
    /// The body to send.
    pub(super) body: Bytes,
    /// For `X-Amzn-Bedrock-Service-Tier`.
    pub(super) service_tier: Option<String>,
    /// For `anthropic-beta`.
    pub(super) betas: Vec<String>,
    /// For translating the answer back.
    pub(super) names: ToolNames,
    /// What was changed or left out.
    pub(super) notices: Vec<Notice>,
}

/// Makes a call of what was asked, with what was learnt about the model. `request` is the body, read.
///
/// # Errors
/// When the request is not valid, or no route that may be taken can carry all of it.
pub(super) fn prepare(app: &App, asked: &Asked, request: Request<'_>) -> Result<Call, ApiError> {
    let mut call = by_route(app, asked, request)?;
    call.notices.splice(..0, asked.notices.iter().cloned());
    Ok(call)
}

fn by_route(app: &App, asked: &Asked, request: Request<'_>) -> Result<Call, ApiError> {
    let target = &asked.target;
    match target.route(app.relay.route) {
        RoutePolicy::Converse => {
            converse(app, asked, request)?.map_err(|losses| translate::unsupported_error(&losses).into())
        }
        RoutePolicy::Messages if target.has_messages_api() => {
            own_body(app, asked, Route::Messages, CONFIGURED)
        }
        RoutePolicy::Messages | RoutePolicy::Invoke if target.capabilities.claude => {
            own_body(app, asked, Route::Invoke, CONFIGURED)
        }
        RoutePolicy::Messages | RoutePolicy::Invoke | RoutePolicy::Auto => {
            match converse(app, asked, request)? {
                Ok(call) if !(target.capabilities.claude && refused_by_converse(app, asked)) => Ok(call),
                Err(losses) if !target.capabilities.claude => {
                    Err(translate::unsupported_error(&losses).into())
                }
                Ok(_) => own_body(app, asked, Route::Invoke, "Converse was seen to refuse a member of it"),
                Err(_) => own_body(app, asked, Route::Invoke, "Converse would lose something"),
            }
        }
    }
}

/// The call by Converse, or what it would lose.
fn converse(
    app: &App,
    asked: &Asked,
    request: Request<'_>,
) -> Result<Result<Call, Vec<UnsupportedField>>, ApiError> {
    let has_tools = request.tools.as_ref().is_some_and(|tools| !tools.is_empty());
    let lessons = app.learned.about(Route::Converse, &asked.target.model_id);
    let refused = refused_names(&lessons);
    let betas = RequestedBetas {
        names: &asked.betas,
        unsupported: &refused,
        all_unsupported: lessons.contains(&UnsupportedFeature::AllBetas),
    };
    let (length, capabilities) = (asked.body.len(), &asked.target.capabilities);
    let call = translate::to_converse(request, betas, length, capabilities, &app.relay.options)?;
    if !call.unsupported.is_empty() {
        detail::losses(&call.unsupported);
        return Ok(Err(call.unsupported));
    }
    let streams_tools =
        asked.target.capabilities.streaming_tools && !lessons.contains(&UnsupportedFeature::ToolStreaming);
    Ok(Ok(Call {
        route: Route::Converse,
        why: "Converse carries all of it",
        operation: if has_tools && !streams_tools { Operation::Converse } else { Operation::ConverseStream },
        model_id: model_id(app, asked, Route::Converse),
        body: Bytes::from(call.body),
        service_tier: None,
        betas: Vec::new(),
        names: call.tool_names,
        notices: call.notices,
    }))
}

/// The call with the client's own body, by InvokeModel or by the Messages API.
fn own_body(app: &App, asked: &Asked, route: Route, why: &'static str) -> Result<Call, ApiError> {
    let lessons = app.learned.about(route, &asked.target.model_id);
    let refused = refused_names(&lessons);
    let model_id = model_id(app, asked, route);
    let betas = RequestedBetas {
        names: &asked.betas,
        unsupported: &refused,
        all_unsupported: lessons.contains(&UnsupportedFeature::AllBetas),
    };
    let options = if route == Route::Messages {
        InvokeOptions::messages(&model_id, app.relay.options)
    } else {
        InvokeOptions::invoke_model(app.relay.options)
    };
    let options = InvokeOptions { betas, ..options };
    let body = std::str::from_utf8(&asked.body)
        .map_err(|_| protocol::anthropic::InvalidRequest::new("", "the body is not valid UTF-8"))?;
    let call = translate::to_invoke(body, &asked.target.capabilities, &options)?;
    if !call.unsupported.is_empty() {
        return Err(translate::unsupported_error(&call.unsupported).into());
    }
    Ok(Call {
        route,
        why,
        operation: match route {
            Route::Messages if asked.target.mantle => Operation::MantleMessages,
            Route::Messages => Operation::Messages,
            Route::Invoke | Route::Converse => Operation::InvokeStream,
        },
        model_id,
        body: Bytes::from(call.body),
        service_tier: call.service_tier,
        betas: call.betas,
        names: ToolNames::default(),
        notices: call.notices,
    })
}

/// The id as it is, or the profile that AWS asked for instead, as the Messages API of the runtime always does; Mantle
/// wants the bare model.
fn model_id(app: &App, asked: &Asked, route: Route) -> String {
    let id = &asked.target.model_id;
    if asked.target.mantle {
        return asked.target.foundation_model.clone().unwrap_or_else(|| id.clone());
    }
    if route == Route::Messages
        || app.learned.about(route, id).contains(&UnsupportedFeature::OnDemandThroughput)
    {
        app.catalog.inference_profile_for(id).unwrap_or_else(|| id.clone())
    } else {
        id.clone()
    }
}

/// Whether the request holds a member that Converse was seen to refuse for this model. Betas are none: they stay behind.
fn refused_by_converse(app: &App, asked: &Asked) -> bool {
    let lessons = app.learned.about(Route::Converse, &asked.target.model_id);
    let is_beta = |name: &str| name.contains('-') || name == "anthropic_beta";
    lessons.iter().filter_map(refused_name).filter(|name| !is_beta(name)).any(|name| {
        let member = format!("\"{}\"", name.split('.').next_back().unwrap_or(name));
        memchr::memmem::find(&asked.body, member.as_bytes()).is_some()
    })
}

fn refused_names(lessons: &[UnsupportedFeature]) -> Vec<String> {
    lessons.iter().filter_map(refused_name).map(str::to_owned).collect()
}

fn refused_name(lesson: &UnsupportedFeature) -> Option<&str> {
    match lesson {
        UnsupportedFeature::Field(name) => Some(name),
        UnsupportedFeature::AllBetas
        | UnsupportedFeature::OnDemandThroughput
        | UnsupportedFeature::ToolStreaming => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use tempfile::TempDir;

    use super::*;
    use crate::clock::Clock;
    use crate::config::Config;

    async fn app(data: &TempDir) -> App {
        let set = [
            ("DATA_DIR", data.path().to_str().unwrap()),
            ("AWS_BEDROCK_ACCESS_KEY", "AKID"),
            ("AWS_BEDROCK_SECRET_KEY", "secret"),
            ("AWS_ENDPOINT_URL", "http://127.0.0.1:9"),
        ];
        let lookup =
            |name: &str| set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        App::open(&Config::load(lookup).unwrap(), Clock::manual(SystemTime::UNIX_EPOCH)).await.unwrap()
    }

    fn route(app: &App, model: &str, member: &str) -> Route {
        let body = format!(r#"{{"max_tokens":9,{member}"messages":[{{"role":"user","content":"x"}}]}}"#);
        let target = app.catalog.resolve(Some(model)).unwrap();
        let asked = Asked { body: body.into(), betas: Vec::new(), target, notices: Vec::new() };
        prepare(app, &asked, Request::parse(&asked.body).unwrap()).unwrap().route
    }

    #[tokio::test]
    async fn what_converse_was_seen_to_refuse_goes_by_invoke_when_a_request_holds_it() {
        let data = tempfile::tempdir().unwrap();
        let app = app(&data).await;
        let (model, top_k) = ("claude-opus-4-1", r#""top_k":5,"#);
        assert_eq!(route(&app, model, top_k), Route::Converse);
        let id = app.catalog.resolve(Some(model)).unwrap().model_id;
        app.learned.remember(Route::Converse, &id, UnsupportedFeature::Field("top_k".to_owned()));
        assert_eq!(route(&app, model, top_k), Route::Invoke);
        assert_eq!(route(&app, model, ""), Route::Converse, "a request without it");
        assert_eq!(route(&app, "claude-opus-4", top_k), Route::Converse, "another model");
    }
}
