//! Server tools: tools that Anthropic runs and Bedrock does not have.
//!
//! Some clients offer them with every request, whether they are needed or not. Leaving such a tool out takes
//! nothing from a model that has other tools; otherwise the request is rejected with the tool's type.

use super::diagnostics::JsonPath;
use crate::anthropic::InvalidRequest;

/// Prefixes of the types of server tools; dates follow.
const FAMILIES: [&str; 5] = ["web_search_", "web_fetch_", "code_execution_", "advisor_", "mcp_toolset"];

/// Tool, as far as the decision needs it.
#[derive(Clone, Copy)]
pub(super) struct Offered<'t> {
    /// Type; `None` for a tool of the client.
    pub(super) kind: Option<&'t str>,
    /// Name of the tool.
    pub(super) name: Option<&'t str>,
}

/// Tool to drop.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LeftOutTool {
    /// Where it stands among the tools.
    pub(super) index: usize,
    /// Notice for the client.
    pub(super) what: String,
}

/// Which of the tools to leave out. `forced` is the tool that the model has to call.
///
/// # Errors
/// When one may not be left out.
pub(super) fn left_out(
    tools: &[Offered<'_>],
    forced: Option<&str>,
) -> Result<Vec<LeftOutTool>, InvalidRequest> {
    let is_own = |tool: &Offered<'_>| !tool.kind.is_some_and(is_server_tool);
    let remains = tools.iter().any(is_own);
    let mut left_out = Vec::new();
    for (index, tool) in tools.iter().enumerate().filter(|(_, tool)| !is_own(tool)) {
        let kind = tool.kind.unwrap_or_default();
        let is_forced = forced.is_some() && forced == tool.name;
        if is_forced || !remains {
            let message = format!("tool type '{kind}' is not supported: Bedrock runs no tools itself");
            return Err(InvalidRequest::new(JsonPath::ROOT.key("tools").index(index), message));
        }
        let what = format!("tool type '{kind}' left out: Bedrock runs no tools itself");
        left_out.push(LeftOutTool { index, what });
    }
    Ok(left_out)
}

fn is_server_tool(kind: &str) -> bool {
    FAMILIES.iter().any(|family| kind.starts_with(family))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Offered<'_> = Offered { kind: None, name: Some("read") };
    const SEARCH: Offered<'_> = Offered { kind: Some("web_search_20250305"), name: Some("web_search") };

    #[test]
    fn server_tool_is_dropped_while_others_remain() {
        let out = left_out(&[SEARCH, OWN, SEARCH], None).unwrap();
        assert_eq!(out.iter().map(|out| out.index).collect::<Vec<_>>(), [0, 2]);
        assert!(out[0].what.contains("'web_search_20250305'"));
        assert_eq!(left_out(&[SEARCH, OWN], Some("read")).unwrap().len(), 1);
        assert_eq!(left_out(&[OWN], None), Ok(vec![]));
        assert_eq!(left_out(&[], None), Ok(vec![]));
    }

    #[test]
    fn required_server_tool_is_rejected_by_type() {
        let refusals = [left_out(&[SEARCH], None), left_out(&[SEARCH, OWN], Some("web_search"))];
        for refusal in refusals {
            assert_eq!(
                refusal.unwrap_err().to_string(),
                "tools.0: tool type 'web_search_20250305' is not supported: Bedrock runs no tools itself"
            );
        }
    }

    #[test]
    fn every_version_of_a_server_tool_is_recognized() {
        for kind in [
            "web_search_20991231",
            "web_fetch_20260318",
            "code_execution_20260521",
            "mcp_toolset",
            "advisor_20260301",
        ] {
            assert!(is_server_tool(kind), "{kind}");
        }
        for kind in ["custom", "bash_20250124", "tool_search_tool_regex_20251119", "computer_20251124"] {
            assert!(!is_server_tool(kind), "{kind}");
        }
    }
}
