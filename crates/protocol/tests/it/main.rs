//! The translation from outside: golden wire fixtures and properties.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod chat;
mod chat_paths;
mod converse_stream;
mod golden;
mod growth;
mod invoke_stream;
mod json_errors;
mod passthrough;
mod preserved_thinking;
mod properties;
mod wire;
mod wrong_types;
