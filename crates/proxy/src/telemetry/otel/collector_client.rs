//! HTTP client of the OTLP exporters: the same kind of connection as to Bedrock, with the same root certificates and a
//! timeout.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{BodyExt, Full, Limited};
use opentelemetry_http::{HttpClient, HttpError};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::config::CollectorConfig;
use crate::http_client::{self, Client, ConnectionReuse};
use crate::tasks::Tasks;

/// Longest response that is read: an OTLP response holds one short message at most.
const MAX_RESPONSE_BYTES: usize = 64 << 10;

/// Sends the requests of the exporters. Exporters may call from threads of their own, so a task does the work.
#[derive(Clone, Debug)]
pub(super) struct CollectorClient {
    client: Client,
    timeout: Duration,
    runtime: Handle,
    tasks: Tasks,
    /// Ends all requests in flight.
    abort: CancellationToken,
}

impl CollectorClient {
    pub(super) fn new(client: Client, timeout: Duration, tasks: &Tasks, abort: CancellationToken) -> Self {
        Self { client, timeout, runtime: Handle::current(), tasks: tasks.clone(), abort }
    }
}

#[async_trait]
impl HttpClient for CollectorClient {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (tx, rx) = oneshot::channel();
        let (client, timeout, abort) = (self.client.clone(), self.timeout, self.abort.clone());
        {
            let _guard = self.runtime.enter();
            self.tasks.spawn(async move {
                let response = tokio::select! {
                    response = tokio::time::timeout(timeout, send(&client, request)) => {
                        response.unwrap_or_else(|_| Err("no response in time".into()))
                    }
                    () = abort.cancelled() => Err("the proxy is shutting down".into()),
                };
                let _ = tx.send(response);
            });
        }
        rx.await?
            .inspect_err(|error| tracing::debug!(%error, "request to the OpenTelemetry collector failed"))
    }
}

/// Sends an export without spans or metrics; returns the status of the response.
///
/// # Errors
/// When no response arrives in time.
pub(crate) async fn send_empty_export(
    collector: &CollectorConfig,
    ca_bundle: Option<&Path>,
) -> Result<u16, HttpError> {
    let client = http_client::new(collector.url.scheme_str() == Some("https"), ca_bundle)?;
    let mut request = Request::post(&collector.url).header(header::CONTENT_TYPE, "application/x-protobuf");
    for (name, value) in &collector.headers {
        request = request.header(name, value.expose());
    }
    let response = send(&client, request.body(Bytes::new())?);
    let response = tokio::time::timeout(collector.timeout, response).await;
    Ok(response.map_err(|_| "no response in time")??.status().as_u16())
}

async fn send(client: &Client, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
    let (head, body) = client.request(request.map(Full::new), ConnectionReuse::Allowed).await?.into_parts();
    let body = Limited::new(body, MAX_RESPONSE_BYTES).collect().await?.to_bytes();
    Ok(Response::from_parts(head, body))
}
