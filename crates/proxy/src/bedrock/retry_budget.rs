//! The budget of retries that all requests share, so that retries do not triple the load of an upstream that throttles.
//!
//! As the standard retry mode of the AWS SDKs: <https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html>

use std::sync::atomic::{AtomicU32, Ordering};

/// Tokens of a full budget.
const CAPACITY: u32 = 500;
/// Tokens that a first attempt gives back when it succeeds.
const FIRST_ATTEMPT_REFUND: u32 = 1;

/// Token bucket for retries. It fills by successes, not by time: while nothing succeeds, nothing is repeated.
#[derive(Debug)]
pub(crate) struct RetryBudget(AtomicU32);

/// Tokens that one retry takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RetryCost {
    /// After an error that AWS responded with.
    ServiceError = 5,
    /// After a connection that failed.
    Connect = 10,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self(AtomicU32::new(CAPACITY))
    }
}

impl RetryBudget {
    /// Takes the tokens of one retry; `false` when there are too few.
    pub(super) fn try_take(&self, cost: RetryCost) -> bool {
        let take = |tokens: u32| tokens.checked_sub(cost as u32);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    /// Gives back what the last retry of a request that succeeded has taken; without a retry, one token.
    pub(super) fn refund(&self, last_retry: Option<RetryCost>) {
        let refund = last_retry.map_or(FIRST_ATTEMPT_REFUND, |cost| cost as u32);
        let add = |tokens: u32| (tokens < CAPACITY).then(|| (tokens + refund).min(CAPACITY));
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budget_is_spent_by_retries_and_filled_by_successes() {
        let budget = RetryBudget::default();
        let spend =
            || std::iter::repeat_with(|| budget.try_take(RetryCost::ServiceError)).take_while(|took| *took);
        assert_eq!(spend().count(), 100);
        assert!(!budget.try_take(RetryCost::Connect));
        (0..10).for_each(|_| budget.refund(None));
        assert_eq!(spend().count(), 2);
        budget.refund(Some(RetryCost::Connect));
        assert!(budget.try_take(RetryCost::Connect) && !budget.try_take(RetryCost::ServiceError));
        (0..1000).for_each(|_| budget.refund(None));
        assert_eq!(spend().count(), 100, "it does not grow beyond its capacity");
    }
}
