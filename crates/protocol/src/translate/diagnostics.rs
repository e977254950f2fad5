//! What a client is told beside its answer.

use std::fmt;

/// Something that was said otherwise or left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Where it stands, or which part of the answer it is about.
    pub path: String,
    /// What was done.
    pub what: String,
    /// Whether it may change the answer: something that was asked for is not done. Otherwise the same was said in other
    /// words, or what was left out says nothing to the model.
    pub dropped: bool,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.what)
    }
}

/// The notices as one line of at most `most` bytes: what was dropped comes first, and what was done at many places of
/// a list is said once (`tools[*].strict (25x): left out`).
#[must_use]
pub fn notice_summary(notices: &[Notice], most: usize) -> String {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for notice in notices {
        let places = places(&notice.path);
        let same = |group: &&mut Group<'_>| group.places == places && group.first.what == notice.what;
        match groups.iter_mut().find(same) {
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
        let room = if left == 1 { most } else { most.saturating_sub(and_more.len()) };
        if at > 0 && line.len() + 2 + text.len() > room {
            line.push_str(&and_more);
            break;
        }
        if at > 0 {
            line.push_str("; ");
        }
        line.push_str(&text);
    }
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
    fn what_was_done_at_many_places_is_said_once() {
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
    fn what_does_not_fit_is_counted() {
        let notices: Vec<Notice> = (0..9).map(|n| notice(&format!("member{n}"), "left out", false)).collect();
        let line = notice_summary(&notices, 70);
        assert_eq!(line, "member0: left out; member1: left out; member2: left out; and 6 more");
        let exactly = notice_summary(&notices[..3], 56);
        assert_eq!(exactly, "member0: left out; member1: left out; member2: left out");
        assert_eq!(exactly.len(), 55);
    }
}
