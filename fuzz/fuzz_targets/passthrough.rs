//! Arbitrary bytes and arbitrary text of a model: no panic, cutting changes nothing, and the usage is the upstream's.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::translate::{End, UsageObserver};

const USAGE: &str = r#"{"inputTokens":4047,"outputTokens":9}"#;

fuzz_target!(|input: (u8, &[u8], &str)| {
    let (size, bytes, text) = input;
    for make in [
        UsageObserver::converse,
        UsageObserver::converse_stream,
        UsageObserver::invoke_model_stream,
        || UsageObserver::invoke_model(None),
    ] {
        let (mut whole, mut cut) = (make(), make());
        whole.push(bytes);
        bytes.chunks(usize::from(size).max(1)).for_each(|piece| cut.push(piece));
        assert_eq!(whole.finish(&End::Eof), cut.finish(&End::Eof));
    }
    let value = serde_json::from_str::<&serde_json::value::RawValue>(text).map_or("{}", |value| value.get());
    let said = serde_json::to_string(text).expect("text is plain data");
    let document = format!(
        r#"{{"output":{{"message":{{"content":[{{"text":{said}}},{{"toolUse":{{"input":{value}}}}}]}}}},"usage":{USAGE}}}"#
    );
    let mut observer = UsageObserver::converse();
    observer.push(document.as_bytes());
    let usage = observer.finish(&End::Eof).usage.expect("the document has a usage");
    assert_eq!((usage.input_tokens, usage.output_tokens), (4047, 9));
});
