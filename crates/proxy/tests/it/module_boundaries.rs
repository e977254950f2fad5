//! Dependencies between rooms point one way, files form no circles, and names keep to the vocabulary.
//!
//! A room is a module at the root of a package: its file and everything in its folder.

mod source;

use std::collections::{BTreeMap, BTreeSet};

use source::{Source, Token, root, sources, sources_below, words};

/// Each room of the server, and the rooms that it may use beside those of [`FOR_ALL`].
const ROOMS: &[(&str, &[&str])] = &[
    ("main", &["cli"]),
    (
        "cli",
        &[
            "admin",
            "app",
            "auth",
            "catalog",
            "connect",
            "doctor",
            "http_client",
            "readiness",
            "server",
            "store",
            "telemetry",
            "usage",
        ],
    ),
    ("server", &["api", "app", "auth", "telemetry"]),
    (
        "doctor",
        &[
            "admin",
            "app",
            "auth",
            "bedrock",
            "catalog",
            "http_client",
            "inference",
            "readiness",
            "store",
            "telemetry",
        ],
    ),
    (
        "api",
        &[
            "admin",
            "app",
            "auth",
            "bedrock",
            "catalog",
            "connect",
            "inference",
            "quota",
            "readiness",
            "store",
            "telemetry",
        ],
    ),
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
            "readiness",
            "store",
            "telemetry",
            "usage",
        ],
    ),
    ("inference", &["auth", "bedrock", "catalog", "quota", "store", "telemetry", "usage"]),
    ("admin", &["auth", "quota", "store"]),
    ("readiness", &["bedrock", "quota", "store"]),
    ("auth", &["store", "telemetry"]),
    ("catalog", &["bedrock"]),
    ("quota", &["store", "telemetry", "usage"]),
    ("bedrock", &["http_client"]),
    ("usage", &["store", "telemetry"]),
    ("store", &[]),
    ("telemetry", &["http_client"]),
    ("connect", &[]),
    ("http_client", &[]),
];

/// Rooms that every other may use, in an order in which each uses only those before it.
const FOR_ALL: &[&str] = &[
    "error_text",
    "secret",
    "ids",
    "clock",
    "crypto",
    "certificate",
    "language",
    "config",
    "file_limit",
    "memory_limit",
    "body_memory",
    "tasks",
    "single_flight",
    "estimate",
];

/// Each room of the pure package, and the rooms that it may use.
const PROTOCOL: &[(&str, &[&str])] = &[
    ("json", &[]),
    ("json_edit", &["json"]),
    ("partial_json", &[]),
    ("capabilities", &[]),
    ("tag_buffer", &[]),
    ("apis", &["anthropic"]),
    ("request_body", &["json"]),
    ("json_error", &["json", "request_body"]),
    ("anthropic", &["json", "json_edit", "json_error", "partial_json", "request_body"]),
    ("openai", &["json", "json_error", "request_body"]),
    ("converse", &["json"]),
    (
        "translate",
        &[
            "anthropic",
            "apis",
            "capabilities",
            "converse",
            "json",
            "json_edit",
            "json_error",
            "openai",
            "partial_json",
            "tag_buffer",
        ],
    ),
];

/// Words that names and texts avoid: metaphors, verbs of speech for data, and subjects that are nobody.
const AVOIDED: &[&str] = &[
    "anybody",
    "answer",
    "answered",
    "answers",
    "ask",
    "asked",
    "asking",
    "asks",
    "breath",
    "crowd",
    "dialect",
    "dialects",
    "door",
    "doors",
    "everybody",
    "glance",
    "guess",
    "guessed",
    "hear",
    "heard",
    "hears",
    "hurried",
    "hurry",
    "inquiry",
    "knock",
    "lesson",
    "lessons",
    "mended",
    "nobody",
    "passage",
    "patience",
    "question",
    "questions",
    "said",
    "say",
    "saying",
    "says",
    "somebody",
    "stranger",
    "strangers",
    "tariff",
    "tell",
    "telling",
    "tells",
    "thoughtless",
    "told",
    "tongue",
    "tongues",
    "vain",
    "voyage",
    "whatever",
    "whoever",
];

/// A dependency of a room on another, and one file that has it.
type Uses = BTreeMap<(String, String), String>;

/// The room that a file belongs to.
fn room(source: &Source) -> &str {
    source.module.first().map_or("main", String::as_str)
}

/// Every use of one room by another.
fn uses(sources: &[Source]) -> Uses {
    let rooms: BTreeSet<_> = sources.iter().map(room).collect();
    let mut uses = Uses::new();
    for source in sources.iter().filter(|source| source.name != "lib.rs") {
        let mut used: BTreeSet<String> =
            source.paths().into_iter().filter_map(|path| path.into_iter().next()).collect();
        if source.name == "main.rs" {
            // The program names its own library.
            used.extend(source.tokens.windows(4).filter_map(|tokens| match (&tokens[0], &tokens[3]) {
                (Token::Identifier(package), Token::Identifier(room)) if package == "bedrock_proxy" => {
                    Some(room.clone())
                }
                _ => None,
            }));
        }
        for used in used.into_iter().filter(|used| rooms.contains(used.as_str()) && used != room(source)) {
            uses.insert((room(source).to_owned(), used), source.name.clone());
        }
    }
    uses
}

/// The circles in a graph: its strongly connected parts of more than one node.
fn circles<'a>(edges: impl Iterator<Item = (&'a str, &'a str)>) -> BTreeSet<Vec<String>> {
    let mut next = BTreeMap::<&str, BTreeSet<&str>>::new();
    for (from, to) in edges {
        next.entry(from).or_default().insert(to);
    }
    let reached = |start: &'a str| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![start]);
        while let Some(node) = open.pop() {
            let new = next.get(node).into_iter().flatten().filter(|to| seen.insert(**to));
            open.extend(new.copied().collect::<Vec<_>>());
        }
        seen
    };
    let reach: BTreeMap<_, _> = next.keys().map(|node| (*node, reached(node))).collect();
    let mut circles = BTreeSet::new();
    for (node, seen) in &reach {
        let back = |other: &&&str| reach.get(**other).is_some_and(|seen| seen.contains(node));
        let circle: Vec<_> = seen.iter().filter(back).map(|node| (*node).to_owned()).collect();
        if circle.len() > 1 {
            circles.insert(circle);
        }
    }
    circles
}

#[test]
fn rooms_use_only_the_rooms_below_them() {
    let sources = sources("proxy");
    let allowed: BTreeMap<_, _> = ROOMS.iter().copied().collect();
    let mut found = BTreeSet::new();
    for ((room, used), file) in uses(&sources) {
        let is_allowed = match FOR_ALL.iter().position(|name| *name == room) {
            Some(place) => FOR_ALL[..place].contains(&used.as_str()),
            None => {
                let allowed =
                    allowed.get(room.as_str()).unwrap_or_else(|| panic!("{file} is in no room of the list"));
                allowed.contains(&used.as_str()) || FOR_ALL.contains(&used.as_str())
            }
        };
        if !is_allowed {
            found.insert((room, used));
        }
    }
    assert!(found.is_empty(), "a room uses another that is not below it: {found:#?}");
}

#[test]
fn rooms_form_no_circles() {
    let allowed = ROOMS.iter().flat_map(|(room, used)| used.iter().map(move |used| (*room, *used)));
    assert_eq!(circles(allowed), BTreeSet::new(), "the list itself");
    let uses = uses(&sources("proxy"));
    let found = circles(uses.keys().map(|(room, used)| (room.as_str(), used.as_str())));
    assert!(found.is_empty(), "rooms that use each other: {found:#?}");
}

#[test]
fn protocol_rooms_use_only_the_rooms_below_them() {
    let allowed: BTreeMap<_, _> = PROTOCOL.iter().copied().collect();
    let mut found = BTreeSet::new();
    for ((room, used), file) in uses(&sources("protocol")) {
        let allowed =
            allowed.get(room.as_str()).unwrap_or_else(|| panic!("{file} is in no room of the list"));
        if !allowed.contains(&used.as_str()) {
            found.insert((room, used));
        }
    }
    assert!(found.is_empty(), "a room uses another that is not below it: {found:#?}");
}

#[test]
fn files_form_no_circles() {
    let mut all = Vec::new();
    for package in ["fake-bedrock", "protocol", "proxy"] {
        let sources = sources(package);
        let modules: BTreeSet<String> = sources.iter().map(|source| source.module.join("::")).collect();
        let mut edges = BTreeSet::new();
        for source in sources.iter().filter(|source| !source.is_test()) {
            let from = source.module.join("::");
            for path in source.paths_without_tests() {
                // The longest part of the path that is a module is the file it leads to.
                let to = (1..=path.len()).rev().map(|length| path[..length].join("::"));
                let Some(to) = to.into_iter().find(|to| modules.contains(to)) else { continue };
                // A file that uses what its parent holds makes no circle.
                let is_parent = from == to || from.starts_with(&format!("{to}::"));
                if !is_parent {
                    edges.insert((from.clone(), to));
                }
            }
        }
        let found = circles(edges.iter().map(|(from, to)| (from.as_str(), to.as_str())));
        all.extend(found.into_iter().map(|circle| (package, circle)));
    }
    assert!(all.is_empty(), "files that use each other: {all:#?}");
}

#[test]
fn packages_depend_on_their_own_kind_only() {
    let dependencies = |package: &str| {
        let manifest = root().join("crates").join(package).join("Cargo.toml");
        let manifest = std::fs::read_to_string(manifest).unwrap();
        let section = manifest.split("[dependencies]\n").nth(1).unwrap();
        let lines = section.lines().take_while(|line| !line.starts_with('['));
        lines.filter_map(|line| line.split(['.', ' ']).next()).map(str::to_owned).collect::<BTreeSet<_>>()
    };
    // The pure package has no I/O, and the fake shares no code with what is tested against it.
    for name in dependencies("protocol") {
        let pure = ["", "base64", "crc32fast", "memchr", "serde", "serde_json", "serde_path_to_error"];
        assert!(pure.contains(&name.as_str()), "protocol depends on {name}");
    }
    for name in dependencies("fake-bedrock") {
        assert!(
            !["bedrock-protocol", "bedrock-proxy"].contains(&name.as_str()),
            "fake-bedrock depends on {name}"
        );
    }
}

#[test]
fn only_the_api_decides_about_status_codes() {
    // `telemetry` records the status that was sent.
    no_file_names("StatusCode", &["api", "server", "telemetry"]);
}

#[test]
fn only_the_store_uses_sql() {
    // `config` parses URLs and words of libpq with sqlx's types; it has no connection.
    no_file_names("sqlx", &["store", "config"]);
}

/// Fails when a file outside `rooms` names `word`.
fn no_file_names(word: &str, rooms: &[&str]) {
    let token = Token::Identifier(word.to_owned());
    let sources = sources("proxy");
    let outside = sources.iter().filter(|source| !rooms.contains(&room(source)));
    let found: Vec<_> =
        outside.filter(|source| source.tokens.contains(&token)).map(|source| &source.name).collect();
    assert!(found.is_empty(), "`{word}` is named by {found:#?}");
}

#[test]
fn avoided_words_stay_out_of_names_and_texts() {
    let mut found = BTreeMap::<String, BTreeSet<String>>::new();
    for package in ["fake-bedrock", "protocol", "proxy"] {
        for source in sources(package) {
            let words = checked_words(package, &source).into_iter();
            let avoided: BTreeSet<_> = words.filter(|word| AVOIDED.contains(&word.as_str())).collect();
            if !avoided.is_empty() {
                found.insert(format!("{package}/src/{}", source.name), avoided);
            }
        }
    }
    assert!(found.is_empty(), "avoided words: {found:#?}");
}

#[test]
fn test_names_are_short_clauses() {
    let mut wrong = Vec::new();
    for source in sources_below(&root().join("crates/proxy/tests/it")) {
        for name in source.tests() {
            let first = name.split('_').next().unwrap();
            let is_clause = !["what", "who", "row", "nobody", "whoever", "whatever"].contains(&first);
            if !is_clause || name.split('_').count() > 8 {
                wrong.push(format!("{}: {name}", source.name));
            }
        }
    }
    assert!(wrong.is_empty(), "names of more than eight words, or of no clause: {wrong:#?}");
}

/// The words of names, and of texts that people see: those of logs, errors, and the help of the command line.
fn checked_words(package: &str, source: &Source) -> Vec<String> {
    let names = source.tokens.iter().filter_map(|token| match token {
        Token::Identifier(name) => Some(name),
        _ => None,
    });
    let is_help = package == "proxy" && room(source) == "cli";
    let tokens = source.without_tests();
    let texts = tokens.iter().enumerate().filter_map(|(at, token)| match token {
        Token::Literal(text) if !source.is_test() && !is_published(&tokens[..at]) => Some(text),
        Token::Doc(text) if is_help => Some(text),
        _ => None,
    });
    names.chain(texts).flat_map(|text| words(text)).collect()
}

/// Whether the token after `before` is the name of a member in a wire format: `rename = "…"`.
fn is_published(before: &[Token]) -> bool {
    before.ends_with(&[Token::Identifier("rename".to_owned()), Token::Other('=')])
}
