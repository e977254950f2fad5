//! Arbitrary bytes in arbitrary pieces: no panic, one end, and the cutting changes nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::anthropic::{Event, StreamValidator};
use protocol::translate::{End, StreamContext, ConverseStream, Step};

/// Gives each frame in `bytes` the checksums it lacks, so that the fuzzer gets past them.
fn repaired(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((lengths, body)) = rest.split_at_checked(4) {
        let headers = usize::from(u16::from_be_bytes([lengths[0], lengths[1]])).min(body.len());
        let payload = usize::from(u16::from_be_bytes([lengths[2], lengths[3]])).min(body.len() - headers);
        let start = out.len();
        out.extend(u32::try_from(16 + headers + payload).unwrap_or_default().to_be_bytes());
        out.extend(u32::try_from(headers).unwrap_or_default().to_be_bytes());
        out.extend(crc32fast::hash(&out[start..]).to_be_bytes());
        out.extend(&body[..headers + payload]);
        out.extend(crc32fast::hash(&out[start..]).to_be_bytes());
        rest = &body[headers + payload..];
    }
    out.extend(rest);
    out
}

fn run<'c>(chunks: impl Iterator<Item = &'c [u8]>) -> Vec<String> {
    let (mut grammar, mut told) = (StreamValidator::default(), Vec::new());
    let mut out = |event: &Event<'_>| {
        grammar.push(event).expect("the grammar holds");
        told.push(serde_json::to_string(event).expect("events are plain data"));
    };
    let mut pipeline = ConverseStream::new(StreamContext { tag_buffer: true, ..StreamContext::default() });
    for chunk in chunks {
        if pipeline.push(chunk, &mut out) == Step::Ended {
            break;
        }
    }
    pipeline.finish(End::Eof, &mut out);
    assert!(grammar.is_closed());
    told
}

fuzz_target!(|input: (u8, bool, &[u8])| {
    let (size, repair, bytes) = input;
    let bytes = if repair { repaired(bytes) } else { bytes.to_vec() };
    let whole = run(std::iter::once(&*bytes));
    let pieces = run(bytes.chunks(usize::from(size).max(1)));
    assert_eq!(whole, pieces);
});
