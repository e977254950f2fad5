//! `connect`: prints the settings of a client for the server that this configuration describes.

use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use clap::builder::PossibleValuesParser;
use http::Uri;

use super::{healthcheck, print};
use crate::config::Config;
use crate::connect::{self, CLIENTS, Context};

/// The model in the settings when the configuration has no default model.
const DEFAULT_MODEL: &str = "claude-sonnet-5";

#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  bedrock-proxy connect claude-code --user ana")]
pub(super) struct ConnectArguments {
    /// The client; without one, list all clients
    #[arg(value_parser = PossibleValuesParser::new(CLIENTS.map(|client| client.name)))]
    client: Option<String>,
    /// The base URL of the proxy; default: from HOST and PORT
    #[arg(long, value_parser = base_url)]
    url: Option<Uri>,
    /// The user of the token, when tokens are required
    #[arg(long, default_value = "NAME")]
    user: String,
}

/// Parses a URL with scheme and host, which every client needs.
fn base_url(text: &str) -> Result<Uri, String> {
    let url = text.parse::<Uri>().ok().filter(|url| matches!(url.scheme_str(), Some("http" | "https")));
    url.filter(|url| url.host().is_some())
        .ok_or_else(|| "use a URL such as https://bedrock.example.com".to_owned())
}

pub(super) async fn run(config: Config, arguments: ConnectArguments) -> Result<ExitCode, String> {
    let client = CLIENTS.iter().find(|client| Some(client.name) == arguments.client.as_deref());
    let Some(client) = client else {
        print(&connect::list());
        return Ok(ExitCode::SUCCESS);
    };
    let base =
        arguments.url.map_or_else(|| healthcheck::local_url(&config.server), |url| Ok(url.to_string()))?;
    let context = Context {
        base: base.trim_end_matches('/').to_owned(),
        requires_token: config.auth.secret.is_some(),
        model: config.catalog.default_model.unwrap_or_else(|| DEFAULT_MODEL.to_owned()),
        token_command: token_command(&arguments.user),
        user: arguments.user,
    };
    print(&connect::settings(client, &context));
    Ok(ExitCode::SUCCESS)
}

/// The shell command that prints a token. Clients run it in their own directory, so it changes to the directory of `.env`
/// and of a database with a relative path first.
fn token_command(user: &str) -> String {
    let directory = std::env::current_dir().unwrap_or_default();
    let program = std::env::current_exe().unwrap_or_else(|_| "bedrock-proxy".into());
    format!(
        "cd {} && {} token print --user {}",
        quoted(&directory),
        quoted(&program),
        quoted(Path::new(user))
    )
}

/// `path` as one word of a shell.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-@+=:".contains(letter);
    if !text.is_empty() && text.chars().all(plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_url_has_scheme_and_host() {
        for url in ["https://bedrock.example.com", "http://10.0.0.1:8081/", "https://example.com/bedrock"] {
            assert!(base_url(url).is_ok(), "{url}");
        }
        for url in
            ["bedrock.example.com", "bedrock.example.com:443", "/v1", "ftp://example.com", "https://", ""]
        {
            assert!(base_url(url).is_err(), "{url}");
        }
    }

    #[test]
    fn shell_words_are_quoted_when_needed() {
        assert_eq!(quoted(Path::new("/srv/proxy-1")), "/srv/proxy-1");
        assert_eq!(quoted(Path::new("/srv/my proxy")), "'/srv/my proxy'");
        assert_eq!(quoted(Path::new("a'b; rm")), r"'a'\''b; rm'");
    }
}
