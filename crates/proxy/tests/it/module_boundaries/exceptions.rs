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
