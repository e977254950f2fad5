//! What was spent, summed up by day, user, team, model or route, from the sums of each day.

use super::records::ListPage;
use super::{CALM, Page, Result, Store, StoreError, datetime, validate};

/// What to sum up.
#[derive(Clone, Debug, Default)]
pub struct UsageQuery {
    /// The first day, `2026-11-22`, in UTC.
    pub from: String,
    /// The last day, inclusive.
    pub to: String,
    /// One row for each of what; nothing gives one row for all.
    pub by: Dimensions,
    /// Of this user only.
    pub user_id: Option<String>,
    /// Of this team only.
    pub team: Option<String>,
    /// Of this model only.
    pub model: Option<String>,
}

/// What the rows of a report are of.
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
    /// Reads `user,team,model,day,route`, any of them.
    ///
    /// # Errors
    /// When there is another word.
    pub fn parse(text: &str) -> std::result::Result<Self, String> {
        let mut by = Self::default();
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            match word {
                "day" => by.day = true,
                "user" => by.user = true,
                "team" => by.team = true,
                "model" => by.model = true,
                "route" => by.route = true,
                _ => return Err("use any of user, team, model, day and route, with commas".to_owned()),
            }
        }
        Ok(by)
    }
}

/// One row of a report. What it is not of is `None`; an empty text is the row of those without one.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct UsageRow {
    /// The day, in UTC.
    pub day: Option<String>,
    /// The user.
    pub user_id: Option<String>,
    /// The team.
    pub team: Option<String>,
    /// The model.
    pub model: Option<String>,
    /// The route.
    pub route: Option<String>,
    /// Attempts.
    pub requests: i64,
    /// Those of them that failed.
    pub failed: i64,
    /// Those whose tokens are a guess.
    pub estimated: i64,
    /// Those whose model had no known price.
    pub unpriced: i64,
    /// Tokens read that were in no cache.
    pub input_tokens: i64,
    /// Tokens written.
    pub output_tokens: i64,
    /// Tokens read from the cache.
    pub cache_read_tokens: i64,
    /// Tokens written to the cache.
    pub cache_write_tokens: i64,
    /// What counted against the limits.
    pub charged_tokens: i64,
    /// What it cost, in nano-dollars.
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
    /// Sums up the usage of some days, in the order of day, user, team, model and route.
    ///
    /// # Errors
    /// When the database is away, a day is no day, or `page.after` is no place in this list.
    pub async fn usage_report(&self, query: &UsageQuery, page: &Page) -> Result<ListPage<UsageRow>> {
        let (from, to) = (datetime::date(&query.from)?, datetime::date(&query.to)?);
        let skipped = page.after.as_deref().map_or(Ok(0), str::parse::<i64>);
        let skipped = skipped.ok().filter(|skipped| *skipped >= 0);
        let skipped =
            skipped.ok_or_else(|| StoreError::Invalid("this is no place in the list".to_owned()))?;
        for (what, value) in [("user", &query.user_id), ("team", &query.team), ("model", &query.model)] {
            validate::maybe(what, value.as_deref(), validate::NAME)?;
        }
        let by = query.by;
        self.within(CALM, async {
            let rows: Vec<UsageRow> = reading!(self, |pool| {
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
                    .bind(page.wanted())
                    .bind(skipped)
                    .fetch_all(pool)
                    .await?
            });
            let next = skipped.saturating_add(page.wanted() - 1);
            Ok(ListPage::new(rows, page, |_| next.to_string()))
        })
        .await
    }
}
