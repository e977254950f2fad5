//! Converse document → events, for requests that a model cannot stream.

use super::{End, StreamContext, StreamSummary, StreamTranslator};
use crate::anthropic::event_sink::EventSink;
use crate::converse::ConverseResponse;
use crate::translate::MappedError;

/// Translates a Converse document into the events of a stream; an unreadable one ends with an `error`.
pub fn translate_response(
    document: &[u8],
    context: StreamContext,
    sink: &mut (impl EventSink + ?Sized),
) -> StreamSummary {
    let mut translator = StreamTranslator::new(context);
    let end = match serde_json::from_slice::<ConverseResponse<'_>>(document) {
        Ok(whole) => {
            whole.into_events(&mut |event| translator.push(event, sink));
            End::Eof
        }
        Err(error) => End::Failed(MappedError::unreadable(format!("the document: {error}")).error),
    };
    translator.finish(end, sink)
}
