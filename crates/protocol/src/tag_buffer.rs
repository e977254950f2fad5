//! XML tag buffer: a tag in the text of a response is never split between two deltas.
//!
//! Clients that look for tool tags in text (`<write_file>`) miss one that arrives in two pieces. The
//! buffer holds the beginning of a tag until its end has come. It moves cuts, never characters: what
//! comes out, joined, is what went in. It buffers at most [`MAX_HELD`] characters.

/// Maximum of buffered characters: longer than the tags that clients look for.
pub const MAX_HELD: usize = 100;

/// Keeps back the beginning of a tag at the end of the text so far.
#[derive(Debug, Default)]
pub struct TagBuffer {
    held: String,
}

impl TagBuffer {
    /// Whether the buffer is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Takes the next piece of text and releases what can be released, at most once.
    pub fn push(&mut self, text: &str, out: impl FnOnce(&str)) {
        if self.held.is_empty() {
            let (free, held) = split(text);
            self.held.push_str(held);
            if !free.is_empty() {
                out(free);
            }
            return;
        }
        self.held.push_str(text);
        let free = split(&self.held).0.len();
        if free > 0 {
            out(&self.held[..free]);
            self.held.drain(..free);
        }
    }

    /// Releases the buffered text at the end.
    pub fn flush(&mut self, out: impl FnOnce(&str)) {
        if !self.held.is_empty() {
            out(&self.held);
            self.held.clear();
        }
    }
}

/// Splits text into what can be released and what has to be buffered.
fn split(text: &str) -> (&str, &str) {
    // Only the last `<` can begin an unfinished tag: a tag holds no other.
    let at = memchr::memrchr(b'<', text.as_bytes()).unwrap_or(text.len());
    let (free, tail) = text.split_at(at);
    if is_unfinished(tail) && tail.chars().nth(MAX_HELD).is_none() { (free, tail) } else { (text, "") }
}

/// Whether `tail` is an unfinished `<name …>` or `</name>`.
fn is_unfinished(tail: &str) -> bool {
    let Some(tag) = tail.strip_prefix('<') else {
        return false;
    };
    let name = tag.strip_prefix('/').unwrap_or(tag);
    if !name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_') {
        return name.is_empty();
    }
    let after = name.trim_start_matches(|c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ':'));
    let could_go_on = after.is_empty() || after.starts_with(|c: char| c.is_whitespace() || c == '/');
    could_go_on && !after.contains('>')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(pieces: &[&str]) -> Vec<String> {
        let mut buffer = TagBuffer::default();
        let mut out = Vec::new();
        for piece in pieces {
            buffer.push(piece, |text| out.push(text.to_owned()));
        }
        buffer.flush(|text| out.push(format!("flushed: {text}")));
        out
    }

    #[test]
    fn tag_is_not_split_between_deltas() {
        assert_eq!(through(&["Create file <write_fi", "le>..."]), ["Create file ", "<write_file>..."]);
        assert_eq!(through(&["a</write", "_file>b"]), ["a", "</write_file>b"]);
        assert_eq!(through(&["a <ask_followup_question", "> b"]), ["a ", "<ask_followup_question> b"]);
        assert_eq!(through(&["<read path=\"a", ".txt\"/>!"]), ["<read path=\"a.txt\"/>!"]);
    }

    #[test]
    fn tag_is_joined_from_single_letters() {
        let letters: Vec<String> = "x <b_c>y".chars().map(String::from).collect();
        let letters: Vec<&str> = letters.iter().map(String::as_str).collect();
        assert_eq!(through(&letters), ["x", " ", "<b_c>", "y"]);
    }

    #[test]
    fn plain_less_than_is_not_buffered() {
        assert_eq!(through(&["x < 5", " and y"]), ["x < 5", " and y"]);
        assert_eq!(through(&["i<", "5"]), ["i", "<5"]);
        assert_eq!(through(&["if a<b(", "c"]), ["if a<b(", "c"]);
        assert_eq!(through(&["a <= b <!-- c"]), ["a <= b <!-- c"]);
        assert_eq!(through(&["done <b> more"]), ["done <b> more"]);
    }

    #[test]
    fn new_tag_releases_the_text_before_it() {
        assert_eq!(through(&["<a ", "<b", ">"]), ["<a ", "<b>"]);
    }

    #[test]
    fn at_most_a_hundred_characters_are_buffered() {
        let hundred = format!("<{}", "é".repeat(MAX_HELD - 1).replacen('é', "e", 1));
        assert_eq!(hundred.chars().count(), MAX_HELD);
        assert_eq!(through(&[&hundred]), [format!("flushed: {hundred}")]);
        let more = format!("{hundred}e");
        assert_eq!(through(&[&hundred, "e", "rest"]), [more, "rest".to_owned()]);
    }

    #[test]
    fn unfinished_tag_is_flushed_at_the_end() {
        assert_eq!(through(&["so <write_fi"]), ["so ", "flushed: <write_fi"]);
    }
}
