//! Files that agree with the table of settings. `.env.example` and the tables of `docs/operations.md` are generated from it: a
//! test that finds an old one writes the new one and fails once. The other files name only variables that exist.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::config::settings::{self, Kind, REMOVED, SETTINGS, Section, Setting};

const SECTIONS: [(Section, &str); 8] = [
    (Section::Server, "Server"),
    (Section::Aws, "AWS"),
    (Section::Models, "Models and requests"),
    (Section::Database, "Database"),
    (Section::Authentication, "Authentication"),
    (Section::Limits, "Limits and usage"),
    (Section::Logging, "Logging"),
    (Section::Telemetry, "Metrics and traces"),
];
/// Variables that a new `.env` sets.
const STARTERS: [&str; 4] =
    ["AWS_BEDROCK_REGION", "AWS_BEDROCK_ANTHROPIC_DEFAULT_MODEL", "PORT", "AWS_BEDROCK_DEBUG"];
const HEAD: &str = "\
# bedrock-proxy: every variable with its default. Copy this file to .env and uncomment what you change.
# Environment variables win over this file. Check it with: bedrock-proxy config check
# A secret can also be in a file of its own, whose path is in the variable with _FILE behind the name (for Docker's and
# Kubernetes' secrets): JWT_SECRET_KEY_FILE=/run/secrets/jwt
";
const MODELS_FILE: &str = "\
# Rows of AWS_BEDROCK_MODELS_FILE: [{\"id\":\"…\",\"names\":[…],\"prefixes\":[…],\"capabilities\":{…}}].
# \"route\":\"invoke\" in a row overrides AWS_BEDROCK_ROUTE. \"mantle\":true marks a model of the Mantle endpoint only.
# \"prices\":{\"version\":\"…\",\"basis\":\"global\",\"input\":\"3\",\"output\":\"15\",\"cache_read\":\"0.3\",\"write_5m\":\"3.75\",\"write_1h\":\"6\",
# \"by_prefix\":{\"us\":\"1.1\"}} are USD for a million tokens. A row with only an id and prices changes only the prices.
";
const CREDENTIALS: &str = "\
# Credentials: a key pair, or a Bedrock API key, or nothing: then the standard AWS chain applies (environment, profile, SSO,
# web identity, ECS or EKS role, instance role).
";
/// Columns of `.env.example`.
const WIDTH: usize = 118;

/// The format of the value, in Markdown.
fn format(kind: Kind) -> String {
    match kind {
        Kind::Text(text) | Kind::Word(text) | Kind::Secret(text) | Kind::SecretWord(text) => text.to_owned(),
        Kind::Boolean => String::new(),
        Kind::Number(min, max, unit) => {
            let range = format!("{} to {}", grouped(min), grouped(max));
            if unit.is_empty() { range } else { format!("{unit}, {range}") }
        }
        Kind::Choice(words) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "),
    }
}

/// A number with commas between thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Markdown without quotation marks of code and without links.
fn plain(markdown: &str) -> String {
    let mut text = markdown.replace('`', "");
    while let Some(start) = text.find("; see [") {
        let end = text[start..].find(')').map_or(text.len(), |end| start + end + 1);
        text.replace_range(start..end, "");
    }
    text
}

/// Lines of comments of at most `WIDTH` characters.
fn comment(text: &str) -> String {
    let mut lines = String::new();
    let mut line = "#".to_owned();
    for word in text.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > WIDTH {
            let _ = writeln!(lines, "{line}");
            line = "#".to_owned();
        }
        let _ = write!(line, " {word}");
    }
    format!("{lines}{line}\n")
}

fn example_entry(setting: &Setting) -> String {
    let format = match format(setting.kind) {
        format if format.is_empty() => ".".to_owned(),
        format => format!(" ({}).", plain(&format)),
    };
    let value = if setting.default.is_empty() { setting.example } else { setting.default };
    let quote = if value.contains([' ', ',']) { "\"" } else { "" };
    let mark = if STARTERS.contains(&setting.name) { "" } else { "# " };
    let mut doc = plain(setting.doc);
    doc[..1].make_ascii_uppercase();
    format!("{}{mark}{}={quote}{value}{quote}\n", comment(&format!("{doc}{format}")), setting.name)
}

fn settings_of(section: Section) -> impl Iterator<Item = &'static Setting> {
    SETTINGS.iter().filter(move |setting| setting.section == section)
}

fn example() -> String {
    let mut text = HEAD.to_owned();
    for (section, title) in SECTIONS {
        let rule = "-".repeat(WIDTH - 7 - title.len());
        let _ = writeln!(text, "\n# --- {title} {rule}");
        text.push_str(match section {
            Section::Aws => CREDENTIALS,
            Section::Models => MODELS_FILE,
            _ => "",
        });
        text.extend(settings_of(section).map(example_entry));
    }
    text
}

fn table(section: Section) -> String {
    let mut text = "| Variable | Default | Unit, range | Meaning |\n| --- | --- | --- | --- |\n".to_owned();
    for setting in settings_of(section) {
        let default = match setting.default {
            "" => String::new(),
            default => format!("`{default}` "),
        };
        let format = match format(setting.kind) {
            format if format.is_empty() => format,
            format => format!("{format} "),
        };
        let _ = writeln!(text, "| `{}` | {default}| {format}| {} |", setting.name, setting.doc);
    }
    text
}

/// The page with the tables of all sections.
fn operations(page: &str) -> String {
    let mut page = page.to_owned();
    for (section, title) in SECTIONS {
        let heading = format!("\n### {title}\n");
        let start = page.find(&heading).unwrap_or_else(|| panic!("no section {title}")) + heading.len();
        let start = start + page[start..].find("| Variable |").unwrap();
        let rows = page[start..].lines().take_while(|line| line.starts_with('|'));
        let length: usize = rows.map(|line| line.len() + 1).sum();
        page.replace_range(start..start + length, &table(section));
    }
    page
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn assert_current(name: &str, render: impl Fn(&str) -> String) {
    let path = root().join(name);
    let old = std::fs::read_to_string(&path).unwrap();
    let new = render(&old);
    if new != old {
        std::fs::write(&path, new).unwrap();
        panic!(
            "{name} differed from the table of settings and was written again; check it and run the test again"
        );
    }
}

#[test]
fn example_file_is_generated_from_the_table() {
    assert_current(".env.example", |_| example());
}

#[test]
fn operations_page_is_generated_from_the_table() {
    assert_current("docs/operations.md", operations);
}

#[test]
fn defaults_are_valid_values() {
    for setting in SETTINGS.iter().filter(|setting| !setting.default.is_empty()) {
        let valid = match setting.kind {
            Kind::Boolean => ["true", "false"].contains(&setting.default),
            Kind::Number(min, max, _) => {
                setting.default.parse().is_ok_and(|number| (min..=max).contains(&number))
            }
            Kind::Choice(words) => words.contains(&setting.default),
            Kind::Secret(_) | Kind::SecretWord(_) => false,
            Kind::Text(_) | Kind::Word(_) => true,
        };
        assert!(valid, "{}", setting.name);
    }
}

#[test]
fn helm_chart_rejects_every_secret_in_its_config() {
    let path = root().join("deploy/helm/bedrock-proxy/templates/_helpers.tpl");
    let text = std::fs::read_to_string(path).unwrap();
    let list = text.split("range $name := list ").nth(1).unwrap();
    let mut listed: Vec<_> = list.split(" }}").next().unwrap().split(' ').collect();
    let names = SETTINGS.iter().filter(|setting| setting.is_secret());
    // OpenTelemetry's SDK reads them.
    let of_signals = ["OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_METRICS_HEADERS"];
    let names = names.map(|setting| setting.name).chain(of_signals);
    let mut secrets: Vec<_> = names.map(|name| format!("\"{name}\"")).collect();
    listed.sort_unstable();
    secrets.sort_unstable();
    assert_eq!(listed, secrets);
}

/// Names in the documentation and in `deploy` that are not variables of this program.
const OTHER_NAMES: [&str; 28] = [
    "ADMIN_TOKEN",
    "AF_INET",
    "AF_INET6",
    "AF_UNIX",
    "ANTHROPIC_AUTH_TOKEN",
    "ANTHROPIC_BASE_URL",
    "AWS_CONFIG_FILE",
    "AWS_PROFILE",
    "BEDROCK_PROXY_COMMIT",
    "BEDROCK_PROXY_ENV",
    "BEDROCK_PROXY_FEATURES",
    "CLAUDE_CODE_MAX_OUTPUT_TOKENS",
    "CLAUDE_CODE_USE_BEDROCK",
    "DAC_OVERRIDE",
    "DECISION_TTL",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "INVALID_PAYMENT_INSTRUMENT",
    "LC_ALL",
    "LC_MESSAGES",
    "NO_PROXY",
    "POSTGRES_DB",
    "POSTGRES_INITDB_ARGS",
    "POSTGRES_PASSWORD",
    "POSTGRES_USER",
    "RELEASE_SIGNING_KEY",
    "RUSTC_WRAPPER",
    "RUST_VERSION",
];

/// The text between backticks.
fn code(markdown: &str) -> String {
    markdown.split('`').skip(1).step_by(2).collect::<Vec<_>>().join(" ")
}

/// The names in `text` that look like variables.
fn variables(text: &str) -> impl Iterator<Item = &str> {
    let is_part = |letter: char| letter.is_ascii_uppercase() || letter.is_ascii_digit() || letter == '_';
    let words = text.split(move |letter| !is_part(letter));
    words.filter(|word| {
        word.len() >= 5
            && word.starts_with(|first: char| first.is_ascii_uppercase())
            && word.contains('_')
            && !word.ends_with('_')
    })
}

/// All files in a folder of the repository, or the file.
fn files_in(path: &Path, files: &mut Vec<PathBuf>) {
    match std::fs::read_dir(path) {
        Ok(entries) => entries.for_each(|entry| files_in(&entry.unwrap().path(), files)),
        Err(_) => files.push(path.to_owned()),
    }
}

/// Asserts that each name in the files is in the table, or is one of `OTHER_NAMES`.
fn assert_known(paths: &[&str], text_of: impl Fn(&str) -> String, others: &[&str]) {
    let (known, mut files) = (settings::names(), Vec::new());
    paths.iter().for_each(|path| files_in(&root().join(path), &mut files));
    for file in files {
        // Others are images.
        let Ok(text) = std::fs::read_to_string(&file) else { continue };
        for name in variables(&text_of(&text)) {
            // OpenTelemetry's SDK reads some of these itself.
            let is_known = known.contains(name) || name.starts_with("OTEL_");
            let is_known = is_known || OTHER_NAMES.contains(&name) || others.contains(&name);
            assert!(is_known, "{} names {name}, which is no variable", file.display());
        }
    }
}

#[test]
fn documentation_names_existing_variables_only() {
    assert_known(&["README.md", "README.es.md", "SECURITY.md", "docs"], code, &[]);
    let removed: Vec<_> = REMOVED.iter().map(|removed| removed.name).collect();
    assert_known(&["CHANGELOG.md"], code, &removed);
}

#[test]
fn deployments_name_existing_variables_only() {
    assert_known(
        &["deploy", "compose.yaml", "compose.demo.yaml", "Dockerfile"],
        str::to_owned,
        &["RUSTUP_TOOLCHAIN"],
    );
}

#[test]
fn table_has_at_most_eighty_variables() {
    assert!(SETTINGS.len() <= 80, "{}", SETTINGS.len());
}
