//! Host checks: authentication, database, directories, port, OpenTelemetry collectors.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use serde_json::Value;

use super::Finding;
use crate::config::{CollectorConfig, Config, DatabaseUrl};
use crate::file_limit;
use crate::http_client;
use crate::store::Inspection;
use crate::telemetry::otel;

/// Size of the file that checks a directory: an empty one fits on a full disk.
const PROBE_BYTES: usize = 64 << 10;

/// Whether requests need a token. `config` already rejects weak keys.
pub(super) fn authentication(config: &Config) -> Finding {
    const NAME: &str = "Authentication";
    let (auth, host) = (&config.auth, config.server.host);
    match (&auth.secret, auth.previous_secrets.len()) {
        (Some(_), 0) => Finding::ok(NAME, "on: every request needs a token signed with JWT_SECRET_KEY"),
        (Some(_), previous) => {
            Finding::ok(NAME, format!("on; tokens of {previous} previous keys are accepted too"))
        }
        (None, _) if host.is_loopback() => Finding::note(
            NAME,
            format!("off: every program on this machine is served; the server listens on {host} only"),
        ),
        (None, _) => Finding::note(
            NAME,
            format!(
                "off, and {host} is reachable by others: a proxy in front of it must authenticate clients"
            ),
        ),
    }
}

/// The database, inspected without changes.
pub(super) async fn database(config: &Config) -> Finding {
    const NAME: &str = "Database";
    let inspection = match Inspection::read(&config.database).await {
        Ok(inspection) => inspection,
        Err(error) => {
            let fix = match config.database.url {
                DatabaseUrl::Sqlite(_) => "Check DATA_DIR, DATABASE_URL and the owner of the file.",
                DatabaseUrl::Postgres(_) | DatabaseUrl::PostgresParts(_) => {
                    "Check DATABASE_URL or DB_*: host, port, name, password, DB_SSLMODE; and that the server runs."
                }
            };
            return Finding::fail(NAME, error.to_string(), fix);
        }
    };
    let location = format!("{} {}", inspection.kind, inspection.location);
    match (inspection.exists, inspection.pending.len()) {
        (false, _) => {
            Finding::note(NAME, format!("{location} does not exist yet: the first start creates it"))
        }
        (true, 0) => Finding::ok(NAME, format!("{location}, up to date")),
        (true, pending) => Finding::note(
            NAME,
            format!(
                "{location}, {pending} migrations are pending: the next start applies them, or `bedrock-proxy migrate`"
            ),
        ),
    }
}

/// The directories that the server writes to.
pub(super) fn directories(config: &Config) -> Vec<Finding> {
    let mut directories = vec![("Data directory", config.database.data_dir.as_path(), "DATA_DIR")];
    if let DatabaseUrl::Sqlite(file) = &config.database.url {
        let parent = file.parent().filter(|parent| *parent != config.database.data_dir);
        directories.extend(parent.map(|parent| ("Database directory", parent, "DATABASE_URL")));
    }
    let logs = config.log.file.as_deref().and_then(Path::parent);
    directories.extend(logs.map(|directory| ("Log directory", directory, "LOG_FILE_PATH")));
    directories.into_iter().map(|(name, directory, variable)| writable(name, directory, variable)).collect()
}

/// Whether files can be created in `directory`, or in the parent in which it would be created.
fn writable(name: &str, directory: &Path, variable: &str) -> Finding {
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    let mut existing = directory;
    while !existing.exists() {
        existing = match existing.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
    }
    let probe = existing.join(format!(".bedrock-proxy-doctor-{}", std::process::id()));
    let written = std::fs::write(&probe, [0; PROBE_BYTES]);
    let _ = std::fs::remove_file(probe);
    match written {
        Ok(()) => {
            let note = if existing == directory { "" } else { " (the first start creates it)" };
            Finding::ok(name, format!("{} is writable{note}", directory.display()))
        }
        Err(error) if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
            let detail = format!("{} cannot be written to: {error}", existing.display());
            Finding::fail(name, detail, format!("Free disk space, or set {variable} to a larger disk."))
        }
        Err(error) => Finding::fail(
            name,
            format!("{} is not writable: {error}", existing.display()),
            format!("Set {variable} to a directory that the user of the server owns."),
        ),
    }
}

/// Whether the limit of open files allows the configured number of connections.
pub(super) fn open_files(config: &Config) -> Finding {
    const NAME: &str = "Open files";
    let wanted = config.server.max_connections;
    let allowed = file_limit::max_connections_after_raise(wanted);
    if allowed == wanted {
        return Finding::ok(NAME, format!("the limit allows {wanted} connections"));
    }
    let needed = file_limit::files_for(wanted);
    Finding::note(
        NAME,
        format!(
            "the limit allows {allowed} of {wanted} connections; further connections wait. Set LimitNOFILE={needed} in the \
             unit, or `ulimit -Hn {needed}`"
        ),
    )
}

/// Whether the port is free, or used by a running bedrock-proxy.
pub(super) async fn port(config: &Config) -> Finding {
    const NAME: &str = "Port";
    let address = SocketAddr::new(config.server.host, config.server.port);
    match TcpListener::bind(address) {
        Ok(_) if address.port() == 0 => {
            Finding::note(NAME, "PORT=0: the system chooses a port at each start")
        }
        Ok(_) => Finding::ok(NAME, format!("{address} is free")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => port_in_use(address).await,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Finding::fail(NAME, format!("{address}: {error}"), "Choose a port above 1023 with PORT.")
        }
        Err(error) => Finding::fail(
            NAME,
            format!("{address}: {error}"),
            "Give HOST an address of this machine, or 0.0.0.0.",
        ),
    }
}

async fn port_in_use(address: SocketAddr) -> Finding {
    const NAME: &str = "Port";
    let local = SocketAddr::new(http_client::loopback_for(address.ip()), address.port());
    let mut response = http_client::get_local(&format!("http://{local}/health")).await;
    if response.is_err() {
        response = http_client::get_local(&format!("https://{local}/health")).await;
    }
    let health: Option<Value> = response.ok().and_then(|response| serde_json::from_str(&response.body).ok());
    let member = |name: &str| health.as_ref().and_then(|health| health[name].as_str());
    match (member("status"), member("version"), member("database")) {
        (Some(status), Some(version), Some(database)) => {
            let detail = format!("{address} is a running bedrock-proxy, version {version}: {status}");
            if status == "healthy" {
                return Finding::ok(NAME, detail);
            }
            Finding::fail(
                NAME,
                format!("{detail}, database {database}"),
                "GET /readyz?verbose lists the failed checks; the server's log has the reason.",
            )
        }
        _ => Finding::fail(
            NAME,
            format!("{address} is used by another program"),
            "Stop it, or choose another port with PORT.",
        ),
    }
}

/// The collectors of spans and metrics: each gets an empty export.
pub(super) async fn collectors(config: &Config) -> Vec<Finding> {
    let signals = [("Traces", &config.otel.traces), ("Metrics", &config.otel.metrics)];
    let mut findings = Vec::new();
    for (name, collector) in signals {
        if let Some(collector) = collector {
            findings.push(self::collector(name, collector, config.bedrock.ca_bundle.as_deref()).await);
        }
    }
    findings
}

async fn collector(name: &str, collector: &CollectorConfig, ca_bundle: Option<&Path>) -> Finding {
    // The query of a URL can hold a key.
    let host = collector.url.authority().map_or("", |authority| authority.as_str());
    let path = collector.url.path();
    match otel::send_empty_export(collector, ca_bundle).await {
        Ok(200..=299) => Finding::ok(name, format!("the collector at {host} accepts an export")),
        Ok(status @ (401 | 403)) => Finding::fail(
            name,
            format!("the collector at {host} rejects an export: status {status}"),
            "Set its credentials with OTEL_EXPORTER_OTLP_HEADERS=authorization=….",
        ),
        Ok(status) => Finding::fail(
            name,
            format!("{host}{path} returns status {status} for an export"),
            "Check the path of OTEL_EXPORTER_OTLP_ENDPOINT; /v1/traces and /v1/metrics are appended to it.",
        ),
        Err(_) => Finding::fail(
            name,
            format!("no response from the collector at {host}"),
            "Check OTEL_EXPORTER_OTLP_ENDPOINT (OTLP over HTTP, usually port 4318), and that the collector runs.",
        ),
    }
}
