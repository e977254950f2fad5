//! Model checks: one request to each configured model, because only a request proves access. It takes the path of client
//! requests, with a temporary database.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{DoctorOptions, Finding};
use bytes::Bytes;
use http::{HeaderMap, Method};
use jiff::Unit;
use jiff::civil::Date;
use protocol::anthropic::{MessagesFormat, Request};
use protocol::apis::{ClientApi, UpstreamApi};
use serde_json::json;
use tokio::time::Instant;

use crate::app::App;
use crate::auth::Authenticated;
use crate::catalog::{Catalog, NamedBy, ResolveError, ResolvedModel};
use crate::clock::Clock;
use crate::config::{Config, DatabaseConfig, DatabaseUrl};
use crate::ids::RequestId;
use crate::inference::{ClientBody, InferenceError, InferenceRequest};
use crate::telemetry::RecordHandle;
use crate::telemetry::record::RequestHead;
use crate::telemetry::trace_context::TraceContext;
use crate::telemetry::user_agent::UserAgent;

/// Limit for one request: a cold model may need tens of seconds for its first token.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// Days before its end from which a model should be replaced.
const RETIREMENT_WARNING_DAYS: i32 = 90;

/// The models of the configuration and `more`, without duplicates.
pub(super) fn configured(config: &Config, more: &[String]) -> Vec<String> {
    let catalog = &config.catalog;
    let rows = catalog.models.iter().filter(|model| !model.is_only_prices()).map(|model| &model.id);
    let mapped = catalog.mappings.iter().map(|(name, _)| name);
    let all = catalog.default_model.iter().chain(mapped).chain(rows).chain(more);
    let mut names: Vec<String> = Vec::new();
    for name in all {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}

/// The models of the configuration that AWS has retired, or retires soon.
pub(super) fn lifecycles(config: &Config, options: &DoctorOptions, clock: &Clock) -> Vec<Finding> {
    let catalog = Catalog::new(&config.catalog);
    let finding = |name: &String| {
        let model = catalog.resolve(Some(name)).ok()?;
        let days = days_until(&catalog.end_of_life(&model)?, clock)?;
        let sentence = catalog.retirement(&model, clock)?;
        (days <= RETIREMENT_WARNING_DAYS).then(|| {
            let is_default = config.catalog.default_model.as_ref() == Some(name);
            let setting = if is_default { "set AWS_BEDROCK_ANTHROPIC_DEFAULT_MODEL to" } else { "use" };
            let fix = format!("GET /v1/models lists its successors; {setting} one of them.");
            Finding::advice(&format!("{name}'s lifecycle"), sentence.trim_end_matches('.'), fix)
        })
    };
    configured(config, &options.models).iter().filter_map(finding).collect()
}

/// Days until the date `day`, less than 0 after it.
fn days_until(day: &str, clock: &Clock) -> Option<i32> {
    let today: Date = clock.rfc3339().get(..10)?.parse().ok()?;
    Some(day.parse::<Date>().ok()?.since((Unit::Day, today)).ok()?.get_days())
}

/// Requests one token from each model.
pub(super) async fn check(
    config: &Config,
    clock: &Clock,
    names: &[String],
    report: &mut (dyn FnMut(Finding) + Send),
) {
    if names.is_empty() {
        report(Finding::note("Models", "no model is configured; check one with --model claude-sonnet-4-5"));
        return;
    }
    let directory = std::env::temp_dir().join(format!("bedrock-proxy-doctor-{}", std::process::id()));
    match open(config, clock, directory.clone()).await {
        Ok(app) => {
            for name in names {
                report(check_model(&app, name).await);
            }
            app.tasks.shutdown();
            app.store.close().await;
        }
        Err(error) => report(Finding::fail("Models", error, "Set TMPDIR to a writable directory.")),
    }
    let _ = std::fs::remove_dir_all(directory);
}

async fn open(config: &Config, clock: &Clock, directory: PathBuf) -> Result<Arc<App>, String> {
    let database = DatabaseConfig {
        url: DatabaseUrl::Sqlite(directory.join("doctor.db")),
        data_dir: directory,
        ..config.database.clone()
    };
    let config = Config { database, ..config.clone() };
    App::open(&config, clock.clone()).await.map(Arc::new).map_err(|error| error.to_string())
}

async fn check_model(app: &Arc<App>, name: &str) -> Finding {
    let model = match app.models.resolve(Some(name), NamedBy::default()).await {
        Ok(model) => model,
        Err(
            error @ (ResolveError::MissingModel
            | ResolveError::InvalidName(_)
            | ResolveError::UnknownModel { .. }),
        ) => {
            return Finding::fail(name, error.to_string(), "GET /v1/models lists the known models.");
        }
        Err(error @ ResolveError::LookupBusy) => {
            return Finding::fail(name, error.to_string(), "Check the model again in a few seconds.");
        }
    };
    let id = model.model_id.clone();
    match tokio::time::timeout(REQUEST_TIMEOUT, request_one_token(app, model)).await {
        Ok(Ok(response)) => {
            let OneToken { upstream_api, milliseconds, tokens, cost_nano_usd } = response;
            let cost = dollars(cost_nano_usd);
            Finding::ok(name, format!("{id} by {upstream_api}, {milliseconds} ms, {tokens} tokens ({cost})"))
        }
        Ok(Err(error)) => {
            Finding::from_code(name, format!("{id}: {}", error.to_error().message), error.doc_code())
        }
        Err(_) => Finding::from_code(
            name,
            format!("{id}: no response within {} s", REQUEST_TIMEOUT.as_secs()),
            Some("E15b"),
        ),
    }
}

/// The response to a request for one token.
struct OneToken {
    upstream_api: &'static str,
    milliseconds: u128,
    tokens: u64,
    cost_nano_usd: i64,
}

/// Requests one token of `model`, by the path of every request. The caller is anonymous, so no limit applies.
async fn request_one_token(app: &Arc<App>, model: ResolvedModel) -> Result<OneToken, InferenceError> {
    let begun = Instant::now();
    let body = json!({
        "model": model.requested_model,
        "max_tokens": 1,
        "messages": [{"role": "user", "content": "Hi"}],
    });
    let body = Bytes::from(body.to_string());
    let head = RequestHead {
        request_id: RequestId::generate(),
        client_request_id: None,
        trace: TraceContext::from_headers(&HeaderMap::new()),
        method: Method::POST,
        path: "/v1/messages".to_owned(),
        route: None,
        user_agent: UserAgent::from_headers(&HeaderMap::new()),
        session_id: None,
        peer: None,
        started_at: begun,
    };
    let record = RecordHandle::new(head, Arc::clone(&app.telemetry));
    record.set_model(model.requested_model.clone(), false, ClientApi::Messages.as_str());
    let caller = Authenticated { caller: app.authenticator.anonymous_caller(), permit: None };
    let request = InferenceRequest {
        caller: Arc::new(caller),
        record: record.clone(),
        model,
        client_api: ClientApi::Messages,
        body: ClientBody::Messages { body: body.clone(), betas: Vec::new() },
        is_streamed: false,
        notices: Vec::new(),
        format: Arc::new(MessagesFormat::default()),
    };
    let (head, _) = app.inference.handle(request, Some(Request::parse(&body)?)).await?;
    let charge = record.charge().unwrap_or_default();
    let usage = charge.usage;
    let read = usage.input_tokens + usage.cache_read_input_tokens + usage.cache_creation_input_tokens;
    Ok(OneToken {
        upstream_api: head.upstream_api.map_or("unknown", UpstreamApi::as_str),
        milliseconds: begun.elapsed().as_millis(),
        tokens: read + usage.output_tokens,
        cost_nano_usd: charge.cost_nano_usd,
    })
}

/// Nano-dollars as dollars, never in scientific notation.
fn dollars(nano: i64) -> String {
    let micro = nano.saturating_add(500) / 1_000;
    format!("${}.{:06}", micro / 1_000_000, micro % 1_000_000)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::super::Severity;
    use super::*;

    #[test]
    fn small_cost_is_printed_in_full() {
        assert_eq!(dollars(123_456), "$0.000123");
        assert_eq!(dollars(2_000_000_000), "$2.000000");
    }

    #[test]
    fn models_that_retire_soon_are_noted() {
        let notes = |default: &str, seconds: u64| {
            let set = [("AWS_BEDROCK_ANTHROPIC_DEFAULT_MODEL", default)];
            let lookup = |name: &str| {
                set.iter().find(|(variable, _)| *variable == name).map(|(_, value)| (*value).to_owned())
            };
            let options = DoctorOptions { models: Vec::new(), calls: false };
            let clock = Clock::manual(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
            lifecycles(&Config::load(lookup).unwrap(), &options, &clock)
        };
        // The model ends on 2027-01-08.
        const OCTOBER_9: u64 = 1_791_504_000;
        const OCTOBER_10: u64 = OCTOBER_9 + 86_400;
        assert_eq!(notes("claude-opus-4-1", OCTOBER_9), []);
        let found = &notes("claude-opus-4-1", OCTOBER_10)[0];
        let detail = "AWS will retire anthropic.claude-opus-4-1-20250805-v1:0 on 2027-01-08";
        assert_eq!((found.name.as_str(), found.detail.as_str()), ("claude-opus-4-1's lifecycle", detail));
        assert_eq!(found.severity, Severity::Note);
        assert!(found.fix.as_ref().unwrap().contains("AWS_BEDROCK_ANTHROPIC_DEFAULT_MODEL"));
        let found = &notes("us.anthropic.claude-3-5-haiku-20241022-v1:0", OCTOBER_10)[0];
        assert!(found.detail.contains("AWS retired") && found.detail.contains("2026-06-19"), "{found:?}");
        assert_eq!(notes("claude-opus-5-5", OCTOBER_10), []);
    }

    #[test]
    fn each_model_is_checked_once() {
        let set =
            [("AWS_BEDROCK_ANTHROPIC_DEFAULT_MODEL", "a"), ("AWS_BEDROCK_MODEL_MAPPINGS", "b=x.y,a=x.z")];
        let lookup = |name: &str| {
            set.iter().find(|(variable, _)| *variable == name).map(|(_, value)| (*value).to_owned())
        };
        let config = Config::load(lookup).unwrap();
        assert_eq!(configured(&config, &["c".to_owned(), "b".to_owned()]), ["a", "b", "c"]);
    }
}
