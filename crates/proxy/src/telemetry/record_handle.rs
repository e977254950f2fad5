//! Handle to a request record, and the sinks that the record goes to when the last handle is dropped.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::StatusCode;
use protocol::anthropic::Usage;

use super::access_log;
use super::metrics::Metrics;
use super::otel::Otel;
use super::record::{
    CallerRecord, ErrorRecord, ModelRecord, OverheadPhase, RequestHead, RequestRecord, UpstreamRecord,
};
use crate::clock::Clock;
use crate::ids::RequestId;

/// Longest path that is kept, in characters: more than any route of ours has, and no room for a log filled by paths.
const MAX_PATH_CHARS: usize = 200;
/// Path that is counted but neither logged nor traced, unless it fails: scrapers read it every few seconds.
const METRICS_PATH: &str = "/metrics";

/// Where records go: metrics, OpenTelemetry and the access log.
#[derive(Debug)]
pub struct TelemetrySinks {
    /// Metrics for Prometheus.
    pub metrics: Arc<Metrics>,
    /// Spans and metrics for OpenTelemetry collectors.
    pub otel: Otel,
    /// Wall clock of the spans.
    pub clock: Clock,
    /// AWS Region of the configuration, as logged.
    pub aws_region: String,
}

impl TelemetrySinks {
    fn export(&self, record: &RequestRecord) {
        self.metrics.record(record);
        if record.head.path == METRICS_PATH && record.error.is_none() {
            return;
        }
        if self.otel.is_on() {
            let labels = record.upstream.as_ref().map(|upstream| self.metrics.upstream_labels(upstream));
            let labels = labels.as_ref().map(|(model, region)| (&**model, &**region));
            self.otel.export(record, labels, self.clock.now());
        }
        access_log::log(record, &self.aws_region);
    }
}

/// Handle to the record of one request. Clones write to the same record; it is exported when the last is dropped.
#[derive(Clone, Debug)]
pub struct RecordHandle(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    head: Arc<RequestHead>,
    record: Mutex<RequestRecord>,
    sinks: Arc<TelemetrySinks>,
}

impl RecordHandle {
    /// Opens the record of a request, and counts the request as in flight.
    #[must_use]
    pub fn new(mut head: RequestHead, sinks: Arc<TelemetrySinks>) -> Self {
        if let Some((end, _)) = head.path.char_indices().nth(MAX_PATH_CHARS) {
            head.path.truncate(end);
        }
        sinks.metrics.request_started(head.route_or_other());
        let head = Arc::new(head);
        let record = Mutex::new(RequestRecord::new(Arc::clone(&head)));
        Self(Arc::new(Shared { head, record, sinks }))
    }

    /// Sets the authenticated caller.
    pub fn set_caller(&self, caller: CallerRecord) {
        self.lock().caller = Some(caller);
    }

    /// Sets the model that the client requested, whether as a stream, and through which client API.
    pub fn set_model(&self, requested: String, streamed: bool, client_api: &'static str) {
        self.lock().model = Some(ModelRecord { requested, streamed, client_api });
    }

    /// Sets the status of the response.
    pub fn set_response(&self, status: StatusCode) {
        self.lock().status = Some(status);
    }

    /// Sets the error that the client is sent. The last one counts.
    pub fn set_error(&self, error: ErrorRecord) {
        self.lock().error = Some(error);
    }

    /// Adds time that the proxy itself took.
    pub fn add_phase(&self, phase: OverheadPhase, duration: Duration) {
        self.lock().add_phase(phase, duration);
    }

    /// Adds bytes of the request body, and the time that the client was waited for.
    pub fn add_request_body(&self, bytes: u64, waited: Duration) {
        let body = &mut self.lock().request_body;
        body.bytes += bytes;
        body.waited += waited;
    }

    /// Adds bytes of the response body and the time that the client was waited for; `sent` says that the end was sent.
    pub fn add_response_body(&self, bytes: u64, waited: Duration, sent: bool) {
        let mut record = self.lock();
        record.response_body.bytes += bytes;
        record.response_body.waited += waited;
        record.response_sent |= sent;
    }

    /// Sets Bedrock's part, whole.
    pub fn set_upstream(&self, upstream: UpstreamRecord) {
        self.lock().upstream = Some(upstream);
    }

    /// Adds time that AWS was waited for, where no [`UpstreamRecord`] counts it.
    pub fn add_upstream_wait(&self, waited: Duration) {
        self.lock().upstream_waited += waited;
    }

    /// Id of the request.
    #[must_use]
    pub fn request_id(&self) -> &RequestId {
        &self.0.head.request_id
    }

    /// Head of the request.
    #[must_use]
    pub fn head(&self) -> &RequestHead {
        &self.0.head
    }

    /// Name of the client program, out of a closed list.
    #[must_use]
    pub fn client_name(&self) -> &'static str {
        self.0.head.user_agent.name
    }

    /// Route, or `other` when none matches.
    #[must_use]
    pub fn route(&self) -> &str {
        self.0.head.route_or_other()
    }

    /// `x-amzn-requestid` of the latest attempt, once the upstream record is set.
    #[must_use]
    pub fn aws_request_id(&self) -> Option<String> {
        self.lock().upstream.as_ref()?.aws_request_id().map(str::to_owned)
    }

    /// Usage that Bedrock reported, once the upstream record is set.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        self.lock().upstream.as_ref()?.usage
    }

    fn lock(&self) -> MutexGuard<'_, RequestRecord> {
        self.0.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let record = self.record.get_mut().unwrap_or_else(PoisonError::into_inner);
        record.duration = self.head.started_at.elapsed();
        self.sinks.export(record);
    }
}
