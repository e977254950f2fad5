//! Sets `BEDROCK_PROXY_COMMIT`, the commit that `bedrock-proxy version` prints.

#![expect(clippy::disallowed_methods, reason = "cargo passes values to build scripts in the environment")]

use std::env;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=BEDROCK_PROXY_COMMIT");
    let given = env::var("BEDROCK_PROXY_COMMIT").ok().filter(|commit| !commit.is_empty());
    if let Some(commit) = given.or_else(commit_of_the_clone) {
        println!("cargo:rustc-env=BEDROCK_PROXY_COMMIT={commit}");
    }
}

/// The commit of the clone that is built; only in release builds, because each commit would rebuild the package.
fn commit_of_the_clone() -> Option<String> {
    if env::var("PROFILE").ok()? != "release" {
        return None;
    }
    let git = |arguments: &[&str]| {
        let output =
            Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
        Some(String::from_utf8(output.stdout).ok()?.trim().to_owned()).filter(|text| !text.is_empty())
    };
    for file in ["HEAD", "logs/HEAD"] {
        let path = git(&["rev-parse", "--git-path", file])?;
        println!("cargo:rerun-if-changed={path}");
    }
    git(&["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"])
}
