//! Places in a request, as clients know them: `messages.0.content.2.source`.

use std::fmt;

/// A place. Copied on the way down, printed only when there is something to say about it.
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
