//! `healthcheck`: requests the health of a running server, so that a container image needs no other program for it.

use std::net::SocketAddr;
use std::process::ExitCode;

use clap::Args;
use http::Uri;

use super::{print, print_error};
use crate::config::{self, Config};
use crate::http_client;

#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  HEALTHCHECK CMD [\"bedrock-proxy\", \"healthcheck\"]")]
pub(super) struct HealthcheckArguments {
    /// Check that it can serve requests (/health), not only that it is alive (/livez)
    #[arg(long)]
    ready: bool,
    /// The base URL of the server; default: from HOST and PORT
    #[arg(long)]
    url: Option<Uri>,
}

pub(super) async fn run(config: Config, arguments: HealthcheckArguments) -> Result<ExitCode, String> {
    let path = if arguments.ready { "/health" } else { "/livez" };
    let base = arguments.url.map_or_else(|| local_url(&config.server), |url| Ok(url.to_string()))?;
    match http_client::get_local(&format!("{}{path}", base.trim_end_matches('/'))).await {
        Ok(response) if response.is_success() => {
            print(&response.body);
            Ok(ExitCode::SUCCESS)
        }
        Ok(response) => {
            print_error(&format!("{path}: status {}: {}\n", response.status, response.body.trim()));
            Ok(ExitCode::FAILURE)
        }
        Err(error) => Err(error),
    }
}

/// The URL of a server with this configuration, from the same machine.
pub(super) fn local_url(server: &config::ServerConfig) -> Result<String, String> {
    if server.port == 0 {
        return Err("PORT=0 lets the system choose the port, so it is unknown; use --url".to_owned());
    }
    let scheme = if server.tls.is_some() { "https" } else { "http" };
    Ok(format!("{scheme}://{}", SocketAddr::new(http_client::loopback_for(server.host), server.port)))
}
