//! Arbitrary text in arbitrary pieces: cuts move, characters do not.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::tag_buffer::{MAX_HELD, TagBuffer};

fuzz_target!(|pieces: Vec<&str>| {
    let mut buffer = TagBuffer::default();
    let (mut sent, mut received) = (String::new(), String::new());
    for piece in pieces {
        sent.push_str(piece);
        buffer.push(piece, |text| received.push_str(text));
        let held = sent.strip_prefix(&*received).expect("what came out is how it went in");
        assert!(held.chars().count() <= MAX_HELD && (held.is_empty() || held.starts_with('<')));
    }
    buffer.flush(|text| received.push_str(text));
    assert_eq!(sent, received);
});
