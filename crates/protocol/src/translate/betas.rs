//! Betas: features that clients request, by the names that each upstream API knows.
//!
//! One unknown beta makes a request fail, so names that Bedrock is known to reject are not sent; every other
//! name passes, because clients switch on new ones every month. Those that pass are in the order they came, first those
//! of the header.

use std::borrow::Cow;

use serde::Deserialize;

use super::diagnostics::{Diagnostics, JsonPath};
use super::ordered_set::OrderedSet;
use super::safeguards;
use crate::apis::UpstreamApi;

/// Betas with another name on Bedrock.
const ALIASES: [(&str, &str); 2] =
    [("advanced-tool-use-2025-11-20", TOOL_SEARCH), ("per-turn-control-2026-07-01", TURN_OUTPUT_CONFIG)];

/// Betas for Anthropic's own service only, or for features that Bedrock has anyway.
const UNSUPPORTED_BETAS: [&str; 20] = [
    "claude-code-20250219",
    "redact-thinking-2026-02-12",
    "prompt-caching-2024-07-31",
    "prompt-caching-scope-2026-01-05",
    "extended-cache-ttl-2025-04-11",
    "mid-conversation-system-2026-04-07",
    "structured-outputs-2025-11-13",
    "structured-outputs-2025-12-15",
    "thinking-token-count-2026-05-13",
    "token-counting-2024-11-01",
    "files-api-2025-04-14",
    "code-execution-2025-05-22",
    "code-execution-2025-08-25",
    "memory-2025-08-18",
    "skills-2025-10-02",
    "oauth-2025-04-20",
    "web-search-2025-03-05",
    "web-fetch-2025-09-10",
    "fast-mode-2026-02-01",
    "request-tags-2026-08-21",
];

/// The same, by the beginning of their names: each has several dates. The last one is sent with its member only.
const UNSUPPORTED_BETA_PREFIXES: [&str; 6] = [
    "mcp-client-",
    "advisor-tool-",
    "server-side-fallback-",
    "managed-agents-",
    "message-threads-",
    safeguards::BETA_PREFIX,
];

/// Betas that Converse does not know. It has their feature anyway, or the feature is a member of the
/// request that is rejected by itself.
const CONVERSE_UNSUPPORTED_BETAS: [&str; 8] = [
    AFK_MODE,
    CONTEXT_MANAGEMENT,
    TOOL_SEARCH,
    TURN_OUTPUT_CONFIG,
    "mid-conversation-tool-changes-2026-07-01",
    "search-results-2025-06-09",
    "pdfs-2024-09-25",
    "model-context-window-exceeded-2025-08-26",
];

/// Betas without a meaning for models that are not Claude models: their features are members, which are
/// translated or reported themselves, or is a limit, which the model rejects to exceed.
const CLAUDE_ONLY_BETAS: [&str; 12] = [
    AFK_MODE,
    "interleaved-thinking-2025-05-14",
    "context-1m-2025-08-07",
    "effort-2025-11-24",
    FINE_GRAINED_STREAMING,
    "token-efficient-tools-2025-02-19",
    "output-128k-2025-02-19",
    "computer-use-2024-10-22",
    "computer-use-2025-01-24",
    "computer-use-2025-11-24",
    COMPACTION,
    DISPLAY_UPDATES_BETA,
];

/// Unsupported betas that the Messages API supports.
const MESSAGES_API_BETAS: [&str; 5] = [
    "claude-code-20250219",
    "mid-conversation-system-2026-04-07",
    "structured-outputs-2025-11-13",
    "thinking-token-count-2026-05-13",
    "token-counting-2024-11-01",
];

/// Betas that Bedrock accepts according to Claude Code alone, which sends them there.
const PRESUMED_BETAS: [&str; 2] = [AFK_MODE, DISPLAY_UPDATES_BETA];

const AFK_MODE: &str = "afk-mode-2026-01-31";
pub(super) const TOOL_SEARCH: &str = "tool-search-tool-2025-10-19";
pub(super) const TURN_OUTPUT_CONFIG: &str = "mid-conversation-output-config-2026-07-01";
pub(super) const FINE_GRAINED_STREAMING: &str = "fine-grained-tool-streaming-2025-05-14";
pub(super) const CONTEXT_MANAGEMENT: &str = "context-management-2025-06-27";
pub(super) const COMPACTION: &str = "compact-2026-01-12";
/// Switches on `"display":"updates"`.
pub(super) const DISPLAY_UPDATES_BETA: &str = "thinking-display-updates-2026-08-18";
/// How thinking is shown: the member, as it stands among the unsupported fields, alone or with a value behind it.
const DISPLAY: &str = "thinking.display";
/// Tools that use a computer, and what switches them on.
pub(super) const COMPUTER_USE: [(&str, &str); 2] =
    [("computer_20250124", "computer-use-2025-01-24"), ("computer_20251124", "computer-use-2025-11-24")];

/// Betas of the header `anthropic-beta`, and what the model was seen not to support.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestedBetas<'a> {
    /// Values of the header, in their order.
    pub names: &'a [String],
    /// Betas that this model was seen not to support.
    pub unsupported: &'a [String],
    /// Whether the model was seen to reject betas without naming them; then only required ones are sent.
    pub all_unsupported: bool,
}

impl RequestedBetas<'_> {
    /// Whether this model was seen not to support the beta `name`.
    pub(super) fn is_unsupported(self, name: &str) -> bool {
        self.all_unsupported || self.unsupported.iter().any(|beta| beta == name)
    }

    /// Whether this model was seen not to support thinking's `display`, or this value of it.
    pub(super) fn is_display_unsupported(self, display: Option<&str>) -> bool {
        let is_value = |name: &String| match (name.strip_prefix(DISPLAY), display) {
            (Some(rest), Some(value)) => rest.strip_prefix('.') == Some(value),
            (Some(rest), None) => rest.is_empty(),
            (None, _) => false,
        };
        self.unsupported.iter().any(is_value)
    }

    /// Whether this model was seen not to support the beta of `safeguards`.
    pub(super) fn is_safeguards_unsupported(self) -> bool {
        self.all_unsupported || self.unsupported.iter().any(|name| name.starts_with(safeguards::BETA_PREFIX))
    }
}

/// The betas in an upstream `body` for which Bedrock may have rejected it without naming one, the most likely first: new
/// ones, then that of `safeguards`, which regions get one by one, then those that are presumed to be accepted. Those that Bedrock is known to accept are
/// not among them.
#[must_use]
pub fn suspect_betas(body: &[u8]) -> Vec<String> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Body {
        anthropic_beta: Vec<String>,
        #[serde(rename = "additionalModelRequestFields")]
        fields: Fields,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Fields {
        anthropic_beta: Vec<String>,
    }
    let rank = |name: &str| match name {
        _ if name.starts_with(safeguards::BETA_PREFIX) => Some(1),
        _ if PRESUMED_BETAS.contains(&name) => Some(2),
        _ if CLAUDE_ONLY_BETAS.contains(&name) || CONVERSE_UNSUPPORTED_BETAS.contains(&name) => None,
        _ => Some(0),
    };
    let body: Body = serde_json::from_slice(body).unwrap_or_default();
    let names = body.anthropic_beta.into_iter().chain(body.fields.anthropic_beta);
    let mut ranked: Vec<(u8, String)> = names.filter_map(|name| Some((rank(&name)?, name))).collect();
    ranked.sort_by_key(|(rank, _)| *rank);
    ranked.into_iter().map(|(_, name)| name).collect()
}

/// The betas of one request, filtered for an upstream API and a model.
#[derive(Debug)]
pub(super) struct BetaFilter<'a> {
    api: UpstreamApi,
    is_claude: bool,
    names: OrderedSet<'a>,
    not_sent: OrderedSet<'a>,
    unsupported: OrderedSet<'a>,
}

impl<'a> BetaFilter<'a> {
    /// Filter without betas. A model that is not a Claude model knows no betas.
    pub(super) fn new(api: UpstreamApi, is_claude: bool) -> Self {
        let (names, not_sent, unsupported) = Default::default();
        Self { api, is_claude, names, not_sent, unsupported }
    }

    /// Adds a beta that the client requested.
    pub(super) fn add(&mut self, name: impl Into<Cow<'a, str>>, is_unsupported: impl Fn(&str) -> bool) {
        let name = name.into();
        let renamed = ALIASES.iter().find(|(alias, _)| *alias == name).map(|(_, renamed)| *renamed);
        let unsupported = is_unsupported(&name) || renamed.is_some_and(&is_unsupported) || !self.is_claude;
        let upstream = renamed.map_or(name, Cow::Borrowed);
        let set = match (self.is_irrelevant(&upstream), unsupported) {
            (true, _) => &mut self.not_sent,
            (false, true) => &mut self.unsupported,
            (false, false) => &mut self.names,
        };
        set.insert(upstream);
    }

    /// Whether a beta of this name changes nothing for the API and the model.
    fn is_irrelevant(&self, name: &str) -> bool {
        let listed = UNSUPPORTED_BETAS.contains(&name);
        let listed = match self.api {
            UpstreamApi::InvokeModel => listed,
            UpstreamApi::Messages => listed && !MESSAGES_API_BETAS.contains(&name),
            UpstreamApi::Converse => listed || CONVERSE_UNSUPPORTED_BETAS.contains(&name),
        };
        listed
            || (!self.is_claude && CLAUDE_ONLY_BETAS.contains(&name))
            || UNSUPPORTED_BETA_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
    }

    /// Adds a beta that a member of the request requires.
    pub(super) fn require(&mut self, name: impl Into<Cow<'a, str>>) {
        self.names.insert(name);
    }

    /// Adds the beta of `safeguards`, in the version that the client requested.
    pub(super) fn require_safeguards(&mut self) {
        let requested = self.not_sent.take(|name| name.starts_with(safeguards::BETA_PREFIX));
        self.require(requested.unwrap_or(Cow::Borrowed(safeguards::BETA)));
    }

    /// Betas to send.
    pub(super) fn names(&self) -> &[Cow<'a, str>] {
        self.names.as_slice()
    }

    /// Consumes the filter and returns the betas to send.
    pub(super) fn into_names(self) -> Vec<Cow<'a, str>> {
        self.names.into_texts()
    }

    /// Reports betas that are not sent: irrelevant ones as adjusted, unsupported ones as dropped.
    pub(super) fn report(&self, diagnostics: &mut Diagnostics) {
        let path = JsonPath::ROOT;
        let path = path.key("anthropic-beta");
        if !self.not_sent.is_empty() {
            diagnostics.adjusted(path, format!("not sent: {}", self.not_sent.as_slice().join(", ")));
        }
        if !self.unsupported.is_empty() {
            let why = match (self.is_claude, self.unsupported.as_slice().len()) {
                (false, _) => "the model is not a Claude model",
                (_, 1) => "this model has rejected it",
                (..) => "this model rejected some of them before",
            };
            diagnostics.dropped(path, format!("{} not sent: {why}", self.unsupported.as_slice().join(", ")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn betas_pass_unless_bedrock_rejects_them() {
        let mut betas = BetaFilter::new(UpstreamApi::InvokeModel, true);
        for name in [
            "novel-2027-01-01",
            "claude-code-20250219",
            "advanced-tool-use-2025-11-20",
            TOOL_SEARCH,
            "mcp-client-2099-01-01",
            "learned-2026-01-01",
        ] {
            betas.add(name, |name| name == "learned-2026-01-01");
        }
        betas.require(CONTEXT_MANAGEMENT);
        betas.require(TOOL_SEARCH);
        assert_eq!(betas.names(), ["novel-2027-01-01", TOOL_SEARCH, CONTEXT_MANAGEMENT]);
        assert_eq!(
            reported(&betas),
            [
                ("not sent: claude-code-20250219, mcp-client-2099-01-01".to_owned(), false),
                ("learned-2026-01-01 not sent: this model has rejected it".to_owned(), true),
            ]
        );
    }

    fn reported(betas: &BetaFilter<'_>) -> Vec<(String, bool)> {
        let mut diagnostics = Diagnostics::default();
        betas.report(&mut diagnostics);
        diagnostics.notices.into_iter().map(|notice| (notice.what, notice.dropped)).collect()
    }

    #[test]
    fn each_upstream_api_gets_its_betas() {
        let requested = [
            "claude-code-20250219",
            "interleaved-thinking-2025-05-14",
            "advanced-tool-use-2025-11-20",
            "per-turn-control-2026-07-01",
            "context-1m-2025-08-07",
            "novel-2027-01-01",
            "context-1m-2025-08-07",
        ];
        for (api, is_claude, expected) in [
            (
                UpstreamApi::Messages,
                true,
                &[requested[0], requested[1], TOOL_SEARCH, TURN_OUTPUT_CONFIG, requested[4], requested[5]]
                    as &[_],
            ),
            (
                UpstreamApi::InvokeModel,
                true,
                &[requested[1], TOOL_SEARCH, TURN_OUTPUT_CONFIG, requested[4], requested[5]],
            ),
            (UpstreamApi::Converse, true, &[requested[1], requested[4], requested[5]]),
            (UpstreamApi::Converse, false, &[]),
        ] {
            let mut betas = BetaFilter::new(api, is_claude);
            requested.into_iter().for_each(|name| betas.add(name, |_| false));
            assert_eq!(betas.names(), expected, "{api} {is_claude}");
        }
        let mut betas = BetaFilter::new(UpstreamApi::Converse, false);
        requested.into_iter().for_each(|name| betas.add(name, |_| false));
        let reported = reported(&betas);
        assert_eq!(
            reported[1],
            ("novel-2027-01-01 not sent: the model is not a Claude model".to_owned(), true)
        );
        assert!(!reported[0].1 && reported[0].0.contains("context-1m-2025-08-07"), "{reported:?}");
    }

    #[test]
    fn model_that_rejects_betas_gets_required_ones_only() {
        let requested = RequestedBetas { all_unsupported: true, ..RequestedBetas::default() };
        let mut betas = BetaFilter::new(UpstreamApi::Converse, true);
        ["a-2027-01-01", "claude-code-20250219", "b-2027-01-01"]
            .into_iter()
            .for_each(|name| betas.add(name, |name| requested.is_unsupported(name)));
        betas.require("effort-2025-11-24");
        assert_eq!(betas.names(), ["effort-2025-11-24"]);
        assert_eq!(
            reported(&betas)[1],
            ("a-2027-01-01, b-2027-01-01 not sent: this model rejected some of them before".to_owned(), true)
        );
    }

    #[test]
    fn new_betas_are_the_first_suspects() {
        let names =
            ["dangerous-tool-use-2026-09-03", "effort-2025-11-24", AFK_MODE, "novel-2027-01-01", TOOL_SEARCH];
        let expected = ["novel-2027-01-01", "dangerous-tool-use-2026-09-03", AFK_MODE];
        let invoke = serde_json::json!({"anthropic_beta": names, "messages": []});
        assert_eq!(suspect_betas(invoke.to_string().as_bytes()), expected);
        let converse = serde_json::json!({"additionalModelRequestFields": {"anthropic_beta": names}});
        assert_eq!(suspect_betas(converse.to_string().as_bytes()), expected);
        for none in ["{}", r#"{"anthropic_beta":7}"#, ""] {
            assert!(suspect_betas(none.as_bytes()).is_empty());
        }
    }
}
