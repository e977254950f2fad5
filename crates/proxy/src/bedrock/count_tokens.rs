//! CountTokens: what a prompt would cost, without asking the model.
//!
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_CountTokens.html>

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use serde::Deserialize;

use super::exchange::Exchange;
use super::passthrough::Operation;
use super::{Attempts, Bedrock, Failure, failure};

/// `{"inputTokens":N}` and nothing else.
const LONGEST_ANSWER: usize = 4096;

impl Bedrock {
    /// The tokens that `body`, a CountTokens request, comes to for a bare foundation-model id.
    ///
    /// # Errors
    /// When AWS refuses, or the answer cannot be had or read.
    pub async fn count_tokens(&self, model_id: &str, body: Bytes) -> Result<u64, Failure> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Answer {
            input_tokens: u64,
        }
        let place = self.place(model_id);
        let uri = place.endpoint.model(model_id, Operation::CountTokens.path());
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        let exchange = Exchange {
            place: &place,
            client: &self.client,
            method: Method::POST,
            uri: uri.map_err(Failure::unsendable)?,
            headers: &headers,
            body,
        };
        let answer = self.exchange(&exchange, &mut Attempts::default()).await?;
        let bytes = failure::read(answer.into_body(), LONGEST_ANSWER).await.unwrap_or_default();
        let answer: Answer = serde_json::from_slice(&bytes)
            .map_err(|error| Failure::unreadable(place.endpoint.host(), &error))?;
        Ok(answer.input_tokens)
    }
}
