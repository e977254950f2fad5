use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;

use http::{HeaderMap, Method};
use protocol::anthropic::MessagesFormat;
use protocol::apis::ClientApi;
use protocol::openai;
use protocol::translate::ChatOptions;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::Instant;

use super::*;
use crate::auth::{Authenticated, Caller, Scope};
use crate::bedrock::Bedrock;
use crate::catalog::{Catalog, ModelResolver};
use crate::clock::Clock;
use crate::config::Config;
use crate::ids::RequestId;
use crate::quota::Quota;
use crate::store::Store;
use crate::tasks::Tasks;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::otel::Otel;
use crate::telemetry::record::RequestHead;
use crate::telemetry::trace_context::TraceContext;
use crate::telemetry::user_agent::UserAgent;
use crate::telemetry::{RecordHandle, TelemetrySinks};
use crate::usage::UsageRecorder;

/// What serves inference requests, and where their records go.
pub(in crate::inference) struct Served {
    pub(in crate::inference) inference: Inference,
    telemetry: Arc<TelemetrySinks>,
}

pub(in crate::inference) async fn served(data: &TempDir, route: &str) -> Served {
    let set = [
        ("DATA_DIR", data.path().to_str().unwrap()),
        ("AWS_BEDROCK_ACCESS_KEY", "AKID"),
        ("AWS_BEDROCK_SECRET_KEY", "secret"),
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:9"),
        ("AWS_BEDROCK_ROUTE", route),
    ];
    let lookup =
        |name: &str| set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
    let (config, clock) = (Config::load(lookup).unwrap(), Clock::manual(SystemTime::UNIX_EPOCH));
    let (tasks, metrics) = (Tasks::default(), Arc::new(Metrics::default()));
    let catalog = Arc::new(Catalog::new(&config.catalog));
    let bedrock = Arc::new(Bedrock::new(&config.bedrock, &clock, &tasks).unwrap());
    let store = Store::open(&config.database, &tasks).await.unwrap();
    let wal = data.path().join("journal");
    let recorder =
        UsageRecorder::open(&wal, &config.usage, store.clone(), clock.clone(), Arc::clone(&metrics));
    let quota = Quota::new(config.quota.clone(), store, Arc::new(recorder.unwrap()), clock.clone());
    let models = ModelResolver::new(Arc::clone(&catalog), Arc::clone(&bedrock), &tasks);
    let telemetry = TelemetrySinks {
        metrics: Arc::clone(&metrics),
        otel: Otel::open(&config.otel, None, &tasks).unwrap(),
        clock: clock.clone(),
        aws_region: bedrock.region().to_owned(),
    };
    let inference =
        Inference::new(models, catalog, bedrock, Arc::new(quota), metrics, &config.inference, &tasks, &clock);
    Served { inference, telemetry: Arc::new(telemetry) }
}

pub(in crate::inference) fn caller(user_id: &str) -> Caller {
    Caller {
        user_id: user_id.to_owned(),
        team: None,
        user_limit: None,
        team_limit: None,
        token_limit: None,
        default_inference_profile: None,
        scope: Scope::Inference,
        jti: None,
        issued_at: None,
        expires_at: None,
    }
}

pub(in crate::inference) fn request(
    served: &Served,
    model: &str,
    body: impl FnOnce(&ResolvedModel) -> ClientBody,
) -> InferenceRequest {
    let head = RequestHead {
        request_id: RequestId::generate(),
        client_request_id: None,
        trace: TraceContext::from_headers(&HeaderMap::new()),
        method: Method::POST,
        path: "/".to_owned(),
        route: None,
        user_agent: UserAgent::from_headers(&HeaderMap::new()),
        session_id: None,
        peer: None,
        started_at: Instant::now(),
    };
    let record = RecordHandle::new(head, Arc::clone(&served.telemetry));
    let model = served.inference.catalog.resolve(Some(model)).unwrap();
    InferenceRequest {
        caller: Arc::new(Authenticated { caller: Arc::new(caller("ana")), permit: None }),
        record,
        client_api: ClientApi::Messages,
        body: body(&model),
        model,
        is_streamed: false,
        notices: Vec::new(),
        format: Arc::new(MessagesFormat::default()),
    }
}

fn messages_body(body: &Value) -> ClientBody {
    ClientBody::Messages { body: body.to_string().into(), betas: Vec::new() }
}

/// The body of a Messages request that a chat completion is translated into.
fn chat_body(body: &Value, model: &ResolvedModel) -> ClientBody {
    let (body, options) = (body.to_string(), ChatOptions { auto_cache: false, strict: false });
    let chat = openai::Request::parse(body.as_bytes()).unwrap();
    let call = translate::chat_to_messages(&chat, body.len(), &model.capabilities, &options).unwrap();
    ClientBody::Messages { body: call.body.into(), betas: Vec::new() }
}

/// The limit in the body that is sent.
fn sent_max_tokens(upstream: &UpstreamRequest) -> Option<u64> {
    let body: Value = serde_json::from_slice(upstream.request.body()).unwrap();
    let limit = match upstream.upstream_api {
        Some(UpstreamApi::Converse) => {
            let fields = body["additionalModelRequestFields"].to_string();
            assert!(!fields.contains("max_tokens") && !fields.contains("maxTokens"), "{body}");
            &body["inferenceConfig"]["maxTokens"]
        }
        _ => &body["max_tokens"],
    };
    limit.as_u64()
}

#[tokio::test]
async fn reserved_output_is_the_limit_that_is_sent() {
    let mut sent_without_limit = BTreeSet::new();
    for route in ["auto", "converse", "invoke", "messages"] {
        let data = tempfile::tempdir().unwrap();
        let served = served(&data, route).await;
        for model in served.inference.catalog.foundation_models() {
            let mut planned = 0;
            let efforts = [None, Some("low"), Some("high")];
            let limits = [None, Some(0), Some(1), Some(3_000), Some(2_000_000)];
            for (effort, limit) in efforts.into_iter().flat_map(|effort| limits.map(|limit| (effort, limit)))
            {
                let mut messages = json!({"messages": [{"role": "user", "content": "x"}]});
                let mut chat = messages.clone();
                if let Some(effort) = effort {
                    messages["output_config"] = json!({"effort": effort});
                    messages["thinking"] = json!({"type": "adaptive"});
                    chat["reasoning_effort"] = json!(effort);
                }
                if let Some(limit) = limit {
                    messages["max_tokens"] = json!(limit);
                    // Chat completions have no request that only fills the cache.
                    chat["max_tokens"] = json!(limit.max(1));
                }
                let requests = [
                    request(&served, &model, |_| messages_body(&messages)),
                    request(&served, &model, |model| chat_body(&chat, model)),
                ];
                for (request, client_api) in requests.iter().zip(["messages", "chat"]) {
                    let Ok(upstream) = served.inference.plan(request, None) else { continue };
                    let most = request.model.capabilities.max_output_tokens.unwrap();
                    let sent = sent_max_tokens(&upstream);
                    let reserved = u64::try_from(upstream.estimate.output_tokens).unwrap();
                    let expected = sent.unwrap_or(most).min(most);
                    assert_eq!(reserved, expected, "{route} {model} {client_api} {effort:?} {limit:?}");
                    if limit.is_some() && sent.is_none() {
                        sent_without_limit.insert(model.clone());
                    }
                    planned += 1;
                }
            }
            assert!(planned >= 12, "{route} {model}: {planned}");
        }
    }
    assert!(!sent_without_limit.is_empty(), "Nova 2 accepts no limit with a high effort");
}
