//! Message that is not streamed → events, for requests that an upstream API takes without a stream only.

use crate::anthropic::event_sink::EventSink;
use crate::json::{JsonStr, RawJson};
use crate::json_edit::{Member, items, members};
use crate::translate::forward::EventForwarder;
use crate::translate::{End, MappedError, StreamContext, StreamSummary};

/// Members of a message that a stream has in its last event.
const END_MEMBERS: [&str; 4] = ["stop_reason", "stop_sequence", "container", "safeguard_results"];

/// Translates a message of InvokeModel or of the Messages API into the events of a stream; an unreadable one ends with an
/// `error`.
pub fn translate_message(
    document: &[u8],
    context: StreamContext,
    sink: &mut (impl EventSink + ?Sized),
) -> StreamSummary {
    let mut events = EventForwarder::new(context);
    let unreadable = match events_of(document) {
        Ok(all) => {
            for event in all {
                events.take(Ok(event.as_bytes()), sink);
            }
            None
        }
        Err(what) => Some(MappedError::unreadable(format!("the document: {what}"))),
    };
    events.finish(unreadable, End::Eof, sink)
}

/// The events of a stream with the same content, as JSON.
fn events_of(document: &[u8]) -> Result<Vec<String>, String> {
    let message: RawJson<'_> = serde_json::from_slice(document).map_err(|error| error.to_string())?;
    let all = members(message);
    let kind = find(&all, "type").and_then(|kind| kind.read::<JsonStr<'_>>().ok());
    if kind.as_deref() != Some("message") {
        return Err("it is not a message".to_owned());
    }
    let head = all.iter().filter(|member| !END_MEMBERS.contains(&&*member.key)).map(|member| {
        let value = if &*member.key == "content" { "[]" } else { member.value.get() };
        (&*member.key, value)
    });
    let head = object(head.chain([("stop_reason", "null"), ("stop_sequence", "null")]));
    let mut events = vec![format!(r#"{{"type":"message_start","message":{head}}}"#)];
    let blocks = find(&all, "content").map(items).unwrap_or_default();
    for (index, block) in blocks.into_iter().enumerate() {
        let block = block.get();
        events.push(format!(r#"{{"type":"content_block_start","index":{index},"content_block":{block}}}"#));
        events.push(format!(r#"{{"type":"content_block_stop","index":{index}}}"#));
    }
    let end = all.iter().filter(|member| END_MEMBERS.contains(&&*member.key));
    let delta = object(end.map(|member| (&*member.key, member.value.get())));
    let usage = find(&all, "usage").map_or(RawJson::EMPTY_OBJECT, RawJson::get);
    events.push(format!(r#"{{"type":"message_delta","delta":{delta},"usage":{usage}}}"#));
    events.push(r#"{"type":"message_stop"}"#.to_owned());
    Ok(events)
}

fn find<'t>(all: &[Member<'t>], name: &str) -> Option<RawJson<'t>> {
    all.iter().find(|member| &*member.key == name).map(|member| member.value)
}

fn object<'m>(members: impl Iterator<Item = (&'m str, &'m str)>) -> String {
    let members: Vec<String> = members
        .map(|(key, value)| format!("{}:{value}", serde_json::to_string(key).unwrap_or_default()))
        .collect();
    format!("{{{}}}", members.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anthropic::MessageAccumulator;
    use crate::translate::Outcome;

    #[test]
    fn document_is_the_message_of_its_events() {
        let context = || StreamContext { model: "mine".into(), ..StreamContext::default() };
        let document = r#"{"id":"msg_1","type":"message","role":"assistant","model":"theirs","content":[{"type":"text","text":"<a>"},{"type":"tool_use","id":"t","name":"f","input":{"z":1.0}}],"stop_reason":"tool_use","stop_sequence":null,"usage":{"input_tokens":3,"cache_creation_input_tokens":7,"output_tokens":9},"novel":1}"#;
        let mut message = MessageAccumulator::default();
        let summary = translate_message(document.as_bytes(), context(), &mut message);
        assert_eq!(summary.outcome, Outcome::Finished);
        assert_eq!(summary.usage.map(|usage| usage.cache_creation_input_tokens), Some(7));
        let message: serde_json::Value = serde_json::from_slice(&message.finish().unwrap()).unwrap();
        let mut expected: serde_json::Value = serde_json::from_str(document).unwrap();
        expected["model"] = "mine".into();
        assert_eq!(message, expected);
        for unreadable in ["", "{", "[]", r#"{"type":"error"}"#] {
            let mut message = MessageAccumulator::default();
            let summary = translate_message(unreadable.as_bytes(), context(), &mut message);
            assert_eq!(summary.outcome, Outcome::Failed, "{unreadable}");
            assert!(message.finish().is_err());
        }
    }
}
