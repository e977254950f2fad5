//! A response that is not streamed: the same events, accumulated into one message.

use std::sync::Arc;
use std::time::Duration;

use protocol::anthropic::MessageAccumulator;
use protocol::anthropic::event_sink::ClientFormat;

use super::request::ResponseHead;
use super::stream::UpstreamStream;
use super::{Inference, InferenceError};

/// Time limit for the end of a finished response, before its connection is given up. Short, because the client waits.
const TRAILER_TIMEOUT: Duration = Duration::from_millis(100);

impl Inference {
    /// One JSON document, complete within the request timeout. After a timeout the response is read on detached.
    ///
    /// # Errors
    /// What sending fails with, an error in the response, or a timeout.
    pub(super) async fn json_body(
        &self,
        stream: UpstreamStream,
        head: &mut ResponseHead,
        format: Arc<dyn ClientFormat>,
    ) -> Result<Vec<u8>, InferenceError> {
        let limit = self.config.request_timeout;
        let document = self.document(stream, head, format.as_ref());
        tokio::time::timeout(limit, document).await.map_err(|_| {
            let seconds = limit.as_secs_f32();
            InferenceError::Timeout(format!(
                "the response was not complete after {seconds} s; use \"stream\": true for long responses"
            ))
        })?
    }

    async fn document(
        &self,
        mut stream: UpstreamStream,
        head: &mut ResponseHead,
        format: &dyn ClientFormat,
    ) -> Result<Vec<u8>, InferenceError> {
        let idle = self.config.idle_timeout;
        let idle_timeout = |_| InferenceError::idle_timeout();
        head.set(tokio::time::timeout(idle, stream.start()).await.map_err(idle_timeout)??);
        let mut accumulator = MessageAccumulator::default();
        stream.replay_first_events(&mut accumulator);
        // What is left of a message that is too large is read detached, for its usage.
        while !stream.has_ended() && !accumulator.is_too_large() {
            let chunk = tokio::time::timeout(idle, stream.chunk()).await.map_err(idle_timeout)?;
            stream.push(&chunk, &mut accumulator);
        }
        if let Some(failure) = stream.failure() {
            return Err(InferenceError::from_mapped(failure.clone(), None));
        }
        // Without an error of AWS, the fault lies between AWS and the proxy.
        let document = accumulator.finish().and_then(|message| format.document(message));
        let document = document.map_err(|error| InferenceError::BadGateway(error.message))?;
        let _ = tokio::time::timeout(TRAILER_TIMEOUT, stream.drain()).await;
        Ok(document)
    }
}
