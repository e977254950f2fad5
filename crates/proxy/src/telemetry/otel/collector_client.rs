//! The way to a collector: the same kind of connection as to Bedrock, with the same roots of trust, bounded in time.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use opentelemetry_http::{HttpClient, HttpError};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::http_client::Client;
use crate::tasks::Tasks;

/// The longest answer that is read, in bytes; a collector says next to nothing.
const LONGEST: usize = 64 << 10;

/// Sends what the exporters have made. They may call from threads of their own, so the work is done by a task.
#[derive(Clone, Debug)]
pub(super) struct Sender {
    client: Client,
    timeout: Duration,
    runtime: Handle,
    tasks: Tasks,
    /// Ends everything that is under way.
    given_up: CancellationToken,
}

impl Sender {
    pub(super) fn new(client: Client, timeout: Duration, tasks: &Tasks, given_up: CancellationToken) -> Self {
        Self { client, timeout, runtime: Handle::current(), tasks: tasks.clone(), given_up }
    }
}

#[async_trait]
impl HttpClient for Sender {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (said, heard) = oneshot::channel();
        let (client, timeout, given_up) = (self.client.clone(), self.timeout, self.given_up.clone());
        {
            let _entered = self.runtime.enter();
            self.tasks.spawn(async move {
                let answer = tokio::select! {
                    answer = tokio::time::timeout(timeout, send(&client, request)) => {
                        answer.unwrap_or_else(|_| Err("no answer in time".into()))
                    }
                    () = given_up.cancelled() => Err("the server ends".into()),
                };
                let _ = said.send(answer);
            });
        }
        heard.await?.inspect_err(|error| tracing::debug!(%error, "the collector cannot be reached"))
    }
}

async fn send(client: &Client, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
    let (head, body) = client.request(request.map(Full::new)).await?.into_parts();
    let body = Limited::new(body, LONGEST).collect().await?.to_bytes();
    Ok(Response::from_parts(head, body))
}
