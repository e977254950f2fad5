//! Files of users and teams: CSV for an import, and a document in TOML or JSON for `apply`. All mistakes are collected.

use serde_json::{Map, Value};

use super::{Declaration, Entry, TeamChange, UserChange};
use crate::config::parse_limit;

/// Columns of a list of users that cannot be set. An export of the list can be imported again.
const READ_ONLY_COLUMNS: [&str; 5] =
    ["tokens_valid_from", "tokens_used_today", "last_reset_date", "created_at", "updated_at"];

/// A value of a user or team, as its mistakes name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    User,
    Team,
    Limit,
    Profile,
    Disabled,
    ReadOnly,
}

impl Column {
    /// The column with this title, in the words of the command line or of the API.
    fn from_title(title: &str) -> Option<Self> {
        match title.trim().to_ascii_lowercase().as_str() {
            "user" | "user_id" => Some(Self::User),
            "team" => Some(Self::Team),
            "limit" | "daily_token_limit" => Some(Self::Limit),
            "profile" | "default_inference_profile" => Some(Self::Profile),
            "disabled" => Some(Self::Disabled),
            title if READ_ONLY_COLUMNS.contains(&title) => Some(Self::ReadOnly),
            _ => None,
        }
    }
}

impl Declaration {
    /// Parses a CSV of users: a header with the column `user` and any of `team`, `limit`, `profile` and `disabled`, then a
    /// line for each user. An empty cell keeps a value. The separator is the comma or the semicolon.
    #[must_use]
    pub(crate) fn from_csv(text: &str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        let separator = if first.contains(';') && !first.contains(',') { ';' } else { ',' };
        let mut mistakes = Vec::new();
        let mut records = parse_csv(text, separator, &mut mistakes).into_iter();
        let Some((line, titles)) = records.next() else {
            return Self { mistakes: vec!["the file is empty".to_owned()], ..Self::default() };
        };
        let mut columns = Vec::new();
        for title in &titles {
            let column = Column::from_title(title);
            if column.is_none() {
                mistakes.push(format!(
                    "line {line}: there is no column {title:?}; use user, team, limit, profile and disabled"
                ));
            }
            if column.is_some_and(|column| column != Column::ReadOnly && columns.contains(&Some(column))) {
                mistakes.push(format!("line {line}: the column {title:?} occurs twice"));
            }
            columns.push(column);
        }
        if !columns.contains(&Some(Column::User)) {
            mistakes.push(format!("line {line}: the column \"user\" is missing"));
            return Self { mistakes, ..Self::default() };
        }
        let mut users = Vec::new();
        for (line, cells) in records {
            let place = format!("line {line}");
            if cells.len() != columns.len() {
                let (found, expected) = (cells.len(), columns.len());
                let noun = if found == 1 { "cell" } else { "cells" };
                mistakes.push(format!("{place}: it has {found} {noun}, the header has {expected}"));
                continue;
            }
            let mut entry = Entry { name: String::new(), place, change: UserChange::default() };
            for (column, cell) in columns.iter().zip(&cells) {
                if let Some(column) = column {
                    set_cell(&mut entry, *column, unescape(cell.trim()), &mut mistakes);
                }
            }
            users.push(entry);
        }
        Self { teams: None, users: Some(users), mistakes }
    }

    /// Reads a document with the members `teams` and `users`, each an object of objects by name.
    #[must_use]
    pub(crate) fn from_document(document: &Value) -> Self {
        let mut mistakes = Vec::new();
        let Some(members) = document.as_object() else {
            return Self {
                mistakes: vec!["the file has no members teams and users".to_owned()],
                ..Self::default()
            };
        };
        for name in members.keys().filter(|name| !["teams", "users"].contains(&name.as_str())) {
            mistakes.push(format!("there is no member {name:?}; use teams and users"));
        }
        let teams = entries(members, "teams", &mut mistakes, |place, values, mistakes| {
            let known = [("limit", Column::Limit), ("disabled", Column::Disabled)];
            let UserChange { daily_token_limit, disabled, .. } = change(place, values, &known, mistakes);
            TeamChange { daily_token_limit, disabled }
        });
        let users = entries(members, "users", &mut mistakes, |place, values, mistakes| {
            let known = [
                ("team", Column::Team),
                ("limit", Column::Limit),
                ("profile", Column::Profile),
                ("disabled", Column::Disabled),
            ];
            change(place, values, &known, mistakes)
        });
        Self { teams, users, mistakes }
    }
}

/// The entries of the member `kind`.
fn entries<C>(
    members: &Map<String, Value>,
    kind: &str,
    mistakes: &mut Vec<String>,
    read: impl Fn(&str, &Map<String, Value>, &mut Vec<String>) -> C,
) -> Option<Vec<Entry<C>>> {
    let value = members.get(kind)?;
    let Some(objects) = value.as_object() else {
        mistakes.push(format!("{kind}: use a table with a name for each entry"));
        return None;
    };
    let mut entries = Vec::new();
    for (name, value) in objects {
        let place = format!("{kind}.{name}");
        match value.as_object() {
            Some(values) => {
                let change = read(&place, values, mistakes);
                entries.push(Entry { name: name.clone(), place, change });
            }
            None => mistakes.push(format!("{place}: use a table of values, such as limit = \"5M\"")),
        }
    }
    Some(entries)
}

/// The values of one entry.
fn change(
    place: &str,
    values: &Map<String, Value>,
    known: &[(&str, Column)],
    mistakes: &mut Vec<String>,
) -> UserChange {
    let mut entry = Entry { name: String::new(), place: place.to_owned(), change: UserChange::default() };
    for (name, value) in values {
        let Some((_, column)) = known.iter().find(|(known, _)| known == name) else {
            let names = known.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
            mistakes.push(format!("{place}: there is no member {name:?}; use {names}"));
            continue;
        };
        match value {
            Value::String(text) => set_cell(&mut entry, *column, text, mistakes),
            Value::Number(number) if *column == Column::Limit => {
                set_cell(&mut entry, *column, &number.to_string(), mistakes);
            }
            Value::Bool(is_true) if *column == Column::Disabled => entry.change.disabled = Some(*is_true),
            Value::Null => set_cell(&mut entry, *column, null_word(*column), mistakes),
            other => mistakes.push(format!("{place}.{name}: {other} is not possible here")),
        }
    }
    entry.change
}

/// The word for no value.
fn null_word(column: Column) -> &'static str {
    match column {
        Column::Limit => "unlimited",
        Column::Disabled => "false",
        _ => "none",
    }
}

/// Sets one value. An empty text keeps the value.
fn set_cell(entry: &mut Entry<UserChange>, column: Column, text: &str, mistakes: &mut Vec<String>) {
    let place = &entry.place;
    let change = &mut entry.change;
    let value_or_none = || Some((text != "none").then(|| text.to_owned()));
    match column {
        Column::User => text.clone_into(&mut entry.name),
        Column::ReadOnly => {}
        _ if text.is_empty() => {}
        Column::Team => change.team = value_or_none(),
        Column::Profile => change.default_inference_profile = value_or_none(),
        Column::Limit => match parse_limit(text) {
            Ok(limit) => change.daily_token_limit = Some(limit),
            Err(reason) => mistakes.push(format!("{place}: limit {text:?}: {reason}")),
        },
        Column::Disabled => match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "1" => change.disabled = Some(true),
            "false" | "no" | "0" => change.disabled = Some(false),
            _ => mistakes.push(format!("{place}: disabled {text:?}: use true or false")),
        },
    }
}

/// Removes the `'` that an export puts before a cell that looks like a formula.
fn unescape(cell: &str) -> &str {
    match cell.strip_prefix('\'') {
        Some(rest) if rest.starts_with(['=', '+', '-', '@', '\t', '\r']) => rest,
        _ => cell,
    }
}

/// Records of a CSV, each with the number of its first line: <https://www.rfc-editor.org/rfc/rfc4180>. Blank lines are left
/// out.
fn parse_csv(text: &str, separator: char, mistakes: &mut Vec<String>) -> Vec<(usize, Vec<String>)> {
    let mut records = Vec::new();
    let (mut cells, mut cell, mut is_quoted) = (Vec::new(), String::new(), false);
    let (mut line, mut start) = (1, 1);
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if is_quoted && letters.peek() == Some(&'"') => {
                letters.next();
                cell.push('"');
            }
            '"' if is_quoted || cell.trim().is_empty() => {
                is_quoted = !is_quoted;
                if is_quoted {
                    cell.clear();
                }
            }
            '\n' | '\r' if !is_quoted => {
                if letter == '\r' && letters.peek() == Some(&'\n') {
                    letters.next();
                }
                line += 1;
                cells.push(std::mem::take(&mut cell));
                push_record(&mut records, start, std::mem::take(&mut cells));
                start = line;
            }
            letter if letter == separator && !is_quoted => cells.push(std::mem::take(&mut cell)),
            letter => {
                line += usize::from(letter == '\n');
                cell.push(letter);
            }
        }
    }
    if is_quoted {
        mistakes.push(format!("line {start}: a quotation mark is not closed"));
    }
    cells.push(cell);
    push_record(&mut records, start, cells);
    records
}

fn push_record(records: &mut Vec<(usize, Vec<String>)>, start: usize, cells: Vec<String>) {
    if cells.len() > 1 || cells.iter().any(|cell| !cell.trim().is_empty()) {
        records.push((start, cells));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn user(name: &str, line: usize) -> Entry<UserChange> {
        Entry { name: name.to_owned(), place: format!("line {line}"), change: UserChange::default() }
    }

    #[test]
    fn csv_of_users_is_parsed() {
        let text = "\u{feff}User,Team,limit,disabled\r\nana,\"red, blue\",5M,\r\n\r\n\"b\"\"en\",none,unlimited,yes\ncleo,,,";
        let parsed = Declaration::from_csv(text);
        assert_eq!(parsed.mistakes, [""; 0]);
        let mut ana = user("ana", 2);
        ana.change.team = Some(Some("red, blue".to_owned()));
        ana.change.daily_token_limit = Some(Some(5_000_000));
        let mut ben = user("b\"en", 4);
        ben.change = UserChange {
            team: Some(None),
            daily_token_limit: Some(None),
            disabled: Some(true),
            ..UserChange::default()
        };
        assert_eq!(parsed.users, Some(vec![ana, ben, user("cleo", 5)]));
        let semicolons = Declaration::from_csv("user;limit\nana;7\n");
        assert_eq!(semicolons.users.unwrap()[0].change.daily_token_limit, Some(Some(7)));
        let exported = Declaration::from_csv("user_id,team,daily_token_limit,created_at\n'=x,,5,2026\n");
        assert!(exported.mistakes.is_empty() && exported.users.unwrap()[0].name == "=x");
    }

    #[test]
    fn csv_mistakes_are_collected_with_their_lines() {
        let mistakes = |text: &str| Declaration::from_csv(text).mistakes.join("\n");
        let found = mistakes("user,limit,disabled\nana,many,\nben\n\"c\nd\",5,maybe\n");
        let lines: Vec<_> = found.lines().map(|line| line.split(':').next().unwrap()).collect();
        assert_eq!(lines, ["line 2", "line 3", "line 4"], "{found}");
        assert!(mistakes("user,team\nana").contains("line 2: it has 1 cell, the header has 2"));
        assert!(mistakes("name\nx").contains("column \"user\" is missing"));
        assert!(mistakes("user,teem\nx,y").contains("no column \"teem\""));
        assert!(mistakes("user,user_id\nx,y").contains("occurs twice"));
        assert!(mistakes("user\n\"ana\nben").contains("not closed"));
        assert!(mistakes("\n \n").contains("empty"));
    }

    #[test]
    fn document_has_teams_and_users() {
        let document = json!({
            "teams": {"red": {"limit": "5M"}},
            "users": {"ana": {"team": "red", "limit": 7, "disabled": true}, "ben": {"team": null, "limit": "unlimited"}},
        });
        let parsed = Declaration::from_document(&document);
        assert_eq!(parsed.mistakes, [""; 0]);
        assert_eq!(parsed.teams.unwrap()[0].change.daily_token_limit, Some(Some(5_000_000)));
        let users = parsed.users.unwrap();
        assert_eq!(
            (users[0].change.daily_token_limit, users[0].change.disabled),
            (Some(Some(7)), Some(true))
        );
        assert_eq!((&users[1].change.team, users[1].change.daily_token_limit), (&Some(None), Some(None)));
    }

    #[test]
    fn document_mistakes_are_collected_with_their_paths() {
        let document = json!({
            "team": {},
            "teams": {"red": {"limit": -1, "profile": "x"}},
            "users": {"ana": 5, "ben": {"limit": [], "disabled": "maybe"}},
        });
        let found = Declaration::from_document(&document).mistakes;
        assert_eq!(found.len(), 6, "{found:?}");
        for place in [
            "\"team\"",
            "teams.red: limit",
            "teams.red: there",
            "users.ana",
            "users.ben.limit",
            "users.ben: disabled",
        ] {
            assert!(found.iter().any(|mistake| mistake.contains(place)), "{place}: {found:?}");
        }
        assert_eq!(Declaration::from_document(&json!([])).mistakes.len(), 1);
    }
}
