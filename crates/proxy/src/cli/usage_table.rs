//! A usage report for people: numbers to the right, totals below, and on a terminal a bar beside each number. A terminal that
//! is too narrow for all numbers shows fewer.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, stdout};

use serde_json::Value;

use super::table::printable;
use crate::admin::{cell, columns};

/// Characters of a bar beside each number.
const BAR_CHARS: usize = 5;
/// Characters of a bar beside the cost alone, on a narrow terminal.
const COST_BAR_CHARS: usize = 12;
/// Parts of one character of a bar.
const EIGHTHS: [char; 8] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];
/// The cost in nano-dollars stands in dollars beside it.
const LEFT_OUT: &str = "cost_nano_usd";
const COST: &str = "cost_usd";
/// Numbers that a narrow terminal does without, the first ones first.
const EXPENDABLE: [&str; 8] = [
    "estimated",
    "unpriced",
    "failed",
    "cache_write_tokens",
    "cache_read_tokens",
    "input_tokens",
    "output_tokens",
    "charged_tokens",
];

/// Width of the terminal on stdout in characters; `None` for a pipe or a file.
pub(super) fn terminal_width() -> Option<usize> {
    let stdout = stdout();
    if !stdout.is_terminal() {
        return None;
    }
    let columns = rustix::termios::tcgetwinsize(&stdout).map_or(0, |size| size.ws_col);
    Some(if columns == 0 { 80 } else { usize::from(columns) })
}

/// One column of the table.
struct Column {
    name: String,
    cells: Vec<String>,
    /// Values of the rows without totals; empty for a dimension.
    values: Vec<f64>,
    bar_chars: usize,
}

impl Column {
    fn new(name: &str, rows: &[&Value], width: Option<usize>) -> Self {
        let text = |row: &&Value| match &row[name] {
            Value::String(text) if name != COST && text.is_empty() => "(none)".to_owned(),
            Value::Number(number) if width.is_some() => group(&number.to_string()),
            other => printable(&cell(other)),
        };
        let value = |row: &&Value| row[name].as_f64().or_else(|| row[name].as_str()?.parse().ok());
        let is_number = name == COST || rows.iter().any(|row| row[name].is_number());
        let values = if is_number { rows.iter().filter_map(value).collect() } else { Vec::new() };
        Self { name: name.to_owned(), cells: rows.iter().map(text).collect(), values, bar_chars: 0 }
    }

    fn is_number(&self) -> bool {
        !self.values.is_empty()
    }

    /// Width in characters, without the bar.
    fn width(&self) -> usize {
        let cells = self.cells.iter().chain([&self.name]);
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    }

    fn bar(&self, row: usize, rows: usize) -> String {
        let max = self.values.iter().take(rows).copied().fold(0.0, f64::max);
        let share =
            if row < rows && max > 0.0 { self.values.get(row).copied().unwrap_or(0.0) / max } else { 0.0 };
        bar(share, self.bar_chars)
    }
}

/// The table of `rows`, with `totals` below them. `width` is that of the terminal; without one there are no bars.
pub(super) fn render(rows: &[Value], totals: &Value, width: Option<usize>) -> String {
    let first = rows.first().unwrap_or(totals);
    let names: Vec<_> = columns(first).into_iter().filter(|name| *name != LEFT_OUT).collect();
    let has_dimensions = names.first().is_some_and(|name| totals.get(name).is_none());
    let mut all: Vec<&Value> = rows.iter().collect();
    if has_dimensions {
        all.push(totals);
    }
    let mut table: Vec<_> = names.iter().map(|name| Column::new(name, &all, width)).collect();
    if has_dimensions {
        // The totals have no dimension: their first cell is a label.
        for (at, column) in table.iter_mut().filter(|column| !column.is_number()).enumerate() {
            if let Some(last) = column.cells.last_mut() {
                *last = if at == 0 { "total".to_owned() } else { String::new() };
            }
        }
    }
    let hidden = width.map_or_else(Vec::new, |width| hide_columns(&mut table, width));
    if let Some(width) = width.filter(|_| rows.len() > 1) {
        let numbers = table.iter().filter(|column| column.is_number()).count();
        let plain: usize = table.iter().map(|column| column.width() + 2).sum();
        let fits = hidden.is_empty() && plain + numbers * (BAR_CHARS + 1) <= width;
        for column in table.iter_mut().filter(|column| column.is_number()) {
            column.bar_chars = match (fits, column.name.as_str()) {
                (true, _) => BAR_CHARS,
                (false, COST) => COST_BAR_CHARS,
                (false, _) => 0,
            };
        }
    }
    let header = line(&table, |column| (column.name.clone(), String::new()));
    let lines = (0..all.len())
        .map(|row| line(&table, |column| (column.cells[row].clone(), column.bar(row, rows.len()))));
    let text: String = std::iter::once(header).chain(lines).collect();
    match hidden.join(", ") {
        names if names.is_empty() => text,
        names => format!("{text}\nToo wide for this terminal: {names}; --format csv has all columns.\n"),
    }
}

/// Removes columns until the table and the bar of the cost fit into `width`: first those without a number above zero, then
/// in the order of [`EXPENDABLE`]. The names of the removed columns that have numbers.
fn hide_columns(table: &mut Vec<Column>, width: usize) -> Vec<String> {
    let is_too_wide = |table: &[Column]| {
        let plain: usize = table.iter().map(|column| column.width() + 2).sum();
        plain + COST_BAR_CHARS > width
    };
    let is_zero = |column: &Column| column.values.iter().all(|value| *value == 0.0);
    let mut hidden = Vec::new();
    for only_zero in [true, false] {
        for name in EXPENDABLE {
            let at = table.iter().position(|column| column.name == name && (!only_zero || is_zero(column)));
            if let Some(at) = at.filter(|_| is_too_wide(table)) {
                let column = table.remove(at);
                if !only_zero {
                    hidden.push(column.name);
                }
            }
        }
    }
    hidden
}

/// One line: of each column a cell and its bar.
fn line(table: &[Column], cell: impl Fn(&Column) -> (String, String)) -> String {
    let mut text = String::new();
    for column in table {
        let ((cell, bar), width) = (cell(column), column.width());
        // Writing to a String cannot fail.
        let _ = match (column.is_number(), column.bar_chars) {
            (false, _) => write!(text, "{cell:width$}  "),
            (true, 0) => write!(text, "{cell:>width$}  "),
            (true, chars) => write!(text, "{cell:>width$} {bar:chars$}  "),
        };
    }
    format!("{}\n", text.trim_end())
}

/// A bar of at most `chars` characters for a share from 0 to 1; a share above 0 is always visible.
fn bar(share: f64, chars: usize) -> String {
    let eighths = (share.clamp(0.0, 1.0) * 8.0 * chars as f64).round() as usize;
    let eighths = if share > 0.0 { eighths.max(1) } else { 0 };
    let part = EIGHTHS[eighths % 8];
    format!("{}{part}", "█".repeat(eighths / 8)).trim_end().to_owned()
}

/// Digits in groups of three.
fn group(digits: &str) -> String {
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        let rest = digits.len() - at;
        if at > 0 && rest.is_multiple_of(3) && !text.ends_with('-') {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row(user: &str, tokens: i64, cost: &str) -> Value {
        json!({"type": "usage", "user_id": user, "output_tokens": tokens, "cost_nano_usd": 1, "cost_usd": cost})
    }

    fn totals() -> Value {
        json!({"type": "usage", "output_tokens": 1500, "cost_nano_usd": 1, "cost_usd": "0.300000000"})
    }

    #[test]
    fn numbers_have_bars_on_a_terminal_only() {
        let rows =
            [row("ana", 1000, "0.200000000"), row("", 500, "0.100000000"), row("ben", 0, "0.000000000")];
        let piped = "user_id  output_tokens     cost_usd\n\
                     ana               1000  0.200000000\n\
                     (none)             500  0.100000000\n\
                     ben                  0  0.000000000\n\
                     total             1500  0.300000000\n";
        assert_eq!(render(&rows, &totals(), None), piped);
        let wide = render(&rows, &totals(), Some(80));
        let expected = "user_id  output_tokens           cost_usd\n\
                        ana              1,000 █████  0.200000000 █████\n\
                        (none)             500 ██▌    0.100000000 ██▌\n\
                        ben                  0        0.000000000\n\
                        total            1,500        0.300000000\n";
        assert_eq!(wide, expected);
        assert_eq!(render(&[], &totals(), Some(80)).lines().count(), 1);
    }

    #[test]
    fn narrow_terminal_shows_fewer_columns() {
        let row = |user: &str| {
            json!({"type": "usage", "user_id": user, "requests": 4, "failed": 1, "estimated": 0, "input_tokens": 70_000,
                "output_tokens": 5000, "charged_tokens": 75_000, "cost_nano_usd": 1, "cost_usd": "0.200000000"})
        };
        let (rows, mut totals) = ([row("ana"), row("ben")], row(""));
        totals.as_object_mut().unwrap().shift_remove("user_id");
        let at = |width| render(&rows, &totals, Some(width));
        assert!(at(120).contains("estimated") && !at(120).contains("Too wide"), "{}", at(120));
        // Without zeros, nothing that is left out needs a remark.
        assert!(!at(100).contains("estimated") && !at(100).contains("Too wide"), "{}", at(100));
        let narrow = at(60);
        let expected = "user_id  requests  charged_tokens     cost_usd\n\
                        ana             4          75,000  0.200000000 ████████████\n\
                        ben             4          75,000  0.200000000 ████████████\n\
                        total           4          75,000  0.200000000\n\n\
                        Too wide for this terminal: failed, input_tokens, output_tokens; --format csv has all columns.\n";
        assert_eq!(narrow, expected);
        assert!(render(&rows, &totals, None).contains("estimated"), "a pipe has all columns");
    }

    #[test]
    fn bars_show_every_share_above_zero() {
        assert_eq!(bar(0.0, 5), "");
        assert_eq!(bar(0.0001, 5), "▏");
        assert_eq!(bar(1.0, 5), "█████");
        assert_eq!(group("-1234567"), "-1,234,567");
        assert_eq!(group("999"), "999");
    }
}
