//! Export of spans and metrics to an OpenTelemetry collector, and what a missing collector costs.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use bytes::Bytes;
use http::{HeaderMap, Request, Uri};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use serde_json::json;
use tokio::net::TcpListener;

use crate::harness::{TestResponse, TestServer, full, message_body, spawn, test_server_with};
use crate::logs::start;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";

/// One message: its path, its headers, its body.
type Received = (String, HeaderMap, Bytes);

/// A collector that takes everything and keeps it.
#[derive(Clone, Default)]
pub(crate) struct Collector(Arc<Mutex<Vec<Received>>>);

impl Collector {
    pub(crate) async fn listen(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let kept = Arc::clone(&self.0);
        let take = async move |uri: Uri, headers: HeaderMap, body: Bytes| {
            kept.lock().unwrap().push((uri.path().to_owned(), headers, body));
        };
        spawn(async move { axum::serve(listener, Router::new().fallback(take)).await });
        address
    }

    /// All bodies, as far as they are text.
    pub(crate) fn text(&self) -> String {
        let received = self.0.lock().unwrap();
        received.iter().map(|(_, _, body)| String::from_utf8_lossy(body).into_owned()).collect()
    }

    fn of<M: Message + Default>(&self, path: &str) -> Vec<M> {
        let received = self.0.lock().unwrap();
        let wanted = received.iter().filter(|(found, ..)| found == path);
        wanted.map(|(_, _, body)| M::decode(body.clone()).unwrap()).collect()
    }

    /// The attributes of the resource of spans.
    fn resource(&self) -> BTreeMap<String, String> {
        let messages: Vec<ExportTraceServiceRequest> = self.of("/v1/traces");
        let resource = messages[0].resource_spans[0].resource.as_ref().unwrap();
        attributes(&resource.attributes).into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    fn spans(&self) -> Vec<Span> {
        let messages: Vec<ExportTraceServiceRequest> = self.of("/v1/traces");
        let resources = messages.into_iter().flat_map(|message| message.resource_spans);
        resources.flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans).collect()
    }

    /// Each metric by its name, with the sum of its numbers.
    fn metrics(&self) -> BTreeMap<String, f64> {
        let messages: Vec<ExportMetricsServiceRequest> = self.of("/v1/metrics");
        let last = messages.into_iter().next_back().unwrap();
        let scopes = last.resource_metrics.into_iter().flat_map(|resource| resource.scope_metrics);
        let sum = |data: Data| match data {
            Data::Histogram(histogram) => histogram.data_points.iter().filter_map(|point| point.sum).sum(),
            Data::Sum(sum) => sum
                .data_points
                .iter()
                .map(|point| match point.value.unwrap() {
                    opentelemetry_proto::tonic::metrics::v1::number_data_point::Value::AsInt(int) => {
                        int as f64
                    }
                    opentelemetry_proto::tonic::metrics::v1::number_data_point::Value::AsDouble(float) => {
                        float
                    }
                })
                .sum(),
            _ => 0.0,
        };
        let metrics = scopes.flat_map(|scope| scope.metrics);
        metrics.map(|metric| (metric.name, metric.data.map_or(0.0, sum))).collect()
    }
}

fn attributes(pairs: &[KeyValue]) -> BTreeMap<&str, String> {
    let text = |value: &AnyValue| match value.value.as_ref().unwrap() {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        Value::DoubleValue(number) => number.to_string(),
        Value::BoolValue(yes) => yes.to_string(),
        other => format!("{other:?}"),
    };
    pairs.iter().map(|pair| (pair.key.as_str(), text(pair.value.as_ref().unwrap()))).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A server that exports to a collector at `address`.
async fn with_collector(address: SocketAddr, more: &[(&str, &str)]) -> TestServer {
    let endpoint = format!("http://{address}");
    let mut variables = vec![
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20collector-token"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "400"),
    ];
    variables.extend(more);
    test_server_with(&variables, |_| {}).await
}

async fn send(server: &TestServer, flags: &str, body: serde_json::Value) -> TestResponse {
    let request = Request::post("/v1/messages")
        .header("traceparent", format!("00-{TRACE}-{SPAN}-{flags}"))
        .header("tracestate", "vendor=1")
        .header("user-agent", "claude-cli/2.1.330 (external, cli)")
        .header("x-claude-code-session-id", "session-7");
    server.fetch(request.body(full(body.to_string().into())).unwrap()).await
}

/// Ends the server, which sends what is left.
async fn end(mut server: TestServer) {
    server.stop.notify_one();
    tokio::time::timeout(Duration::from_secs(10), &mut server.task).await.unwrap().unwrap();
}

#[tokio::test]
async fn request_and_upstream_spans_join_the_trace() {
    let collector = Collector::default();
    let server = with_collector(collector.listen().await, &[]).await;
    let prompt = "You are careful and kind. ".repeat(800);
    let body = json!({"model": "claude-sonnet-4-5", "max_tokens": 64, "stream": true,
        "system": [{"type": "text", "text": prompt, "cache_control": {"type": "ephemeral"}}],
        "messages": [{"role": "user", "content": "canary-in-the-prompt"}]});
    let response = send(&server, "01", body).await;
    let (request_id, host) = (response.request_id().to_owned(), server.fake_address.to_string());
    let truth = server.bedrock.totals();
    end(server).await;

    let spans = collector.spans();
    let [server, client] = spans.as_slice() else { panic!("{spans:#?}") };
    assert_eq!((hex(&server.trace_id), hex(&server.parent_span_id)), (TRACE.to_owned(), SPAN.to_owned()));
    assert_eq!((&client.trace_id, &client.parent_span_id), (&server.trace_id, &server.span_id));
    assert_eq!((server.trace_state.as_str(), server.kind, client.kind), ("vendor=1", 2, 3));
    assert_eq!((server.name.as_str(), client.name.as_str()), ("POST /v1/messages", "chat claude-sonnet-4-5"));
    assert!(server.start_time_unix_nano <= client.start_time_unix_nano);
    assert!(client.start_time_unix_nano < client.end_time_unix_nano);
    assert!(client.end_time_unix_nano <= server.end_time_unix_nano);
    let reported = attributes(&server.attributes);
    for (name, value) in [
        ("http.request.method", "POST"),
        ("http.route", "/v1/messages"),
        ("http.response.status_code", "200"),
        ("bedrock_proxy.client", "claude-code"),
        ("bedrock_proxy.request_id", request_id.as_str()),
    ] {
        assert_eq!(reported[name], value, "{reported:#?}");
    }
    let reported = attributes(&client.attributes);
    let whole = truth.input_tokens + truth.cache_read_tokens + truth.cache_write_tokens;
    assert!(truth.cache_write_tokens > 0, "the prompt is long enough to be cached");
    for (name, value) in [
        ("gen_ai.operation.name", "chat"),
        ("gen_ai.provider.name", "aws.bedrock"),
        ("gen_ai.request.model", "claude-sonnet-4-5"),
        ("gen_ai.response.model", "anthropic.claude-sonnet-4-5-20250929-v1:0"),
        ("gen_ai.request.stream", "true"),
        ("gen_ai.conversation.id", "session-7"),
        ("gen_ai.usage.input_tokens", &whole.to_string()),
        ("gen_ai.usage.output_tokens", &truth.output_tokens.to_string()),
        ("gen_ai.usage.cache_creation.input_tokens", &truth.cache_write_tokens.to_string()),
        ("server.address", &host),
        ("bedrock_proxy.api", "converse"),
    ] {
        assert_eq!(reported[name], value, "{reported:#?}");
    }
    assert!(reported["gen_ai.response.finish_reasons"].contains("end_turn"));
    assert!(reported["gen_ai.response.time_to_first_chunk"].parse::<f64>().unwrap() > 0.0);

    let received = collector.0.lock().unwrap();
    let (_, headers, _) = &received[0];
    assert_eq!(headers["authorization"], "Bearer collector-token");
    assert_eq!(headers["content-type"], "application/x-protobuf");
    for (path, _, body) in received.iter() {
        for secret in ["canary-in-the-prompt", "careful and kind", "This output came from", "collector-token"]
        {
            let found = body.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{secret} was sent to {path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sdk_variables_apply_to_the_program() {
    for (variables, service, environment) in [
        (&[][..], "bedrock-proxy", None),
        (
            &[
                ("OTEL_SERVICE_NAME", "gateway"),
                ("OTEL_RESOURCE_ATTRIBUTES", "service.name=other,deployment.environment.name=test"),
            ],
            "gateway",
            Some("test"),
        ),
    ] {
        let collector = Collector::default();
        let endpoint = format!("http://{}", collector.listen().await);
        let exporter = [("LOG_OUTPUT", "stdout"), ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)];
        let program = start(tempfile::tempdir().unwrap(), &[&exporter, variables].concat()).await;
        tokio::task::block_in_place(|| {
            program.send("GET /v1/nothing HTTP/1.1", "", |_| false);
            program.stop();
        });
        let resource = collector.resource();
        assert_eq!(resource["service.name"], service, "{resource:?}");
        assert_eq!(resource.get("deployment.environment.name").map(String::as_str), environment);
        assert_eq!(resource["service.version"], env!("CARGO_PKG_VERSION"));
    }
}

#[tokio::test]
async fn unsampled_parent_is_not_exported() {
    let collector = Collector::default();
    let server = with_collector(collector.listen().await, &[]).await;
    send(&server, "00", message_body("Hello", false)).await;
    server.get("/v1/models").await;
    end(server).await;
    let names: Vec<_> = collector.spans().into_iter().map(|span| span.name).collect();
    assert_eq!(names, ["GET /v1/models"], "a trace of its own is recorded");
}

#[tokio::test]
async fn upstream_error_sets_the_span_error_type() {
    let collector = Collector::default();
    let server = with_collector(collector.listen().await, &[]).await;
    server.post_message("[throttle]", true).await;
    end(server).await;
    let spans = collector.spans();
    let client = spans.iter().find(|span| span.kind == 3).unwrap();
    let reported = attributes(&client.attributes);
    assert_eq!(
        (reported["error.type"].as_str(), reported["bedrock_proxy.retries"].as_str()),
        ("throttled", "2")
    );
    assert_eq!(client.status.as_ref().unwrap().code, 2);
    let root = spans.iter().find(|span| span.kind == 2).unwrap();
    assert_eq!(attributes(&root.attributes)["error.type"], "rate_limit_error");
    assert_eq!(root.status.as_ref().map_or(0, |status| status.code), 0, "429 is no failure of the server's");
}

#[tokio::test]
async fn metrics_follow_the_semantic_convention_setting() {
    for (opt_in, tokens, times) in [
        (
            "http",
            &["gen_ai.client.token.usage"][..],
            ["gen_ai.client.operation.duration", "gen_ai.client.operation.time_to_first_chunk"],
        ),
        (
            "http,gen_ai_latest_experimental",
            &["gen_ai.client.inference.usage.input_tokens", "gen_ai.client.inference.usage.output_tokens"][..],
            ["gen_ai.client.inference.duration", "gen_ai.client.inference.time_to_first_chunk"],
        ),
    ] {
        let collector = Collector::default();
        let variables = [("OTEL_SEMCONV_STABILITY_OPT_IN", opt_in), ("OTEL_TRACES_EXPORTER", "none")];
        let server = with_collector(collector.listen().await, &variables).await;
        server.post_message("Hello", true).await;
        let truth = server.bedrock.totals();
        end(server).await;
        assert!(collector.spans().is_empty());
        let metrics = collector.metrics();
        let counted: f64 = tokens.iter().map(|name| metrics[*name]).sum();
        assert_eq!(counted, (truth.input_tokens + truth.output_tokens) as f64, "{metrics:?}");
        for name in times.into_iter().chain(["http.server.request.duration"]) {
            assert!(metrics[name] > 0.0, "{name} in {metrics:?}");
        }
    }
}

#[tokio::test]
async fn unavailable_collector_drops_spans_not_requests() {
    // One that accepts connections and sends nothing, and one that does not exist.
    let hanging = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dead = gone.local_addr().unwrap();
    drop(gone);
    for address in [hanging.local_addr().unwrap(), dead] {
        let server = with_collector(address, &[]).await;
        for _ in 0..5 {
            assert_eq!(server.post_message("Hello", false).await.status, 200);
        }
        let app = Arc::clone(&server.app);
        end(server).await;
        assert_eq!(app.telemetry.otel.lost_spans(), 10, "{address}: two spans for each request");
        app.refresh_gauges();
        assert!(app.metrics().render().contains("bedrock_proxy_otel_spans_dropped_total 10"));
    }
}
