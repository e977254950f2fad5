//! Limit of the open requests of one user, on this replica.
//!
//! One token must not take all connections and all slots of the usage queue. Token limits are in `quota`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Limiter of the open requests of each user. Users without open requests have no entry, so that it stays small.
#[derive(Debug)]
pub struct ConcurrencyLimiter {
    max_per_user: usize,
    open: Arc<Mutex<HashMap<String, usize>>>,
}

/// Permit for one open request, until it is dropped.
#[derive(Debug)]
pub(crate) struct ConcurrencyPermit {
    user_id: String,
    open: Arc<Mutex<HashMap<String, usize>>>,
}

impl ConcurrencyLimiter {
    /// Allows `max_per_user` open requests of each user.
    #[must_use]
    pub(crate) fn new(max_per_user: usize) -> Self {
        Self { max_per_user, open: Arc::default() }
    }

    /// Maximum number of open requests of one user.
    #[must_use]
    pub(crate) fn max_per_user(&self) -> usize {
        self.max_per_user
    }

    /// Permit for one more request of `user_id`; `None` at the limit.
    #[must_use]
    pub(crate) fn try_acquire(&self, user_id: &str) -> Option<ConcurrencyPermit> {
        let mut open = lock(&self.open);
        match open.get_mut(user_id) {
            Some(count) if *count >= self.max_per_user => return None,
            Some(count) => *count += 1,
            None => drop(open.insert(user_id.to_owned(), 1)),
        }
        drop(open);
        Some(ConcurrencyPermit { user_id: user_id.to_owned(), open: Arc::clone(&self.open) })
    }

    /// Number of open requests of all users.
    #[must_use]
    pub fn open_requests(&self) -> usize {
        lock(&self.open).values().sum()
    }
}

impl Drop for ConcurrencyPermit {
    fn drop(&mut self) {
        let mut open = lock(&self.open);
        if let Some(count) = open.get_mut(&self.user_id) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.user_id);
            }
        }
    }
}

fn lock(open: &Mutex<HashMap<String, usize>>) -> MutexGuard<'_, HashMap<String, usize>> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permits_are_per_user_and_are_returned() {
        let limiter = ConcurrencyLimiter::new(2);
        let (first, second) = (limiter.try_acquire("ana"), limiter.try_acquire("ana"));
        assert!(first.is_some() && second.is_some() && limiter.try_acquire("ana").is_none());
        let other = limiter.try_acquire("bob");
        assert!(other.is_some(), "other users are not limited");
        drop(first);
        let third = limiter.try_acquire("ana");
        assert!(third.is_some() && limiter.try_acquire("ana").is_none());
        drop((second, third, other));
        assert_eq!((limiter.open_requests(), lock(&limiter.open).len()), (0, 0), "no entry remains");
    }
}
