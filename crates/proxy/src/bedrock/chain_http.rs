//! HTTP for the AWS credential chain: requests to the metadata service of instances and containers, to STS and to SSO, sent
//! with this program's own client.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_smithy_runtime_api::client::connector_metadata::ConnectorMetadata;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};

use crate::error_text::with_causes;
use crate::http_client::{self, Client, ClientBuilder, ConnectionReuse};

/// Maximum size of a response: credentials with a session token have a few kilobytes.
const MAX_RESPONSE_BYTES: usize = 1 << 20;
/// Time limit of a response when the chain sets none.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);

/// The last request of the chain, as text without its query, and its outcome. The chain's own errors name neither the
/// service nor the status of its response.
#[derive(Clone, Debug, Default)]
pub(super) struct LastRequest(Arc<Mutex<Option<String>>>);

impl LastRequest {
    /// Forgets the request.
    pub(super) fn clear(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// `error`, with the request if there was one.
    pub(super) fn explain(&self, error: String) -> String {
        match &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(request) => format!("{error} (last request: {request})"),
            None => error,
        }
    }

    fn set(&self, request: &str, outcome: impl fmt::Display) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(format!("{request}: {outcome}"));
    }
}

/// The client of the credential chain. It trusts the certificates that the rest of the program trusts.
#[derive(Clone, Debug)]
pub(super) struct ChainHttpClient {
    builder: ClientBuilder,
    last_request: LastRequest,
}

impl ChainHttpClient {
    /// A client that trusts `ca_bundle`, or else the system's root certificates. Without either it can use plain HTTP only,
    /// which the metadata service needs. It keeps `last_request` up to date.
    pub(super) fn new(ca_bundle: Option<&Path>, last_request: LastRequest) -> Option<Self> {
        let builder = ClientBuilder::new(true, ca_bundle);
        let builder = builder.or_else(|_| ClientBuilder::new(false, None)).ok()?;
        Some(Self { builder, last_request })
    }
}

impl HttpClient for ChainHttpClient {
    fn http_connector(&self, settings: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        let connect_timeout = settings.connect_timeout();
        SharedHttpConnector::new(ChainConnector {
            client: self.builder.build(connect_timeout),
            last_request: self.last_request.clone(),
            timeout: settings.read_timeout().unwrap_or(RESPONSE_TIMEOUT)
                + connect_timeout.unwrap_or_default(),
        })
    }

    fn connector_metadata(&self) -> Option<ConnectorMetadata> {
        Some(ConnectorMetadata::new("hyper", None))
    }
}

/// One client with the time limits of one part of the chain.
#[derive(Debug)]
struct ChainConnector {
    client: Client,
    last_request: LastRequest,
    timeout: Duration,
}

impl HttpConnector for ChainConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (client, last_request, timeout) = (self.client.clone(), self.last_request.clone(), self.timeout);
        HttpConnectorFuture::new(async move {
            let url = request.uri().split('?').next().unwrap_or_default();
            let text = format!("{} {url}", request.method());
            last_request.set(&text, "no response yet");
            let sent = tokio::time::timeout(timeout, send(&client, request)).await;
            let sent = sent.unwrap_or_else(|elapsed| Err(ConnectorError::timeout(elapsed.into())));
            match &sent {
                Ok(response) => last_request.set(&text, format_args!("status {}", response.status())),
                Err(error) => last_request.set(&text, with_causes(error)),
            }
            sent
        })
    }
}

async fn send(client: &Client, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
    let request = request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
    let request = request.map(|body| Full::new(body.bytes().map(Bytes::copy_from_slice).unwrap_or_default()));
    let response = client.request(request, ConnectionReuse::Forbidden).await.map_err(|error| {
        if http_client::is_timeout(&error) {
            ConnectorError::timeout(error.into())
        } else {
            ConnectorError::io(error.into())
        }
    })?;
    let (head, body) = response.into_parts();
    let body = Limited::new(body, MAX_RESPONSE_BYTES).collect().await.map_err(ConnectorError::io)?.to_bytes();
    let response = http::Response::from_parts(head, SdkBody::from(body));
    HttpResponse::try_from(response).map_err(|error| ConnectorError::other(error.into(), None))
}
