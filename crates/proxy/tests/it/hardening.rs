//! `docs/hardening.md` promises a test for every bad input. This holds it to that.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The names of all tests in the sources below `folder`.
pub(crate) fn tests(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            tests(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            names.extend(tests_of(&std::fs::read_to_string(&path).unwrap()));
        }
    }
}

/// The functions of a source text that carry an attribute of a test.
fn tests_of(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut is_test = false;
    for line in text.lines().map(str::trim) {
        if line == "#[test]" || line.starts_with("#[tokio::test") {
            is_test = true;
        } else if let Some(function) = line.strip_prefix("fn ").or_else(|| line.strip_prefix("async fn ")) {
            let name = |letter: &char| letter.is_ascii_alphanumeric() || *letter == '_';
            if std::mem::take(&mut is_test) {
                names.push(function.chars().take_while(name).collect());
            }
        } else if !line.starts_with("#[") && !line.starts_with("//") {
            is_test = false;
        }
    }
    names
}

#[test]
fn only_functions_with_a_test_attribute_count() {
    let text = "#[test]\nfn a() {}\nfn b() {}\n#[tokio::test(start_paused = true)]\n#[ignore]\nasync fn c() {}\n// #[test]\nfn d() {}";
    assert_eq!(tests_of(text), ["a", "c"]);
}

#[test]
fn every_table_row_names_an_existing_test() {
    let mut names = BTreeSet::new();
    tests(&root().join("crates"), &mut names);
    let table = std::fs::read_to_string(root().join("docs/hardening.md")).unwrap();
    let (mut number, mut missing) = (0, Vec::new());
    for line in table.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| #")) {
        let cells: Vec<_> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let Ok(row) = cells[0].parse::<u32>() else { continue };
        number += 1;
        assert_eq!((row, cells.len()), (number, 4), "rows stand in their order, with four cells: {line}");
        let proofs: Vec<_> = cells[3].split('`').skip(1).step_by(2).collect();
        assert!(!proofs.is_empty(), "row {row} has no proof");
        for proof in proofs {
            let exists = match proof.starts_with("scripts/") {
                true => root().join(proof).is_file(),
                false => names.contains(proof),
            };
            if !exists {
                missing.push(format!("row {row}: {proof}"));
            }
        }
    }
    assert!(missing.is_empty(), "there are no such tests: {missing:#?}");
    assert_eq!(number, 53);
}
