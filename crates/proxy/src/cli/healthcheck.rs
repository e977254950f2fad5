//! `healthcheck`: asks a running server how it is, so that an image needs no other program for that.

use std::net::SocketAddr;
use std::process::ExitCode;

use clap::Args;
use http::Uri;

use super::{complain, say};
use crate::config::{self, Config};
use crate::http_client;

#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  HEALTHCHECK CMD [\"bedrock-proxy\", \"healthcheck\"]")]
pub(super) struct Arguments {
    /// Ask whether it can serve requests (/health), and not only whether it is alive (/livez)
    #[arg(long)]
    ready: bool,
    /// Where it is; default: what HOST and PORT say
    #[arg(long)]
    url: Option<Uri>,
}

pub(super) async fn run(config: Config, arguments: Arguments) -> Result<ExitCode, String> {
    let path = if arguments.ready { "/health" } else { "/livez" };
    let base = arguments.url.map_or_else(|| base(&config.server), |url| Ok(url.to_string()))?;
    match http_client::get_local(&format!("{}{path}", base.trim_end_matches('/'))).await {
        Ok(answer) if answer.is_success() => {
            say(&answer.body);
            Ok(ExitCode::SUCCESS)
        }
        Ok(answer) => {
            complain(&format!("{path} answers {}: {}\n", answer.status, answer.body.trim()));
            Ok(ExitCode::FAILURE)
        }
        Err(error) => Err(error),
    }
}

/// Where a server with this configuration is to be found from the same machine.
pub(super) fn base(server: &config::ServerConfig) -> Result<String, String> {
    if server.port == 0 {
        return Err("PORT=0 lets the system choose, so nobody knows the port; use --url".to_owned());
    }
    let scheme = if server.tls.is_some() { "https" } else { "http" };
    Ok(format!("{scheme}://{}", SocketAddr::new(http_client::loopback_for(server.host), server.port)))
}
