//! The configuration: the only room that reads the environment. Everything is parsed before anything starts, and
//! all problems are reported together.
//!
//! It is read by `main` and `cli` and handed out in parts; no other room asks for a variable by name.

mod auth;
mod bedrock;
mod callers;
mod database;
mod dotenv;
mod effective;
mod env;
mod load;
mod log;
mod models;
mod parse;
mod prices;
mod quota;
mod server;
mod telemetry;
mod unknown_variables;
mod usage;

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use http::Uri;
use serde::Deserialize;

pub use self::bedrock::Control;
pub use auth::Auth;
pub use callers::{Callers, parse_limit};
pub use database::{Database, Parts, Place};
pub use effective::{Origin, Setting, Settings};
pub use env::Problem;
use env::Reader;
pub use load::{Loaded, of_process};
pub use log::{Log, Retention};
pub use models::{Model, parse_models};
pub(crate) use parse::{PREFIXES, is_region};
pub use prices::{BARE, Factor, LongPrices, Price, Prices};
pub use quota::{Outage, Quota, Schedule};
pub use server::{Tls, TlsVersion};
pub use telemetry::{Collector, Metrics, Otel, Sampler};
pub use usage::Ledger;

use protocol::translate::{ServerTools, TranslationOptions};

use crate::secret::Secret;

/// Everything the server can be told.
#[derive(Clone, Debug)]
pub struct Config {
    /// The listener, its limits and its end.
    pub server: Server,
    /// Whose requests are served.
    pub auth: Auth,
    /// Callers that were never seen before.
    pub callers: Callers,
    /// How one request is served.
    pub relay: Relay,
    /// Model names.
    pub catalog: Catalog,
    /// The way to Bedrock.
    pub bedrock: Bedrock,
    /// Where users, quotas, usage and events are kept.
    pub database: Database,
    /// Limits.
    pub quota: Quota,
    /// Usage on its way to the database.
    pub ledger: Ledger,
    /// What Prometheus is told.
    pub metrics: Metrics,
    /// What a collector of OpenTelemetry is told.
    pub otel: Otel,
    /// Logging.
    pub log: Log,
    /// Things that are set but do nothing; said once at start.
    pub warnings: Vec<String>,
}

/// The listener, its limits and its end.
#[derive(Clone, Debug)]
pub struct Server {
    /// `HOST`: the address to listen on; loopback unless there is `JWT_SECRET_KEY` or `ALLOW_UNAUTHENTICATED=true`.
    pub host: IpAddr,
    /// `PORT`; 0 lets the system choose.
    pub port: u16,
    /// `MAX_CONNECTIONS`: further connections wait in the kernel's queue.
    pub max_connections: usize,
    /// `MAX_BODY_BYTES`: larger requests get 413.
    pub max_body_bytes: usize,
    /// `HEADER_TIMEOUT_SECONDS`: how long a new connection may take to bring its first request head.
    pub header_timeout: Duration,
    /// `BODY_TIMEOUT_SECONDS`: how long a client may take to send its body.
    pub body_timeout: Duration,
    /// `WRITE_TIMEOUT_SECONDS`: how long a client may take nothing of what is sent to it.
    pub write_timeout: Duration,
    /// `SHUTDOWN_GRACE_SECONDS`: how long streams may take to end after SIGTERM.
    pub shutdown_grace: Duration,
    /// `SHUTDOWN_DELAY_SECONDS`: how long requests are still taken after SIGTERM while `/readyz` says otherwise, so that
    /// load balancers look elsewhere first.
    pub shutdown_delay: Duration,
    /// `TLS_CERT_FILE` and companions.
    pub tls: Option<Tls>,
}

/// Which routes a request may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RoutePolicy {
    /// Converse, and InvokeModel for what Converse cannot carry to a Claude model.
    Auto,
    /// Converse only.
    Converse,
    /// InvokeModel for Claude models, Converse for the others.
    Invoke,
    /// Bedrock's own Messages API for Claude models, InvokeModel for those that are only known by an ARN, Converse for
    /// the others.
    Messages,
}

/// How one request is served.
#[derive(Clone, Debug)]
pub struct Relay {
    /// `AWS_BEDROCK_ROUTE`.
    pub route: RoutePolicy,
    /// What is decided about requests: `AWS_BEDROCK_MAX_TOKENS`, `AWS_BEDROCK_ENABLE_OUTPUT_REASON` with
    /// `AWS_BEDROCK_REASON_BUDGET_TOKENS`, `AWS_BEDROCK_ENABLE_COMPUTER_USE`, `AWS_BEDROCK_SERVER_TOOLS`.
    pub options: TranslationOptions,
    /// `AWS_BEDROCK_AUTO_CACHE`: whether cache points are set for clients of the chat-completions API, which set none.
    pub auto_cache: bool,
    /// `AWS_BEDROCK_XML_BUFFER`: whether text is cut only outside of XML-like tags.
    pub xml_buffer: bool,
    /// `REQUEST_TIMEOUT_SECONDS`: the whole of a request that does not stream.
    pub request_timeout: Duration,
    /// `STREAM_IDLE_TIMEOUT_SECONDS`: how long Bedrock may be silent.
    pub idle_timeout: Duration,
    /// `PING_INTERVAL_SECONDS`: how long the client may hear nothing.
    pub ping_interval: Duration,
    /// `ABANDONED_TIMEOUT_SECONDS`: how long an answer is read on whose client has left, to learn what it cost.
    pub abandoned_timeout: Duration,
    /// `ABANDONED_MAX`: how many such answers are read at a time; the cost of further ones is estimated.
    pub abandoned_most: usize,
    /// `FIRST_FRAME_GRACE_SECONDS`: how long the response head waits for Bedrock's first word.
    pub first_frame_grace: Duration,
}

/// Model names.
#[derive(Clone, Debug)]
pub struct Catalog {
    /// `AWS_BEDROCK_ANTHROPIC_DEFAULT_MODEL`: used when a request names no model.
    pub default_model: Option<String>,
    /// `AWS_BEDROCK_MODEL_MAPPINGS`: name the client uses → id or ARN sent to Bedrock.
    pub mappings: Vec<(String, String)>,
    /// `AWS_BEDROCK_REGION_PREFIX`, or what the region suggests; `None` for ids without a profile.
    pub prefix: Option<&'static str>,
    /// The rows of `AWS_BEDROCK_MODELS_FILE`, which go over the built-in ones.
    pub models: Vec<Model>,
}

/// The way to Bedrock.
#[derive(Clone, Debug)]
pub struct Bedrock {
    /// `AWS_BEDROCK_REGION`.
    pub region: String,
    /// `AWS_BEDROCK_ACCESS_KEY` and companions.
    pub keys: Option<Keys>,
    /// `AWS_BEARER_TOKEN_BEDROCK`: a Bedrock API key.
    pub bearer: Option<Secret>,
    /// `AWS_ENDPOINT_URL_BEDROCK_RUNTIME`, used as typed.
    pub endpoint: Option<Uri>,
    /// `AWS_USE_FIPS_ENDPOINT`.
    pub fips: bool,
    /// `AWS_USE_DUALSTACK_ENDPOINT`.
    pub dual_stack: bool,
    /// `AWS_CA_BUNDLE`: a PEM file that replaces the system's root certificates.
    pub ca_bundle: Option<PathBuf>,
    /// The control plane.
    pub control: Control,
    /// `AWS_ENDPOINT_URL_BEDROCK_MANTLE`, used as typed: where the models live that the runtime does not have.
    pub mantle: Option<Uri>,
    /// `AWS_ENDPOINT_URL_STS`, used as typed: where AWS says whose credentials these are.
    pub sts: Option<Uri>,
}

/// Long-lived AWS keys, given by name.
#[derive(Clone, Debug)]
pub struct Keys {
    /// `AWS_BEDROCK_ACCESS_KEY`.
    pub access_key: String,
    /// `AWS_BEDROCK_SECRET_KEY`.
    pub secret_key: Secret,
    /// `AWS_BEDROCK_SESSION_TOKEN`.
    pub session_token: Option<Secret>,
}

impl Config {
    /// Reads everything through `lookup`, which gives the value of a variable.
    ///
    /// # Errors
    /// All problems found, never only the first.
    pub fn load(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, Vec<Problem>> {
        Self::read(lookup).0
    }

    /// As [`Config::load`], with everything that was asked for.
    fn read(lookup: impl Fn(&str) -> Option<String>) -> (Result<Self, Vec<Problem>>, Settings) {
        let mut reader = Reader::new(lookup);
        let bedrock = bedrock(&mut reader);
        let auth = auth::auth(&mut reader);
        let quota = quota::quota(&mut reader);
        let mut config = Self {
            server: server(&mut reader, &auth),
            callers: callers::callers(&mut reader, quota.user_on_outage == Outage::Open),
            relay: relay(&mut reader),
            catalog: catalog(&mut reader, &bedrock.region),
            database: database::database(&mut reader),
            quota,
            ledger: usage::ledger(&mut reader),
            metrics: telemetry::metrics(&mut reader),
            otel: telemetry::otel(&mut reader),
            log: log::log(&mut reader),
            warnings: warnings(&mut reader, &bedrock, &auth),
            auth,
            bedrock,
        };
        config.log.secrets = reader.secrets();
        let (problems, settings) = reader.finish();
        (if problems.is_empty() { Ok(config) } else { Err(problems) }, Settings(settings))
    }
}

fn server(reader: &mut Reader<impl Fn(&str) -> Option<String>>, auth: &Auth) -> Server {
    Server {
        host: host(reader, auth),
        port: reader.number("PORT", 8081, 0..=u16::MAX),
        max_connections: reader.number("MAX_CONNECTIONS", 10_000, 1..=1_000_000),
        max_body_bytes: reader.number("MAX_BODY_BYTES", 32 << 20, 1024..=1 << 30),
        header_timeout: reader.seconds("HEADER_TIMEOUT_SECONDS", 10, 1..=300),
        body_timeout: reader.seconds("BODY_TIMEOUT_SECONDS", 60, 1..=3600),
        write_timeout: reader.seconds("WRITE_TIMEOUT_SECONDS", 120, 1..=3600),
        shutdown_grace: reader.seconds("SHUTDOWN_GRACE_SECONDS", 30, 0..=3600),
        shutdown_delay: reader.seconds("SHUTDOWN_DELAY_SECONDS", 0, 0..=600),
        tls: server::tls(reader),
    }
}

fn host(reader: &mut Reader<impl Fn(&str) -> Option<String>>, auth: &Auth) -> IpAddr {
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let open = auth.secret.is_some() || auth.allow_unauthenticated;
    reader.default("HOST", loopback);
    let Some(value) = reader.text("HOST") else {
        return loopback;
    };
    let address = if value == "localhost" { Ok(loopback) } else { value.parse() };
    match address {
        Ok(address) if address.is_loopback() || open => return address,
        Ok(_) => reader.problem(
            "HOST",
            Some(&value),
            "without authentication, whoever reaches this address spends your AWS money; set JWT_SECRET_KEY so that \
             tokens are asked for, or use 127.0.0.1, or set ALLOW_UNAUTHENTICATED=true if something in front of it \
             decides who may pass",
        ),
        Err(_) => reader.problem("HOST", Some(&value), "not an IP address; use 127.0.0.1, ::1 or 0.0.0.0"),
    }
    loopback
}

fn relay(reader: &mut Reader<impl Fn(&str) -> Option<String>>) -> Relay {
    Relay {
        route: route(reader),
        options: options(reader),
        auto_cache: reader.boolean("AWS_BEDROCK_AUTO_CACHE", true),
        xml_buffer: reader.boolean("AWS_BEDROCK_XML_BUFFER", true),
        request_timeout: reader.seconds("REQUEST_TIMEOUT_SECONDS", 300, 1..=86_400),
        idle_timeout: reader.seconds("STREAM_IDLE_TIMEOUT_SECONDS", 600, 1..=86_400),
        ping_interval: reader.seconds("PING_INTERVAL_SECONDS", 15, 1..=60),
        abandoned_timeout: reader.seconds("ABANDONED_TIMEOUT_SECONDS", 300, 1..=86_400),
        abandoned_most: reader.number("ABANDONED_MAX", 256, 0..=100_000),
        first_frame_grace: reader.seconds("FIRST_FRAME_GRACE_SECONDS", 10, 0..=60),
    }
}

fn options(reader: &mut Reader<impl Fn(&str) -> Option<String>>) -> TranslationOptions {
    const SERVER_TOOLS: &str = "AWS_BEDROCK_SERVER_TOOLS";
    let thinks = reader.boolean("AWS_BEDROCK_ENABLE_OUTPUT_REASON", false);
    let budget = reader.number("AWS_BEDROCK_REASON_BUDGET_TOKENS", 2048, 1024..=1_000_000);
    reader.default(SERVER_TOOLS, "leave_out");
    let server_tools = match reader.text(SERVER_TOOLS).as_deref() {
        None | Some("leave_out") => ServerTools::LeaveOut,
        Some("refuse") => ServerTools::Refuse,
        Some(other) => {
            reader.problem(SERVER_TOOLS, Some(other), "use leave_out or refuse");
            ServerTools::LeaveOut
        }
    };
    TranslationOptions {
        default_max_tokens: reader.number("AWS_BEDROCK_MAX_TOKENS", 8192, 1..=1_000_000),
        default_thinking_budget: thinks.then_some(budget),
        computer_use: reader.boolean("AWS_BEDROCK_ENABLE_COMPUTER_USE", false),
        server_tools,
        strict: reader.boolean("AWS_BEDROCK_STRICT", false),
    }
}

fn route(reader: &mut Reader<impl Fn(&str) -> Option<String>>) -> RoutePolicy {
    const NAME: &str = "AWS_BEDROCK_ROUTE";
    reader.default(NAME, "auto");
    match reader.text(NAME).as_deref() {
        None | Some("auto") => RoutePolicy::Auto,
        Some("converse") => RoutePolicy::Converse,
        Some("invoke") => RoutePolicy::Invoke,
        Some("messages") => RoutePolicy::Messages,
        Some(other) => {
            reader.problem(NAME, Some(other), "use auto, converse, invoke or messages");
            RoutePolicy::Auto
        }
    }
}

fn catalog(reader: &mut Reader<impl Fn(&str) -> Option<String>>, region: &str) -> Catalog {
    let default_model = reader.text("AWS_BEDROCK_ANTHROPIC_DEFAULT_MODEL");
    let mappings = match reader.text("AWS_BEDROCK_MODEL_MAPPINGS") {
        None => Vec::new(),
        Some(text) => parse::mappings(&text).unwrap_or_else(|reasons| {
            for reason in reasons {
                reader.problem("AWS_BEDROCK_MODEL_MAPPINGS", None, reason);
            }
            Vec::new()
        }),
    };
    let named = reader.first(&["AWS_BEDROCK_REGION_PREFIX", "ANTHROPIC_BEDROCK_REGION_PREFIX"]);
    let prefix = match named {
        None => {
            let prefix = parse::prefix_of_region(region);
            reader.default("AWS_BEDROCK_REGION_PREFIX", prefix);
            Some(prefix)
        }
        Some((name, value)) => parse::prefix(&value).unwrap_or_else(|reason| {
            reader.problem(name, Some(&value), reason);
            None
        }),
    };
    Catalog { default_model, mappings, prefix, models: models(reader) }
}

fn models(reader: &mut Reader<impl Fn(&str) -> Option<String>>) -> Vec<Model> {
    const NAME: &str = "AWS_BEDROCK_MODELS_FILE";
    let Some(path) = reader.text(NAME) else { return Vec::new() };
    let rows = std::fs::read_to_string(&path).map_err(|error| format!("cannot be read ({error})"));
    rows.and_then(|json| parse_models(&json)).unwrap_or_else(|reason| {
        reader.problem(NAME, Some(&path), format!("{reason}; name a JSON file of model rows"));
        Vec::new()
    })
}

fn bedrock(reader: &mut Reader<impl Fn(&str) -> Option<String>>) -> Bedrock {
    let named = reader.first(&["AWS_BEDROCK_REGION", "AWS_REGION", "AWS_DEFAULT_REGION"]);
    if named.is_none() {
        reader.default("AWS_BEDROCK_REGION", "us-east-1");
    }
    let (name, region) = named.unwrap_or(("AWS_BEDROCK_REGION", "us-east-1".to_owned()));
    if !is_region(&region) {
        reader.problem(name, Some(&region), "not an AWS region; use one such as us-east-1");
    }
    let endpoint = endpoint(reader);
    let fips = reader.boolean("AWS_USE_FIPS_ENDPOINT", false);
    let dual_stack = reader.boolean("AWS_USE_DUALSTACK_ENDPOINT", false);
    for (name, on) in [("AWS_USE_FIPS_ENDPOINT", fips), ("AWS_USE_DUALSTACK_ENDPOINT", dual_stack)] {
        if on && endpoint.is_some() {
            reader.problem(
                name,
                Some("true"),
                "cannot be combined with a custom endpoint; unset one of them",
            );
        }
    }
    Bedrock {
        keys: keys(reader),
        bearer: reader.secret("AWS_BEARER_TOKEN_BEDROCK"),
        ca_bundle: ca_bundle(reader),
        control: bedrock::control(reader, !fips && !dual_stack),
        mantle: bedrock::endpoint(reader, "AWS_ENDPOINT_URL_BEDROCK_MANTLE", !fips && !dual_stack),
        sts: bedrock::endpoint(reader, "AWS_ENDPOINT_URL_STS", !fips && !dual_stack),
        region,
        endpoint,
        fips,
        dual_stack,
    }
}

fn endpoint(reader: &mut Reader<impl Fn(&str) -> Option<String>>) -> Option<Uri> {
    let (name, value) = reader.first(&["AWS_ENDPOINT_URL_BEDROCK_RUNTIME", "AWS_ENDPOINT_URL"])?;
    parse::endpoint(&value).map_err(|reason| reader.problem(name, Some(&value), reason)).ok()
}

fn ca_bundle(reader: &mut Reader<impl Fn(&str) -> Option<String>>) -> Option<PathBuf> {
    let path = PathBuf::from(reader.text("AWS_CA_BUNDLE")?);
    if let Err(error) = std::fs::metadata(&path) {
        let value = path.display().to_string();
        reader.problem("AWS_CA_BUNDLE", Some(&value), format!("cannot be read ({error}); name a PEM file"));
    }
    Some(path)
}

fn keys(reader: &mut Reader<impl Fn(&str) -> Option<String>>) -> Option<Keys> {
    let access_key = reader.text("AWS_BEDROCK_ACCESS_KEY");
    let secret_key = reader.secret("AWS_BEDROCK_SECRET_KEY");
    let session_token = reader.secret("AWS_BEDROCK_SESSION_TOKEN");
    match (access_key, secret_key) {
        (Some(access_key), Some(secret_key)) => {
            return Some(Keys { access_key, secret_key, session_token });
        }
        (Some(_), None) => {
            reader.problem(
                "AWS_BEDROCK_SECRET_KEY",
                None,
                "missing; AWS_BEDROCK_ACCESS_KEY needs its secret key",
            );
        }
        (None, Some(_)) => {
            reader.problem(
                "AWS_BEDROCK_ACCESS_KEY",
                None,
                "missing; AWS_BEDROCK_SECRET_KEY needs its access key",
            );
        }
        (None, None) if session_token.is_some() => reader.problem(
            "AWS_BEDROCK_SESSION_TOKEN",
            None,
            "has no keys to go with; set AWS_BEDROCK_ACCESS_KEY and AWS_BEDROCK_SECRET_KEY too",
        ),
        (None, None) => {}
    }
    None
}

/// What is set but does nothing, or does harm, in one sentence each.
fn warnings(
    reader: &mut Reader<impl Fn(&str) -> Option<String>>,
    bedrock: &Bedrock,
    auth: &Auth,
) -> Vec<String> {
    let mut warnings = Vec::new();
    if reader.text("LOG_FILE_PATH").is_some() && reader.text("LOG_OUTPUT").as_deref() == Some("stdout") {
        warnings.push("LOG_FILE_PATH does nothing here: LOG_OUTPUT=stdout".to_owned());
    }
    if auth.secret.is_some() && auth.allow_unauthenticated {
        warnings.push(
            "ALLOW_UNAUTHENTICATED does nothing here: JWT_SECRET_KEY is set, so every request needs a token"
                .to_owned(),
        );
    }
    let endpoints = [&bedrock.endpoint, &bedrock.control.endpoint, &bedrock.mantle, &bedrock.sts];
    let mut endpoints = endpoints.into_iter().flatten();
    if endpoints.any(parse::is_plain_and_remote) {
        warnings.push(
            "the custom endpoint is not https: prompts and a bearer token travel in the clear".to_owned(),
        );
    }
    warnings
}

#[cfg(test)]
mod tests;
