//! What a translation reports beside its result: fields that an upstream API cannot carry, and changes to the request.
//!
//! Both lists are bounded, and so is each text in them: a body can have a million fields that are unknown.

use std::collections::HashMap;
use std::fmt;

use crate::anthropic::{self, InvalidRequest};
use crate::json::truncated;

/// Fields or changes of one kind that are listed, more than a person reads. The rest is counted.
const MAX_LISTED: usize = 256;
/// Maximum length of a path or of a text, in bytes. Clients choose names.
const MAX_TEXT_BYTES: usize = 1000;
/// Path of what is counted and not listed.
const ELSEWHERE: &str = "*";

/// Field of a request that the upstream API cannot carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsupportedField {
    /// Path in the request: members and indices joined by dots; empty for what the client did not send.
    pub path: String,
    /// Reason, in the words of Anthropic's API where it has some: clients recover on them.
    pub reason: String,
}

impl fmt::Display for UnsupportedField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            return f.write_str(&self.reason);
        }
        write!(f, "{}: {}", self.path, self.reason)
    }
}

/// Error for a request with unsupported fields; names the first eight, so that it stays one sentence.
#[must_use]
pub fn unsupported_error(unsupported: &[UnsupportedField]) -> anthropic::Error {
    const MAX_NAMED: usize = 8;
    let mut message =
        unsupported.iter().take(MAX_NAMED).map(ToString::to_string).collect::<Vec<_>>().join("; ");
    if unsupported.len() > MAX_NAMED {
        let at_least = if unsupported.len() > MAX_LISTED { "at least " } else { "" };
        message.push_str(&format!("; and {at_least}{} more", unsupported.len() - MAX_NAMED));
    }
    let path = unsupported.first().map(|field| field.path.clone()).filter(|path| !path.is_empty());
    anthropic::Error { path, ..anthropic::Error::new(anthropic::ErrorType::InvalidRequest, message) }
}

/// Members for Anthropic's own service only; leaving them out changes no response.
pub(super) const IGNORED_FIELDS: [&str; 9] = [
    "diagnostics",
    "tags",
    "speed",
    "fallbacks",
    "fallback_credit_token",
    "billing_policy",
    "workspace_id",
    "anthropic_version",
    "thread",
];

/// Notice for one of them.
pub(super) const IGNORED: &str = "left out: Bedrock ignores it";

/// Diagnostics collected during a translation.
#[derive(Debug, Default)]
pub(super) struct Diagnostics {
    pub(super) unsupported: Vec<UnsupportedField>,
    pub(super) notices: Vec<Notice>,
    adjusted: Count,
    dropped: Count,
}

/// Number of notices of one kind.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    listed: usize,
    more: usize,
}

impl Diagnostics {
    /// Adds a field that the upstream API cannot carry.
    pub(super) fn unsupported(&mut self, path: JsonPath<'_>, reason: impl Into<String>) {
        if self.unsupported.len() <= MAX_LISTED {
            let (path, reason) = (bounded(path.to_string()), bounded(reason.into()));
            self.unsupported.push(UnsupportedField { path, reason });
        }
    }

    /// Adds members without a name in this version.
    pub(super) fn unknown_fields<'n>(&mut self, path: JsonPath<'_>, names: impl Iterator<Item = &'n str>) {
        for name in names {
            self.unsupported(path.key(name), "Extra inputs are not permitted");
        }
    }

    /// Adds a change that does not change the meaning of the request.
    pub(super) fn adjusted(&mut self, path: JsonPath<'_>, what: impl Into<String>) {
        self.notice(path, what, false);
    }

    /// Adds a change that may change the response.
    pub(super) fn dropped(&mut self, path: JsonPath<'_>, what: impl Into<String>) {
        self.notice(path, what, true);
    }

    fn notice(&mut self, path: JsonPath<'_>, what: impl Into<String>, dropped: bool) {
        let count = if dropped { &mut self.dropped } else { &mut self.adjusted };
        if count.listed == MAX_LISTED {
            count.more += 1;
            return;
        }
        count.listed += 1;
        let (path, what) = (bounded(path.to_string()), bounded(what.into()));
        self.notices.push(Notice { path, what, dropped });
    }

    /// The result. `strict`: each dropped field is an unsupported field.
    pub(super) fn finish(self, strict: bool) -> (Vec<UnsupportedField>, Vec<Notice>) {
        let Self { mut unsupported, mut notices, adjusted, dropped } = self;
        for (count, dropped) in
            [(dropped, true), (adjusted, false)].into_iter().filter(|(count, _)| count.more > 0)
        {
            let what = format!("{} further changes", count.more);
            notices.push(Notice { path: ELSEWHERE.to_owned(), what, dropped });
        }
        let (dropped, kept): (Vec<_>, Vec<_>) =
            notices.into_iter().partition(|notice| strict && notice.dropped);
        unsupported.extend(dropped.into_iter().map(|Notice { path, what, .. }| {
            let why = what.strip_prefix("left out: ").unwrap_or(&what);
            UnsupportedField {
                path,
                reason: format!("{why}; nothing may be left out here (AWS_BEDROCK_STRICT)"),
            }
        }));
        (unsupported, kept)
    }
}

fn bounded(text: String) -> String {
    truncated(text, MAX_TEXT_BYTES)
}

/// The value of a required member.
///
/// # Errors
/// When it is absent.
pub(super) fn required<T>(value: Option<T>, path: JsonPath<'_>) -> Result<T, InvalidRequest> {
    value.ok_or_else(|| InvalidRequest::new(path, "Field required"))
}

/// JSON path of a field, as clients write it: `messages.0.content.2.source`. Formatted only for a diagnostic.
#[derive(Clone, Copy)]
pub(super) struct JsonPath<'p> {
    parent: Option<&'p JsonPath<'p>>,
    segment: Segment<'p>,
}

#[derive(Clone, Copy)]
enum Segment<'p> {
    Root,
    Key(&'p str),
    Index(usize),
}

impl<'p> JsonPath<'p> {
    pub(super) const ROOT: JsonPath<'static> = JsonPath { parent: None, segment: Segment::Root };

    pub(super) fn key<'q>(&'q self, key: &'q str) -> JsonPath<'q>
    where
        'p: 'q,
    {
        JsonPath { parent: Some(self), segment: Segment::Key(key) }
    }

    pub(super) fn index<'q>(&'q self, index: usize) -> JsonPath<'q>
    where
        'p: 'q,
    {
        JsonPath { parent: Some(self), segment: Segment::Index(index) }
    }
}

impl fmt::Display for JsonPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
            if !matches!(parent.segment, Segment::Root) {
                f.write_str(".")?;
            }
        }
        match self.segment {
            Segment::Root => Ok(()),
            Segment::Key(key) => f.write_str(key),
            Segment::Index(index) => write!(f, "{index}"),
        }
    }
}

/// Change of a request, for the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// JSON path in the request, or the part of the response.
    pub path: String,
    /// The change.
    pub what: String,
    /// Whether it may change the response: a requested effect is missing. Otherwise the request was rewritten with the
    /// same meaning, or what was left out has no effect on the model.
    pub dropped: bool,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.what)
    }
}

/// The notices as one line of at most `max_bytes` bytes: what was dropped comes first, and what was done at many places of
/// a list is written once (`tools[*].strict (25x): left out`).
#[must_use]
pub fn notice_summary(notices: &[Notice], max_bytes: usize) -> String {
    let mut groups: Vec<Group<'_>> = Vec::new();
    let mut indexes: HashMap<(String, &str), usize> = HashMap::new();
    for notice in notices {
        let places = places(&notice.path);
        let index = *indexes.entry((places.clone(), &notice.what)).or_insert(groups.len());
        match groups.get_mut(index) {
            Some(group) => group.count += 1,
            None => groups.push(Group { first: notice, places, count: 1 }),
        }
    }
    groups.sort_by_key(|group| !group.first.dropped);
    let mut line = String::new();
    for (at, group) in groups.iter().enumerate() {
        let text = group.to_string();
        let left = groups.len() - at;
        let and_more = format!("; and {left} more");
        let room = if left == 1 { max_bytes } else { max_bytes.saturating_sub(and_more.len()) };
        if at > 0 && line.len() + 2 + text.len() > room {
            line.push_str(&and_more);
            break;
        }
        if at > 0 {
            line.push_str("; ");
        }
        line.push_str(&text);
    }
    line.truncate(line.floor_char_boundary(max_bytes));
    line
}

/// The same thing done at one or more places.
struct Group<'n> {
    first: &'n Notice,
    /// The path without the numbers in it.
    places: String,
    count: usize,
}

impl fmt::Display for Group<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.count == 1 {
            return write!(f, "{}", self.first);
        }
        write!(f, "{} ({}x): {}", self.places, self.count, self.first.what)
    }
}

fn places(path: &str) -> String {
    let mut places = String::with_capacity(path.len());
    for step in path.split('.') {
        if !step.is_empty() && step.bytes().all(|byte| byte.is_ascii_digit()) {
            places.push_str("[*]");
        } else {
            if !places.is_empty() {
                places.push('.');
            }
            places.push_str(step);
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(path: &str, what: &str, dropped: bool) -> Notice {
        Notice { path: path.to_owned(), what: what.to_owned(), dropped }
    }

    #[test]
    fn equal_notices_are_grouped() {
        let mut notices: Vec<Notice> =
            (0..25).map(|n| notice(&format!("tools.{n}.eager_input_streaming"), "left out", false)).collect();
        notices.push(notice("messages.1.content.0", "left out: blank", false));
        notices.push(notice("thinking", "left out", true));
        assert_eq!(
            notice_summary(&notices, 1000),
            "thinking: left out; tools[*].eager_input_streaming (25x): left out; messages.1.content.0: left out: blank"
        );
        assert_eq!(notice_summary(&[], 1000), "");
    }

    #[test]
    fn unlisted_diagnostics_are_counted() {
        let mut diagnostics = Diagnostics::default();
        let root = JsonPath::ROOT;
        let name = "x".repeat(3 * MAX_TEXT_BYTES);
        for _ in 0..MAX_LISTED + 5 {
            diagnostics.adjusted(root.key("a"), "b");
        }
        diagnostics.dropped(root.key(&name), "left out: é".repeat(MAX_TEXT_BYTES));
        diagnostics.unknown_fields(root, std::iter::repeat_n("c", 3 * MAX_LISTED));
        let (unsupported, notices) = diagnostics.finish(false);
        assert_eq!(notices.len(), MAX_LISTED + 2);
        assert_eq!(notices[MAX_LISTED + 1].to_string(), "*: 5 further changes");
        assert!(notices.iter().all(|notice| notice.path.len().max(notice.what.len()) <= MAX_TEXT_BYTES + 3));
        let message = unsupported_error(&unsupported).message;
        assert!(message.ends_with(&format!("; and at least {} more", MAX_LISTED + 1 - 8)), "{message}");
    }

    #[test]
    fn dropped_field_is_unsupported_in_strict_mode_after_many_changes() {
        let mut diagnostics = Diagnostics::default();
        for _ in 0..3 * MAX_LISTED {
            diagnostics.adjusted(JsonPath::ROOT.key("a"), "b");
        }
        diagnostics.dropped(JsonPath::ROOT.key("c"), "left out: d");
        let (unsupported, _) = diagnostics.finish(true);
        assert_eq!(unsupported.len(), 1);
    }

    #[test]
    fn notices_beyond_the_limit_are_counted() {
        let notices: Vec<Notice> = (0..9).map(|n| notice(&format!("member{n}"), "left out", false)).collect();
        let line = notice_summary(&notices, 70);
        assert_eq!(line, "member0: left out; member1: left out; member2: left out; and 6 more");
        let exactly = notice_summary(&notices[..3], 56);
        assert_eq!(exactly, "member0: left out; member1: left out; member2: left out");
        assert_eq!(exactly.len(), 55);
    }
}
