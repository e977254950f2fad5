//! Usage records in the database of a server.

use serde_json::Value;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};

use crate::harness::{TestServer, wait_for};

/// The one usage row of `server`, waited for.
pub(crate) async fn row(server: &TestServer) -> Value {
    wait_for("a usage record", async || match rows(server).await.as_slice() {
        [row] => Some(row.clone()),
        _ => None,
    })
    .await
}

/// All usage rows of `server`.
pub(crate) async fn rows(server: &TestServer) -> Vec<Value> {
    const ROWS: &str = "SELECT json_object('user', user_id, 'model', model, 'upstream', model_upstream,
        'route', route, 'status', status, 'outcome', outcome, 'stop', stop_reason, 'input', input_tokens,
        'output', output_tokens, 'read', cache_read_tokens, 'write', cache_write_tokens, 'write_1h', cache_write_1h_tokens, 'charged', charged_tokens,
        'cost', cost, 'total_cost', total_cost, 'estimated', json(iif(estimated, 'true', 'false')),
        'priced', json(iif(priced, 'true', 'false')), 'attempt', attempt, 'request_id', request_id) FROM metrics";
    let options =
        SqliteConnectOptions::new().filename(server.data().join("bedrock-proxy.db")).read_only(true);
    let pool = SqlitePool::connect_with(options).await.unwrap();
    let rows: Vec<(String,)> = sqlx::query_as(ROWS).fetch_all(&pool).await.unwrap();
    pool.close().await;
    rows.iter().map(|(row,)| serde_json::from_str(row).unwrap()).collect()
}
