//! Rows as CSV, for the command line and for `api::admin`: <https://www.rfc-editor.org/rfc/rfc4180>.

use serde_json::{Map, Value};

/// Names of the members of a row, without `type`.
pub(crate) fn columns(row: &Value) -> Vec<&str> {
    let names = row.as_object().map(Map::keys).into_iter().flatten().map(String::as_str);
    names.filter(|name| *name != "type").collect()
}

/// A value without quotes; empty for `null`.
pub(crate) fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Rows with a header. The columns are the members of `first`, which need not be one of the rows. A cell that a spreadsheet
/// would execute starts with `'`.
pub(crate) fn csv(first: &Value, rows: &[Value]) -> String {
    let columns = columns(first);
    if columns.is_empty() {
        return String::new();
    }
    let header = columns.iter().map(|name| escape((*name).to_owned())).collect::<Vec<_>>().join(",");
    let cells = rows
        .iter()
        .map(|row| columns.iter().map(|name| escape(cell(&row[*name]))).collect::<Vec<_>>().join(","));
    std::iter::once(header).chain(cells).map(|line| line + "\r\n").collect()
}

fn escape(cell: String) -> String {
    let is_formula = cell.starts_with(['=', '+', '-', '@', '\t', '\r']) && cell.parse::<f64>().is_err();
    let cell = if is_formula { format!("'{cell}") } else { cell };
    let is_quoted = cell.contains([',', '"', '\n', '\r']);
    if is_quoted { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell }
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
        let expected = "user_id,n\r\n\"'=HYPERLINK(\"\"x\"\")\",-5\r\n'+cmd|' /C calc'!A0,-5\r\n'-2+3,-5\r\n'@SUM(1),-5\r\n\
                        \"a,\"\"b\"\"\",-5\r\n'\tx,-5\r\n";
        assert_eq!(csv(&found[0], &found), expected);
        assert_eq!(csv(&found[0], &[]), "user_id,n\r\n");
        assert_eq!(csv(&Value::Null, &[]), "");
    }
}
