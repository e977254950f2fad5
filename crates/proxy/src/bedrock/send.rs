//! One request to AWS, signed and sent, and the reading of short responses.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, header};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::time::Instant;

use super::sign::{BodyHash, SignableBody};
use super::{Target, UpstreamError, error, sign};
use crate::http_client::ConnectionReuse;

const USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("bedrock-proxy/", env!("CARGO_PKG_VERSION")));

impl Target {
    /// A request to this endpoint before it is signed. `path` is percent-encoded, with its query; `headers` are those
    /// beside `host`, `user-agent` and the signature.
    ///
    /// # Errors
    /// When the path is not valid.
    pub(crate) fn request(
        &self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Request<Bytes>, UpstreamError> {
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = self.endpoint.url(path).map_err(UpstreamError::construction)?;
        let host = HeaderValue::from_str(self.host()).map_err(UpstreamError::construction)?;
        let all = request.headers_mut();
        all.insert(header::HOST, host);
        all.insert(header::USER_AGENT, USER_AGENT);
        all.extend(headers);
        Ok(request)
    }

    /// Signs and sends `request` once. With `body_hash`, the body is not hashed again. A response must have status 200 and
    /// the media type `media_type`; without one, any success is accepted.
    ///
    /// # Errors
    /// When there are no credentials, no response, or AWS responded with an error.
    pub(crate) async fn send(
        &self,
        request: &Request<Bytes>,
        body_hash: Option<&BodyHash>,
        media_type: Option<&'static str>,
        reuse: ConnectionReuse,
    ) -> Result<Response<Incoming>, UpstreamError> {
        let credentials = self.credentials.get().await?;
        let mut signed = request.clone().map(Full::new);
        let body = match body_hash {
            Some(hash) => SignableBody::from(hash),
            None => SignableBody::Bytes(request.body()),
        };
        sign::sign(&mut signed, body, &credentials, self.credential_scope(), self.clock.now())
            .map_err(UpstreamError::construction)?;
        let response = self.send_signed(signed, reuse).await?;
        let is_success = match media_type {
            Some(_) => response.status() == 200,
            None => response.status().is_success(),
        };
        if !is_success {
            let (head, body) = response.into_parts();
            let error = error::service_error(&head, body).await;
            if error.is_credentials_rejected() {
                self.credentials.mark_rejected(&credentials);
            }
            return Err(error);
        }
        if let Some(expected) = media_type {
            let content_type = error::header_str(response.headers(), header::CONTENT_TYPE.as_str());
            if content_type.is_none_or(|value| !value.starts_with(expected)) {
                let (head, body) = response.into_parts();
                return Err(error::unexpected_content_type(&head, body).await);
            }
        }
        Ok(response)
    }

    /// Sends a request as it is.
    pub(super) async fn send_signed(
        &self,
        request: Request<Full<Bytes>>,
        reuse: ConnectionReuse,
    ) -> Result<Response<Incoming>, UpstreamError> {
        let sent_at = Instant::now();
        let response = self.client()?.request(request, reuse).await;
        response.map_err(|error| UpstreamError::dispatch(self.host(), &error, sent_at.elapsed()))
    }

    /// Reads a short body of a response of this endpoint.
    ///
    /// # Errors
    /// When it is longer than `max_bytes`, late, or broken off.
    pub(crate) async fn read(&self, body: Incoming, max_bytes: usize) -> Result<Bytes, UpstreamError> {
        let incomplete = || UpstreamError::Response {
            host: self.host().to_owned(),
            cause: "the body is incomplete or too long".to_owned(),
        };
        error::read(body, max_bytes).await.ok_or_else(incomplete)
    }

    /// Reads a short JSON document of this endpoint.
    ///
    /// # Errors
    /// When the body is longer than `max_bytes`, late, broken off, or not the document expected.
    pub(crate) async fn read_json<T: serde::de::DeserializeOwned>(
        &self,
        body: Incoming,
        max_bytes: usize,
    ) -> Result<T, UpstreamError> {
        let bytes = error::read(body, max_bytes).await.unwrap_or_default();
        serde_json::from_slice(&bytes).map_err(|error| UpstreamError::response(self.host(), &error))
    }
}
