//! Rows as a table, JSON or CSV.

use std::fmt::Write as _;

use clap::ValueEnum;
use serde_json::Value;

use crate::admin::{cell, columns, csv};

/// The output format of rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Aligned columns
    #[default]
    Table,
    /// An array of objects
    Json,
    /// With a header row; cells that a spreadsheet would execute start with '
    Csv,
}

/// `rows` in `format`. The columns are the members of the first row without `type`.
pub(super) fn rows(rows: &[Value], format: Format) -> String {
    if format == Format::Json {
        return serde_json::to_string_pretty(rows).unwrap_or_default();
    }
    let Some(first) = rows.first() else {
        return if format == Format::Csv { String::new() } else { "no rows".to_owned() };
    };
    if format == Format::Csv {
        return csv(first, rows);
    }
    let columns = columns(first);
    let header = columns.iter().map(|name| (*name).to_owned()).collect();
    let cells = rows.iter().map(|row| columns.iter().map(|name| cell(&row[*name])).collect());
    let lines: Vec<Vec<String>> = std::iter::once(header).chain(cells).collect();
    table(&lines)
}

/// A cell without control characters: names that are older than the check of names may contain some, which a terminal
/// executes.
pub(super) fn printable(cell: &str) -> String {
    cell.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect()
}

fn table(lines: &[Vec<String>]) -> String {
    let mut widths = Vec::new();
    for line in lines {
        widths.resize(line.len(), 0);
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for line in lines {
        let mut row = String::new();
        for (cell, width) in line.iter().zip(&widths) {
            let printable = printable(cell);
            // Writing to a String cannot fail.
            let _ = write!(row, "{printable:width$}  ");
        }
        text.push_str(row.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn table_contains_no_control_characters() {
        let found = [
            json!({"type": "user", "user_id": "a\u{1b}[2J", "team": null}),
            json!({"user_id": "b", "team": "t"}),
        ];
        assert_eq!(rows(&found, Format::Table), "user_id  team\na\u{fffd}[2J\nb        t\n");
        assert_eq!(rows(&[], Format::Table), "no rows");
        assert_eq!(rows(&[], Format::Json), "[]");
    }
}
