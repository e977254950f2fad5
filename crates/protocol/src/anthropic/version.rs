//! Rules of `anthropic-version`.
//!
//! The version is a header. Only what `2026-10-21` rejects is checked here; everything else
//! is equal in both. See <https://platform.claude.com/docs/en/api/versioning>.

use super::InvalidRequest;
use super::request::{Block, Content, Request};

/// First version without sampling parameters.
const WITHOUT_SAMPLING: &str = "2026-10-21";

/// Checks `request` against the rules of `version`.
///
/// # Errors
/// When the version does not have a member or a block; the error has the JSON path.
pub fn check_version(request: &Request<'_>, version: &str) -> Result<(), InvalidRequest> {
    if version != WITHOUT_SAMPLING {
        return Ok(());
    }
    let given = [
        ("temperature", request.temperature.is_some()),
        ("top_p", request.top_p.is_some()),
        ("top_k", request.top_k.is_some()),
    ];
    if let Some((name, _)) = given.iter().find(|(_, given)| *given) {
        return Err(InvalidRequest::new(name, "Extra inputs are not permitted"));
    }
    for (index, message) in request.messages.iter().flat_map(|messages| messages.iter()).enumerate() {
        let Some(Content::Blocks(blocks)) = &message.content else { continue };
        for (at, block) in blocks.iter().enumerate() {
            if let Some(reason) = refused(message.role.as_deref(), block) {
                return Err(InvalidRequest::new(format!("messages.{index}.content.{at}"), reason));
            }
        }
    }
    Ok(())
}

fn refused(role: Option<&str>, block: &Block<'_>) -> Option<&'static str> {
    match (role, block.kind.as_deref()) {
        (Some("assistant"), Some("document")) => {
            Some("`document` blocks are not permitted in assistant messages")
        }
        (Some("user"), Some("text")) if block.citations.is_some_and(|citations| citations.get() != "[]") => {
            Some("`citations` are not permitted in user messages")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newer_version_rejects_removed_members() {
        for (body, path) in [
            (r#"{"temperature":1}"#, "temperature: "),
            (r#"{"top_k":5}"#, "top_k: "),
            (
                r#"{"messages":[{"role":"assistant","content":[{"type":"document"}]}]}"#,
                "messages.0.content.0: ",
            ),
            (
                r#"{"messages":[{"role":"user","content":[{"type":"text","text":"x","citations":[{}]}]}]}"#,
                "messages.0.content.0: ",
            ),
        ] {
            let request = Request::parse(body.as_bytes()).unwrap();
            let refused = check_version(&request, "2026-10-21").unwrap_err().to_string();
            assert!(refused.starts_with(path), "{refused}");
            assert!(check_version(&request, "2023-06-01").is_ok(), "{body}");
        }
        let fine = br#"{"messages":[{"role":"user","content":[{"type":"document"},{"type":"text","text":"x","citations":[]}]}]}"#;
        assert!(check_version(&Request::parse(fine).unwrap(), "2026-10-21").is_ok());
    }
}
