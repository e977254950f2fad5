//! Client program and session of a request, for the log, as a label, and for the wording of errors; nothing else depends on
//! them.
//!
//! Clients can write any value into these headers, so only names of a closed list and ids of a plain alphabet come out.

use http::{HeaderMap, HeaderValue, header};

/// Bytes of a `user-agent` that are parsed: the programs of the lists below name themselves within the first 200.
const MAX_USER_AGENT_BYTES: usize = 512;
/// Longest version that is logged: `major.minor.patch` with a pre-release tag.
const MAX_VERSION_BYTES: usize = 32;
/// Longest session id that is logged: a UUID has 36 bytes, a prefixed one about 60.
const MAX_SESSION_ID_BYTES: usize = 128;
/// Headers with a session id: of Claude Code, Codex, and opencode (its newer and its older name).
const SESSION_HEADERS: [&str; 4] =
    ["x-claude-code-session-id", "session-id", "x-session-id", "x-session-affinity"];

/// Name of Claude Code.
pub(crate) const CLAUDE_CODE: &str = "claude-code";

/// Prefixes of a product in `user-agent`, and the client they mean. The first row that matches any product wins, so
/// agents stand before the libraries they are built with.
const PRODUCT_PREFIXES: [(&str, &str); 9] = [
    ("claude-cli/", CLAUDE_CODE),
    ("claude-code/", CLAUDE_CODE),
    ("cline/", "cline"),
    ("opencode/", "opencode"),
    ("codex", "codex"),
    ("ai-sdk/", "ai-sdk"),
    ("boto3/", "aws-sdk"),
    ("aws-sdk-", "aws-sdk"),
    ("curl/", "curl"),
];
/// Client libraries that write their language behind the slash and their version after it: `Anthropic/Python 2.12.0`.
const LIBRARIES: [(&str, &str, &str); 4] = [
    ("anthropic", "/python", "sdk-python"),
    ("anthropic", "/js", "sdk-typescript"),
    ("openai", "/python", "openai-python"),
    ("openai", "/js", "openai-node"),
];

/// Client program, parsed from `user-agent`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserAgent {
    /// `claude-code`, `cline`, `opencode`, `codex`, `ai-sdk` (also of programs built with it that send no name of
    /// their own), `aws-sdk`, `sdk-python`, `sdk-typescript`, `openai-python`, `openai-node`, `curl` or `other`.
    pub name: &'static str,
    /// Version, where the header holds a plain one.
    pub version: Option<String>,
}

impl UserAgent {
    /// Parses the `user-agent` of `headers`.
    #[must_use]
    pub(crate) fn from_headers(headers: &HeaderMap) -> Self {
        let value = headers.get(header::USER_AGENT).map(HeaderValue::as_bytes).unwrap_or_default();
        let value = value.get(..MAX_USER_AGENT_BYTES).unwrap_or(value).to_ascii_lowercase();
        Self::parse(&String::from_utf8_lossy(&value))
    }

    fn parse(lowercase: &str) -> Self {
        let products: Vec<&str> = lowercase.split_ascii_whitespace().collect();
        for (prefix, name) in PRODUCT_PREFIXES {
            let product =
                products.iter().find(|product| product.starts_with(prefix) && product.contains('/'));
            if let Some(product) = product {
                return Self { name, version: product.rsplit('/').next().and_then(parse_version) };
            }
        }
        for (library, language, name) in LIBRARIES {
            // AsyncAnthropic and AnthropicBedrock are the same library.
            let index =
                products.iter().position(|product| product.contains(library) && product.ends_with(language));
            if let Some(index) = index {
                return Self { name, version: products.get(index + 1).copied().and_then(parse_version) };
            }
        }
        Self { name: "other", version: None }
    }
}

/// `text`, if it is a plain version: a digit, then letters, digits, `.`, `-`, `+` and `_`.
fn parse_version(text: &str) -> Option<String> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-+_".contains(&byte));
    let fits = text.len() <= MAX_VERSION_BYTES && text.starts_with(|first: char| first.is_ascii_digit());
    (is_plain && fits).then(|| text.to_owned())
}

/// Session id of the client, from the first header that holds a plain one: letters, digits, `.`, `_` and `-`, at most
/// 128 bytes.
#[must_use]
pub(crate) fn session_id(headers: &HeaderMap) -> Option<String> {
    let mut ids = SESSION_HEADERS.iter().filter_map(|name| headers.get(*name)?.to_str().ok());
    ids.find(|id| is_plain_id(id)).map(str::to_owned)
}

fn is_plain_id(id: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=MAX_SESSION_ID_BYTES).contains(&id.len()) && id.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(value: &str) -> (&'static str, Option<String>) {
        let mut headers = HeaderMap::new();
        headers.insert(header::USER_AGENT, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        let UserAgent { name, version } = UserAgent::from_headers(&headers);
        (name, version)
    }

    #[test]
    fn recorded_user_agents_are_recognized() {
        for (agent, name, version) in [
            ("claude-cli/2.1.330 (external, sdk-cli)", "claude-code", "2.1.330"),
            ("claude-code/2.1.330", "claude-code", "2.1.330"),
            ("Cline/3.0.65", "cline", "3.0.65"),
            ("opencode/1.18.33 ai-sdk/provider-utils/4.0.1 runtime/bun/1.3.5", "opencode", "1.18.33"),
            ("ai-sdk/anthropic/4.0.42 ai-sdk/provider-utils/5.0.1 runtime/node.js/24", "ai-sdk", "4.0.42"),
            ("codex_cli_rs/0.169.0 (Ubuntu 22.4.0; x86_64) xterm-256color", "codex", "0.169.0"),
            ("codex_exec/0.169.0", "codex", "0.169.0"),
            ("Anthropic/Python 2.12.0", "sdk-python", "2.12.0"),
            ("AsyncAnthropicBedrock/Python 2.12.0", "sdk-python", "2.12.0"),
            ("Anthropic/JS 1.12.0", "sdk-typescript", "1.12.0"),
            ("AsyncOpenAI/Python 3.54.0", "openai-python", "3.54.0"),
            ("OpenAI/JS 6.1.0", "openai-node", "6.1.0"),
            ("Boto3/1.40.1 md/Botocore#1.40.1 ua/2.1 os/linux", "aws-sdk", "1.40.1"),
            ("curl/8.14.1", "curl", "8.14.1"),
        ] {
            assert_eq!(parse(agent), (name, Some(version.to_owned())), "{agent}");
        }
    }

    #[test]
    fn unknown_user_agents_are_other_without_version() {
        for agent in ["", "Mozilla/5.0 (X11)", "codex", "Anthropic", "Anthropic/Ruby 1.0", "ünïcode/1.0"] {
            assert_eq!(parse(agent), ("other", None), "{agent}");
        }
        for agent in ["curl/", "curl/x\u{7f}1", "curl/1\"}", "claude-cli/111111111111111111111111111111111"] {
            let Ok(value) = HeaderValue::from_bytes(agent.as_bytes()) else { continue };
            let headers = HeaderMap::from_iter([(header::USER_AGENT, value)]);
            assert_eq!(UserAgent::from_headers(&headers).version, None, "{agent}");
        }
        assert_eq!(parse(&"x ".repeat(4000)), ("other", None));
        assert_eq!(UserAgent::from_headers(&HeaderMap::new()).name, "other");
    }

    #[test]
    fn session_ids_are_plain_ids_only() {
        let parsed = |name: &'static str, id: &str| {
            session_id(&HeaderMap::from_iter([(
                http::HeaderName::from_static(name),
                HeaderValue::from_str(id).unwrap(),
            )]))
        };
        for name in SESSION_HEADERS {
            assert_eq!(parsed(name, "5d1f-a.b_C").as_deref(), Some("5d1f-a.b_C"));
        }
        assert_eq!(parsed("session-id", &"a".repeat(128)).map(|id| id.len()), Some(128));
        for bad in ["", "a b", "a\"b", "=1+1", &"a".repeat(129)] {
            assert_eq!(parsed("session-id", bad), None, "{bad}");
        }
        assert_eq!(parsed("x-other", "a"), None);
    }
}
