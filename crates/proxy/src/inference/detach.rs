//! Detached reads: responses whose client has left. Bedrock finishes and bills them, so they are read to their end,
//! within bounds, to learn what they cost.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
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

/// What a detached future leaves to be read.
pub(super) trait DetachedOutput: Send + 'static {
    /// Reads it to its end.
    fn read_on(self) -> impl Future<Output = ()> + Send;
}

/// A future that goes on as a detached read when it is dropped before its end.
pub(super) struct Detachable<T: DetachedOutput> {
    future: Option<Pin<Box<dyn Future<Output = T> + Send>>>,
    detached: DetachedReads,
}

impl<T: DetachedOutput> Detachable<T> {
    /// `future`, run by the task that polls this; after a drop, by `detached`.
    pub(super) fn new(detached: &DetachedReads, future: impl Future<Output = T> + Send + 'static) -> Self {
        Self { future: Some(Box::pin(future)), detached: detached.clone() }
    }
}

impl<T: DetachedOutput> std::fmt::Debug for Detachable<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Detachable").finish_non_exhaustive()
    }
}

impl<T: DetachedOutput> Future for Detachable<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        // Taken out, so that a future that panics is not polled again by the drop.
        let Some(mut future) = self.future.take() else { return Poll::Pending };
        let polled = future.as_mut().poll(context);
        if polled.is_pending() {
            self.future = Some(future);
        }
        polled
    }
}

impl<T: DetachedOutput> Drop for Detachable<T> {
    fn drop(&mut self) {
        if let Some(future) = self.future.take() {
            // In one task: sending and reading share a permit and a time limit.
            self.detached.spawn(async move { future.await.read_on().await });
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::sync::oneshot;

    use super::*;
    use crate::config::Config;

    struct Output(oneshot::Sender<()>);

    impl DetachedOutput for Output {
        async fn read_on(self) {
            let _ = self.0.send(());
        }
    }

    #[tokio::test]
    async fn panicked_future_is_not_resumed() {
        let (config, tasks) = (Config::load(|_| None).unwrap().inference, Tasks::default());
        let panics = std::future::poll_fn(|_| -> Poll<Output> { panic!("as a test") });
        let sending = Detachable::new(&DetachedReads::new(&config, &tasks), panics);
        let result = std::panic::AssertUnwindSafe(sending).catch_unwind().await;
        assert!(result.is_err());
        assert_eq!(tasks.len(), 0, "nothing goes on");
    }

    #[tokio::test]
    async fn sending_and_reading_on_share_one_permit() {
        let mut config = Config::load(|_| None).unwrap().inference;
        config.max_detached_reads = 1;
        let detached = DetachedReads::new(&config, &Tasks::default());
        let (read, done) = oneshot::channel();
        drop(Detachable::new(&detached, async { Output(read) }));
        assert_eq!(done.await, Ok(()), "the output is read on");
    }
}
