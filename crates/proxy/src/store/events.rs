//! The audit trail, read back. Events are written with what they tell of.

use super::from_row::Numbered;
use super::records::ListPage;
use super::{CALM, Event, Page, Result, Store, StoreError, datetime, validate};

/// Which events to list; nothing means any.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    /// What happened.
    pub kind: Option<String>,
    /// Whom it is about.
    pub user_id: Option<String>,
    /// From when on.
    pub from: Option<i64>,
    /// Before when.
    pub until: Option<i64>,
}

impl Store {
    /// Events, the last ones first.
    ///
    /// # Errors
    /// When the database is away, or `page.after` is no place in this list.
    pub async fn events(&self, filter: &EventFilter, page: &Page) -> Result<ListPage<Event>> {
        const QUERY: &str = "SELECT id, event_id, event_type, user_id, team, actor, details, created_at FROM events
             WHERE ($1 IS NULL OR id < $1) AND ($2 IS NULL OR event_type = $2) AND ($3 IS NULL OR user_id = $3)
             AND ($4 IS NULL OR created_at >= $4) AND ($5 IS NULL OR created_at < $5) ORDER BY id DESC LIMIT $6";
        let after = page.after.as_deref().map(str::parse::<i64>).transpose();
        let after = after.map_err(|_| StoreError::Invalid("this is no place in the list".to_owned()))?;
        validate::maybe("the kind", filter.kind.as_deref(), validate::NAME)?;
        validate::maybe("the user", filter.user_id.as_deref(), validate::NAME)?;
        let from = filter.from.map(datetime::timestamp).transpose()?;
        let until = filter.until.map(datetime::timestamp).transpose()?;
        self.within(CALM, async {
            let rows: Vec<Numbered> = reading!(self, |pool| {
                let query = sqlx::query_as(QUERY).bind(after).bind(&filter.kind).bind(&filter.user_id);
                query.bind(from).bind(until).bind(page.wanted()).fetch_all(pool).await?
            });
            let listed = ListPage::new(rows, page, |row: &Numbered| row.number.to_string());
            Ok(ListPage { rows: listed.rows.into_iter().map(|row| row.event).collect(), next: listed.next })
        })
        .await
    }
}
