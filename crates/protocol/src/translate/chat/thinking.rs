//! How hard to think: `reasoning_effort`, in Anthropic's words.
//!
//! What a model cannot be told is the main road's to put in its words, as for every client. Here is only what the two
//! languages do not share: OpenAI's models think with sampling parameters, and before a call that is forced.

use super::request::borrowed;
use crate::anthropic::request::Request;
use crate::capabilities::Capabilities;
use crate::json::{JsonStr, RawJson};
use crate::translate::{Diagnostics, JsonPath};

/// Thoughts are shown: newer models keep them to themselves unless they are told.
const ADAPTIVE: &str = r#"{"type":"adaptive","display":"summarized"}"#;
/// For models that take a budget instead, which they are given for the effort; these always show.
const WITH_BUDGET: &str = r#"{"type":"adaptive"}"#;
const DISABLED: &str = r#"{"type":"disabled"}"#;

/// Says in `request` whether to think, and returns the effort.
pub(super) fn thinking_config<'a>(
    effort: &'a JsonStr<'_>,
    request: &mut Request<'a>,
    capabilities: &Capabilities,
    diagnostics: &mut Diagnostics,
) -> Option<JsonStr<'a>> {
    let root = JsonPath::ROOT;
    let path = root.key("reasoning_effort");
    let takes = capabilities.thinking;
    let thinks = takes.adaptive || takes.enabled;
    if &**effort == "none" {
        if thinks || !capabilities.claude {
            request.thinking = thinking(DISABLED);
        }
        return None;
    }
    let effort = if &**effort == "minimal" {
        diagnostics.adjusted(path, "sent as `low`, the least there is");
        JsonStr::from("low")
    } else {
        borrowed(effort)
    };
    if !capabilities.claude {
        return Some(effort);
    }
    if !thinks {
        diagnostics.dropped(path, "left out: the model does not think");
        return None;
    }
    let forced = request.tool_choice.as_ref().and_then(|choice| choice.kind.as_deref());
    if matches!(forced, Some("any" | "tool")) {
        diagnostics
            .dropped(path, "left out: the model does not think before a call that it is forced to make");
        return None;
    }
    request.thinking = thinking(if takes.adaptive { ADAPTIVE } else { WITH_BUDGET });
    if request.temperature.take_if(|value| *value < 1.0).is_some() {
        diagnostics.dropped(root.key("temperature"), "left out: the model takes none while it thinks");
    }
    if request.top_p.take_if(|value| *value < 0.95).is_some() {
        diagnostics.dropped(root.key("top_p"), "left out: the model takes none below 0.95 while it thinks");
    }
    Some(effort)
}

fn thinking(json: &'static str) -> Option<RawJson<'static>> {
    serde_json::from_str(json).ok()
}
