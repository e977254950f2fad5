//! Bedrock's own Messages API, on the runtime and on the Mantle endpoint: what is said in headers there.
//!
//! <https://docs.aws.amazon.com/bedrock/latest/userguide/inference-messages-api.html>

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method};
use serde::Deserialize;

use super::exchange::Exchange;
use super::{Attempts, Bedrock, Failure, failure};

/// Where it answers.
pub(super) const PATH: &str = "/anthropic/v1/messages";
/// Where it counts; on Mantle only.
const COUNT_PATH: &str = "/anthropic/v1/messages/count_tokens";
/// The older version takes everything that the newer one takes, and no endpoint refuses it.
const VERSION: HeaderValue = HeaderValue::from_static("2023-06-01");
/// `{"input_tokens":N}` and little else.
const LONGEST_ANSWER: usize = 4096;

/// Adds what the body does not say.
pub(super) fn add_headers(headers: &mut HeaderMap, betas: &[String]) -> Result<(), Failure> {
    headers.insert("anthropic-version", VERSION);
    if !betas.is_empty() {
        let betas = HeaderValue::try_from(betas.join(",")).map_err(Failure::unsendable)?;
        headers.insert("anthropic-beta", betas);
    }
    Ok(())
}

impl Bedrock {
    /// The tokens that `body`, a request to count them, comes to for a model that lives on Mantle.
    ///
    /// # Errors
    /// When AWS refuses, or the answer cannot be had or read.
    pub async fn count_tokens_on_mantle(&self, body: Bytes, betas: &[String]) -> Result<u64, Failure> {
        #[derive(Deserialize)]
        struct Answer {
            input_tokens: u64,
        }
        let (place, client) = self.mantle()?;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        add_headers(&mut headers, betas)?;
        let exchange = Exchange {
            place: &place,
            client,
            method: Method::POST,
            uri: place.endpoint.url(COUNT_PATH).map_err(Failure::unsendable)?,
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
