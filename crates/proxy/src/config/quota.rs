//! Quotas: when limits reset, what counts towards them, and what happens while the database is unavailable.

use std::time::Duration;

use croner::Cron;
use croner::parser::{CronParser, Seconds};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::env::EnvReader;

/// The reservations of a killed process count for at most one minute.
const RESERVATION_TTL: Duration = Duration::from_secs(60);

/// Reset schedule, weights and failure mode of limits.
#[derive(Clone, Debug)]
pub struct QuotaConfig {
    /// `QUOTA_RESET_CRON` and `QUOTA_RESET_TIMEZONE`.
    pub(crate) schedule: Schedule,
    /// `QUOTA_CACHE_READ_PERCENT`: percentage of a token read from the cache that counts towards a limit.
    pub(crate) cache_read_percent: u32,
    /// `QUOTA_USER_ON_OUTAGE`: behaviour of limits while the database is unavailable.
    pub(crate) on_outage: FailMode,
    /// Time after which the reservations of a killed process are released.
    pub lease: Duration,
}

/// What a limit does while the database is unavailable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailMode {
    /// Fail open: requests pass and are charged later.
    Open,
    /// Fail closed: requests that need the limit are denied.
    Closed,
}

/// When limits reset.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    /// The reset times; `None` is every day at 00:00.
    pub(crate) cron: Option<Cron>,
    /// The time zone of `cron`.
    pub(crate) zone: TimeZone,
}

impl Schedule {
    /// Parses a cron expression of five fields and the name of a time zone.
    ///
    /// # Errors
    /// When the expression is invalid or never matches, or the time zone is unknown.
    pub(crate) fn parse(cron: &str, zone: &str) -> Result<Self, String> {
        let parser = CronParser::builder().seconds(Seconds::Disallowed).build();
        let cron = parser.parse(cron).map_err(
            |_| "not a schedule; use five cron fields such as 0 0 * * * (minute, hour, day, month, weekday)",
        )?;
        let zone = TimeZone::get(zone)
            .map_err(|_| "not the name of a time zone; use UTC or one such as Europe/Madrid")?;
        let start = Timestamp::UNIX_EPOCH.to_zoned(zone.clone());
        cron.find_next_occurrence(&start, false).map_err(|_| "never matches".to_owned())?;
        Ok(Self { cron: Some(cron), zone })
    }

    /// Every day at 00:00 UTC.
    #[must_use]
    pub(crate) fn daily() -> Self {
        Self { cron: None, zone: TimeZone::UTC }
    }
}

pub(super) fn quota(env: &mut EnvReader<'_>) -> QuotaConfig {
    let modes = [("open", FailMode::Open), ("closed", FailMode::Closed)];
    QuotaConfig {
        schedule: schedule(env),
        // As Bedrock's own quotas. <https://docs.aws.amazon.com/bedrock/latest/userguide/quotas-token-burndown.html>
        cache_read_percent: env.number("QUOTA_CACHE_READ_PERCENT"),
        on_outage: env.choice("QUOTA_USER_ON_OUTAGE", modes),
        lease: RESERVATION_TTL,
    }
}

fn schedule(env: &mut EnvReader<'_>) -> Schedule {
    const CRON: &str = "QUOTA_RESET_CRON";
    const ZONE: &str = "QUOTA_RESET_TIMEZONE";
    if env.text(CRON).is_none() && env.text(ZONE).is_none() {
        return Schedule::daily();
    }
    let zone =
        env.parse(ZONE, |zone| Schedule::parse("0 0 * * *", zone)).unwrap_or_else(Schedule::daily).zone;
    let zone_name = zone.iana_name().unwrap_or("UTC");
    env.parse(CRON, |cron| Schedule::parse(cron, zone_name)).unwrap_or_else(Schedule::daily)
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    fn errors(name: &str, value: &str) -> String {
        let loaded = Config::load(|variable| (variable == name).then(|| value.to_owned()));
        loaded.unwrap_err().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn time_zones_are_bundled() {
        assert!(jiff::tz::TimeZoneDatabase::bundled().get("Europe/Madrid").is_ok());
    }

    #[test]
    fn both_mistakes_of_a_schedule_are_reported() {
        let variables = [("QUOTA_RESET_CRON", "0 25 * * *"), ("QUOTA_RESET_TIMEZONE", "Europe/Madird")];
        let loaded = Config::load(|name| {
            variables.iter().find(|(variable, _)| *variable == name).map(|(_, value)| (*value).to_owned())
        });
        let text = loaded.unwrap_err().iter().map(|error| format!("{error}\n")).collect::<String>();
        assert!(text.contains("QUOTA_RESET_CRON") && text.contains("QUOTA_RESET_TIMEZONE"), "{text}");
        assert!(!text.contains(".;"), "{text}");
    }

    #[test]
    fn schedule_that_never_matches_is_rejected() {
        for cron in ["x", "0 0 * *", "0 0 0 * * *", "61 0 * * *", "0 0 31 2 *", "0 0 * * * *"] {
            assert!(errors("QUOTA_RESET_CRON", cron).contains("QUOTA_RESET_CRON"), "{cron}");
        }
        assert!(errors("QUOTA_RESET_TIMEZONE", "Mars/Olympus").contains("Europe/Madrid"));
        assert!(errors("QUOTA_USER_ON_OUTAGE", "ajar").contains("open, closed"));
    }
}
