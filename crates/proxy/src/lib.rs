//! A server between clients of three APIs and AWS Bedrock: Anthropic's Messages API, OpenAI's chat completions API and
//! the Bedrock Runtime API.
//!
//! Each module here is a room: its file and its folder. The order below is the order to read them in.
//!
//! The path of a request:
//!
//! - `server`: listener, connections, TLS, drain, and the table of all routes
//! - `api`: HTTP handlers, layers, headers and errors; the only room that decides about status codes
//! - `auth`: authentication and authorization of callers
//! - `catalog`: model names, capabilities and prices
//! - `inference`: plan, admission, sending, decoding and settling of one inference request
//! - `quota`: admission within token limits
//! - `bedrock`: all communication with AWS
//! - `usage`: usage records and audit events on their way to the database, behind a WAL
//! - `store`: all SQL
//! - `telemetry`: the record of a request; log lines, metrics and spans
//!
//! Around it: `app` (what handlers share), `readiness`, `admin` (operations of operators), `cli`, `doctor`
//! (checks of an installation), `connect` (settings of clients), `http_client`.
//!
//! For all rooms: `config`, `estimate` (tokens of a prompt), `certificate`, `clock`, `crypto`, `ids`, `language` (Spanish
//! texts), `secret`, `tasks`.
//!
//! A room uses only those below it; a test, `tests/it/module_boundaries.rs`, has the table. The translation between wire
//! formats is the package `bedrock-protocol`. `docs/ARCHITECTURE.md` follows a request through the files.

// The rooms are private, and `missing_docs` checks public items only.
#![warn(clippy::missing_docs_in_private_items)]

mod admin;
mod api;
mod app;
mod auth;
mod bedrock;
mod body_memory;
mod catalog;
mod certificate;
pub mod cli;
mod clock;
mod config;
mod connect;
mod crypto;
mod doctor;
mod error_text;
mod estimate;
mod file_limit;
mod http_client;
mod ids;
mod inference;
mod language;
mod memory_limit;
mod quota;
mod readiness;
mod secret;
mod server;
mod single_flight;
mod store;
mod tasks;
mod telemetry;
mod usage;

/// What the integration tests and the benches use of the rooms. Every other item is private to the crate, so that the
/// compiler reports what is not used.
pub mod testing {
    pub use crate::app::App;
    pub use crate::clock::Clock;
    pub use crate::config::{Config, DatabaseConfig, DatabaseUrl, NewUserConfig};
    pub use crate::estimate::{Tokenizer, tokens as estimate_tokens};
    pub use crate::ids::{RequestId, event_id};
    pub use crate::language::spanish_error;
    pub use crate::server::{Drained, Server, Tls};
    pub use crate::store::{
        AuditEvent, CallerRows, CallerTotals, ClaimedUser, Dimensions, EVENT_KINDS, EventFilter, Page,
        RejectedUser, Rejections, Reservation, ReserveOutcome, Revoked, Store, StoreError, Team, Token,
        TokenLimit, UsageQuery, UsageRecord, UsageReport, UsageRow, UsageTotals, User,
    };
    pub use crate::tasks::Tasks;
    pub use crate::telemetry::metrics::{Metrics, Snapshot};
    pub use crate::telemetry::record::{
        Attempt, Charge, OverheadPhase, RequestHead, RequestRecord, UpstreamRecord,
    };
    pub use crate::telemetry::trace_context::TraceContext;
    pub use crate::telemetry::user_agent::UserAgent;
    pub use crate::telemetry::{LogLayer, LogWriter};
    pub use crate::usage::{SlotError, UsageRecorder};
}
