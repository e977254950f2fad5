//! Admission: one statement that looks and reserves, so that nobody can spend what another was just promised.
//!
//! What is reserved is never a number that goes up and down: it is always the sum of the rows that have not expired.
//! A process that was killed therefore gives back what it held by time alone.

use sqlx::types::Json;
use tokio::time::Instant;

use super::pools::Pools;
use super::reservation_guard::{Asking, Wanted};
use super::{HOT, Result, Store, StoreError, validate};

/// More tokens than this in one row are a mistake, and sums of them stay within 64 bits.
pub(super) const MOST_TOKENS: i64 = 1_000_000_000_000;

/// What a request asks to be allowed to spend.
#[derive(Clone, Copy, Debug)]
pub struct Reservation<'a> {
    /// Unique; the receipt that settles it has the same.
    pub id: &'a str,
    /// The process that holds it.
    pub holder: &'a str,
    /// Who pays.
    pub user_id: &'a str,
    /// The team that pays, too.
    pub team: Option<&'a str>,
    /// The start of the quota period, in epoch milliseconds.
    pub period: i64,
    /// How many tokens.
    pub tokens: i64,
    /// Until when it counts unless it is renewed, in epoch milliseconds.
    pub expires_at: i64,
    /// The user's limit; `None` is unlimited.
    pub user_limit: Option<i64>,
    /// The team's limit; `None` is unlimited.
    pub team_limit: Option<i64>,
    /// What time it is, in epoch milliseconds.
    pub now: i64,
}

/// The answer to a [`Reservation`], with what was used and reserved before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReserveOutcome {
    /// It is written down.
    Reserved(CallerTotals),
    /// It would go over a limit, and nothing was written.
    OverLimit(CallerTotals),
}

/// What was spent in a period, apart from what may still be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UsageTotals {
    /// Tokens that were charged.
    pub used: i64,
    /// Tokens that requests in flight hold.
    pub reserved: i64,
}

/// The tallies of a user and their team.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallerTotals {
    /// The user's.
    pub user: UsageTotals,
    /// The team's; nothing without one.
    pub team: UsageTotals,
}

/// The sums that decide; `$now` is the parameter with the time.
macro_rules! tally {
    (used, $scope:literal, $name:literal, $period:literal) => {
        concat!(
            "COALESCE((SELECT c.used FROM counters c WHERE c.scope = '",
            $scope,
            "' AND c.name = ",
            $name,
            " AND c.period = ",
            $period,
            "), 0)"
        )
    };
    (reserved, $column:literal, $name:literal, $period:literal, $now:literal) => {
        concat!(
            "CAST(COALESCE((SELECT SUM(r.tokens) FROM reservations r WHERE r.",
            $column,
            " = ",
            $name,
            " AND r.period = ",
            $period,
            " AND r.expires_at > ",
            $now,
            "), 0) AS BIGINT)"
        )
    };
}

/// SQLite has one writer, so one statement is alone from its first look to its last word.
const RESERVE_SQLITE: &str =
    concat!(
    "INSERT INTO reservations (id, holder, user_id, team, period, tokens, expires_at,
                               user_used, user_reserved, team_used, team_reserved)
     SELECT $1, $2, $3, $4, $5, $6, $7, s.user_used, s.user_reserved, s.team_used, s.team_reserved FROM (SELECT ",
    tally!(used, "user", "$3", "$5"), " AS user_used, ",
    tally!(used, "team", "$4", "$5"), " AS team_used,
        COALESCE(SUM(CASE WHEN r.user_id = $3 THEN r.tokens END), 0) AS user_reserved,
        COALESCE(SUM(CASE WHEN r.team = $4 THEN r.tokens END), 0) AS team_reserved
        FROM reservations r WHERE r.period = $5 AND r.expires_at > $10
     ) AS s
     WHERE ($8 IS NULL OR s.user_used + s.user_reserved + $6 <= $8)
       AND ($9 IS NULL OR $4 IS NULL OR s.team_used + s.team_reserved + $6 <= $9)
     RETURNING TRUE AS granted, user_used, user_reserved, team_used, team_reserved"
);

/// PostgreSQL has many: the function, from a migration, lets them in one by one.
const RESERVE_POSTGRES: &str = "SELECT granted, user_used, user_reserved, team_used, team_reserved
     FROM bedrock_proxy_reserve($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";

const SPENT: &str = concat!(
    "SELECT ",
    tally!(used, "user", "$1", "$3"),
    " AS user_used, ",
    tally!(reserved, "user_id", "$1", "$3", "$4"),
    " AS user_reserved, ",
    tally!(used, "team", "$2", "$3"),
    " AS team_used, ",
    tally!(reserved, "team", "$2", "$3", "$4"),
    " AS team_reserved"
);

impl Store {
    /// Reserves tokens if they fit under both limits: `used + reserved + tokens <= limit`, over the period's counters
    /// and over all reservations that have not expired.
    ///
    /// A caller that gives up waiting leaves nothing behind; only when the database is away, a row may stay that nobody
    /// renews and that ends by itself.
    ///
    /// # Errors
    /// When the database is away for a second; [`StoreError::Busy`] when it answers, but not this one;
    /// [`StoreError::Conflict`] when the id is taken.
    pub async fn reserve(&self, wanted: &Reservation<'_>) -> Result<ReserveOutcome> {
        validate::key("the reservation's id", wanted.id)?;
        validate::key("the holder", wanted.holder)?;
        validate::key("the user", wanted.user_id)?;
        validate::maybe("the team", wanted.team, validate::NAME)?;
        if !(0..=MOST_TOKENS).contains(&wanted.tokens) {
            return Err(StoreError::Invalid(format!("{} tokens cannot be reserved", wanted.tokens)));
        }
        let began = Instant::now();
        let _turn = self.turn().await?;
        // The times are those of the call. A row that ended before it was written would count for nobody.
        let waited = i64::try_from(began.elapsed().as_millis()).unwrap_or(0);
        Asking::new(self, Wanted::of(wanted, waited)).await
    }

    /// The statement of [`Store::reserve`].
    pub(super) async fn ask(&self, wanted: &Reservation<'_>) -> Result<ReserveOutcome> {
        macro_rules! bound {
            ($text:expr) => {
                sqlx::query_as($text)
                    .bind(wanted.id)
                    .bind(wanted.holder)
                    .bind(wanted.user_id)
                    .bind(wanted.team)
                    .bind(wanted.period)
                    .bind(wanted.tokens)
                    .bind(wanted.expires_at)
                    .bind(wanted.user_limit)
                    .bind(wanted.team_limit)
                    .bind(wanted.now)
            };
        }
        self.within(HOT, async {
            let answer: Option<Answer> = match self.pools()? {
                Pools::Sqlite { write, .. } => {
                    bound!(RESERVE_SQLITE).fetch_optional(&mut *write.lock().await?).await?
                }
                Pools::Postgres { fast, .. } => Some(bound!(RESERVE_POSTGRES).fetch_one(fast).await?),
            };
            Ok(match answer {
                Some((true, a, b, c, d)) => ReserveOutcome::Reserved(CallerTotals::of((a, b, c, d))),
                Some((false, a, b, c, d)) => ReserveOutcome::OverLimit(CallerTotals::of((a, b, c, d))),
                None => ReserveOutcome::OverLimit(
                    self.tallies(wanted.user_id, wanted.team, wanted.period, wanted.now).await?,
                ),
            })
        })
        .await
    }

    /// Lets these reservations count until `expires_at`; tells how many of them are still there. Only what is named is
    /// renewed, so that a row that nobody remembers ends.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn renew(&self, ids: &[String], expires_at: i64) -> Result<u64> {
        // Rows that are being settled at this moment are passed over, rather than waited for in some order.
        const POSTGRES: &str = "UPDATE reservations SET expires_at = $2 WHERE id IN
             (SELECT id FROM reservations WHERE id = ANY($1) ORDER BY id FOR UPDATE SKIP LOCKED)";
        const SQLITE: &str =
            "UPDATE reservations SET expires_at = $2 WHERE id IN (SELECT value FROM json_each($1))";
        if ids.is_empty() {
            return Ok(0);
        }
        self.within(HOT, async {
            Ok(match self.pools()? {
                Pools::Sqlite { write, .. } => {
                    let query = sqlx::query(SQLITE).bind(Json(ids)).bind(expires_at);
                    query.execute(&mut *write.lock().await?).await?.rows_affected()
                }
                Pools::Postgres { fast, .. } => {
                    sqlx::query(POSTGRES).bind(ids).bind(expires_at).execute(fast).await?.rows_affected()
                }
            })
        })
        .await
    }

    /// Gives back reservations that no receipt will settle.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn release(&self, ids: &[String]) -> Result<()> {
        const POSTGRES: &str = "DELETE FROM reservations WHERE id IN
             (SELECT id FROM reservations WHERE id = ANY($1) ORDER BY id FOR UPDATE)";
        const SQLITE: &str = "DELETE FROM reservations WHERE id IN (SELECT value FROM json_each($1))";
        if ids.is_empty() {
            return Ok(());
        }
        self.within(HOT, async {
            match self.pools()? {
                Pools::Sqlite { write, .. } => {
                    sqlx::query(SQLITE).bind(Json(ids)).execute(&mut *write.lock().await?).await?;
                }
                Pools::Postgres { fast, .. } => {
                    sqlx::query(POSTGRES).bind(ids).execute(fast).await?;
                }
            }
            Ok(())
        })
        .await
    }

    /// What was used in a period, and what is reserved in it at the time `now`.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn caller_totals(
        &self,
        user_id: &str,
        team: Option<&str>,
        period: i64,
        now: i64,
    ) -> Result<CallerTotals> {
        validate::key("the user", user_id)?;
        validate::maybe("the team", team, validate::NAME)?;
        self.within(HOT, self.tallies(user_id, team, period, now)).await
    }

    async fn tallies(
        &self,
        user_id: &str,
        team: Option<&str>,
        period: i64,
        now: i64,
    ) -> Result<CallerTotals> {
        let sums: Four = reading!(self, |pool| {
            let query = sqlx::query_as(SPENT).bind(user_id).bind(team).bind(period).bind(now);
            query.fetch_one(pool).await?
        });
        Ok(CallerTotals::of(sums))
    }
}

impl CallerTotals {
    fn of((user_used, user_reserved, team_used, team_reserved): Four) -> Self {
        Self {
            user: UsageTotals { used: user_used, reserved: user_reserved },
            team: UsageTotals { used: team_used, reserved: team_reserved },
        }
    }
}

/// Whether it was granted, and the sums.
type Answer = (bool, i64, i64, i64, i64);

/// Used and reserved: the user's, then the team's.
type Four = (i64, i64, i64, i64);
