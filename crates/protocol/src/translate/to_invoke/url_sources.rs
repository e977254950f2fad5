//! URL and file sources: no upstream API fetches them, and Bedrock's own error has no path.

use crate::anthropic::InvalidRequest;
use crate::json::{JsonStr, RawJson};
use crate::json_edit::{items, members};
use crate::translate::diagnostics::JsonPath;

/// Rejects images and documents with a URL or file source, also in tool results. `is_result`: `content` is that of a tool
/// result, which holds no further ones.
pub(super) fn check(content: RawJson<'_>, path: JsonPath<'_>, is_result: bool) -> Result<(), InvalidRequest> {
    for (index, block) in items(content).into_iter().enumerate() {
        let path = path.index(index);
        let all = members(block);
        let member = |name: &str| all.iter().find(|member| &*member.key == name).map(|member| member.value);
        let kind: Option<JsonStr<'_>> = member("type").and_then(|kind| kind.read().ok());
        match kind.as_deref() {
            Some("tool_result") if !is_result => {
                if let Some(content) = member("content") {
                    check(content, path.key("content"), true)?;
                }
            }
            Some(kind @ ("image" | "document")) => {
                let source = member("source").map(members).unwrap_or_default();
                let of = source.iter().find(|member| &*member.key == "type");
                let of: Option<JsonStr<'_>> = of.and_then(|of| of.value.read().ok());
                if let Some(of @ ("url" | "file")) = of.as_deref() {
                    let message = format!(
                        "sources of type '{of}' are not supported by Bedrock; send the {kind} as base64"
                    );
                    return Err(InvalidRequest::new(path.key("source"), message));
                }
            }
            _ => {}
        }
    }
    Ok(())
}
