//! Detached reads: responses whose client has left. Bedrock finishes and bills them, so they are read to their end,
//! within bounds, to learn what they cost.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::config::InferenceConfig;
use crate::tasks::Tasks;

/// Runs detached reads, a bounded number at a time.
#[derive(Clone, Debug)]
pub(crate) struct DetachedReads {
    tasks: Tasks,
    permits: Arc<Semaphore>,
    timeout: Duration,
}

impl DetachedReads {
    /// As many as configured.
    pub(super) fn new(config: &InferenceConfig, tasks: &Tasks) -> Self {
        Self {
            tasks: tasks.clone(),
            permits: Arc::new(Semaphore::new(config.max_detached_reads)),
            timeout: config.detached_read_timeout,
        }
    }

    /// Runs `reading` to its end, for a limited time. Without a permit it is dropped at once.
    pub(super) fn spawn(&self, reading: impl Future<Output = ()> + Send + 'static) {
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
            tracing::warn!("too many detached reads; the cost of one response is estimated");
            return;
        };
        let (timeout, aborted) = (self.timeout, self.tasks.aborted());
        self.tasks.spawn(async move {
            let _permit = permit;
            tokio::select! {
                _ = tokio::time::timeout(timeout, reading) => {}
                () = aborted => {}
            }
        });
    }
}
