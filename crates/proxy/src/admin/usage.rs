//! Usage reports.

use serde_json::Value;

use super::{Admin, AdminError, Result, to_json};
use crate::store::{Dimensions, ListPage, Page, UsageQuery, UsageReport, UsageRow, dollars};

/// Rows of a usage report and their sums as JSON, of one read of the database.
#[derive(Clone, Debug)]
pub(crate) struct UsageReportView {
    /// Rows of the page.
    pub(crate) page: ListPage<Value>,
    /// Sums over all rows of the report, those of other pages included.
    pub(crate) totals: Value,
}

impl UsageReportView {
    fn new(report: UsageReport) -> Self {
        let UsageReport { rows, next, totals } = report;
        let rows = rows.iter().map(usage_row).collect();
        Self { page: ListPage { rows, next }, totals: usage_row(&totals) }
    }
}

impl Admin {
    /// Reports the usage of some days; days are UTC and inclusive.
    ///
    /// # Errors
    /// When a day is invalid, or the database is unavailable.
    pub(crate) async fn usage_report(&self, query: &UsageQuery, page: &Page) -> Result<UsageReportView> {
        let report = self.store.usage_report(query, page).await;
        Ok(UsageReportView::new(report.map_err(|error| AdminError::from_store(error, "usage"))?))
    }

    /// Reports the usage of some days in one page of at most `max_rows` rows.
    ///
    /// # Errors
    /// As [`Admin::usage_report`].
    pub(crate) async fn whole_usage_report(
        &self,
        query: &UsageQuery,
        max_rows: usize,
    ) -> Result<UsageReportView> {
        let report = self.store.whole_usage_report(query, max_rows).await;
        Ok(UsageReportView::new(report.map_err(|error| AdminError::from_store(error, "usage"))?))
    }

    /// First and last day of a report: by default from the first of the month of the last day to today. A month such as
    /// `2026-11` stands for its first or last day.
    ///
    /// # Errors
    /// When the first day is in the future.
    pub(crate) fn report_days(&self, from: Option<String>, to: Option<String>) -> Result<(String, String)> {
        let to = to.map_or_else(|| self.today(), |to| day_of_month(&to, true));
        let from = from.map_or_else(
            || match to.get(..8) {
                Some(month) => format!("{month}01"),
                None => to.clone(),
            },
            |from| day_of_month(&from, false),
        );
        let today = self.today();
        let day = |text: &str| text.parse::<jiff::civil::Date>().ok();
        if day(&from).zip(day(&today)).is_some_and(|(from, today)| from > today) {
            let reason = format!("the first day, {from}, is in the future; today is {today} (UTC)");
            return Err(AdminError::Invalid(reason));
        }
        Ok((from, to))
    }
}

/// The first or last day of a month such as `2026-11`; other texts stay.
fn day_of_month(text: &str, is_last: bool) -> String {
    let first: Option<jiff::civil::Date> =
        if text.len() == 7 { format!("{text}-01").parse().ok() } else { None };
    match first {
        Some(first) if is_last => first.last_of_month().to_string(),
        Some(first) => first.to_string(),
        None => text.to_owned(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_stand_for_their_days() {
        assert_eq!(day_of_month("2026-11", false), "2026-11-01");
        assert_eq!(day_of_month("2026-11", true), "2026-11-30");
        assert_eq!(day_of_month("2028-02", true), "2028-02-29");
        for text in ["2026-13", "2026-11-22", "2026-1", "november", "", "202611"] {
            assert_eq!((day_of_month(text, true).as_str(), day_of_month(text, false).as_str()), (text, text));
        }
    }
}
