//! The retry policy of every request to AWS: what follows a failed attempt. Retries end with the first event of a
//! response; later ones are the client's.

use std::sync::Arc;
use std::time::Duration;

use protocol::apis::UpstreamApi;
use protocol::translate::{Retry, UnsupportedFeature, detect_unsupported};

use super::UpstreamError;
use super::retry_budget::{RetryBudget, RetryCost};
use crate::http_client::ConnectionReuse;
use crate::ids::{self, RequestId};

/// The AWS SDK's standard mode makes three attempts in all.
const MAX_RETRIES: u32 = 2;
/// A throttled request is worth a second try soon: AWS's buckets refill by the second.
const FIRST_DELAY: Duration = Duration::from_millis(100);
/// Clients give up on their own after some seconds without a response.
const MAX_DELAY: Duration = Duration::from_secs(2);
/// A longer `Retry-After` is passed on: clients wait by it themselves, and a request that waits in the
/// proxy keeps its reservation.
const MAX_RETRY_AFTER: Duration = Duration::from_millis(500);
/// How often one request may be changed and sent again. Each fallback needs a 400 that names something new for its
/// upstream API, or betas that are left out one at a time: structured output and strict tools alone may need two each.
const MAX_FALLBACKS: usize = 6;

/// Which errors may be retried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RetryPolicy {
    /// Throttles, unavailability, failed connections and rejected credentials.
    Standard,
    /// Failed connections and rejected credentials: clients of the Bedrock API retry the rest themselves.
    ConnectOnly,
}

/// What follows a failed attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Send the same request again, after this delay.
    Retry(Duration),
    /// Fetch new credentials, then send the same request again.
    RefreshCredentials,
    /// Change the request so that it goes without this, then send it.
    Fallback(UnsupportedFeature),
    /// Return the error.
    GiveUp,
}

/// The attempts of one request.
#[derive(Debug)]
pub(crate) struct Attempts {
    policy: RetryPolicy,
    /// For the log.
    request_id: Option<RequestId>,
    budget: Arc<RetryBudget>,
    retries: u32,
    last_cost: Option<RetryCost>,
    reuse: ConnectionReuse,
    has_refreshed: bool,
    fallbacks: Vec<(UpstreamApi, UnsupportedFeature)>,
}

impl Attempts {
    /// No attempt yet. Retries are paid from `budget`.
    #[must_use]
    pub(super) fn new(
        policy: RetryPolicy,
        request_id: Option<&RequestId>,
        budget: &Arc<RetryBudget>,
    ) -> Self {
        Self {
            policy,
            request_id: request_id.cloned(),
            budget: Arc::clone(budget),
            retries: 0,
            last_cost: None,
            reuse: ConnectionReuse::Allowed,
            has_refreshed: false,
            fallbacks: Vec::new(),
        }
    }

    /// The connection that the next attempt may use.
    #[must_use]
    pub(crate) fn connection_reuse(&self) -> ConnectionReuse {
        self.reuse
    }

    /// An attempt got its response: its retry is given back to the budget.
    pub(crate) fn succeeded(&self) {
        self.budget.refund(self.last_cost);
    }

    /// Decides what follows `error` of a request by the rules of `api`; without rules there is no fallback. `client_body` is the body as the client sent it: names in
    /// AWS's text are only believed when they stand in it.
    pub(crate) fn next(
        &mut self,
        error: &UpstreamError,
        can_refresh: bool,
        api: Option<UpstreamApi>,
        client_body: &[u8],
    ) -> Next {
        let request_id = self.request_id.clone();
        let request_id = request_id.as_ref().map(RequestId::as_str);
        let (status, code) = error.summary();
        tracing::debug!(request_id, status, code, "attempt failed");
        if error.is_credentials_rejected() && can_refresh && !self.has_refreshed {
            self.has_refreshed = true;
            tracing::warn!(request_id, %error, "AWS rejected the credentials; fetching new ones");
            return Next::RefreshCredentials;
        }
        if let Some(feature) = self.fallback(error, api, client_body) {
            return Next::Fallback(feature);
        }
        if error.is_idle_connection_closed() && self.reuse == ConnectionReuse::Allowed {
            self.reuse = ConnectionReuse::Forbidden;
            tracing::debug!(request_id, "the idle connection was closed; request is sent on a new one");
            return Next::Retry(Duration::ZERO);
        }
        let is_retryable = match self.policy {
            RetryPolicy::Standard => error.is_retryable(),
            RetryPolicy::ConnectOnly => error.is_connect_error(),
        };
        let min_delay = error.retry_after().unwrap_or_default();
        if !is_retryable || self.retries == MAX_RETRIES || min_delay > MAX_RETRY_AFTER {
            return Next::GiveUp;
        }
        let cost = if error.is_connect_error() { RetryCost::Connect } else { RetryCost::ServiceError };
        if !self.budget.try_take(cost) {
            tracing::debug!(request_id, "request is not sent again: too many requests fail");
            return Next::GiveUp;
        }
        self.last_cost = Some(cost);
        // Full jitter: https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/
        let delay = (FIRST_DELAY * 2_u32.pow(self.retries)).min(MAX_DELAY).mul_f64(ids::fraction());
        let delay = delay.max(min_delay);
        self.retries += 1;
        let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        tracing::debug!(request_id, retry = self.retries, delay_ms, "request is sent again after a delay");
        Next::Retry(delay)
    }

    /// What a 400 names that the request can go without; each thing once by each upstream API, except betas, of which
    /// the message names none.
    fn fallback(
        &mut self,
        error: &UpstreamError,
        api: Option<UpstreamApi>,
        client_body: &[u8],
    ) -> Option<UnsupportedFeature> {
        let (mapped, api) = (error.service()?, api?);
        if !error.may_name_unsupported_feature() {
            return None;
        }
        let body = std::str::from_utf8(client_body).unwrap_or_default();
        let feature = detect_unsupported(&mapped.aws_message, body)?;
        let fallback = (api, feature.clone());
        let is_repeated = fallback.1 != UnsupportedFeature::AllBetas && self.fallbacks.contains(&fallback);
        if self.fallbacks.len() == MAX_FALLBACKS || is_repeated {
            return None;
        }
        self.fallbacks.push(fallback);
        Some(feature)
    }
}

impl UpstreamError {
    /// Whether the same request may succeed a moment later.
    fn is_retryable(&self) -> bool {
        match self {
            Self::Service(error) => error.mapped.retry == Retry::AfterPause,
            Self::Dispatch { .. } => self.is_connect_error(),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bedrock::error::ConnectStage;

    fn unreachable() -> UpstreamError {
        UpstreamError::Dispatch { host: "h".to_owned(), cause: "c".to_owned(), stage: ConnectStage::Connect }
    }

    fn closed() -> UpstreamError {
        UpstreamError::Dispatch {
            host: "h".to_owned(),
            cause: "c".to_owned(),
            stage: ConnectStage::IdleClosed,
        }
    }

    fn attempts(policy: RetryPolicy) -> Attempts {
        Attempts::new(policy, None, &Arc::default())
    }

    #[test]
    fn requests_are_sent_three_times_within_three_tenths_of_a_second() {
        let mut attempts = attempts(RetryPolicy::Standard);
        let mut waited = Duration::ZERO;
        for _ in 0..MAX_RETRIES {
            let Next::Retry(delay) = attempts.next(&unreachable(), true, None, b"") else {
                panic!("no retry")
            };
            waited += delay;
        }
        assert_eq!(attempts.next(&unreachable(), true, None, b""), Next::GiveUp);
        assert!(waited <= Duration::from_millis(300), "{waited:?}");
    }

    #[test]
    fn closed_idle_connection_is_replaced_once() {
        for policy in [RetryPolicy::Standard, RetryPolicy::ConnectOnly] {
            let mut attempts = attempts(policy);
            assert_eq!(attempts.connection_reuse(), ConnectionReuse::Allowed);
            assert_eq!(attempts.next(&closed(), true, None, b""), Next::Retry(Duration::ZERO));
            assert_eq!(attempts.connection_reuse(), ConnectionReuse::Forbidden);
            assert_eq!(attempts.next(&closed(), true, None, b""), Next::GiveUp);
        }
    }

    #[test]
    fn exhausted_budget_ends_retries() {
        let budget = Arc::default();
        let attempts = || Attempts::new(RetryPolicy::Standard, None, &budget);
        let retries = std::iter::repeat_with(|| attempts().next(&unreachable(), true, None, b""));
        assert_eq!(retries.take(200).filter(|next| *next != Next::GiveUp).count(), 50);
        (0..10).for_each(|_| attempts().succeeded());
        assert!(matches!(attempts().next(&unreachable(), true, None, b""), Next::Retry(_)));
        assert_eq!(attempts().next(&unreachable(), true, None, b""), Next::GiveUp);
    }
}
