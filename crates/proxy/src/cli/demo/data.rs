//! Made-up teams and users, and a week of their usage, so that reports, limits and `/admin/v1` have something to show.

use protocol::anthropic::Usage;
use serde_json::json;

use crate::admin::{AdminError, TeamChange, TokenRequest, UserChange};
use crate::app::App;
use crate::auth::Scope;
use crate::catalog::{Pricing, ResolvedModel};
use crate::config::NewUserConfig;
use crate::secret::Secret;
use crate::store::UsageRecord;

/// The actor of the audit events.
const ACTOR: &str = "demo";
/// The user that requests without a token are charged to.
pub(super) const GUEST: &str = "guest";
/// The user whose limit fills up.
pub(super) const LIMITED_USER: &str = "ben";
/// The daily limit of [`LIMITED_USER`] in tokens: a few short requests.
pub(super) const SMALL_LIMIT: i64 = 1_000;
/// Tokens of it that are used when the demo starts.
pub(super) const USED_OF_SMALL_LIMIT: i64 = 640;
/// Days of usage, today included.
pub(super) const DAYS: i64 = 7;

const DAY_MS: i64 = 86_400_000;
const HOUR_MS: i64 = 3_600_000;
/// Records of one write, which has a time limit.
const BATCH_SIZE: usize = 100;

/// Teams with their daily limits in tokens.
const TEAMS: [(&str, Option<i64>); 2] = [("payments", Some(20_000_000)), ("research", None)];

/// Users with their teams, daily limits in tokens, and the model that they use most.
const USERS: [DemoUser; 5] = [
    DemoUser {
        name: "ana",
        team: Some("payments"),
        limit: Some(5_000_000),
        model: "claude-sonnet-5",
        requests: 18,
    },
    DemoUser {
        name: LIMITED_USER,
        team: Some("payments"),
        limit: Some(SMALL_LIMIT),
        model: "claude-haiku-4-5",
        requests: 8,
    },
    DemoUser {
        name: "carla",
        team: Some("research"),
        limit: Some(10_000_000),
        model: "claude-opus-4-6",
        requests: 9,
    },
    DemoUser { name: "david", team: Some("research"), limit: None, model: "claude-sonnet-4-6", requests: 13 },
    DemoUser { name: GUEST, team: None, limit: None, model: "claude-sonnet-5", requests: 0 },
];

struct DemoUser {
    name: &'static str,
    team: Option<&'static str>,
    limit: Option<i64>,
    model: &'static str,
    /// Requests of a day.
    requests: i64,
}

/// Tokens that the demo prints.
pub(super) struct DemoTokens {
    pub(super) ana: Secret,
    pub(super) ben: Secret,
    pub(super) admin: Secret,
}

/// Adds teams, users and their usage of the last days, and issues tokens.
///
/// # Errors
/// When the database is unavailable.
pub(super) async fn fill(app: &App) -> Result<DemoTokens, String> {
    add_teams_and_users(app).await.map_err(|error| error.to_string())?;
    let records = usage(app)?;
    let new_users = NewUserConfig { provision: true, user_limit: None, team_limit: None };
    for batch in records.chunks(BATCH_SIZE) {
        app.store.write_batch(batch, &[], &new_users).await.map_err(|error| error.to_string())?;
    }
    let token = async |user_id: &str, scope| {
        let request = TokenRequest {
            user_id: user_id.to_owned(),
            team: None,
            default_inference_profile: None,
            scope,
            ttl: None,
            create: false,
            name: Some("demo".to_owned()),
            daily_token_limit: None,
        };
        app.admin.issue_token(&request, ACTOR).await.map(|issued| issued.token)
    };
    let tokens = async {
        Ok::<_, AdminError>(DemoTokens {
            ana: token("ana", Scope::Inference).await?,
            ben: token(LIMITED_USER, Scope::Inference).await?,
            admin: token("admin", Scope::Admin).await?,
        })
    };
    tokens.await.map_err(|error| error.to_string())
}

async fn add_teams_and_users(app: &App) -> Result<(), AdminError> {
    for (team, limit) in TEAMS {
        let change = TeamChange { daily_token_limit: Some(limit), ..TeamChange::default() };
        app.admin.add_team(team, &change, ACTOR).await?;
    }
    for user in &USERS {
        let change = UserChange {
            team: user.team.map(|team| Some(team.to_owned())),
            daily_token_limit: Some(user.limit),
            ..UserChange::default()
        };
        app.admin.add_user(user.name, &change, ACTOR).await?;
    }
    Ok(())
}

/// The records of all users, oldest first.
fn usage(app: &App) -> Result<Vec<UsageRecord>, String> {
    let now = app.clock.milliseconds();
    let today = now - now.rem_euclid(DAY_MS);
    let mut numbers = Numbers(0x5eed);
    let mut records = Vec::new();
    for user in &USERS {
        let model = app.catalog.resolve(Some(user.model)).map_err(|error| error.to_string())?;
        let pricing = app.catalog.pricing(&model, app.bedrock.region());
        for day in (0..DAYS).rev() {
            let start = today - day * DAY_MS;
            // A working day of ten hours, or as much of today as is over.
            let (begin, length) =
                if day == 0 { (start, now - start) } else { (start + 8 * HOUR_MS, 10 * HOUR_MS) };
            let mut left = USED_OF_SMALL_LIMIT;
            for index in 0..user.requests {
                let at = begin + length * index / user.requests;
                let usage = if user.name == LIMITED_USER {
                    // The last one takes the rest, so that the sum of a day is known.
                    let is_last = index == user.requests - 1;
                    let total = if is_last { left } else { numbers.between(60, 90) };
                    left -= total;
                    short_usage(total)
                } else {
                    coding_usage(&mut numbers)
                };
                let id = format!("demo-{}-{day}-{index}", user.name);
                let mut record = record(id, user, &model, &pricing, &usage);
                (record.at, record.period) = (at, start);
                record.ttft_ms = Some(numbers.between(400, 1_500));
                record.duration_ms = numbers.between(2_000, 30_000);
                records.push(record);
            }
        }
    }
    records.sort_by_key(|record| record.at);
    Ok(records)
}

fn record(
    id: String,
    user: &DemoUser,
    model: &ResolvedModel,
    pricing: &Pricing,
    usage: &Usage,
) -> UsageRecord {
    let rates = pricing.rates(usage);
    let tokens = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let charged = usage.input_tokens + usage.cache_creation_input_tokens + usage.output_tokens;
    UsageRecord {
        request_id: format!("req_{id}"),
        id,
        attempt: 1,
        user_id: user.name.to_owned(),
        team: user.team.map(str::to_owned),
        model: model.foundation_model.clone().unwrap_or_else(|| user.model.to_owned()),
        model_requested: Some(user.model.to_owned()),
        model_upstream: Some(model.model_id.clone()),
        route: Some("converse".to_owned()),
        status: 200,
        outcome: "finished".to_owned(),
        stop_reason: Some("end_turn".to_owned()),
        input_tokens: tokens(usage.input_tokens),
        output_tokens: tokens(usage.output_tokens),
        cache_read_tokens: tokens(usage.cache_read_input_tokens),
        cache_write_tokens: tokens(usage.cache_creation_input_tokens),
        charged_tokens: tokens(charged),
        cost: rates.cost(usage),
        priced: rates.known,
        rates: json!(rates),
        ..UsageRecord::default()
    }
}

/// Usage of a short request with `total` tokens.
fn short_usage(total: i64) -> Usage {
    let total = u64::try_from(total).unwrap_or_default();
    Usage { input_tokens: total / 3, output_tokens: total - total / 3, ..Usage::default() }
}

/// Usage of a turn of a coding agent: a long cached prompt.
fn coding_usage(numbers: &mut Numbers) -> Usage {
    let mut number = |min, max| u64::try_from(numbers.between(min, max)).unwrap_or_default();
    Usage {
        input_tokens: number(300, 4_000),
        cache_read_input_tokens: number(15_000, 70_000),
        cache_creation_input_tokens: number(1_000, 9_000),
        output_tokens: number(150, 1_800),
        ..Usage::default()
    }
}

/// Reproducible numbers: SplitMix64. <https://prng.di.unimi.it/splitmix64.c>
struct Numbers(u64);

impl Numbers {
    fn between(&mut self, min: i64, max: i64) -> i64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        min + i64::try_from(mixed % max.abs_diff(min).max(1)).unwrap_or_default()
    }
}
