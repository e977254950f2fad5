//! Usage report: sums by dimension. Most reports come from the daily sums, which are kept for ever; a report by client API,
//! client or session comes from the usage records, which go back as far as their retention.

use sqlx::QueryBuilder;
use time::{Date, PrimitiveDateTime, Time};

use super::circuit::AccessKind;
use super::records::ListPage;
use super::{BACKGROUND_TIMEOUT, Page, Result, Store, StoreError, datetime, validate};

/// Range, grouping and filters of a usage report.
#[derive(Clone, Debug, Default)]
pub struct UsageQuery {
    /// First day in UTC, such as `2026-11-22`.
    pub from: String,
    /// Last day in UTC, inclusive.
    pub to: String,
    /// Dimensions to group by; without any, the report has one row.
    pub by: Dimensions,
    /// Only usage of this user.
    pub user_id: Option<String>,
    /// Only usage of this team.
    pub team: Option<String>,
    /// Only usage of this model.
    pub model: Option<String>,
    /// Only usage of this client program.
    pub client: Option<String>,
    /// Only usage of this session of a client program.
    pub session_id: Option<String>,
}

impl UsageQuery {
    /// Whether only the usage records have what the report needs.
    fn needs_records(&self) -> bool {
        let by = self.by;
        by.client_api || by.client || by.session || self.client.is_some() || self.session_id.is_some()
    }
}

/// Dimensions that a report is grouped by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dimensions {
    /// By month.
    pub month: bool,
    /// By day.
    pub day: bool,
    /// By user.
    pub user: bool,
    /// By team.
    pub team: bool,
    /// By model.
    pub model: bool,
    /// By upstream API (`route`).
    pub route: bool,
    /// By client API.
    pub client_api: bool,
    /// By client program.
    pub client: bool,
    /// By session of a client program.
    pub session: bool,
}

impl Dimensions {
    /// Parses a comma-separated list of dimensions.
    ///
    /// # Errors
    /// When a name is unknown.
    pub(crate) fn parse(text: &str) -> std::result::Result<Self, String> {
        let mut by = Self::default();
        for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            match name {
                "month" => by.month = true,
                "day" => by.day = true,
                "user" => by.user = true,
                "team" => by.team = true,
                "model" => by.model = true,
                "route" => by.route = true,
                "client_api" => by.client_api = true,
                "client" => by.client = true,
                "session" => by.session = true,
                _ => {
                    return Err(
                        "use a comma-separated list of user, team, model, month, day, route, client_api, \
                                client and session"
                            .to_owned(),
                    );
                }
            }
        }
        Ok(by)
    }

    /// Columns of a row, each with the expression in the source and whether the report is grouped by it.
    fn columns(self) -> [(&'static str, &'static str, bool); 9] {
        [
            ("month", "SUBSTR(CAST(day AS VARCHAR(10)), 1, 7)", self.month),
            ("day", "CAST(day AS VARCHAR(10))", self.day),
            ("user_id", "user_id", self.user),
            ("team", "team", self.team),
            ("model", "model", self.model),
            ("route", "route", self.route),
            ("client_api", "client_api", self.client_api),
            ("client", "client", self.client),
            ("session_id", "session_id", self.session),
        ]
    }
}

/// One row of a report. Dimensions that it is not grouped by are `None`; an empty text stands for usage without a value.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "type", rename = "usage")]
pub struct UsageRow {
    /// Month in UTC, such as `2026-11`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub month: Option<String>,
    /// Day in UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub day: Option<String>,
    /// User.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// Team.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub team: Option<String>,
    /// Model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Upstream API (`route`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// Client API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_api: Option<String>,
    /// Client program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// Session of a client program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// Number of requests.
    pub requests: i64,
    /// Number of failed requests.
    pub failed: i64,
    /// Number of requests whose tokens are estimated.
    pub estimated: i64,
    /// Number of requests whose model has no known price.
    pub unpriced: i64,
    /// Input tokens that were not cached.
    pub input_tokens: i64,
    /// Output tokens.
    pub output_tokens: i64,
    /// Tokens read from the cache.
    pub cache_read_tokens: i64,
    /// Tokens written to the cache.
    pub cache_write_tokens: i64,
    /// Tokens that counted towards limits.
    pub charged_tokens: i64,
    /// Cost in nano-dollars.
    #[serde(rename = "cost_nano_usd")]
    pub cost: i64,
}

macro_rules! sum {
    ($($column:literal),*) => {
        concat!($(", CAST(COALESCE(SUM(", $column, "), 0) AS BIGINT) AS ", $column),*)
    };
}

const SUMS: &str = concat!(
    sum!("requests", "failed", "estimated", "unpriced", "input_tokens", "output_tokens"),
    sum!("cache_read_tokens", "cache_write_tokens", "charged_tokens", "cost"),
);

/// The usage records in the columns of the daily sums, with what only they have. Rows of an earlier program have neither a
/// cost in nano-dollars nor a status.
const RECORDS: &str =
    "(SELECT SUBSTR(CAST(created_at AS VARCHAR(30)), 1, 10) AS day, created_at, user_id, COALESCE(team, '') AS team, model,
        COALESCE(route, '') AS route, COALESCE(client_api, '') AS client_api, COALESCE(client, '') AS client,
        COALESCE(session_id, '') AS session_id, 1 AS requests,
        CASE WHEN status >= 400 OR outcome = 'failed' THEN 1 ELSE 0 END AS failed,
        CASE WHEN estimated THEN 1 ELSE 0 END AS estimated, CASE WHEN priced THEN 0 WHEN priced IS NULL THEN 0 ELSE 1 END AS unpriced,
        COALESCE(input_tokens, 0) AS input_tokens, COALESCE(output_tokens, 0) AS output_tokens,
        COALESCE(cache_read_tokens, 0) AS cache_read_tokens, COALESCE(cache_write_tokens, 0) AS cache_write_tokens,
        COALESCE(charged_tokens, 0) AS charged_tokens,
        COALESCE(cost, CAST(ROUND(total_cost * 1000000000) AS BIGINT), 0) AS cost
     FROM metrics) AS records";

/// The names of the dimensions, in the order of [`Dimensions::columns`], and of the sums.
const COLUMNS: &str = "month, day, user_id, team, model, route, client_api, client, session_id, requests, failed, estimated, \
    unpriced, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, charged_tokens, cost";

/// Rows of a usage report and their sums, of one read of the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageReport {
    /// Rows of the page.
    pub rows: Vec<UsageRow>,
    /// Cursor of the next page; `None` at the end.
    pub next: Option<String>,
    /// Sums over all rows of the report, those of other pages included.
    pub totals: UsageRow,
}

impl Store {
    /// Reports the usage of some days, ordered by the dimensions in the order of [`Dimensions`].
    ///
    /// # Errors
    /// When the database is unavailable, a day is invalid, the first day is after the last, or `page.after` is not a
    /// cursor of this list.
    pub async fn usage_report(&self, query: &UsageQuery, page: &Page) -> Result<UsageReport> {
        let offset = page.after.as_deref().map_or(Ok(0), str::parse::<i64>);
        let offset = offset.ok().filter(|offset| *offset >= 0);
        let offset = offset.ok_or_else(|| {
            StoreError::Invalid("the cursor `after` does not belong to this list".to_owned())
        })?;
        let (rows, totals) = self.read_report(query, page.fetch_limit(), offset).await?;
        let next = offset.saturating_add(page.fetch_limit() - 1);
        let ListPage { rows, next } = ListPage::new(rows, page, |_| next.to_string());
        Ok(UsageReport { rows, next, totals })
    }

    /// Reports the usage of some days in one page of at most `max_rows` rows; `next` is set if there are more.
    ///
    /// # Errors
    /// As [`Store::usage_report`].
    pub async fn whole_usage_report(&self, query: &UsageQuery, max_rows: usize) -> Result<UsageReport> {
        let limit = i64::try_from(max_rows).unwrap_or(i64::MAX).saturating_add(1);
        let (mut rows, totals) = self.read_report(query, limit, 0).await?;
        let next = (rows.len() > max_rows).then(|| max_rows.to_string());
        rows.truncate(max_rows);
        Ok(UsageReport { rows, next, totals })
    }

    /// Reads rows of a report, and the sums over all of its rows. One statement reads one state of the database: between
    /// two, a request could be stored.
    async fn read_report(
        &self,
        query: &UsageQuery,
        limit: i64,
        offset: i64,
    ) -> Result<(Vec<UsageRow>, UsageRow)> {
        let (from, to) = (datetime::parse_date(&query.from)?, datetime::parse_date(&query.to)?);
        if from > to {
            let reason = format!("the first day, {}, is after the last day, {}", query.from, query.to);
            return Err(StoreError::Invalid(reason));
        }
        for (name, value) in filters(query) {
            validate::optional(name, value, validate::MAX_NAME)?;
        }
        self.with_deadline(AccessKind::Read, BACKGROUND_TIMEOUT, async {
            let mut rows: Vec<UsageRow> = read!(self, |pool| {
                let mut statement = QueryBuilder::new("WITH report AS (SELECT ");
                for (name, expression, is_grouped) in query.by.columns() {
                    let value = if is_grouped { expression } else { "CAST(NULL AS VARCHAR(255))" };
                    let comma = if name == "month" { "" } else { ", " };
                    statement.push(comma).push(value).push(" AS ").push(name);
                }
                statement.push(SUMS);
                if query.needs_records() {
                    let (start, end) = instants(from, to)?;
                    statement.push(" FROM ").push(RECORDS).push(" WHERE created_at >= ").push_bind(start);
                    statement.push(" AND created_at < ").push_bind(end);
                } else {
                    statement.push(" FROM usage_daily WHERE usage_daily.day >= ").push_bind(from);
                    statement.push(" AND usage_daily.day <= ").push_bind(to);
                }
                for (name, value) in filters(query) {
                    if let Some(value) = value {
                        statement.push(" AND ").push(name).push(" = ").push_bind(value);
                    }
                }
                statement.push(" GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9), page AS (SELECT ").push(COLUMNS);
                statement.push(" FROM report ORDER BY 1, 2, 3, 4, 5, 6, 7, 8, 9 LIMIT ").push_bind(limit);
                statement.push(" OFFSET ").push_bind(offset);
                statement
                    .push(") SELECT 0 AS is_total, ")
                    .push(COLUMNS)
                    .push(" FROM page UNION ALL SELECT 1");
                for (name, ..) in query.by.columns() {
                    statement.push(", CAST(NULL AS VARCHAR(255)) AS ").push(name);
                }
                statement.push(SUMS).push(" FROM report ORDER BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10");
                statement.build_query_as().fetch_all(pool).await?
            });
            let totals = rows.pop().unwrap_or_default();
            Ok((rows, totals))
        })
        .await
    }

    /// Cost in nano-dollars of the requests of `user_id` in the quota period that starts at `period`.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn period_cost(&self, user_id: &str, period: i64) -> Result<i64> {
        const QUERY: &str = "SELECT COALESCE((SELECT cost FROM counters WHERE scope = 'user' AND name = $1 AND period = $2), 0)";
        validate::key("the user", user_id)?;
        self.with_deadline(AccessKind::Read, BACKGROUND_TIMEOUT, async {
            Ok(read!(self, |pool| {
                sqlx::query_scalar(QUERY).bind(user_id).bind(period).fetch_one(pool).await?
            }))
        })
        .await
    }
}

/// Filters by column.
fn filters(query: &UsageQuery) -> [(&'static str, Option<&str>); 5] {
    [
        ("user_id", query.user_id.as_deref()),
        ("team", query.team.as_deref()),
        ("model", query.model.as_deref()),
        ("client", query.client.as_deref()),
        ("session_id", query.session_id.as_deref()),
    ]
}

/// Start of the first day, and end of the last.
fn instants(from: Date, to: Date) -> Result<(PrimitiveDateTime, PrimitiveDateTime)> {
    let after = to.next_day().ok_or_else(|| StoreError::Invalid("the last day is too late".to_owned()))?;
    Ok((PrimitiveDateTime::new(from, Time::MIDNIGHT), PrimitiveDateTime::new(after, Time::MIDNIGHT)))
}
