//! Betas: what clients switch on, in the names that InvokeModel and the Messages API know.
//!
//! One unknown beta spoils a whole request, so names that Bedrock is known to refuse stay behind; every other
//! name passes, because clients switch on new ones every month.

use std::borrow::Cow;

use super::invoke::Form;

/// Betas that are called something else on Bedrock.
const ALIASES: [(&str, &str); 2] =
    [("advanced-tool-use-2025-11-20", TOOL_SEARCH), ("per-turn-control-2026-07-01", TURN_OUTPUT_CONFIG)];

/// Betas that say something to Anthropic's own service only, or that Bedrock has without asking.
const STAY_BEHIND: [&str; 19] = [
    "claude-code-20250219",
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

/// The same, by the beginning of their names: each has several dates.
const STAY_BEHIND_FAMILIES: [&str; 5] =
    ["mcp-client-", "advisor-tool-", "server-side-fallback-", "managed-agents-", "message-threads-"];

/// Of those above, the ones that the Messages API knows.
const MESSAGES_TAKES: [&str; 5] = [
    "claude-code-20250219",
    "mid-conversation-system-2026-04-07",
    "structured-outputs-2025-11-13",
    "thinking-token-count-2026-05-13",
    "token-counting-2024-11-01",
];

pub(super) const TOOL_SEARCH: &str = "tool-search-tool-2025-10-19";
pub(super) const TURN_OUTPUT_CONFIG: &str = "mid-conversation-output-config-2026-07-01";
pub(super) const FINE_GRAINED_STREAMING: &str = "fine-grained-tool-streaming-2025-05-14";
pub(super) const CONTEXT_MANAGEMENT: &str = "context-management-2025-06-27";
pub(super) const COMPACTION: &str = "compact-2026-01-12";
/// Tools that use a computer, and what switches them on.
pub(super) const COMPUTER_USE: [(&str, &str); 2] =
    [("computer_20250124", "computer-use-2025-01-24"), ("computer_20251124", "computer-use-2025-11-24")];

/// The betas of one request.
#[derive(Debug, Default)]
pub(super) struct Betas<'a> {
    /// Who they are sent to.
    messages: bool,
    names: Vec<Cow<'a, str>>,
    left_behind: Vec<Cow<'a, str>>,
    refused: Vec<Cow<'a, str>>,
}

impl<'a> Betas<'a> {
    /// None yet, for the reader of this form.
    pub(super) fn of(form: Form<'_>) -> Self {
        Self { messages: form != Form::Invoke, ..Self::default() }
    }

    /// Takes one that the client asked for.
    pub(super) fn ask(&mut self, name: impl Into<Cow<'a, str>>, refused: impl Fn(&str) -> bool) {
        let name = name.into();
        let known = ALIASES.iter().find(|(alias, _)| *alias == name).map(|(_, known)| *known);
        let is_refused = refused(&name) || known.is_some_and(&refused);
        let upstream = known.map_or(name, Cow::Borrowed);
        let taken = self.messages && MESSAGES_TAKES.contains(&&*upstream);
        let stays = (STAY_BEHIND.contains(&&*upstream) && !taken)
            || STAY_BEHIND_FAMILIES.iter().any(|family| upstream.starts_with(family));
        let list = match (stays, is_refused) {
            (true, _) => &mut self.left_behind,
            (false, true) => &mut self.refused,
            (false, false) => &mut self.names,
        };
        if !list.contains(&upstream) {
            list.push(upstream);
        }
    }

    /// Adds one that a member of the request needs.
    pub(super) fn need(&mut self, name: &'static str) {
        if !self.names.iter().any(|known| known == name) {
            self.names.push(Cow::Borrowed(name));
        }
    }

    /// Those to send.
    pub(super) fn names(&self) -> &[Cow<'a, str>] {
        &self.names
    }

    /// Those that stay behind because they say nothing to Bedrock.
    pub(super) fn left_behind(&self) -> &[Cow<'a, str>] {
        &self.left_behind
    }

    /// Those that stay behind because the model was seen to refuse them.
    pub(super) fn refused(&self) -> &[Cow<'a, str>] {
        &self.refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn betas_pass_unless_bedrock_is_known_to_refuse_them() {
        let mut betas = Betas::default();
        for name in [
            "novel-2027-01-01",
            "claude-code-20250219",
            "advanced-tool-use-2025-11-20",
            TOOL_SEARCH,
            "mcp-client-2099-01-01",
            "learned-2026-01-01",
        ] {
            betas.ask(name, |name| name == "learned-2026-01-01");
        }
        betas.need(CONTEXT_MANAGEMENT);
        betas.need(TOOL_SEARCH);
        assert_eq!(betas.names(), ["novel-2027-01-01", TOOL_SEARCH, CONTEXT_MANAGEMENT]);
        assert_eq!(betas.left_behind(), ["claude-code-20250219", "mcp-client-2099-01-01"]);
        assert_eq!(betas.refused(), ["learned-2026-01-01"]);
    }
}
