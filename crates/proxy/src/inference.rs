//! The path of an inference request, between the client-facing API and Bedrock.

pub mod detach;
pub mod unsupported;
