//! `bedrock-proxy demo`: the gateway in front of a fake Bedrock in the same process. No AWS account, no network, no
//! configuration; the signature between the two is real and is checked.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use fake_bedrock::FakeBedrock;

use crate::clock::Clock;
use crate::config::Config;
use crate::server::Server;
use crate::{cli, telemetry};

/// Serves the demo on `host` and `port` until a signal. The fake stays on this machine whatever `host` is, and nobody's
/// money can be spent, so that everybody who reaches the port may try it.
///
/// # Errors
/// When the port is taken, or the fake cannot start.
pub async fn run(host: IpAddr, port: u16) -> Result<(), String> {
    telemetry::install_quiet()?;
    let identity = fake_bedrock::Config::default();
    let (access_key, secret_key) = (identity.access_key.clone(), identity.secret_key.clone());
    let region = identity.region.clone();
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let identity = fake_bedrock::Config { record_bodies: false, ..identity };
    let fake =
        FakeBedrock::bind(identity, anywhere).await.map_err(|error| format!("the fake Bedrock: {error}"))?;
    let (url, host, port) = (fake.url(), host.to_string(), port.to_string());
    let folder = std::env::temp_dir().join(format!("bedrock-proxy-demo-{}", std::process::id()));
    let data = folder.display().to_string();
    // The real environment and .env are left out on purpose.
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
            "AWS_BEDROCK_ANTHROPIC_DEFAULT_MODEL" => return Some("claude-sonnet-4-5".to_owned()),
            _ => return None,
        };
        Some(value.clone())
    });
    let config =
        config.map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?;
    let server = Server::bind(&config, Clock::machine()).await.map_err(|error| error.to_string())?;
    cli::say(&welcome(&format!("http://{}", typed(server.address())), &url));
    // The fake answers until the gateway has drained.
    let ended = tokio::select! {
        stopped = cli::until_stopped(server) => stopped,
        () = fake.run() => Err("the fake Bedrock stopped".to_owned()),
    };
    let _ = std::fs::remove_dir_all(folder);
    ended
}

/// What to type to reach `address` from here: "everywhere" is no place to connect to.
fn typed(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        ip if !ip.is_unspecified() => address,
        IpAddr::V4(_) => SocketAddr::from((Ipv4Addr::LOCALHOST, address.port())),
        IpAddr::V6(_) => SocketAddr::from((Ipv6Addr::LOCALHOST, address.port())),
    }
}

fn welcome(proxy: &str, bedrock: &str) -> String {
    format!(
        r#"bedrock-proxy demo

  {proxy}   Anthropic Messages API
  {bedrock}   a fake Bedrock behind it: the real wire, canned answers

Try it:

  curl -N {proxy}/v1/messages -H 'content-type: application/json' -d '{{"model":"claude-sonnet-4-5","max_tokens":256,"stream":true,"messages":[{{"role":"user","content":"Hello"}}]}}'

Claude Code:

  export ANTHROPIC_BASE_URL={proxy}
  export ANTHROPIC_AUTH_TOKEN=demo

Clients of OpenAI's chat completions:

  export OPENAI_BASE_URL={proxy}/v1
  export OPENAI_API_KEY=demo

Words in a prompt that choose the answer:

  [tool]        a tool call, if the request names tools
  [thinking]    thinking before the text
  [slow 20000]  20 s of silence first: watch the pings
  [throttle]    what a throttled account sees
  [cut]         a connection that breaks in the middle

Ctrl-C ends it.
"#
    )
}
