//! What the client sees: routes, bodies, errors, and the only room that knows status codes.
//!
//! Reading order: `messages` (the life of a request), `call` (by which route), `opening` (until Bedrock's first word),
//! `live` (bytes from Bedrock into events), `relay` (events to a client that streams), `whole` (to one that does not),
//! `course` (how it went, for counting), `tongue` (in which language), `chat` (the door for OpenAI's);
//! beside them `caller` (who may pass), `models`, `count_tokens`, `aliases`, and `dialect` for clients that speak Bedrock;
//! `health` for load balancers, `probe` for the doctor.

pub mod access_log;
pub mod admin;
pub mod aliases;
mod aws;
pub mod body;
mod call;
pub mod caller;
pub mod chat;
pub mod context;
pub mod count_tokens;
mod course;
mod detail;
pub mod dialect;
pub mod error;
pub mod health;
pub mod host;
mod limits;
mod live;
pub mod me;
pub mod messages;
mod metering;
pub mod models;
mod notice;
mod opening;
mod passing;
pub mod probe;
mod query;
mod relay;
mod tongue;
mod traced;
mod whole;
