//! What does not hold yet. Each list may only become shorter.

/// Rooms that use a room that is not below them.
pub(super) const ROOM_USES: &[(&str, &str)] = &[("doctor", "api")];

/// The same in the pure package.
pub(super) const PROTOCOL_USES: &[(&str, &str)] = &[("openai", "anthropic")];

/// Rooms that use each other.
pub(super) const CIRCLES_OF_ROOMS: &[&[&str]] = &[];

/// Files of the translation that use each other.
pub(super) const CIRCLES_OF_FILES: &[&[&str]] = &[
    &["translate::betas", "translate::to_converse", "translate::to_invoke"],
    &[
        "translate::chat::conversation",
        "translate::chat::request",
        "translate::chat::thinking",
        "translate::chat::tools",
    ],
];

/// Files outside `api` and `server` that name HTTP's status codes.
pub(super) const STATUS_CODES: &[&str] = &["bedrock.rs", "bedrock/passthrough.rs"];

/// Files outside `store` that name the SQL driver.
pub(super) const SQL: &[&str] = &[];

/// Files with avoided words, and how many.
pub(super) const AVOIDED_WORDS: &[(&str, usize)] = &[];
