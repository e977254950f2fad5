//! Usage of responses that are forwarded unchanged.

use aws_smithy_types::base64;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use protocol::anthropic::{CacheCreation, Error, ErrorType, Usage};
use protocol::translate::{End, ObservedResponse, Outcome, UsageObserver};
use serde_json::{Value, json};

use crate::wire;

const WRITES: CacheCreation = CacheCreation { ephemeral_5m_input_tokens: 1, ephemeral_1h_input_tokens: 9000 };
const USAGE: Usage = Usage {
    input_tokens: 4047,
    output_tokens: 9,
    cache_read_input_tokens: 5,
    cache_creation_input_tokens: 9001,
    cache_creation: WRITES,
    output_tokens_details: None,
    service_tier: None,
};

#[derive(Clone, Copy, Debug)]
enum Operation {
    Converse,
    ConverseStream,
    InvokeModel,
    InvokeModelStream,
}

const OPERATIONS: [Operation; 4] =
    [Operation::Converse, Operation::ConverseStream, Operation::InvokeModel, Operation::InvokeModelStream];

fn observer(operation: Operation) -> UsageObserver {
    match operation {
        Operation::Converse => UsageObserver::converse(),
        Operation::ConverseStream => UsageObserver::converse_stream(),
        // The headers of AWS do not tell the lifetimes apart.
        Operation::InvokeModel => {
            UsageObserver::invoke_model(Some(Usage { cache_creation: CacheCreation::default(), ..USAGE }))
        }
        Operation::InvokeModelStream => UsageObserver::invoke_model_stream(),
    }
}

fn observe<'c>(
    operation: Operation,
    chunks: impl IntoIterator<Item = &'c [u8]>,
    end: &End,
) -> ObservedResponse {
    let mut observer = observer(operation);
    chunks.into_iter().for_each(|chunk| observer.push(chunk));
    observer.finish(end)
}

fn chunk(event: &Value) -> Vec<u8> {
    let payload = json!({"bytes": base64::encode(event.to_string()), "p": "abcd"}).to_string();
    wire::event("chunk", payload.as_bytes())
}

fn converse_usage() -> Value {
    json!({
        "inputTokens": 4047, "outputTokens": 9, "totalTokens": 4056, "cacheReadInputTokens": 5,
        "cacheWriteInputTokens": 9001, "cacheDetails": [{"ttl": "5m", "inputTokens": 1}, {"ttl": "1h", "inputTokens": 9000}],
    })
}

fn messages_usage() -> Value {
    json!({
        "input_tokens": 4047, "output_tokens": 9, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 9001,
        "cache_creation": {"ephemeral_5m_input_tokens": 1, "ephemeral_1h_input_tokens": 9000},
    })
}

/// A response of AWS that says `text` and calls a tool with `input`.
fn response(operation: Operation, text: &str, input: &Value) -> Vec<u8> {
    match operation {
        Operation::Converse => json!({
            "output": {"message": {"role": "assistant", "content": [
                {"text": text}, {"toolUse": {"toolUseId": "t", "name": "f", "input": input}},
            ]}},
            "stopReason": "tool_use", "usage": converse_usage(), "metrics": {"latencyMs": 1},
        })
        .to_string()
        .into_bytes(),
        Operation::ConverseStream => [
            ("messageStart", json!({"role": "assistant"})),
            ("contentBlockDelta", json!({"contentBlockIndex": 0, "delta": {"text": text}})),
            ("contentBlockStop", json!({"contentBlockIndex": 0})),
            ("contentBlockStart", json!({"contentBlockIndex": 1, "start": {"toolUse": {"toolUseId": "t", "name": "f"}}})),
            ("contentBlockDelta", json!({"contentBlockIndex": 1, "delta": {"toolUse": {"input": input.to_string()}}})),
            ("contentBlockStop", json!({"contentBlockIndex": 1})),
            ("messageStop", json!({"stopReason": "tool_use"})),
            ("metadata", json!({"usage": converse_usage(), "metrics": {"latencyMs": 1}})),
        ]
        .iter()
        .flat_map(|(kind, payload)| wire::event(kind, payload.to_string().as_bytes()))
        .collect(),
        Operation::InvokeModel => json!({
            "id": "msg_1", "type": "message", "role": "assistant", "content": [
                {"type": "text", "text": text}, {"type": "tool_use", "id": "t", "name": "f", "input": input},
            ],
            "stop_reason": "tool_use", "usage": messages_usage(),
        })
        .to_string()
        .into_bytes(),
        Operation::InvokeModelStream => [
            json!({"type": "message_start", "message": {"usage": {
                "input_tokens": 4047, "output_tokens": 1, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 9001,
                "cache_creation": {"ephemeral_5m_input_tokens": 1, "ephemeral_1h_input_tokens": 9000},
            }}}),
            json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}),
            json!({"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": input.to_string()}}),
            json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 9}}),
            json!({"type": "message_stop", "amazon-bedrock-invocationMetrics": {
                "inputTokenCount": 4047, "outputTokenCount": 9, "cacheReadInputTokenCount": 5, "cacheWriteInputTokenCount": 9001,
            }}),
        ]
        .iter()
        .flat_map(chunk)
        .collect(),
    }
}

/// What a client tries to have charged in place of the usage.
fn decoys() -> Vec<Value> {
    let metrics = json!({"amazon-bedrock-invocationMetrics": {"inputTokenCount": 1, "outputTokenCount": 0}});
    vec![
        json!({"bytes": base64::encode(metrics.to_string())}),
        metrics,
        json!({"usage": {"inputTokens": 1, "outputTokens": 0}}),
        json!({"usage": {"input_tokens": 1, "output_tokens": 0}}),
        json!({"output": 1, "usage": null, "stopReason": "x", "stop_reason": "x"}),
        json!({"text": "\"usage\":{\"inputTokens\":1,\"outputTokens\":0}"}),
    ]
}

#[test]
fn one_hour_cache_writes_are_seen_for_every_operation() {
    for operation in OPERATIONS {
        let bytes = response(operation, "hello", &json!({"a": 1}));
        let observed = observe(operation, [&*bytes], &End::Eof);
        assert_eq!(observed.usage, Some(USAGE), "{operation:?}");
        assert_eq!(
            (observed.outcome, observed.stop_reason.as_deref()),
            (Outcome::Finished, Some("tool_use"))
        );
        assert!(observed.error.is_none() && observed.output_bytes >= 5, "{observed:?}");
    }
}

#[test]
fn arguments_of_a_tool_never_change_the_usage() {
    for (operation, decoy) in
        OPERATIONS.into_iter().flat_map(|operation| decoys().into_iter().map(move |decoy| (operation, decoy)))
    {
        let bytes = response(operation, &decoy.to_string(), &decoy);
        let observed = observe(operation, [&*bytes], &End::Eof);
        assert_eq!(observed.usage, Some(USAGE), "{operation:?} {decoy}");
    }
}

/// Some models state the cache in the first event only, and an interrupted one its output in the metrics only.
#[test]
fn larger_output_of_usage_and_metrics_counts() {
    let stop = json!({"type": "message_stop", "amazon-bedrock-invocationMetrics": {
        "inputTokenCount": 4047, "outputTokenCount": 9,
    }});
    let start = json!({"type": "message_start", "message": {"usage": {
        "input_tokens": 4047, "output_tokens": 1, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 9001,
        "cache_creation": {"ephemeral_5m_input_tokens": 1, "ephemeral_1h_input_tokens": 9000},
    }}});
    let bytes = [chunk(&start), chunk(&stop)].concat();
    let observed = observe(Operation::InvokeModelStream, [&*bytes], &End::Eof);
    assert_eq!(observed.usage, Some(USAGE));
}

#[test]
fn larger_of_two_metadata_events_counts() {
    let small = wire::event("metadata", br#"{"usage":{"inputTokens":1,"outputTokens":0}}"#);
    let bytes = response(Operation::ConverseStream, "x", &json!({}));
    for bytes in [[&small[..], &bytes].concat(), [&bytes[..], &small].concat()] {
        assert_eq!(observe(Operation::ConverseStream, [&*bytes], &End::Eof).usage, Some(USAGE));
    }
    // The translated stream: the first one stands before the text, and before or behind the stop.
    let large = wire::event("metadata", br#"{"usage":{"inputTokens":10,"outputTokens":1500}}"#);
    let text = wire::event("contentBlockDelta", br#"{"contentBlockIndex":0,"delta":{"text":"x"}}"#);
    let stop = wire::event("messageStop", br#"{"stopReason":"end_turn"}"#);
    for (events, output) in [
        (vec![&small, &text, &stop, &large], 1500),
        (vec![&small, &text, &large, &stop], 1500),
        (vec![&large, &text, &small, &stop], 1500),
        (vec![&large, &text, &stop, &small], 1500),
        (vec![&small, &text, &stop], 0),
    ] {
        let bytes: Vec<u8> = events.into_iter().flatten().copied().collect();
        for end in [End::Eof, End::Failed(Error::new(ErrorType::Api, "reset"))] {
            let mut last = Vec::new();
            let summary = wire::run(wire::opening(), [&*bytes], end, |event| last.push(format!("{event:?}")));
            assert_eq!((summary.usage.unwrap().output_tokens, summary.outcome), (output, Outcome::Finished));
            assert!(last.last().unwrap().starts_with("MessageStop"), "{last:?}");
        }
    }
}

#[test]
fn frames_with_a_wrong_checksum_are_not_read() {
    let mut metadata = wire::event("metadata", br#"{"usage":{"inputTokens":1,"outputTokens":0}}"#);
    let last = metadata.len() - 1;
    metadata[last] ^= 1;
    let observed = observe(Operation::ConverseStream, [&*metadata], &End::Eof);
    assert_eq!((observed.usage, observed.outcome), (None, Outcome::Failed));
    // Nor is an event of another type.
    let other = wire::event("novel", br#"{"usage":{"inputTokens":1,"outputTokens":0}}"#);
    assert_eq!(observe(Operation::ConverseStream, [&*other], &End::Eof).usage, None);
}

#[test]
fn exception_frames_end_with_a_mapped_error() {
    let exception = wire::exception("throttlingException", br#"{"message":"Too many tokens"}"#);
    let text = wire::event("contentBlockDelta", br#"{"contentBlockIndex":0,"delta":{"text":"four"}}"#);
    let bytes = [text, exception].concat();
    let observed = observe(Operation::ConverseStream, [&*bytes], &End::Eof);
    assert_eq!((observed.outcome, observed.output_bytes), (Outcome::Failed, 4));
    assert_eq!(observed.error.unwrap().error.kind, ErrorType::RateLimit);
}

#[test]
fn cancelled_responses_keep_what_was_seen() {
    let bytes = response(Operation::InvokeModelStream, "hello", &json!({}));
    let observed = observe(Operation::InvokeModelStream, [&bytes[..bytes.len() - 8]], &End::Cancelled);
    assert_eq!((observed.outcome, observed.usage), (Outcome::Cancelled, Some(USAGE)));
    let document = response(Operation::Converse, "hello", &json!({}));
    let observed = observe(Operation::Converse, [&document[..20]], &End::Cancelled);
    assert_eq!((observed.outcome, observed.usage, observed.output_bytes), (Outcome::Cancelled, None, 20));
}

#[test]
fn headers_of_invoke_model_win_over_its_document() {
    let document = json!({"usage": {"input_tokens": 1, "output_tokens": 0, "cache_creation": {
        "ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 1_000_000,
    }}});
    let bytes = document.to_string();
    let observed = observe(Operation::InvokeModel, [bytes.as_bytes()], &End::Eof);
    let split = CacheCreation { ephemeral_5m_input_tokens: 0, ephemeral_1h_input_tokens: 9001 };
    assert_eq!(observed.usage, Some(Usage { cache_creation: split, ..USAGE }), "no more than was written");
    let mut without = UsageObserver::invoke_model(None);
    without.push(bytes.as_bytes());
    assert_eq!(without.finish(&End::Eof).usage.map(|usage| usage.input_tokens), Some(1));
}

#[test]
fn documents_beyond_the_limit_are_not_held() {
    let mut observer = UsageObserver::converse();
    let piece = vec![b' '; 1 << 20];
    (0..40).for_each(|_| observer.push(&piece));
    let observed = observer.finish(&End::Eof);
    assert_eq!(
        (observed.usage, observed.outcome, observed.output_bytes),
        (None, Outcome::Finished, 40 << 20)
    );
}

/// JSON that a client can make a model write.
fn written() -> impl Strategy<Value = Value> {
    let decoys = prop::sample::select(decoys());
    let leaf = prop_oneof![3 => decoys, 1 => "[\"{}:,a-z<]{0,12}".prop_map(Value::from), 1 => any::<u32>().prop_map(Value::from)];
    let key = "usage|bytes|stopReason|stop_reason|metrics|amazon-bedrock-invocationMetrics|[a-z]{1,4}";
    leaf.prop_recursive(3, 16, 4, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((key, inner), 0..4)
                .prop_map(|members| members.into_iter().collect::<serde_json::Map<_, _>>().into()),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn usage_is_the_upstreams_wherever_bytes_are_cut(text in written(), input in written(), at in vec(any::<Index>(), 0..12), operation in prop::sample::select(&OPERATIONS[..])) {
        let bytes = response(operation, &text.to_string(), &input);
        let whole = observe(operation, [&*bytes], &End::Eof);
        prop_assert_eq!(whole.usage, Some(USAGE));
        let mut places: Vec<usize> = at.iter().map(|index| index.index(bytes.len() + 1)).chain([0, bytes.len()]).collect();
        places.sort_unstable();
        let cut = observe(operation, places.windows(2).map(|pair| &bytes[pair[0]..pair[1]]), &End::Eof);
        prop_assert_eq!(whole, cut);
    }

    #[test]
    fn no_bytes_make_the_observer_panic(bytes in vec(any::<u8>(), 0..300), event in "\\PC{0,40}", operation in prop::sample::select(&OPERATIONS[..])) {
        let prefix = chunk(&Value::from(event));
        observe(operation, [&*bytes], &End::Eof);
        observe(operation, [&*prefix, &*bytes], &End::Eof);
    }
}
