//! `version`: the version and build of this binary.

use std::env::consts::{ARCH, OS};
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::print;
use crate::catalog::rates;
use crate::store;

/// The commit of the build; set `BEDROCK_PROXY_COMMIT` when building.
const COMMIT: Option<&str> = option_env!("BEDROCK_PROXY_COMMIT");
/// The C library of the build.
const ENVIRONMENT: &str = if cfg!(target_env = "musl") {
    "musl"
} else if cfg!(target_env = "gnu") {
    "gnu"
} else {
    "other"
};

#[derive(Clone, Copy, Debug, Args)]
#[command(after_help = "Example:\n  bedrock-proxy version --json")]
pub(super) struct VersionArguments {
    /// Print JSON with everything a bug report needs
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(arguments: VersionArguments) -> Result<ExitCode, String> {
    let version = env!("CARGO_PKG_VERSION");
    if !arguments.json {
        let commit = COMMIT.map(|commit| format!(" ({commit})")).unwrap_or_default();
        print(&format!("bedrock-proxy {version}{commit}"));
        return Ok(ExitCode::SUCCESS);
    }
    let sqlite = store::sqlite_version().await.map_err(|error| error.to_string())?;
    let build = json!({
        "name": "bedrock-proxy",
        "version": version,
        "commit": COMMIT,
        "target": format!("{ARCH}-{OS}-{ENVIRONMENT}"),
        "debug": cfg!(debug_assertions),
        "tls": if cfg!(feature = "aws-lc-rs") { "aws-lc-rs" } else { "ring" },
        "allocator": if cfg!(feature = "mimalloc") { "mimalloc" } else { "system" },
        "sqlite": sqlite,
        "prices": rates::VERSION,
    });
    print(&serde_json::to_string_pretty(&build).unwrap_or_default());
    Ok(ExitCode::SUCCESS)
}
