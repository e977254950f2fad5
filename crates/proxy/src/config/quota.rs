//! How much: when limits reset, what counts towards them, and what happens without a database.

use std::time::Duration;

use croner::Cron;
use croner::parser::{CronParser, Seconds};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::env::Reader;

/// Quotas.
#[derive(Clone, Debug)]
pub struct Quota {
    /// `QUOTA_RESET_CRON` and `QUOTA_RESET_TIMEZONE`.
    pub schedule: Schedule,
    /// `QUOTA_CACHE_READ_PERCENT`: how much of a token read from the cache counts towards a limit.
    pub cache_read_percent: u32,
    /// `QUOTA_USER_ON_OUTAGE`: what the limits of users do while the database is away.
    pub user_on_outage: Outage,
    /// `QUOTA_TEAM_ON_OUTAGE`: what the limits of teams do while the database is away.
    pub team_on_outage: Outage,
    /// `QUOTA_LEASE_SECONDS`: how long a reservation outlives the process that made it.
    pub lease: Duration,
}

/// What a limit does while the database is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outage {
    /// Nothing: requests pass and are charged later.
    Open,
    /// It refuses every request that it would have had to judge.
    Closed,
}

/// When limits reset.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// The points in time; `None` is every day at 00:00.
    pub cron: Option<Cron>,
    /// Where they are meant.
    pub zone: TimeZone,
}

impl Schedule {
    /// Reads a cron expression of five fields and the name of a time zone.
    ///
    /// # Errors
    /// When the expression is none or never comes true, or the zone is not known.
    pub fn parse(cron: &str, zone: &str) -> Result<Self, String> {
        let parser = CronParser::builder().seconds(Seconds::Disallowed).build();
        let cron = parser.parse(cron).map_err(|error| {
            format!("{error}; use five fields such as 0 0 * * * (minute, hour, day, month, weekday)")
        })?;
        let zone = TimeZone::get(zone).map_err(|_| {
            format!("the time zone {zone:?} is not known here; use UTC or one such as Europe/Madrid")
        })?;
        let moment = Timestamp::UNIX_EPOCH.to_zoned(zone.clone());
        cron.find_next_occurrence(&moment, false).map_err(|_| "never comes true".to_owned())?;
        Ok(Self { cron: Some(cron), zone })
    }

    /// Every day at 00:00 UTC.
    #[must_use]
    pub fn daily() -> Self {
        Self { cron: None, zone: TimeZone::UTC }
    }
}

pub(super) fn quota(reader: &mut Reader<impl Fn(&str) -> Option<String>>) -> Quota {
    let outages = [("open", Outage::Open), ("closed", Outage::Closed)];
    Quota {
        schedule: schedule(reader),
        cache_read_percent: reader.number("QUOTA_CACHE_READ_PERCENT", 0, 0..=100),
        user_on_outage: reader.choice("QUOTA_USER_ON_OUTAGE", Outage::Open, &outages),
        team_on_outage: reader.choice("QUOTA_TEAM_ON_OUTAGE", Outage::Open, &outages),
        lease: reader.seconds("QUOTA_LEASE_SECONDS", 60, 3..=3600),
    }
}

fn schedule(reader: &mut Reader<impl Fn(&str) -> Option<String>>) -> Schedule {
    const CRON: &str = "QUOTA_RESET_CRON";
    const ZONE: &str = "QUOTA_RESET_TIMEZONE";
    reader.default(CRON, "0 0 * * *");
    reader.default(ZONE, "UTC");
    let (cron, zone) = (reader.text(CRON), reader.text(ZONE));
    if cron.is_none() && zone.is_none() {
        return Schedule::daily();
    }
    let named = zone.as_deref().unwrap_or("UTC");
    if let Err(reason) = Schedule::parse("0 0 * * *", named) {
        reader.problem(ZONE, zone.as_deref(), reason);
        return Schedule::daily();
    }
    Schedule::parse(cron.as_deref().unwrap_or("0 0 * * *"), named).unwrap_or_else(|reason| {
        reader.problem(CRON, cron.as_deref(), reason);
        Schedule::daily()
    })
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    fn problems(name: &str, value: &str) -> String {
        let loaded = Config::load(|asked| (asked == name).then(|| value.to_owned()));
        loaded.unwrap_err().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_zone_is_known_where_the_system_knows_none() {
        assert!(jiff::tz::TimeZoneDatabase::bundled().get("Europe/Madrid").is_ok());
    }

    #[test]
    fn a_schedule_that_never_comes_is_refused() {
        for cron in ["x", "0 0 * *", "0 0 0 * * *", "61 0 * * *", "0 0 31 2 *", "0 0 * * * *"] {
            assert!(problems("QUOTA_RESET_CRON", cron).contains("QUOTA_RESET_CRON"), "{cron}");
        }
        assert!(problems("QUOTA_RESET_TIMEZONE", "Mars/Olympus").contains("Europe/Madrid"));
        assert!(problems("QUOTA_USER_ON_OUTAGE", "ajar").contains("open, closed"));
    }
}
