//! Browsers: the names of the proxy, and the web pages that may call it.

use super::AuthConfig;
use super::env::EnvReader;

/// What browsers may send and read.
#[derive(Clone, Debug)]
pub(crate) struct BrowserConfig {
    /// `ALLOWED_HOSTS`: host names of the proxy besides those of loopback, in lower case; `None` accepts every name.
    /// Without effect with authentication.
    pub(crate) allowed_hosts: Option<Vec<String>>,
    /// `CORS_ALLOWED_ORIGINS`: origins of the web pages that may call the proxy.
    pub(crate) cors_origins: CorsOrigins,
}

/// Origins that get CORS headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CorsOrigins {
    /// These, in lower case; none switches CORS off.
    List(Vec<String>),
    /// Every origin.
    Any,
}

pub(super) fn browsers(env: &mut EnvReader<'_>, auth: &AuthConfig) -> BrowserConfig {
    let cors_origins = env.parse("CORS_ALLOWED_ORIGINS", |text| origins(text, auth));
    BrowserConfig {
        allowed_hosts: env.parse("ALLOWED_HOSTS", hosts).unwrap_or(Some(Vec::new())),
        cors_origins: cors_origins.unwrap_or(CorsOrigins::List(Vec::new())),
    }
}

/// The items of a list that is separated by commas, in lower case.
fn items(text: &str) -> Vec<String> {
    let items = text.split(',').map(|item| item.trim().to_ascii_lowercase());
    items.filter(|item| !item.is_empty()).collect()
}

/// Host names; `None` is every name.
fn hosts(text: &str) -> Result<Option<Vec<String>>, &'static str> {
    let names = items(text);
    if names == ["*"] {
        return Ok(None);
    }
    names
        .iter()
        .all(|name| is_host(name))
        .then_some(Some(names))
        .ok_or("use host names without a scheme, a port or a path, separated by commas, or * for every name")
}

fn origins(text: &str, auth: &AuthConfig) -> Result<CorsOrigins, &'static str> {
    let origins = items(text);
    if origins != ["*"] {
        return origins.iter().all(|origin| is_origin(origin)).then_some(CorsOrigins::List(origins)).ok_or(
            "use origins such as https://app.example.com or http://localhost:3000, without a path, separated by commas",
        );
    }
    auth.secret.as_ref().map(|_| CorsOrigins::Any).ok_or(
        "without authentication, every web page that a user opens could spend your AWS money; name the origins, or set \
         JWT_SECRET_KEY",
    )
}

/// Whether `text` can be the host of a URL: a name, an IPv4 address, or an IPv6 address in brackets.
fn is_host(text: &str) -> bool {
    let is_name =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    let is_ipv6 = |text: &str| text.parse::<std::net::Ipv6Addr>().is_ok();
    match text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        Some(address) => is_ipv6(address),
        None => !text.is_empty() && is_name(text),
    }
}

/// Whether `text` is an origin as browsers send it: a scheme, a host, and a port that is not the scheme's own.
fn is_origin(text: &str) -> bool {
    let Some((scheme, authority)) = text.split_once("://") else { return false };
    let is_scheme = scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let default = match scheme {
        "http" => "80",
        "https" => "443",
        _ => "",
    };
    let is_port = |port: &str| port.parse::<u16>().is_ok() && port != default;
    !scheme.is_empty() && is_scheme && is_host(host) && port.is_none_or(is_port)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTS: &str = "ALLOWED_HOSTS";
    const ORIGINS: &str = "CORS_ALLOWED_ORIGINS";
    use crate::config::env::lookup_in;
    use crate::config::{Config, ConfigError};

    fn load(pairs: &[(&str, &str)]) -> Result<BrowserConfig, Vec<ConfigError>> {
        Config::load(lookup_in(pairs)).map(|config| config.server.browsers)
    }

    #[test]
    fn names_and_origins_are_lists_in_lower_case() {
        let none = load(&[]).unwrap();
        assert_eq!((none.allowed_hosts, none.cors_origins), (Some(vec![]), CorsOrigins::List(vec![])));
        let set =
            [(HOSTS, "Proxy, gw.example.com,[::1],"), (ORIGINS, "https://App.example, vscode-webview://0ab")];
        let some = load(&set).unwrap();
        assert_eq!(some.allowed_hosts.unwrap(), ["proxy", "gw.example.com", "[::1]"]);
        let origins = ["https://app.example", "vscode-webview://0ab"].map(str::to_owned).to_vec();
        assert_eq!(some.cors_origins, CorsOrigins::List(origins));
        assert_eq!(load(&[(HOSTS, "*")]).unwrap().allowed_hosts, None);
        for name in ["http://proxy", "proxy:8081", "a b", "a/b", "*, proxy", "user@proxy"] {
            assert_eq!(load(&[(HOSTS, name)]).unwrap_err()[0].variable, HOSTS, "{name}");
        }
        for origin in [
            "app.example",
            "https://a.example/",
            "https://a.example/x",
            "null",
            "https://",
            "https://a:443",
            "*, https://a",
        ] {
            assert_eq!(load(&[(ORIGINS, origin)]).unwrap_err()[0].variable, ORIGINS, "{origin}");
        }
    }

    #[test]
    fn any_origin_needs_authentication() {
        assert_eq!(load(&[(ORIGINS, "*")]).unwrap_err()[0].variable, ORIGINS);
        let key = ("JWT_SECRET_KEY", "0123456789abcdef0123456789abcdef");
        assert_eq!(load(&[(ORIGINS, "*"), key]).unwrap().cors_origins, CorsOrigins::Any);
    }
}
