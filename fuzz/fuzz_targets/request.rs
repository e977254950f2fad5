//! Arbitrary bodies: no panic, the output is JSON, and equal bodies give equal bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::anthropic::Request;
use protocol::capabilities::Capabilities;
use protocol::translate::{self, RequestedBetas, TranslationOptions};

fn translated(body: &[u8], capabilities: &Capabilities) -> Option<(Vec<u8>, usize)> {
    let request = Request::parse(body).ok()?;
    let call =
        translate::to_converse(request, RequestedBetas::default(), body.len(), capabilities, &TranslationOptions::new(8192))
            .ok()?;
    Some((call.body, call.unsupported.len()))
}

fuzz_target!(|body: &[u8]| {
    let nova = Capabilities::UNKNOWN;
    for capabilities in [Capabilities::CLASSIC_CLAUDE, nova] {
        let first = translated(body, &capabilities);
        assert_eq!(first, translated(body, &capabilities));
        if let Some((upstream, _)) = first {
            serde_json::from_slice::<serde::de::IgnoredAny>(&upstream).expect("what is sent is JSON");
        }
    }
    if let Ok(request) = Request::parse(body) {
        let printed = serde_json::to_vec(&request).expect("requests are plain data");
        assert_eq!(Request::parse(&printed).expect("what was read can be read again"), request);
    }
});
