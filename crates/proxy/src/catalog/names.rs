//! Names of Claude models: Anthropic's names of Bedrock ids, and display names.

use protocol::capabilities::Capabilities;

/// Families of Claude models.
const FAMILIES: [&str; 5] = ["haiku", "sonnet", "opus", "fable", "mythos"];

/// Anthropic's names for a foundation-model id, without and with the date.
pub(super) fn anthropic_names(id: &str) -> Vec<String> {
    let name = id.strip_prefix("anthropic.").unwrap_or(id);
    let name = match name.rsplit_once("-v") {
        Some((name, version)) if version.bytes().all(|byte| byte.is_ascii_digit() || byte == b':') => name,
        _ => name,
    };
    match name.rsplit_once('-') {
        Some((bare, date)) if is_date(date) => vec![bare.to_owned(), name.to_owned()],
        _ => vec![name.to_owned()],
    }
}

/// Display name: `Claude Sonnet 4.5` for `claude-sonnet-4-5-20250929`; other names unchanged.
pub(super) fn display_name(name: &str) -> String {
    let Some(rest) = name.strip_prefix("claude-") else { return name.to_owned() };
    let parts = rest.split('-').filter(|part| !is_date(part) && *part != "latest");
    let (numbers, words): (Vec<_>, Vec<_>) =
        parts.partition(|part| part.bytes().all(|byte| byte.is_ascii_digit()));
    let mut display = "Claude".to_owned();
    for word in words {
        let mut letters = word.chars();
        display.push(' ');
        display.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        display.push_str(letters.as_str());
    }
    if !numbers.is_empty() {
        display.push(' ');
        display.push_str(&numbers.join("."));
    }
    display
}

/// Family of a Claude model.
pub(super) fn family(name: &str, capabilities: &Capabilities) -> Option<&'static str> {
    FAMILIES
        .into_iter()
        .find(|family| capabilities.claude && name.split(['-', '.']).any(|part| part == *family))
}

/// Date in an id, such as `2025-09-29`.
pub(super) fn date(id: &str) -> Option<String> {
    let date = id.split(['-', '.', '/']).find(|part| is_date(part))?;
    Some(format!("{}-{}-{}", date.get(..4)?, date.get(4..6)?, date.get(6..)?))
}

fn is_date(part: &str) -> bool {
    part.len() == 8 && part.starts_with("20") && part.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bedrock_ids_have_anthropic_names() {
        assert_eq!(anthropic_names("anthropic.claude-opus-9"), ["claude-opus-9"]);
        assert_eq!(anthropic_names("anthropic.claude-opus-4-6-v1"), ["claude-opus-4-6"]);
        let dated = ["claude-haiku-4-5", "claude-haiku-4-5-20251001"];
        assert_eq!(anthropic_names("anthropic.claude-haiku-4-5-20251001-v1:0"), dated);
    }

    #[test]
    fn display_names_have_dots_and_capitals() {
        assert_eq!(display_name("claude-sonnet-4-5-20250929"), "Claude Sonnet 4.5");
        assert_eq!(display_name("claude-3-7-sonnet-latest"), "Claude Sonnet 3.7");
        assert_eq!(display_name("claude-mythos-preview"), "Claude Mythos Preview");
        assert_eq!(display_name("gpt-4"), "gpt-4");
    }

    #[test]
    fn families_and_dates_are_parsed() {
        let claude = Capabilities::CLASSIC_CLAUDE;
        assert_eq!(family("anthropic.claude-3-5-haiku-20241022-v1:0", &claude), Some("haiku"));
        assert_eq!(family("opus", &Capabilities::UNKNOWN), None);
        assert_eq!(date("anthropic.claude-3-5-haiku-20241022-v1:0").as_deref(), Some("2024-10-22"));
        assert_eq!(date("anthropic.claude-opus-5"), None);
    }
}
