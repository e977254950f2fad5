//! Anthropic Messages API in, AWS Bedrock out.
#![allow(missing_docs)]
pub mod clock;
pub mod config;
pub mod ids;
pub mod secret;
pub mod tasks;
