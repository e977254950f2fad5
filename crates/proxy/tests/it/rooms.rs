//! Dependencies between the rooms point one way.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Each room and what it may use; `clock`, `ids`, `secret`, `tasks` and `trace` are for all, and so is `config`'s plain data.
const ROOMS: &[(&str, &[&str])] = &[
    ("admin", &["auth", "quota", "store"]),
    (
        "app",
        &[
            "admin", "auth", "bedrock", "callers", "catalog", "learned", "ledger", "metrics", "otel",
            "quota", "store",
        ],
    ),
    ("auth", &[]),
    ("callers", &["auth", "store"]),
    ("bedrock", &[]),
    ("catalog", &[]),
    ("estimate", &[]),
    (
        "http",
        &[
            "admin", "app", "auth", "bedrock", "callers", "catalog", "estimate", "learned", "metrics",
            "otel", "quota", "store",
        ],
    ),
    ("server", &["app", "bedrock", "http"]),
    ("learned", &["catalog"]),
    ("ledger", &["metrics", "store"]),
    ("metrics", &["telemetry"]),
    ("otel", &["bedrock"]),
    ("quota", &["ledger", "store"]),
    ("store", &[]),
    ("telemetry", &[]),
    ("config", &[]),
    ("demo", &["cli", "server", "telemetry"]),
    (
        "cli",
        &[
            "admin",
            "auth",
            "catalog",
            "connect",
            "demo",
            "doctor",
            "explain",
            "knock",
            "server",
            "store",
            "telemetry",
        ],
    ),
    ("connect", &[]),
    ("doctor", &["app", "bedrock", "catalog", "http", "knock", "store"]),
    ("explain", &[]),
    ("knock", &[]),
];
const FOR_ALL: [&str; 7] = ["certificate", "clock", "config", "ids", "secret", "tasks", "trace"];

#[test]
fn a_room_uses_only_the_rooms_below_it() {
    for (room, allowed) in ROOMS.iter().copied() {
        for file in files(room) {
            let text = std::fs::read_to_string(&file).unwrap();
            for used in used(&text) {
                let fine =
                    used == room || allowed.contains(&used.as_str()) || FOR_ALL.contains(&used.as_str());
                assert!(fine, "{} uses crate::{used}", file.display());
            }
        }
    }
}

#[test]
fn only_http_and_its_server_decide_about_status_codes() {
    for room in [
        "auth",
        "callers",
        "catalog",
        "config",
        "cli",
        "connect",
        "doctor",
        "demo",
        "telemetry",
        "clock",
        "ids",
        "secret",
        "tasks",
    ] {
        for file in files(room) {
            assert!(!std::fs::read_to_string(&file).unwrap().contains("StatusCode"), "{}", file.display());
        }
    }
}

#[test]
fn only_the_store_speaks_sql() {
    // `config` reads URLs and words of libpq with sqlx's types; it has no connection to send anything on.
    for (room, _) in ROOMS.iter().filter(|(room, _)| !["store", "config"].contains(room)) {
        for file in files(room) {
            assert!(!std::fs::read_to_string(&file).unwrap().contains("sqlx"), "{}", file.display());
        }
    }
}

/// `room.rs` and everything in `room/`.
fn files(room: &str) -> Vec<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let inside = std::fs::read_dir(source.join(room)).into_iter().flatten();
    let mut files: Vec<_> = inside.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect();
    files.push(source.join(format!("{room}.rs")));
    files
}

/// The rooms named after `crate::`, singly or in braces.
fn used(text: &str) -> BTreeSet<String> {
    let name = |text: &str| text.trim().chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
    let mut rooms = BTreeSet::new();
    for after in text.split("crate::").skip(1) {
        match after.strip_prefix('{') {
            Some(list) => rooms.extend(list.split('}').next().unwrap().split(',').map(name)),
            None => {
                rooms.insert(name(after));
            }
        }
    }
    rooms.retain(|room: &String| !room.is_empty());
    rooms
}
