//! What to type into which client. The settings are data; only the address, the token and the model are filled in.
//!
//! What clients do with an address differs: those that are made of Anthropic's SDK want the origin, those that are made
//! of OpenAI's, and those that are made of Vercel's AI SDK, want `/v1` behind it.

/// A client, and what it wants to be told.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    /// What it is called on the command line.
    pub name: &'static str,
    /// What people call it.
    pub title: &'static str,
    /// The settings for people who need no token.
    open: &'static str,
    /// The settings for people who need one, where they are not the same with a token in them.
    secured: Option<&'static str>,
    /// How far this was tried, and what to mind.
    note: &'static str,
}

/// What is filled in.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Where the proxy is, without a slash at the end.
    pub base: String,
    /// Whether it asks for tokens.
    pub secured: bool,
    /// Whose token it is to be.
    pub user: String,
    /// The model, as requests name it.
    pub model: String,
    /// A command of this machine that prints a token and nothing else.
    pub helper: String,
}

/// All clients that are known.
pub const CLIENTS: [Client; 15] = [
    Client {
        name: "claude-code",
        title: "Claude Code",
        open: r#"Put this into ~/.claude/settings.json:

{
  "env": {
    "ANTHROPIC_BASE_URL": "@BASE@",
    "ANTHROPIC_AUTH_TOKEN": "@TOKEN@"
  }
}

or, for one shell:

export ANTHROPIC_BASE_URL=@BASE@ ANTHROPIC_AUTH_TOKEN=@TOKEN@"#,
        secured: Some(
            r#"On the machine of the proxy, put this into ~/.claude/settings.json; Claude Code fetches its tokens itself:

{
  "env": {
    "ANTHROPIC_BASE_URL": "@BASE@"
  },
  "apiKeyHelper": @HELPER@
}

Elsewhere, with a token that somebody gave you:

export ANTHROPIC_BASE_URL=@BASE@ ANTHROPIC_AUTH_TOKEN=@TOKEN@"#,
        ),
        note: "What it sends was measured with 2.1.330. Log out of claude.ai first, or its credential comes along and is refused.",
    },
    Client {
        name: "claude-code-bedrock",
        title: "Claude Code, Bedrock mode",
        open: r"export CLAUDE_CODE_USE_BEDROCK=1 CLAUDE_CODE_SKIP_BEDROCK_AUTH=1
export ANTHROPIC_BEDROCK_BASE_URL=@BASE@/bedrock",
        secured: Some(
            r"export CLAUDE_CODE_USE_BEDROCK=1 CLAUDE_CODE_SKIP_BEDROCK_AUTH=1
export ANTHROPIC_BEDROCK_BASE_URL=@BASE@/bedrock ANTHROPIC_AUTH_TOKEN=@TOKEN@",
        ),
        note: "What it sends was measured with 2.1.330. Model names are Bedrock's there.",
    },
    Client {
        name: "cline",
        title: "Cline, provider Anthropic",
        open: r#"In VS Code, in the settings of Cline:

  API Provider          Anthropic
  Anthropic API Key     @TOKEN@
  Use custom base URL   @BASE@
  Model                 @MODEL@

On the command line and in JetBrains, in providers.json of Cline:

  "baseUrl": "@BASE@/v1""#,
        secured: None,
        note: "The command line was measured with 3.0.65; VS Code was read in its source, not tried.",
    },
    Client {
        name: "cline-openai",
        title: "Cline, provider OpenAI Compatible",
        open: r"In the settings of Cline:

  API Provider          OpenAI Compatible
  Base URL              @BASE@/v1
  API Key               @TOKEN@
  Model ID              @MODEL@",
        secured: None,
        note: "Measured with the command line, 3.0.65. The older address @BASE@/v1/messages works, too. With the provider \
               Anthropic (`connect cline`) Cline sets its own cache points.",
    },
    Client {
        name: "opencode",
        title: "opencode",
        open: r#"Put this into opencode.json:

{
  "$schema": "https://opencode.ai/config.json",
  "model": "anthropic/@MODEL@",
  "provider": {
    "anthropic": {
      "options": { "baseURL": "@BASE@/v1", "apiKey": "@TOKEN@" }
    }
  }
}"#,
        secured: None,
        note: "What it sends was measured with 1.18.33.",
    },
    Client {
        name: "codex",
        title: "Codex",
        open: r"Codex does not work with this version: it speaks nothing but OpenAI's Responses API, which is not served here.",
        secured: None,
        note: "Codex 0.169.0 refuses to start with wire_api = \"chat\".",
    },
    Client {
        name: "continue",
        title: "Continue",
        open: r"Put this into ~/.continue/config.yaml:

name: bedrock-proxy
version: 1.0.0
schema: v1
models:
  - name: Claude on Bedrock
    provider: anthropic
    model: @MODEL@
    apiBase: @BASE@/v1/
    apiKey: @TOKEN@",
        secured: None,
        note: "What it sends was measured with the command line, 1.5.47. `provider: openai` works with the same address.",
    },
    Client {
        name: "aider",
        title: "aider",
        open: r"export ANTHROPIC_API_BASE=@BASE@ ANTHROPIC_API_KEY=@TOKEN@
aider --model anthropic/@MODEL@

or, by OpenAI's chat completions:

export OPENAI_API_BASE=@BASE@/v1 OPENAI_API_KEY=@TOKEN@
aider --model openai/@MODEL@",
        secured: None,
        note: "From its documentation; not tried.",
    },
    Client {
        name: "cursor",
        title: "Cursor",
        open: r"In Settings → Models:

  OpenAI API Key             @TOKEN@
  Override OpenAI Base URL   @BASE@/v1
  Add a custom model         @MODEL@",
        secured: None,
        note: "Not tried. The requests come from Cursor's own servers: the address has to be https and open to the internet, so \
               switch tokens on (JWT_SECRET_KEY).",
    },
    Client {
        name: "zed",
        title: "Zed",
        open: r#"Put this into settings.json, and the key @TOKEN@ into the provider's field in the agent panel:

{
  "language_models": {
    "anthropic": {
      "api_url": "@BASE@",
      "available_models": [
        { "name": "@MODEL@", "display_name": "Claude on Bedrock", "max_tokens": 200000 }
      ]
    }
  }
}"#,
        secured: None,
        note: "From its documentation; not tried. Zed never lists models: name each one there.",
    },
    Client {
        name: "sdk-python",
        title: "Anthropic's Python SDK",
        open: r#"import anthropic

client = anthropic.Anthropic(base_url="@BASE@", api_key="@TOKEN@")
message = client.messages.create(
    model="@MODEL@",
    max_tokens=1024,
    messages=[{"role": "user", "content": "Hello"}],
)
print(message.content[0].text)"#,
        secured: None,
        note: "Tested with this proxy.",
    },
    Client {
        name: "sdk-typescript",
        title: "Anthropic's TypeScript SDK",
        open: r#"import Anthropic from "@anthropic-ai/sdk";

const client = new Anthropic({ baseURL: "@BASE@", apiKey: "@TOKEN@" });
const message = await client.messages.create({
  model: "@MODEL@",
  max_tokens: 1024,
  messages: [{ role: "user", content: "Hello" }],
});
console.log(message.content);"#,
        secured: None,
        note: "Tested with this proxy.",
    },
    Client {
        name: "openai-python",
        title: "OpenAI's Python SDK",
        open: r#"from openai import OpenAI

client = OpenAI(base_url="@BASE@/v1", api_key="@TOKEN@")
answer = client.chat.completions.create(
    model="@MODEL@",
    messages=[{"role": "user", "content": "Hello"}],
)
print(answer.choices[0].message.content)"#,
        secured: None,
        note: "Tested with this proxy: chat completions only; the Responses API is not served here.",
    },
    Client {
        name: "openai-typescript",
        title: "OpenAI's TypeScript SDK",
        open: r#"import OpenAI from "openai";

const client = new OpenAI({ baseURL: "@BASE@/v1", apiKey: "@TOKEN@" });
const answer = await client.chat.completions.create({
  model: "@MODEL@",
  messages: [{ role: "user", content: "Hello" }],
});
console.log(answer.choices[0].message.content);"#,
        secured: None,
        note: "Chat completions only; the Responses API is not served here.",
    },
    Client {
        name: "curl",
        title: "curl",
        open: r#"curl -N @BASE@/v1/messages -H 'content-type: application/json' \
  -d '{"model":"@MODEL@","max_tokens":1024,"stream":true,"messages":[{"role":"user","content":"Hello"}]}'"#,
        secured: Some(
            r#"curl -N @BASE@/v1/messages -H 'content-type: application/json' -H 'authorization: Bearer @TOKEN@' \
  -d '{"model":"@MODEL@","max_tokens":1024,"stream":true,"messages":[{"role":"user","content":"Hello"}]}'"#,
        ),
        note: "",
    },
];

/// The settings of `client`.
#[must_use]
pub fn settings(client: &Client, facts: &Facts) -> String {
    let template = client.secured.filter(|_| facts.secured).unwrap_or(client.open);
    let text = format!("{}\n\n{template}\n", client.title);
    let mut text = fill(&text, facts);
    let mut say = |sentence: &str| {
        text.push('\n');
        text.push_str(sentence);
        text.push('\n');
    };
    if facts.secured && text_needs_token(template) {
        say(&format!("TOKEN is what `bedrock-proxy token issue --user {} --ttl 7d` prints.", facts.user));
    }
    if facts.base.starts_with("https:") && template.contains("@BASE@") {
        say(
            "The client has to trust the proxy's certificate: with one of your own authority, set NODE_EXTRA_CA_CERTS \
             (Node.js) or SSL_CERT_FILE (Python, curl) to it.",
        );
    }
    if !client.note.is_empty() {
        say(&fill(client.note, facts));
    }
    text
}

/// All clients, one line each.
#[must_use]
pub fn list() -> String {
    let lines = CLIENTS.iter().map(|client| format!("  {:<20} {}\n", client.name, client.title));
    format!("bedrock-proxy connect CLIENT, where CLIENT is one of:\n\n{}", lines.collect::<String>())
}

fn text_needs_token(template: &str) -> bool {
    template.contains("@TOKEN@")
}

fn fill(template: &str, facts: &Facts) -> String {
    // As a string of JSON, because that is where it stands.
    let helper = serde_json::Value::from(facts.helper.as_str()).to_string();
    template
        .replace("@BASE@", &facts.base)
        .replace("@TOKEN@", if facts.secured { "TOKEN" } else { "any" })
        .replace("@MODEL@", &facts.model)
        .replace("@HELPER@", &helper)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(secured: bool) -> Facts {
        Facts {
            base: "http://127.0.0.1:8081".to_owned(),
            secured,
            user: "ana".to_owned(),
            model: "claude-sonnet-4-5".to_owned(),
            helper: "cd '/srv/my proxy' && bedrock-proxy token print --user ana".to_owned(),
        }
    }

    fn of(name: &str, secured: bool) -> String {
        settings(CLIENTS.iter().find(|client| client.name == name).unwrap(), &facts(secured))
    }

    #[test]
    fn every_client_gets_settings_without_gaps() {
        for client in &CLIENTS {
            for secured in [false, true] {
                let text = settings(client, &facts(secured));
                assert!(!text.contains('@') || text.contains("@anthropic-ai/sdk"), "{text}");
                assert_eq!(text.matches('@').count(), text.matches("@anthropic-ai").count(), "{text}");
                if client.name != "codex" {
                    assert!(text.contains("http://127.0.0.1:8081"), "{text}");
                    let word = if secured { "token issue --user ana" } else { "any" };
                    let tokenless = !secured && ["curl", "claude-code-bedrock"].contains(&client.name);
                    assert!(text.contains(word) || tokenless, "{text}");
                }
            }
            assert!(list().contains(client.name));
        }
    }

    #[test]
    fn each_client_gets_the_address_that_it_completes_itself() {
        for (name, wanted) in [
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
            assert!(of(name, false).contains(wanted), "{name}: {}", of(name, false));
        }
    }

    #[test]
    fn what_is_printed_as_json_is_json() {
        for name in ["claude-code", "opencode", "zed"] {
            for secured in [false, true] {
                let text = of(name, secured);
                let (start, end) = (text.find("\n{").unwrap(), text.find("\n}").unwrap());
                let value: serde_json::Value = serde_json::from_str(&text[start..end + 2]).unwrap();
                let helper = value["apiKeyHelper"].as_str();
                assert_eq!(helper.is_some(), name == "claude-code" && secured, "{text}");
                assert!(helper.is_none_or(|helper| helper.ends_with("token print --user ana")));
            }
        }
    }
}
