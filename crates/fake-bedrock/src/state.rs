//! What all requests of a fake share.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};

use crate::Config;
use crate::fixtures::Fixture;
use crate::log::Log;
use crate::signatures::mix;
use crate::tokens::CachedPrefixes;

/// Maximum number of bodies that `[throttle-once]` remembers, which bounds the memory of a long run.
const MAX_THROTTLED_BODIES: usize = 4_096;

/// State of a fake.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) config: Config,
    pub(crate) fixtures: Vec<Fixture>,
    pub(crate) log: Arc<Log>,
    pub(crate) cache: CachedPrefixes,
    /// Whether the access key was deleted.
    pub(crate) key_deleted: Arc<AtomicBool>,
    requests: AtomicU64,
    seed: u64,
    throttled: Mutex<ThrottledBodies>,
}

/// Bodies that `[throttle-once]` has throttled.
#[derive(Debug, Default)]
struct ThrottledBodies {
    bodies: HashSet<[u8; 32]>,
    order: VecDeque<[u8; 32]>,
}

impl ThrottledBodies {
    fn insert(&mut self, body: [u8; 32]) -> bool {
        if !self.bodies.insert(body) {
            return false;
        }
        self.order.push_back(body);
        if self.order.len() > MAX_THROTTLED_BODIES
            && let Some(oldest) = self.order.pop_front()
        {
            self.bodies.remove(&oldest);
        }
        true
    }
}

impl State {
    /// New state, without requests.
    pub(crate) fn new(config: Config, fixtures: Vec<Fixture>) -> Self {
        Self {
            config,
            fixtures,
            log: Arc::default(),
            cache: CachedPrefixes::default(),
            key_deleted: Arc::default(),
            requests: AtomicU64::new(0),
            seed: Timestamp::now().as_nanosecond() as u64,
            throttled: Mutex::default(),
        }
    }

    /// Seed of the next request.
    pub(crate) fn next_seed(&self) -> u64 {
        let count = self.requests.fetch_add(1, Ordering::Relaxed);
        mix(self.seed.wrapping_add(count))
    }

    /// Current time plus the configured clock skew.
    pub(crate) fn now(&self) -> Timestamp {
        let skew = SignedDuration::from_secs(self.config.clock_skew);
        Timestamp::now().saturating_add(skew).unwrap_or(Timestamp::MAX)
    }

    /// Whether `[throttle-once]` throttles this body: only the first time.
    pub(crate) fn is_first_attempt(&self, body: &[u8]) -> bool {
        let mut throttled = self.throttled.lock().unwrap_or_else(PoisonError::into_inner);
        throttled.insert(Sha256::digest(body).into())
    }
}
