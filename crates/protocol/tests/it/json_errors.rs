//! Errors of invalid bodies, in the wording of each client API.

use protocol::anthropic::Request;
use protocol::json_error::{Wording, parse};
use protocol::openai;

fn messages_error(body: &str) -> String {
    Request::parse(body.as_bytes()).unwrap_err().to_string()
}

fn chat_error(body: &str) -> String {
    openai::Request::parse(body.as_bytes()).unwrap_err().message
}

#[test]
fn wrong_types_get_anthropics_sentences() {
    for (body, expected) in [
        (r#"{"max_tokens":"a"}"#, "max_tokens: Input should be a valid integer"),
        (r#"{"max_tokens":1.5}"#, "max_tokens: Input should be a valid integer"),
        (
            r#"{"max_tokens":1e400}"#,
            "max_tokens: the body is not valid JSON: a number is out of range (line 1, column 19)",
        ),
        (r#"{"max_tokens":true}"#, "max_tokens: Input should be a valid integer"),
        (r#"{"max_tokens":-1}"#, "max_tokens: Input should be greater than or equal to 0"),
        (r#"{"temperature":"hot"}"#, "temperature: Input should be a valid number"),
        (r#"{"stream":"true"}"#, "stream: Input should be a valid boolean"),
        (r#"{"model":5}"#, "model: Input should be a valid string"),
        (r#"{"messages":{}}"#, "messages: Input should be a valid list"),
        (r#"{"messages":[7]}"#, "messages.0: Input should be an object"),
        (
            r#"{"messages":[{"content":7}]}"#,
            "messages.0.content: Input should be a string or an array of content blocks",
        ),
        (
            r#"{"messages":[{"content":[{"text":[]}]}]}"#,
            "messages.0.content.0.text: Input should be a valid string",
        ),
        (r#"{"tool_choice":"auto"}"#, "tool_choice: Input should be an object"),
        (r#"{"stop_sequences":["a",null]}"#, "stop_sequences.1: Input should be a valid string"),
        (r#"{"model":"a","model":"b"}"#, "model: the field is given twice"),
        ("[]", "the body should be a JSON object, not an array"),
        (r#"{"model":"#, "model: the body is not valid JSON: it ends before it is complete"),
        (r#"{"model":x}"#, "model: the body is not valid JSON: unexpected character (line 1, column 10)"),
        (
            r#"{"model":"\ud800"}"#,
            "model: the body is not valid JSON: a string has an invalid escape (line 1, column 17)",
        ),
        (r#"{"model":"m"} x"#, "the body is not valid JSON: something follows its end (line 1, column 15)"),
    ] {
        assert_eq!(messages_error(body), expected, "{body}");
    }
    assert!(Request::parse(b"\"\xff\"").unwrap_err().message.ends_with("byte 2 is wrong"));
}

#[test]
fn wrong_types_get_openais_sentences() {
    for (body, expected) in [
        (
            r#"{"max_tokens":"a"}"#,
            "Invalid type for 'max_tokens': expected an integer, but got a string instead.",
        ),
        (
            r#"{"temperature":[]}"#,
            "Invalid type for 'temperature': expected a decimal, but got an array instead.",
        ),
        (r#"{"stream":1}"#, "Invalid type for 'stream': expected a boolean, but got an integer instead."),
        (
            r#"{"stop":7}"#,
            "Invalid type for 'stop': expected a string or an array, but got an integer instead.",
        ),
        (
            r#"{"tool_choice":false}"#,
            "Invalid type for 'tool_choice': expected a string or an object, but got a boolean instead.",
        ),
        (
            r#"{"messages":[{"content":1.5}]}"#,
            "Invalid type for 'messages.0.content': expected a string or an array, but got a decimal instead.",
        ),
        (
            r#"{"messages":[{"content":[null]}]}"#,
            "Invalid type for 'messages.0.content.0': expected an object, but got null instead.",
        ),
        (
            r#"{"n":-2}"#,
            "Invalid 'n': integer below minimum value. Expected a value >= 0, but got -2 instead.",
        ),
    ] {
        assert_eq!(chat_error(body), expected, "{body}");
    }
}

#[test]
fn long_names_are_shortened() {
    let name = "é".repeat(10_000);
    let error = messages_error(&format!(r#"{{"{name}":1,"{name}":2}}"#));
    assert!(error.len() < 200, "{error}");
}

#[test]
fn derived_types_get_sentences_too() {
    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body {
        #[expect(dead_code)]
        user_id: String,
        #[expect(dead_code)]
        limit: Option<i64>,
    }
    for (body, expected) in [
        (r#"{"user_id":1}"#, "user_id: Input should be a valid string"),
        (r#"{"user_id":"a","limit":"x"}"#, "limit: Input should be a valid integer"),
        (r#"{"user_id":"a","size":1}"#, "size: Extra inputs are not permitted; use user_id, limit"),
        ("{}", "user_id: Field required"),
        ("7", "the body should be a JSON object, not an integer"),
        (r#"["a",5]"#, "the body should be a JSON object, not an array"),
    ] {
        let error = parse::<Body>(body.as_bytes(), Wording::Anthropic).unwrap_err();
        assert_eq!(error.to_string(), expected, "{body}");
    }
}
