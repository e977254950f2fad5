//! What this machine has to offer: the database, folders, the port.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use serde_json::Value;

use super::Check;
use crate::config::{Config, Place};
use crate::http_client;
use crate::store::Inspection;

/// Whether tokens are asked for. A weak key never comes this far.
pub(super) fn authentication(config: &Config) -> Check {
    const NAME: &str = "Authentication";
    let (auth, host) = (&config.auth, config.server.host);
    match (&auth.secret, auth.previous_secrets.len()) {
        (Some(_), 0) => Check::ok(NAME, "on: every request needs a token signed with JWT_SECRET_KEY"),
        (Some(_), more) => Check::ok(NAME, format!("on; tokens of {more} earlier keys are accepted, too")),
        (None, _) if host.is_loopback() => {
            Check::note(NAME, format!("off: everybody on this machine is served; only {host} is listened on"))
        }
        (None, _) => Check::note(
            NAME,
            format!("off, and {host} is open to others: whatever is in front has to decide who may pass"),
        ),
    }
}

/// The database, looked at without changing it.
pub(super) async fn database(config: &Config) -> Check {
    const NAME: &str = "Database";
    let survey = match Inspection::read(&config.database).await {
        Ok(survey) => survey,
        Err(error) => {
            let fix = match config.database.place {
                Place::File(_) => "Look at DATA_DIR and DATABASE_URL, and whose file it is.",
                Place::Url(_) | Place::Parts(_) => {
                    "Look at DATABASE_URL or DB_*: host, port, name, password, DB_SSLMODE; and whether the server runs."
                }
            };
            return Check::fail(NAME, error.to_string(), fix);
        }
    };
    let place = format!("{} {}", survey.kind, survey.location);
    match (survey.exists, survey.pending.len()) {
        (false, _) => Check::note(NAME, format!("{place} is not there yet: the first start makes it")),
        (true, 0) => Check::ok(NAME, format!("{place}, up to date")),
        (true, pending) => Check::note(
            NAME,
            format!(
                "{place}, {pending} migrations are pending: the next start applies them, or `bedrock-proxy migrate`"
            ),
        ),
    }
}

/// The folders that are written to.
pub(super) fn folders(config: &Config) -> Vec<Check> {
    let mut folders = vec![("Data folder", config.database.data_dir.as_path(), "DATA_DIR")];
    if let Place::File(file) = &config.database.place {
        let parent = file.parent().filter(|parent| *parent != config.database.data_dir);
        folders.extend(parent.map(|parent| ("Database folder", parent, "DATABASE_URL")));
    }
    let logs = config.log.file.as_deref().and_then(Path::parent);
    folders.extend(logs.map(|folder| ("Log folder", folder, "LOG_FILE_PATH")));
    folders.into_iter().map(|(name, folder, variable)| writable(name, folder, variable)).collect()
}

/// Whether files can be made in `folder`, or in what it would be made in.
fn writable(name: &str, folder: &Path, variable: &str) -> Check {
    let shown = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let mut there = shown;
    while !there.exists() {
        there = match there.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
    }
    let trial = there.join(format!(".bedrock-proxy-doctor-{}", std::process::id()));
    match std::fs::write(&trial, b"") {
        Ok(()) => {
            let _ = std::fs::remove_file(trial);
            let made = if there == shown { "" } else { " (it is made at the first start)" };
            Check::ok(name, format!("{} can be written to{made}", shown.display()))
        }
        Err(error) => Check::fail(
            name,
            format!("{} cannot be written to: {error}", there.display()),
            format!(
                "Name a folder of this process's own with {variable}, and give it to the user that runs the server."
            ),
        ),
    }
}

/// Whether the port can be listened on, or is used by a server of this kind already.
pub(super) async fn port(config: &Config) -> Check {
    const NAME: &str = "Port";
    let address = SocketAddr::new(config.server.host, config.server.port);
    match TcpListener::bind(address) {
        Ok(_) if address.port() == 0 => Check::note(NAME, "PORT=0: the system chooses one at each start"),
        Ok(_) => Check::ok(NAME, format!("{address} is free")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => used(address).await,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Check::fail(NAME, format!("{address}: {error}"), "Choose a port above 1023 with PORT.")
        }
        Err(error) => Check::fail(
            NAME,
            format!("{address}: {error}"),
            "Give HOST an address of this machine, or 0.0.0.0.",
        ),
    }
}

async fn used(address: SocketAddr) -> Check {
    const NAME: &str = "Port";
    let (address, shown) =
        (SocketAddr::new(http_client::loopback_for(address.ip()), address.port()), address);
    let mut answer = http_client::get_local(&format!("http://{address}/health")).await;
    if answer.is_err() {
        answer = http_client::get_local(&format!("https://{address}/health")).await;
    }
    let health: Option<Value> = answer.ok().and_then(|answer| serde_json::from_str(&answer.body).ok());
    let member = |name: &str| health.as_ref().and_then(|health| health[name].as_str());
    match (member("status"), member("version"), member("database")) {
        (Some(status), Some(version), Some(_)) => {
            Check::ok(NAME, format!("{shown} is a running server of this kind, version {version}: {status}"))
        }
        _ => Check::fail(
            NAME,
            format!("{shown} is used by another program"),
            "Stop it, or choose another port with PORT.",
        ),
    }
}
