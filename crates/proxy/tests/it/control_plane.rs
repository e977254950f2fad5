//! Requests to the control plane of Bedrock, which is a server of a few lines here.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::harness::tokens::{authenticated_server_with, token};
use crate::harness::usage_records;
use crate::harness::{
    TestServer, captured_logs, full, message_body, spawn, test_server_with, wait_for, wait_until,
};

const ARN: &str = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123";

type Answers = fn(&str) -> Option<Value>;
type ReceivedRequests = Arc<Mutex<Vec<String>>>;

/// A control plane, and what it was asked: the region signed for, the method and the path.
async fn control(responses: Answers, delay: Duration) -> (String, ReceivedRequests) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let requested = ReceivedRequests::default();
    let log = Arc::clone(&requested);
    spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let log = Arc::clone(&log);
            let service = service_fn(move |request: Request<Incoming>| {
                let path = request.uri().path_and_query().unwrap().to_string();
                let proof = request.headers()["authorization"].to_str().unwrap();
                let region = proof.split('/').nth(2).unwrap_or_default().to_owned();
                log.lock().unwrap().push(format!("{region} {} {path}", request.method()));
                async move {
                    tokio::time::sleep(delay).await;
                    let denied = "User: arn:aws:iam::123456789012:user/x is not authorized";
                    let (status, body) = match responses(&path) {
                        Some(answer) => (StatusCode::OK, answer),
                        None => (StatusCode::FORBIDDEN, json!({"message": denied})),
                    };
                    let response =
                        Response::builder().status(status).header("content-type", "application/json");
                    Ok::<_, Infallible>(response.body(Full::new(Bytes::from(body.to_string()))).unwrap())
                }
            });
            spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    (url, requested)
}

async fn world_before(
    responses: Answers,
    delay: Duration,
    variables: &[(&str, &str)],
) -> (TestServer, ReceivedRequests) {
    let (url, requested) = control(responses, delay).await;
    let mut all = vec![("AWS_ENDPOINT_URL_BEDROCK", url.as_str())];
    all.extend(variables);
    (test_server_with(&all, |_| {}).await, requested)
}

fn qwen(path: &str) -> Option<Value> {
    let arn = "arn:aws:bedrock:us-east-1::foundation-model/qwen.qwen3-32b-v1:0";
    path.starts_with("/inference-profiles/arn").then(|| json!({"models": [{"modelArn": arn}]}))
}

/// A request with a member that only Claude models are sent.
fn with_top_k(model: &str) -> String {
    let mut body = message_body("Hello", false);
    body["model"] = model.into();
    body["top_k"] = 5.into();
    body.to_string()
}

#[tokio::test]
async fn inference_profile_is_resolved_once_and_selects_capabilities() {
    let (server, requested) = world_before(qwen, Duration::ZERO, &[]).await;
    for _ in 0..3 {
        let response = server.post(with_top_k(ARN)).await;
        assert_eq!(response.status, 200, "{}", response.body);
    }
    let path = "arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Aapplication-inference-profile%2Fabc123";
    assert_eq!(*requested.lock().unwrap(), [format!("us-east-1 GET /inference-profiles/{path}")]);
    for sent in server.bedrock.requests() {
        assert!(!String::from_utf8_lossy(&sent.body).contains("\"top_k\""), "Qwen has no such member");
    }
}

#[tokio::test]
async fn rejected_control_plane_request_is_not_repeated() {
    let (server, requested) = world_before(|_| None, Duration::ZERO, &[]).await;
    for _ in 0..2 {
        assert_eq!(server.post(with_top_k(ARN)).await.status, 200);
    }
    assert_eq!(requested.lock().unwrap().len(), 1);
    assert!(String::from_utf8_lossy(&server.bedrock.requests()[0].body).contains("top_k"));
}

#[tokio::test]
async fn slow_control_plane_delays_only_the_first_requests() {
    let (server, _) = world_before(qwen, Duration::from_secs(30), &[]).await;
    let start = Instant::now();
    let responses = (0..5).map(|_| server.post(with_top_k(ARN)));
    for response in futures_util::future::join_all(responses).await {
        assert_eq!(response.status, 200);
    }
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    let start = Instant::now();
    server.post(with_top_k(ARN)).await;
    assert!(start.elapsed() < Duration::from_secs(1), "the wait is over for those who come later");
}

/// A streamed request for the profile that lasts for some seconds, without a limit of output tokens.
fn slow_request() -> String {
    let mut body = message_body("[slow 2500] Hello", true);
    body["model"] = ARN.into();
    body.to_string()
}

#[tokio::test]
async fn late_look_up_still_prices_the_request() {
    let (server, _) = world_before(qwen, Duration::from_secs(3), &[]).await;
    assert_eq!(server.post(slow_request()).await.status, 200);
    let row = usage_records::row(&server).await;
    assert_eq!((&row["model"], &row["priced"]), (&json!("qwen.qwen3-32b-v1:0"), &json!(true)), "{row}");
    assert_eq!(row["upstream"], ARN);
}

#[tokio::test]
async fn profile_without_result_costs_the_highest_price() {
    let (server, _) = world_before(qwen, Duration::from_secs(60), &[]).await;
    assert_eq!(server.post(slow_request()).await.status, 200);
    let row = usage_records::row(&server).await;
    assert_eq!((&row["model"], &row["priced"]), (&json!(ARN), &json!(false)), "{row}");
    let tokens = |name: &str| row[name].as_i64().unwrap();
    assert_eq!(tokens("cost"), 27_500 * tokens("input") + 137_500 * tokens("output"), "{row}");
}

#[tokio::test]
async fn mapped_profile_needs_no_control_plane_request() {
    let mapping = format!("claude-sonnet-4-5={ARN}");
    let named = [("AWS_BEDROCK_MODEL_MAPPINGS", mapping.as_str())];
    let (server, requested) = world_before(qwen, Duration::ZERO, &named).await;
    assert_eq!(server.post(with_top_k("claude-sonnet-4-5")).await.status, 200);
    assert!(requested.lock().unwrap().is_empty());
}

#[tokio::test]
async fn arn_of_another_region_is_signed_for_it() {
    let (server, requested) = world_before(qwen, Duration::ZERO, &[]).await;
    let (status, ..) = server.post(with_top_k(&ARN.replace("us-east-1", "eu-west-1"))).await.error();
    assert_eq!(status, 502, "the fake is in us-east-1 and refuses the signature");
    assert!(requested.lock().unwrap()[0].starts_with("eu-west-1 GET "));
}

fn offered(path: &str) -> Option<Value> {
    let model = |id: &str, kind: &str| {
        json!({"modelId": id, "modelName": "Said So", "outputModalities": ["TEXT"],
               "inferenceTypesSupported": [kind],
               "modelLifecycle": {"status": "ACTIVE", "startOfLifeTime": "2027-02-03T04:05:06Z"}})
    };
    let profile = |id: &str| json!({"inferenceProfileId": id, "type": "SYSTEM_DEFINED", "models": []});
    match path {
        "/foundation-models" => Some(json!({"modelSummaries": [
            model("anthropic.claude-opus-9", "INFERENCE_PROFILE"),
            model("anthropic.claude-sonnet-4-5-20250929-v1:0", "INFERENCE_PROFILE"),
            model("amazon.nova-pro-v1:0", "ON_DEMAND"),
        ]})),
        "/inference-profiles?maxResults=1000&type=SYSTEM_DEFINED" => Some(json!({
            "inferenceProfileSummaries": [profile("global.anthropic.claude-opus-9")], "nextToken": "a+b",
        })),
        "/inference-profiles?maxResults=1000&type=SYSTEM_DEFINED&nextToken=a%2Bb" => Some(json!({
            "inferenceProfileSummaries": [profile("global.anthropic.claude-sonnet-4-5-20250929-v1:0")],
        })),
        "/inference-profiles?type=SYSTEM_DEFINED" => Some(json!({"as": "it came"})),
        "/inference-profiles/us.anthropic.claude-opus-9" => Some(json!({"one": "profile"})),
        _ => None,
    }
}

#[tokio::test]
async fn discovered_models_are_listed_and_called_by_profile() {
    let on = [("AWS_BEDROCK_DISCOVER_MODELS", "true")];
    let (server, _) = world_before(offered, Duration::ZERO, &on).await;
    let ids = wait_for("the discovered models are listed", async || {
        // Whatever the day is on which this runs.
        let all = "limit=1000&lifecycle[]=active&lifecycle[]=deprecated&lifecycle[]=retired";
        let page = server.get(&format!("/v1/models?{all}")).await.json();
        let data = page["data"].as_array().unwrap();
        let ids: Vec<_> = data.iter().map(|model| model["id"].as_str().unwrap().to_owned()).collect();
        (ids.len() < 10).then_some(ids)
    })
    .await;
    assert_eq!(ids, ["claude-sonnet-4-5", "amazon.nova-pro-v1:0", "claude-opus-9"]);
    let opus = server.get("/v1/models/claude-opus-9").await.json();
    assert_eq!((&opus["created_at"], &opus["line"]), (&json!("2027-02-03T00:00:00Z"), &json!("opus")));
    assert_eq!(server.post_message("Hello", false).await.status, 200);
    let path = &server.bedrock.requests()[0].path;
    assert!(path.starts_with("/model/global.anthropic.claude-sonnet-4-5-20250929-v1%3A0/"), "{path}");

    assert_eq!(server.get("/inference-profiles?type=SYSTEM_DEFINED").await.json(), json!({"as": "it came"}));
    let one = server.get("/bedrock/inference-profiles/us.anthropic.claude-opus-9").await.json();
    assert_eq!(one, json!({"one": "profile"}));
    let rejected = server.get("/inference-profiles/us.anthropic.claude-x").await;
    assert_eq!(rejected.status, 403);
    let reported = rejected.json()["message"].clone();
    assert!(
        reported.as_str().is_some_and(|reported| reported.starts_with("User: [arn] is not authorized")),
        "{reported}"
    );
}

#[tokio::test]
async fn a_whole_catalogue_is_discovered_too() {
    let on = [("AWS_BEDROCK_DISCOVER_MODELS", "true")];
    let server = test_server_with(&on, |_| {}).await;
    let nova = wait_for("the discovered model is listed", async || {
        let page = server.get("/v1/models?limit=1000").await.json();
        let data = page["data"].as_array().unwrap().clone();
        data.into_iter().find(|model| model["id"] == "amazon.nova-pro-v1:0")
    })
    .await;
    assert_eq!((&nova["owned_by"], &nova["line"]), (&json!("amazon"), &Value::Null));
    let profiles = server.get("/inference-profiles?type=SYSTEM_DEFINED&maxResults=3").await.json();
    assert_eq!(profiles["inferenceProfileSummaries"].as_array().unwrap().len(), 3);
    assert!(profiles["nextToken"].is_string());
    assert_eq!(server.post_message("Hello", true).await.status, 200);
}

#[tokio::test]
async fn a_failed_discovery_is_harmless() {
    let on = [("AWS_BEDROCK_DISCOVER_MODELS", "true")];
    let (server, requested) = world_before(|_| None, Duration::ZERO, &on).await;
    wait_until("the list is requested", || !requested.lock().unwrap().is_empty()).await;
    assert_eq!(server.post_message("Hello", false).await.status, 200);
    assert!(server.get("/v1/models").await.json()["data"].as_array().unwrap().len() > 10);
}

/// The ARN of an application inference profile of the account.
fn own_arn(name: &str) -> String {
    ARN.replace("abc123", name)
}

async fn post_as(server: &TestServer, path: &str, key: &str, body: String) -> u16 {
    let request = Request::post(path).header("x-api-key", key).body(full(body.into())).unwrap();
    server.fetch(request).await.status.as_u16()
}

#[tokio::test]
async fn invented_profiles_do_not_delay_those_of_others() {
    let (url, requested) = control(qwen, Duration::from_millis(100)).await;
    let server = authenticated_server_with(&[("AWS_ENDPOINT_URL_BEDROCK", &url)], |_| {}).await;
    let (ana, eve) = (token("ana", &json!({})), token("eve", &json!({})));
    let flood = (0..40).map(|connection| {
        let (server, eve) = (&server, &eve);
        async move {
            for number in 0..10 {
                let arn = own_arn(&format!("z{connection}q{number}"));
                post_as(server, "/v1/messages", eve, with_top_k(&arn)).await;
            }
        }
    });
    let own = async {
        wait_until("the flood has begun", || requested.lock().unwrap().len() > 1).await;
        for number in 0..12 {
            let name = format!("own{number}");
            let begun = Instant::now();
            let status = post_as(&server, "/v1/messages", &ana, with_top_k(&own_arn(&name))).await;
            assert_eq!(status, 404, "the fake behind has no such profile");
            let sent = server.bedrock.requests();
            let sent = sent.iter().find(|sent| sent.path.contains(&name)).unwrap();
            let is_known = !String::from_utf8_lossy(&sent.body).contains("\"top_k\"");
            // A machine that stalls for longer than a request waits proves nothing.
            let has_stalled = begun.elapsed() >= Duration::from_secs(2);
            assert!(is_known || has_stalled, "Qwen has no such member");
        }
    };
    tokio::select! {
        () = own => {}
        _ = futures_util::future::join_all(flood) => panic!("the flood ends first"),
    }
}

#[tokio::test]
async fn profile_without_room_for_lookup_is_529() {
    let (url, _) = control(qwen, Duration::from_secs(3)).await;
    let server = authenticated_server_with(&[("AWS_ENDPOINT_URL_BEDROCK", &url)], |_| {}).await;
    let eve = token("eve", &json!({}));
    let names = (0..6).map(|number| own_arn(&format!("z{number}")));
    let statuses = names.map(|arn| post_as(&server, "/v1/messages", &eve, with_top_k(&arn)));
    let mut statuses = futures_util::future::join_all(statuses).await;
    statuses.sort_unstable();
    assert_eq!(statuses, [404, 404, 529, 529, 529, 529], "two look-ups of one user at a time");
}

#[tokio::test]
async fn counting_looks_up_named_profiles_only() {
    let mapping = format!("house={}", own_arn("house"));
    let named = [("AWS_BEDROCK_MODEL_MAPPINGS", mapping.as_str())];
    let (server, requested) = world_before(qwen, Duration::ZERO, &named).await;
    let count = async |model: &str| {
        let mut body = message_body("Hello", false);
        body.as_object_mut().unwrap().remove("stream");
        body["model"] = model.into();
        let request = Request::post("/v1/messages/count_tokens").body(full(body.to_string().into())).unwrap();
        server.fetch(request).await.status.as_u16()
    };
    let converse = r#"{"input":{"converse":{"messages":[{"role":"user","content":[{"text":"Hello"}]}]}}}"#;
    for number in 0..5 {
        let arn = own_arn(&format!("z{number}"));
        assert_eq!(count(&arn).await, 200);
        let path = format!("/model/{}/count-tokens", arn.replace(':', "%3A").replace('/', "%2F"));
        server.fetch(Request::post(path).body(full(converse.into())).unwrap()).await;
    }
    assert!(requested.lock().unwrap().is_empty(), "{requested:?}");
    assert_eq!(count("house").await, 200);
    assert_eq!(requested.lock().unwrap().len(), 1, "the operator has named this one");
}

#[tokio::test]
async fn profile_of_another_account_stays_unresolved() {
    let (server, requested) = world_before(qwen, Duration::ZERO, &[]).await;
    server.app.monitor_credentials();
    let identified = || server.bedrock.requests().iter().any(|sent| sent.path == "/" && sent.status == 200);
    wait_until("STS has named the account", identified).await;
    let foreign = ARN.replace("123456789012", "999999999999");
    wait_for("the account is known", async || {
        let before = requested.lock().unwrap().len();
        let name = foreign.replace("abc123", &format!("z{before}"));
        server.post(with_top_k(&name)).await;
        (requested.lock().unwrap().len() == before).then_some(())
    })
    .await;
    assert_eq!(server.post(with_top_k(ARN)).await.status, 200);
    assert!(requested.lock().unwrap().last().unwrap().contains("123456789012"), "the own account's is");
}

/// A listener that accepts connections and never responds. Returns its URL and the number of its connections.
async fn silent() -> (String, Arc<Mutex<usize>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let count = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&count);
    spawn(async move {
        let mut open = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            *counted.lock().unwrap() += 1;
            open.push(stream);
        }
    });
    (url, count)
}

#[tokio::test]
async fn silent_control_plane_is_logged_and_tried_again() {
    let (url, count) = silent().await;
    let variables = [("AWS_ENDPOINT_URL_BEDROCK", url.as_str()), ("AWS_BEDROCK_DISCOVER_MODELS", "true")];
    let server = test_server_with(&variables, |_| {}).await;
    wait_until("both lists are requested", || *count.lock().unwrap() == 2).await;
    tokio::time::pause();
    for _ in 0..40 {
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
    tokio::time::resume();
    assert!(captured_logs().contains("models cannot be listed"));
    wait_until("they are requested again", || *count.lock().unwrap() >= 4).await;
    drop(server);
}

#[tokio::test]
async fn silent_sts_is_logged_and_tried_again() {
    let (url, count) = silent().await;
    let server = test_server_with(&[("AWS_ENDPOINT_URL_STS", &url)], |_| {}).await;
    server.app.monitor_credentials();
    wait_until("STS is called", || *count.lock().unwrap() == 1).await;
    tokio::time::pause();
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
    tokio::time::resume();
    assert!(captured_logs().contains("the AWS credentials could not be checked"));
    wait_until("it is called again", || *count.lock().unwrap() >= 2).await;
    assert_eq!(server.get("/readyz").await.status, 200);
}
