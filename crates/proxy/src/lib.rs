//! Anthropic Messages API in, AWS Bedrock out.
//!
//! The rooms, in reading order: [`server`] (what surrounds a request), [`http`] (what the client sees), [`app`]
//! (what handlers share), [`callers`] (who may pass), [`auth`] (tokens), [`catalog`]
//! (names to models and prices), [`estimate`] (tokens of a prompt), [`bedrock`] (the only one that talks to AWS),
//! [`store`] (the only one with SQL); [`config`], [`cli`], [`demo`], [`explain`], [`connect`], [`doctor`], [`knock`] and
//! [`telemetry`] around them; [`certificate`], [`clock`], [`ids`], [`secret`], [`tasks`] and [`trace`] for all. The
//! translation itself is the package `bedrock-protocol`.
//!
//! Dependencies point one way: `main → cli → server → http → app → {catalog, bedrock}`.

pub mod admin;
pub mod app;
pub mod auth;
pub mod bedrock;
pub mod callers;
pub mod catalog;
pub mod certificate;
pub mod cli;
pub mod clock;
pub mod config;
pub mod connect;
pub mod demo;
pub mod doctor;
pub mod estimate;
pub mod explain;
pub mod http;
pub mod ids;
pub mod knock;
pub mod learned;
pub mod ledger;
pub mod metrics;
pub mod otel;
pub mod quota;
pub mod secret;
pub mod server;
pub mod store;
pub mod tasks;
pub mod telemetry;
pub mod trace;
