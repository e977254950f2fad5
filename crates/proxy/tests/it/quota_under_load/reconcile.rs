//! The database as anybody with the database's password sees them, not as the program does.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection, SqliteConnection};

use crate::harness::postgres;

/// What is charged and what is held, for each scope, in one look.
const TAKEN: &str = "SELECT scope, name, CAST(SUM(tokens) AS BIGINT) AS tokens FROM (
        SELECT scope, name, used AS tokens FROM counters
        UNION ALL SELECT 'user', user_id, tokens FROM reservations WHERE expires_at > $1
        UNION ALL SELECT 'team', team, tokens FROM reservations WHERE expires_at > $1 AND team IS NOT NULL
    ) AS taken GROUP BY scope, name";
const CHARGED: &str =
    "SELECT scope, name, CAST(SUM(used) AS BIGINT) AS tokens FROM counters WHERE $1 > 0 GROUP BY scope, name";
const HELD: &str =
    "SELECT 'all' AS scope, 'all' AS name, COUNT(*) AS tokens FROM reservations WHERE expires_at > $1";
const ROWS: &str = "SELECT request_id, user_id, team,
        input_tokens + output_tokens + cache_read_tokens + cache_write_tokens AS tokens, charged_tokens, estimated, cost
    FROM metrics WHERE request_id IS NOT NULL";

/// Where the database are.
#[derive(Clone)]
pub(crate) enum Place {
    Postgres(String),
    Sqlite(PathBuf),
}

/// A connection of the auditor's own.
pub(crate) enum Database {
    Postgres(PgConnection),
    Sqlite(SqliteConnection),
}

/// A row of usage.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) user_id: String,
    pub(crate) team: Option<String>,
    pub(crate) tokens: i64,
    pub(crate) charged_tokens: i64,
    pub(crate) estimated: bool,
    pub(crate) cost: i64,
}

/// The request, the user, the team, tokens, those that were charged, whether they are a guess, and the cost.
type Columns = (String, String, Option<String>, i64, i64, bool, i64);
type Sums = BTreeMap<(String, String), i64>;

impl Database {
    pub(crate) async fn open(place: &Place) -> Self {
        match place {
            Place::Postgres(url) => Self::Postgres(postgres::connect(url).await),
            Place::Sqlite(file) => {
                let options =
                    SqliteConnectOptions::new().filename(file).busy_timeout(Duration::from_secs(10));
                Self::Sqlite(options.connect().await.unwrap())
            }
        }
    }

    /// Returns when the connection is closed.
    pub(crate) async fn close(self) {
        match self {
            Self::Postgres(connection) => connection.close().await.unwrap(),
            Self::Sqlite(connection) => connection.close().await.unwrap(),
        }
    }

    /// Charged and held tokens of each scope.
    pub(crate) async fn taken(&mut self, now: i64) -> Sums {
        self.sums(TAKEN, now).await
    }

    /// Charged tokens of each scope.
    pub(crate) async fn charged(&mut self) -> Sums {
        self.sums(CHARGED, 1).await
    }

    /// How many reservations count.
    pub(crate) async fn held(&mut self, now: i64) -> i64 {
        self.sums(HELD, now).await.into_values().sum()
    }

    /// All usage, by request.
    pub(crate) async fn rows(&mut self) -> HashMap<String, Vec<Row>> {
        let rows: Vec<Columns> = match self {
            Self::Postgres(connection) => sqlx::query_as(ROWS).fetch_all(connection).await.unwrap(),
            Self::Sqlite(connection) => sqlx::query_as(ROWS).fetch_all(connection).await.unwrap(),
        };
        let mut by_request: HashMap<_, Vec<Row>> = HashMap::new();
        for (request_id, user_id, team, tokens, charged_tokens, estimated, cost) in rows {
            let row = Row { user_id, team, tokens, charged_tokens, estimated, cost };
            by_request.entry(request_id).or_default().push(row);
        }
        by_request
    }

    async fn sums(&mut self, query: &'static str, now: i64) -> Sums {
        let rows: Vec<(String, String, i64)> = match self {
            Self::Postgres(connection) => {
                sqlx::query_as(query).bind(now).fetch_all(connection).await.unwrap()
            }
            Self::Sqlite(connection) => sqlx::query_as(query).bind(now).fetch_all(connection).await.unwrap(),
        };
        rows.into_iter().map(|(scope, name, tokens)| ((scope, name), tokens)).collect()
    }
}
