//! What holds for every input: P1 to P8 of the translation.

use std::collections::BTreeMap;
use std::ops::Range;

use aws_smithy_eventstream::frame::{DecodedFrame, MessageFrameDecoder};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::Index;
use protocol::anthropic::event_sink::EventSink;
use protocol::anthropic::{
    self, BlockStart, Delta, Error, ErrorType, Event, MessageAccumulator, MessageEnd, MessageStart, Request,
    TextCitation, Usage,
};
use protocol::capabilities::Capabilities;
use protocol::converse::event::{self, CacheDetail, MetadataEvent, TokenUsage};
use protocol::converse::request::{self, DocumentRange};
use protocol::converse::{self, FrameDecoder};
use protocol::tag_buffer::{MAX_HELD, TagBuffer};
use protocol::translate::{self, End, InvokeOptions, Outcome, RequestedBetas, TranslationOptions};
use serde_json::{Value, json};

use crate::wire;

/// Text with what makes streams break: tags, quotes, line ends, letters of several bytes.
fn text() -> impl Strategy<Value = String> {
    "(<|</|>|[a-z_]{1,4}|[ \n\"\\\\=5é😀]){0,12}"
}

fn usage() -> impl Strategy<Value = TokenUsage> {
    (0..1_000_000_u64, 0..1_000_000_u64, 0..1_000_u64, 0..1_000_u64, option::of(0..2_000_u64)).prop_map(
        |(input_tokens, output_tokens, read, written, hour)| TokenUsage {
            input_tokens,
            output_tokens,
            cache_read_input_tokens: read,
            cache_write_input_tokens: written,
            cache_details: hour
                .map(|input_tokens| CacheDetail { ttl: "1h".to_owned(), input_tokens })
                .into_iter()
                .collect(),
        },
    )
}

/// A citation of `text`, as Converse writes it.
fn citation(text: &str) -> event::CitationsDelta<'_> {
    event::CitationsDelta {
        title: Some(text.into()),
        source_content: vec![event::SourceContent { text: Some(text.into()) }],
        location: event::Location { document_char: Some(DocumentRange::default()), ..Default::default() },
        ..Default::default()
    }
}

/// A place of any kind, known and unknown.
fn location() -> impl Strategy<Value = Value> {
    let place = || json!({"documentIndex": 1, "start": 2, "end": 3});
    prop_oneof![
        Just(json!({"documentChar": place()})),
        Just(json!({"documentPage": place()})),
        Just(json!({"documentChunk": place()})),
        Just(json!({"searchResultLocation": {"searchResultIndex": 0, "start": 0, "end": 1}})),
        Just(json!({"web": {"url": "https://example.com", "domain": "example.com"}})),
        Just(json!({"novel": {}})),
    ]
}

/// One event of Converse as it stands on the wire: any kind, any order, with padding and novelties.
fn any_event() -> impl Strategy<Value = (String, Value)> {
    let index = 0..4_u32;
    prop_oneof![
        1 => Just(("messageStart".to_owned(), json!({"role": "assistant"}))),
        6 => (index.clone(), text()).prop_map(|(i, text)| ("contentBlockDelta".to_owned(), json!({"contentBlockIndex": i, "delta": {"text": text}, "p": "abc"}))),
        2 => (index.clone(), text()).prop_map(|(i, text)| ("contentBlockDelta".to_owned(), json!({"contentBlockIndex": i, "delta": {"reasoningContent": {"text": text}}}))),
        1 => (index.clone(), text()).prop_map(|(i, text)| ("contentBlockDelta".to_owned(), json!({"contentBlockIndex": i, "delta": {"reasoningContent": {"signature": text}}}))),
        1 => (index.clone(), "[A-Za-z]{4}|AA==|!").prop_map(|(i, data)| ("contentBlockDelta".to_owned(), json!({"contentBlockIndex": i, "delta": {"reasoningContent": {"redactedContent": data}}}))),
        2 => (index.clone(), "[a-z]{1,8}").prop_map(|(i, name)| ("contentBlockStart".to_owned(), json!({"contentBlockIndex": i, "start": {"toolUse": {"toolUseId": name, "name": name}}}))),
        2 => (index.clone(), text()).prop_map(|(i, text)| ("contentBlockDelta".to_owned(), json!({"contentBlockIndex": i, "delta": {"toolUse": {"input": text}}}))),
        3 => index.clone().prop_map(|i| ("contentBlockStop".to_owned(), json!({"contentBlockIndex": i}))),
        2 => (index.clone(), text(), location()).prop_map(|(i, text, location)| ("contentBlockDelta".to_owned(), json!({"contentBlockIndex": i, "delta": {"citation": {"title": text, "sourceContent": [{"text": text}], "location": location}}}))),
        1 => (index, "[a-z]{1,5}").prop_map(|(i, key)| ("contentBlockDelta".to_owned(), json!({"contentBlockIndex": i, "delta": {key: {}}}))),
        1 => "end_turn|tool_use|max_tokens|malformed_tool_use|guardrail_intervened|[a-z]{3}".prop_map(|reason| ("messageStop".to_owned(), json!({"stopReason": reason}))),
        1 => usage().prop_map(|usage| ("metadata".to_owned(), json!({"usage": usage}))),
        1 => "[a-z]{1,8}".prop_map(|kind| (kind, json!({"x": 1}))),
        1 => Just(("contentBlockDelta".to_owned(), json!({"delta": 7}))),
    ]
}

/// A response of a model: whole blocks, a stop, the usage.
pub(crate) fn response() -> impl Strategy<Value = Vec<(String, Value)>> {
    let deltas = |pieces: Vec<Value>, index: u32| {
        let deltas = pieces.into_iter().map(move |delta| {
            ("contentBlockDelta".to_owned(), json!({"contentBlockIndex": index, "delta": delta}))
        });
        deltas.collect::<Vec<_>>()
    };
    let block = prop_oneof![
        vec(text(), 0..6).prop_map(|texts| (
            None,
            texts.into_iter().map(|text| json!({"text": text})).collect::<Vec<_>>()
        )),
        (vec(text(), 1..4), vec((text(), location()), 0..3)).prop_map(|(texts, cited)| {
            let output = texts.into_iter().map(|text| json!({"text": text}));
            let citations = cited.into_iter().map(|(text, location)| {
                json!({"citation": {"title": text, "sourceContent": [{"text": text}], "location": location}})
            });
            (None, output.chain(citations).collect())
        }),
        (vec(text(), 0..4), "[A-Za-z0-9]{1,8}").prop_map(|(texts, signature)| {
            let thoughts = texts.into_iter().map(|text| json!({"reasoningContent": {"text": text}}));
            (None, thoughts.chain([json!({"reasoningContent": {"signature": signature}})]).collect())
        }),
        ("[a-z]{1,8}", text(), any::<bool>()).prop_map(|(name, value, empty)| {
            let start = json!({"toolUse": {"toolUseId": format!("tooluse_{name}"), "name": name}});
            let arguments = json!({"z": value, "a": [1.5, null]}).to_string();
            let cut = arguments.char_indices().nth(arguments.chars().count() / 2).map_or(0, |(at, _)| at);
            let (head, tail) = arguments.split_at(cut);
            let pieces = if empty {
                vec![]
            } else {
                vec![json!({"toolUse": {"input": head}}), json!({"toolUse": {"input": tail}})]
            };
            (Some(start), pieces)
        }),
    ];
    (vec(block, 0..5), usage(), any::<bool>()).prop_map(move |(blocks, usage, usage_first)| {
        let mut events = vec![("messageStart".to_owned(), json!({"role": "assistant"}))];
        for (n, (start, pieces)) in blocks.into_iter().enumerate() {
            // Bedrock's numbers may skip.
            let index = u32::try_from(n).unwrap() * 2;
            events.extend(start.map(|start| {
                ("contentBlockStart".to_owned(), json!({"contentBlockIndex": index, "start": start}))
            }));
            events.extend(deltas(pieces, index));
            events.push(("contentBlockStop".to_owned(), json!({"contentBlockIndex": index})));
        }
        let metadata = ("metadata".to_owned(), json!({"usage": usage}));
        let stop = ("messageStop".to_owned(), json!({"stopReason": "end_turn"}));
        events.extend(if usage_first { [metadata, stop] } else { [stop, metadata] });
        events
    })
}

/// The same response as a document.
fn whole(events: &[(String, Value)]) -> Vec<u8> {
    let find = |kind: &str| events.iter().find(|(known, _)| known == kind).unwrap().1.clone();
    let mut blocks: BTreeMap<u64, Vec<&Value>> = BTreeMap::new();
    for (kind, event) in events.iter().filter(|(kind, _)| kind.starts_with("contentBlock")) {
        let pieces = blocks.entry(event["contentBlockIndex"].as_u64().unwrap()).or_default();
        pieces.extend(match kind.as_str() {
            "contentBlockStart" => event.get("start"),
            "contentBlockDelta" => event.get("delta"),
            _ => None,
        });
    }
    let content: Vec<Value> = blocks.values().map(|pieces| whole_block(pieces)).collect();
    json!({
        "output": {"message": {"role": "assistant", "content": content}},
        "stopReason": find("messageStop")["stopReason"],
        "usage": find("metadata")["usage"],
        "metrics": {"latencyMs": 1},
    })
    .to_string()
    .into_bytes()
}

fn whole_block(pieces: &[&Value]) -> Value {
    let joined = |places: [&str; 2]| -> String {
        pieces
            .iter()
            .filter_map(|piece| {
                places
                    .iter()
                    .fold(*piece, |value, key| if key.is_empty() { value } else { &value[*key] })
                    .as_str()
            })
            .collect()
    };
    if let Some(call) = pieces.iter().find_map(|piece| piece["toolUse"].get("name").and(piece.get("toolUse")))
    {
        let input = joined(["toolUse", "input"]);
        let input: Value = serde_json::from_str(if input.is_empty() { "{}" } else { &input }).unwrap();
        return json!({"toolUse": {"toolUseId": call["toolUseId"], "name": call["name"], "input": input}});
    }
    if pieces.iter().any(|piece| piece.get("reasoningContent").is_some()) {
        let text = joined(["reasoningContent", "text"]);
        return json!({"reasoningContent": {"reasoningText": {"text": text, "signature": joined(["reasoningContent", "signature"])}}});
    }
    let citations: Vec<&Value> = pieces.iter().filter_map(|piece| piece.get("citation")).collect();
    if citations.is_empty() {
        return json!({"text": joined(["text", ""])});
    }
    json!({"citationsContent": {"content": [{"text": joined(["text", ""])}], "citations": citations}})
}

fn frames(events: &[(String, Value)]) -> Vec<u8> {
    events.iter().flat_map(|(kind, payload)| wire::event(kind, payload.to_string().as_bytes())).collect()
}

/// `bytes` cut at these places.
fn cut<'b>(bytes: &'b [u8], at: &[Index]) -> Vec<&'b [u8]> {
    let mut places: Vec<usize> =
        at.iter().map(|index| index.index(bytes.len() + 1)).chain([0, bytes.len()]).collect();
    places.sort_unstable();
    places.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![
        Just(End::Eof),
        Just(End::Cancelled),
        Just(End::Failed(Error::new(ErrorType::Overloaded, "Overloaded"))),
    ]
}

fn printed(event: &Event<'_>) -> String {
    serde_json::to_string(event).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn cuts_do_not_change_events(events in vec(any_event(), 0..20), at in vec(any::<Index>(), 0..30), end in end()) {
        let bytes = frames(&events);
        let (mut whole, mut pieces) = (Vec::new(), Vec::new());
        let summary = wire::run(wire::opening(), [&*bytes], end.clone(), |event| whole.push(printed(event)));
        let cut_summary = wire::run(wire::opening(), cut(&bytes, &at), end, |event| pieces.push(printed(event)));
        prop_assert_eq!(whole, pieces);
        prop_assert_eq!(summary, cut_summary);
    }

    #[test]
    fn every_stream_is_valid_and_ends_once(events in vec(any_event(), 0..30), flip in option::of((any::<Index>(), 1..=255_u8)), length in any::<Index>(), end in end()) {
        // `run` holds each event against the grammar.
        let mut bytes = frames(&events);
        if let (Some((at, bits)), false) = (flip, bytes.is_empty()) {
            let at = at.index(bytes.len());
            bytes[at] ^= bits;
        }
        let length = length.index(bytes.len() + 1);
        let cancelled = end == End::Cancelled;
        let mut last = None;
        let summary = wire::run(wire::opening(), [&bytes[..length]], end, |event| last = Some(event.name()));
        match summary.outcome {
            Outcome::Finished => prop_assert_eq!(last, Some("message_stop")),
            Outcome::Failed => prop_assert_eq!(last, Some("error")),
            Outcome::Cancelled => prop_assert!(cancelled),
        }
    }

    #[test]
    fn accumulated_message_equals_the_clients(events in response()) {
        let mut accumulator = MessageAccumulator::default();
        let mut collected = Collected::default();
        wire::run(wire::opening(), [&*frames(&events)], End::Eof, |event| {
            accumulator.event(event);
            collected.push(&serde_json::from_str(&printed(event)).unwrap());
        });
        let message: Value = serde_json::from_slice(&accumulator.finish().unwrap()).unwrap();
        prop_assert_eq!(&message, &collected.message());

        // No text of the model is missing.
        let output: String = events.iter().filter_map(|(_, payload)| payload["delta"]["text"].as_str()).collect();
        let reported: String = message["content"].as_array().unwrap().iter().filter_map(|block| block["text"].as_str()).collect();
        prop_assert_eq!(output, reported);
    }

    #[test]
    fn document_and_stream_give_equal_messages(events in response()) {
        let (mut streamed, mut unfolded) = (MessageAccumulator::default(), MessageAccumulator::default());
        wire::run(wire::opening(), [&*frames(&events)], End::Eof, |event| streamed.event(event));
        wire::unfold(&whole(&events), |event| unfolded.event(event));
        let [streamed, unfolded] = [streamed, unfolded].map(|message| serde_json::from_slice::<Value>(&message.finish().unwrap()).unwrap());
        prop_assert_eq!(streamed, unfolded);
    }

    #[test]
    fn every_document_gives_a_valid_stream(bytes in vec(any::<u8>(), 0..50), events in response(), at in any::<Index>(), byte in any::<u8>()) {
        // `unfold` holds each event against the grammar.
        wire::unfold(&bytes, |_| {});
        let mut document = whole(&events);
        let at = at.index(document.len());
        document[at] = byte;
        wire::unfold(&document, |_| {});
    }

    #[test]
    fn usage_is_that_of_the_metadata(events in response()) {
        let (_, metadata) = events.iter().find(|(kind, _)| kind == "metadata").unwrap();
        let mut reported = None;
        let summary = wire::run(wire::opening(), [&*frames(&events)], End::Eof, |event| {
            if let Event::MessageDelta { usage, .. } = event {
                reported = Some(*usage);
            }
        });
        let usage = summary.usage.unwrap();
        prop_assert_eq!(reported, Some(usage));
        let upstream = &metadata["usage"];
        prop_assert_eq!(Some(usage.input_tokens), upstream["inputTokens"].as_u64());
        prop_assert_eq!(Some(usage.output_tokens), upstream["outputTokens"].as_u64());
        prop_assert_eq!(Some(usage.cache_read_input_tokens), upstream["cacheReadInputTokens"].as_u64());
        prop_assert_eq!(Some(usage.cache_creation_input_tokens), upstream["cacheWriteInputTokens"].as_u64());
        let split = usage.cache_creation;
        prop_assert_eq!(split.ephemeral_5m_input_tokens + split.ephemeral_1h_input_tokens, usage.cache_creation_input_tokens);
    }

    #[test]
    fn tag_buffer_moves_cuts_only(pieces in vec(text(), 0..20)) {
        let mut buffer = TagBuffer::default();
        let (mut sent, mut received, mut cuts) = (String::new(), String::new(), Vec::new());
        for piece in &pieces {
            sent.push_str(piece);
            buffer.push(piece, |text| {
                received.push_str(text);
                cuts.push(received.len());
            });
            prop_assert!(sent.starts_with(&received));
            let held = &sent[received.len()..];
            prop_assert!(held.chars().count() <= MAX_HELD && (held.is_empty() || held.starts_with('<')));
        }
        buffer.flush(|text| received.push_str(text));
        prop_assert_eq!(&sent, &received);
        for tag in tags(&sent) {
            prop_assert!(!cuts.iter().any(|cut| tag.start < *cut && *cut < tag.end), "cut inside {}", &sent[tag]);
        }
    }

    #[test]
    fn no_bytes_cause_a_panic(bytes in vec(any::<u8>(), 0..400), at in vec(any::<Index>(), 0..5)) {
        wire::run(wire::opening(), cut(&bytes, &at), End::Eof, |_| {});
        let _ = Request::parse(&bytes);
    }

    #[test]
    fn converse_events_survive_a_round_trip(name in text(), usage in usage()) {
        let text = || name.as_str().into();
        let delta = |delta| converse::Event::ContentBlockDelta(event::ContentBlockDeltaEvent { content_block_index: 2, delta });
        for event in [
            converse::Event::MessageStart,
            delta(event::ContentBlockDelta { text: Some(text()), ..Default::default() }),
            delta(event::ContentBlockDelta { tool_use: Some(event::ToolUseDelta { input: text() }), ..Default::default() }),
            delta(event::ContentBlockDelta { reasoning_content: Some(event::ReasoningDelta { signature: Some(text()), ..Default::default() }), ..Default::default() }),
            converse::Event::ContentBlockStart(event::ContentBlockStartEvent { content_block_index: 1, start: event::ContentBlockStart { tool_use: Some(event::ToolUseStart { tool_use_id: text(), name: text() }) } }),
            converse::Event::ContentBlockStop(event::ContentBlockStopEvent { content_block_index: 3 }),
            converse::Event::MessageStop(event::MessageStopEvent { stop_reason: text(), additional_model_response_fields: None }),
            delta(event::ContentBlockDelta { citation: Some(Box::new(citation(&name))), ..Default::default() }),
            converse::Event::Metadata(MetadataEvent { usage, service_tier: Some(request::ServiceTier { r#type: name.clone().into() }) }),
        ] {
            let (kind, payload) = event.print().unwrap();
            prop_assert_eq!(&converse::Event::parse(kind, &payload).unwrap(), &event);
        }
    }

    #[test]
    fn anthropic_events_survive_a_round_trip(text in text(), tokens in any::<u32>()) {
        let usage = Usage { output_tokens: tokens.into(), ..Usage::default() };
        for event in [
            Event::MessageStart { message: MessageStart::new(&text, &text) },
            Event::ContentBlockStart { index: tokens, content_block: BlockStart::ToolUse { id: (&text).into(), name: (&text).into(), input: anthropic::EmptyObject {} } },
            Event::ContentBlockStart { index: 0, content_block: BlockStart::RedactedThinking { data: (&text).into() } },
            Event::ContentBlockDelta { index: 0, delta: Delta::TextDelta { text: (&text).into() } },
            Event::ContentBlockDelta { index: 0, delta: Delta::InputJsonDelta { partial_json: (&text).into() } },
            Event::ContentBlockDelta { index: 0, delta: Delta::CitationsDelta { citation: TextCitation::WebSearchResultLocation { cited_text: text.clone(), encrypted_index: String::new(), title: None, url: text.clone() } } },
            Event::ContentBlockStop { index: 1 },
            Event::MessageDelta { delta: MessageEnd { stop_reason: Some((&text).into()), stop_sequence: None }, usage },
            Event::MessageStop,
            Event::Ping,
        ] {
            let printed = printed(&event);
            prop_assert_eq!(&serde_json::from_str::<Event<'_>>(&printed).unwrap(), &event);
        }
    }

    #[test]
    fn requests_survive_a_round_trip(body in request()) {
        let body = body.to_string();
        let request = Request::parse(body.as_bytes()).unwrap();
        let again = serde_json::to_string(&request).unwrap();
        prop_assert_eq!(Request::parse(again.as_bytes()).unwrap(), request);
    }

    #[test]
    fn every_field_is_carried_or_reported_by_converse(body in request(), betas in betas(), rejected in any::<bool>(), capabilities in capabilities()) {
        let text = body.to_string();
        let request = Request::parse(text.as_bytes()).unwrap();
        let options = TranslationOptions { default_thinking_budget: Some(1), computer_use: true, ..TranslationOptions::new(1) };
        let requested = RequestedBetas { names: &betas, unsupported: &[], all_unsupported: rejected };
        let Ok(call) = translate::to_converse(request, requested, text.len(), &capabilities, &options) else {
            return Ok(());
        };
        let upstream = String::from_utf8(call.body).unwrap();
        let named: String = call.notices.iter().map(|notice| &*notice.what).collect();
        for beta in betas.iter().chain(["leaf-beta".to_owned()].iter().filter(|_| body["anthropic_beta"].is_array())) {
            prop_assert!(upstream.contains(beta) || named.contains(beta), "{beta} is neither in {upstream} nor in {named}");
        }
        let reported: Vec<&str> = call.unsupported.iter().map(|loss| &*loss.path).chain(call.notices.iter().map(|notice| &*notice.path)).collect();
        // Clients expect a message that cannot be had to be named by its role.
        let reported: Vec<&str> = reported.into_iter().map(|reported| reported.strip_suffix(".role").unwrap_or(reported)).collect();
        for (path, leaf) in leaves(&body, String::new()).into_iter().filter(|(path, _)| !path.starts_with("anthropic_beta")) {
            let accounted = carries(&upstream, &leaf) || reported.iter().any(|reported| path == *reported || path.starts_with(&format!("{reported}.")));
            prop_assert!(accounted, "{path} = {leaf} is neither in {upstream} nor reported: {reported:?}");
        }
    }

    #[test]
    fn every_field_is_carried_or_reported_by_invoke(body in request(), capabilities in capabilities(), betas in betas(), messages in any::<bool>()) {
        let text = body.to_string();
        let options = TranslationOptions { computer_use: true, ..TranslationOptions::new(1) };
        let options = if messages { InvokeOptions::messages("model", options) } else { InvokeOptions::invoke_model(options) };
        let options = InvokeOptions { betas: RequestedBetas { names: &betas, ..RequestedBetas::default() }, ..options };
        let Ok(call) = translate::to_invoke(&text, &capabilities, &options) else {
            return Ok(());
        };
        let mut upstream = String::from_utf8(call.body).unwrap();
        serde_json::from_str::<Value>(&upstream).unwrap();
        // What goes into a header is carried, too.
        upstream.extend(call.betas);
        let named: String = call.notices.iter().map(|notice| &*notice.what).collect();
        for beta in &betas {
            prop_assert!(upstream.contains(beta) || named.contains(beta), "{beta} is neither in {upstream} nor in {named}");
        }
        let reported: Vec<&str> = call.unsupported.iter().map(|loss| &*loss.path).chain(call.notices.iter().map(|notice| &*notice.path)).collect();
        for (path, leaf) in leaves(&body, String::new()) {
            let accounted = carries(&upstream, &leaf) || reported.iter().any(|reported| path == *reported || path.starts_with(&format!("{reported}.")));
            prop_assert!(accounted, "{path} = {leaf} is neither in {upstream} nor reported: {reported:?}");
        }
    }

    #[test]
    fn frames_decode_as_in_aws_smithy(events in vec(any_event(), 0..8), at in vec(any::<Index>(), 0..10)) {
        let bytes = frames(&events);
        let mut oracle = MessageFrameDecoder::new();
        let mut expected = Vec::new();
        let mut rest = Bytes::from(bytes.clone());
        while let Ok(DecodedFrame::Complete(message)) = oracle.decode_frame(&mut rest) {
            expected.push(message.payload().to_vec());
        }
        let mut decoder = FrameDecoder::default();
        let mut read = Vec::new();
        for piece in cut(&bytes, &at) {
            decoder.feed(piece);
            while let Some(frame) = decoder.next_frame().unwrap() {
                read.push(frame.payload.to_vec());
            }
        }
        prop_assert_eq!(decoder.finish(), Ok(()));
        prop_assert_eq!(read, expected);
    }
}

/// The places of the tags in a text that are short enough to be kept whole.
fn tags(text: &str) -> Vec<Range<usize>> {
    let starts = text.match_indices('<').map(|(at, _)| at);
    let tag = |start: usize| {
        let end = start + text[start + 1..].find(['<', '>'])? + 2;
        let inside = text.get(start + 1..end - 1)?.trim_start_matches('/');
        let name = inside.split([' ', '\n', '/']).next()?;
        let named = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        (text[..end].ends_with('>') && named && text[start..end].chars().count() <= MAX_HELD)
            .then_some(start..end)
    };
    starts.filter_map(tag).collect()
}

/// The message that a client collects, from the JSON alone: an independent check of [`MessageAccumulator`].
#[derive(Default)]
struct Collected {
    message: Value,
    arguments: Vec<String>,
}

impl Collected {
    fn push(&mut self, event: &Value) {
        let index = event["index"].as_u64().and_then(|index| usize::try_from(index).ok()).unwrap_or_default();
        match event["type"].as_str().unwrap() {
            "message_start" => self.message = event["message"].clone(),
            "content_block_start" => {
                self.message["content"].as_array_mut().unwrap().push(event["content_block"].clone());
                self.arguments.push(String::new());
            }
            "content_block_delta" => {
                let (block, delta) = (&mut self.message["content"][index], &event["delta"]);
                if delta["type"] == "citations_delta" {
                    let mut citations = block["citations"].as_array().cloned().unwrap_or_default();
                    citations.push(delta["citation"].clone());
                    block["citations"] = citations.into();
                    return;
                }
                let mut add = |key: &str| {
                    let all = format!("{}{}", block[key].as_str().unwrap(), delta[key].as_str().unwrap());
                    block[key] = all.into();
                };
                match delta["type"].as_str().unwrap() {
                    "text_delta" => add("text"),
                    "thinking_delta" => add("thinking"),
                    "signature_delta" => block["signature"] = delta["signature"].clone(),
                    "input_json_delta" => {
                        self.arguments[index].push_str(delta["partial_json"].as_str().unwrap());
                    }
                    other => panic!("{other}"),
                }
            }
            "message_delta" => {
                self.message["stop_reason"] = event["delta"]["stop_reason"].clone();
                self.message["stop_sequence"] = event["delta"]["stop_sequence"].clone();
                self.message["usage"] = event["usage"].clone();
            }
            _ => {}
        }
    }

    fn message(mut self) -> Value {
        for (block, arguments) in
            self.message["content"].as_array_mut().unwrap().iter_mut().zip(self.arguments)
        {
            if block["type"] == "tool_use" {
                block["input"] = serde_json::from_str(&arguments).unwrap();
            }
        }
        self.message
    }
}

/// What models of different kinds take.
fn capabilities() -> impl Strategy<Value = Capabilities> {
    let row = |row: &str| Just(serde_json::from_str::<Capabilities>(row).unwrap());
    prop_oneof![
        3 => Just(Capabilities::CLASSIC_CLAUDE),
        2 => Just(Capabilities::NEWEST_CLAUDE),
        1 => row(r#"{"claude":true,"documents":true,"thinking":["enabled"],"effort":["low","high"],"sampling":"one_of"}"#),
        1 => row(r#"{"documents":true,"reasoning":"reasoning_config","effort":["low","medium","high"],"prompt_cache":"5m"}"#),
        1 => row(r#"{"tools":false,"images":false,"stop_sequences":false,"tool_choice":"none"}"#),
    ]
}

/// Betas of a header: novel ones, some that pass and some that stay behind.
fn betas() -> impl Strategy<Value = Vec<String>> {
    vec(
        "novel-[a-z]{4}|context-1m-2025-08-07|context-management-2025-06-27|oauth-2025-04-20|mcp-client-[a-z]{4}",
        0..4,
    )
}

/// A request with a leaf of its own in every place, known and unknown.
fn request() -> impl Strategy<Value = Value> {
    let novel = option::weighted(0.2, "novel-[a-z]{4}");
    let cache = option::weighted(0.1, Just(json!({"type": "ephemeral", "ttl": "1h"})));
    let block = (0..25_u8, "leaf-[a-z]{6}", novel.clone(), cache).prop_map(|(kind, leaf, novel, cache)| {
        let mut block = match kind {
            0..=2 => json!({"type": "text", "text": leaf}),
            3 => json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": leaf}}),
            4 => json!({"type": "image", "source": {"type": "url", "url": leaf}}),
            5 => json!({"type": "document", "title": leaf}),
            6 => json!({"type": "thinking", "thinking": leaf, "signature": format!("{leaf}-signature")}),
            7 => json!({"type": "thinking", "thinking": leaf}),
            8 => json!({"type": "text", "text": " ", "citations": [{"cited_text": leaf}]}),
            9 => json!({"type": "text", "text": leaf, "citations": [{"type": "char_location", "cited_text": format!("{leaf}-cited"), "document_title": format!("{leaf}-title"), "document_index": 0, "start_char_index": 0, "end_char_index": 1, "file_id": null}]}),
            10 => json!({"type": "text", "text": leaf, "citations": [{"type": "novel_location", "cited_text": format!("{leaf}-cited")}]}),
            11 => json!({"type": "document", "title": format!("{leaf}-title"), "context": format!("{leaf}-context"), "source": {"type": "text", "media_type": "text/plain", "data": leaf}, "citations": {"enabled": true}}),
            12 => json!({"type": "document", "title": format!("{leaf}_title"), "source": {"type": "base64", "media_type": "application/pdf", "data": leaf}, "citations": {"enabled": *leaf < *"leaf-m"}}),
            13 => json!({"type": "document", "title": leaf, "source": {"type": "content", "content": [{"type": "text", "text": format!("{leaf}-part")}, {"type": "image", "source": {"type": "base64", "data": format!("{leaf}-data")}}]}}),
            14 => json!({"type": "document", "context": leaf, "source": {"type": "url", "url": format!("{leaf}-url")}}),
            15 => json!({"type": "search_result", "source": leaf, "title": format!("{leaf}-title"), "content": [{"type": "text", "text": format!("{leaf}-text")}]}),
            16 => json!({"type": "server_tool_use", "id": format!("{leaf}-id"), "name": "web_search", "input": {"query": leaf}}),
            17 => json!({"type": "web_search_tool_result", "tool_use_id": format!("{leaf}-id"), "content": [{"type": "web_search_result", "url": leaf, "title": format!("{leaf}-title"), "encrypted_content": format!("{leaf}-secret")}]}),
            18 => json!({"type": "redacted_thinking", "data": leaf}),
            19 => json!({"type": "tool_reference", "tool_name": leaf}),
            20 => json!({"type": "container_upload", "file_id": leaf}),
            21 => json!({"type": "mcp_tool_use", "id": format!("{leaf}-id"), "name": leaf, "server_name": format!("{leaf}-server"), "input": {}}),
            22 => json!({"type": "compaction", "content": leaf}),
            23 => json!({"type": "search_result", "source": leaf, "title": format!("{leaf}-title"), "content": [{"type": "text", "text": format!("{leaf}-text")}], "citations": {"enabled": true}}),
            _ => json!({"type": "novel_block", "anything": {"at": [leaf]}}),
        };
        if let Some(novel) = novel {
            block["novel"] = novel.into();
        }
        if let Some(cache) = cache {
            block["cache_control"] = cache;
        }
        block
    });
    let role = prop_oneof![4 => Just("user"), 4 => Just("assistant"), 1 => Just("system")];
    let message = (role, vec(block, 1..4), novel.clone()).prop_map(|(role, content, novel)| {
        let mut message = json!({"role": role, "content": content});
        if let Some(novel) = novel {
            message["novel"] = novel.into();
        }
        message
    });
    let kind = option::of(
        "tool-[a-z]{3}_20250101|web_search_20250305|bash_20250124|memory_20250818|computer_20251124|custom",
    );
    let tool = ("tool-[a-z]{6}", novel.clone(), kind).prop_map(|(name, novel, kind)| {
        let mut tool = json!({"name": name, "description": format!("{name} does"), "input_schema": {"type": "object", "title": format!("{name} takes")}});
        if let Some(kind) = kind {
            tool["type"] = kind.into();
        }
        if let Some(novel) = novel {
            tool["novel"] = novel.into();
        }
        tool
    });
    let depth = ("enabled|adaptive|disabled|between_tools|novel", 0..20_000_u64)
        .prop_map(|(kind, budget)| json!({"type": kind, "budget_tokens": budget, "display": "leaf-display"}));
    let config = ("low|medium|high|xhigh|max|leaf-effort", option::weighted(0.2, "leaf-[a-z]{4}")).prop_map(
        |(effort, schema)| {
            let format = schema.map(|title| json!({"type": "json_schema", "schema": {"title": title}}));
            json!({"effort": effort, "format": format})
        },
    );
    let member = prop_oneof![
        Just(("container", json!("leaf-container"))),
        Just(("mcp_servers", json!([{"type": "url", "url": "leaf-url", "name": "leaf-name"}]))),
        Just(("inference_geo", json!("leaf-geo"))),
        Just(("speed", json!("leaf-speed"))),
        Just(("output_format", json!({"type": "json_schema", "schema": {"title": "leaf-title"}}))),
        Just(("context_management", json!({"edits": [{"type": "leaf-edit"}]}))),
        Just(("system", json!([{"type": "text", "text": "leaf-said", "novel": "novel-said"}]))),
        Just(("fallbacks", json!([{"model": "leaf-model"}]))),
        Just(("anthropic_beta", json!(["leaf-beta"]))),
    ];
    let extra = (option::weighted(0.5, member), option::weighted(0.3, "leaf-[a-z]{6}"));
    (vec(message, 1..5), vec(tool, 0..3), novel, option::of("user-[a-z]{4}"), "auto|any|none", depth, config, extra).prop_map(
        |(mut messages, tools, novel, user, tool_choice, thinking, config, (member, call))| {
            messages.insert(0, json!({"role": "user", "content": "leaf-first"}));
            // A call and its results, with everything that they may hold.
            if let Some(leaf) = call {
                let found = json!([{"type": "text", "text": format!("{leaf}-found")}, {"type": "search_result", "source": format!("{leaf}-source"), "title": format!("{leaf}-title"), "content": [{"type": "text", "text": format!("{leaf}-part")}]}, {"type": "document", "title": format!("{leaf}-page"), "source": {"type": "text", "media_type": "text/plain", "data": format!("{leaf}-data")}}, {"type": "tool_reference", "tool_name": format!("{leaf}-tool")}]);
                messages.push(json!({"role": "user", "content": "leaf-again"}));
                messages.push(json!({"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_a", "name": "a", "input": {"argument": leaf}, "caller": {"type": format!("{leaf}-caller")}}]}));
                messages.push(json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_a", "content": found}]}));
            }
            let mut body = json!({"max_tokens": 7, "system": "leaf-system", "messages": messages, "stop_sequences": ["leaf-stop"],
                "thinking": thinking, "output_config": config, "metadata": {"user_id": user}, "tools": tools});
            body["tool_choice"] = json!({"type": tool_choice});
            if let Some(novel) = novel {
                body["novel"] = json!({"deep": [novel]});
            }
            if let Some((name, value)) = member {
                body[name] = value;
            }
            body
        },
    )
}

/// Whether `leaf` is there, as it is or as the data of a document.
fn carries(upstream: &str, leaf: &str) -> bool {
    upstream.contains(leaf) || upstream.contains(&STANDARD.encode(leaf))
}

/// The texts of a body that are content, with their paths.
fn leaves(value: &Value, path: String) -> Vec<(String, String)> {
    let join = |key: &str| {
        if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
    };
    match value {
        Value::Object(object) => object.iter().flat_map(|(key, value)| leaves(value, join(key))).collect(),
        Value::Array(items) => {
            items.iter().enumerate().flat_map(|(n, value)| leaves(value, join(&n.to_string()))).collect()
        }
        Value::String(text)
            if ["leaf-", "novel-", "tool-", "user-"].iter().any(|mark| text.starts_with(mark)) =>
        {
            vec![(path, text.clone())]
        }
        _ => vec![],
    }
}
