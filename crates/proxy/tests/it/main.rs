//! Wire tests: the gateway on a real socket in front of a fake Bedrock on another.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that panics has failed, as it should

mod admin;
mod aliases;
mod bodies;
mod canary;
mod chat;
mod collected;
mod commands;
mod control;
mod counting;
mod credentials;
mod dialect;
mod doctor;
mod errors;
mod families;
mod faults;
mod fidelity;
mod framing;
mod hardening;
mod health;
mod http2;
mod identity;
mod invariant;
mod ledger;
mod lifecycle;
mod limits;
mod listing;
mod logs;
mod messages;
mod metering;
mod native;
mod operator;
mod packaging;
mod process;
mod program;
mod quotas;
mod raw;
mod rooms;
mod routes;
mod scraped;
mod store;
mod streams;
mod tokens;
mod watching;
mod world;
