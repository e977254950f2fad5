//! The table of all environment variables: one row each. The reader takes defaults and ranges from it, `.env.example` and
//! the tables of `docs/operations.md` are generated from it, and tests check the Helm chart against it.
//!
//! A new variable is one row here and one line where `Config` reads it.

#![cfg_attr(not(test), expect(dead_code, reason = "the documentation is generated from some columns"))]

use std::collections::BTreeSet;

use Kind::{Boolean, Choice, Number, Secret, SecretWord, Text, Word};
use Section::{Authentication, Aws, Database, Limits, Logging, Models, Server, Telemetry};

/// One environment variable.
#[derive(Debug)]
pub(super) struct Setting {
    pub(super) section: Section,
    pub(super) name: &'static str,
    /// Its default as a value of the variable; empty: none.
    pub(super) default: &'static str,
    pub(super) kind: Kind,
    /// Its meaning, in Markdown.
    pub(super) doc: &'static str,
    /// An example value for a variable without a default.
    pub(super) example: &'static str,
    /// Variables of other programs that are used in its place if it is unset, the first first.
    pub(super) alternatives: &'static [&'static str],
}

/// What the value of a variable is. The texts describe its format in the documentation.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// Text that may contain blanks.
    Text(&'static str),
    /// Text without blanks.
    Word(&'static str),
    /// `true` or `false`.
    Boolean,
    /// A whole number from the first to the second, and its unit.
    Number(u64, u64, &'static str),
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Any characters, never printed. The variable with `_FILE` behind its name can have the path of a file instead.
    Secret(&'static str),
    /// As `Secret`, without blanks.
    SecretWord(&'static str),
}

/// A part of the documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    Server,
    Aws,
    Models,
    Database,
    Authentication,
    Limits,
    Logging,
    Telemetry,
}

impl Setting {
    /// Whether its value is never printed, and can be in a file.
    pub(super) const fn is_secret(&self) -> bool {
        matches!(self.kind, Secret(_) | SecretWord(_))
    }

    const fn example(mut self, example: &'static str) -> Self {
        self.example = example;
        self
    }

    const fn or(mut self, alternatives: &'static [&'static str]) -> Self {
        self.alternatives = alternatives;
        self
    }
}

/// A variable of earlier versions. It has no effect, which is reported if it is set.
#[derive(Debug)]
pub(super) struct RemovedVariable {
    pub(super) name: &'static str,
    /// What to do instead.
    pub(super) advice: &'static str,
    /// Whether the proxy does not start with it, because it may have denied something that is allowed without it.
    pub(super) is_error: bool,
}

/// The row of a variable; `None` for a name that is not in the table.
pub(super) fn setting(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name == name)
}

/// The names of all variables, with those that name the file of a secret.
pub(super) fn names() -> BTreeSet<String> {
    let files = SETTINGS.iter().filter(|setting| setting.is_secret());
    let files = files.map(|setting| format!("{}_FILE", setting.name));
    let alternatives = SETTINGS.iter().flat_map(|setting| setting.alternatives);
    let variables = SETTINGS.iter().map(|setting| &setting.name).chain(alternatives);
    variables.map(|name| (*name).to_owned()).chain(files).collect()
}

const fn row(
    section: Section,
    name: &'static str,
    default: &'static str,
    kind: Kind,
    doc: &'static str,
) -> Setting {
    Setting { section, name, default, kind, doc, example: "", alternatives: &[] }
}

const COMMON_ENDPOINT: &[&str] = &["AWS_ENDPOINT_URL"];

/// All variables, in the order of the documentation.
#[rustfmt::skip]
pub(super) const SETTINGS: &[Setting] = &[
    row(Server, "HOST", "127.0.0.1", Word("IP address"),
        "listen address; with the default, only this machine can connect. Any other address needs `JWT_SECRET_KEY` or `ALLOW_UNAUTHENTICATED`"),
    row(Server, "PORT", "8081", Number(0, 65_535, ""),
        "listen port; 0 takes any free port"),
    row(Server, "ALLOW_UNAUTHENTICATED", "false", Boolean,
        "allows an open address without authentication, for a proxy behind another one that authenticates"),
    row(Server, "ALLOWED_HOSTS", "", Text("host names, comma-separated, or `*`"),
        "names of the proxy in `Host` besides those of loopback; see [browsers](#browsers). Without effect with authentication"),
    row(Server, "CORS_ALLOWED_ORIGINS", "", Text("origins, comma-separated, or `*`"),
        "web pages that may call the proxy; see [browsers](#browsers). `*` needs `JWT_SECRET_KEY`"),
    row(Server, "MAX_BODY_BYTES", "33554432", Number(1024, 1 << 30, "bytes"),
        "max request body; a larger body gets a 413"),
    row(Server, "MAX_CONCURRENT_REQUESTS_PER_USER", "256", Number(1, 1_000_000, ""),
        "max open requests of one user on each replica; further requests get a 429. Does not apply without authentication"),
    row(Server, "REQUEST_TIMEOUT_SECONDS", "300", Number(1, 86_400, "seconds"),
        "max time of a request that does not stream"),
    row(Server, "STREAM_IDLE_TIMEOUT_SECONDS", "600", Number(1, 86_400, "seconds"),
        "max time without bytes from Bedrock in a stream"),
    row(Server, "SHUTDOWN_DELAY_SECONDS", "0", Number(0, 600, "seconds"),
        "time after SIGTERM in which the proxy still accepts requests while `/readyz` returns 503"),
    row(Server, "SHUTDOWN_GRACE_SECONDS", "30", Number(0, 3600, "seconds"),
        "max time for open streams to finish after SIGTERM"),
    row(Server, "TLS_CERT_FILE", "", Text("file"),
        "PEM: the certificate and its intermediate certificates; see [TLS](#tls)"),
    row(Server, "TLS_KEY_FILE", "", Text("file"),
        "PEM: the private key"),

    row(Aws, "AWS_BEDROCK_REGION", "us-east-1", Word(""),
        "the region; if unset, `AWS_REGION`, `AWS_DEFAULT_REGION`, then `region` of the selected profile (`AWS_PROFILE`) in `~/.aws/config`").or(&["AWS_REGION", "AWS_DEFAULT_REGION"]),
    row(Aws, "AWS_BEDROCK_ACCESS_KEY", "", Word(""),
        "static keys; set both or none").example("AKIAIOSFODNN7EXAMPLE"),
    row(Aws, "AWS_BEDROCK_SECRET_KEY", "", SecretWord("secret"),
        "the secret of the access key").example("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
    row(Aws, "AWS_BEDROCK_SESSION_TOKEN", "", SecretWord("secret"),
        "session token of temporary keys"),
    row(Aws, "AWS_BEARER_TOKEN_BEDROCK", "", SecretWord("secret"),
        "a Bedrock API key; used if there are no static keys"),
    row(Aws, "AWS_ENDPOINT_URL_BEDROCK_RUNTIME", "", Word("URL"),
        "a VPC endpoint or a test server for the Bedrock Runtime, used as typed").or(COMMON_ENDPOINT),
    row(Aws, "AWS_ENDPOINT_URL", "", Word("URL"),
        "the same for all AWS services that the proxy calls, unless they have a variable of their own"),
    row(Aws, "AWS_ENDPOINT_URL_BEDROCK", "", Word("URL"),
        "the same for the control plane, which lists models").or(COMMON_ENDPOINT),
    row(Aws, "AWS_ENDPOINT_URL_STS", "", Word("URL"),
        "the same for STS, which identifies the credentials at startup and for the doctor").or(COMMON_ENDPOINT),
    row(Aws, "AWS_USE_FIPS_ENDPOINT", "false", Boolean,
        "use the FIPS endpoints; not together with a custom endpoint"),
    row(Aws, "AWS_USE_DUALSTACK_ENDPOINT", "false", Boolean,
        "use the endpoints with IPv6; not together with a custom endpoint"),
    row(Aws, "AWS_CA_BUNDLE", "", Text("file"),
        "PEM certificates that replace the system's root certificates"),

    row(Models, "AWS_BEDROCK_ANTHROPIC_DEFAULT_MODEL", "", Word("id or name"),
        "model of requests that name no model").example("claude-sonnet-5"),
    row(Models, "AWS_BEDROCK_MODEL_MAPPINGS", "", Text("`name=id,…`"),
        "your model names; they win over the built-in names").example("gpt-4o=claude-sonnet-5,fast=anthropic.claude-haiku-4-5-20251001-v1:0"),
    row(Models, "AWS_BEDROCK_MODELS_FILE", "", Text("file"),
        "JSON rows that override the built-in table: names, capabilities, routes, prices"),
    row(Models, "AWS_BEDROCK_REGION_PREFIX", "", Word("`us`, `eu`, `apac`, `au`, `jp`, `ca`, `in`, `us-gov`, `global`, `none`"),
        "preferred inference profiles; unset: `ANTHROPIC_BEDROCK_REGION_PREFIX`, then by region").or(&["ANTHROPIC_BEDROCK_REGION_PREFIX"]),
    row(Models, "AWS_BEDROCK_DISCOVER_MODELS", "false", Boolean,
        "list the available models from AWS at startup and every hour"),
    row(Models, "AWS_BEDROCK_ROUTE", "auto", Choice(&["auto", "converse", "invoke", "messages"]),
        "choice of the upstream API; see [protocol.md](protocol.md#upstream-apis)"),
    row(Models, "AWS_BEDROCK_MAX_TOKENS", "8192", Number(1, 1_000_000, "tokens"),
        "`max_tokens` of requests without one"),
    row(Models, "AWS_BEDROCK_ENABLE_OUTPUT_REASON", "false", Boolean,
        "extended thinking for requests that do not set `thinking`"),
    row(Models, "AWS_BEDROCK_REASON_BUDGET_TOKENS", "2048", Number(1024, 1_000_000, "tokens"),
        "budget of the extended thinking that `AWS_BEDROCK_ENABLE_OUTPUT_REASON` adds"),
    row(Models, "AWS_BEDROCK_ENABLE_S3_LOCATIONS", "false", Boolean,
        "accept `s3Location` at the Bedrock API. Bedrock reads the objects with the proxy's credentials, so every user can read what the role can read"),
    row(Models, "AWS_BEDROCK_ENABLE_COMPUTER_USE", "false", Boolean,
        "allow `computer_*` tools"),
    row(Models, "AWS_BEDROCK_STRICT", "false", Boolean,
        "reject a request if a part that may change the response would be left out"),
    row(Models, "AWS_BEDROCK_AUTO_CACHE", "true", Boolean,
        "set cache points for chat-completions clients"),
    row(Models, "AWS_BEDROCK_XML_BUFFER", "true", Boolean,
        "never split an XML-like tag between two text deltas"),

    row(Database, "DATA_DIR", "./data", Text("folder"),
        "holds the SQLite file and the WAL; it must survive a restart"),
    row(Database, "DATABASE_URL", "", Secret("URL, secret"),
        "`postgres://user:password@host:5432/name` or `sqlite:/path/to/file`; or use the variables below; unset: a SQLite file in `DATA_DIR`"),
    row(Database, "DB_HOST", "localhost", Word(""),
        "name, address or socket folder of the server; any one of these variables selects PostgreSQL (13 or newer)"),
    row(Database, "DB_PORT", "5432", Number(1, 65_535, ""),
        "port of the server"),
    row(Database, "DB_NAME", "bedrock_proxy", Text(""),
        "name of the database"),
    row(Database, "DB_USER", "postgres", Text(""),
        "name of the user"),
    row(Database, "DB_PASSWORD", "", Secret("secret"),
        "password of the user"),
    row(Database, "DB_SSLMODE", "require", Choice(&["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]),
        "`require` does not verify the certificate"),
    row(Database, "DB_SSLROOTCERT", "", Text("file"),
        "CA certificate for the database's certificate"),
    row(Database, "DB_MAX_CONNS", "25", Number(2, 1000, ""),
        "max connections of one replica; a fifth is for reservations"),
    row(Database, "DB_MIN_CONNS", "5", Number(0, 1000, ""),
        "min open connections"),

    row(Authentication, "JWT_SECRET_KEY", "", Secret("secret, min 32 characters"),
        "signs and verifies tokens (HS256); unset: no authentication"),
    row(Authentication, "JWT_PREVIOUS_SECRET_KEYS", "", Secret("secrets, comma-separated"),
        "earlier keys; their tokens are still accepted"),
    row(Authentication, "JWT_ISSUER", "bedrock-proxy", Text(""),
        "required `iss` of tokens"),
    row(Authentication, "JWT_AUDIENCE", "bedrock-api", Text(""),
        "required `aud` of tokens; a list must contain it"),
    row(Authentication, "JWT_EXPIRY_HOURS", "24", Number(1, 87_600, "hours"),
        "lifetime of new tokens"),
    row(Authentication, "PROVISION_USERS", "true", Boolean,
        "add unknown users from a valid token"),
    row(Authentication, "AUTH_ON_OUTAGE", "last-known", Choice(&["last-known", "closed"]),
        "access while the database is unavailable: `last-known` uses the last decisions of this process, and its list of revoked tokens and disabled users; `closed` rejects every token with a 503; see [outages](#outages)"),
    row(Authentication, "DEFAULT_USER_DAILY_TOKENS", "1000000", Word("tokens, or `unlimited`"),
        "daily limit of new users, such as `500k` or `5M`"),
    row(Authentication, "DEFAULT_TEAM_DAILY_TOKENS", "unlimited", Word("tokens, or `unlimited`"),
        "daily limit of new teams"),

    row(Limits, "QUOTA_RESET_CRON", "0 0 * * *", Text("five cron fields"),
        "when daily limits reset"),
    row(Limits, "QUOTA_RESET_TIMEZONE", "UTC", Word("IANA name"),
        "time zone of the reset"),
    row(Limits, "QUOTA_CACHE_READ_PERCENT", "0", Number(0, 100, ""),
        "percentage of each cache-read token that counts towards a limit"),
    row(Limits, "QUOTA_USER_ON_OUTAGE", "open", Choice(&["open", "closed"]),
        "limits of users, teams and tokens while the database is unavailable: `open` admits requests and charges them later, `closed` denies them; see [outages](#outages)"),
    row(Limits, "USAGE_RETENTION_DAYS", "396", Number(1, 36_500, "days"),
        "retention of usage records; daily sums and the rows of an adopted database are kept"),
    row(Limits, "EVENTS_RETENTION_DAYS", "365", Number(1, 36_500, "days"),
        "retention of events"),

    row(Logging, "LOG_LEVEL", "info", Word("`debug`, `info`, `warn`, `error`, or levels by module"),
        "minimum level of log lines. `warn,bedrock_proxy=debug` sets it by module"),
    row(Logging, "LOG_FORMAT", "json", Choice(&["json", "text"]),
        "format of log lines"),
    row(Logging, "LOG_OUTPUT", "file", Choice(&["file", "stdout", "both"]),
        "destination of log lines; `stdout` in the container image"),
    row(Logging, "LOG_FILE_PATH", "./logs/bedrock-proxy.json", Text("file"),
        "one file for each day (UTC), `bedrock-proxy_YYYY-MM-DD.json` in the same folder; this name is a link to the newest file; see [logs](#logs)"),
    row(Logging, "LOG_RETENTION_DAYS", "30", Number(1, 36_500, "days"),
        "max age of log files"),
    row(Logging, "LOG_RETENTION_BYTES", "1073741824", Number(1 << 20, 1 << 50, "bytes"),
        "max size of all log files together"),
    row(Logging, "AWS_BEDROCK_DEBUG", "false", Boolean,
        "log details of every request (shapes, counts, decisions), never content"),

    row(Telemetry, "METRICS_USER_LABEL", "false", Boolean,
        "also label tokens and dollars by user; at most 200 users by name"),
    row(Telemetry, "OTEL_EXPORTER_OTLP_ENDPOINT", "", Word("URL"),
        "collector for traces and metrics; the proxy appends `/v1/traces` and `/v1/metrics`").example("http://localhost:4318"),
    row(Telemetry, "OTEL_EXPORTER_OTLP_HEADERS", "", Secret("`name=value,…`, secret"),
        "headers of each export, with percent escapes"),
    row(Telemetry, "OTEL_TRACES_EXPORTER", "otlp", Choice(&["otlp", "none"]),
        "`none` exports no traces"),
    row(Telemetry, "OTEL_METRICS_EXPORTER", "otlp", Choice(&["otlp", "none"]),
        "`none` exports no metrics"),
    row(Telemetry, "OTEL_TRACES_SAMPLER", "parentbased_always_on", Choice(&["parentbased_always_on", "parentbased_always_off", "parentbased_traceidratio", "always_on", "always_off", "traceidratio"]),
        "sampler of traces; `parentbased_` follows the decision of the parent span, and `OTEL_TRACES_SAMPLER_ARG` is the ratio of `traceidratio`, from 0 to 1"),
    row(Telemetry, "OTEL_SEMCONV_STABILITY_OPT_IN", "", Text("`gen_ai_latest_experimental`"),
        "use the newest names of the semantic conventions for generative AI"),
    row(Telemetry, "OTEL_SDK_DISABLED", "false", Boolean,
        "export nothing"),
];

const fn removed(name: &'static str, advice: &'static str) -> RemovedVariable {
    RemovedVariable { name, advice, is_error: false }
}

const fn rejected(name: &'static str, advice: &'static str) -> RemovedVariable {
    RemovedVariable { name, advice, is_error: true }
}

/// The variables of earlier versions.
pub(super) const REMOVED: &[RemovedVariable] = &[
    removed(
        "MAX_CONNECTIONS",
        "remove it; the limit is 10,000 connections, or what the limit of open files allows",
    ),
    removed("HEADER_TIMEOUT_SECONDS", "remove it; the timeout of a request head is 10 seconds"),
    removed("BODY_TIMEOUT_SECONDS", "remove it; the timeout of a request body is 60 seconds"),
    removed("WRITE_TIMEOUT_SECONDS", "remove it; the timeout of a client that reads nothing is 120 seconds"),
    removed(
        "PING_INTERVAL_SECONDS",
        "remove it; the ping interval is 15 seconds, so use idle timeouts above that",
    ),
    removed("FIRST_FRAME_GRACE_SECONDS", "remove it; the response head waits for at most 10 seconds"),
    removed("ABANDONED_TIMEOUT_SECONDS", "remove it; the timeout of a detached read is 300 seconds"),
    removed("ABANDONED_MAX", "remove it; the limit is 256 detached reads"),
    rejected(
        "TLS_MIN_VERSION",
        "remove it; TLS 1.2 and 1.3 are accepted. Only a TLS proxy in front can require 1.3",
    ),
    rejected(
        "AWS_ENDPOINT_URL_BEDROCK_MANTLE",
        "set AWS_ENDPOINT_URL, for all services without a variable of their own",
    ),
    removed(
        "AWS_BEDROCK_RESOLVE_PROFILES",
        "remove it; AWS_BEDROCK_MODEL_MAPPINGS spares a profile its look-up",
    ),
    removed("AWS_BEDROCK_SERVER_TOOLS", "set AWS_BEDROCK_STRICT=true to reject such tools, or remove it"),
    removed("JWT_LEEWAY_SECONDS", "remove it; the allowed clock difference is 60 seconds"),
    rejected("QUOTA_TEAM_ON_OUTAGE", "remove it; QUOTA_USER_ON_OUTAGE applies to all limits"),
    removed("QUOTA_LEASE_SECONDS", "remove it; reservations of a killed process expire after 60 seconds"),
    removed("LEDGER_QUEUE", "remove it; the limit is 1,000 requests that are open or not yet stored"),
    removed("RUST_LOG", "set LOG_LEVEL, which accepts levels by module, too"),
];
