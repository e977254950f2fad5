//! Work on large bodies that does not delay other connections: parsing, normalizing, estimating and translating.
//!
//! That work takes time in proportion to the body. For megabytes it is tens of milliseconds in which a thread would serve
//! no other client. A bounded number of large bodies is worked on at a time, a bounded number waits for a bounded time,
//! and the rest is rejected at once.

use std::num::NonZero;
use std::time::Duration;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{Inference, InferenceError};

/// Smallest body that counts as large: the work on a smaller one takes some three milliseconds at most.
const MIN_LARGE_BYTES: usize = 256 << 10;
/// Large bodies that wait at a time.
const MAX_WAITING: usize = 256;
/// How long a large body waits.
const WAIT_TIMEOUT: Duration = Duration::from_secs(5);

/// Bounds the work on large bodies.
#[derive(Debug)]
pub(super) struct LargeBodies {
    /// One for each core.
    workers: Semaphore,
    waiting: Semaphore,
}

impl Default for LargeBodies {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        Self { workers: Semaphore::new(cores), waiting: Semaphore::new(MAX_WAITING) }
    }
}

impl LargeBodies {
    /// A permit to work; `None` when there are too many large bodies.
    async fn acquire(&self) -> Option<SemaphorePermit<'_>> {
        if let Ok(permit) = self.workers.try_acquire() {
            return Some(permit);
        }
        let _waiting = self.waiting.try_acquire().ok()?;
        tokio::time::timeout(WAIT_TIMEOUT, self.workers.acquire()).await.ok()?.ok()
    }
}

impl Inference {
    /// Runs `work` on a body of `bytes` bytes. For a large body it waits for its turn, and the thread stops serving while
    /// it works: another one takes its place.
    ///
    /// # Errors
    /// [`InferenceError::Busy`] when too many large bodies wait, or this one has waited too long.
    pub(crate) async fn work_on_body<T>(
        &self,
        bytes: usize,
        work: impl FnOnce() -> T,
    ) -> Result<T, InferenceError> {
        if bytes < MIN_LARGE_BYTES {
            return Ok(work());
        }
        let _permit = self.large_bodies.acquire().await.ok_or(InferenceError::Busy)?;
        Ok(match Handle::current().runtime_flavor() {
            RuntimeFlavor::CurrentThread => work(),
            _ => tokio::task::block_in_place(work),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, mpsc};

    use super::super::plan::tests::served;
    use super::*;

    async fn inference(workers: usize) -> Arc<Inference> {
        let data = tempfile::tempdir().unwrap();
        let mut inference = served(&data, "auto").await.inference;
        inference.large_bodies.workers = Semaphore::new(workers);
        Arc::new(inference)
    }

    /// With one serving thread, this would wait for ever if the work held it.
    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn large_body_leaves_the_thread_to_others() {
        let inference = inference(1).await;
        let (send, receive) = mpsc::channel();
        let working = Arc::clone(&inference);
        #[expect(clippy::disallowed_methods, reason = "a test has no drain")]
        let worked = tokio::spawn(async move {
            working.work_on_body(MIN_LARGE_BYTES, move || receive.recv().unwrap()).await.unwrap()
        });
        #[expect(clippy::disallowed_methods, reason = "a test has no drain")]
        let served = tokio::spawn(async move { send.send(7).unwrap() });
        served.await.unwrap();
        assert_eq!(worked.await.unwrap(), 7);
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_large_bodies_are_bounded() {
        let inference = inference(0).await;
        assert!(inference.work_on_body(MIN_LARGE_BYTES - 1, || ()).await.is_ok(), "small bodies do not wait");
        let waiting = inference.large_bodies.waiting.acquire_many(MAX_WAITING as u32).await.unwrap();
        let begun = tokio::time::Instant::now();
        let rejected = inference.work_on_body(MIN_LARGE_BYTES, || ()).await;
        assert!(matches!(rejected, Err(InferenceError::Busy)) && begun.elapsed().is_zero());
        drop(waiting);
        let rejected = inference.work_on_body(MIN_LARGE_BYTES, || ()).await;
        assert!(matches!(rejected, Err(InferenceError::Busy)) && begun.elapsed() >= WAIT_TIMEOUT);
        inference.large_bodies.workers.add_permits(1);
        assert!(inference.work_on_body(MIN_LARGE_BYTES, || ()).await.is_ok());
    }
}
