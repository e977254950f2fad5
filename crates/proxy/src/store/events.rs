//! Reads the audit trail. Events are written in the transaction of the change that they describe.

use super::circuit::AccessKind;
use super::from_row::NumberedEvent;
use super::records::ListPage;
use super::{AuditEvent, BACKGROUND_TIMEOUT, Page, Result, Store, StoreError, datetime, validate};

/// Kinds of events, in snake case. Rows of an earlier program may have others.
pub const EVENT_KINDS: [&str; 18] = [
    "config_loaded",
    "configuration_reloaded",
    "user_provisioned",
    "user_added",
    "user_changed",
    "team_added",
    "team_changed",
    "user_renamed",
    "user_removed",
    "team_renamed",
    "team_removed",
    "token_issued",
    "token_revoked",
    "tokens_revoked",
    "auth_refused",
    "admin_denied",
    "quota_exceeded",
    "quota_reset",
];

/// Filter of a list of events; `None` matches all.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    /// Kind of the event, in snake case.
    pub kind: Option<String>,
    /// User that the event is about.
    pub user_id: Option<String>,
    /// Team that the event is about.
    pub team: Option<String>,
    /// Operator who caused it.
    pub actor: Option<String>,
    /// First instant, epoch milliseconds.
    pub from: Option<i64>,
    /// First instant after the range, epoch milliseconds.
    pub until: Option<i64>,
}

impl Store {
    /// Lists events, newest first.
    ///
    /// # Errors
    /// When the database is unavailable, or `page.after` is not a cursor of this list.
    pub async fn events(&self, filter: &EventFilter, page: &Page) -> Result<ListPage<AuditEvent>> {
        const QUERY: &str = "SELECT id, event_id, event_type, user_id, team, actor, details, created_at FROM events
             WHERE ($1 IS NULL OR id < $1) AND ($2 IS NULL OR event_type = $2) AND ($3 IS NULL OR user_id = $3)
             AND ($4 IS NULL OR team = $4) AND ($5 IS NULL OR actor = $5)
             AND ($6 IS NULL OR created_at >= $6) AND ($7 IS NULL OR created_at < $7) ORDER BY id DESC LIMIT $8";
        let after = page.after.as_deref().map(str::parse::<i64>).transpose();
        let after = after
            .map_err(|_| StoreError::Invalid("the cursor `after` does not belong to this list".to_owned()))?;
        validate::optional("the kind", filter.kind.as_deref(), validate::MAX_NAME)?;
        validate::optional("the user", filter.user_id.as_deref(), validate::MAX_NAME)?;
        validate::optional("the team", filter.team.as_deref(), validate::MAX_NAME)?;
        validate::optional("the actor", filter.actor.as_deref(), validate::MAX_NAME)?;
        let from = filter.from.map(datetime::timestamp).transpose()?;
        let until = filter.until.map(datetime::timestamp).transpose()?;
        self.with_deadline(AccessKind::Read, BACKGROUND_TIMEOUT, async {
            let rows: Vec<NumberedEvent> = read!(self, |pool| {
                let query = sqlx::query_as(QUERY).bind(after).bind(&filter.kind).bind(&filter.user_id);
                let query = query.bind(&filter.team).bind(&filter.actor);
                query.bind(from).bind(until).bind(page.fetch_limit()).fetch_all(pool).await?
            });
            let listed = ListPage::new(rows, page, |row: &NumberedEvent| row.number.to_string());
            Ok(ListPage { rows: listed.rows.into_iter().map(|row| row.event).collect(), next: listed.next })
        })
        .await
    }
}
