//! Faults of AWS and of the sources of its credentials.

use std::net::TcpListener;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;

use super::installation::{Installation, Setup};
use super::table::{ALL_PHASES, BOTH, Fault, nothing};
use crate::harness::SECRET;
use crate::harness::credential_service::{
    Behavior, CredentialService, SESSION_TOKEN, Source, remove_sso_token, write_sso_token,
};

/// The script that provides credentials, in the home of the process.
const SOURCE: &str = "source";
/// Life of the credentials: they end while a fault lasts.
const LIFE: &str = "3 seconds";
const SHORT: Behavior = Behavior::Valid(Duration::from_secs(3));

type Done<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// A fault of the source of credentials: requests are served by the old ones, then rejected within the time limit of one
/// look-up.
const BASE: Fault = Fault {
    name: "",
    databases: BOTH,
    phases: ALL_PHASES,
    prepare: |setup| credentials(setup, LIFE),
    inject: nothing,
    heal: |installation| set_source(installation, &provide(LIFE)),
    statuses: &[200, 502],
    max_seconds: 13,
    readiness: Some("[-]credentials failed"),
    check: nothing,
    needs_root: false,
};

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        name: "source of credentials fails",
        inject: |installation| set_source(installation, "exit 1"),
        ..BASE
    },
    Fault {
        name: "source of credentials hangs",
        inject: |installation| set_source(installation, "exec sleep 600"),
        ..BASE
    },
    Fault {
        name: "source of credentials returns expired ones",
        inject: |installation| set_source(installation, &provide("-1 hour")),
        ..BASE
    },
    Fault {
        name: "AWS rejects the credentials",
        // Longer than the case: the keys end at AWS, not by the clock.
        prepare: |setup| credentials(setup, "1 hour"),
        inject: |installation| set_key_deleted(installation, true),
        heal: |installation| set_key_deleted(installation, false),
        // The API of Bedrock has another status for faults of the proxy.
        statuses: &[502, 500],
        readiness: Some("[-]credentials failed: AWS rejects them"),
        ..BASE
    },
    Fault {
        name: "instance metadata service fails",
        prepare: |setup| source(setup, Source::Instance),
        inject: |installation| set_service(installation, &Behavior::Status(500)),
        heal: |installation| set_service(installation, &SHORT),
        ..BASE
    },
    Fault {
        name: "STS is silent for a web identity",
        prepare: |setup| source(setup, Source::WebIdentity),
        inject: |installation| set_service(installation, &Behavior::Silent),
        heal: |installation| set_service(installation, &SHORT),
        ..BASE
    },
    Fault {
        name: "container endpoint returns expired keys",
        prepare: |setup| source(setup, Source::Container),
        inject: |installation| set_service(installation, &Behavior::Expired),
        heal: |installation| set_service(installation, &SHORT),
        ..BASE
    },
    Fault {
        name: "SSO session has no token",
        prepare: |setup| source(setup, Source::SsoSession),
        inject: |installation| {
            remove_sso_token(installation.home.path());
            nothing(installation)
        },
        heal: |installation| {
            write_sso_token(installation.home.path(), "valid", Duration::from_secs(36_000));
            nothing(installation)
        },
        ..BASE
    },
    Fault {
        name: "STS and the control plane are silent",
        prepare: silent_lookups,
        heal: nothing,
        statuses: &[200],
        max_seconds: 5,
        readiness: None,
        ..BASE
    },
];

/// The script that provides keys which end in `life`.
fn provide(life: &str) -> String {
    let keys = json!({
        "Version": 1, "AccessKeyId": "AKIDEXAMPLE", "SecretAccessKey": SECRET, "Expiration": "END",
    });
    format!("echo '{keys}' | sed s/END/$(date -u -d '{life}' +%Y-%m-%dT%H:%M:%SZ)/")
}

fn set_source<'a>(installation: &'a mut Installation, script: &str) -> Done<'a> {
    write_source(installation.home.path(), script);
    Box::pin(async {})
}

/// Replaces the script at once: a process may be reading it.
fn write_source(home: &Path, script: &str) {
    std::fs::write(home.join("new-source"), format!("{script}\n")).unwrap();
    std::fs::rename(home.join("new-source"), home.join(SOURCE)).unwrap();
}

fn set_key_deleted(installation: &mut Installation, is_deleted: bool) -> Done<'_> {
    installation.key_deleted.store(is_deleted, Ordering::Relaxed);
    Box::pin(async {})
}

/// Credentials from a script, which end after `life`.
fn credentials(setup: &mut Setup<'_>, life: &str) {
    write_source(setup.home, &provide(life));
    let config = setup.home.join("aws-config");
    let command = format!("/bin/sh {}", setup.home.join(SOURCE).display());
    std::fs::write(&config, format!("[default]\ncredential_process = {command}\n")).unwrap();
    for name in ["AWS_BEDROCK_ACCESS_KEY", "AWS_BEDROCK_SECRET_KEY"] {
        setup.set(name, "");
    }
    setup.set("AWS_CONFIG_FILE", config.display().to_string());
    setup.set("AWS_EC2_METADATA_DISABLED", "true");
    setup.set("PATH", "/usr/bin:/bin");
    setup.set("HOME", setup.home.display().to_string());
}

/// Credentials of a service, which end soon.
fn source(setup: &mut Setup<'_>, source: Source) {
    let service = CredentialService::start(setup.home);
    service.set(&SHORT);
    for name in ["AWS_BEDROCK_ACCESS_KEY", "AWS_BEDROCK_SECRET_KEY"] {
        setup.set(name, "");
    }
    for (name, value) in source.prepare(setup.home, &service) {
        setup.set(name, value);
    }
    setup.fake.session_token = Some(SESSION_TOKEN.to_owned());
}

fn set_service<'a>(installation: &'a mut Installation, behavior: &Behavior) -> Done<'a> {
    CredentialService::set_in(installation.home.path(), behavior);
    Box::pin(async {})
}

fn silent_lookups(setup: &mut Setup<'_>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    for name in ["AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL_BEDROCK"] {
        setup.set(name, url.as_str());
    }
    setup.set("AWS_BEDROCK_DISCOVER_MODELS", "true");
    setup.keep.push(Box::new(listener));
}
