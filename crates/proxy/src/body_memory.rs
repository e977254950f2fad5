//! Memory for the bodies of requests: a part of what the process may use, so that many large bodies at once wait or are
//! rejected, and do not end the process. Waiting bodies of one caller wait for each other first, so that one of them at
//! most is before that of another caller.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// The part of the memory limit: a body is held beside its translation, the one that is worked on beside its parsed form,
/// and the program needs some 40 MB.
const SHARE: u64 = 4;

/// Bodies up to this size are not counted: the maximum of connections bounds them.
const MIN_COUNTED_BYTES: usize = 16 << 10;

/// Bodies above this size have memory of their own, so that usual requests do not wait for them.
const MIN_LARGE_BYTES: usize = 1 << 20;

/// What a permit stands for.
const PERMIT_BYTES: usize = 4096;

/// How long a body waits for memory: clients wait longer than that for a model.
const WAIT_TIMEOUT: Duration = Duration::from_secs(5);

/// The memory, for bodies up to and above [`MIN_LARGE_BYTES`].
#[derive(Debug)]
pub(crate) struct BodyMemory {
    small: Arc<Semaphore>,
    large: Arc<Semaphore>,
    /// The turns of callers with waiting bodies.
    turns: Mutex<HashMap<String, Arc<Semaphore>>>,
}

/// A waiting body of a caller.
struct Waiting<'a> {
    memory: &'a BodyMemory,
    caller: &'a str,
    turns: Arc<Semaphore>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut turns = self.memory.turns.lock().unwrap_or_else(PoisonError::into_inner);
        // The map's, and this one.
        if Arc::strong_count(&self.turns) == 2 {
            turns.remove(self.caller);
        }
    }
}

/// Memory of one body, given back when it is dropped.
#[derive(Debug, Default)]
pub(crate) struct BodyPermit {
    bytes: usize,
    permit: Option<OwnedSemaphorePermit>,
}

impl BodyPermit {
    /// The size of the body, in bytes, that this memory is for.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.max(MIN_COUNTED_BYTES)
    }

    /// Whether the body counts.
    pub(crate) fn is_counted(&self) -> bool {
        self.permit.is_some()
    }
}

impl BodyMemory {
    /// Memory for bodies of up to `max_body` bytes, in a process that may use `limit` bytes. There is always room for one
    /// body of each kind.
    pub(crate) fn new(limit: u64, max_body: usize) -> Self {
        let half = usize::try_from(limit / SHARE / 2).unwrap_or(usize::MAX);
        let semaphore = |bytes: usize| {
            let permits = (bytes / PERMIT_BYTES).min(Semaphore::MAX_PERMITS);
            Arc::new(Semaphore::new(permits))
        };
        Self {
            small: semaphore(half.max(2 * MIN_LARGE_BYTES)),
            large: semaphore(half.max(max_body.saturating_add(PERMIT_BYTES))),
            turns: Mutex::default(),
        }
    }

    /// Waits for memory for a body of `bytes` bytes of `caller`; `None` when there is none in time.
    pub(crate) async fn acquire(&self, caller: &str, bytes: usize) -> Option<BodyPermit> {
        if bytes <= MIN_COUNTED_BYTES {
            return Some(BodyPermit::default());
        }
        let semaphore = if bytes > MIN_LARGE_BYTES { &self.large } else { &self.small };
        let permits = u32::try_from(bytes.div_ceil(PERMIT_BYTES)).ok()?;
        let permit = match Arc::clone(semaphore).try_acquire_many_owned(permits) {
            Ok(permit) => permit,
            Err(_) => timeout(WAIT_TIMEOUT, self.wait(caller, semaphore, permits)).await.ok()??,
        };
        Some(BodyPermit { bytes, permit: Some(permit) })
    }

    async fn wait(
        &self,
        caller: &str,
        semaphore: &Arc<Semaphore>,
        permits: u32,
    ) -> Option<OwnedSemaphorePermit> {
        let turns = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            let turn = turns.entry(caller.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(1)));
            Arc::clone(turn)
        };
        let waiting = Waiting { memory: self, caller, turns };
        let _turn = waiting.turns.acquire().await.ok()?;
        Arc::clone(semaphore).acquire_many_owned(permits).await.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    #[tokio::test(start_paused = true)]
    async fn large_bodies_wait_for_memory() {
        let memory = BodyMemory::new(256 << 20, 32 * MIB);
        let first = memory.acquire("ana", 30 * MIB).await.unwrap();
        assert!(memory.acquire("ana", 3 * MIB).await.is_none(), "30 of 32 MiB are in use");
        let waiting = memory.acquire("ana", 20 * MIB);
        let leaving = async {
            tokio::time::sleep(WAIT_TIMEOUT / 2).await;
            drop(first);
        };
        let (second, ()) = tokio::join!(waiting, leaving);
        assert_eq!(second.unwrap().bytes(), 20 * MIB);
    }

    #[tokio::test(start_paused = true)]
    async fn usual_bodies_do_not_wait_for_large_ones() {
        let memory = BodyMemory::new(64 << 20, 32 * MIB);
        let _largest = memory.acquire("ana", 32 * MIB).await.unwrap();
        let usual = memory.acquire("ana", MIB).await;
        assert!(usual.is_some());
        assert!(memory.acquire("ana", MIN_COUNTED_BYTES).await.is_some(), "not counted");
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_of_one_caller_wait_for_each_other() {
        let memory = BodyMemory::new(0, 32 * MIB);
        let first = memory.acquire("ana", 32 * MIB).await.unwrap();
        let order = Mutex::new(Vec::new());
        let body = async |caller: &'static str| {
            let permit = memory.acquire(caller, 32 * MIB).await;
            order.lock().unwrap().push(caller);
            drop(permit);
        };
        tokio::join!(body("ana"), body("ana"), body("ana"), body("ben"), async { drop(first) });
        assert_eq!(order.into_inner().unwrap(), ["ana", "ben", "ana", "ana"]);
        assert!(memory.turns.lock().unwrap().is_empty(), "no entry remains");
    }

    #[tokio::test]
    async fn largest_body_always_has_room() {
        let memory = BodyMemory::new(0, 1 << 30);
        assert!(memory.acquire("ana", 1 << 30).await.is_some());
        assert!(BodyMemory::new(u64::MAX, MIB).acquire("ana", MIB).await.is_some());
    }
}
