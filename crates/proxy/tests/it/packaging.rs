//! Packages and the program agree: versions, ports and times. What only other programs can judge is in
//! `deploy/check`.

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What follows `before` in the first line that has it.
fn after<'a>(text: &'a str, before: &str) -> &'a str {
    let line = text.lines().find_map(|line| line.trim().strip_prefix(before));
    line.unwrap_or_else(|| panic!("nothing starts with {before:?}")).trim().trim_matches('"')
}

#[test]
fn the_image_is_built_by_the_toolchain_of_the_repository() {
    let pinned = read("rust-toolchain.toml");
    let pinned = after(&pinned, "channel =");
    assert_eq!(after(&read("Dockerfile"), "ARG RUST_VERSION="), pinned.trim_matches('"'));
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
fn every_port_of_a_package_is_the_port_that_is_listened_on() {
    let port = after(&read(".env.example"), "PORT=").to_owned();
    assert_eq!(after(&read("Dockerfile"), "EXPOSE"), port);
    assert_eq!(after(&read("compose.yaml"), "PORT:"), port);
    let deployment = read("deploy/helm/bedrock-proxy/templates/deployment.yaml");
    assert_eq!(after(&deployment, "containerPort:"), port);
    assert_eq!(after(&read("deploy/helm/bedrock-proxy/templates/configmap.yaml"), "PORT:"), port);
}

#[test]
fn nobody_kills_the_program_before_it_gives_up_itself() {
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
