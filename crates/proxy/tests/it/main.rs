//! Wire tests: the gateway on a real socket in front of a fake Bedrock on another.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that panics has failed, as it should

mod admin_api;
mod aliases;
mod auth;
mod bedrock_api;
mod chat_completions;
mod cli_admin;
mod cli_commands;
mod cli_doctor;
mod cli_serve;
mod control_plane;
mod count_tokens;
mod dashboards;
mod docs;
mod endings;
mod errors;
mod faults;
mod fidelity;
mod hardening;
mod harness;
mod health;
mod http1;
mod http2;
mod limits;
mod logs;
mod messages;
mod messages_api_upstream;
mod metering;
mod metrics;
mod models;
mod module_boundaries;
mod non_claude_models;
mod otel;
mod packaging;
mod quota_under_load;
mod quotas;
mod request_ids;
mod request_validation;
mod secret_leaks;
mod shutdown;
mod store;
mod streaming;
mod tls;
mod upstream_apis;
mod usage_recorder;
