//! The contract of the store, always on SQLite and on PostgreSQL.

mod events;
mod maintenance;
mod migrate;
mod outages;
mod reservations;
mod tokens;
mod usage;
mod usage_report;
mod users;

use bedrock_proxy::testing::{
    AuditEvent, ClaimedUser, DatabaseConfig, NewUserConfig, Store, Tasks, UsageRecord,
};
use serde_json::json;
use tempfile::TempDir;

use crate::harness::postgres;

/// 2026-11-22T12:00:00Z
pub(crate) const NOW: i64 = 1_795_348_800_000;

/// 2026-11-22T00:00:00Z
pub(crate) const TODAY: i64 = NOW - 12 * 3_600_000;

/// An empty database of one test.
pub(crate) struct Place {
    pub(crate) kind: &'static str,
    pub(crate) config: DatabaseConfig,
    pub(crate) tasks: Tasks,
    _directory: TempDir,
}

impl Place {
    /// Opens the store, as each replica does.
    pub(crate) async fn open(&self) -> Store {
        let store = Store::open(&self.config, &self.tasks).await.unwrap();
        store.ping().await.unwrap();
        store
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.tasks.shutdown();
    }
}

/// A fresh place on each of the two databases.
pub(crate) async fn both() -> [Place; 2] {
    let url = postgres::database().await;
    [place("sqlite", &[]), place("postgresql", &[("DATABASE_URL", &url)])]
}

/// A place with other settings.
pub(crate) fn place(kind: &'static str, variables: &[(&str, &str)]) -> Place {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data").display().to_string();
    let own = [("DATA_DIR", data.as_str()), ("DB_MIN_CONNS", "0"), ("DB_MAX_CONNS", "10")];
    let config = bedrock_proxy::testing::Config::load(|name| {
        let mut all = variables.iter().chain(&own);
        all.find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    });
    Place { kind, config: config.unwrap().database, tasks: Tasks::default(), _directory: directory }
}

/// What a user without a row gets.
pub(crate) fn new_users() -> NewUserConfig {
    NewUserConfig { provision: true, user_limit: Some(5000), team_limit: Some(70_000) }
}

pub(crate) fn event(id: &str, kind: &str) -> AuditEvent {
    AuditEvent {
        id: id.to_owned(),
        kind: kind.to_owned(),
        user_id: Some("ana".to_owned()),
        team: None,
        actor: Some("operator".to_owned()),
        details: json!({"before": null, "after": {"n": 1}}),
        at: NOW,
    }
}

/// A user in a team, both with limits.
pub(crate) async fn ana(store: &Store, user_limit: Option<i64>, team_limit: Option<i64>) {
    let new =
        ClaimedUser { user_id: "ana", team: Some("red"), profile: Some("eu.x"), user_limit, team_limit };
    assert!(store.provision(&new, &event("new-ana", "user_provisioned")).await.unwrap());
}

/// What one request of ana's came to: 30 tokens, a third of a cent.
pub(crate) fn usage_record(id: &str) -> UsageRecord {
    UsageRecord {
        id: id.to_owned(),
        request_id: format!("req_{id}"),
        attempt: 1,
        user_id: "ana".to_owned(),
        team: Some("red".to_owned()),
        jti: None,
        session_id: None,
        model: "claude-sonnet-4-5".to_owned(),
        model_requested: Some("sonnet".to_owned()),
        model_upstream: Some("us.anthropic.claude-sonnet-4-5".to_owned()),
        route: Some("converse".to_owned()),
        client_api: Some("messages".to_owned()),
        client: Some("claude-code".to_owned()),
        status: 200,
        outcome: "finished".to_owned(),
        stop_reason: Some("end_turn".to_owned()),
        input_tokens: 10,
        output_tokens: 20,
        cache_read_tokens: 3,
        cache_write_tokens: 4,
        cache_write_1h_tokens: 1,
        charged_tokens: 30,
        period: TODAY,
        cost: 3_333_333,
        rates: json!({"input": 3000}),
        priced: true,
        estimated: false,
        duration_ms: 1200,
        ttft_ms: Some(300),
        at: NOW,
    }
}
