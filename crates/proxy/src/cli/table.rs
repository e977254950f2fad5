//! Rows for people and for programs: a table, JSON, or CSV.

use std::fmt::Write as _;

use clap::ValueEnum;
use serde_json::{Map, Value};

/// How rows are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Columns for the eye
    #[default]
    Table,
    /// One array of objects
    Json,
    /// With a head; cells that a spreadsheet would run begin with '
    Csv,
}

/// `rows` in `format`; the columns are the members of the first row, but for its `type`.
pub(super) fn rows(rows: &[Value], format: Format) -> String {
    if format == Format::Json {
        return serde_json::to_string_pretty(rows).unwrap_or_default();
    }
    let first = rows.first().and_then(Value::as_object);
    let columns: Vec<&str> = first
        .map(Map::keys)
        .into_iter()
        .flatten()
        .map(String::as_str)
        .filter(|name| *name != "type")
        .collect();
    let head = columns.iter().map(|name| (*name).to_owned()).collect();
    let cells = rows.iter().map(|row| columns.iter().map(|name| cell(&row[*name])).collect());
    let lines: Vec<Vec<String>> = std::iter::once(head).chain(cells).collect();
    match format {
        _ if columns.is_empty() => "nothing found".to_owned(),
        Format::Csv => csv(&lines),
        Format::Table | Format::Json => table(&lines),
    }
}

/// A value without quotes, and nothing for `null`.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
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
            // Rows can be older than the rules for names, and a terminal obeys control characters.
            let seen: String =
                cell.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect();
            // Writing to a String cannot fail.
            let _ = write!(row, "{seen:width$}  ");
        }
        text.push_str(row.trim_end());
        text.push('\n');
    }
    text
}

/// <https://www.rfc-editor.org/rfc/rfc4180>
fn csv(lines: &[Vec<String>]) -> String {
    let cell = |cell: &String| {
        let runs = cell.starts_with(['=', '+', '-', '@', '\t', '\r']) && cell.parse::<f64>().is_err();
        let cell = if runs { format!("'{cell}") } else { cell.clone() };
        let quoted = cell.contains([',', '"', '\n', '\r']);
        if quoted { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell }
    };
    lines.iter().map(|line| line.iter().map(cell).collect::<Vec<_>>().join(",") + "\r\n").collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_spreadsheet_runs_nothing_of_a_report() {
        let names = ["=HYPERLINK(\"x\")", "+cmd|' /C calc'!A0", "-2+3", "@SUM(1)", "a,\"b\"", "\tx"];
        let found: Vec<_> =
            names.iter().map(|name| json!({"type": "usage", "user_id": name, "n": -5})).collect();
        let text = rows(&found, Format::Csv);
        let expected = "user_id,n\r\n\"'=HYPERLINK(\"\"x\"\")\",-5\r\n'+cmd|' /C calc'!A0,-5\r\n'-2+3,-5\r\n'@SUM(1),-5\r\n\
                        \"a,\"\"b\"\"\",-5\r\n'\tx,-5\r\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_terminal_obeys_nothing_of_a_table() {
        let found = [
            json!({"type": "user", "user_id": "a\u{1b}[2J", "team": null}),
            json!({"user_id": "b", "team": "t"}),
        ];
        assert_eq!(rows(&found, Format::Table), "user_id  team\na\u{fffd}[2J\nb        t\n");
        assert_eq!(rows(&[], Format::Table), "nothing found");
        assert_eq!(rows(&[], Format::Json), "[]");
    }
}
