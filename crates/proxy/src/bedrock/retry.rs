//! How often one request may be sent to Bedrock. The rest of the retries belongs to the client.

use std::time::Duration;

use crate::ids;

const MOST_RETRIES: u32 = 2;
const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_secs(2);

/// The retries of one request. They are over when the client has been told anything.
#[derive(Debug, Default)]
pub struct Attempts {
    retries: u32,
    refreshed: bool,
    failures: Vec<&'static str>,
}

impl Attempts {
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
        tokio::time::sleep(delay.mul_f64(ids::fraction())).await;
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
