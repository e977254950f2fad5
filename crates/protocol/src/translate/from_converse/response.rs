//! A whole answer of Converse, into the events of a stream: for models that cannot stream what was asked.

use super::{End, Opening, StreamTranslator, Summary};
use crate::anthropic::Event;
use crate::converse::Whole;
use crate::translate::Failure;

/// Tells a whole answer as if it had been streamed; one that cannot be read ends with an `error`.
pub fn unfold(answer: &[u8], opening: Opening, out: &mut impl FnMut(&Event<'_>)) -> Summary {
    let mut translator = StreamTranslator::new(opening);
    let end = match serde_json::from_slice::<Whole<'_>>(answer) {
        Ok(whole) => {
            whole.into_events(&mut |event| translator.push(event, out));
            End::Eof
        }
        Err(error) => End::Failed(Failure::unreadable(format!("the answer: {error}")).error),
    };
    translator.finish(end, out)
}
