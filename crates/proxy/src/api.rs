//! The HTTP API: routes, bodies, errors, and the only room that decides about status codes.
//!
//! Reading order: `messages` (the Messages API), `chat_completions` (OpenAI's API), `bedrock_runtime` (AWS's API), each of
//! which makes an `InferenceRequest` of its body; beside them `count_tokens`, `models`,
//! `inference_profiles`, `admin`, `me`, `health` and `aliases`. `extract` has the extractors, `layers` the layers, `error`
//! the errors, `response_headers` and `rate_limit_headers` the headers.

pub(crate) mod admin;
pub(crate) mod aliases;
pub(crate) mod bedrock_runtime;
pub(crate) mod chat_completions;
pub(crate) mod count_tokens;
pub(crate) mod error;
pub(crate) mod extract;
pub(crate) mod health;
pub(crate) mod index;
mod inference_profiles;
pub(crate) mod layers;
pub(crate) mod me;
pub(crate) mod messages;
pub(crate) mod models;
pub(crate) mod observed_body;
mod rate_limit_headers;
mod response_headers;
