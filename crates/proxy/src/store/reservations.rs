//! Admission: one statement checks and reserves, so that no two requests can reserve the same tokens.
//!
//! The reserved amount is not a counter: it is the sum of the rows that have not expired. The reservations of a killed
//! process are therefore released by time alone.

use sqlx::types::Json;
use tokio::time::Instant;

use super::circuit::AccessKind;
use super::pools::Pools;
use super::reservation_guard::{OwnedReservation, ReservationGuard};
use super::{REQUEST_TIMEOUT, Result, Store, StoreError, validate};

/// Maximum tokens in one row: more is an error of the caller, and sums of this many stay within 64 bits.
pub(super) const MAX_TOKENS: i64 = 1_000_000_000_000;

/// Tokens that a request wants to reserve, and the limits that apply.
#[derive(Clone, Copy, Debug)]
pub struct Reservation<'a> {
    /// Unique id; the usage record that settles it has the same.
    pub id: &'a str,
    /// Process that holds it.
    pub holder: &'a str,
    /// User that is charged.
    pub user_id: &'a str,
    /// Team that is charged as well.
    pub team: Option<&'a str>,
    /// Start of the quota period, epoch milliseconds.
    pub period: i64,
    /// Tokens to reserve.
    pub tokens: i64,
    /// Expiry unless renewed, epoch milliseconds.
    pub expires_at: i64,
    /// Limit of the user; `None` is unlimited.
    pub user_limit: Option<i64>,
    /// Limit of the team; `None` is unlimited.
    pub team_limit: Option<i64>,
    /// Id and limit of the token, if it has a limit.
    pub token: Option<(&'a str, i64)>,
    /// Current time, epoch milliseconds.
    pub now: i64,
}

/// Outcome of a [`Reservation`], with the totals before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReserveOutcome {
    /// The reservation is stored.
    Reserved(CallerTotals),
    /// A limit would be exceeded; nothing is stored.
    OverLimit(CallerTotals),
}

/// Tokens used and reserved in a period.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UsageTotals {
    /// Charged tokens.
    pub used: i64,
    /// Tokens reserved by open requests.
    pub reserved: i64,
}

/// Totals of a user, its team and its token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallerTotals {
    /// Totals of the user.
    pub user: UsageTotals,
    /// Totals of the team; zero without one.
    pub team: UsageTotals,
    /// Totals of the token; zero without a limit of its own.
    pub token: UsageTotals,
}

/// Sums of used and reserved tokens; `$now` is the parameter with the time.
macro_rules! total {
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

/// SQLite has one writer, so one statement is atomic.
const RESERVE_SQLITE: &str =
    concat!(
    "INSERT INTO reservations (id, holder, user_id, team, period, tokens, expires_at,
                               user_used, user_reserved, team_used, team_reserved, jti, token_used, token_reserved)
     SELECT $1, $2, $3, $4, $5, $6, $7, s.user_used, s.user_reserved, s.team_used, s.team_reserved,
            $11, s.token_used, s.token_reserved FROM (SELECT ",
    total!(used, "user", "$3", "$5"), " AS user_used, ",
    total!(used, "team", "$4", "$5"), " AS team_used, ",
    total!(used, "jti", "$11", "$5"), " AS token_used,
        COALESCE(SUM(CASE WHEN r.jti = $11 THEN r.tokens END), 0) AS token_reserved,
        COALESCE(SUM(CASE WHEN r.user_id = $3 THEN r.tokens END), 0) AS user_reserved,
        COALESCE(SUM(CASE WHEN r.team = $4 THEN r.tokens END), 0) AS team_reserved
        FROM reservations r WHERE r.period = $5 AND r.expires_at > $10
     ) AS s
     WHERE ($8 IS NULL OR s.user_used + s.user_reserved + $6 <= $8)
       AND ($9 IS NULL OR $4 IS NULL OR s.team_used + s.team_reserved + $6 <= $9)
       AND ($12 IS NULL OR s.token_used + s.token_reserved + $6 <= $12)
     RETURNING TRUE AS granted, user_used, user_reserved, team_used, team_reserved, token_used, token_reserved"
);

/// PostgreSQL has many writers: the function, from a migration, serializes them.
const RESERVE_POSTGRES: &str =
    "SELECT granted, user_used, user_reserved, team_used, team_reserved, token_used, token_reserved
     FROM bedrock_proxy_reserve($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";

const TOTALS: &str = concat!(
    "SELECT ",
    total!(used, "user", "$1", "$3"),
    " AS user_used, ",
    total!(reserved, "user_id", "$1", "$3", "$4"),
    " AS user_reserved, ",
    total!(used, "team", "$2", "$3"),
    " AS team_used, ",
    total!(reserved, "team", "$2", "$3", "$4"),
    " AS team_reserved, ",
    total!(used, "jti", "$5", "$3"),
    " AS token_used, ",
    total!(reserved, "jti", "$5", "$3", "$4"),
    " AS token_reserved"
);

impl Store {
    /// Reserves tokens if they fit under all limits: `used + reserved + tokens <= limit`, over the period's counters
    /// and over all reservations that have not expired.
    ///
    /// Cancellation safe: a reservation whose future is dropped is released. Only if the database is unavailable then, a
    /// row may stay until it expires.
    ///
    /// # Errors
    /// When the database is unavailable; [`StoreError::Busy`] when it responds to other calls only;
    /// [`StoreError::Conflict`] when the id is taken.
    pub async fn reserve(&self, reservation: &Reservation<'_>) -> Result<ReserveOutcome> {
        validate::key("the reservation's id", reservation.id)?;
        validate::key("the holder", reservation.holder)?;
        validate::key("the user", reservation.user_id)?;
        validate::optional("the team", reservation.team, validate::MAX_NAME)?;
        validate::optional("the token's id", reservation.token.map(|(jti, _)| jti), validate::MAX_NAME)?;
        if !(0..=MAX_TOKENS).contains(&reservation.tokens) {
            return Err(StoreError::Invalid(format!("cannot reserve {} tokens", reservation.tokens)));
        }
        let started = Instant::now();
        let _slot = self.acquire_slot().await?;
        // The times are those of the call: after a long wait, the row would have expired before it was stored.
        let waited_ms = i64::try_from(started.elapsed().as_millis()).unwrap_or(0);
        ReservationGuard::new(self, OwnedReservation::new(reservation, waited_ms)).await
    }

    /// Runs the statement of [`Store::reserve`].
    pub(super) async fn execute_reserve(&self, reservation: &Reservation<'_>) -> Result<ReserveOutcome> {
        macro_rules! bind {
            ($text:expr) => {
                sqlx::query_as($text)
                    .bind(reservation.id)
                    .bind(reservation.holder)
                    .bind(reservation.user_id)
                    .bind(reservation.team)
                    .bind(reservation.period)
                    .bind(reservation.tokens)
                    .bind(reservation.expires_at)
                    .bind(reservation.user_limit)
                    .bind(reservation.team_limit)
                    .bind(reservation.now)
                    .bind(reservation.token.map(|(jti, _)| jti))
                    .bind(reservation.token.map(|(_, limit)| limit))
            };
        }
        self.with_deadline(AccessKind::Write, REQUEST_TIMEOUT, async {
            let row: Option<ReserveRow> = match self.pools()? {
                Pools::Sqlite { write } => {
                    let mut connection = write.lock().await?;
                    let row = bind!(RESERVE_SQLITE).fetch_optional(&mut *connection).await?;
                    connection.finish();
                    row
                }
                Pools::Postgres { reservation_pool, .. } => {
                    Some(bind!(RESERVE_POSTGRES).fetch_one(reservation_pool).await?)
                }
            };
            Ok(match row {
                Some((granted, a, b, c, d, e, f)) => {
                    let totals = CallerTotals::from_row((a, b, c, d, e, f));
                    if granted { ReserveOutcome::Reserved(totals) } else { ReserveOutcome::OverLimit(totals) }
                }
                None => {
                    let Reservation { user_id, team, token, period, now, .. } = *reservation;
                    let jti = token.map(|(jti, _)| jti);
                    ReserveOutcome::OverLimit(self.totals(user_id, team, jti, period, now).await?)
                }
            })
        })
        .await
    }

    /// Extends these reservations to `expires_at` (epoch milliseconds). Returns how many of them still exist. Reservations
    /// that are not named expire.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn renew(&self, ids: &[String], expires_at: i64) -> Result<u64> {
        // Rows that are being settled right now are skipped: waiting for them could deadlock.
        const POSTGRES: &str = "UPDATE reservations SET expires_at = $2 WHERE id IN
             (SELECT id FROM reservations WHERE id = ANY($1) ORDER BY id FOR UPDATE SKIP LOCKED)";
        const SQLITE: &str =
            "UPDATE reservations SET expires_at = $2 WHERE id IN (SELECT value FROM json_each($1))";
        if ids.is_empty() {
            return Ok(0);
        }
        self.with_deadline(AccessKind::Write, REQUEST_TIMEOUT, async {
            Ok(match self.pools()? {
                Pools::Sqlite { write } => {
                    let mut connection = write.lock().await?;
                    let query = sqlx::query(SQLITE).bind(Json(ids)).bind(expires_at);
                    let rows = query.execute(&mut *connection).await?.rows_affected();
                    connection.finish();
                    rows
                }
                Pools::Postgres { reservation_pool, .. } => sqlx::query(POSTGRES)
                    .bind(ids)
                    .bind(expires_at)
                    .execute(reservation_pool)
                    .await?
                    .rows_affected(),
            })
        })
        .await
    }

    /// Releases reservations that no usage record will settle.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn release(&self, ids: &[String]) -> Result<()> {
        const POSTGRES: &str = "DELETE FROM reservations WHERE id IN
             (SELECT id FROM reservations WHERE id = ANY($1) ORDER BY id FOR UPDATE)";
        const SQLITE: &str = "DELETE FROM reservations WHERE id IN (SELECT value FROM json_each($1))";
        if ids.is_empty() {
            return Ok(());
        }
        self.with_deadline(AccessKind::Write, REQUEST_TIMEOUT, async {
            match self.pools()? {
                Pools::Sqlite { write } => {
                    let mut connection = write.lock().await?;
                    sqlx::query(SQLITE).bind(Json(ids)).execute(&mut *connection).await?;
                    connection.finish();
                }
                Pools::Postgres { reservation_pool, .. } => {
                    sqlx::query(POSTGRES).bind(ids).execute(reservation_pool).await?;
                }
            }
            Ok(())
        })
        .await
    }

    /// Tokens used in a period, and reserved in it at `now` (both epoch milliseconds).
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn caller_totals(
        &self,
        user_id: &str,
        team: Option<&str>,
        period: i64,
        now: i64,
    ) -> Result<CallerTotals> {
        validate::key("the user", user_id)?;
        validate::optional("the team", team, validate::MAX_NAME)?;
        self.with_deadline(AccessKind::Read, REQUEST_TIMEOUT, self.totals(user_id, team, None, period, now))
            .await
    }

    /// Tokens used and reserved by the token `jti`, as [`Store::caller_totals`].
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn token_totals(&self, jti: &str, period: i64, now: i64) -> Result<UsageTotals> {
        validate::key("the token's id", jti)?;
        let totals = self.totals("", None, Some(jti), period, now);
        Ok(self.with_deadline(AccessKind::Read, REQUEST_TIMEOUT, totals).await?.token)
    }

    async fn totals(
        &self,
        user_id: &str,
        team: Option<&str>,
        jti: Option<&str>,
        period: i64,
        now: i64,
    ) -> Result<CallerTotals> {
        let sums: TotalsRow = read!(self, |pool| {
            let query = sqlx::query_as(TOTALS).bind(user_id).bind(team).bind(period).bind(now).bind(jti);
            query.fetch_one(pool).await?
        });
        Ok(CallerTotals::from_row(sums))
    }
}

impl CallerTotals {
    fn from_row(
        (user_used, user_reserved, team_used, team_reserved, token_used, token_reserved): TotalsRow,
    ) -> Self {
        Self {
            user: UsageTotals { used: user_used, reserved: user_reserved },
            team: UsageTotals { used: team_used, reserved: team_reserved },
            token: UsageTotals { used: token_used, reserved: token_reserved },
        }
    }
}

/// Whether the tokens were reserved, and the sums of [`TotalsRow`].
type ReserveRow = (bool, i64, i64, i64, i64, i64, i64);

/// Used and reserved tokens of the user, then of the team, then of the token.
type TotalsRow = (i64, i64, i64, i64, i64, i64);
