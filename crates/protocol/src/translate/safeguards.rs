//! `safeguards`: a check of the response's tool calls by the platform, which Claude Code requests in its auto mode.
//!
//! Bedrock makes the check by InvokeModel and by the Messages API, when the member and its beta arrive together. Where it
//! does not, Claude Code shows a dialog that blames the proxy, and sends no further `safeguards`, unless the
//! response has a result without verdicts: then it shows its permission prompt, and the next request has the member again.

use serde::Deserialize;

use crate::json::{JsonStr, RawJson};
use crate::json_edit::{Edit, items, members};

/// The member of a request.
pub(super) const FIELD: &str = "safeguards";
/// Beta that the member requires.
pub(super) const BETA: &str = "dangerous-tool-use-2026-09-03";
/// Begin of the names of all versions of the beta.
pub(super) const BETA_PREFIX: &str = "dangerous-tool-use-";
/// The one type of check that there is.
const CHECK: &str = "dangerous_tool_use";
/// Result without verdicts. Tried with Claude Code 2.1.332: it shows a dialog after no result, `unsupported`, `unavailable`
/// with the reason `disabled`, and a 400; after other reasons, and after a tool call that is `unavailable` or `skipped`, it
/// does not run the action.
const NO_VERDICTS: &str = r#"[{"type":"dangerous_tool_use","status":{"type":"available","tool_uses":{}}}]"#;

/// Whether `safeguards` of a request asks for a check of tool calls.
#[must_use]
pub fn requests_check(safeguards: RawJson<'_>) -> bool {
    let kind = |safeguard| members(safeguard).into_iter().find(|member| &*member.key == "type");
    let kinds = items(safeguards).into_iter().filter_map(kind);
    kinds.filter_map(|kind| kind.value.read::<JsonStr<'_>>().ok()).any(|kind| &*kind == CHECK)
}

/// Whether results say that the platform makes no checks at all.
pub(super) fn is_unsupported(results: RawJson<'_>) -> bool {
    #[derive(Deserialize)]
    struct Item<'a> {
        #[serde(borrow)]
        status: Status<'a>,
    }
    #[derive(Deserialize)]
    struct Status<'a> {
        #[serde(borrow, rename = "type")]
        kind: JsonStr<'a>,
        #[serde(borrow, default)]
        reason: Option<JsonStr<'a>>,
    }
    items(results).into_iter().filter_map(|item| item.read::<Item<'_>>().ok()).any(|Item { status }| {
        let reason = status.reason.as_deref();
        matches!((&*status.kind, reason), ("unsupported", _) | ("unavailable", Some("disabled")))
    })
}

/// The `message_delta` in `json` with a result without verdicts.
pub(super) fn with_no_verdicts(json: &str) -> String {
    let all = serde_json::from_str::<RawJson<'_>>(json).map(members).unwrap_or_default();
    let delta = all.iter().find(|member| &*member.key == "delta").map(|member| member.value);
    let Some(delta) = delta.filter(|delta| delta.is_object()) else { return json.to_owned() };
    let mut edit = Edit::new(json);
    let result = format!(r#""safeguard_results":{NO_VERDICTS}"#);
    edit.edit_object(delta.get(), &members(delta), |key| key == "safeguard_results", &[result]);
    String::from_utf8(edit.apply()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_is_requested_by_its_type() {
        for (json, expected) in [
            (r#"[{"type":"dangerous_tool_use","classifier_context":{}}]"#, true),
            (r#"[{"type":"other"},{"type":"dangerous_tool_use"}]"#, true),
            (r#"[{"type":"other"}]"#, false),
            (r#"[{"kind":"dangerous_tool_use"}]"#, false),
            ("{}", false),
            ("[]", false),
        ] {
            assert_eq!(requests_check(serde_json::from_str(json).unwrap()), expected, "{json}");
        }
    }

    #[test]
    fn platform_without_checks_is_recognized() {
        for (status, expected) in [
            (r#"{"type":"unsupported"}"#, true),
            (r#"{"type":"unavailable","reason":"disabled"}"#, true),
            (r#"{"type":"unavailable","reason":"rate_limited"}"#, false),
            (
                r#"{"type":"available","tool_uses":{"toolu_1":{"type":"evaluated","outcome":"flagged"}}}"#,
                false,
            ),
            ("1", false),
        ] {
            let results = format!(r#"[{{"type":"dangerous_tool_use","status":{status}}}]"#);
            assert_eq!(is_unsupported(serde_json::from_str(&results).unwrap()), expected, "{status}");
        }
        assert!(!is_unsupported(serde_json::from_str("{}").unwrap()));
    }

    #[test]
    fn result_without_verdicts_is_added_to_the_delta() {
        let end =
            r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":1}}"#;
        let expected = format!(
            r#"{{"type":"message_delta","delta":{{"safeguard_results":{NO_VERDICTS},"stop_reason":"end_turn"}},"usage":{{"output_tokens":1}}}}"#
        );
        assert_eq!(with_no_verdicts(end), expected);
        assert_eq!(with_no_verdicts(&expected), expected, "it replaces another result");
        for odd in ["{}", "[]", r#"{"delta":1}"#] {
            assert_eq!(with_no_verdicts(odd), odd);
        }
    }
}
