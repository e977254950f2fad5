//! Log of requests and responses, for assertions in tests.
//!
//! Bounded: the last 5000 requests and running totals of the usage. Nothing is printed.

use std::collections::VecDeque;
use std::ops::AddAssign;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use http::HeaderMap;

/// Maximum number of requests in the log, which bounds the memory of a long run.
const MAX_REQUESTS: usize = 5000;

/// Tokens as Bedrock bills them; `input_tokens` excludes cache reads and cache writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BilledUsage {
    /// Prompt tokens that were neither read from the cache nor written to it.
    pub input_tokens: u64,
    /// Tokens of the response.
    pub output_tokens: u64,
    /// Prompt tokens read from the cache.
    pub cache_read_tokens: u64,
    /// Prompt tokens written to the cache.
    pub cache_write_tokens: u64,
}

impl BilledUsage {
    /// Sum of all four counts, as in `totalTokens`.
    pub fn total(&self) -> u64 {
        self.input_tokens + self.output_tokens + self.cache_read_tokens + self.cache_write_tokens
    }
}

impl AddAssign for BilledUsage {
    fn add_assign(&mut self, other: Self) {
        self.input_tokens += other.input_tokens;
        self.output_tokens += other.output_tokens;
        self.cache_read_tokens += other.cache_read_tokens;
        self.cache_write_tokens += other.cache_write_tokens;
    }
}

/// A request and the outcome of its response.
#[derive(Clone, Debug)]
pub struct RecordedRequest {
    /// HTTP method.
    pub method: String,
    /// Path and query as received.
    pub path: String,
    /// Headers with names in lower case; the value of `authorization` is `[redacted]`.
    pub headers: Vec<(String, String)>,
    /// Body; empty when bodies are not recorded or the body was not read.
    pub body: Bytes,
    /// HTTP status of the response; 0 before the response, and when the connection was dropped.
    pub status: u16,
    /// Usage in the response; zero until it has been sent.
    pub usage: BilledUsage,
    /// Number of thinking blocks that the model ignored, because they are bound to another conversation.
    pub ignored_thinking: usize,
    /// Whether the complete response was sent; false when the client left a stream early.
    pub complete: bool,
}

/// Log of the last requests. All methods are thread-safe.
#[derive(Debug, Default)]
pub struct Log {
    state: Mutex<LogState>,
}

#[derive(Debug, Default)]
struct LogState {
    requests: VecDeque<RecordedRequest>,
    /// Number of requests evicted from the front.
    evicted: u64,
    totals: BilledUsage,
    /// Number of responses with a 4xx status.
    refused: u64,
}

impl Log {
    /// The last requests, oldest first.
    pub fn requests(&self) -> Vec<RecordedRequest> {
        self.with(|state| state.requests.iter().cloned().collect())
    }

    /// Total usage of all responses.
    pub fn totals(&self) -> BilledUsage {
        self.with(|state| state.totals)
    }

    /// Number of requests that were refused: responses with a 4xx status.
    pub fn refused(&self) -> u64 {
        self.with(|state| state.refused)
    }

    /// Adds a request and returns its number.
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
            usage: BilledUsage::default(),
            ignored_thinking: 0,
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
        self.with(|state| state.refused += u64::from((400..500).contains(&status)));
        self.update(number, |recorded| recorded.status = status);
    }

    pub(crate) fn add_usage(&self, number: u64, usage: BilledUsage) {
        self.with(|state| state.totals += usage);
        self.update(number, |recorded| recorded.usage = usage);
    }

    pub(crate) fn set_ignored_thinking(&self, number: u64, count: usize) {
        self.update(number, |recorded| recorded.ignored_thinking = count);
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
        // The log stays consistent after a panic in another thread, because every change is a single assignment.
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_log_evicts_requests_and_keeps_totals() {
        let log = Log::default();
        let headers = HeaderMap::new();
        let usage = BilledUsage { input_tokens: 1, ..BilledUsage::default() };
        for n in 0..MAX_REQUESTS as u64 + 5 {
            let number = log.begin("POST", &format!("/{n}"), &headers);
            log.add_usage(number, usage);
        }
        let requests = log.requests();
        assert_eq!(requests.len(), MAX_REQUESTS);
        assert_eq!(requests[0].path, "/5");
        assert_eq!(log.totals().input_tokens, MAX_REQUESTS as u64 + 5);
        log.set_status(0, 400);
        log.set_status(1, 200);
        assert_eq!(log.refused(), 1);
        log.set_complete(0);
        log.set_complete(MAX_REQUESTS as u64 + 4);
        assert!(log.requests().last().unwrap().complete);
    }

    #[test]
    fn authorization_header_is_redacted() {
        let log = Log::default();
        let mut headers = HeaderMap::new();
        headers.insert("authorization", "Bearer secret".parse().unwrap());
        log.begin("POST", "/", &headers);
        assert_eq!(log.requests()[0].headers[0].1, "[redacted]");
    }
}
