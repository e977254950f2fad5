//! Anthropic Messages API in, AWS Bedrock out.
//!
//! The rooms, in reading order: [`server`] (what surrounds a request), [`api`] (what the client sees), [`app`]
//! (what handlers share), [`auth`] (authentication), [`catalog`] (names to models and prices), [`estimate`] (tokens of a
//! prompt), [`inference`] (the path of a request), [`bedrock`] (the only one that talks to AWS), [`store`] (the only one
//! with SQL), [`usage`] (usage records on their way to the store); [`config`], [`cli`], [`connect`], [`doctor`],
//! [`http_client`] and [`telemetry`] around them; [`certificate`], [`clock`], [`ids`], [`secret`] and [`tasks`] for all.
//! The translation itself is the package `bedrock-protocol`.

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
