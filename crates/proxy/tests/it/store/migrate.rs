use bedrock_proxy::testing::{
    ClaimedUser, DatabaseConfig, DatabaseUrl, EventFilter, Page, Store, StoreError,
};
use futures_util::future::join_all;
use sqlx::{Connection, Row};

use super::{NOW, Place, TODAY, ana, both, event, new_users, place, usage_record};
use crate::harness::postgres;
use crate::harness::{captured_logs, wait_for};

/// The tables as the first description has them, letter for letter.
const SEED: &str = "
CREATE TABLE users (
    user_id VARCHAR(255) PRIMARY KEY, team VARCHAR(255),
    daily_token_limit BIGINT DEFAULT 1000000, tokens_used_today BIGINT DEFAULT 0, last_reset_date DATE DEFAULT CURRENT_DATE,
    default_inference_profile TEXT,
    created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP, updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP);
CREATE TABLE metrics (
    id SERIAL PRIMARY KEY, user_id VARCHAR(255) NOT NULL, team VARCHAR(255), model VARCHAR(255) NOT NULL,
    input_tokens BIGINT DEFAULT 0, output_tokens BIGINT DEFAULT 0, cache_read_tokens BIGINT DEFAULT 0, cache_write_tokens BIGINT DEFAULT 0,
    total_cost DECIMAL(10, 6) DEFAULT 0, request_duration_ms BIGINT,
    created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP, FOREIGN KEY (user_id) REFERENCES users(user_id));
CREATE TABLE events (
    id SERIAL PRIMARY KEY, event_type VARCHAR(50) NOT NULL, user_id VARCHAR(255), team VARCHAR(255), details JSONB,
    created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP);
CREATE INDEX idx_metrics_user_id ON metrics(user_id);   CREATE INDEX idx_metrics_created_at ON metrics(created_at);
CREATE INDEX idx_events_user_id ON events(user_id);     CREATE INDEX idx_events_created_at ON events(created_at);
INSERT INTO users (user_id, team, tokens_used_today) VALUES ('old', 'red', 42), ('bare', NULL, NULL);
INSERT INTO metrics (user_id, team, model, input_tokens, output_tokens, total_cost, created_at)
VALUES ('old', 'red', 'claude', 10, 5, 0.000123, '2026-11-20 10:00:00'), ('old', 'red', 'claude', 1, 2, 0.000001, '2026-11-20 23:00:00'),
       ('bare', NULL, 'claude', NULL, NULL, NULL, NULL);
INSERT INTO events (event_type, user_id, details) VALUES ('login', 'old', '{\"a\": 1}'), ('odd', NULL, NULL);
";

#[tokio::test]
async fn seed_database_is_adopted_with_its_rows() {
    // The capture begins with the first call.
    captured_logs();
    for view in [false, true] {
        let url = postgres::database().await;
        let mut connection = postgres::connect(&url).await;
        sqlx::raw_sql(SEED).execute(&mut connection).await.unwrap();
        if view {
            let report = "CREATE VIEW report AS SELECT user_id, SUM(total_cost) AS cost, MAX(id) AS last FROM metrics GROUP BY 1";
            sqlx::raw_sql(report).execute(&mut connection).await.unwrap();
        }
        let place = place("postgresql", &[("DATABASE_URL", &url)]);
        let store = place.open().await;
        if view {
            let logs = captured_logs();
            let kept = logs.lines().find(|line| line.contains("columns keep their type"));
            assert!(kept.is_some_and(|line| line.contains("metrics.id, metrics.total_cost")), "{kept:?}");
        }
        let old = store.user("old").await.unwrap();
        assert_eq!((old.team.as_deref(), old.tokens_used_today), (Some("red"), 42));
        assert_eq!(old.daily_token_limit, Some(1_000_000));
        assert_eq!(store.user("bare").await.unwrap().tokens_used_today, 0);
        let page = Page { after: None, limit: 9 };
        let events = store.events(&EventFilter::default(), &page).await.unwrap().rows;
        assert_eq!((events[1].kind.as_str(), events[1].id.as_str()), ("login", "1"));
        let row =
            sqlx::query("SELECT COUNT(*), SUM(total_cost)::TEXT FROM metrics").fetch_one(&mut connection);
        let row = row.await.unwrap();
        assert_eq!(row.get::<i64, _>(0), 3);
        assert_eq!(row.get::<&str, _>(1).trim_end_matches('0'), "0.000124");
        let widths = sqlx::query(
            "SELECT data_type, (SELECT numeric_scale FROM information_schema.columns
             WHERE table_name = 'metrics' AND column_name = 'total_cost')::INT
             FROM information_schema.columns WHERE table_name = 'metrics' AND column_name = 'id'",
        );
        let widths = widths.fetch_one(&mut connection).await.unwrap();
        let wide = (widths.get::<&str, _>(0), widths.get::<i32, _>(1));
        assert_eq!(wide, if view { ("integer", 6) } else { ("bigint", 9) });
        let daily =
            "SELECT COUNT(*), CAST(SUM(cost) AS BIGINT), CAST(SUM(requests) AS BIGINT) FROM usage_daily";
        let daily: (i64, i64, i64) = sqlx::query_as(daily).fetch_one(&mut connection).await.unwrap();
        assert_eq!(daily, (2, 124_000, 3));
        connection.close().await.unwrap();
    }
}

/// A database of the first description, where 2026-11-22 is today.
async fn adopted() -> (Place, Store) {
    let url = postgres::database().await;
    let mut connection = postgres::connect(&url).await;
    sqlx::raw_sql(SEED).execute(&mut connection).await.unwrap();
    let today = "UPDATE users SET last_reset_date = '2026-11-22';
         INSERT INTO users (user_id, team, tokens_used_today, last_reset_date) VALUES ('late', 'red', 7, '2026-11-21');";
    sqlx::raw_sql(today).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let place = place("postgresql", &[("DATABASE_URL", &url)]);
    let store = place.open().await;
    (place, store)
}

#[tokio::test]
async fn adopted_usage_counts_once_in_its_period() {
    let (_place, store) = adopted().await;
    for hour in [0, 6] {
        let period = TODAY + hour * 3_600_000;
        assert!(store.record_reset(period, "2026-11-22", &event(&hour.to_string(), "x")).await.unwrap());
        let spent = if hour == 0 { 42 } else { 0 };
        for (user, expected) in [("old", [spent; 2]), ("late", [0, spent])] {
            let tallies = store.caller_totals(user, Some("red"), period, NOW).await.unwrap();
            assert_eq!([tallies.user.used, tallies.team.used], expected, "{user} in hour {hour}");
        }
    }
}

#[tokio::test]
async fn adopted_rows_are_never_too_old_to_stay() {
    let (_place, store) = adopted().await;
    store.write_batch(&[usage_record("new")], &[event("new", "x")], &new_users()).await.unwrap();
    let later = Some(NOW + 1000 * 86_400_000);
    assert_eq!(store.prune(later, later, NOW).await.unwrap(), 3, "the rows of its own");
    let events = store.events(&EventFilter::default(), &Page { after: None, limit: 9 }).await.unwrap();
    assert_eq!(events.rows.len(), 2);
}

#[tokio::test]
async fn five_replicas_may_start_at_once() {
    for _ in 0..5 {
        for place in both().await {
            let stores = join_all((0..5).map(|_| Store::open(&place.config, &place.tasks))).await;
            for store in stores {
                store.unwrap().ping().await.unwrap();
            }
        }
    }
}

/// Sends `text` to the database, without the store.
async fn say(place: &DatabaseConfig, text: &'static str) {
    match &place.url {
        DatabaseUrl::Sqlite(path) => {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path).create_if_missing(true);
            let mut connection = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
            sqlx::raw_sql(text).execute(&mut connection).await.unwrap();
            connection.close().await.unwrap();
        }
        DatabaseUrl::Postgres(url) => {
            let mut connection = postgres::connect(url.expose()).await;
            sqlx::raw_sql(text).execute(&mut connection).await.unwrap();
        }
        DatabaseUrl::PostgresParts(_) => unreachable!(),
    }
}

/// What the version after this one might do: it only adds.
const LATER: &str = "
ALTER TABLE users ADD COLUMN colour VARCHAR(20) DEFAULT 'grey';
ALTER TABLE metrics ADD COLUMN later_tokens BIGINT DEFAULT 7;
ALTER TABLE counters ADD COLUMN soft INTEGER DEFAULT 0;
CREATE TABLE later (id BIGINT PRIMARY KEY, user_id VARCHAR(255));
INSERT INTO schema_migrations (version, name) VALUES (99, 'later');
UPDATE users SET colour = 'blue';
";

#[tokio::test]
async fn newer_schema_is_served_unchanged() {
    captured_logs();
    for place in both().await {
        let store = place.open().await;
        ana(&store, Some(1000), None).await;
        store.write_batch(&[usage_record("before")], &[], &new_users()).await.unwrap();
        store.close().await;
        say(&place.config, LATER).await;
        let store = place.open().await;
        // Read, made and charged as ever.
        assert_eq!(store.user("ana").await.unwrap().daily_token_limit, Some(1000));
        let ben =
            ClaimedUser { user_id: "ben", team: None, profile: None, user_limit: None, team_limit: None };
        assert!(store.provision(&ben, &event("new-ben", "user_provisioned")).await.unwrap());
        store.write_batch(&[usage_record("after")], &[], &new_users()).await.unwrap();
        assert_eq!(store.caller_totals("ana", None, TODAY, NOW).await.unwrap().user.used, 60);
        store.close().await;
        // The newer version again: its migration is still there, and so is what it wrote.
        let check = "CREATE TABLE proof (id BIGINT NOT NULL);
             INSERT INTO proof SELECT CASE WHEN
                (SELECT COUNT(*) FROM users WHERE colour = 'blue') = 1
                AND (SELECT COUNT(*) FROM metrics WHERE later_tokens = 7) = 2
                AND (SELECT COUNT(*) FROM schema_migrations WHERE version = 99) = 1 THEN 1 END";
        say(&place.config, check).await;
        assert!(captured_logs().contains("database_newer"));
    }
}

#[tokio::test]
async fn previous_schema_is_migrated_with_its_rows() {
    for place in both().await {
        let seed = match place.config.url {
            DatabaseUrl::Sqlite(_) => {
                include_str!("../../../src/store/migrations/sqlite/0001_seed.sql")
            }
            _ => include_str!("../../../src/store/migrations/postgres/0001_seed.sql"),
        };
        say(&place.config, seed).await;
        say(
            &place.config,
            "CREATE TABLE schema_migrations (version BIGINT PRIMARY KEY, name VARCHAR(255) NOT NULL,
                applied_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP);
             INSERT INTO schema_migrations (version, name) VALUES (1, '0001_seed');
             INSERT INTO users (user_id, team, daily_token_limit) VALUES ('ana', 'red', 500);
             INSERT INTO metrics (user_id, model, input_tokens) VALUES ('ana', 'claude', 3);",
        )
        .await;
        // Five replicas of the new version, and one of them migrates.
        let stores = join_all((0..5).map(|_| Store::open(&place.config, &place.tasks))).await;
        let stores: Vec<_> = stores.into_iter().map(Result::unwrap).collect();
        let ana = stores[4].user("ana").await.unwrap();
        assert_eq!((ana.team.as_deref(), ana.daily_token_limit), (Some("red"), Some(500)));
        stores[0].write_batch(&[usage_record("new")], &[], &new_users()).await.unwrap();
        assert_eq!(stores[1].caller_totals("ana", None, TODAY, NOW).await.unwrap().user.used, 30);
        let applied = "CREATE TABLE proof (id BIGINT NOT NULL);
             INSERT INTO proof SELECT CASE WHEN (SELECT COUNT(*) FROM metrics) = 2
                AND (SELECT COUNT(*) FROM schema_migrations) >= 4
                AND (SELECT MAX(version) FROM schema_migrations) >= 5 THEN 1 END";
        say(&place.config, applied).await;
    }
}

/// The texts of the migrations before 5.
macro_rules! migrations_before_5 {
    ($kind:literal) => {
        [
            include_str!(concat!("../../../src/store/migrations/", $kind, "/0001_seed.sql")),
            include_str!(concat!("../../../src/store/migrations/", $kind, "/0002_accounting.sql")),
            include_str!(concat!("../../../src/store/migrations/", $kind, "/0003_maintenance.sql")),
            include_str!(concat!("../../../src/store/migrations/", $kind, "/0004_tokens.sql")),
        ]
    };
}

#[tokio::test]
async fn counters_of_the_current_period_get_their_cost() {
    for place in both().await {
        let migrations = match place.config.url {
            DatabaseUrl::Sqlite(_) => migrations_before_5!("sqlite"),
            _ => migrations_before_5!("postgres"),
        };
        for migration in migrations {
            say(&place.config, migration).await;
        }
        say(
            &place.config,
            "CREATE TABLE schema_migrations (version BIGINT PRIMARY KEY, name VARCHAR(255) NOT NULL,
                applied_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP);
             INSERT INTO schema_migrations (version, name) VALUES (1, '0001_seed'), (2, '0002_accounting'),
                (3, '0003_maintenance'), (4, '0004_tokens');
             INSERT INTO users (user_id, team) VALUES ('ana', 'red'), ('ben', 'red');
             INSERT INTO counters (scope, name, period, used) VALUES ('user', 'ana', 86400000, 5),
                ('user', 'ana', 172800000, 7), ('user', 'ben', 172800000, 1), ('team', 'red', 172800000, 8);
             INSERT INTO metrics (receipt_id, user_id, team, model, period, cost) VALUES
                ('a', 'ana', 'red', 'm', 86400000, 1000), ('b', 'ana', 'red', 'm', 172800000, 30),
                ('c', 'ana', 'red', 'm', 172800000, 4), ('d', 'ben', 'red', 'm', 172800000, NULL);",
        )
        .await;
        let store = place.open().await;
        for (user, period, cost) in
            [("ana", 172_800_000, 34), ("ana", 86_400_000, 0), ("ben", 172_800_000, 0)]
        {
            assert_eq!(
                store.period_cost(user, period).await.unwrap(),
                cost,
                "{} {user} {period}",
                place.kind
            );
        }
        let teams = "CREATE TABLE proof (id BIGINT NOT NULL);
             INSERT INTO proof SELECT CASE WHEN (SELECT cost FROM counters WHERE scope = 'team') = 34 THEN 1 END";
        say(&place.config, teams).await;
    }
}

#[tokio::test]
async fn diverged_schema_is_rejected_by_name() {
    for place in both().await {
        place.open().await.close().await;
        say(&place.config, "UPDATE schema_migrations SET name = '0002_other' WHERE version = 2").await;
        let rejected = Store::open(&place.config, &place.tasks).await.unwrap_err();
        assert!(
            matches!(&rejected, StoreError::Schema(reason) if reason.contains("0002_other")),
            "{rejected}"
        );
    }
}

#[tokio::test]
async fn unavailable_database_does_not_stop_startup() {
    let directory = tempfile::tempdir().unwrap();
    let url = postgres::database().await;
    let name = url.rsplit_once('/').unwrap().1;
    // A socket that leads nowhere yet.
    let host = directory.path().join("later");
    let elsewhere = format!("postgres://postgres@{}/{name}", host.display().to_string().replace('/', "%2F"));
    let place = place("postgresql", &[("DATABASE_URL", &elsewhere)]);
    let store = Store::open(&place.config, &place.tasks).await.unwrap();
    assert!(!store.is_connected());
    assert!(matches!(store.ping().await, Err(StoreError::Unavailable(_))));
    assert!(matches!(store.lookup_caller("ana", None, None).await, Err(StoreError::Unavailable(_))));
    let real = url.split_once('@').unwrap().1.split_once('/').unwrap().0.replace("%2F", "/");
    std::os::unix::fs::symlink(real, &host).unwrap();
    wait_for("the database is found", async || store.ping().await.ok()).await;
    assert!(store.lookup_caller("ana", None, None).await.is_ok() && store.is_connected());
}

#[tokio::test]
async fn foreign_tables_are_refused_at_start() {
    let foreign = [
        "CREATE TABLE schema_migrations (id BIGINT PRIMARY KEY)",
        "CREATE TABLE schema_migrations (version BIGINT PRIMARY KEY, title VARCHAR(255))",
        "CREATE TABLE metrics (something BIGINT)",
        "CREATE TABLE users (user_id VARCHAR(255) PRIMARY KEY); CREATE TABLE usage_daily (day VARCHAR(9))",
    ];
    for tables in foreign {
        for place in both().await {
            say(&place.config, tables).await;
            let error = Store::open(&place.config, &place.tasks).await.unwrap_err();
            assert!(matches!(error, StoreError::Schema(_)), "{}, {tables}: {error}", place.kind);
        }
    }
}

#[tokio::test]
async fn adopted_rows_have_daily_sums() {
    for place in both().await {
        let seed = match place.config.url {
            DatabaseUrl::Sqlite(_) => include_str!("../../../src/store/migrations/sqlite/0001_seed.sql"),
            _ => include_str!("../../../src/store/migrations/postgres/0001_seed.sql"),
        };
        say(&place.config, seed).await;
        say(
            &place.config,
            "INSERT INTO users (user_id, team) VALUES ('old', 'red'), ('bare', NULL);
             INSERT INTO metrics (user_id, team, model, input_tokens, output_tokens, total_cost, created_at) VALUES
                ('old', 'red', 'claude', 10, 5, 0.000123, '2026-11-20 10:00:00'),
                ('old', 'red', 'claude', 1, 2, 0.000001, '2026-11-20 23:00:00'),
                ('bare', NULL, 'claude', NULL, NULL, NULL, '2026-11-21 00:00:00');",
        )
        .await;
        let store = place.open().await;
        let days = bedrock_proxy::testing::UsageQuery {
            from: "2026-11-20".to_owned(),
            to: "2026-11-21".to_owned(),
            ..Default::default()
        };
        let report = store.usage_report(&days, &Page { after: None, limit: 9 }).await.unwrap().rows;
        let sums = (report[0].requests, report[0].input_tokens, report[0].output_tokens, report[0].cost);
        assert_eq!(sums, (3, 11, 7, 124_000), "{}", place.kind);
    }
}
