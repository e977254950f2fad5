//! Arbitrary texts of AWS's errors, which quote clients: no panic, and a client cannot make a field of others unsupported.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::converse::event::Exception;
use protocol::translate::{self, UnsupportedFeature, detect_unsupported, has_field, map_error};

/// Fields without which a request is another one.
const CORE: [&str; 9] = [
    "anthropic_version", "max_tokens", "messages", "model", "stop_sequences", "stream", "system", "tool_choice", "tools",
];

fn check(text: &str, body: &str) {
    if let Some(UnsupportedFeature::Field(path)) = detect_unsupported(text, body) {
        let is_older_name = path == "output_config.format" && has_field(body, "output_format");
        assert!(is_older_name || has_field(body, &path), "{path} is not in the request");
        assert!(!CORE.contains(&path.as_str()), "{path} is never left out");
        let name = path.rsplit('.').next().expect("a path has a name");
        assert!(text.contains(name), "{path} is not in the text");
    }
}

fuzz_target!(|input: (u16, &str, &str, &str)| {
    let (status, code, text, body) = input;
    let exception = Exception { message: Some(text.to_owned()), ..Exception::default() };
    let mapped = map_error(status, code, &exception);
    assert_eq!(mapped.aws_message, text);
    let _ = translate::parse_error(text.as_bytes());
    check(text, body);
    // The text as the name of a field, a beta or a tag of the client's, at the top and inside of a message.
    check(&format!("{text}: Extra inputs are not permitted"), body);
    check(&format!("Malformed input request: #: extraneous key [{text}] is not permitted"), body);
    let nested = format!("Malformed input request: #/{code}: extraneous key [{text}] is not permitted");
    assert_eq!(detect_unsupported(&nested, body), None, "{nested}");
    let nested = format!("messages.0.{text}: Extra inputs are not permitted");
    assert_eq!(detect_unsupported(&nested, body), None, "{nested}");
    let tag = format!("messages.0.content.0: Input tag '{text}' found using 'type' does not match any of the expected tags");
    assert_eq!(detect_unsupported(&tag, body), None, "{tag}");
});
