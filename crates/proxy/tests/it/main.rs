//! Wire tests: the gateway on a real socket in front of a fake Bedrock on another.

mod errors;
mod lifecycle;
mod limits;
mod messages;
mod streams;
mod world;
