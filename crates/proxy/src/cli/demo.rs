//! `demo`: the proxy in front of a fake Bedrock in the same process. It needs no AWS account, no network and no
//! configuration; the fake checks the signature of each request.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use fake_bedrock::FakeBedrock;

use super::serve::{ShutdownSignals, print_aside, run_until_signal};
use crate::clock::Clock;
use crate::config::Config;
use crate::server::Server;
use crate::{http_client, telemetry};

/// Serves the demo on `host` and `port` until a signal. The fake listens on loopback only. Every client is served without
/// authentication, because the demo cannot spend money.
///
/// # Errors
/// When the port is taken, or the fake cannot start.
pub(crate) async fn run(host: IpAddr, port: u16) -> Result<(), String> {
    telemetry::install_quiet()?;
    let identity = fake_bedrock::Config::default();
    let (access_key, secret_key) = (identity.access_key.clone(), identity.secret_key.clone());
    let region = identity.region.clone();
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let identity = fake_bedrock::Config { record_bodies: false, ..identity };
    let fake =
        FakeBedrock::bind(identity, any_port).await.map_err(|error| format!("the fake Bedrock: {error}"))?;
    let (url, host, port) = (fake.url(), host.to_string(), port.to_string());
    let directory = std::env::temp_dir().join(format!("bedrock-proxy-demo-{}", std::process::id()));
    let data = directory.display().to_string();
    // The demo ignores the environment and .env, so that it works everywhere.
    let config = Config::load(|name| {
        let value = match name {
            "AWS_BEDROCK_ACCESS_KEY" => &access_key,
            "AWS_BEDROCK_SECRET_KEY" => &secret_key,
            "AWS_BEDROCK_REGION" => &region,
            "AWS_ENDPOINT_URL" => &url,
            "HOST" => &host,
            "PORT" => &port,
            "ALLOW_UNAUTHENTICATED" => return Some("true".to_owned()),
            "DATA_DIR" => &data,
            "AWS_BEDROCK_ANTHROPIC_DEFAULT_MODEL" => return Some("claude-sonnet-5".to_owned()),
            _ => return None,
        };
        Some(value.clone())
    });
    let config =
        config.map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?;
    let signals = ShutdownSignals::new()?;
    let server = Server::bind(&config, Clock::machine()).await.map_err(|error| error.to_string())?;
    let local = SocketAddr::new(http_client::loopback_for(server.address().ip()), server.address().port());
    print_aside(welcome(&format!("http://{local}"), &url));
    // The fake responds until the proxy has drained.
    let result = tokio::select! {
        () = run_until_signal(server, signals) => Ok(()),
        () = fake.run() => Err("the fake Bedrock stopped".to_owned()),
    };
    let _ = std::fs::remove_dir_all(directory);
    result
}

fn welcome(proxy: &str, bedrock: &str) -> String {
    format!(
        r#"bedrock-proxy demo

  {proxy}   Anthropic Messages API
  {bedrock}   a fake Bedrock: real protocol, scripted responses

Try it:

  curl -N {proxy}/v1/messages -H 'content-type: application/json' -d '{{"model":"claude-sonnet-5","max_tokens":256,"stream":true,"messages":[{{"role":"user","content":"Hello"}}]}}'

Claude Code:

  export ANTHROPIC_BASE_URL={proxy}
  export ANTHROPIC_AUTH_TOKEN=demo

Clients of the chat completions API:

  export OPENAI_BASE_URL={proxy}/v1
  export OPENAI_API_KEY=demo

Directives in a prompt that select the response:

  [tool]        a tool call, if the request names tools
  [thinking]    thinking before the text
  [slow 20000]  20 s without events first: watch the pings
  [throttle]    a throttled account
  [cut]         a connection that breaks in the middle

Press Ctrl-C to stop.
"#
    )
}
