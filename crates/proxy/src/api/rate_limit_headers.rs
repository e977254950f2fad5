//! Rate-limit headers: the used part of a limit in a response, and the limit that denied a request.
//!
//! Claude Code turns these headers into its own notices. A denied request has no `representative-claim` and no
//! `overage-status` on purpose: with them it would print a line of its own instead of ours.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use jiff::{SignedDuration, Timestamp};
use protocol::anthropic::ErrorType;

use super::error::ApiError;
use crate::inference::InferenceError;
use crate::quota::{AdmitError, LimitStatus, Period};

const STATUS: HeaderName = HeaderName::from_static("anthropic-ratelimit-unified-status");
const RESET: HeaderName = HeaderName::from_static("anthropic-ratelimit-unified-reset");
const CLAIM: HeaderName = HeaderName::from_static("anthropic-ratelimit-unified-representative-claim");
const OVERAGE_STATUS: HeaderName = HeaderName::from_static("anthropic-ratelimit-unified-overage-status");
const OVERAGE_RESET: HeaderName = HeaderName::from_static("anthropic-ratelimit-unified-overage-reset");
const UTILIZATION: HeaderName = HeaderName::from_static("anthropic-ratelimit-unified-overage-utilization");
const SURPASSED: HeaderName =
    HeaderName::from_static("anthropic-ratelimit-unified-overage-surpassed-threshold");
const PERIOD: HeaderName = HeaderName::from_static("anthropic-ratelimit-unified-overage-period");
const DISABLED: HeaderName = HeaderName::from_static("anthropic-ratelimit-unified-overage-disabled-reason");

/// Past this many hundredths of a limit the client shows a notice. Our own choice: early enough to plan, and once more
/// before the end.
const WARNINGS: [(i64, &str); 2] = [(95, "0.95"), (75, "0.75")];
/// Seconds after which open requests may have released what they reserve: a short response takes about as long.
const RETRY_AFTER_RESERVATION: u16 = 10;

/// Adds how much of the most used limit is gone.
pub(super) fn add(limit: &LimitStatus, period: Period, headers: &mut HeaderMap) {
    let percent = limit.percent().clamp(0, 99);
    let surpassed = WARNINGS.iter().find(|(threshold, _)| percent >= *threshold);
    let status = if surpassed.is_some() { "allowed_warning" } else { "allowed" };
    headers.insert(STATUS, HeaderValue::from_static(status));
    headers.insert(OVERAGE_STATUS, HeaderValue::from_static(status));
    headers.insert(CLAIM, HeaderValue::from_static("overage"));
    if let Ok(fraction) = HeaderValue::from_str(&format!("0.{percent:02}")) {
        headers.insert(UTILIZATION, fraction);
    }
    if let Some((_, threshold)) = surpassed {
        headers.insert(SURPASSED, HeaderValue::from_static(threshold));
    }
    let reset = HeaderValue::from(period.end.div_euclid(1000));
    headers.insert(RESET, reset.clone());
    headers.insert(OVERAGE_RESET, reset);
}

impl From<AdmitError> for ApiError {
    fn from(denied: AdmitError) -> Self {
        match denied {
            AdmitError::ShuttingDown => InferenceError::ShuttingDown.into(),
            AdmitError::QueueFull => Self::new(
                ErrorType::Overloaded,
                "the proxy has too many requests whose usage is not stored yet; try again in a few seconds",
            ),
            AdmitError::StoreBusy => Self::new(
                ErrorType::Overloaded,
                "the proxy's database is too busy to check your token limit; try again in a few seconds",
            ),
            AdmitError::StoreUnavailable(scope) => {
                let text = format!(
                    "the token limit of your {scope} cannot be checked, because the proxy's database is unavailable; \
                     the proxy's operator has to restore it"
                );
                let mut headers = HeaderMap::new();
                headers.insert(DISABLED, HeaderValue::from_static("fetch_error"));
                reject(text, headers)
            }
            AdmitError::LimitExceeded { ref status, need, .. } if denied.is_blocked_by_reservations() => {
                let error = Self::new(ErrorType::RateLimit, reservations_message(status, need));
                error.with_retry_after(RETRY_AFTER_RESERVATION)
            }
            AdmitError::LimitExceeded { status, need, period, now, .. } => {
                reject(limit_message(&status, need, period, now), rejection_headers(period, now))
            }
        }
    }
}

fn reject(text: String, mut headers: HeaderMap) -> ApiError {
    headers.insert("x-should-retry", HeaderValue::from_static("false"));
    ApiError::new(ErrorType::Billing, text).with_status(StatusCode::TOO_MANY_REQUESTS).with_headers(headers)
}

fn rejection_headers(period: Period, now: i64) -> HeaderMap {
    let reset = HeaderValue::from(period.end.div_euclid(1000));
    let seconds = period.remaining(now).div_euclid(1000) + 1;
    [
        (header::RETRY_AFTER, HeaderValue::from(seconds)),
        (STATUS, HeaderValue::from_static("rejected")),
        (RESET, reset.clone()),
        (OVERAGE_RESET, reset),
        (UTILIZATION, HeaderValue::from_static("1")),
        (SURPASSED, HeaderValue::from_static("1")),
        (PERIOD, HeaderValue::from_static("daily")),
        (DISABLED, HeaderValue::from_static("org_spend_cap_reached")),
    ]
    .into_iter()
    .collect()
}

/// A limit whose rest is reserved by open requests: a retry helps, and so does a smaller `max_tokens`.
fn reservations_message(status: &LimitStatus, need: i64) -> String {
    let (LimitStatus { limit, used, reserved, .. }, owner) = (status, status.owner());
    format!(
        "{} of the {} tokens of the {owner} are reserved by requests that are still running, and {} are used; this \
         request may need up to {}. Try again in a few seconds, or lower max_tokens (Claude Code: \
         CLAUDE_CODE_MAX_OUTPUT_TOKENS)",
        with_thousands(*reserved),
        with_thousands(*limit),
        with_thousands(*used),
        with_thousands(need),
    )
}

/// A limit whose rest is too small: whose, how much, until when, and what to do.
fn limit_message(status: &LimitStatus, need: i64, period: Period, now: i64) -> String {
    let (LimitStatus { limit, used, reserved, .. }, owner) = (status, status.owner());
    let open = if *reserved > 0 {
        format!(", and requests that are still running reserve {}", with_thousands(*reserved))
    } else {
        String::new()
    };
    let end = Timestamp::from_millisecond(period.end).unwrap_or(Timestamp::MAX);
    // A smaller response helps only where something is left.
    let advice = if used < limit {
        "Wait until then, lower max_tokens (Claude Code: CLAUDE_CODE_MAX_OUTPUT_TOKENS), or request a higher limit from the \
         proxy's operator"
    } else {
        "Wait until then, or request a higher limit from the proxy's operator"
    };
    format!(
        "the {owner} has used {} of its limit of {} tokens{open}; this request may need up to {} more. The limit \
         resets at {end} (in {}). {advice}",
        with_thousands(*used),
        with_thousands(*limit),
        with_thousands(need),
        humanize_duration(period.remaining(now)),
    )
}

/// `1,234,567`.
fn with_thousands(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::from(if number < 0 { "-" } else { "" });
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `6 h 12 min`, of milliseconds.
fn humanize_duration(milliseconds: i64) -> String {
    let minutes = SignedDuration::from_millis(milliseconds).as_mins() + 1;
    match (minutes / 60, minutes % 60) {
        (0, minutes) => format!("{minutes} min"),
        (hours, minutes) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;
    use crate::ids::RequestId;
    use crate::quota::LimitScope;

    const NOON: i64 = 1_795_348_800_000;

    fn denied(used: i64, reserved: i64, need: i64) -> axum::response::Response {
        let standing = LimitStatus {
            scope: LimitScope::Team,
            name: "payments".to_owned(),
            label: None,
            limit: 1_000_000,
            used,
            reserved,
        };
        let midnight = NOON - 12 * 3_600_000;
        let period = Period { start: midnight, end: midnight + 86_400_000, date: date(2026, 11, 22) };
        ApiError::from(AdmitError::LimitExceeded {
            status: standing,
            need,
            min_need: need,
            period,
            now: NOON,
        })
        .render(&RequestId::generate())
    }

    #[tokio::test]
    async fn rejection_has_limit_usage_reset_and_advice() {
        let response = denied(999_000, 0, 4_096);
        assert_eq!(response.status(), 429);
        let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header("retry-after"), "43201");
        assert_eq!(header("x-should-retry"), "false");
        assert_eq!(header("anthropic-ratelimit-unified-status"), "rejected");
        assert_eq!(header("anthropic-ratelimit-unified-overage-reset"), "1795392000");
        assert!(!response.headers().contains_key("anthropic-ratelimit-unified-representative-claim"));
        let body = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
        let text = String::from_utf8(body.to_vec()).unwrap();
        assert!(text.contains("billing_error"), "{text}");
        for part in [
            "payments",
            "999,000 of its limit of 1,000,000",
            "up to 4,096",
            "2026-11-23T00:00:00Z (in 12 h 1 min)",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[tokio::test]
    async fn reserved_tokens_are_worth_a_retry() {
        let response = denied(1_000, 998_000, 4_096);
        assert_eq!(response.headers()["retry-after"], "10");
        assert!(!response.headers().contains_key("x-should-retry"));
        let body = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
        let text = String::from_utf8(body.to_vec()).unwrap();
        for part in
            ["998,000 of the 1,000,000 tokens", "Try again in a few seconds", "CLAUDE_CODE_MAX_OUTPUT_TOKENS"]
        {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!text.contains("resets") && !text.contains("Wait until"), "{text}");
    }

    #[tokio::test]
    async fn spent_limit_has_no_advice_about_max_tokens() {
        let body = axum::body::to_bytes(denied(1_000_000, 0, 10).into_body(), 10_000).await.unwrap();
        let text = String::from_utf8(body.to_vec()).unwrap();
        assert!(text.contains("Wait until then, or request") && !text.contains("max_tokens"), "{text}");
    }

    #[test]
    fn numbers_have_thousands_separators() {
        assert_eq!([0, 999, 1000, -1_234_567].map(with_thousands), ["0", "999", "1,000", "-1,234,567"]);
    }
}
