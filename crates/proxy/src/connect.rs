//! Settings of clients. The templates are text files; address, token and model are filled in.
//!
//! Base URLs differ: clients with Anthropic's SDK append `/v1` themselves; clients with OpenAI's SDK or Vercel's AI SDK
//! need a base URL that ends in `/v1`.

/// A client and the templates of its settings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client {
    /// Its name on the command line.
    pub(crate) name: &'static str,
    /// Its full name.
    pub(crate) title: &'static str,
    /// The settings without authentication.
    without_auth: &'static str,
    /// The settings with authentication, when they differ by more than the token.
    with_auth: Option<&'static str>,
    /// How the settings were tested, and limitations.
    note: &'static str,
}

/// Values for the placeholders of a template.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    /// The base URL of the proxy, without a trailing slash.
    pub(crate) base: String,
    /// Whether requests need a token.
    pub(crate) requires_token: bool,
    /// The user of the token.
    pub(crate) user: String,
    /// The model name for requests.
    pub(crate) model: String,
    /// A shell command on this machine that prints a token and nothing else.
    pub(crate) token_command: String,
}

/// All supported clients.
pub(crate) const CLIENTS: [Client; 15] = [
    Client {
        name: "claude-code",
        title: "Claude Code",
        without_auth: include_str!("connect/claude-code.txt"),
        with_auth: Some(include_str!("connect/claude-code-auth.txt")),
        note: "Tested in a terminal and by recorded requests with version 2.1.332: prompts, tools, an action that auto mode checks, an image, a \
               sub-agent, /model, /usage, /status. Where Bedrock does not check tool calls, auto mode needs your approval of each action; \
               with CLAUDE_CODE_AUTO_MODE_SERVER=0 Claude Code checks them itself, by requests of its own, which count. Notices \
               about the limit need ANTHROPIC_AUTH_TOKEN with a token issued here; apiKeyHelper does not show them. Log out of \
               claude.ai first, because Claude Code sends its credential too, and the proxy rejects it.",
    },
    Client {
        name: "claude-code-bedrock",
        title: "Claude Code, Bedrock mode",
        without_auth: include_str!("connect/claude-code-bedrock.txt"),
        with_auth: Some(include_str!("connect/claude-code-bedrock-auth.txt")),
        note: "Tested by recorded requests with version 2.1.332. Use the model names of Bedrock.",
    },
    Client {
        name: "cline",
        title: "Cline, provider Anthropic",
        without_auth: include_str!("connect/cline.txt"),
        with_auth: None,
        note: "The command line was tested with version 3.0.65; the settings of VS Code are from its source code, not tested.",
    },
    Client {
        name: "cline-openai",
        title: "Cline, provider OpenAI Compatible",
        without_auth: include_str!("connect/cline-openai.txt"),
        with_auth: None,
        note: "Tested with the command line, version 3.0.65. The older address @BASE@/v1/messages works too. With the provider \
               Anthropic (`connect cline`) Cline sets its own cache points.",
    },
    Client {
        name: "opencode",
        title: "opencode",
        without_auth: include_str!("connect/opencode.txt"),
        with_auth: None,
        note: "Tested with recorded requests of version 1.18.33.",
    },
    Client {
        name: "codex",
        title: "Codex",
        without_auth: include_str!("connect/codex.txt"),
        with_auth: None,
        note: "Codex 0.169.0 refuses to start with wire_api = \"chat\".",
    },
    Client {
        name: "continue",
        title: "Continue",
        without_auth: include_str!("connect/continue.txt"),
        with_auth: None,
        note: "Tested with recorded requests of the command line, version 1.5.47. `provider: openai` works with the same address.",
    },
    Client {
        name: "aider",
        title: "aider",
        without_auth: include_str!("connect/aider.txt"),
        with_auth: None,
        note: "From its documentation; not tested.",
    },
    Client {
        name: "cursor",
        title: "Cursor",
        without_auth: include_str!("connect/cursor.txt"),
        with_auth: None,
        note: "Not tested. Cursor sends requests from its own servers: the address must be https and public, so require tokens \
               (JWT_SECRET_KEY).",
    },
    Client {
        name: "zed",
        title: "Zed",
        without_auth: include_str!("connect/zed.txt"),
        with_auth: None,
        note: "From its documentation; not tested. Zed does not list models: add each one here.",
    },
    Client {
        name: "sdk-python",
        title: "Anthropic's Python SDK",
        without_auth: include_str!("connect/sdk-python.txt"),
        with_auth: None,
        note: "Tested with this proxy.",
    },
    Client {
        name: "sdk-typescript",
        title: "Anthropic's TypeScript SDK",
        without_auth: include_str!("connect/sdk-typescript.txt"),
        with_auth: None,
        note: "Tested with this proxy.",
    },
    Client {
        name: "openai-python",
        title: "OpenAI's Python SDK",
        without_auth: include_str!("connect/openai-python.txt"),
        with_auth: None,
        note: "Tested with this proxy. Chat completions only; this version does not support the Responses API.",
    },
    Client {
        name: "openai-typescript",
        title: "OpenAI's TypeScript SDK",
        without_auth: include_str!("connect/openai-typescript.txt"),
        with_auth: None,
        note: "Chat completions only; this version does not support the Responses API.",
    },
    Client {
        name: "curl",
        title: "curl",
        without_auth: include_str!("connect/curl.txt"),
        with_auth: Some(include_str!("connect/curl-auth.txt")),
        note: "",
    },
];

/// The settings of `client`.
#[must_use]
pub(crate) fn settings(client: &Client, context: &Context) -> String {
    let template =
        client.with_auth.filter(|_| context.requires_token).unwrap_or(client.without_auth).trim_end();
    let text = format!("{}\n\n{template}\n", client.title);
    let mut text = fill(&text, context);
    let mut add = |sentence: &str| {
        text.push('\n');
        text.push_str(sentence);
        text.push('\n');
    };
    if context.requires_token && needs_token(template) {
        add(&format!("TOKEN is the output of `bedrock-proxy token issue --user {} --ttl 7d`.", context.user));
    }
    if context.base.starts_with("https:") && template.contains("@BASE@") {
        add(
            "The client must trust the proxy's certificate: for a private certificate authority, set NODE_EXTRA_CA_CERTS \
             (Node.js) or SSL_CERT_FILE (Python, curl) to its PEM file.",
        );
    }
    let is_local = ["://127.", "://localhost", "://[::1]"].iter().any(|host| context.base.contains(host));
    if is_local && context.requires_token && template.contains("@BASE@") {
        add(&format!(
            "This address works on the machine of the proxy only. For other machines: bedrock-proxy connect {} --url \
             https://bedrock.example.com, with the address at which they reach the proxy.",
            client.name
        ));
    }
    if !client.note.is_empty() {
        add(&fill(client.note, context));
    }
    text
}

/// A list of all clients, one line each.
#[must_use]
pub(crate) fn list() -> String {
    let lines = CLIENTS.iter().map(|client| format!("  {:<20} {}\n", client.name, client.title));
    format!("bedrock-proxy connect CLIENT, where CLIENT is one of:\n\n{}", lines.collect::<String>())
}

fn needs_token(template: &str) -> bool {
    template.contains("@TOKEN@")
}

fn fill(template: &str, context: &Context) -> String {
    // The placeholder stands in JSON, so the command becomes a JSON string.
    let token_command = serde_json::Value::from(context.token_command.as_str()).to_string();
    template
        .replace("@BASE@", &context.base)
        .replace("@TOKEN@", if context.requires_token { "TOKEN" } else { "any" })
        .replace("@MODEL@", &context.model)
        .replace("@TOKEN_COMMAND@", &token_command)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(requires_token: bool) -> Context {
        Context {
            base: "http://127.0.0.1:8081".to_owned(),
            requires_token,
            user: "ana".to_owned(),
            model: "claude-sonnet-4-5".to_owned(),
            token_command: "cd '/srv/my proxy' && bedrock-proxy token print --user ana".to_owned(),
        }
    }

    fn settings_of(name: &str, requires_token: bool) -> String {
        settings(CLIENTS.iter().find(|client| client.name == name).unwrap(), &context(requires_token))
    }

    #[test]
    fn every_placeholder_is_filled() {
        for client in &CLIENTS {
            for requires_token in [false, true] {
                let text = settings(client, &context(requires_token));
                assert!(!text.contains('@') || text.contains("@anthropic-ai/sdk"), "{text}");
                assert_eq!(text.matches('@').count(), text.matches("@anthropic-ai").count(), "{text}");
                if client.name != "codex" {
                    assert!(text.contains("http://127.0.0.1:8081"), "{text}");
                    let token = if requires_token { "token issue --user ana" } else { "any" };
                    let tokenless = !requires_token && ["curl", "claude-code-bedrock"].contains(&client.name);
                    assert!(text.contains(token) || tokenless, "{text}");
                }
            }
            assert!(list().contains(client.name));
        }
    }

    #[test]
    fn local_address_has_a_note_for_other_machines() {
        assert!(settings_of("cline", true).contains("connect cline --url https://"));
        assert!(!settings_of("cline", false).contains("--url"));
        let remote = Context { base: "https://bedrock.example.com".to_owned(), ..context(true) };
        assert!(!settings(&CLIENTS[0], &remote).contains("--url"));
    }

    #[test]
    fn each_client_gets_its_base_url() {
        for (name, expected) in [
            ("claude-code", "\"ANTHROPIC_BASE_URL\": \"http://127.0.0.1:8081\""),
            ("claude-code-bedrock", "ANTHROPIC_BEDROCK_BASE_URL=http://127.0.0.1:8081/bedrock\n"),
            ("cline", "Use custom base URL   http://127.0.0.1:8081\n"),
            ("cline", "\"baseUrl\": \"http://127.0.0.1:8081/v1\""),
            ("cline-openai", "Base URL              http://127.0.0.1:8081/v1\n"),
            ("opencode", "\"baseURL\": \"http://127.0.0.1:8081/v1\""),
            ("continue", "apiBase: http://127.0.0.1:8081/v1/\n"),
            ("sdk-python", "base_url=\"http://127.0.0.1:8081\""),
            ("openai-python", "base_url=\"http://127.0.0.1:8081/v1\""),
        ] {
            assert!(settings_of(name, false).contains(expected), "{name}: {}", settings_of(name, false));
        }
    }

    #[test]
    fn json_settings_are_valid_json() {
        for name in ["claude-code", "opencode", "zed"] {
            for requires_token in [false, true] {
                let text = settings_of(name, requires_token);
                let (start, end) = (text.find("\n{").unwrap(), text.find("\n}").unwrap());
                let value: serde_json::Value = serde_json::from_str(&text[start..end + 2]).unwrap();
                let command = value["apiKeyHelper"].as_str();
                assert_eq!(command.is_some(), name == "claude-code" && requires_token, "{text}");
                assert!(command.is_none_or(|command| command.ends_with("token print --user ana")));
            }
        }
    }

    #[test]
    fn notes_name_the_tested_version_of_claude_code() {
        let package = include_str!("../../../clients/claude-code/package.json");
        let package: serde_json::Value = serde_json::from_str(package).unwrap();
        let version = package["dependencies"]["@anthropic-ai/claude-code"].as_str().unwrap();
        for client in CLIENTS.iter().filter(|client| client.name.starts_with("claude-code")) {
            assert!(
                client.note.contains(&format!("with version {version}")),
                "{}: {}",
                client.name,
                client.note
            );
        }
    }
}
