//! What a refusal teaches: AWS's sentences that name what to leave out the next time.
//!
//! A beta, a member or a parameter that a model does not know is refused in a few fixed sentences. Reading them
//! lets one request be repaired at once and the next ones be right from the start.

/// Something a model was seen to refuse.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Lesson {
    /// This beta, or the member at this path (`temperature`, `tools.strict`, `output_config.format`).
    Refused(String),
    /// Some beta; the sentence does not say which.
    NoBetas,
    /// The bare id: it has to be called by an inference profile.
    NeedsProfile,
    /// Calling tools while streaming.
    NoStreamingTools,
}

/// Reads the text of a refused request (AWS's `ValidationException`).
#[must_use]
pub fn lesson(text: &str) -> Option<Lesson> {
    let lower = text.to_lowercase();
    if lower.contains("with on-demand throughput isn") || lower.contains("support on-demand throughput") {
        return Some(Lesson::NeedsProfile);
    }
    if lower.contains("invalid beta flag") {
        return Some(Lesson::NoBetas);
    }
    if lower.contains("tool use in streaming mode") {
        return Some(Lesson::NoStreamingTools);
    }
    if lower.contains("anthropic-beta") && lower.contains("unexpected value") {
        return quoted(text).map(|beta| Lesson::Refused(beta.to_owned()));
    }
    if lower.contains("cannot both be specified") && lower.contains("top_p") {
        return Some(Lesson::Refused("top_p".to_owned()));
    }
    if lower.contains("deprecated for this model") {
        return quoted(text).filter(|name| is_path(name)).map(|name| Lesson::Refused(name.to_owned()));
    }
    if lower.contains("extra inputs are not permitted") {
        let before = text[..lower.find("extra inputs").unwrap_or_default()].trim_end_matches([' ', ':']);
        let path = before.rsplit(|c: char| c.is_whitespace()).next().unwrap_or_default();
        return is_path(path).then(|| Lesson::Refused(member(path)));
    }
    if lower.contains("extraneous key [") {
        let key = text.split_once("extraneous key [")?.1.split(']').next()?;
        return is_path(key).then(|| Lesson::Refused(key.to_owned()));
    }
    None
}

/// The first text between backquotes.
fn quoted(text: &str) -> Option<&str> {
    text.split('`').nth(1).filter(|quoted| !quoted.is_empty() && quoted.len() < 100)
}

fn is_path(path: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    !path.is_empty() && path.len() < 200 && path.chars().all(legal)
}

/// A path without the numbers and the tag that a validator puts into it: `tools.0.custom.strict` is
/// `tools.strict` for every tool.
fn member(path: &str) -> String {
    let steps =
        path.split('.').filter(|step| *step != "custom" && !step.bytes().all(|byte| byte.is_ascii_digit()));
    steps.collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentences_of_aws_teach_what_to_leave_out() {
        let refused = |name: &str| Some(Lesson::Refused(name.to_owned()));
        for (text, expected) in [
            ("invalid beta flag", Some(Lesson::NoBetas)),
            ("The model returned the following errors: invalid beta flag", Some(Lesson::NoBetas)),
            (
                "Unexpected value(s) `prompt-caching-scope-2026-01-05` for the `anthropic-beta` header",
                refused("prompt-caching-scope-2026-01-05"),
            ),
            ("context_management: Extra inputs are not permitted", refused("context_management")),
            (
                "The model returned the following errors: output_config.format: Extra inputs are not permitted",
                refused("output_config.format"),
            ),
            ("tools.0.custom.strict: Extra inputs are not permitted", refused("tools.strict")),
            (
                "Malformed input request: #: extraneous key [top_k] is not permitted, please reformat your input and try again.",
                refused("top_k"),
            ),
            ("`temperature` is deprecated for this model.", refused("temperature")),
            (
                "`temperature` and `top_p` cannot both be specified for this model. Please use only one.",
                refused("top_p"),
            ),
            (
                "Invocation of model ID x with on-demand throughput isn\u{2019}t supported. Retry your request with …",
                Some(Lesson::NeedsProfile),
            ),
            (
                "Invocation of model ID x with on-demand throughput isn't supported. Retry your request with …",
                Some(Lesson::NeedsProfile),
            ),
            ("This model doesn't support tool use in streaming mode.", Some(Lesson::NoStreamingTools)),
            ("prompt is too long: 5 tokens > 4 maximum", None),
            ("messages.0.content.0.text: Field required", None),
        ] {
            assert_eq!(lesson(text), expected, "{text}");
        }
    }
}
