//! Rows as a table, JSON or CSV.

use std::fmt::Write as _;

use clap::ValueEnum;
use serde_json::{Map, Value};

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
    let first = rows.first().and_then(Value::as_object);
    let columns: Vec<&str> = first
        .map(Map::keys)
        .into_iter()
        .flatten()
        .map(String::as_str)
        .filter(|name| *name != "type")
        .collect();
    let header = columns.iter().map(|name| (*name).to_owned()).collect();
    let cells = rows.iter().map(|row| columns.iter().map(|name| cell(&row[*name])).collect());
    let lines: Vec<Vec<String>> = std::iter::once(header).chain(cells).collect();
    match format {
        _ if columns.is_empty() => "no rows".to_owned(),
        Format::Csv => csv(&lines),
        Format::Table | Format::Json => table(&lines),
    }
}

/// A value without quotes; empty for `null`.
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
            // Names that are older than the check of names may contain control characters, which a terminal executes.
            let printable: String =
                cell.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect();
            // Writing to a String cannot fail.
            let _ = write!(row, "{printable:width$}  ");
        }
        text.push_str(row.trim_end());
        text.push('\n');
    }
    text
}

/// <https://www.rfc-editor.org/rfc/rfc4180>
fn csv(lines: &[Vec<String>]) -> String {
    let cell = |cell: &String| {
        let is_formula = cell.starts_with(['=', '+', '-', '@', '\t', '\r']) && cell.parse::<f64>().is_err();
        let cell = if is_formula { format!("'{cell}") } else { cell.clone() };
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
    fn csv_cells_are_no_formulas() {
        let names = ["=HYPERLINK(\"x\")", "+cmd|' /C calc'!A0", "-2+3", "@SUM(1)", "a,\"b\"", "\tx"];
        let found: Vec<_> =
            names.iter().map(|name| json!({"type": "usage", "user_id": name, "n": -5})).collect();
        let text = rows(&found, Format::Csv);
        let expected = "user_id,n\r\n\"'=HYPERLINK(\"\"x\"\")\",-5\r\n'+cmd|' /C calc'!A0,-5\r\n'-2+3,-5\r\n'@SUM(1),-5\r\n\
                        \"a,\"\"b\"\"\",-5\r\n'\tx,-5\r\n";
        assert_eq!(text, expected);
    }

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
