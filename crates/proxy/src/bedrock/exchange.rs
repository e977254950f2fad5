//! One signed request and the head of its answer, for everything that is not a conversation of our own.

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, Uri, header};
use http_body_util::Full;
use hyper::body::Incoming;

use super::credentials::Identity;
use super::places::Place;
use super::{Attempts, Bedrock, Failure, USER_AGENT, failure, sign};
use crate::http_client::Client;

/// What to send where.
pub(super) struct Exchange<'a> {
    pub(super) place: &'a Place<'a>,
    pub(super) client: &'a Client,
    pub(super) method: Method,
    pub(super) uri: Uri,
    /// Beside `host`, `user-agent` and the proof of identity.
    pub(super) headers: &'a HeaderMap,
    pub(super) body: Bytes,
}

impl Bedrock {
    /// Sends, and sends again when nobody was reached or AWS wants newer credentials; nothing else is known to
    /// be safe to repeat.
    pub(super) async fn exchange(
        &self,
        exchange: &Exchange<'_>,
        attempts: &mut Attempts,
    ) -> Result<Response<Incoming>, Failure> {
        loop {
            let identity = self.credentials.get().await.inspect_err(|_| attempts.failed("credentials"))?;
            let failure = match self.once(exchange, &identity).await {
                Ok(response) => return Ok(response),
                Err(failure) => failure,
            };
            attempts.failed(failure.outcome());
            attempts.tell(&failure);
            if failure.blames_credentials() && self.credentials.can_refresh() && attempts.refresh() {
                tracing::warn!(%failure, "AWS refused the credentials; fetching new ones");
                self.credentials.replace(&identity).await?;
            } else if !(failure.is_connecting() && attempts.again().await) {
                return Err(failure);
            }
        }
    }

    async fn once(
        &self,
        exchange: &Exchange<'_>,
        identity: &Identity,
    ) -> Result<Response<Incoming>, Failure> {
        let (place, body) = (exchange.place, &exchange.body);
        let mut request = Request::builder()
            .method(exchange.method.clone())
            .uri(exchange.uri.clone())
            .header(header::HOST, place.endpoint.host())
            .header(header::USER_AGENT, USER_AGENT)
            .body(Full::new(body.clone()))
            .map_err(Failure::unsendable)?;
        let headers = exchange.headers.iter().map(|(name, value)| (name.clone(), value.clone()));
        request.headers_mut().extend(headers);
        sign::authorize(&mut request, body, identity, place.scope(), self.clock.now())
            .map_err(Failure::unsendable)?;
        let sent = exchange.client.request(request).await;
        let response = sent.map_err(|error| Failure::unreachable(place.endpoint.host(), &error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let (head, body) = response.into_parts();
        Err(failure::refused(&head, body).await)
    }
}
