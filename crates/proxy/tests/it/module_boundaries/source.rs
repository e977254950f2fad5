//! Rust source text, as far as these tests need it: identifiers, string literals, comments, and paths.

use std::path::{Path, PathBuf};

/// One piece of a source file.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Identifier(String),
    /// The text between the quotes.
    Literal(String),
    /// The text of a doc comment.
    Doc(String),
    /// Any other character that is not blank.
    Other(char),
}

/// A source file of a package.
pub(super) struct Source {
    /// Below `src`, as `store/pools.rs`.
    pub(super) name: String,
    /// The path of its module, as `["store", "pools"]`.
    pub(super) module: Vec<String>,
    pub(super) tokens: Vec<Token>,
}

impl Source {
    /// Whether the file holds nothing but tests.
    pub(super) fn is_test(&self) -> bool {
        self.name.ends_with("tests.rs") || self.name.contains("tests/")
    }

    /// The tokens without those of an inline module of tests, which stands at the end of its file.
    pub(super) fn without_tests(&self) -> &[Token] {
        let name =
            |token: &Token, expected: &str| matches!(token, Token::Identifier(name) if name == expected);
        let end = self.tokens.windows(10).position(|tokens| {
            let is_inline = name(&tokens[7], "mod") && tokens[9] == Token::Other('{');
            name(&tokens[2], "cfg") && name(&tokens[4], "test") && is_inline
        });
        &self.tokens[..end.unwrap_or(self.tokens.len())]
    }

    /// The names of the functions that carry an attribute of a test.
    pub(super) fn tests(&self) -> Vec<&str> {
        let is = |token: &Token, expected: &str| matches!(token, Token::Identifier(name) if name == expected);
        let mut names = Vec::new();
        let mut is_test = false;
        for tokens in self.tokens.windows(2) {
            match &tokens[1] {
                Token::Identifier(name) if is(&tokens[0], "fn") => {
                    names.extend(std::mem::take(&mut is_test).then_some(name.as_str()));
                }
                // `#[test]` and `#[tokio::test(…)]`.
                Token::Identifier(name) if name == "test" => {
                    is_test |= [Token::Other('['), Token::Other(':')].contains(&tokens[0]);
                }
                _ => {}
            }
        }
        names
    }

    /// Every path that starts at the root of the crate, as the names after `crate::`.
    ///
    /// `super::` and `self::` are resolved; the braces of a `use` are taken apart.
    pub(super) fn paths(&self) -> Vec<Vec<String>> {
        self.paths_before(self.tokens.len())
    }

    /// The same without those of an inline module of tests.
    pub(super) fn paths_without_tests(&self) -> Vec<Vec<String>> {
        self.paths_before(self.without_tests().len())
    }

    /// The paths in the tokens before `end`.
    fn paths_before(&self, end: usize) -> Vec<Vec<String>> {
        let mut paths = Vec::new();
        let mut at = 0;
        let mut depth_of_tests = None;
        let mut depth = 0_usize;
        while let Some(token) = self.tokens[..end].get(at) {
            match token {
                Token::Other('{') => depth += 1,
                Token::Other('}') => {
                    depth = depth.saturating_sub(1);
                    depth_of_tests = depth_of_tests.filter(|tests| depth > *tests);
                }
                // An inline module is one level deeper.
                Token::Identifier(word)
                    if word == "mod" && self.tokens.get(at + 2) == Some(&Token::Other('{')) =>
                {
                    depth_of_tests = Some(depth);
                }
                Token::Identifier(word) if ["crate", "super", "self"].contains(&word.as_str()) => {
                    let mut base = match word.as_str() {
                        "crate" => Vec::new(),
                        _ => self.module.clone(),
                    };
                    if depth_of_tests.is_some() && word != "crate" {
                        base.push("tests".to_owned());
                    }
                    if word == "super" {
                        base.pop();
                    }
                    at += 1;
                    at = self.path(at, base, &mut paths);
                    continue;
                }
                _ => {}
            }
            at += 1;
        }
        paths
    }

    /// Follows a path from `at`, where its next `::` stands.
    fn path(&self, mut at: usize, mut base: Vec<String>, paths: &mut Vec<Vec<String>>) -> usize {
        let other = |at: usize, letter: char| self.tokens.get(at) == Some(&Token::Other(letter));
        while other(at, ':') && other(at + 1, ':') {
            match self.tokens.get(at + 2) {
                Some(Token::Identifier(name)) if name == "super" => {
                    base.pop();
                }
                Some(Token::Identifier(name)) => base.push(name.clone()),
                Some(Token::Other('{')) => {
                    at += 3;
                    while !other(at, '}') && at < self.tokens.len() {
                        match &self.tokens[at] {
                            Token::Identifier(name) if name == "self" => {
                                paths.push(base.clone());
                                at += 1;
                            }
                            Token::Identifier(name) => {
                                let mut inner = base.clone();
                                inner.push(name.clone());
                                at = self.path(at + 1, inner, paths);
                            }
                            _ => at += 1,
                        }
                    }
                    return at + 1;
                }
                _ => break,
            }
            at += 3;
        }
        paths.push(base);
        at
    }
}

/// The directory of the workspace.
pub(super) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Every source file of a package, its folders walked to their end, by name.
pub(super) fn sources(package: &str) -> Vec<Source> {
    sources_below(&root().join("crates").join(package).join("src"))
}

/// Every source file in a folder and below it, by name.
pub(super) fn sources_below(folder: &Path) -> Vec<Source> {
    let mut files = Vec::new();
    walk(folder, &mut files);
    files.sort();
    assert!(files.len() > 10, "{} holds {} files", folder.display(), files.len());
    let source = |path: PathBuf| {
        let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
        let module = name.trim_end_matches(".rs").trim_end_matches("/mod");
        let module = module.split('/').filter(|part| !["lib", "main"].contains(part)).map(str::to_owned);
        let tokens = tokens(&std::fs::read_to_string(&path).unwrap());
        Source { module: module.collect(), name, tokens }
    };
    files.into_iter().map(source).collect()
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// Takes a source text apart.
pub(super) fn tokens(text: &str) -> Vec<Token> {
    let letters: Vec<char> = text.chars().collect();
    let letter = |at: usize| letters.get(at).copied().unwrap_or('\0');
    let is_name = |letter: char| letter.is_alphanumeric() || letter == '_';
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < letters.len() {
        let start = at;
        match letter(at) {
            '/' if letter(at + 1) == '/' => {
                while at < letters.len() && letter(at) != '\n' {
                    at += 1;
                }
                if letter(start + 2) == '/' {
                    tokens.push(Token::Doc(letters[start + 3..at].iter().collect()));
                }
            }
            '/' if letter(at + 1) == '*' => {
                while at < letters.len() && !(letter(at) == '*' && letter(at + 1) == '/') {
                    at += 1;
                }
                at += 2;
            }
            'r' if matches!(letter(at + 1), '"' | '#') && raw_string(&letters, at).is_some() => {
                let (text, end) = raw_string(&letters, at).unwrap();
                tokens.push(Token::Literal(text));
                at = end;
            }
            '"' => {
                at += 1;
                while at < letters.len() && letter(at) != '"' {
                    at += if letter(at) == '\\' { 2 } else { 1 };
                }
                tokens.push(Token::Literal(letters[start + 1..at.min(letters.len())].iter().collect()));
                at += 1;
            }
            '\'' if letter(at + 1) == '\\' => {
                at += 3;
                while letter(at) != '\'' && at < letters.len() {
                    at += 1;
                }
                at += 1;
            }
            '\'' if letter(at + 2) == '\'' => at += 3,
            first if is_name(first) => {
                while is_name(letter(at)) {
                    at += 1;
                }
                tokens.push(Token::Identifier(letters[start..at].iter().collect()));
            }
            blank if blank.is_whitespace() => at += 1,
            other => {
                tokens.push(Token::Other(other));
                at += 1;
            }
        }
    }
    tokens
}

/// The raw string at `at`, and where it ends.
fn raw_string(letters: &[char], at: usize) -> Option<(String, usize)> {
    let hashes = letters[at + 1..].iter().take_while(|letter| **letter == '#').count();
    let start = at + 1 + hashes;
    if letters.get(start) != Some(&'"') {
        return None;
    }
    let mut end = start + 1;
    loop {
        if *letters.get(end)? == '"'
            && letters[end + 1..].iter().take(hashes).filter(|l| **l == '#').count() == hashes
        {
            return Some((letters[start + 1..end].iter().collect(), end + 1 + hashes));
        }
        end += 1;
    }
}

/// The words of a name in snake or camel case, in lower case.
pub(super) fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut was_lower = false;
    for letter in name.chars() {
        if !letter.is_alphabetic() || (letter.is_uppercase() && was_lower) {
            words.push(String::new());
        }
        if letter.is_alphabetic() {
            words.last_mut().unwrap().extend(letter.to_lowercase());
        }
        was_lower = letter.is_lowercase();
    }
    words.retain(|word| !word.is_empty());
    words
}

#[test]
fn source_text_is_split_into_tokens() {
    let text = r##"let a: &'a str = "b \" // c"; // d
        /// e
        let f = ('"', '\'', r#"g "h" "#); /* i */"##;
    let tokens = tokens(text);
    let literals = tokens.iter().filter_map(|token| match token {
        Token::Literal(text) => Some(text.as_str()),
        _ => None,
    });
    assert_eq!(literals.collect::<Vec<_>>(), [r#"b \" // c"#, r#"g "h" "#]);
    assert!(tokens.contains(&Token::Doc(" e".to_owned())));
    for absent in ["c", "d", "e", "g", "i"] {
        assert!(!tokens.contains(&Token::Identifier(absent.to_owned())), "{absent}");
    }
    assert_eq!(words("SseReader_fooBar9x"), ["sse", "reader", "foo", "bar", "x"]);
}

#[test]
fn paths_are_resolved_to_the_crate_root() {
    let tokens = tokens(
        "use crate::{a::{b, self}, c}; use super::d; use super::super::e::F; use self::g; mod tests { use super::*; use super::h; }",
    );
    let module = ["x".to_owned(), "y".to_owned()].to_vec();
    let source = Source { name: String::new(), module, tokens };
    let paths: Vec<_> = source.paths().iter().map(|path| path.join("::")).collect();
    assert_eq!(paths, ["a::b", "a", "c", "x::d", "e::F", "x::y::g", "x::y", "x::y::h"]);
}
