//! Languages of texts for people. The code has the English sentence; a catalogue, `language/*.es.po`, has the Spanish one for
//! it, in the format of gettext. A variable part of a sentence is a name in braces on both sides.
//!
//! Texts on which clients recover, and those of AWS, are in no catalogue: they stay as they are. So do error types and codes.

use std::collections::HashMap;
use std::sync::LazyLock;

/// Sentences of errors of the proxy itself.
pub(crate) static ERRORS: LazyLock<Catalogue> =
    LazyLock::new(|| Catalogue::parse(include_str!("language/errors.es.po")));
/// Help of the command line.
pub(crate) static HELP: LazyLock<Catalogue> =
    LazyLock::new(|| Catalogue::parse(include_str!("language/help.es.po")));
/// Lines of the banner of the server.
pub(crate) static BANNER: LazyLock<Catalogue> =
    LazyLock::new(|| Catalogue::parse(include_str!("language/banner.es.po")));

/// The Spanish message of an error, if it has one; for tests.
#[must_use]
pub fn spanish_error(message: &str) -> Option<String> {
    ERRORS.translate_error(message)
}

/// Language of a reader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Language {
    /// The default.
    #[default]
    English,
    /// Spanish of all countries.
    Spanish,
}

impl Language {
    /// The language that a client prefers by its header `accept-language`; of several, the first with the highest weight.
    ///
    /// <https://www.rfc-editor.org/rfc/rfc9110#section-12.5.4>
    pub(crate) fn from_accept_language(header: &str) -> Self {
        let mut preferred = (Self::English, 0.0);
        for range in header.split(',') {
            let (tag, parameters) = range.split_once(';').unwrap_or((range, ""));
            let weight = parameters.trim().strip_prefix("q=").map_or(1.0, |q| q.parse().unwrap_or(0.0));
            let language = match Self::from_tag(tag.trim()) {
                Some(language) => language,
                None if tag.trim() == "*" => Self::English,
                None => continue,
            };
            if weight > preferred.1 {
                preferred = (language, weight);
            }
        }
        preferred.0
    }

    /// The language of messages in a POSIX locale, from the first variable that is set and not empty.
    ///
    /// <https://pubs.opengroup.org/onlinepubs/9799919799/basedefs/V1_chap08.html#tag_08_02>
    pub(crate) fn from_locale(variable: impl Fn(&str) -> Option<String>) -> Self {
        let names = ["LC_ALL", "LC_MESSAGES", "LANG"];
        let locale = names.into_iter().filter_map(variable).find(|value| !value.is_empty());
        locale.and_then(|locale| Self::from_tag(&locale)).unwrap_or_default()
    }

    /// The language of a tag such as `es`, `es-MX` or `es_AR.UTF-8`.
    fn from_tag(tag: &str) -> Option<Self> {
        let primary = tag.split(['-', '_', '.', '@']).next().unwrap_or_default();
        match primary.to_ascii_lowercase().as_str() {
            "es" => Some(Self::Spanish),
            "en" => Some(Self::English),
            _ => None,
        }
    }
}

/// Sentences with their translations.
#[derive(Debug)]
pub(crate) struct Catalogue {
    /// Sentences without variable parts.
    exact: HashMap<String, String>,
    /// Sentences with variable parts, those with more text first.
    templates: Vec<(String, String)>,
}

impl Catalogue {
    fn parse(po: &str) -> Self {
        let (mut exact, mut templates) = (HashMap::new(), Vec::new());
        for (english, spanish) in entries(po) {
            if english.contains('}') {
                templates.push((english, spanish));
            } else {
                exact.insert(english, spanish);
            }
        }
        templates.sort_by_key(|(english, _)| std::cmp::Reverse(english.len()));
        Self { exact, templates }
    }

    /// The translation of one text; `None` when it has none.
    pub(crate) fn translate(&self, text: &str) -> Option<String> {
        if let Some(found) = self.exact.get(text) {
            return Some(found.clone());
        }
        self.templates.iter().find_map(|(english, spanish)| {
            let values = capture(english, text)?;
            Some(
                values.iter().fold(spanish.clone(), |text, (name, value)| {
                    text.replacen(&format!("{{{name}}}"), value, 1)
                }),
            )
        })
    }

    /// The translation of an error message: behind a JSON path, before a code in brackets, and sentence by sentence where the
    /// whole has none.
    pub(crate) fn translate_error(&self, message: &str) -> Option<String> {
        if let Some((message, code)) = message.strip_suffix(']').and_then(|rest| rest.rsplit_once(" [E")) {
            return Some(format!("{} [E{code}]", self.translate_error(message)?));
        }
        if let Some(found) = self.translate(message) {
            return Some(found);
        }
        if let Some((path, rest)) = message.split_once(": ")
            && !path.contains(' ')
            && let Some(found) = self.translate(rest)
        {
            return Some(format!("{path}: {found}"));
        }
        let sentences: Vec<_> = message.split(". ").collect();
        if sentences.len() == 1 {
            return None;
        }
        let found: Option<Vec<_>> = sentences.iter().map(|sentence| self.translate(sentence)).collect();
        Some(found?.join(". "))
    }

    /// All pairs.
    #[cfg(test)]
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        let exact = self.exact.iter().map(|(english, spanish)| (english.as_str(), spanish.as_str()));
        exact.chain(self.templates.iter().map(|(english, spanish)| (english.as_str(), spanish.as_str())))
    }
}

/// The values of the names in braces of `template`, when `text` has its form.
fn capture<'a>(template: &'a str, text: &'a str) -> Option<Vec<(&'a str, &'a str)>> {
    let (first, mut rest) = template.split_once('{')?;
    let mut text = text.strip_prefix(first)?;
    let mut values = Vec::new();
    loop {
        let (name, after) = rest.split_once('}')?;
        let Some((literal, next)) = after.split_once('{') else {
            let value = text.strip_suffix(after)?;
            values.push((name, value));
            return Some(values);
        };
        let at = text.find(literal)?;
        values.push((name, text.get(..at)?));
        text = text.get(at + literal.len()..)?;
        rest = next;
    }
}

/// The entries of a PO file: `msgid` and `msgstr`, each of one or more quoted lines. Comments begin with `#`.
fn entries(po: &str) -> Vec<(String, String)> {
    let mut entries: Vec<(String, String)> = Vec::new();
    let mut is_translation = false;
    for line in po.lines().map(str::trim) {
        let quoted = if let Some(quoted) = line.strip_prefix("msgid ") {
            entries.push(Default::default());
            is_translation = false;
            quoted
        } else if let Some(quoted) = line.strip_prefix("msgstr ") {
            is_translation = true;
            quoted
        } else {
            line
        };
        let text = quoted.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
        if let (Some(text), Some((english, spanish))) = (text, entries.last_mut()) {
            let text = text.replace("\\n", "\n").replace("\\\"", "\"");
            if is_translation { spanish.push_str(&text) } else { english.push_str(&text) }
        }
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<&str> {
        let mut names: Vec<_> =
            text.split('{').skip(1).filter_map(|rest| Some(rest.split_once('}')?.0)).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn every_text_has_a_translation_with_its_placeholders() {
        for po in [
            include_str!("language/errors.es.po"),
            include_str!("language/help.es.po"),
            include_str!("language/banner.es.po"),
        ] {
            let pairs = entries(po);
            assert!(pairs.len() > 10, "{}", pairs.len());
            let keys: std::collections::HashSet<_> = pairs.iter().map(|(english, _)| english).collect();
            assert_eq!(keys.len(), pairs.len(), "a sentence has two entries");
            for (english, spanish) in &pairs {
                assert!(!english.is_empty() && !spanish.is_empty(), "{english:?} {spanish:?}");
                assert_eq!(names(english), names(spanish), "{english}");
            }
        }
        for (english, spanish) in ERRORS.pairs() {
            assert_ne!(english, spanish);
        }
    }

    #[test]
    fn errors_are_translated_with_their_values() {
        for (english, spanish) in [
            ("the token has expired; get a new one", "el token ha caducado; obtén uno nuevo"),
            (
                "the user \"a: b. c\" is disabled; the proxy's operator can enable it",
                "el usuario \"a: b. c\" está desactivado; el operador del proxy puede activarlo",
            ),
            ("messages.0.role: the field is given twice", "messages.0.role: el campo aparece dos veces"),
            (
                "The limit resets at 2026-11-23T00:00:00Z (in 1 h 2 min). Wait until then, or request a higher limit from the \
                proxy's operator",
                "El límite se restablece a las 2026-11-23T00:00:00Z (dentro de 1 h 2 min). Espera hasta entonces o pide un \
                límite más alto al operador del proxy",
            ),
        ] {
            assert_eq!(ERRORS.translate_error(english).as_deref(), Some(spanish));
        }
        for english in [
            "prompt is too long: 2 tokens > 1 maximum",
            "max_tokens: Input should be a valid integer",
            "Too many tokens, please wait before trying again.",
            "",
        ] {
            assert_eq!(ERRORS.translate_error(english), None, "{english}");
        }
    }

    #[test]
    fn client_preference_selects_the_language() {
        for header in ["es", "es-MX,es;q=0.9,en;q=0.8", "ES-ar", "fr, es;q=0.5", "en;q=0.3, es;q=0.7"] {
            assert_eq!(Language::from_accept_language(header), Language::Spanish, "{header}");
        }
        for header in ["", "*", "en", "en-US,es;q=0.5", "fr", "es;q=0", "est", "*, es;q=0.5", "en, es"] {
            assert_eq!(Language::from_accept_language(header), Language::English, "{header}");
        }
    }

    #[test]
    fn first_locale_variable_selects_the_language() {
        let locale = |all: &str, messages: &str, lang: &str| {
            let values = [("LC_ALL", all), ("LC_MESSAGES", messages), ("LANG", lang)];
            Language::from_locale(|name| {
                values.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
            })
        };
        assert_eq!(locale("", "", "es_ES.UTF-8"), Language::Spanish);
        assert_eq!(locale("", "es_MX", "en_US.UTF-8"), Language::Spanish);
        assert_eq!(locale("C", "es_MX", "es_ES"), Language::English);
        assert_eq!(locale("", "", ""), Language::English);
    }
}
