//! Answers that nobody waits for any more. Bedrock finishes and bills an answer whose client has left, so it is read
//! to its end, within bounds, to learn what it cost.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::config;
use crate::tasks::Tasks;

/// Where abandoned answers are read to their end.
#[derive(Clone, Debug)]
pub struct Drains {
    tasks: Tasks,
    room: Arc<Semaphore>,
    patience: Duration,
}

impl Drains {
    /// Room for as many as configured.
    #[must_use]
    pub fn new(config: &config::InferenceConfig, tasks: &Tasks) -> Self {
        Self {
            tasks: tasks.clone(),
            room: Arc::new(Semaphore::new(config.max_detached_reads)),
            patience: config.detached_read_timeout,
        }
    }

    /// Runs `reading` to its end, for a limited time. Without room it is dropped at once.
    pub fn take(&self, reading: impl Future<Output = ()> + Send + 'static) {
        let Ok(permit) = Arc::clone(&self.room).try_acquire_owned() else {
            tracing::warn!(
                "too many abandoned answers are being read to their end; the cost of one is estimated"
            );
            return;
        };
        let (patience, cut) = (self.patience, self.tasks.aborted());
        self.tasks.spawn(async move {
            let _permit = permit;
            tokio::select! {
                _ = tokio::time::timeout(patience, reading) => {}
                () = cut => {}
            }
        });
    }
}

/// Work that, once begun, goes on when it is dropped.
pub struct Abandonable<T: 'static> {
    work: Option<Pin<Box<dyn Future<Output = T> + Send>>>,
    drains: Drains,
}

impl<T: 'static> Abandonable<T> {
    /// `work`, which is run by whoever polls this, or else by `drains`.
    pub fn new(drains: &Drains, work: impl Future<Output = T> + Send + 'static) -> Self {
        Self { work: Some(Box::pin(work)), drains: drains.clone() }
    }
}

impl<T: 'static> Future for Abandonable<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let Some(work) = &mut self.work else { return Poll::Pending };
        let done = work.as_mut().poll(context);
        if done.is_ready() {
            self.work = None;
        }
        done
    }
}

impl<T: 'static> Drop for Abandonable<T> {
    fn drop(&mut self) {
        if let Some(work) = self.work.take() {
            self.drains.take(async move { drop(work.await) });
        }
    }
}
