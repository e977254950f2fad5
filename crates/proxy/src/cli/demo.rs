//! `demo`: the proxy in front of a fake Bedrock in the same process. It needs no AWS account, no network and no
//! configuration; the fake checks the signature of each request.

mod data;

use std::fs::DirBuilder;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use fake_bedrock::FakeBedrock;

use self::data::{DAYS, DemoTokens, GUEST, LIMITED_USER, SMALL_LIMIT, USED_OF_SMALL_LIMIT};
use super::serve::{ShutdownSignals, print_aside, run_until_signal};
use crate::clock::Clock;
use crate::config::Config;
use crate::server::Server;
use crate::{http_client, ids, telemetry};

/// Ports that are tried when the requested one is taken.
const MAX_PORTS: u16 = 100;

/// Serves the demo on `host` and `port`, or on the next free port, until a signal. The fake listens on loopback only.
/// Clients without a token are served, too, because the demo cannot spend money.
///
/// # Errors
/// When no port is free, or the fake cannot start.
pub(crate) async fn run(host: IpAddr, port: u16) -> Result<(), String> {
    telemetry::install_quiet()?;
    let identity = fake_bedrock::Config { record_bodies: false, ..fake_bedrock::Config::default() };
    let credentials = identity.clone();
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let fake =
        FakeBedrock::bind(identity, any_port).await.map_err(|error| format!("the fake Bedrock: {error}"))?;
    let signals = ShutdownSignals::new()?;
    let directory = TemporaryDirectory::create()?;
    let demo = Demo { host, port: free_port(host, port), key: ids::signing_key(), bedrock: fake.url() };
    let mut config = demo.config(&credentials, &directory.0)?;
    config.callers.guest = Some(GUEST.to_owned());
    let server = Server::bind(&config, Clock::machine()).await.map_err(|error| error.to_string())?;
    let tokens = data::fill(server.app()).await?;
    print_aside(demo.welcome(port, &server, &directory.0, &tokens));
    // The fake responds until the proxy has drained.
    tokio::select! {
        () = run_until_signal(server, signals) => Ok(()),
        () = fake.run() => Err("the fake Bedrock stopped".to_owned()),
    }
}

/// The first free port from `port` on; `port` when that is not found out here.
fn free_port(host: IpAddr, port: u16) -> u16 {
    let is_taken = |port: u16| {
        TcpListener::bind((host, port)).is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
    };
    let mut ports = port..=port.saturating_add(MAX_PORTS);
    ports.find(|port| !is_taken(*port)).unwrap_or(port)
}

/// A directory that only this user can read, deleted with the demo.
struct TemporaryDirectory(PathBuf);

impl TemporaryDirectory {
    fn create() -> Result<Self, String> {
        let path = std::env::temp_dir().join(format!("bedrock-proxy-demo-{}", std::process::id()));
        // An earlier demo with the same process id was killed. A directory of another user stays, and is an error.
        let _ = std::fs::remove_dir_all(&path);
        let created = DirBuilder::new().mode(0o700).create(&path);
        created.map_err(|error| format!("cannot create {}: {error}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for TemporaryDirectory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What the demo was started with.
struct Demo {
    host: IpAddr,
    port: u16,
    /// Signs the tokens.
    key: String,
    /// URL of the fake.
    bedrock: String,
}

impl Demo {
    /// The configuration. It ignores the environment and `.env`, so that the demo works everywhere.
    fn config(&self, credentials: &fake_bedrock::Config, directory: &Path) -> Result<Config, String> {
        let loaded = Config::load(|name| {
            Some(match name {
                "AWS_BEDROCK_ACCESS_KEY" => credentials.access_key.clone(),
                "AWS_BEDROCK_SECRET_KEY" => credentials.secret_key.clone(),
                "AWS_BEDROCK_REGION" => credentials.region.clone(),
                "AWS_ENDPOINT_URL" => self.bedrock.clone(),
                "AWS_BEDROCK_ANTHROPIC_DEFAULT_MODEL" => "claude-sonnet-5".to_owned(),
                "HOST" => self.host.to_string(),
                "PORT" => self.port.to_string(),
                "JWT_SECRET_KEY" => self.key.clone(),
                "DATA_DIR" => directory.display().to_string(),
                _ => return None,
            })
        });
        let mut config =
            loaded.map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?;
        // The limit of open files of a laptop allows these; the default would begin the demo with a warning.
        config.server.max_connections = 1000;
        Ok(config)
    }

    /// The text for the terminal, whose commands can be pasted.
    fn welcome(&self, requested_port: u16, server: &Server, directory: &Path, tokens: &DemoTokens) -> String {
        let address = server.address();
        let local = SocketAddr::new(http_client::loopback_for(address.ip()), address.port());
        let proxy = format!("http://{local}");
        let bedrock = &self.bedrock;
        let moved = if [0, address.port()].contains(&requested_port) {
            String::new()
        } else {
            format!("\n\n  Port {requested_port} is taken; the demo uses port {}.", address.port())
        };
        let curl = |user: &str, tokens: u32| {
            format!(
                r#"curl -s {proxy}/v1/messages -H "x-api-key: ${user}" -H 'content-type: application/json' -d '{{"model":"claude-sonnet-5","max_tokens":{tokens},"messages":[{{"role":"user","content":"Hello"}}]}}'"#
            )
        };
        let (clock, program) = (&server.app().clock, program());
        let from = day(clock.milliseconds() - (DAYS - 1) * 86_400_000);
        let [ana, ben, admin] = [&tokens.ana, &tokens.ben, &tokens.admin].map(|token| token.expose());
        let key = &self.key;
        format!(
            r#"bedrock-proxy demo{moved}

  {proxy}   Anthropic Messages API; open it in a browser for an overview
  {bedrock}   a fake Bedrock: real protocol, scripted responses

Try it:

  curl -N {proxy}/v1/messages -H 'content-type: application/json' -d '{{"model":"claude-sonnet-5","max_tokens":256,"stream":true,"messages":[{{"role":"user","content":"Hello"}}]}}'

Claude Code:

  export ANTHROPIC_BASE_URL={proxy}
  export ANTHROPIC_AUTH_TOKEN=demo

Clients of the chat completions API:

  export OPENAI_BASE_URL={proxy}/v1
  export OPENAI_API_KEY=demo

Users and limits. Requests without one of these tokens are charged to the user {GUEST}. The user {LIMITED_USER} has a limit of
{SMALL_LIMIT} tokens a day, of which {USED_OF_SMALL_LIMIT} are used: a few more requests reach it.

  ANA={ana}
  BEN={ben}
  ADMIN={admin}

  for i in 1 2 3 4 5 6; do {ben_request}; echo; done
  curl -s {proxy}/v1/me -H "x-api-key: $BEN"
  curl -s '{proxy}/admin/v1/usage?by=team,model&from={from}' -H "x-api-key: $ADMIN"

Reports, with a made-up week of two teams (in another terminal, while the demo runs):

  export DATA_DIR={directory} PORT={port} JWT_SECRET_KEY={key}
  {program} usage report --by team,model --from {from}
  {program} usage report --by day,user --from {from} --format csv
  {program} quota explain {LIMITED_USER}
  {program} token issue --user ana

Directives in a prompt that select the response:

  [tool Bash]   a call of the tool Bash, as Claude Code has it ([tool] calls the first tool of the request, which in Claude
                Code starts a sub-agent)
  [thinking]    thinking before the text
  [slow 20000]  20 s without events first: watch the pings
  [throttle]    a throttled account
  [cut]         a connection that breaks in the middle

  Clients repeat a request after [throttle] and [cut]; Claude Code does so for more than 100 s without any output.

Press Ctrl-C to stop.
"#,
            // Each request reserves these tokens, so that the limit denies one of the six.
            ben_request = curl("BEN", 300),
            directory = directory.display(),
            port = address.port(),
        )
    }
}

/// The path of this program as a shell finds it, relative to the working directory where it is below that.
fn program() -> String {
    let Ok(path) = std::env::current_exe() else { return "bedrock-proxy".to_owned() };
    let relative =
        std::env::current_dir().ok().and_then(|here| path.strip_prefix(here).ok().map(Path::to_owned));
    relative.unwrap_or(path).display().to_string()
}

/// The UTC day of an instant in milliseconds since the epoch, as 2026-11-22.
fn day(milliseconds: i64) -> String {
    let timestamp = jiff::Timestamp::from_millisecond(milliseconds).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    timestamp.to_string().chars().take(10).collect()
}
