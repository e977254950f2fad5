//! The documentation agrees with the program: names, commands and links in it exist, and nothing is missing from it.

mod markdown;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use markdown::{Page, root};
use serde_json::Value;

const OPERATIONS: &str = "docs/operations.md";
/// The pages for people who use it.
const PAGES: [&str; 6] = [
    "README.md",
    "README.es.md",
    "docs/admin-api.md",
    "docs/operations.md",
    "docs/protocol.md",
    "docs/migration.md",
];

/// All pages of the repository.
fn pages() -> Vec<Page> {
    let mut names = Vec::new();
    for folder in ["", "docs", "docs/decisions", "bench", "fuzz", "clients", "deploy"] {
        let entries = std::fs::read_dir(root().join(folder)).into_iter().flatten();
        let pages = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let pages = pages.filter(|name| name.ends_with(".md"));
        names.extend(pages.map(|name| format!("{folder}/{name}").trim_start_matches('/').to_owned()));
    }
    names.sort();
    names.iter().map(|name| Page::read(name)).collect()
}

fn is_variable(name: &str) -> bool {
    name.len() > 1
        && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
}

/// What differs, both ways.
fn compare(what: &str, written: &BTreeSet<String>, real: &BTreeSet<String>) {
    let missing: Vec<_> = real.difference(written).collect();
    let invented: Vec<_> = written.difference(real).collect();
    assert!(missing.is_empty() && invented.is_empty(), "{what}: missing {missing:?}, invented {invented:?}");
}

#[test]
fn every_variable_is_documented_with_its_default() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_bedrock-proxy"));
    let command = command.env_clear().current_dir(directory.path()).args(["config", "print", "--json"]);
    let settings: Vec<Value> = serde_json::from_slice(&command.output().unwrap().stdout).unwrap();
    let rows = Page::read(OPERATIONS).rows("Variables");
    let written: BTreeMap<_, _> = rows.iter().cloned().collect();
    assert_eq!(written.len(), rows.len(), "a variable has two rows");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let real: BTreeMap<_, _> = settings.iter().map(|row| (text(&row["name"]), text(&row["value"]))).collect();
    compare("variables", &written.keys().cloned().collect(), &real.keys().cloned().collect());
    for (name, value) in real.iter().filter(|(name, _)| *name != "AWS_BEDROCK_REGION_PREFIX") {
        assert_eq!(&written[name], value, "the default of {name}");
    }
}

#[test]
fn every_field_of_a_requests_line_is_described() {
    let source = source("telemetry/access_log.rs");
    let call = source.split_once("tracing::info!(").unwrap().1.split_once(");").unwrap().0;
    let names = call.lines().filter_map(|line| line.strip_prefix("        ")?.split([' ', ',']).next());
    let is_name = |name: &&str| {
        !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
    };
    let logged = names.filter(is_name).map(str::to_owned);
    let real: BTreeSet<String> = logged.chain(["ts", "level", "msg"].map(str::to_owned)).collect();
    assert!(real.len() > 40 && real.contains("request_id"), "{real:?}");
    compare("fields", &Page::read(OPERATIONS).words("Logs"), &real);
}

#[test]
fn every_metric_is_described() {
    let inside = std::fs::read_dir(root().join("crates/proxy/src/telemetry/metrics")).unwrap();
    let files =
        inside.map(|entry| format!("telemetry/metrics/{}", entry.unwrap().file_name().to_str().unwrap()));
    let sources: Vec<_> =
        files.chain(["telemetry/metrics.rs".to_owned()]).map(|file| source(&file)).collect();
    let names = sources.iter().flat_map(|text| {
        let text: String = text.split_whitespace().collect();
        let calls = ["register(registry,", ".register(", ".encode_descriptor("];
        let calls = calls.into_iter().flat_map(|call| text.split(call).skip(1));
        let names = calls.filter_map(|call| call.strip_prefix('"')?.split('"').next());
        names.map(str::to_owned).collect::<Vec<_>>()
    });
    let prefixed = |name: String| match name.strip_prefix("process_") {
        Some(_) => name,
        None => format!("bedrock_proxy_{name}"),
    };
    let real: BTreeSet<String> = names.map(prefixed).collect();
    assert!(real.len() > 30, "{real:?}");
    let rows = Page::read(OPERATIONS).rows("Metrics");
    // Counters end in a word that the library adds.
    let written = rows.iter().map(|row| row.0.trim_end_matches("_total").to_owned()).collect();
    compare("metrics", &written, &real);
}

/// A file of the program.
fn source(path: &str) -> String {
    let file = root().join("crates/proxy/src").join(path);
    std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn every_command_in_the_pages_is_understood() {
    let mut commands = BTreeMap::new();
    for page in PAGES.map(Page::read) {
        let quoted = page.quoted();
        for line in page.code.iter().chain(&quoted) {
            commands.extend(arguments(line).map(|arguments| (arguments, page.name.clone())));
        }
    }
    assert!(commands.len() > 10, "{commands:?}");
    for (arguments, page) in commands {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bedrock-proxy"));
        let output = command.env_clear().args(&arguments).arg("--help").output().unwrap();
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{page}: bedrock-proxy {}: {message}", arguments.join(" "));
    }
}

/// The arguments of a line that calls the program, by its name, by a path, or by cargo.
fn arguments(line: &str) -> Option<Vec<String>> {
    let line = line.trim().trim_start_matches("$ ");
    let line = line.split([';', '|', '>', '&']).next().unwrap_or_default();
    let line = line.split(" #").next().unwrap_or_default();
    let mut words = line
        .split_whitespace()
        .skip_while(|word| word.contains('=') && is_variable(word.split('=').next().unwrap()));
    let first = words.next()?;
    if first == "cargo" {
        return words.any(|word| word == "--").then(|| words.map(str::to_owned).collect());
    }
    let called = first == "bedrock-proxy" || first.ends_with("/bedrock-proxy");
    called.then(|| words.map(|word| word.trim_matches(['"', '\'']).to_owned()).collect())
}

#[test]
fn links_within_the_repository_lead_somewhere() {
    let pages = pages();
    assert!(pages.len() > 10);
    for page in &pages {
        for link in page.links().filter(|link| !link.contains("://") && !link.starts_with("mailto:")) {
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let folder = root().join(&page.name).parent().unwrap().to_owned();
            let file = if path.is_empty() { root().join(&page.name) } else { folder.join(path) };
            assert!(file.exists(), "{}: {link}", page.name);
            if !anchor.is_empty() {
                let there = file.canonicalize().unwrap();
                let target =
                    pages.iter().find(|page| root().join(&page.name).canonicalize().unwrap() == there);
                let anchors = target.map(Page::anchors).unwrap_or_default();
                assert!(anchors.contains(anchor), "{}: {link}: there are {anchors:?}", page.name);
            }
        }
    }
}

#[test]
fn architecture_names_existing_files_and_tests() {
    const BASES: [&str; 4] = ["", "crates/proxy", "crates/proxy/src", "crates/protocol/src"];
    let mut tests = BTreeSet::new();
    crate::hardening::tests(&root().join("crates"), &mut tests);
    let mut names = 0;
    for name in Page::read("docs/ARCHITECTURE.md").quoted() {
        let is_path = name.contains('/') && !name.contains([' ', '*']) || name.ends_with(".rs");
        let is_snake =
            name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        // Functions that are no tests have shorter names.
        let is_test = is_snake && name.split('_').count() > 3;
        let exists = BASES.iter().any(|base| root().join(base).join(&name).exists());
        assert!(!is_path || exists, "there is no file {name}");
        assert!(!is_test || tests.contains(&name), "there is no test {name}");
        names += usize::from(is_path || is_test);
    }
    assert!(names > 150, "{names}");
}

#[test]
fn every_alert_links_to_its_runbook_entry() {
    let alerts = std::fs::read_to_string(root().join("deploy/prometheus/alerts.yaml")).unwrap();
    let anchors = Page::read(OPERATIONS).anchors();
    let links = alerts.lines().filter_map(|line| line.trim().strip_prefix("runbook_url: "));
    let named: Vec<_> = links.map(|link| link.rsplit_once("operations.md#").unwrap().1).collect();
    assert_eq!(named.len(), alerts.matches("- alert: ").count(), "each alert has one");
    assert!(!named.is_empty());
    for anchor in &named {
        assert!(anchors.contains(*anchor), "{anchor}");
    }
    // And each entry that names an alert is the entry of one.
    let runbook = std::fs::read_to_string(root().join(OPERATIONS)).unwrap();
    let rows = runbook.lines().filter(|line| line.to_lowercase().contains("the alert "));
    let mut rows = rows.filter_map(|line| line.split("<a id=\"").nth(1)?.split('"').next());
    assert!(rows.all(|anchor| named.contains(&anchor)), "an entry without its alert");
}

#[test]
fn spanish_migration_page_matches_the_english_one() {
    let [english, spanish] = ["docs/migration.md", "docs/migration.es.md"].map(Page::read);
    let levels = |page: &Page| page.headings().map(|(level, _)| level).collect::<Vec<_>>();
    assert_eq!(levels(&english), levels(&spanish));
    let code = |page: &Page| {
        let lines = page.code.iter().map(|line| line.split("  # ").next().unwrap().trim_end().to_owned());
        lines.collect::<Vec<_>>()
    };
    assert_eq!(code(&english), code(&spanish));
    let lines =
        |page: &Page, starts: &[char]| page.prose.iter().filter(|line| line.starts_with(starts)).count();
    assert_eq!(lines(&english, &['|']), lines(&spanish, &['|']), "rows of tables");
    assert_eq!(lines(&english, &['-', '1', '2']), lines(&spanish, &['-', '1', '2']), "items of lists");
    // Names of variables, columns, commands and paths are the same in both languages.
    let names = |page: &Page| {
        let names = page.quoted().into_iter().filter(|name| name != "$name" && name != "$nombre");
        names.map(|name| name.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<BTreeSet<_>>()
    };
    assert_eq!(names(&english), names(&spanish));
    let links = |page: &Page| {
        page.links().filter(|link| !link.starts_with("migration")).map(str::to_owned).collect::<BTreeSet<_>>()
    };
    assert_eq!(links(&english), links(&spanish));
}

#[test]
fn spanish_readme_matches_the_english_one() {
    let [english, spanish] = ["README.md", "README.es.md"].map(Page::read);
    let levels = |page: &Page| page.headings().map(|(level, _)| level).collect::<Vec<_>>();
    assert_eq!(levels(&english), levels(&spanish));
    let code = |page: &Page| {
        let lines = page.code.iter().map(|line| line.split("  # ").next().unwrap().trim_end().to_owned());
        lines.collect::<Vec<_>>()
    };
    assert_eq!(code(&english), code(&spanish));
    let rows = |page: &Page| page.prose.iter().filter(|line| line.starts_with('|')).count();
    assert_eq!(rows(&english), rows(&spanish));
    let links = |page: &Page| {
        let links = page.links().filter(|link| !link.starts_with("README"));
        links.map(|link| link.replace("migration.es.md", "migration.md")).collect::<BTreeSet<_>>()
    };
    assert_eq!(links(&english), links(&spanish));
    assert!(
        english.links().any(|link| link == "README.es.md") && spanish.links().any(|link| link == "README.md")
    );
    assert!(english.prose.len() + english.code.len() < 140, "the README is for ninety seconds");
}
