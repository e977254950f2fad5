//! Usage report: sums by day, user, team, model or route, from the daily sums.

use super::circuit::Access;
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
}

/// Dimensions that a report is grouped by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dimensions {
    /// By day.
    pub day: bool,
    /// By user.
    pub user: bool,
    /// By team.
    pub team: bool,
    /// By model.
    pub model: bool,
    /// By route.
    pub route: bool,
}

impl Dimensions {
    /// Parses a comma-separated list of `user`, `team`, `model`, `day` and `route`.
    ///
    /// # Errors
    /// When a name is unknown.
    pub(crate) fn parse(text: &str) -> std::result::Result<Self, String> {
        let mut by = Self::default();
        for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            match name {
                "day" => by.day = true,
                "user" => by.user = true,
                "team" => by.team = true,
                "model" => by.model = true,
                "route" => by.route = true,
                _ => return Err("use a comma-separated list of user, team, model, day and route".to_owned()),
            }
        }
        Ok(by)
    }
}

/// One row of a report. Dimensions that it is not grouped by are `None`; an empty text stands for usage without a value.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "type", rename = "usage")]
pub struct UsageRow {
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

const QUERY: &str = concat!(
    "SELECT CASE WHEN $1 THEN CAST(day AS VARCHAR(10)) END AS day, CASE WHEN $2 THEN user_id END AS user_id,
        CASE WHEN $3 THEN team END AS team, CASE WHEN $4 THEN model END AS model,
        CASE WHEN $5 THEN route END AS route",
    sum!("requests", "failed", "estimated", "unpriced", "input_tokens", "output_tokens"),
    sum!("cache_read_tokens", "cache_write_tokens", "charged_tokens", "cost"),
    " FROM usage_daily WHERE usage_daily.day >= $6 AND usage_daily.day <= $7
        AND ($8 IS NULL OR usage_daily.user_id = $8) AND ($9 IS NULL OR usage_daily.team = $9)
        AND ($10 IS NULL OR usage_daily.model = $10)
     GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5 LIMIT $11 OFFSET $12"
);

impl Store {
    /// Reports the usage of some days, ordered by day, user, team, model and route.
    ///
    /// # Errors
    /// When the database is unavailable, a day is invalid, or `page.after` is not a cursor of this list.
    pub async fn usage_report(&self, query: &UsageQuery, page: &Page) -> Result<ListPage<UsageRow>> {
        let (from, to) = (datetime::parse_date(&query.from)?, datetime::parse_date(&query.to)?);
        let offset = page.after.as_deref().map_or(Ok(0), str::parse::<i64>);
        let offset = offset.ok().filter(|offset| *offset >= 0);
        let offset = offset.ok_or_else(|| {
            StoreError::Invalid("the cursor `after` does not belong to this list".to_owned())
        })?;
        for (name, value) in [("user", &query.user_id), ("team", &query.team), ("model", &query.model)] {
            validate::optional(name, value.as_deref(), validate::MAX_NAME)?;
        }
        let by = query.by;
        self.with_deadline(Access::Read, BACKGROUND_TIMEOUT, async {
            let rows: Vec<UsageRow> = read!(self, |pool| {
                sqlx::query_as(QUERY)
                    .bind(by.day)
                    .bind(by.user)
                    .bind(by.team)
                    .bind(by.model)
                    .bind(by.route)
                    .bind(from)
                    .bind(to)
                    .bind(&query.user_id)
                    .bind(&query.team)
                    .bind(&query.model)
                    .bind(page.fetch_limit())
                    .bind(offset)
                    .fetch_all(pool)
                    .await?
            });
            let next = offset.saturating_add(page.fetch_limit() - 1);
            Ok(ListPage::new(rows, page, |_| next.to_string()))
        })
        .await
    }
}
