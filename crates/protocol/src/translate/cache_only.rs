//! Requests that only fill the prompt cache: `max_tokens` is 0, and the response has no content.
//! <https://platform.claude.com/docs/en/build-with-claude/prompt-caching>

use crate::anthropic::InvalidRequest;
use crate::anthropic::request::{Request, Thinking};

/// Whether `request` only fills the cache.
#[must_use]
pub fn is_cache_only(request: &Request<'_>) -> bool {
    request.max_tokens == Some(0)
}

/// Checks what Anthropic's API does not accept beside `max_tokens: 0`, for every upstream API.
///
/// # Errors
/// When the request is streamed, or when it requests thinking, a forced tool call or structured output.
pub fn check_cache_only(request: &Request<'_>, is_streamed: bool) -> Result<(), InvalidRequest> {
    if !is_cache_only(request) {
        return Ok(());
    }
    let thinking = request.thinking.and_then(|thinking| thinking.read::<Thinking<'_>>().ok());
    let thinks = thinking.is_some_and(|thinking| {
        matches!(thinking.kind.as_deref(), Some("enabled" | "adaptive" | "between_tools"))
    });
    let choice = request.tool_choice.as_ref().and_then(|choice| choice.kind.as_deref());
    let has_format = request.output_format.is_some()
        || request.output_config.as_ref().is_some_and(|config| config.format.is_some());
    let feature = match () {
        () if is_streamed => "`stream`",
        () if thinks => "`thinking`",
        () if matches!(choice, Some("any" | "tool")) => "a `tool_choice` that forces tool use",
        () if has_format => "`output_config.format`",
        () => return Ok(()),
    };
    Err(InvalidRequest::new("max_tokens", format!("0 is not supported together with {feature}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_max_tokens_excludes_output_features() {
        let check = |members: &str, is_streamed| {
            let body = format!(r#"{{"max_tokens":0,"messages":[]{members}}}"#);
            let error = check_cache_only(&Request::parse(body.as_bytes()).unwrap(), is_streamed).err();
            error.map(|error| error.to_string())
        };
        let error = |feature: &str| Some(format!("max_tokens: 0 is not supported together with {feature}"));
        assert_eq!(check("", true), error("`stream`"));
        for (members, expected) in [
            ("", None),
            (r#","thinking":{"type":"disabled"},"tool_choice":{"type":"auto"}"#, None),
            (r#","thinking":{"type":"adaptive"}"#, error("`thinking`")),
            (r#","thinking":{"type":"enabled","budget_tokens":1024}"#, error("`thinking`")),
            (r#","tool_choice":{"type":"any"}"#, error("a `tool_choice` that forces tool use")),
            (r#","tool_choice":{"type":"tool","name":"t"}"#, error("a `tool_choice` that forces tool use")),
            (r#","output_config":{"format":{"type":"json_schema"}}"#, error("`output_config.format`")),
            (r#","output_format":{"type":"json_schema"}"#, error("`output_config.format`")),
            (r#","output_config":{"effort":"low"}"#, None),
        ] {
            assert_eq!(check(members, false), expected, "{members}");
        }
    }
}
