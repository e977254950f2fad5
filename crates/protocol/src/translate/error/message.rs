//! Messages: parsing AWS's, writing the client's.

/// What stands before the text of the model's own server.
const PREFIX: &str = "The model returned the following errors: ";
/// Members of Converse, with the names that clients know.
const MEMBERS: [(&str, &str); 4] = [
    ("inferenceConfig.maxTokens", "max_tokens"),
    ("inferenceConfig.temperature", "temperature"),
    ("inferenceConfig.topP", "top_p"),
    ("inferenceConfig.stopSequences", "stop_sequences"),
];

/// The code without name space, address and the spelling of frames (`throttlingException`).
pub(super) fn code(code: &str) -> String {
    let code = code.rsplit_once('#').map_or(code, |(_, code)| code);
    let code = code.split_once(':').map_or(code, |(code, _)| code).trim();
    let mut letters = code.chars();
    letters.next().map_or_else(String::new, |first| first.to_ascii_uppercase().to_string() + letters.as_str())
}

/// The text as the table's words are written: in lower case, with the straight one of the two apostrophes.
pub(super) fn searchable(text: &str) -> String {
    text.to_lowercase().replace('\u{2019}', "'")
}

/// AWS's message as a client may see it.
pub(super) fn visible(text: &str, code: &str) -> String {
    let text = text.trim();
    let text = text.strip_prefix(PREFIX).unwrap_or(text);
    if text.is_empty() {
        return if code.is_empty() {
            "Bedrock rejected the request".to_owned()
        } else {
            format!("Bedrock returned {code}")
        };
    }
    let text = redacted(text);
    MEMBERS.iter().fold(
        text,
        |text, (theirs, ours)| {
            if text.contains(theirs) { text.replace(theirs, ours) } else { text }
        },
    )
}

/// Joins the message and the advice.
pub(super) fn sentences(text: &str, advice: &str) -> String {
    let stop = if text.ends_with(['.', '!', '?']) { "" } else { "." };
    format!("{text}{stop} {advice}")
}

/// `prompt is too long`, which clients recover on: with numbers when AWS's message has them.
pub(super) fn overflow(text: &str) -> Option<String> {
    // Numbers of characters are no numbers of tokens.
    if !text.contains("token") {
        return None;
    }
    let numbers = text.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse::<u64>().ok());
    let numbers: Vec<u64> = numbers.filter(|number| *number > 0).take(2).collect();
    match *numbers.as_slice() {
        [one, other] if one != other => {
            let (tokens, most) = (one.max(other), one.min(other));
            Some(format!("prompt is too long: {tokens} tokens > {most} maximum"))
        }
        _ => None,
    }
}

/// Redacts ARNs and account ids.
fn redacted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let at_word = out.chars().next_back().is_none_or(|last| !last.is_ascii_alphanumeric());
        if at_word && rest.starts_with("arn:") {
            out.push_str("[arn]");
            rest = &rest
                [rest.find(|c: char| c.is_whitespace() || "\"'`,;)]}".contains(c)).unwrap_or(rest.len())..];
            continue;
        }
        // At the beginning of a word only: each digit of a long number would begin another count.
        let digits = if at_word { rest.bytes().take_while(u8::is_ascii_digit).count() } else { 0 };
        if digits == 12 {
            out.push_str("[account]");
            rest = &rest[digits..];
            continue;
        }
        let Some(next) = rest.chars().next() else { break };
        out.push(next);
        rest = &rest[next.len_utf8()..];
    }
    out
}
