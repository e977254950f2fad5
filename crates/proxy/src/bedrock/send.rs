//! One signed request to AWS and the head of its response.

use bytes::Bytes;
use http::{HeaderMap, Method, Request, header};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::time::Instant;

use super::sign::{BodyHash, SignableBody};
use super::{Target, UpstreamError, error, sign};
use crate::http_client::ConnectionReuse;

pub(super) const USER_AGENT: &str = concat!("bedrock-proxy/", env!("CARGO_PKG_VERSION"));

/// A request before it is signed. Cheap to clone: a retry sends the same bytes.
#[derive(Clone, Debug)]
pub(crate) struct SignedRequest {
    /// The method.
    pub(crate) method: Method,
    /// The path, percent-encoded, with its query.
    pub(crate) path: String,
    /// Headers beside `host`, `user-agent` and those of the signature.
    pub(crate) headers: HeaderMap,
    /// The body.
    pub(crate) body: Bytes,
    /// The hash of a large body, so that its signature takes no time. Without it, the body is hashed to sign it.
    pub(crate) body_hash: Option<BodyHash>,
    /// The media type that a response of status 200 must have; `None` accepts any successful response.
    pub(crate) media_type: Option<&'static str>,
}

/// A successful response whose body has not been read.
#[derive(Debug)]
pub(crate) struct UpstreamResponse {
    /// The status.
    pub(crate) status: u16,
    /// The headers.
    pub(crate) headers: HeaderMap,
    /// The body.
    pub(crate) body: Incoming,
    /// `x-amzn-requestid`, which AWS support requires.
    pub(crate) request_id: Option<String>,
}

impl Target {
    /// Signs and sends `request` once.
    ///
    /// # Errors
    /// When there are no credentials, no response, or AWS responded with an error.
    pub(crate) async fn send(
        &self,
        request: &SignedRequest,
        reuse: ConnectionReuse,
    ) -> Result<UpstreamResponse, UpstreamError> {
        let credentials = self.credentials.get().await?;
        let mut signed = Request::builder()
            .method(request.method.clone())
            .uri(self.endpoint.url(&request.path).map_err(UpstreamError::construction)?)
            .header(header::HOST, self.host())
            .header(header::USER_AGENT, USER_AGENT)
            .body(Full::new(request.body.clone()))
            .map_err(UpstreamError::construction)?;
        let headers = request.headers.iter().map(|(name, value)| (name.clone(), value.clone()));
        signed.headers_mut().extend(headers);
        let body = match &request.body_hash {
            Some(hash) => SignableBody::from(hash),
            None => SignableBody::Bytes(&request.body),
        };
        sign::sign(&mut signed, body, &credentials, self.credential_scope(), self.clock.now())
            .map_err(UpstreamError::construction)?;
        let sent_at = Instant::now();
        let response = self.client()?.request(signed, reuse).await;
        let response =
            response.map_err(|error| UpstreamError::dispatch(self.host(), &error, sent_at.elapsed()))?;
        let (head, body) = response.into_parts();
        let is_success = match request.media_type {
            Some(_) => head.status == 200,
            None => head.status.is_success(),
        };
        if !is_success {
            let error = error::service_error(&head, body).await;
            if error.is_credentials_rejected() {
                self.credentials.mark_rejected(&credentials);
            }
            return Err(error);
        }
        if let Some(expected) = request.media_type {
            let content_type = error::text_header(&head, header::CONTENT_TYPE.as_str());
            if content_type.as_deref().is_none_or(|value| !value.starts_with(expected)) {
                return Err(error::unexpected_content_type(&head, body).await);
            }
        }
        let request_id = error::text_header(&head, error::REQUEST_ID);
        Ok(UpstreamResponse { status: head.status.as_u16(), headers: head.headers, body, request_id })
    }
}

impl UpstreamResponse {
    /// Reads a short body.
    ///
    /// # Errors
    /// When it is longer than `max_bytes`, late, or broken off.
    pub(crate) async fn bytes(self, host: &str, max_bytes: usize) -> Result<Bytes, UpstreamError> {
        let incomplete = || UpstreamError::Response {
            host: host.to_owned(),
            cause: "the body is incomplete or too long".to_owned(),
        };
        error::read(self.body, max_bytes).await.ok_or_else(incomplete)
    }

    /// Reads a short JSON document.
    ///
    /// # Errors
    /// When the body is longer than `max_bytes`, late, broken off, or not the document expected.
    pub(crate) async fn json<T: serde::de::DeserializeOwned>(
        self,
        host: &str,
        max_bytes: usize,
    ) -> Result<T, UpstreamError> {
        let bytes = error::read(self.body, max_bytes).await.unwrap_or_default();
        serde_json::from_slice(&bytes).map_err(|error| UpstreamError::response(host, &error))
    }
}
