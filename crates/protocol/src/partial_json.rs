//! Complete part of a truncated JSON text.

/// Closes what is open in `json`, without the member or item that was cut.
///
/// `{"a":1,"b":"hal` becomes `{"a":1}`. What is not the beginning of a JSON value comes back as something
/// that is not JSON either.
pub(crate) fn complete_partial_json(json: &str) -> String {
    // The position up to which everything is complete. The brackets that are open there are those open at the end, as
    // each bracket moves the position.
    let mut safe = 0;
    let mut open: Vec<u8> = Vec::new();
    let mut in_string = false;
    let mut escaped = false;
    for (at, byte) in json.bytes().enumerate() {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' => open.push(b'}'),
            b'[' => open.push(b']'),
            b'}' | b']' => {
                open.pop();
            }
            _ => {}
        }
        match byte {
            // The value before a comma is complete; an opened bracket is a complete empty one.
            b',' => safe = at,
            b'{' | b'[' | b'}' | b']' => safe = at + 1,
            _ => {}
        }
    }
    // A string or literal that ends the text is complete when the whole becomes JSON with it.
    let closed_json = closed(json, &open);
    if !in_string
        && serde_json::from_str::<serde::de::IgnoredAny>(&closed_json).is_ok()
        && !ends_in_number(json)
    {
        return closed_json;
    }
    closed(&json[..safe], &open)
}

fn closed(json: &str, open: &[u8]) -> String {
    let mut text = json.to_owned();
    text.extend(open.iter().rev().map(|&bracket| char::from(bracket)));
    text
}

/// A number at the very end may have lost digits.
fn ends_in_number(json: &str) -> bool {
    json.ends_with(|last: char| last.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complete_members_of_truncated_json_are_kept() {
        for (cut, kept) in [
            ("{", "{}"),
            (r#"{"a"#, "{}"),
            (r#"{"a":"#, "{}"),
            (r#"{"a":"x"#, "{}"),
            (r#"{"a":"x""#, r#"{"a":"x"}"#),
            (r#"{"a":"x","#, r#"{"a":"x"}"#),
            (r#"{"a":"x","b":tr"#, r#"{"a":"x"}"#),
            (r#"{"a":"x","b":true"#, r#"{"a":"x","b":true}"#),
            (r#"{"a":"x","b":12"#, r#"{"a":"x"}"#),
            (r#"{"a":[1,2,{"b":"c\"}"#, r#"{"a":[1,2,{}]}"#),
            (r#"{"a":[1,2"#, r#"{"a":[1]}"#),
            (r#"{"a":{"b":1},"c":"#, r#"{"a":{"b":1}}"#),
        ] {
            assert_eq!(complete_partial_json(cut), kept, "{cut}");
        }
    }

    #[test]
    fn no_prefix_of_json_stays_broken() {
        let json = r#"{"a":[{"b":"c\\\"d"},null,true,1.5e3],"e":{"f":{}},"g":"ü"}"#;
        for end in (1..=json.len()).filter(|&end| json.is_char_boundary(end)) {
            let completed = complete_partial_json(&json[..end]);
            assert!(
                serde_json::from_str::<serde_json::Value>(&completed).is_ok(),
                "{} gave {completed}",
                &json[..end]
            );
        }
    }
}
