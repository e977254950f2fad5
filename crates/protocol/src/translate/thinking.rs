//! Thinking and effort, mapped to what each model takes.
//!
//! Clients send the thinking of the newest model to every model; unlike most rejections
//! these end a conversation, so each kind of thinking becomes the nearest that the model takes.

use std::borrow::Cow;

use serde_json::value::{RawValue, to_raw_value};

use super::betas::{DISPLAY_UPDATES_BETA, RequestedBetas};
use super::diagnostics::{Diagnostics, JsonPath, required};
use crate::anthropic::InvalidRequest;
use crate::anthropic::request::Thinking;
use crate::capabilities::{Capabilities, Efforts, Reasoning};
use crate::converse::request::{Effort, InferenceConfiguration, ReasoningControl};
use crate::json::{JsonStr, RawJson};
use crate::json_error::{self, Wording};

/// Minimum budget of thinking, in tokens.
/// <https://platform.claude.com/docs/en/build-with-claude/extended-thinking>
pub(in crate::translate) const MIN_BUDGET: u64 = 1024;
/// Budget of an effort, in tokens; a higher effort has [`HIGH_BUDGET`]. Our own choice: Anthropic publishes no such table.
/// `docs/protocol.md` has it, too.
const BUDGETS: [(&str, u64); 2] = [("low", 2048), ("medium", 8192)];
const HIGH_BUDGET: u64 = 16_384;
/// The levels of effort that there are.
const LEVELS: [&str; 5] = ["low", "medium", "high", "xhigh", "max"];
/// Switches effort on for models that have it without adaptive thinking.
const EFFORT_BETA: &str = "effort-2025-11-24";
/// The display that every model has.
const DISPLAY_SUMMARIZED: &str = "\"summarized\"";
/// A display that requires a beta.
const DISPLAY_UPDATES: &str = "updates";

/// Limit of output tokens, thinking included.
#[derive(Clone, Copy, Debug)]
pub(super) struct OutputLimit {
    /// Limit that is sent.
    pub(super) tokens: u64,
    /// Maximum of the model, where the client set no limit, so that it may be raised.
    pub(super) raisable_to: Option<u64>,
    /// Whether the client's limit was lowered to the maximum of the model.
    pub(super) is_lowered: bool,
}

impl OutputLimit {
    /// The limit and a budget that leave room for the rest of the response: a limit that the client did not set is raised by
    /// the budget; of a limit that is not raised by all of it a budget is half at most. `None` when there is no room.
    fn with_budget(self, budget: u64) -> Option<(u64, u64)> {
        let limit = self.raised_by(budget);
        let is_raised = limit - self.tokens >= budget;
        let budget = if is_raised { budget } else { budget.min(limit / 2) };
        (budget >= MIN_BUDGET).then_some((limit, budget))
    }

    fn raised_by(self, budget: u64) -> u64 {
        self.raisable_to
            .map_or(self.tokens, |max| self.tokens.saturating_add(budget).min(max))
            .max(self.tokens)
    }
}

/// Thinking and effort for a model.
#[derive(Default)]
pub(in crate::translate) struct ThinkingConfig<'a> {
    /// A Claude model's `thinking`.
    pub(in crate::translate) thinking: Option<Cow<'a, RawValue>>,
    /// A Claude model's effort.
    pub(in crate::translate) effort: Option<Effort<'a>>,
    /// Another model's effort.
    pub(super) reasoning: Option<ReasoningControl>,
    /// Limit of output tokens that the budget requires, where it was raised.
    pub(in crate::translate) max_tokens: Option<u64>,
    /// Betas that effort and display require.
    pub(super) betas: Vec<&'static str>,
}

impl ThinkingConfig<'_> {
    /// Whether thinking has a budget.
    pub(in crate::translate) fn has_budget(&self) -> bool {
        let thinking = self.thinking.as_deref().map(RawValue::get);
        let thinking = thinking.and_then(|json| serde_json::from_str::<Thinking<'_>>(json).ok());
        thinking.is_some_and(|thinking| thinking.kind.as_deref() == Some("enabled"))
    }
}

/// Result of mapping a type of thinking.
enum ThinkingMapping {
    Unchanged,
    Adaptive,
    Enabled,
    Dropped,
}

/// Mapper of thinking and effort to what a model takes.
pub(super) struct ThinkingMapper<'d> {
    pub(super) capabilities: &'d Capabilities,
    pub(super) diagnostics: &'d mut Diagnostics,
    /// Limit of output tokens that a budget has to fit into.
    pub(super) limit: OutputLimit,
    /// Limit that the budget requires, where it was raised.
    pub(super) raised: Option<u64>,
    /// Budget for a request that does not mention thinking and can have it.
    pub(super) default_budget: Option<u64>,
    /// What the model was seen not to support.
    pub(super) unsupported: RequestedBetas<'d>,
}

impl ThinkingMapper<'_> {
    /// Configuration of thinking that the model takes, nearest to the one that was requested.
    ///
    /// # Errors
    /// When `thinking` is not valid.
    pub(super) fn map<'a>(
        &mut self,
        thinking: Option<RawJson<'a>>,
        effort: Option<JsonStr<'a>>,
    ) -> Result<ThinkingConfig<'a>, InvalidRequest> {
        let path = JsonPath::ROOT.key("thinking");
        if !self.capabilities.claude {
            let reasoning = self.reasoning(thinking, effort.as_deref(), path)?;
            return Ok(ThinkingConfig { reasoning, ..ThinkingConfig::default() });
        }
        let mut stands_for_budget = false;
        let (thinking, derived) = match thinking {
            None => (self.thinking_by_default(path), None),
            Some(raw) => {
                let parsed: Thinking<'a> = read_thinking(raw, path)?;
                match self.map_thinking(&parsed, path)? {
                    ThinkingMapping::Unchanged => (self.within_limits(raw, parsed, path), None),
                    ThinkingMapping::Dropped => (None, None),
                    ThinkingMapping::Adaptive => self.made_adaptive(parsed, effort.is_some(), path),
                    ThinkingMapping::Enabled => {
                        stands_for_budget = true;
                        (self.made_enabled(parsed, effort.as_deref(), path), None)
                    }
                }
            }
        };
        let effort = match effort {
            Some(_) if stands_for_budget && self.capabilities.effort == Efforts::default() => {
                // Without room for a budget, the notice of `thinking` is enough.
                if thinking.is_some() {
                    let root = JsonPath::ROOT.key("output_config");
                    self.diagnostics.adjusted(root.key("effort"), "sent as the budget of thinking");
                }
                None
            }
            Some(effort) => self.effort(effort),
            None => derived.map(Cow::Borrowed),
        };
        let needs_beta =
            effort.is_some() && !self.capabilities.thinking.adaptive && self.capabilities.thinking.enabled;
        let (thinking, display_beta) = self.display(thinking, path);
        let betas = needs_beta.then_some(EFFORT_BETA).into_iter().chain(display_beta).collect();
        Ok(ThinkingConfig {
            thinking,
            effort: effort.map(|effort| Effort { effort }),
            reasoning: None,
            max_tokens: self.raised,
            betas,
        })
    }

    /// Thinking with a display that the model takes, and the beta that the display requires.
    fn display<'a>(
        &mut self,
        thinking: Option<Cow<'a, RawValue>>,
        path: JsonPath<'_>,
    ) -> (Option<Cow<'a, RawValue>>, Option<&'static str>) {
        let json = thinking.as_deref().map(RawValue::get).filter(|json| json.contains("\"display\""));
        match json.map(|json| self.map_display(json, path)) {
            Some((Some(changed), _)) => (Some(Cow::Owned(changed)), None),
            Some((None, beta)) => (thinking, beta),
            None => (thinking, None),
        }
    }

    /// The thinking in `json`, if its display has to be changed; else the beta that the display requires.
    fn map_display(
        &mut self,
        json: &str,
        path: JsonPath<'_>,
    ) -> (Option<Box<RawValue>>, Option<&'static str>) {
        let Ok(mut thinking) = serde_json::from_str::<Thinking<'_>>(json) else { return (None, None) };
        let name = thinking.display.and_then(|display| display.read::<JsonStr<'_>>().ok());
        let Some(name) = name.as_deref() else { return (None, None) };
        let without_beta = name == DISPLAY_UPDATES && self.unsupported.is_unsupported(DISPLAY_UPDATES_BETA);
        if self.unsupported.is_display_unsupported(None) {
            self.diagnostics.dropped(path.key("display"), "left out: this model has rejected it");
            thinking.display = None;
        } else if without_beta || self.unsupported.is_display_unsupported(Some(name)) {
            self.diagnostics.adjusted(path.key("display"), "sent as `summarized`, which this model supports");
            thinking.display = serde_json::from_str(DISPLAY_SUMMARIZED).ok();
        } else {
            return (None, (name == DISPLAY_UPDATES).then_some(DISPLAY_UPDATES_BETA));
        }
        (to_raw_value(&thinking).ok(), None)
    }

    fn map_thinking(
        &mut self,
        thinking: &Thinking<'_>,
        path: JsonPath<'_>,
    ) -> Result<ThinkingMapping, InvalidRequest> {
        let takes = self.capabilities.thinking;
        let kind = required(thinking.kind.as_deref(), path.key("type"))?;
        let stays = match kind {
            "enabled" => takes.enabled,
            "adaptive" => takes.adaptive,
            "disabled" => takes.disabled,
            "between_tools" => takes.between_tools,
            // Unknown to this version: the model accepts or rejects it.
            _ => true,
        };
        let mapping = match kind {
            _ if stays => ThinkingMapping::Unchanged,
            "disabled" => ThinkingMapping::Dropped,
            _ if takes.adaptive => ThinkingMapping::Adaptive,
            _ if takes.enabled => ThinkingMapping::Enabled,
            _ => ThinkingMapping::Dropped,
        };
        if matches!(mapping, ThinkingMapping::Dropped) {
            let always_thinks = takes.enabled || takes.adaptive;
            let reason = if always_thinks {
                "left out: thinking of this model cannot be switched off"
            } else {
                "left out: the model does not support thinking"
            };
            self.diagnostics.dropped(path, reason);
        }
        Ok(mapping)
    }

    /// Thinking by the operator's setting, for requests without it and with room for it.
    fn thinking_by_default<'a>(&mut self, path: JsonPath<'_>) -> Option<Cow<'a, RawValue>> {
        let takes = self.capabilities.thinking;
        let budget = self.default_budget.map(|budget| budget.max(MIN_BUDGET))?;
        if takes.enabled {
            let budget = self.reserve_budget(budget)?;
            self.diagnostics.adjusted(path, format!("not given; a budget of {budget} was used"));
            let thinking = Thinking { budget_tokens: Some(budget), ..Thinking::default() };
            return printed(thinking, "enabled");
        }
        if !takes.adaptive || budget >= self.limit.tokens {
            return None;
        }
        self.diagnostics.adjusted(path, "not given; adaptive was used");
        printed(Thinking::default(), "adaptive")
    }

    /// The budget that leaves room for the rest of the response; raises the limit where it may be raised.
    fn reserve_budget(&mut self, budget: u64) -> Option<u64> {
        let (limit, budget) = self.limit.with_budget(budget)?;
        self.raise_limit(limit);
        Some(budget)
    }

    fn raise_limit(&mut self, limit: u64) {
        if limit > self.limit.tokens {
            self.raised = Some(limit);
            let what = format!("raised to {limit}, so that a response fits beside thinking");
            self.diagnostics.adjusted(JsonPath::ROOT.key("max_tokens"), what);
        }
    }

    /// Thinking as it came. Where the client set no limit, the limit is raised by its budget; where its limit was lowered
    /// below the budget, the budget is lowered, too.
    fn within_limits<'a>(
        &mut self,
        raw: RawJson<'a>,
        mut thinking: Thinking<'a>,
        path: JsonPath<'_>,
    ) -> Option<Cow<'a, RawValue>> {
        let unchanged = Some(Cow::Borrowed(raw.raw()));
        let Some(budget) = thinking.budget_tokens else { return unchanged };
        let limit = self.limit.raised_by(budget);
        self.raise_limit(limit);
        let may_be_lowered = self.limit.is_lowered || self.limit.raisable_to.is_some();
        if !may_be_lowered || budget < limit {
            return unchanged;
        }
        let lowered = (limit / 2).max(MIN_BUDGET);
        let what = format!("lowered to {lowered}, so that a response fits into max_tokens beside it");
        self.diagnostics.adjusted(path.key("budget_tokens"), what);
        thinking.budget_tokens = Some(lowered);
        printed(thinking, "enabled")
    }

    /// Adaptive thinking, with the effort that matches the budget unless the client set one.
    fn made_adaptive<'a>(
        &mut self,
        mut thinking: Thinking<'a>,
        has_effort: bool,
        path: JsonPath<'_>,
    ) -> (Option<Cow<'a, RawValue>>, Option<&'static str>) {
        let budget = thinking.budget_tokens.take().filter(|_| !has_effort);
        let effort = budget.and_then(|budget| self.capabilities.effort.at_most(effort_of(budget)));
        let with =
            effort.map_or_else(String::new, |effort| format!(", with effort `{effort}` for the budget"));
        self.diagnostics.adjusted(path, format!("sent as adaptive, which this model supports{with}"));
        (printed(thinking, "adaptive"), effort)
    }

    /// Thinking with a budget that the effort stood for, when there is room for it.
    fn made_enabled<'a>(
        &mut self,
        mut thinking: Thinking<'a>,
        effort: Option<&str>,
        path: JsonPath<'_>,
    ) -> Option<Cow<'a, RawValue>> {
        let Some(budget) = self.reserve_budget(budget_of(effort)) else {
            self.diagnostics.dropped(path, "left out: max_tokens leaves no room for it");
            return None;
        };
        self.diagnostics
            .adjusted(path, format!("sent as enabled with a budget of {budget}, which this model supports"));
        thinking.budget_tokens = Some(budget);
        printed(thinking, "enabled")
    }

    fn effort<'a>(&mut self, effort: JsonStr<'a>) -> Option<Cow<'a, str>> {
        // Unknown to this version: the model accepts or rejects it.
        if !LEVELS.contains(&&*effort) {
            return Some(effort.0);
        }
        self.lowered(&effort).map(Cow::Borrowed)
    }

    /// Thinking and effort of a model that is not a Claude model: it knows efforts only.
    fn reasoning<'a>(
        &mut self,
        thinking: Option<RawJson<'a>>,
        effort: Option<&str>,
        path: JsonPath<'_>,
    ) -> Result<Option<ReasoningControl>, InvalidRequest> {
        let control = self.capabilities.reasoning;
        if control == Reasoning::None {
            if thinking.is_some() {
                self.diagnostics.dropped(path, "left out: the model is not a Claude model");
            }
            if effort.is_some() {
                let root = JsonPath::ROOT.key("output_config");
                self.diagnostics.dropped(root.key("effort"), "left out: the model does not support effort");
            }
            return Ok(None);
        }
        let Some(raw) = thinking else { return Ok(self.reasoning_control(effort)) };
        let thinking: Thinking<'a> = read_thinking(raw, path)?;
        match (thinking.kind.as_deref(), thinking.budget_tokens) {
            (Some("disabled"), _) if self.capabilities.thinking.disabled => {
                self.diagnostics.adjusted(path, "sent as effort `none`");
                self.no_effort(effort);
                return Ok(Some(ReasoningControl::Object { effort: "none" }));
            }
            // Models with these members think on request only.
            (Some("disabled"), _)
                if matches!(control, Reasoning::ReasoningConfig | Reasoning::ReasoningConfigText) =>
            {
                self.diagnostics.adjusted(path, "left out: the model does not think by itself");
                self.no_effort(effort);
                return Ok(None);
            }
            (Some("disabled"), _) => {
                self.diagnostics.dropped(path, "left out: thinking of this model cannot be switched off");
            }
            (Some("enabled"), Some(budget)) if effort.is_none() => {
                let effort = effort_of(budget);
                self.diagnostics
                    .adjusted(path, format!("sent as effort `{effort}`, which this model supports"));
                return Ok(self.reasoning_control(Some(effort)));
            }
            _ if effort.is_some() => {
                self.diagnostics.adjusted(path, "left out: the model takes effort instead");
            }
            _ => self.diagnostics.dropped(path, "left out: the model decides by itself how hard it thinks"),
        }
        Ok(self.reasoning_control(effort))
    }

    /// Reports an effort that has no effect, as thinking is off.
    fn no_effort(&mut self, effort: Option<&str>) {
        if effort.is_some() {
            let root = JsonPath::ROOT.key("output_config");
            self.diagnostics.adjusted(root.key("effort"), "left out: thinking is switched off");
        }
    }

    fn reasoning_control(&mut self, effort: Option<&str>) -> Option<ReasoningControl> {
        let effort = self.lowered(effort?)?;
        match self.capabilities.reasoning {
            Reasoning::None => None,
            Reasoning::ReasoningConfig => {
                Some(ReasoningControl::Config { r#type: "enabled", max_reasoning_effort: effort })
            }
            Reasoning::ReasoningConfigText => Some(ReasoningControl::ConfigText(effort)),
            Reasoning::ReasoningEffort => Some(ReasoningControl::Effort(effort)),
            Reasoning::ReasoningObject => Some(ReasoningControl::Object { effort }),
        }
    }

    /// The highest level that the model takes and that is no higher than this one.
    fn lowered(&mut self, effort: &str) -> Option<&'static str> {
        let root = JsonPath::ROOT.key("output_config");
        let path = root.key("effort");
        let taken = self.capabilities.effort.at_most(effort);
        match taken {
            None => self.diagnostics.dropped(path, "left out: the model does not support this effort"),
            Some(taken) if taken != effort => {
                self.diagnostics.adjusted(path, format!("lowered to `{taken}`, the maximum of the model"));
            }
            Some(_) => {}
        }
        taken
    }
}

fn read_thinking<'a>(raw: RawJson<'a>, path: JsonPath<'_>) -> Result<Thinking<'a>, InvalidRequest> {
    if !raw.is_object() {
        return Err(InvalidRequest::new(path, "Input should be an object"));
    }
    json_error::read(raw, path, Wording::Anthropic)
}

/// The same thinking under another name; the other members stay as they were.
fn printed<'a>(mut thinking: Thinking<'a>, kind: &'static str) -> Option<Cow<'a, RawValue>> {
    thinking.kind = Some(kind.into());
    to_raw_value(&thinking).ok().map(Cow::Owned)
}

fn effort_of(budget: u64) -> &'static str {
    BUDGETS.iter().find(|(_, worth)| budget <= *worth).map_or("high", |(level, _)| level)
}

fn budget_of(effort: Option<&str>) -> u64 {
    BUDGETS.iter().find(|(level, _)| effort == Some(level)).map_or(HIGH_BUDGET, |(_, worth)| *worth)
}

/// Leaves out the limits that Amazon's model does not accept at its highest effort.
pub(super) fn drop_limits_at_high_effort(
    config: &ThinkingConfig<'_>,
    limits: &mut InferenceConfiguration<'_>,
    diagnostics: &mut Diagnostics,
) {
    let Some(ReasoningControl::Config { max_reasoning_effort: "high", .. }) = config.reasoning else {
        return;
    };
    let dropped = [
        ("max_tokens", limits.max_tokens.take().is_some()),
        ("temperature", limits.temperature.take().is_some()),
        ("top_p", limits.top_p.take().is_some()),
    ];
    for (name, _) in dropped.iter().filter(|(_, given)| *given) {
        diagnostics.dropped(JsonPath::ROOT.key(name), "left out: the model takes none at high effort");
    }
}
