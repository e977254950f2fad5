//! Spawned tasks and the shutdown signals. Only this file spawns tasks, so that a drain can wait for all of them.

use std::future::Future;

use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tokio_util::task::TaskTracker;

/// Tracked tasks with their shutdown and abort signals. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    shutdown: CancellationToken,
    abort: CancellationToken,
}

impl Tasks {
    /// Spawns `task` and tracks it until it ends.
    pub(crate) fn spawn<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        #[allow(clippy::disallowed_methods)] // the tracked spawn the ban points to
        tokio::spawn(self.tracker.track_future(task));
    }

    /// Begins the shutdown: tasks finish their open work.
    pub fn shutdown(&self) {
        self.shutdown.cancel();
        self.tracker.close();
    }

    /// Resolves when the shutdown has begun.
    pub(crate) async fn shutdown_begun(&self) {
        self.shutdown.cancelled().await;
    }

    /// Whether the shutdown has begun.
    #[must_use]
    pub(crate) fn is_shutdown(&self) -> bool {
        self.shutdown.is_cancelled()
    }

    /// Aborts open work: streams send their error event and end.
    pub(crate) fn abort(&self) {
        self.abort.cancel();
    }

    /// Resolves when [`Tasks::abort`] was called.
    pub(crate) fn aborted(&self) -> WaitForCancellationFutureOwned {
        self.abort.clone().cancelled_owned()
    }

    /// Resolves when the shutdown has begun and all tasks have ended.
    pub async fn wait(&self) {
        self.tracker.wait().await;
    }

    /// The number of running tasks.
    #[must_use]
    #[allow(clippy::len_without_is_empty)] // only the count is needed
    pub fn len(&self) -> usize {
        self.tracker.len()
    }
}
