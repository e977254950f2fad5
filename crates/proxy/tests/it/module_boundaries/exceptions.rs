//! What does not hold yet. Each list may only become shorter.

/// Rooms that use a room that is not below them.
pub(super) const ROOM_USES: &[(&str, &str)] = &[];

/// The same in the pure package.
pub(super) const PROTOCOL_USES: &[(&str, &str)] = &[];

/// Rooms that use each other.
pub(super) const CIRCLES_OF_ROOMS: &[&[&str]] = &[];

/// Files of the translation that use each other.
pub(super) const CIRCLES_OF_FILES: &[&[&str]] =
    &[&["translate::chat::conversation", "translate::chat::request", "translate::chat::tools"]];

/// Files outside `api`, `server` and `telemetry` that name HTTP's status codes.
pub(super) const STATUS_CODES: &[&str] = &[];

/// Files outside `store` that name the SQL driver.
pub(super) const SQL: &[&str] = &[];

/// Files with avoided words, and how many.
pub(super) const AVOIDED_WORDS: &[(&str, usize)] = &[
    ("fake-bedrock/src/anthropic.rs", 1),
    ("fake-bedrock/src/arguments.rs", 2),
    ("fake-bedrock/src/converse/request.rs", 1),
    ("fake-bedrock/src/directives/builder.rs", 3),
    ("fake-bedrock/src/directives/table.rs", 3),
    ("fake-bedrock/src/error.rs", 1),
    ("fake-bedrock/src/response_metadata.rs", 1),
    ("protocol/src/anthropic/accumulate.rs", 3),
    ("protocol/src/translate/chat/completion.rs", 6),
    ("protocol/src/translate/chat/conversation.rs", 2),
    ("protocol/src/translate/chat/request.rs", 4),
    ("protocol/src/translate/error.rs", 1),
    ("protocol/src/translate/error/known_errors.rs", 14),
    ("protocol/src/translate/error/message.rs", 1),
    ("protocol/src/translate/forward.rs", 1),
    ("protocol/src/translate/from_converse/response.rs", 3),
    ("protocol/src/translate/from_converse/stream.rs", 6),
    ("protocol/src/translate/missing_thinking.rs", 1),
    ("protocol/src/translate/thinking.rs", 7),
    ("protocol/src/translate/to_converse.rs", 2),
    ("protocol/src/translate/to_converse/builtin_tools.rs", 2),
    ("protocol/src/translate/to_converse/content.rs", 2),
    ("protocol/src/translate/to_converse/inference_config.rs", 2),
    ("protocol/src/translate/to_converse/tools.rs", 2),
    ("protocol/src/translate/to_invoke.rs", 2),
    ("protocol/src/translate/to_invoke/output_config.rs", 3),
    ("protocol/src/translate/to_invoke/tests.rs", 2),
    ("proxy/src/api/admin.rs", 28),
    ("proxy/src/config/auth.rs", 2),
    ("proxy/src/doctor.rs", 1),
];
