//! A server between clients of three APIs and AWS Bedrock: Anthropic's Messages API, OpenAI's chat completions API and
//! the Bedrock Runtime API.
//!
//! Each module here is a room: its file and its folder. The order below is the order to read them in.
//!
//! The path of a request:
//!
//! - [`server`]: listener, connections, TLS, drain, and the table of all routes
//! - [`api`]: HTTP handlers, layers, headers and errors; the only room that decides about status codes
//! - [`auth`]: authentication and authorization of callers
//! - [`catalog`]: model names, capabilities and prices
//! - [`inference`]: plan, admission, sending, decoding and settling of one inference request
//! - [`quota`]: admission within token limits
//! - [`bedrock`]: all communication with AWS
//! - [`usage`]: usage records and audit events on their way to the database, behind a WAL
//! - [`store`]: all SQL
//! - [`telemetry`]: the record of a request; log lines, metrics and spans
//!
//! Around it: [`app`] (what handlers share), [`readiness`], [`admin`] (operations of operators), [`cli`], [`doctor`]
//! (checks of an installation), [`connect`] (settings of clients), [`http_client`].
//!
//! For all rooms: [`config`], [`estimate`] (tokens of a prompt), [`certificate`], [`clock`], [`ids`], [`secret`], [`tasks`].
//!
//! A room uses only those below it; a test, `tests/it/module_boundaries.rs`, has the table. The translation between wire
//! formats is the package `bedrock-protocol`. `docs/ARCHITECTURE.md` follows a request through the files.

pub mod admin;
pub mod api;
pub mod app;
pub mod auth;
pub mod bedrock;
pub mod catalog;
pub mod certificate;
pub mod cli;
pub mod clock;
pub mod config;
pub mod connect;
pub mod doctor;
pub mod estimate;
pub mod http_client;
pub mod ids;
pub mod inference;
pub mod quota;
pub mod readiness;
pub mod secret;
pub mod server;
pub mod store;
pub mod tasks;
pub mod telemetry;
pub mod usage;
