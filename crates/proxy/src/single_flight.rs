//! Look-ups outside the process: one attempt at a time for each key, and its result for all who wait.
//!
//! An attempt is a task of its own, so it goes on when the request that began it has gone. It has a time limit. A failure
//! is shared, too, and is the result of all requests that come soon after it. Successes are the caller's to cache.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::Instant;

use crate::tasks::Tasks;

/// How long a failure is the result of requests that come after it.
const FAILURE_TTL: Duration = Duration::from_secs(2);

/// Bounds of the attempts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FlightLimits {
    /// Time limit of one attempt.
    pub(crate) timeout: Duration,
    /// Maximum number of attempts in flight.
    pub(crate) max_attempts: usize,
    /// Maximum number of them that one owner has begun.
    pub(crate) max_attempts_per_owner: usize,
    /// Maximum number of requests that wait.
    pub(crate) max_waiters: usize,
}

/// Why there is no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FlightError {
    /// The attempt has reached its time limit.
    #[error("no response in time")]
    TimedOut,
    /// Too many requests wait.
    #[error("too many requests wait for a look-up")]
    Busy,
    /// The server shuts down, or the attempt has panicked.
    #[error("the look-up was aborted")]
    Aborted,
}

/// Attempts in flight, and the last failures.
#[derive(Debug)]
pub(crate) struct SingleFlight<K, T, E> {
    /// For the log.
    name: &'static str,
    limits: FlightLimits,
    tasks: Tasks,
    flights: Mutex<HashMap<K, Flight<T, E>>>,
    waiters: Semaphore,
    /// Notified when an attempt ends.
    ended: Arc<Notify>,
}

type Ended<T, E> = Option<(Instant, Result<T, E>)>;

#[derive(Debug)]
struct Flight<T, E> {
    owner: Option<String>,
    result: watch::Receiver<Ended<T, E>>,
}

impl<T, E> Flight<T, E> {
    fn is_in_flight(&self) -> bool {
        self.result.borrow().is_none() && self.result.has_changed().is_ok()
    }

    /// Whether requests get its result without another attempt.
    fn is_current(&self) -> bool {
        let is_fresh_failure = |ended: &Ended<T, E>| {
            ended.as_ref().is_some_and(|(at, result)| result.is_err() && at.elapsed() < FAILURE_TTL)
        };
        self.is_in_flight() || is_fresh_failure(&self.result.borrow())
    }
}

impl<K, T, E> SingleFlight<K, T, E>
where
    K: Clone + Eq + Hash,
    T: Clone + Send + Sync + 'static,
    E: Clone + From<FlightError> + Send + Sync + 'static,
{
    /// No attempt yet. `tasks` are those that end after the last request.
    #[must_use]
    pub(crate) fn new(name: &'static str, limits: FlightLimits, tasks: &Tasks) -> Self {
        Self {
            name,
            limits,
            tasks: tasks.clone(),
            flights: Mutex::default(),
            waiters: Semaphore::new(limits.max_waiters),
            ended: Arc::default(),
        }
    }

    /// The result of the attempt for `key` that is in flight or has just failed, or of `attempt`, which then begins for
    /// `owner` once there is room for it. Dropped, it ends no attempt.
    ///
    /// # Errors
    /// Those of the attempt; when it takes too long; when too many requests wait.
    pub(crate) async fn run<F>(
        &self,
        key: K,
        owner: Option<&str>,
        attempt: impl FnOnce() -> F,
    ) -> Result<T, E>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
    {
        let Ok(_waiter) = self.waiters.try_acquire() else { return Err(FlightError::Busy.into()) };
        let mut attempt = Some(attempt);
        let mut result = loop {
            let mut ended = pin!(self.ended.notified());
            ended.as_mut().enable();
            if let Some(result) = self.join(&key, owner, &mut attempt) {
                break result;
            }
            ended.await;
        };
        let ended = result.wait_for(Option::is_some).await;
        let result = ended.ok().and_then(|ended| ended.as_ref().map(|(_, result)| result.clone()));
        result.unwrap_or_else(|| Err(FlightError::Aborted.into()))
    }

    /// Begins `attempt` unless one for `key` is in flight or has just failed, and does not wait for it.
    pub(crate) fn start<F>(&self, key: &K, attempt: impl FnOnce() -> F)
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
    {
        let _ = self.join(key, None, &mut Some(attempt));
    }

    /// Whether an attempt for `key` is in flight.
    #[must_use]
    pub(crate) fn is_in_flight(&self, key: &K) -> bool {
        self.lock().get(key).is_some_and(Flight::is_in_flight)
    }

    /// The attempt for `key`; `None` while there is no room for one.
    fn join<F>(
        &self,
        key: &K,
        owner: Option<&str>,
        attempt: &mut Option<impl FnOnce() -> F>,
    ) -> Option<watch::Receiver<Ended<T, E>>>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
    {
        let mut flights = self.lock();
        // Clients may choose the keys, so none is kept longer than it is needed.
        flights.retain(|_, flight| flight.is_current());
        if let Some(flight) = flights.get(key) {
            return Some(flight.result.clone());
        }
        let in_flight = flights.values().filter(|flight| flight.is_in_flight());
        let (mut all, mut own) = (0, 0);
        for flight in in_flight {
            all += 1;
            own += usize::from(owner.is_some() && flight.owner.as_deref() == owner);
        }
        if all >= self.limits.max_attempts || own >= self.limits.max_attempts_per_owner {
            return None;
        }
        let result = self.spawn(attempt.take()?());
        flights.insert(key.clone(), Flight { owner: owner.map(str::to_owned), result: result.clone() });
        Some(result)
    }

    fn spawn(
        &self,
        attempt: impl Future<Output = Result<T, E>> + Send + 'static,
    ) -> watch::Receiver<Ended<T, E>> {
        let (tx, rx) = watch::channel(None);
        let (name, timeout, ended) = (self.name, self.limits.timeout, NotifyOnDrop(Arc::clone(&self.ended)));
        let tasks = self.tasks.clone();
        self.tasks.spawn(async move {
            // Dropped in reverse order.
            let (ended, tx) = (ended, tx);
            let result = tokio::select! {
                result = tokio::time::timeout(timeout, attempt) => result.unwrap_or_else(|_| {
                    tracing::warn!(look_up = name, timeout_s = timeout.as_secs(), "look-up timed out");
                    Err(FlightError::TimedOut.into())
                }),
                () = tasks.shutdown_begun() => Err(FlightError::Aborted.into()),
            };
            tx.send_replace(Some((Instant::now(), result)));
            drop(tx);
            drop(ended);
        });
        rx
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, Flight<T, E>>> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Notifies also when an attempt panics.
struct NotifyOnDrop(Arc<Notify>);

impl Drop for NotifyOnDrop {
    fn drop(&mut self) {
        self.0.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::{join_all, pending};

    use super::*;

    type Flights = SingleFlight<&'static str, usize, FlightError>;

    const TIMEOUT: Duration = Duration::from_secs(10);

    fn flights() -> Flights {
        let limits =
            FlightLimits { timeout: TIMEOUT, max_attempts: 3, max_attempts_per_owner: 2, max_waiters: 50 };
        SingleFlight::new("test", limits, &Tasks::default())
    }

    async fn fail() -> Result<usize, FlightError> {
        Err(FlightError::Aborted)
    }

    #[tokio::test(start_paused = true)]
    async fn waiters_share_one_attempt_and_its_failure() {
        let (flights, count) = (flights(), AtomicUsize::new(0));
        let attempt = || {
            let number = count.fetch_add(1, Ordering::SeqCst) + 1;
            async move {
                tokio::time::sleep(Duration::from_secs(1)).await;
                if number == 2 { fail().await } else { Ok(number) }
            }
        };
        let run = || flights.run("a", None, attempt);
        assert!(join_all((0..50).map(|_| run())).await.into_iter().all(|result| result == Ok(1)));
        assert!(join_all((0..50).map(|_| run())).await.into_iter().all(|result| result.is_err()));
        assert!(run().await.is_err(), "a failure counts for a while");
        tokio::time::advance(FAILURE_TTL).await;
        assert_eq!(run().await, Ok(3));
    }

    #[tokio::test(start_paused = true)]
    async fn attempt_outlives_its_caller_and_ends_in_time() {
        let flights = flights();
        let begun = Instant::now();
        let gone = tokio::time::timeout(TIMEOUT / 2, flights.run("a", None, pending)).await;
        assert!(gone.is_err() && flights.is_in_flight(&"a"));
        assert_eq!(flights.run("a", None, || async { Ok(1) }).await, Err(FlightError::TimedOut));
        assert_eq!(begun.elapsed().as_secs(), TIMEOUT.as_secs(), "one time limit for both");
        assert!(!flights.is_in_flight(&"a"));
    }

    #[tokio::test(start_paused = true)]
    async fn one_owner_leaves_room_for_others() {
        let flights = flights();
        for key in ["a", "b", "c"] {
            let waiting = flights.run(key, Some("eve"), pending);
            assert!(tokio::time::timeout(Duration::from_secs(1), waiting).await.is_err());
        }
        assert!(!flights.is_in_flight(&"c"), "a third attempt waits for room");
        assert_eq!(flights.run("d", Some("ana"), || async { Ok(1) }).await, Ok(1));
        assert_eq!(flights.run("c", Some("eve"), || async { Ok(2) }).await, Ok(2), "there is room at last");
    }

    #[tokio::test(start_paused = true)]
    async fn waiters_are_bounded_and_panics_are_errors() {
        let flights = flights();
        let results = join_all((0..60).map(|_| flights.run("a", None, pending))).await;
        assert_eq!(results.iter().filter(|result| **result == Err(FlightError::Busy)).count(), 10);
        let panics = flights.run("b", None, || async { panic!("as a test") });
        assert_eq!(panics.await, Err(FlightError::Aborted));
        assert_eq!(flights.run("b", None, || async { Ok(1) }).await, Ok(1));
        assert!(flights.lock().len() <= 2);
    }
}
