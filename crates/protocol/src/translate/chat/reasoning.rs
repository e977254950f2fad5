//! Thinking of a chat request: OpenAI's member, and those of other gateways and providers.
//!
//! | Member | From |
//! |---|---|
//! | `thinking: {type, budget_tokens, display}` | Anthropic, LiteLLM, DeepSeek |
//! | `reasoning: {effort, max_tokens, enabled, exclude}` | OpenRouter |
//! | `reasoning_effort` | OpenAI |
//! | `enable_thinking`, `thinking_budget` | DashScope |
//!
//! Of members that contradict each other the first in this table counts; of a budget and an effort, the budget does.

use serde_json::json;

use super::members::leave_out;
use crate::anthropic::InvalidRequest;
use crate::anthropic::request::{self as anthropic, Request};
use crate::capabilities::Capabilities;
use crate::json::{JsonStr, RawJson};
use crate::json_error::{self, Wording};
use crate::openai::request::Reasoning;
use crate::translate::diagnostics::{Diagnostics, JsonPath};
use crate::translate::thinking::MIN_BUDGET;

/// Adaptive thinking that is shown: newer models hide it by default.
const ADAPTIVE: &str = r#"{"type":"adaptive","display":"summarized"}"#;
/// For models with a budget, which is derived from the effort; they always show thinking.
const WITH_BUDGET: &str = r#"{"type":"adaptive"}"#;
const DISABLED: &str = r#"{"type":"disabled"}"#;
/// Effort of a request that switches thinking on and names no measure, for models without a default of their own.
const DEFAULT_EFFORT: &str = "medium";

/// The members of a chat request that are about thinking.
pub(super) struct ThinkingMembers<'a> {
    pub(super) thinking: Option<RawJson<'a>>,
    pub(super) reasoning: Option<&'a Reasoning<'a>>,
    pub(super) reasoning_effort: Option<&'a str>,
    pub(super) enable_thinking: Option<bool>,
    pub(super) thinking_budget: Option<u64>,
    pub(super) include_reasoning: Option<bool>,
}

/// What became of them, beside `thinking` of the Messages request.
#[derive(Default)]
pub(super) struct ChatThinking<'a> {
    /// The effort.
    pub(super) effort: Option<JsonStr<'a>>,
    /// The JSON of `thinking`, where it is not a constant of the request.
    pub(super) thinking: Option<String>,
    /// Whether the response has no thinking.
    pub(super) is_excluded: bool,
    /// The members that `thinking`, its budget and the effort come from.
    pub(super) paths: Paths,
}

/// Members of the chat request that thinking comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Paths {
    pub(super) thinking: Option<&'static str>,
    pub(super) budget: Option<&'static str>,
    pub(super) effort: Option<&'static str>,
}

/// What one member requests.
#[derive(Clone, Default)]
struct Wish<'a> {
    path: &'static str,
    /// Whether to think.
    is_on: Option<bool>,
    effort: Option<(&'static str, &'a str)>,
    budget: Option<(&'static str, u64)>,
    display: Option<&'a str>,
    /// Whether the model decides how long to think.
    is_adaptive: bool,
}

/// Applies the members to `request`.
///
/// # Errors
/// When one of them is not valid.
pub(super) fn apply<'a>(
    members: &ThinkingMembers<'a>,
    request: &mut Request<'a>,
    capabilities: &Capabilities,
    diagnostics: &mut Diagnostics,
) -> Result<ChatThinking<'a>, InvalidRequest> {
    let excluded = members.reasoning.and_then(|reasoning| reasoning.exclude);
    let is_excluded = excluded.unwrap_or(members.include_reasoning == Some(false));
    let outcome = match combined(wishes(members, diagnostics)?, diagnostics) {
        Some(wish) => granted(&wish, request, capabilities, diagnostics),
        None => ChatThinking::default(),
    };
    Ok(ChatThinking { is_excluded, ..outcome })
}

/// The wishes of all members, the most specific first.
fn wishes<'a>(
    members: &ThinkingMembers<'a>,
    diagnostics: &mut Diagnostics,
) -> Result<Vec<Wish<'a>>, InvalidRequest> {
    let mut wishes = Vec::new();
    if let Some(thinking) = members.thinking {
        wishes.push(of_thinking(thinking, diagnostics)?);
    }
    if let Some(reasoning) = members.reasoning {
        wishes.push(of_reasoning(reasoning, diagnostics));
    }
    if let Some(effort) = members.reasoning_effort {
        let path = "reasoning_effort";
        let is_on = Some(effort != "none");
        wishes.push(Wish { path, is_on, effort: Some((path, effort)), ..Wish::default() });
    }
    if members.enable_thinking.is_some() || members.thinking_budget.is_some() {
        let path = if members.enable_thinking.is_some() { "enable_thinking" } else { "thinking_budget" };
        let budget = members.thinking_budget;
        let is_on = members.enable_thinking.or(budget.map(|budget| budget > 0));
        let budget = budget.map(|budget| ("thinking_budget", budget));
        wishes.push(Wish { path, is_on, budget, ..Wish::default() });
    }
    Ok(wishes)
}

fn of_thinking<'a>(raw: RawJson<'a>, diagnostics: &mut Diagnostics) -> Result<Wish<'a>, InvalidRequest> {
    let path = "thinking";
    if matches!(raw.get(), "true" | "false") {
        return Ok(Wish { path, is_on: Some(raw.get() == "true"), ..Wish::default() });
    }
    let root = JsonPath::ROOT;
    let at = root.key(path);
    if !raw.is_object() {
        return Err(json_error::not_an_object(at, raw));
    }
    let thinking: anthropic::Thinking<'a> = json_error::read(raw, at, Wording::OpenAi)?;
    let anthropic::Thinking { kind, budget_tokens, display, unknown } = thinking;
    leave_out(at, &unknown, diagnostics);
    let budget = budget_tokens.map(|budget| ("thinking.budget_tokens", budget));
    let (is_on, is_adaptive) = match kind.as_deref() {
        Some("enabled") => (true, false),
        Some("adaptive" | "auto") => (true, true),
        Some("disabled") => (false, false),
        None if budget.is_some() => (true, false),
        None => return Err(InvalidRequest::new(at.key("type"), "Field required")),
        Some(_) => {
            let message = "Input should be 'enabled', 'adaptive' or 'disabled'";
            return Err(InvalidRequest::new(at.key("type"), message));
        }
    };
    let budget = budget.filter(|_| is_on && !is_adaptive);
    let display = display.map(RawJson::get);
    Ok(Wish { path, is_on: Some(is_on), budget, display, is_adaptive, ..Wish::default() })
}

fn of_reasoning<'a>(reasoning: &'a Reasoning<'a>, diagnostics: &mut Diagnostics) -> Wish<'a> {
    let Reasoning { effort, max_tokens, enabled, exclude: _, summary, unknown } = reasoning;
    let root = JsonPath::ROOT;
    let path = root.key("reasoning");
    leave_out(path, unknown, diagnostics);
    if summary.is_some() {
        diagnostics.adjusted(path.key("summary"), "left out: thinking is shown as the model shows it");
    }
    let effort = effort.as_deref().map(|effort| ("reasoning.effort", effort));
    let budget = max_tokens.map(|budget| ("reasoning.max_tokens", budget));
    let measured = budget.map(|(_, budget)| budget > 0).or(effort.map(|(_, effort)| effort != "none"));
    Wish { path: "reasoning", is_on: enabled.or(measured), effort, budget, ..Wish::default() }
}

/// One wish of all; reports what it replaces.
fn combined<'a>(wishes: Vec<Wish<'a>>, diagnostics: &mut Diagnostics) -> Option<Wish<'a>> {
    let root = JsonPath::ROOT;
    let mut wishes = wishes.into_iter().filter(|wish| wish.is_on.is_some());
    let mut combined = wishes.next()?;
    if combined.budget.is_some_and(|(_, budget)| budget == 0) {
        (combined.is_on, combined.budget) = (Some(false), None);
    }
    for other in wishes {
        if other.is_on != combined.is_on {
            diagnostics.dropped(root.key(other.path), format!("left out: `{}` replaces it", combined.path));
            continue;
        }
        combined.effort = combined.effort.or(other.effort);
        combined.budget = combined.budget.or(other.budget);
        combined.is_adaptive |= other.is_adaptive;
    }
    if let (Some((budget, _)), Some((effort, _))) = (combined.budget, combined.effort) {
        diagnostics.dropped(root.key(effort), format!("left out: `{budget}` replaces it"));
        combined.effort = None;
    }
    combined.effort = combined.effort.filter(|(_, effort)| combined.is_on == Some(true) && *effort != "none");
    Some(combined)
}

/// Sets `thinking` of the request.
///
/// OpenAI's models think with sampling parameters and before a forced call; Claude models do not.
fn granted<'a>(
    wish: &Wish<'a>,
    request: &mut Request<'a>,
    capabilities: &Capabilities,
    diagnostics: &mut Diagnostics,
) -> ChatThinking<'a> {
    let root = JsonPath::ROOT;
    let path = root.key(wish.path);
    let takes = capabilities.thinking;
    let thinks = takes.adaptive || takes.enabled;
    let paths = Paths {
        thinking: Some(wish.path),
        budget: wish.budget.map(|(path, _)| path),
        effort: wish.effort.map(|(path, _)| path).or(Some(wish.path)),
    };
    let outcome = ChatThinking { paths, ..ChatThinking::default() };
    if wish.is_on == Some(false) {
        if thinks || !capabilities.claude {
            request.thinking = constant_thinking(DISABLED);
        }
        return outcome;
    }
    let effort = wish.effort.map(|(path, effort)| named_effort(effort, path, diagnostics));
    if !capabilities.claude {
        return match wish.budget {
            Some((_, budget)) => ChatThinking {
                thinking: Some(json!({"type": "enabled", "budget_tokens": budget}).to_string()),
                ..outcome
            },
            None => ChatThinking { effort: effort.or(Some(JsonStr::from(DEFAULT_EFFORT))), ..outcome },
        };
    }
    if !thinks {
        diagnostics.dropped(path, "left out: the model does not think");
        return outcome;
    }
    let forced = request.tool_choice.as_ref().and_then(|choice| choice.kind.as_deref());
    if matches!(forced, Some("any" | "tool")) {
        diagnostics
            .dropped(path, "left out: the model does not think before a call that it is forced to make");
        return outcome;
    }
    let Ok(budget) = wish.budget.map(|budget| fitted(budget, request.max_tokens, diagnostics)).transpose()
    else {
        return outcome;
    };
    let display = wish.display.map(str::to_owned);
    let thinking = match (budget, display) {
        (None, None) => {
            request.thinking = constant_thinking(if takes.adaptive { ADAPTIVE } else { WITH_BUDGET });
            None
        }
        (None, Some(display)) => Some(format!(r#"{{"type":"adaptive","display":{display}}}"#)),
        (Some(budget), display) => {
            let display = display.or_else(|| (!takes.enabled).then(|| r#""summarized""#.to_owned()));
            let display = display.map_or_else(String::new, |display| format!(r#","display":{display}"#));
            Some(format!(r#"{{"type":"enabled","budget_tokens":{budget}{display}}}"#))
        }
    };
    if request.temperature.take_if(|value| *value < 1.0).is_some() {
        diagnostics.dropped(root.key("temperature"), "left out: the model takes none while it thinks");
    }
    if request.top_p.take_if(|value| *value < 0.95).is_some() {
        diagnostics.dropped(root.key("top_p"), "left out: the model takes none below 0.95 while it thinks");
    }
    let needs_effort = budget.is_none() && !takes.adaptive && !wish.is_adaptive;
    let effort = effort.or(needs_effort.then(|| JsonStr::from(DEFAULT_EFFORT)));
    ChatThinking { effort, thinking, ..outcome }
}

fn named_effort<'a>(effort: &'a str, path: &'static str, diagnostics: &mut Diagnostics) -> JsonStr<'a> {
    if effort == "minimal" {
        diagnostics.adjusted(JsonPath::ROOT.key(path), "sent as `low`, the least there is");
        return JsonStr::from("low");
    }
    JsonStr::from(effort)
}

/// The client's budget within Bedrock's minimum and `max_tokens`; an error where that leaves no room for it.
fn fitted(
    (path, budget): (&'static str, u64),
    max_tokens: Option<u64>,
    diagnostics: &mut Diagnostics,
) -> Result<u64, ()> {
    let root = JsonPath::ROOT;
    let path = root.key(path);
    let mut fitted = budget.max(MIN_BUDGET);
    if let Some(max_tokens) = max_tokens.filter(|max_tokens| fitted >= *max_tokens) {
        fitted = max_tokens / 2;
    }
    if fitted < MIN_BUDGET {
        diagnostics.dropped(path, "left out: max_tokens leaves no room for it");
        return Err(());
    }
    if fitted > budget {
        diagnostics.adjusted(path, format!("raised to {fitted}, the minimum of the model"));
    } else if fitted < budget {
        let what = format!("lowered to {fitted}, so that a response fits into max_tokens beside it");
        diagnostics.adjusted(path, what);
    }
    Ok(fitted)
}

fn constant_thinking(json: &'static str) -> Option<RawJson<'static>> {
    serde_json::from_str(json).ok()
}
