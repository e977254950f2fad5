//! The one place that spawns tasks, so that a drain can wait for every one of them.

use std::future::Future;

use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tokio_util::task::TaskTracker;

/// The server's tasks and the signal that tells them to end. Clones share both.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stopping: CancellationToken,
    cutting: CancellationToken,
}

impl Tasks {
    /// Runs `task` to its end, or until the process gives up on a drain.
    pub fn spawn<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        #[allow(clippy::disallowed_methods)] // the tracked spawn the ban points to
        tokio::spawn(self.tracker.track_future(task));
    }

    /// Tells the tasks that the server stops; they finish what they hold.
    pub fn stop(&self) {
        self.stopping.cancel();
        self.tracker.close();
    }

    /// Resolves when [`Tasks::stop`] was called.
    pub async fn stopping(&self) {
        self.stopping.cancelled().await;
    }

    /// Whether [`Tasks::stop`] was called.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stopping.is_cancelled()
    }

    /// Tells whatever still runs to say its last words now.
    pub fn cut(&self) {
        self.cutting.cancel();
    }

    /// Resolves when [`Tasks::cut`] was called.
    pub fn cutting(&self) -> WaitForCancellationFutureOwned {
        self.cutting.clone().cancelled_owned()
    }

    /// Resolves when [`Tasks::stop`] was called and every task has ended.
    pub async fn ended(&self) {
        self.tracker.wait().await;
    }

    /// How many tasks are alive.
    #[must_use]
    pub fn alive(&self) -> usize {
        self.tracker.len()
    }
}
