//! As much of Markdown as the documentation uses.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A page, read.
#[derive(Debug)]
pub(super) struct Page {
    /// Where it is, from the repository's root.
    pub(super) name: String,
    /// Its text outside of fenced code.
    pub(super) prose: Vec<String>,
    /// The lines of its fenced code.
    pub(super) code: Vec<String>,
}

/// The repository.
pub(super) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

impl Page {
    pub(super) fn read(name: &str) -> Self {
        let text =
            std::fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut page = Self { name: name.to_owned(), prose: Vec::new(), code: Vec::new() };
        let mut fenced = false;
        for line in text.lines() {
            if line.trim_start().starts_with("```") {
                fenced = !fenced;
            } else if fenced {
                page.code.push(line.to_owned());
            } else {
                page.prose.push(line.to_owned());
            }
        }
        assert!(!fenced, "{name}: a fence is not closed");
        page
    }

    /// Its headings, with their level.
    pub(super) fn headings(&self) -> impl Iterator<Item = (usize, &str)> {
        self.prose.iter().filter_map(|line| {
            let level = line.bytes().take_while(|byte| *byte == b'#').count();
            line.get(level..)?.strip_prefix(' ').filter(|_| level > 0).map(|heading| (level, heading))
        })
    }

    /// What can follow a `#` in a link to it: its headings as GitHub names them, and explicit anchors.
    pub(super) fn anchors(&self) -> BTreeSet<String> {
        let explicit = self.prose.iter().flat_map(|line| between(line, "<a id=\"", "\""));
        explicit.map(str::to_owned).chain(self.headings().map(|(_, heading)| slug(heading))).collect()
    }

    /// The targets of its links.
    pub(super) fn links(&self) -> impl Iterator<Item = &str> {
        self.prose.iter().flat_map(|line| between(line, "](", ")"))
    }

    /// What stands between backquotes in its prose; a quotation may go over the end of a line.
    pub(super) fn quoted(&self) -> Vec<String> {
        let prose = self.prose.join("\n");
        prose
            .split("\n\n")
            .flat_map(|part| between(part, "`", "`").map(|text| text.replace('\n', " ")).collect::<Vec<_>>())
            .collect()
    }

    /// The rows of the tables below the heading, as far as the next heading of its level or above.
    fn table(&self, heading: &str) -> impl Iterator<Item = &str> {
        let is = |line: &String| line.starts_with('#') && line.trim_start_matches('#').trim() == heading;
        let start = self.prose.iter().position(is).unwrap_or_else(|| panic!("{}: {heading}", self.name));
        let level = |line: &str| line.bytes().take_while(|byte| *byte == b'#').count();
        let own = level(&self.prose[start]);
        let below =
            self.prose[start + 1..].iter().take_while(move |line| level(line) == 0 || level(line) > own);
        below.filter_map(|line| line.strip_prefix("| "))
    }

    /// What stands between backquotes in the first cells of the tables below the heading.
    pub(super) fn words(&self, heading: &str) -> BTreeSet<String> {
        let cells = self.table(heading).filter_map(|row| row.split(" | ").next());
        cells.flat_map(|cell| between(cell, "`", "`").map(str::to_owned).collect::<Vec<_>>()).collect()
    }

    /// The quoted first cells of the tables below the heading, each with the cell beside it.
    pub(super) fn rows(&self, heading: &str) -> Vec<(String, String)> {
        let cells = self.table(heading).map(|row| row.split(" |").collect::<Vec<_>>());
        cells
            .filter_map(|cells| {
                let name = cells.first()?.trim().strip_prefix('`')?.strip_suffix('`')?;
                let beside = cells.get(1).map_or("", |cell| cell.trim()).trim_matches('`');
                Some((name.to_owned(), beside.to_owned()))
            })
            .collect()
    }
}

/// All texts between `open` and the next `close`.
fn between<'t>(text: &'t str, open: &'t str, close: &'t str) -> impl Iterator<Item = &'t str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (_, after) = rest.split_once(open)?;
        let (inside, behind) = after.split_once(close)?;
        rest = behind;
        Some(inside)
    })
}

/// The anchor that GitHub makes of a heading.
fn slug(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn a_page_is_read_into_its_parts() {
    assert_eq!(slug("What is `learnt`, and why?"), "what-is-learnt-and-why");
    let inside: Vec<_> = between("a [b](c) [d](e#f)", "](", ")").collect();
    assert_eq!(inside, ["c", "e#f"]);
    let page = Page::read("docs/operations.md");
    assert!(
        page.anchors().contains("aws-permissions") && page.rows("Server").iter().any(|row| row.0 == "PORT")
    );
}
