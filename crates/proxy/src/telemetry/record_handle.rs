//! Handle to a request record, and the sinks that the record goes to when the last handle is dropped.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;

use super::access_log;
use super::metrics::Metrics;
use super::otel::Otel;
use super::record::{Charge, ErrorRecord, OverheadPhase, RequestHead, RequestRecord, UpstreamRecord};
use crate::clock::Clock;
use crate::ids::RequestId;

/// Longest path that is kept, in characters: more than any route of ours has, and no room for a log filled by paths.
const MAX_PATH_CHARS: usize = 200;
/// Longest name of an unknown model that is kept, in characters.
const MAX_MODEL_CHARS: usize = 200;
/// Path that is counted but neither logged nor traced, unless it fails: scrapers read it every few seconds.
const METRICS_PATH: &str = "/metrics";

/// Where records go: metrics, OpenTelemetry and the access log.
#[derive(Debug)]
pub struct TelemetrySinks {
    /// Metrics for Prometheus.
    pub(crate) metrics: Arc<Metrics>,
    /// Spans and metrics for OpenTelemetry collectors.
    pub otel: Otel,
    /// Wall clock of the spans.
    pub(crate) clock: Clock,
    /// AWS Region of the configuration, as logged.
    pub(crate) aws_region: String,
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
pub(crate) struct RecordHandle(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    head: Arc<RequestHead>,
    record: Mutex<RequestRecord>,
    sinks: Arc<TelemetrySinks>,
}

impl RecordHandle {
    /// Opens the record of a request, and counts the request as in flight.
    #[must_use]
    pub(crate) fn new(mut head: RequestHead, sinks: Arc<TelemetrySinks>) -> Self {
        if let Some((end, _)) = head.path.char_indices().nth(MAX_PATH_CHARS) {
            head.path.truncate(end);
        }
        sinks.metrics.request_started(head.route_or_other());
        let head = Arc::new(head);
        let record = Mutex::new(RequestRecord::new(Arc::clone(&head)));
        Self(Arc::new(Shared { head, record, sinks }))
    }

    /// Sets the authenticated caller: the user, the team and the id of the token.
    pub(crate) fn set_caller(&self, user_id: String, team: Option<String>, token_id: Option<String>) {
        let mut record = self.lock();
        record.user_id = Some(user_id);
        record.team = team;
        record.token_id = token_id;
    }

    /// Sets the model that the client requested, whether as a stream, and through which client API.
    pub(crate) fn set_model(&self, requested: String, streamed: bool, client_api: &'static str) {
        let mut record = self.lock();
        record.requested_model = Some(requested);
        record.streamed = Some(streamed);
        record.client_api = Some(client_api);
    }

    /// Sets the model name of the client before it is resolved, so that the line of an unknown model has it.
    pub(crate) fn set_model_name(&self, name: Option<&str>, streamed: bool, client_api: &'static str) {
        if let Some(name) = name {
            self.set_model(name.chars().take(MAX_MODEL_CHARS).collect(), streamed, client_api);
        }
    }

    /// Sets the status of the response.
    pub(crate) fn set_response(&self, status: StatusCode) {
        self.lock().status = Some(status);
    }

    /// Sets the error that the client is sent. The last one counts.
    pub(crate) fn set_error(&self, error: ErrorRecord) {
        self.lock().error = Some(error);
    }

    /// Adds time that the proxy itself took.
    pub(crate) fn add_phase(&self, phase: OverheadPhase, duration: Duration) {
        self.lock().add_phase(phase, duration);
    }

    /// Adds bytes of the request body, and the time that the client was waited for.
    pub(crate) fn add_request_body(&self, bytes: u64, waited: Duration) {
        let mut record = self.lock();
        record.request_bytes += bytes;
        record.client_waited += waited;
    }

    /// Adds bytes of the response body and the time that the client was waited for; `sent`: whether the end was sent.
    pub(crate) fn add_response_body(&self, bytes: u64, waited: Duration, sent: bool) {
        let mut record = self.lock();
        record.response_bytes += bytes;
        record.client_waited += waited;
        record.response_sent |= sent;
    }

    /// Sets Bedrock's part, whole.
    pub(crate) fn set_upstream(&self, upstream: UpstreamRecord) {
        self.lock().upstream = Some(upstream);
    }

    /// Adds time that AWS was waited for, where no [`UpstreamRecord`] counts it.
    pub(crate) fn add_upstream_wait(&self, waited: Duration) {
        self.lock().upstream_waited += waited;
    }

    /// Counts the time that AWS is waited for, until the returned guard is dropped.
    #[must_use]
    pub(crate) fn upstream_wait(&self) -> UpstreamWait<'_> {
        UpstreamWait(self, Instant::now())
    }

    /// Status of the response, once sent, and the outcome as far as it is known. For the usage record.
    #[must_use]
    pub(crate) fn status_and_outcome(&self) -> (Option<u16>, &'static str) {
        let record = self.lock();
        (record.status.map(|status| status.as_u16()), record.outcome())
    }

    /// Id of the request.
    #[must_use]
    pub(crate) fn request_id(&self) -> &RequestId {
        &self.0.head.request_id
    }

    /// Head of the request.
    #[must_use]
    pub(crate) fn head(&self) -> &RequestHead {
        &self.0.head
    }

    /// What was charged, once settled.
    #[must_use]
    pub(crate) fn charge(&self) -> Option<Charge> {
        self.lock().upstream.as_ref()?.charge
    }

    fn lock(&self) -> MutexGuard<'_, RequestRecord> {
        self.0.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Guard of a wait for AWS.
#[derive(Debug)]
pub(crate) struct UpstreamWait<'a>(&'a RecordHandle, Instant);

impl Drop for UpstreamWait<'_> {
    fn drop(&mut self) {
        self.0.add_upstream_wait(self.1.elapsed());
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let record = self.record.get_mut().unwrap_or_else(PoisonError::into_inner);
        record.duration = self.head.started_at.elapsed();
        self.sinks.export(record);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::{Duration, SystemTime};

    use protocol::anthropic::Usage;
    use serde_json::{Value, json};
    use tracing_subscriber::layer::SubscriberExt;

    use super::super::record::tests::{record, upstream};
    use super::super::record::{Attempt, Charge};
    use super::super::{LogLayer, LogWriter};
    use super::*;
    use crate::config::Config;
    use crate::tasks::Tasks;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl LogWriter for Buffer {
        fn write_line(&self, line: &[u8]) {
            self.0.lock().unwrap().extend_from_slice(line);
        }
    }

    fn sinks() -> Arc<TelemetrySinks> {
        let config = Config::load(|_: &str| None).unwrap();
        Arc::new(TelemetrySinks {
            metrics: Arc::new(Metrics::default()),
            otel: Otel::open(&config.otel, None, &Tasks::default()).unwrap(),
            clock: Clock::manual(SystemTime::UNIX_EPOCH),
            aws_region: "eu-west-1".to_owned(),
        })
    }

    fn head() -> RequestHead {
        RequestHead::clone(&record().head)
    }

    /// Log lines of the events of `work`. Those of libraries, which have a target, are left out.
    fn logged(work: impl FnOnce()) -> Vec<Value> {
        let buffer = Buffer::default();
        let layer = LogLayer::new(true, Clock::machine(), &[], vec![Box::new(buffer.clone())]).unwrap();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), work);
        let text = String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line.get("target").is_none()).collect()
    }

    #[test]
    fn last_handle_logs_all_parts_of_the_record() {
        let lines = logged(|| {
            let handle =
                RecordHandle::new(RequestHead { session_id: Some("s_1".to_owned()), ..head() }, sinks());
            let other = handle.clone();
            handle.set_caller("ana".to_owned(), Some("payments".to_owned()), Some("tok_1".to_owned()));
            handle.set_model("sonnet".to_owned(), true, "messages");
            handle.set_response(StatusCode::OK);
            handle.add_phase(OverheadPhase::Auth, Duration::from_micros(1));
            handle.add_request_body(50, Duration::ZERO);
            drop(handle);
            let mut usage = Usage { input_tokens: 3, output_tokens: 4, ..Usage::default() };
            usage.cache_creation_input_tokens = 7;
            usage.cache_creation.ephemeral_1h_input_tokens = 5;
            let attempt = Attempt { outcome: "ok", aws_request_id: Some("aws-1".to_owned()) };
            let charge = Charge { usage, cost_nano_usd: 3_333_333, estimated: true, ..Charge::default() };
            other.set_upstream(UpstreamRecord {
                model_id: Some("us.anthropic.m".to_owned()),
                attempts: vec![attempt],
                retries: 1,
                notices: 2,
                first_token_at: Some(other.head().started_at),
                stop_reason: Some("end_turn".to_owned()),
                charge: Some(charge),
                ..upstream(&[])
            });
            other.add_response_body(500, Duration::ZERO, true);
        });
        let [line] = &lines[..] else { panic!("{lines:?}") };
        let mut fields = line.as_object().unwrap().clone();
        let measured = ["ts", "request_id", "trace_id", "span_id", "duration_ms", "overhead_ms"];
        assert!(measured.iter().all(|name| fields.contains_key(*name)), "{line}");
        fields.retain(|name, _| !measured.contains(&name.as_str()));
        let expected = json!({
            "level": "info", "msg": "POST /v1/messages", "event": "request", "user": "ana", "team": "payments",
            "token_id": "tok_1", "session_id": "s_1", "client": "curl", "method": "POST",
            "route": "/v1/messages", "status": 200, "api": "messages", "model_requested": "sonnet",
            "model_upstream": "us.anthropic.m", "upstream_api": "converse", "region": "eu-west-1",
            "stream": true, "ttft_ms": 0, "upstream_ms": 0, "in_tok": 3, "out_tok": 4, "cache_read_tok": 0,
            "cache_write_5m_tok": 2, "cache_write_1h_tok": 5, "cost_usd": "0.003333333", "estimated": true,
            "stop_reason": "end_turn", "retries": 1, "notices": 2, "aws_request_id": "aws-1", "bytes_in": 50,
            "bytes_out": 500, "outcome": "finished",
        });
        assert!(fields.keys().eq(expected.as_object().unwrap().keys()), "{line}");
        assert_eq!(Value::from(fields), expected);
    }

    #[test]
    fn request_without_a_model_has_no_upstream_fields() {
        let lines = logged(|| {
            let path = format!("/{}", "é".repeat(300));
            let handle = RecordHandle::new(RequestHead { path, route: None, ..head() }, sinks());
            handle.set_response(StatusCode::NOT_FOUND);
            handle.set_error(ErrorRecord {
                kind: "not_found_error",
                class: "client",
                code: None,
                path: None,
            });
            handle.add_response_body(9, Duration::ZERO, true);
        });
        let [line] = &lines[..] else { panic!("{lines:?}") };
        for absent in
            ["region", "upstream_ms", "stream", "in_tok", "cost_usd", "estimated", "model_requested"]
        {
            assert!(line.get(absent).is_none(), "{absent}: {line}");
        }
        assert_eq!((&line["route"], &line["api"]), (&json!("other"), &json!("other")));
        assert_eq!(line["path"].as_str().unwrap().chars().count(), MAX_PATH_CHARS);
        let error = [&line["error_type"], &line["error_class"], &line["outcome"]];
        assert_eq!(error, [&json!("not_found_error"), &json!("client"), &json!("failed")]);
    }

    #[test]
    fn waiting_for_aws_without_a_model_is_logged() {
        let lines = logged(|| {
            let handle = RecordHandle::new(head(), sinks());
            handle.add_upstream_wait(Duration::from_millis(5));
            handle.set_upstream(UpstreamRecord { started_at: None, outcome: None, ..upstream(&["ok"]) });
            handle.add_response_body(9, Duration::ZERO, true);
        });
        let [line] = &lines[..] else { panic!("{lines:?}") };
        assert_eq!((&line["region"], &line["upstream_ms"]), (&json!("eu-west-1"), &json!(5)));
    }

    #[test]
    fn bedrock_api_lines_have_no_upstream_api() {
        let lines = logged(|| {
            let handle = RecordHandle::new(head(), sinks());
            handle.set_model("m".to_owned(), false, "bedrock");
            handle.set_upstream(upstream(&["ok"]));
        });
        let [line] = &lines[..] else { panic!("{lines:?}") };
        assert!(line.get("upstream_api").is_none() && line["model_requested"] == "m", "{line}");
    }

    #[test]
    fn successful_scrapes_are_counted_but_not_logged() {
        let sinks = sinks();
        let scrape =
            RequestHead { path: METRICS_PATH.to_owned(), route: Some(METRICS_PATH.to_owned()), ..head() };
        let lines = logged(|| {
            let handle = RecordHandle::new(scrape.clone(), Arc::clone(&sinks));
            handle.set_response(StatusCode::OK);
            drop(handle);
            let handle = RecordHandle::new(scrape, Arc::clone(&sinks));
            handle.set_error(ErrorRecord {
                kind: "permission_error",
                class: "auth",
                code: Some("revoked"),
                path: None,
            });
        });
        assert_eq!(lines.len(), 1, "{lines:?}");
        let text = sinks.metrics.render();
        assert!(text.contains(r#"bedrock_proxy_inflight_requests{route="/metrics"} 0"#), "{text}");
        assert!(text.contains(r#"route="/metrics",method="POST",status="200""#), "{text}");
    }
}
