//! Which program asks, and in which session of it: from headers that anybody can write, so only words of a closed list
//! and ids of a plain alphabet come out. For the log and as a label; nothing is decided by it.

use http::{HeaderMap, HeaderValue, header};

/// Enough of a `user-agent` to know it by.
const LONGEST_AGENT: usize = 512;
const LONGEST_VERSION: usize = 32;
const LONGEST_SESSION: usize = 128;
/// Where clients say which session a request belongs to: Claude Code, Codex, opencode (its newer and older name).
const SESSIONS: [&str; 4] = ["x-claude-code-session-id", "session-id", "x-session-id", "x-session-affinity"];

/// How programs call themselves, by the beginning of a product in their `user-agent`. The first row that fits any of the
/// products wins, so agents stand before the libraries they are made of.
const AGENTS: [(&str, &str); 9] = [
    ("claude-cli/", "claude-code"),
    ("claude-code/", "claude-code"),
    ("cline/", "cline"),
    ("opencode/", "opencode"),
    ("codex", "codex"),
    ("ai-sdk/", "ai-sdk"),
    ("boto3/", "aws-sdk"),
    ("aws-sdk-", "aws-sdk"),
    ("curl/", "curl"),
];
/// Libraries that write their language behind the slash and their version after it: `Anthropic/Python 2.12.0`.
const LIBRARIES: [(&str, &str, &str); 4] = [
    ("anthropic", "/python", "sdk-python"),
    ("anthropic", "/js", "sdk-typescript"),
    ("openai", "/python", "openai-python"),
    ("openai", "/js", "openai-node"),
];

/// The program that asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// `claude-code`, `cline`, `opencode`, `codex`, `ai-sdk` (also Cline and others that do not say), `aws-sdk`,
    /// `sdk-python`, `sdk-typescript`, `openai-python`, `openai-node`, `curl` or `other`.
    pub name: &'static str,
    /// Its version, if that is one.
    pub version: Option<String>,
}

impl Client {
    /// The program that `headers` name.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let agent = headers.get(header::USER_AGENT).map(HeaderValue::as_bytes).unwrap_or_default();
        let agent = agent.get(..LONGEST_AGENT).unwrap_or(agent).to_ascii_lowercase();
        Self::by_agent(&String::from_utf8_lossy(&agent))
    }

    fn by_agent(agent: &str) -> Self {
        let products: Vec<&str> = agent.split_ascii_whitespace().collect();
        for (start, name) in AGENTS {
            let product = products.iter().find(|product| product.starts_with(start) && product.contains('/'));
            if let Some(product) = product {
                return Self { name, version: product.rsplit('/').next().and_then(version) };
            }
        }
        for (library, language, name) in LIBRARIES {
            // AsyncAnthropic and AnthropicBedrock are the same library.
            let at =
                products.iter().position(|product| product.contains(library) && product.ends_with(language));
            if let Some(at) = at {
                return Self { name, version: products.get(at + 1).copied().and_then(version) };
            }
        }
        Self { name: "other", version: None }
    }
}

/// What looks like a version.
fn version(text: &str) -> Option<String> {
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-+_".contains(&byte));
    let fits = text.len() <= LONGEST_VERSION && text.starts_with(|first: char| first.is_ascii_digit());
    (plain && fits).then(|| text.to_owned())
}

/// The session that `headers` name, if that is a plain id: letters, digits, `.`, `_` and `-`, 128 at most.
#[must_use]
pub fn session(headers: &HeaderMap) -> Option<String> {
    let mut named = SESSIONS.iter().filter_map(|name| headers.get(*name)?.to_str().ok());
    named.find(|id| is_plain(id)).map(str::to_owned)
}

fn is_plain(id: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=LONGEST_SESSION).contains(&id.len()) && id.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by(agent: &str) -> (&'static str, Option<String>) {
        let mut headers = HeaderMap::new();
        headers.insert(header::USER_AGENT, HeaderValue::from_bytes(agent.as_bytes()).unwrap());
        let Client { name, version } = Client::of(&headers);
        (name, version)
    }

    #[test]
    fn clients_are_known_by_what_they_really_send() {
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
            assert_eq!(by(agent), (name, Some(version.to_owned())), "{agent}");
        }
    }

    #[test]
    fn whatever_else_they_send_becomes_other_and_no_version() {
        for agent in ["", "Mozilla/5.0 (X11)", "codex", "Anthropic", "Anthropic/Ruby 1.0", "ünïcode/1.0"] {
            assert_eq!(by(agent), ("other", None), "{agent}");
        }
        for agent in ["curl/", "curl/x\u{7f}1", "curl/1\"}", "claude-cli/111111111111111111111111111111111"] {
            let Ok(value) = HeaderValue::from_bytes(agent.as_bytes()) else { continue };
            let headers = HeaderMap::from_iter([(header::USER_AGENT, value)]);
            assert_eq!(Client::of(&headers).version, None, "{agent}");
        }
        assert_eq!(by(&"x ".repeat(4000)), ("other", None));
        assert_eq!(Client::of(&HeaderMap::new()).name, "other");
    }

    #[test]
    fn only_a_plain_id_names_a_session() {
        let named = |name: &'static str, id: &str| {
            session(&HeaderMap::from_iter([(
                http::HeaderName::from_static(name),
                HeaderValue::from_str(id).unwrap(),
            )]))
        };
        for name in SESSIONS {
            assert_eq!(named(name, "5d1f-a.b_C").as_deref(), Some("5d1f-a.b_C"));
        }
        assert_eq!(named("session-id", &"a".repeat(128)).map(|id| id.len()), Some(128));
        for bad in ["", "a b", "a\"b", "=1+1", &"a".repeat(129)] {
            assert_eq!(named("session-id", bad), None, "{bad}");
        }
        assert_eq!(named("x-other", "a"), None);
    }
}
