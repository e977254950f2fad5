//! Members of a chat request that are the same in a Messages request, and those that have no counterpart there.

use std::borrow::Cow;

use crate::json::{JsonStr, RawJson};
use crate::translate::diagnostics::{Diagnostics, JsonPath};

/// Members for OpenAI's own service only, or without effect on the response.
const IGNORED_FIELDS: [&str; 7] = [
    "store",
    "metadata",
    "prediction",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "include_obfuscation",
];
/// Values that request nothing.
const EMPTY_VALUES: [&str; 7] = ["false", "0", "0.0", "\"\"", "[]", "{}", "[\"text\"]"];

/// The same text, borrowed from the chat request.
pub(super) fn borrowed<'a>(text: &'a JsonStr<'_>) -> JsonStr<'a> {
    JsonStr(Cow::Borrowed(&**text))
}

/// Reports members without a counterpart in a Messages request.
pub(super) fn leave_out(
    path: JsonPath<'_>,
    unknown: &[(JsonStr<'_>, RawJson<'_>)],
    diagnostics: &mut Diagnostics,
) {
    for (name, value) in unknown {
        let path = path.key(name);
        if IGNORED_FIELDS.contains(&&**name) || EMPTY_VALUES.contains(&value.get()) {
            diagnostics.adjusted(path, "left out: it has no effect on Bedrock");
        } else {
            diagnostics.dropped(path, "left out: models on Bedrock do not support it");
        }
    }
}
