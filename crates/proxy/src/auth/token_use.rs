//! When tokens were used last. Requests only note it in memory; a task writes it to the database.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::store::Store;
use crate::tasks::Tasks;

/// Interval at which the notes are written, and the shortest time between two writes for one token.
const WRITE_INTERVAL: Duration = Duration::from_secs(60);
/// Maximum number of noted tokens.
const MAX_TOKENS: usize = 100_000;
/// Maximum number of tokens in one transaction.
const MAX_BATCH_TOKENS: usize = 500;

/// Tokens that were used since the last write, each with the instant in epoch milliseconds.
#[derive(Debug, Default)]
pub(crate) struct TokenUse(Mutex<HashMap<String, i64>>);

impl TokenUse {
    /// Notes that the token `jti` was used at `now`.
    pub(super) fn record(&self, jti: &str, now: i64) {
        let mut used = self.lock();
        if let Some(at) = used.get_mut(jti) {
            *at = now;
        } else if used.len() < MAX_TOKENS {
            used.insert(jti.to_owned(), now);
        }
    }

    /// Writes the notes until `tasks` shut down, and once more then.
    pub(crate) async fn run(&self, store: &Store, tasks: &Tasks) {
        loop {
            let is_over = tokio::select! {
                () = tokio::time::sleep(WRITE_INTERVAL) => false,
                () = tasks.shutdown_begun() => true,
            };
            self.write(store).await;
            if is_over {
                return;
            }
        }
    }

    /// Writes the notes. Those that cannot be written are dropped: the next use notes the token again.
    pub(crate) async fn write(&self, store: &Store) {
        let used: Vec<_> = std::mem::take(&mut *self.lock()).into_iter().collect();
        for part in used.chunks(MAX_BATCH_TOKENS) {
            if let Err(error) = store.record_token_use(part).await {
                tracing::debug!(%error, "last use of tokens not written");
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, i64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
