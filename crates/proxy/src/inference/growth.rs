//! How the work on a request grows with its body: twice the input takes at most 2.5 times the time, for every family of
//! input by every client API and upstream API, and the largest bodies take less than a second.
//!
//! The CPU time of the thread is measured, so that other load on the machine does not count.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use protocol::anthropic::Request;
use protocol::openai;
use protocol::translate::{self, ChatOptions};
use rustix::time::{ClockId, clock_gettime};

use super::plan::tests::{Served, request, served};
use super::request::ClientBody;
use crate::bedrock::Operation;
use crate::catalog::ResolvedModel;

mod families;

use families::Family;

/// Factor by which the time may grow when the input is doubled.
const MAX_GROWTH: f64 = 2.5;
/// Time that is not worth a comparison.
const NOISE: Duration = Duration::from_millis(1);
/// How often a comparison is made before it fails.
const ATTEMPTS: usize = 15;
/// Time for the largest bodies. Without optimization, bodies of a thirtieth of the size.
const MAX_TIME: Duration = Duration::from_secs(1);
const LARGEST_BYTES: usize = if cfg!(debug_assertions) { 1_000_000 } else { 30_000_000 };

const CLAUDE: &str = "claude-sonnet-4-5";
/// Takes system messages inside a conversation, and counts by the newer tokenizer.
const NEWEST_CLAUDE: &str = "claude-opus-5-5";
const NOVA: &str = "amazon.nova-2-lite-v1:0";

/// What is done with a body.
#[derive(Clone, Copy, Debug)]
enum Endpoint {
    Messages,
    CountTokens,
    ChatCompletions,
    Bedrock(Operation),
}

/// Does what a handler does with `body` before anything is sent, and writes what the response would say of it.
fn work(served: &Served, model: &str, endpoint: Endpoint, body: &Bytes) {
    let resolved = || served.inference.catalog.resolve(Some(model)).unwrap();
    let planned = match endpoint {
        Endpoint::Messages => {
            let Ok(parsed) = Request::parse(body) else { return };
            plan(served, model, body, parsed)
        }
        Endpoint::ChatCompletions => {
            let Ok(chat) = openai::Request::parse(body) else { return };
            let options = ChatOptions { auto_cache: true, strict: false };
            let call = translate::chat_to_messages(&chat, body.len(), &resolved().capabilities, &options);
            let Ok(call) = call else { return };
            let notices = translate::notice_summary(&call.notices, 1000);
            assert!(notices.len() <= 1000);
            if !call.unsupported.is_empty() {
                return;
            }
            let body = Bytes::from(call.body);
            let parsed = call.request.unwrap_or_else(|| Request::parse(&body).unwrap());
            plan(served, model, &body, parsed)
        }
        Endpoint::CountTokens => {
            let Ok(parsed) = Request::parse(body) else { return };
            let _ = served.inference.plan_count(&resolved(), parsed, body, &[]);
            return;
        }
        Endpoint::Bedrock(Operation::CountTokens) => {
            let _ = served.inference.plan_forwarded_count(&resolved(), body);
            return;
        }
        Endpoint::Bedrock(operation) => {
            let _ = translate::find_s3_location(body);
            let client_body = |_: &ResolvedModel| ClientBody::Bedrock {
                operation,
                headers: HeaderMap::new(),
                body: body.clone(),
            };
            served.inference.plan(&request(served, model, client_body), None)
        }
    };
    match planned {
        Ok(upstream) => assert!(translate::notice_summary(&upstream.notices, 1000).len() <= 1000),
        Err(error) => assert!(error.to_error().message.len() < 30_000, "{model} {endpoint:?}"),
    }
}

fn plan(
    served: &Served,
    model: &str,
    body: &Bytes,
    parsed: Request<'_>,
) -> Result<super::request::UpstreamRequest, super::InferenceError> {
    let betas = (0..200).map(|n| format!("beta-{n}")).collect();
    let client_body = |_: &ResolvedModel| ClientBody::Messages { body: body.clone(), betas };
    served.inference.plan(&request(served, model, client_body), Some(parsed))
}

/// CPU time of this thread for `work`.
fn time(work: impl FnOnce()) -> Duration {
    let now = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap())
    };
    let begun = now();
    work();
    now() - begun
}

/// The shortest times for both bodies, measured until they are in proportion. If they never are, those of the measurement
/// with the median ratio: the speed of a shared processor changes between two, seldom within one.
fn grown(small: &Bytes, large: &Bytes, work: impl Fn(&Bytes)) -> (Duration, Duration) {
    let mut shortest = (Duration::MAX, Duration::MAX);
    let mut all = Vec::new();
    for _ in 0..ATTEMPTS {
        let times = (time(|| work(small)), time(|| work(large)));
        shortest = (shortest.0.min(times.0), shortest.1.min(times.1));
        if shortest.1 <= shortest.0.mul_f64(MAX_GROWTH) + NOISE {
            return shortest;
        }
        all.push(times);
    }
    all.sort_by(|one, other| {
        (one.1.as_nanos() * other.0.as_nanos()).cmp(&(other.1.as_nanos() * one.0.as_nanos()))
    });
    all[ATTEMPTS / 2]
}

/// Checks the routes and models that a request of a client API can take. What fails is measured once more, at the end and with
/// half of the input: the step from one cache of the processor to a larger one costs time at one size only, a nested loop
/// at every size.
async fn check(families: Vec<Family>, endpoints: &[(&str, &str, Endpoint)]) {
    let mut failed = Vec::new();
    for route in ["auto", "invoke", "messages"] {
        let data = tempfile::tempdir().unwrap();
        let served = served(&data, route).await;
        let mut again = Vec::new();
        for (_, model, endpoint) in endpoints.iter().filter(|(of, ..)| *of == route) {
            let measured = families
                .iter()
                .filter(|family| measure(&served, model, *endpoint, family, family.count).is_some());
            again.extend(measured.map(|family| (model, *endpoint, family)));
        }
        let measured = again.iter().filter_map(|(model, endpoint, family)| {
            let line = measure(&served, model, *endpoint, family, family.count / 2)?;
            Some(format!("{route:8} {line}"))
        });
        failed.extend(measured);
    }
    assert!(failed.is_empty(), "grows faster than its input:\n{}", failed.join("\n"));
}

/// Prints how the time grows from `count` items to twice as many; returns the line if it grows too fast.
fn measure(
    served: &Served,
    model: &str,
    endpoint: Endpoint,
    family: &Family,
    count: usize,
) -> Option<String> {
    let body = |count: usize| Bytes::from((family.body)(count));
    let (small, large) = (body(count), body(2 * count));
    let (first, second) = grown(&small, &large, |body| work(served, model, endpoint, body));
    let ratio = second.as_secs_f64() / first.as_secs_f64();
    let line = format!(
        "{:34} {model:24} {:28} {:8} {:8} KB {:9.3} ms {:9.3} ms {ratio:5.2}",
        family.name,
        format!("{endpoint:?}"),
        2 * count,
        large.len() / 1000,
        first.as_secs_f64() * 1e3,
        second.as_secs_f64() * 1e3,
    );
    println!("{line}");
    (second > first.mul_f64(MAX_GROWTH) + NOISE).then_some(line)
}

#[tokio::test]
async fn messages_time_grows_with_the_body() {
    let endpoints = [
        ("auto", CLAUDE, Endpoint::Messages),
        ("auto", NEWEST_CLAUDE, Endpoint::Messages),
        ("auto", NOVA, Endpoint::Messages),
        ("invoke", CLAUDE, Endpoint::Messages),
        ("messages", NEWEST_CLAUDE, Endpoint::Messages),
    ];
    check(families::messages(), &endpoints).await;
    check(families::documents(), &[("auto", CLAUDE, Endpoint::CountTokens)]).await;
}

#[tokio::test]
async fn chat_time_grows_with_the_body() {
    let endpoints = [
        ("auto", CLAUDE, Endpoint::ChatCompletions),
        ("auto", NEWEST_CLAUDE, Endpoint::ChatCompletions),
        ("auto", NOVA, Endpoint::ChatCompletions),
    ];
    check(families::chat(), &endpoints).await;
}

#[tokio::test]
async fn bedrock_time_grows_with_the_body() {
    let claude = |operation| ("auto", CLAUDE, Endpoint::Bedrock(operation));
    check(families::messages(), &[claude(Operation::InvokeModel)]).await;
    check(families::native(), &[claude(Operation::InvokeModelWithResponseStream)]).await;
    let nova = |operation| ("auto", NOVA, Endpoint::Bedrock(operation));
    let converse =
        [claude(Operation::ConverseStream), nova(Operation::Converse), nova(Operation::InvokeModel)];
    check(families::converse(), &converse).await;
    let counts =
        [claude(Operation::CountTokens), ("auto", NEWEST_CLAUDE, Endpoint::Bedrock(Operation::CountTokens))];
    check(families::counts(), &counts).await;
}

#[tokio::test]
async fn largest_bodies_take_less_than_a_second() {
    let data = tempfile::tempdir().unwrap();
    let served = served(&data, "auto").await;
    let mut failed = Vec::new();
    for family in families::largest() {
        let body = Bytes::from((family.body)(LARGEST_BYTES / family.count));
        let size = body.len() / 1000;
        for model in [CLAUDE, NEWEST_CLAUDE, NOVA] {
            for endpoint in family.endpoints.iter().copied() {
                let mut times = (0..ATTEMPTS).map(|_| time(|| work(&served, model, endpoint, &body)));
                let best = times.find(|time| *time <= MAX_TIME).unwrap_or(Duration::MAX);
                let line = format!("{:34} {model:24} {endpoint:28?} {size:8} KB {best:9.3?}", family.name);
                println!("{line}");
                if best > MAX_TIME {
                    failed.push(line);
                }
            }
        }
    }
    assert!(failed.is_empty(), "takes too long:\n{}", failed.join("\n"));
}
