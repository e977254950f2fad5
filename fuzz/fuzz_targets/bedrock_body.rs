//! Arbitrary bodies of the Bedrock API: no panic, and an S3 location is found wherever it is added.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::capabilities::Capabilities;
use protocol::translate::{self, InvokeOptions, TranslationOptions, find_s3_location};
use serde_json::{Value, json};

/// Names under which JSON is data of a tool, where a location does not count.
const TOOL_DATA: [&str; 5] = ["input", "json", "parameters", "input_schema", "body"];

/// Adds a location to the object or array that `path` leads to. Returns whether it counts.
fn add_location(value: &mut Value, path: &[u8]) -> bool {
    match (value, path.split_first()) {
        (Value::Object(members), Some((step, rest))) if !members.is_empty() => {
            let index = usize::from(*step) % members.len();
            let (name, value) = members.iter_mut().nth(index).expect("the index is in range");
            let is_data = TOOL_DATA.contains(&name.as_str());
            add_location(value, rest) && !is_data
        }
        (Value::Array(items), Some((step, rest))) if !items.is_empty() => {
            let index = usize::from(*step) % items.len();
            add_location(&mut items[index], rest)
        }
        (value, _) => {
            *value = json!({"source": {"s3Location": {"uri": "s3://bucket/key"}}});
            true
        }
    }
}

fuzz_target!(|input: (&[u8], &[u8])| {
    let (body, path) = input;
    let _ = find_s3_location(body);
    if let Ok(text) = std::str::from_utf8(body) {
        let options = InvokeOptions::invoke_model(TranslationOptions::new(8192));
        if let Ok(call) = translate::to_invoke(text, &Capabilities::CLASSIC_CLAUDE, &options) {
            serde_json::from_slice::<serde::de::IgnoredAny>(&call.body).expect("what is sent is JSON");
        }
    }
    let Ok(mut value) = serde_json::from_slice::<Value>(body) else { return };
    if add_location(&mut value, path) {
        assert!(find_s3_location(value.to_string().as_bytes()).is_some(), "{value}");
    }
});
