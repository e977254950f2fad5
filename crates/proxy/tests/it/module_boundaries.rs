//! Dependencies between the rooms point one way.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Each room and what it may use; `clock`, `ids`, `secret` and `tasks` are for all, and so is `config`'s plain data.
const ROOMS: &[(&str, &[&str])] = &[
    ("admin", &["auth", "quota", "store"]),
    (
        "app",
        &[
            "admin",
            "auth",
            "bedrock",
            "catalog",
            "http_client",
            "inference",
            "quota",
            "store",
            "telemetry",
            "usage",
        ],
    ),
    ("auth", &["store"]),
    ("bedrock", &["http_client"]),
    ("catalog", &[]),
    ("estimate", &[]),
    (
        "api",
        &[
            "admin",
            "app",
            "auth",
            "bedrock",
            "catalog",
            "estimate",
            "inference",
            "quota",
            "store",
            "telemetry",
        ],
    ),
    ("server", &["api", "app", "bedrock"]),
    ("inference", &["catalog"]),
    ("usage", &["store", "telemetry"]),
    ("quota", &["store", "usage"]),
    ("store", &[]),
    ("telemetry", &["http_client"]),
    ("config", &[]),
    (
        "cli",
        &["admin", "auth", "catalog", "connect", "doctor", "http_client", "server", "store", "telemetry"],
    ),
    ("connect", &[]),
    ("doctor", &["api", "app", "bedrock", "catalog", "http_client", "store"]),
    ("http_client", &[]),
];
const FOR_ALL: [&str; 6] = ["certificate", "clock", "config", "ids", "secret", "tasks"];

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
    for room in ["auth", "catalog", "config", "cli", "connect", "doctor", "clock", "ids", "secret", "tasks"] {
        for file in files(room) {
            assert!(!std::fs::read_to_string(&file).unwrap().contains("StatusCode"), "{}", file.display());
        }
    }
}

#[test]
fn only_the_store_uses_sql() {
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
