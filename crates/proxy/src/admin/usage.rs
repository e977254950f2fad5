//! Usage reports.

use serde_json::Value;

use super::{Admin, AdminError, Result, map_rows, to_json};
use crate::store::{Dimensions, ListPage, Page, UsageQuery, UsageRow, dollars};

impl Admin {
    /// Reports the usage of some days; days are UTC and inclusive.
    ///
    /// # Errors
    /// When a day is invalid, or the database is unavailable.
    pub(crate) async fn usage_report(&self, query: &UsageQuery, page: &Page) -> Result<ListPage<Value>> {
        let rows = self.store.usage_report(query, page).await;
        let page = rows.map_err(|error| AdminError::from_store(error, "usage"))?;
        Ok(map_rows(&page, usage_row))
    }

    /// Sums over all rows of a report.
    ///
    /// # Errors
    /// As [`Admin::usage_report`].
    pub(crate) async fn usage_totals(&self, query: &UsageQuery) -> Result<Value> {
        let query = UsageQuery { by: Dimensions::default(), ..query.clone() };
        let page = self.usage_report(&query, &Page { after: None, limit: 1 }).await?;
        Ok(page.rows.into_iter().next().unwrap_or_else(|| usage_row(&UsageRow::default())))
    }

    /// First and last day of a report: by default from the first of the month of the last day to today.
    #[must_use]
    pub(crate) fn report_days(&self, from: Option<String>, to: Option<String>) -> (String, String) {
        let to = to.unwrap_or_else(|| self.today());
        let from = from.unwrap_or_else(|| match to.get(..8) {
            Some(month) => format!("{month}01"),
            None => to.clone(),
        });
        (from, to)
    }
}

/// A row of a report as JSON.
fn usage_row(row: &UsageRow) -> Value {
    let mut view = to_json(row);
    view["cost_usd"] = dollars(row.cost).into();
    view
}

/// A row with the members of a report by `by`.
#[must_use]
pub(crate) fn empty_usage_row(by: Dimensions) -> Value {
    let text = |is_grouped: bool| is_grouped.then(String::new);
    usage_row(&UsageRow {
        month: text(by.month),
        day: text(by.day),
        user_id: text(by.user),
        team: text(by.team),
        model: text(by.model),
        route: text(by.route),
        client_api: text(by.client_api),
        client: text(by.client),
        session_id: text(by.session),
        ..UsageRow::default()
    })
}
