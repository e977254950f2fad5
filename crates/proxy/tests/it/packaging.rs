//! Packages and the program agree: versions, variables, ports, paths and times. What only other programs can judge is in
//! `deploy/check`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::harness::test_server_with;

/// What the packages name that is not ours: other programs' variables, and words that look like one.
const OF_OTHERS: [&str; 18] = [
    "AF_INET",
    "AF_INET6",
    "AF_UNIX",
    "ANTHROPIC_AUTH_TOKEN",
    "ANTHROPIC_BASE_URL",
    "AWS_CONFIG_FILE",
    "BEDROCK_PROXY_COMMIT",
    "BEDROCK_PROXY_ENV",
    "BEDROCK_PROXY_FEATURES",
    "DAC_OVERRIDE",
    "OTEL_EXPORTER_OTLP_METRICS_HEADERS",
    "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
    "POSTGRES_DB",
    "POSTGRES_INITDB_ARGS",
    "POSTGRES_PASSWORD",
    "POSTGRES_USER",
    "RUSTUP_TOOLCHAIN",
    "RUST_VERSION",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Dockerfile, compose, chart and unit, by their paths.
fn packages() -> Vec<(String, String)> {
    let mut paths: Vec<_> =
        ["Dockerfile", "compose.yaml", "compose.demo.yaml", "deploy/systemd/bedrock-proxy.service"]
            .map(PathBuf::from)
            .to_vec();
    let chart = Path::new("deploy/helm/bedrock-proxy");
    for folder in ["", "templates", "templates/tests"] {
        let entries = std::fs::read_dir(root().join(chart).join(folder)).unwrap();
        let entries = entries.map(|entry| entry.unwrap());
        let files = entries.filter(|entry| entry.file_type().unwrap().is_file());
        paths.extend(files.map(|file| chart.join(folder).join(file.file_name())));
    }
    paths.into_iter().map(|path| (path.display().to_string(), read(path))).collect()
}

/// The words of `text` that look like a variable: capitals and figures with an underscore between them.
fn variables(text: &str) -> BTreeSet<&str> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    words
        .filter(|word| word.contains('_') && word.bytes().all(|byte| !byte.is_ascii_lowercase()))
        .filter(|word| word.starts_with(|first: char| first.is_ascii_uppercase()))
        .collect()
}

/// What follows `before` in the first line that has it.
fn after<'a>(text: &'a str, before: &str) -> &'a str {
    let line = text.lines().find_map(|line| line.trim().strip_prefix(before));
    line.unwrap_or_else(|| panic!("nothing starts with {before:?}")).trim().trim_matches('"')
}

#[test]
fn image_uses_the_repository_toolchain() {
    let pinned = read("rust-toolchain.toml");
    let pinned = after(&pinned, "channel =");
    assert_eq!(after(&read("Dockerfile"), "ARG RUST_VERSION="), pinned.trim_matches('"'));
}

#[test]
fn only_the_demo_image_has_the_demo() {
    let features = "BEDROCK_PROXY_FEATURES";
    let image = read("Dockerfile");
    let image = after(&image, &format!("ARG {features}="));
    assert!(!image.contains("demo"), "{image}");
    assert!(read("scripts/static").contains(&format!("${{{features}:-{image}}}")));
    let demo = read("compose.demo.yaml");
    assert_eq!(after(&demo, &format!("{features}:")), format!("{image},demo"));
}

#[test]
fn packages_carry_the_version_of_the_program() {
    let version = env!("CARGO_PKG_VERSION");
    let chart = read("deploy/helm/bedrock-proxy/Chart.yaml");
    assert_eq!((after(&chart, "version:"), after(&chart, "appVersion:")), (version, version));
    let label = format!("org.opencontainers.image.version=\"{version}\"");
    assert!(read("Dockerfile").contains(&label), "{label}");
}

#[test]
fn chart_image_is_the_released_image() {
    let image = env!("CARGO_PKG_REPOSITORY").replace("https://github.com/", "ghcr.io/");
    assert_eq!(after(&read("deploy/helm/bedrock-proxy/values.yaml"), "repository:"), image);
    assert_eq!(after(&read(".github/workflows/release.yml"), "RELEASE_IMAGE:"), image);
    // Without the variable, the script takes the name from the chart; the tag is the version, as the chart's default.
    let script = read("scripts/release");
    assert!(script.contains("value deploy/helm/bedrock-proxy/values.yaml repository"));
    assert!(script.contains(r#"--tag "$image:$(version)""#));
    assert!(read("deploy/helm/bedrock-proxy/templates/_helpers.tpl").contains(".Chart.AppVersion"));
}

#[test]
fn workflow_pins_actions_and_calls_the_script() {
    let (workflow, script) = (read(".github/workflows/release.yml"), read("scripts/release"));
    let actions: Vec<_> = workflow.lines().filter_map(|line| line.split_once("uses: ")).collect();
    assert!(actions.len() >= 6, "{actions:?}");
    for (_, action) in actions {
        let (_, pin) = action.split_once('@').unwrap();
        let (commit, version) = pin.split_once(" # v").unwrap_or_else(|| panic!("{action} names no version"));
        assert!(commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit()), "{action}");
        assert!(version.split('.').count() == 3, "{action}");
    }
    let steps: Vec<_> =
        workflow.lines().filter_map(|line| line.split_once("run: scripts/release ")).collect();
    assert!(steps.len() >= 6, "{steps:?}");
    for (_, step) in steps {
        let name = step.split_whitespace().next().unwrap();
        assert!(script.contains(&format!("\n    {name}) {name}")), "scripts/release has no step {name}");
    }
}

#[test]
fn package_variables_exist_in_the_program() {
    // Another test compares this file with what the configuration reads.
    let example = read(".env.example");
    let known = variables(&example);
    for (path, text) in packages() {
        for name in variables(&text) {
            assert!(known.contains(name) || OF_OTHERS.contains(&name), "{path} names {name}");
        }
    }
}

#[test]
fn package_ports_match_the_default_port() {
    let port = after(&read(".env.example"), "PORT=").to_owned();
    assert_eq!(after(&read("Dockerfile"), "EXPOSE"), port);
    assert_eq!(after(&read("compose.yaml"), "PORT:"), port);
    let deployment = read("deploy/helm/bedrock-proxy/templates/deployment.yaml");
    assert_eq!(after(&deployment, "containerPort:"), port);
    assert_eq!(after(&read("deploy/helm/bedrock-proxy/templates/configmap.yaml"), "PORT:"), port);
}

#[tokio::test]
async fn probe_paths_need_no_token() {
    let variables = [("JWT_SECRET_KEY", "0123456789abcdef0123456789abcdef")];
    let server = test_server_with(&variables, |_| {}).await;
    let deployment = read("deploy/helm/bedrock-proxy/templates/deployment.yaml");
    let paths: Vec<_> = deployment.lines().filter_map(|line| line.trim().strip_prefix("path: ")).collect();
    assert_eq!(paths.len(), 3, "{paths:?}");
    for path in paths {
        assert_eq!(server.get(path).await.status, 200, "{path}");
    }
}

#[test]
fn package_kill_timeouts_exceed_shutdown_grace() {
    let example = read(".env.example");
    let grace: u64 = after(&example, "# SHUTDOWN_GRACE_SECONDS=").parse().unwrap();
    let unit = read("deploy/systemd/bedrock-proxy.service");
    let patience: u64 = after(&unit, "TimeoutStopSec=").parse().unwrap();
    assert!(patience > grace);
    let compose = read("compose.yaml");
    let patience: u64 = after(&compose, "stop_grace_period:").trim_end_matches('s').parse().unwrap();
    assert!(patience > grace);
    let deployment = read("deploy/helm/bedrock-proxy/templates/deployment.yaml");
    let patience = after(&deployment, "terminationGracePeriodSeconds:");
    assert_eq!(patience, "{{ add .Values.shutdown.delaySeconds .Values.shutdown.graceSeconds 15 }}");
}
