//! `connect`: the settings of a client for the server that this configuration describes.

use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use clap::builder::PossibleValuesParser;
use http::Uri;

use super::{healthcheck, say};
use crate::config::Config;
use crate::connect::{self, CLIENTS, Facts};

/// Named when the configuration names no default.
const MODEL: &str = "claude-sonnet-4-5";

#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  bedrock-proxy connect claude-code --user ana")]
pub(super) struct Arguments {
    /// Which client; all of them are listed without one
    #[arg(value_parser = PossibleValuesParser::new(CLIENTS.map(|client| client.name)))]
    client: Option<String>,
    /// Where clients find the proxy; default: what HOST and PORT say
    #[arg(long)]
    url: Option<Uri>,
    /// Whose token it is to be, where tokens are asked for
    #[arg(long, default_value = "NAME")]
    user: String,
}

pub(super) async fn run(config: Config, arguments: Arguments) -> Result<ExitCode, String> {
    let client = CLIENTS.iter().find(|client| Some(client.name) == arguments.client.as_deref());
    let Some(client) = client else {
        say(&connect::list());
        return Ok(ExitCode::SUCCESS);
    };
    let base = arguments.url.map_or_else(|| healthcheck::base(&config.server), |url| Ok(url.to_string()))?;
    let facts = Facts {
        base: base.trim_end_matches('/').to_owned(),
        secured: config.auth.secret.is_some(),
        model: config.catalog.default_model.unwrap_or_else(|| MODEL.to_owned()),
        helper: helper(&arguments.user),
        user: arguments.user,
    };
    say(&connect::settings(client, &facts));
    Ok(ExitCode::SUCCESS)
}

/// The command that prints a token. It is run wherever the client was started, so it goes to the folder of `.env` and of
/// a database with a relative path first.
fn helper(user: &str) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    let program = std::env::current_exe().unwrap_or_else(|_| "bedrock-proxy".into());
    format!("cd {} && {} token print --user {}", quoted(&here), quoted(&program), quoted(Path::new(user)))
}

/// As one word of a shell.
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
    fn words_for_a_shell_are_quoted_when_they_have_to_be() {
        assert_eq!(quoted(Path::new("/srv/proxy-1")), "/srv/proxy-1");
        assert_eq!(quoted(Path::new("/srv/my proxy")), "'/srv/my proxy'");
        assert_eq!(quoted(Path::new("a'b; rm")), r"'a'\''b; rm'");
    }
}
