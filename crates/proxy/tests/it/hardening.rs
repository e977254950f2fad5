//! `docs/hardening.md` promises a test for every bad input. This holds it to that.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The names of all functions in the sources below `folder`.
fn functions(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            functions(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            for rest in text.split("fn ").skip(1) {
                let name = |letter: &char| letter.is_ascii_alphanumeric() || *letter == '_';
                names.insert(rest.chars().take_while(name).collect());
            }
        }
    }
}

#[test]
fn every_table_row_names_an_existing_test() {
    let mut names = BTreeSet::new();
    functions(&root().join("crates"), &mut names);
    let table = std::fs::read_to_string(root().join("docs/hardening.md")).unwrap();
    let mut number = 0;
    for line in table.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| #")) {
        let cells: Vec<_> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let Ok(row) = cells[0].parse::<u32>() else { continue };
        number += 1;
        assert_eq!((row, cells.len()), (number, 4), "rows stand in their order, with four cells: {line}");
        let proofs: Vec<_> = cells[3].split('`').skip(1).step_by(2).collect();
        assert!(!proofs.is_empty(), "row {row} has no proof");
        for proof in proofs {
            assert!(names.contains(proof), "row {row}: there is no test {proof}");
        }
    }
    assert_eq!(number, 50);
}

#[test]
fn the_gate_of_dependencies_is_part_of_the_tests() {
    let script = std::fs::read_to_string(root().join("scripts/test")).unwrap();
    for step in ["scripts/supply-chain\n", "scripts/supply-chain prove\n"] {
        assert!(script.contains(step), "{step}");
    }
}
