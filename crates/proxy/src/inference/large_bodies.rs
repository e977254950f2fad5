//! Work on large bodies that does not delay other connections: parsing, normalizing, estimating, translating and hashing.
//!
//! That work takes time in proportion to the body. For megabytes it is tens of milliseconds in which a thread would serve
//! no other client. A bounded number of large bodies is worked on at a time, a bounded number waits for a bounded time,
//! and the rest is rejected at once. One caller never takes all places, and its bodies wait for each other before they
//! wait for a worker, so that there are few of them before those of another caller.

use std::collections::HashMap;
use std::num::NonZero;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use super::{Inference, InferenceError};
use crate::auth::Caller;
use crate::bedrock::BodyHash;

/// Smallest body that counts as large: the work on a smaller one takes some three milliseconds at most.
const MIN_LARGE_BYTES: usize = 256 << 10;
/// Large bodies that wait at a time. A caller may have as many of them as places remain for others.
const MAX_WAITING: usize = 256;
/// How long a large body waits.
const WAIT_TIMEOUT: Duration = Duration::from_secs(5);

/// Bounds the work on large bodies.
#[derive(Debug)]
pub(super) struct LargeBodies {
    /// One for each core.
    workers: Semaphore,
    /// Bodies of one caller that have a worker or wait for one: as many as there are workers.
    max_turns: usize,
    callers: Mutex<Callers>,
}

/// The callers that have large bodies.
#[derive(Debug, Default)]
struct Callers {
    /// Bodies of all callers that wait.
    waiting: usize,
    by_id: HashMap<String, CallerBodies>,
}

/// The large bodies of one caller.
#[derive(Debug)]
struct CallerBodies {
    turns: Arc<Semaphore>,
    count: usize,
    waiting: usize,
}

/// A body that is counted until it is dropped.
struct Place<'a> {
    bodies: &'a LargeBodies,
    caller: &'a str,
    is_waiting: bool,
}

/// A permit to work on a body.
struct Permit<'a> {
    _worker: SemaphorePermit<'a>,
    _turn: OwnedSemaphorePermit,
    _place: Place<'a>,
}

impl Default for LargeBodies {
    fn default() -> Self {
        Self::new(std::thread::available_parallelism().map_or(1, NonZero::get))
    }
}

impl LargeBodies {
    fn new(workers: usize) -> Self {
        Self { workers: Semaphore::new(workers), max_turns: workers, callers: Mutex::default() }
    }

    /// A permit to work on a body of `caller`; `None` when there are too many large bodies.
    async fn acquire<'a>(&'a self, caller: &'a str) -> Option<Permit<'a>> {
        let (mut place, turns) = self.enter(caller);
        if let Ok(turn) = Arc::clone(&turns).try_acquire_owned()
            && let Ok(worker) = self.workers.try_acquire()
        {
            return Some(Permit { _worker: worker, _turn: turn, _place: place });
        }
        if !place.try_wait() {
            return None;
        }
        let acquired = tokio::time::timeout(WAIT_TIMEOUT, async {
            let turn = turns.acquire_owned().await.ok()?;
            Some((self.workers.acquire().await.ok()?, turn))
        });
        let (worker, turn) = acquired.await.ok()??;
        place.end_wait();
        Some(Permit { _worker: worker, _turn: turn, _place: place })
    }

    /// Counts a body of `caller`.
    fn enter<'a>(&'a self, caller: &'a str) -> (Place<'a>, Arc<Semaphore>) {
        let mut callers = self.lock();
        let bodies = callers.by_id.entry(caller.to_owned()).or_insert_with(|| CallerBodies {
            turns: Arc::new(Semaphore::new(self.max_turns)),
            count: 0,
            waiting: 0,
        });
        bodies.count += 1;
        (Place { bodies: self, caller, is_waiting: false }, Arc::clone(&bodies.turns))
    }

    fn lock(&self) -> MutexGuard<'_, Callers> {
        self.callers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place<'_> {
    /// Counts the body as one that waits, unless its caller has as many as there are free places.
    fn try_wait(&mut self) -> bool {
        let mut callers = self.bodies.lock();
        let free = MAX_WAITING - callers.waiting;
        let Some(bodies) = callers.by_id.get_mut(self.caller) else { return false };
        if bodies.waiting >= free {
            return false;
        }
        bodies.waiting += 1;
        callers.waiting += 1;
        self.is_waiting = true;
        true
    }

    fn end_wait(&mut self) {
        if std::mem::take(&mut self.is_waiting) {
            let mut callers = self.bodies.lock();
            callers.waiting -= 1;
            if let Some(bodies) = callers.by_id.get_mut(self.caller) {
                bodies.waiting -= 1;
            }
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.end_wait();
        let mut callers = self.bodies.lock();
        if let Some(bodies) = callers.by_id.get_mut(self.caller) {
            bodies.count -= 1;
            if bodies.count == 0 {
                callers.by_id.remove(self.caller);
            }
        }
    }
}

/// The hash of `body` for its signature, if the body is large: a small one is hashed when it is signed.
pub(super) fn hash_large(body: &[u8]) -> Option<BodyHash> {
    (body.len() >= MIN_LARGE_BYTES).then(|| BodyHash::new(body))
}

impl Inference {
    /// Runs `work` on a body of `bytes` bytes of `caller`. For a large body it waits for its turn, and the thread stops
    /// serving while it works: another one takes its place.
    ///
    /// # Errors
    /// [`InferenceError::Busy`] when too many large bodies wait, or this one has waited too long.
    pub(crate) async fn work_on_body<T>(
        &self,
        caller: &Caller,
        bytes: usize,
        work: impl FnOnce() -> T,
    ) -> Result<T, InferenceError> {
        if bytes < MIN_LARGE_BYTES {
            return Ok(work());
        }
        let _permit = self.large_bodies.acquire(&caller.user_id).await.ok_or(InferenceError::Busy)?;
        Ok(match Handle::current().runtime_flavor() {
            RuntimeFlavor::CurrentThread => work(),
            _ => tokio::task::block_in_place(work),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::Pin;
    use std::sync::mpsc;
    use std::task::{Context, Poll, Waker};

    use super::super::plan::tests::{caller, served};
    use super::*;

    async fn inference(workers: usize) -> Arc<Inference> {
        let data = tempfile::tempdir().unwrap();
        let mut inference = served(&data, "auto").await.inference;
        inference.large_bodies = LargeBodies::new(workers);
        Arc::new(inference)
    }

    fn poll<F: Future>(future: &mut Pin<Box<F>>) -> Poll<F::Output> {
        future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    }

    /// With one serving thread, this would wait for ever if the work held it.
    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn large_body_leaves_the_thread_to_others() {
        let inference = inference(1).await;
        let (send, receive) = mpsc::channel();
        let working = Arc::clone(&inference);
        #[expect(clippy::disallowed_methods, reason = "a test has no drain")]
        let worked = tokio::spawn(async move {
            let caller = caller("ana");
            working.work_on_body(&caller, MIN_LARGE_BYTES, move || receive.recv().unwrap()).await.unwrap()
        });
        #[expect(clippy::disallowed_methods, reason = "a test has no drain")]
        let served = tokio::spawn(async move { send.send(7).unwrap() });
        served.await.unwrap();
        assert_eq!(worked.await.unwrap(), 7);
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_large_bodies_are_bounded() {
        let inference = inference(0).await;
        let caller = caller("ana");
        let work = async |bytes| inference.work_on_body(&caller, bytes, || ()).await;
        assert!(work(MIN_LARGE_BYTES - 1).await.is_ok(), "small bodies do not wait");
        let begun = tokio::time::Instant::now();
        assert!(matches!(work(MIN_LARGE_BYTES).await, Err(InferenceError::Busy)));
        assert!(begun.elapsed() >= WAIT_TIMEOUT);
        inference.large_bodies.lock().waiting = MAX_WAITING;
        let begun = tokio::time::Instant::now();
        assert!(matches!(work(MIN_LARGE_BYTES).await, Err(InferenceError::Busy)));
        assert!(begun.elapsed().is_zero());
        assert!(inference.large_bodies.lock().by_id.is_empty(), "no entry remains");
    }

    #[tokio::test(start_paused = true)]
    async fn callers_share_the_places_of_large_bodies() {
        const WORKERS: usize = 2;
        let bodies = LargeBodies::new(WORKERS);
        let working: Vec<_> = [bodies.acquire("ana").await, bodies.acquire("ana").await].into();
        assert!(working.iter().all(Option::is_some));
        let wait = |caller: &'static str| {
            let mut waiting = Vec::new();
            loop {
                let mut acquired = Box::pin(bodies.acquire(caller));
                match poll(&mut acquired) {
                    Poll::Ready(permit) => {
                        assert!(permit.is_none());
                        return waiting;
                    }
                    Poll::Pending => waiting.push(acquired),
                }
            }
        };
        // Each takes no more places than it leaves.
        let mut ana = wait("ana");
        let (mut ben, mut eva) = (wait("ben"), wait("eva"));
        assert_eq!((ana.len(), ben.len(), eva.len()), (128, 64, 32));
        // The others are next, although 128 bodies came before theirs.
        drop(working);
        for (name, caller) in [("ben", &mut ben), ("eva", &mut eva), ("ana", &mut ana)] {
            for body in &mut caller[..WORKERS] {
                let Poll::Ready(Some(permit)) = poll(body) else { panic!("{name} has to wait for others") };
                drop(permit);
            }
        }
        drop((ana, ben, eva));
        let callers = bodies.lock();
        assert_eq!((callers.waiting, callers.by_id.len()), (0, 0));
    }
}
