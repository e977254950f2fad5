//! How often one request may be sent to Bedrock. The rest of the retries belongs to the client.

use std::time::Duration;

use super::Failure;
use crate::ids::{self, RequestId};

const MOST_RETRIES: u32 = 2;
const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_secs(2);

/// The retries of one request. They are over when the client has been told anything.
#[derive(Debug, Default)]
pub struct Attempts {
    /// Which request they are of, for the log.
    request_id: Option<RequestId>,
    retries: u32,
    refreshed: bool,
    failures: Vec<&'static str>,
}

impl Attempts {
    /// The attempts of the request `id`.
    #[must_use]
    pub fn of(id: &RequestId) -> Self {
        Self { request_id: Some(id.clone()), ..Self::default() }
    }

    /// Says in the log how an attempt went that came to nothing, without AWS's words.
    pub(super) fn tell(&self, failure: &Failure) {
        let (status, code) = failure.brief();
        let request_id = self.request_id.as_ref().map(RequestId::as_str);
        tracing::debug!(request_id, status, code, "an attempt has failed");
    }

    /// How often the request was sent again.
    #[must_use]
    pub fn retries(&self) -> u32 {
        self.retries
    }

    /// Remembers why an attempt failed, in one word.
    pub fn failed(&mut self, outcome: &'static str) {
        self.failures.push(outcome);
    }

    /// Why attempts failed, in order.
    #[must_use]
    pub fn failures(&self) -> &[&'static str] {
        &self.failures
    }

    /// Waits for a random part of the current delay and says whether to try again; at once `false` when the
    /// attempts are used up.
    pub async fn again(&mut self) -> bool {
        if self.retries == MOST_RETRIES {
            return false;
        }
        let delay = (FIRST_DELAY * 2_u32.pow(self.retries)).min(LONGEST_DELAY);
        self.retries += 1;
        let delay = delay.mul_f64(ids::fraction());
        let request_id = self.request_id.as_ref().map(RequestId::as_str);
        let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        tracing::debug!(request_id, retry = self.retries, delay_ms, "Bedrock will be asked again");
        tokio::time::sleep(delay).await;
        true
    }

    /// Whether refused credentials may be replaced: once per request.
    pub(super) fn refresh(&mut self) -> bool {
        !std::mem::replace(&mut self.refreshed, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_request_is_sent_at_most_three_times_and_waits_at_most_three_tenths_of_a_second() {
        let start = tokio::time::Instant::now();
        let mut attempts = Attempts::default();
        assert!(attempts.again().await && attempts.again().await && !attempts.again().await);
        assert!(start.elapsed() <= Duration::from_millis(302));
        assert!(attempts.refresh() && !attempts.refresh());
    }
}
