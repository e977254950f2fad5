//! `GET /v1/models` and `GET /v1/models/{id}`: the models that clients can request. Anthropic's page and OpenAI's list are
//! one document, as clients of each ignore the members of the other.
//!
//! <https://platform.claude.com/docs/en/api/models/list>. No request is sent to AWS for it.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, Uri, header};
use jiff::Timestamp;
use protocol::anthropic::{ErrorType, InvalidRequest};
use protocol::capabilities::Capabilities;
use serde_json::{Value, json};

use super::error::ApiError;
use super::extract::query_pairs;
use super::messages::VERSION;
use crate::app::App;
use crate::catalog::ModelInfo;

/// Anthropic's default of a page. <https://platform.claude.com/docs/en/api/models/list>
const DEFAULT_LIMIT: usize = 20;
/// Anthropic's maximum of a page.
const MAX_LIMIT: usize = 1000;

/// Which part of the list is wanted.
#[derive(Debug)]
struct Page {
    limit: usize,
    after: Option<String>,
    before: Option<String>,
    /// Empty: everything that is not retired.
    lifecycles: Vec<String>,
}

/// The list, or a page of it.
///
/// # Errors
/// When a parameter cannot be what it is.
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, ApiError> {
    // OpenAI's clients know no pages and would see the first one only; Anthropic's name a version.
    let limit = if headers.contains_key(VERSION) { DEFAULT_LIMIT } else { MAX_LIMIT };
    let page = Page::read(uri.query(), limit)?;
    let today = app.clock.rfc3339();
    let models: Vec<_> = app.catalog.list().iter().map(|listed| model(listed, &today)).collect();
    Ok(json_response(&page.paginate(models)?))
}

/// One model, by any name that a request may use.
///
/// # Errors
/// When nothing is known of it.
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    let Path(id) = id.map_err(|_| InvalidRequest::new("model_id", "the path is not valid UTF-8"))?;
    let Some(listed) = app.catalog.describe(&id) else {
        let suggestion = app.catalog.suggestion_for(&id);
        let suggested = suggestion.map_or_else(String::new, |known| format!("; did you mean {known}?"));
        let id: String = id.chars().take(200).collect();
        return Err(ApiError::new(ErrorType::NotFound, format!("model: {id}{suggested}")));
    };
    Ok(json_response(&model(&listed, &app.clock.rfc3339())))
}

fn json_response(value: &Value) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}

impl Page {
    fn read(query: Option<&str>, limit: usize) -> Result<Self, InvalidRequest> {
        let mut page = Self { limit, after: None, before: None, lifecycles: Vec::new() };
        // Unknown parameters are let pass: clients bring their own.
        for (name, value) in query_pairs(query) {
            let value = value.into_owned();
            match &*name {
                "limit" => {
                    let limit = value.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
                    page.limit = limit.ok_or_else(|| {
                        InvalidRequest::new(
                            "limit",
                            format!("Input should be a whole number from 1 to {MAX_LIMIT}"),
                        )
                    })?;
                }
                "after_id" if !value.is_empty() => page.after = Some(value),
                "before_id" if !value.is_empty() => page.before = Some(value),
                "lifecycle" | "lifecycle[]" => {
                    if !["active", "deprecated", "retired"].contains(&value.as_str()) {
                        let reason = "Input should be 'active', 'deprecated' or 'retired'";
                        return Err(InvalidRequest::new("lifecycle", reason));
                    }
                    page.lifecycles.push(value);
                }
                _ => {}
            }
        }
        if page.after.is_some() && page.before.is_some() {
            return Err(InvalidRequest::new("after_id", "only one of after_id and before_id can be given"));
        }
        Ok(page)
    }

    fn paginate(&self, mut models: Vec<Value>) -> Result<Value, InvalidRequest> {
        models.retain(|model| {
            let lifecycle = model["lifecycle"].as_str().unwrap_or_default();
            if self.lifecycles.is_empty() {
                lifecycle != "retired"
            } else {
                self.lifecycles.iter().any(|wanted| wanted == lifecycle)
            }
        });
        let place = |name: &'static str, id: &str| {
            let at = models.iter().position(|model| model["id"] == id);
            at.ok_or_else(|| InvalidRequest::new(name, "there is no such model in the list"))
        };
        let (start, end, more) = if let Some(before) = &self.before {
            let end = place("before_id", before)?;
            let start = end.saturating_sub(self.limit);
            (start, end, start > 0)
        } else {
            let start =
                self.after.as_deref().map_or(Ok(0), |after| place("after_id", after).map(|at| at + 1))?;
            let end = (start + self.limit).min(models.len());
            (start, end, end < models.len())
        };
        let data: Vec<Value> = models.drain(start..end).collect();
        let id = |model: Option<&Value>| model.map_or(Value::Null, |model| model["id"].clone());
        let (first, last) = (id(data.first()), id(data.last()));
        Ok(json!({"object": "list", "data": data, "has_more": more, "first_id": first, "last_id": last}))
    }
}

/// A model in both languages. What is not known is null; a day that is not known is the epoch, as Anthropic has it.
fn model(listed: &ModelInfo, today: &str) -> Value {
    let midnight = |day: &str| format!("{day}T00:00:00Z");
    let created = listed.released.as_deref().map_or_else(|| midnight("1970-01-01"), midnight);
    let seconds = created.parse::<Timestamp>().map_or(0, Timestamp::as_second);
    json!({
        "id": listed.id,
        "type": "model",
        "display_name": listed.display_name,
        "created_at": created,
        "lifecycle": listed.lifecycle(today),
        "line": listed.family,
        "deprecated_at": null,
        "retires_at": listed.end_of_life.as_deref().map(midnight),
        "max_input_tokens": listed.capabilities.context_tokens,
        "max_tokens": listed.capabilities.max_output_tokens,
        "capabilities": capabilities(&listed.capabilities),
        "object": "model",
        "created": seconds,
        "owned_by": listed.vendor,
    })
}

/// What a model can take through this proxy. Batches, and tools that run at Anthropic's, are not on Bedrock.
fn capabilities(of: &Capabilities) -> Value {
    let supported = |yes: bool| json!({"supported": yes});
    let (effort, thinking) = (of.effort, of.thinking);
    // Came with the generation that searches for tools; both go by InvokeModel.
    let edits_context = of.claude && of.tool_search;
    json!({
        "batch": supported(false),
        "citations": supported(of.claude && of.documents),
        "code_execution": supported(false),
        "context_management": {
            "supported": edits_context,
            "clear_thinking_20251015": supported(edits_context),
            "clear_tool_uses_20250919": supported(edits_context),
            "compact_20260112": supported(edits_context),
        },
        "effort": {
            "supported": effort.at_most("max").is_some(),
            "low": supported(effort.low),
            "medium": supported(effort.medium),
            "high": supported(effort.high),
            "xhigh": supported(effort.xhigh),
            "max": supported(effort.max),
        },
        "image_input": supported(of.images),
        "pdf_input": supported(of.documents),
        "server_tools": {"supported": false, "code_execution": supported(false), "web_search": supported(false)},
        "structured_outputs": supported(of.structured_output),
        "thinking": {
            "supported": thinking.enabled || thinking.adaptive,
            "types": {
                "adaptive": supported(thinking.adaptive),
                "between_tools": supported(thinking.between_tools),
                "disabled": supported(thinking.disabled),
                "enabled": supported(thinking.enabled),
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paginate(query: &str) -> Result<(Vec<String>, bool), String> {
        let lifecycle = |id| if id == "d" { "retired" } else { "active" };
        let models = ["a", "b", "c", "d"].map(|id| json!({"id": id, "lifecycle": lifecycle(id)}));
        let page = Page::read(Some(query), DEFAULT_LIMIT).and_then(|page| page.paginate(models.to_vec()));
        let page = page.map_err(|error| error.to_string())?;
        let data = page["data"].as_array().unwrap();
        assert_eq!(page["first_id"], data.first().map_or(Value::Null, |first| first["id"].clone()));
        assert_eq!(page["last_id"], data.last().map_or(Value::Null, |last| last["id"].clone()));
        let ids = data.iter().map(|model| model["id"].as_str().unwrap().to_owned()).collect();
        Ok((ids, page["has_more"].as_bool().unwrap()))
    }

    #[test]
    fn a_model_is_deprecated_once_its_end_is_known_and_retired_after_it() {
        let mut listed = ModelInfo {
            id: "m".to_owned(),
            display_name: "M".to_owned(),
            vendor: "acme".to_owned(),
            model_id: "acme.m".to_owned(),
            family: None,
            released: None,
            end_of_life: None,
            legacy: false,
            capabilities: Capabilities::UNKNOWN,
        };
        let lifecycle = |listed: &ModelInfo, today: &str| model(listed, today)["lifecycle"].clone();
        assert_eq!(lifecycle(&listed, "2027-01-08T00:00:00Z"), "active");
        listed.end_of_life = Some("2027-01-08".to_owned());
        assert_eq!(lifecycle(&listed, "2027-01-08T23:59:59Z"), "deprecated");
        assert_eq!(lifecycle(&listed, "2027-01-09T00:00:00Z"), "retired");
        let model = model(&listed, "2026-11-22T12:00:00Z");
        assert_eq!((&model["created_at"], &model["created"]), (&json!("1970-01-01T00:00:00Z"), &json!(0)));
        assert_eq!(
            (&model["max_tokens"], &model["retires_at"]),
            (&Value::Null, &json!("2027-01-08T00:00:00Z"))
        );
    }

    #[test]
    fn pages_go_forwards_and_backwards() {
        let page = |query: &str| {
            let (ids, more) = paginate(query).unwrap();
            (ids.concat(), more)
        };
        assert_eq!(page(""), ("abc".to_owned(), false));
        assert_eq!(page("limit=2"), ("ab".to_owned(), true));
        assert_eq!(page("limit=2&after_id=b"), ("c".to_owned(), false));
        assert_eq!(page("limit=1&before_id=c"), ("b".to_owned(), true));
        assert_eq!(page("before_id=a"), (String::new(), false));
        assert_eq!(page("lifecycle[]=retired&lifecycle%5B%5D=active&beta=true"), ("abcd".to_owned(), false));
    }

    #[test]
    fn bad_parameters_are_refused_by_name() {
        let limits = ["limit=0", "limit=1001", "limit=x", "limit="];
        for query in
            limits.iter().chain(&["after_id=x", "before_id=x", "lifecycle[]=x", "after_id=a&before_id=b"])
        {
            let error = paginate(query).unwrap_err();
            assert!(query.contains(error.split(':').next().unwrap()), "{query}: {error}");
        }
    }
}
