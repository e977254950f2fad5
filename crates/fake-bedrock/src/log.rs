//! What has been asked and what has been answered, for tests to look at.
//!
//! Bounded: the last five thousand requests and running totals of the usage. Not a trace; nothing is printed.

use std::collections::VecDeque;
use std::ops::AddAssign;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use http::HeaderMap;

/// How many requests are kept.
const MAX_REQUESTS: usize = 5000;

/// Tokens as Bedrock bills them; `input_tokens` excludes both cache figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the prompt that were neither read from the cache nor written to it.
    pub input_tokens: u64,
    /// Tokens of the answer.
    pub output_tokens: u64,
    /// Tokens of the prompt read from the cache.
    pub cache_read_tokens: u64,
    /// Tokens of the prompt written to the cache.
    pub cache_write_tokens: u64,
}

impl Usage {
    /// All four figures together, as in `totalTokens`.
    pub fn total(&self) -> u64 {
        self.input_tokens + self.output_tokens + self.cache_read_tokens + self.cache_write_tokens
    }
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.input_tokens += other.input_tokens;
        self.output_tokens += other.output_tokens;
        self.cache_read_tokens += other.cache_read_tokens;
        self.cache_write_tokens += other.cache_write_tokens;
    }
}

/// One request as it arrived, and what became of it.
#[derive(Clone, Debug)]
pub struct RecordedRequest {
    /// The HTTP method.
    pub method: String,
    /// The path and query exactly as they stood on the wire.
    pub path: String,
    /// Header names in lower case with their values; `authorization` is redacted.
    pub headers: Vec<(String, String)>,
    /// The body's bytes; empty when bodies are not recorded or the body was never read.
    pub body: Bytes,
    /// The HTTP status answered; 0 while there is none, and when the connection was dropped instead.
    pub status: u16,
    /// The usage that was handed to the caller; zero when the answer carried none (yet).
    pub usage: Usage,
    /// Whether the answer was handed over to its end; false when the caller left a stream early.
    pub complete: bool,
}

/// The record of the last requests. Shared; every method may be called at any time.
#[derive(Debug, Default)]
pub struct Log {
    state: Mutex<LogState>,
}

#[derive(Debug, Default)]
struct LogState {
    requests: VecDeque<RecordedRequest>,
    /// How many requests have been dropped from the front.
    evicted: u64,
    totals: Usage,
}

impl Log {
    /// The last requests, oldest first.
    pub fn requests(&self) -> Vec<RecordedRequest> {
        self.with(|state| state.requests.iter().cloned().collect())
    }

    /// Everything answered so far, added up.
    pub fn totals(&self) -> Usage {
        self.with(|state| state.totals)
    }

    /// Starts a record and tells its number.
    pub(crate) fn begin(&self, method: &str, path: &str, headers: &HeaderMap) -> u64 {
        let headers = headers
            .iter()
            .map(|(name, value)| {
                let value = match name.as_str() {
                    "authorization" => "[redacted]".to_owned(),
                    _ => String::from_utf8_lossy(value.as_bytes()).into_owned(),
                };
                (name.as_str().to_owned(), value)
            })
            .collect();
        let recorded = RecordedRequest {
            method: method.to_owned(),
            path: path.to_owned(),
            headers,
            body: Bytes::new(),
            status: 0,
            usage: Usage::default(),
            complete: false,
        };
        self.with(|state| {
            if state.requests.len() == MAX_REQUESTS {
                state.requests.pop_front();
                state.evicted += 1;
            }
            state.requests.push_back(recorded);
            state.evicted + state.requests.len() as u64 - 1
        })
    }

    pub(crate) fn set_body(&self, number: u64, body: &Bytes) {
        self.update(number, |recorded| recorded.body = body.clone());
    }

    pub(crate) fn set_status(&self, number: u64, status: u16) {
        self.update(number, |recorded| recorded.status = status);
    }

    pub(crate) fn add_usage(&self, number: u64, usage: Usage) {
        self.with(|state| state.totals += usage);
        self.update(number, |recorded| recorded.usage = usage);
    }

    pub(crate) fn set_complete(&self, number: u64) {
        self.update(number, |recorded| recorded.complete = true);
    }

    fn update(&self, number: u64, change: impl FnOnce(&mut RecordedRequest)) {
        self.with(|state| {
            let position = number.checked_sub(state.evicted).and_then(|n| usize::try_from(n).ok());
            if let Some(recorded) = position.and_then(|n| state.requests.get_mut(n)) {
                change(recorded);
            }
        });
    }

    fn with<T>(&self, work: impl FnOnce(&mut LogState) -> T) -> T {
        // A panic elsewhere leaves the record usable: every change is a single assignment.
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_forgets_the_oldest_and_keeps_the_totals() {
        let log = Log::default();
        let headers = HeaderMap::new();
        let usage = Usage { input_tokens: 1, ..Usage::default() };
        for n in 0..MAX_REQUESTS as u64 + 5 {
            let number = log.begin("POST", &format!("/{n}"), &headers);
            log.add_usage(number, usage);
        }
        let requests = log.requests();
        assert_eq!(requests.len(), MAX_REQUESTS);
        assert_eq!(requests[0].path, "/5");
        assert_eq!(log.totals().input_tokens, MAX_REQUESTS as u64 + 5);
        log.set_complete(0);
        log.set_complete(MAX_REQUESTS as u64 + 4);
        assert!(log.requests().last().unwrap().complete);
    }

    #[test]
    fn the_authorization_header_is_redacted() {
        let log = Log::default();
        let mut headers = HeaderMap::new();
        headers.insert("authorization", "Bearer secret".parse().unwrap());
        log.begin("POST", "/", &headers);
        assert_eq!(log.requests()[0].headers[0].1, "[redacted]");
    }
}
