//! How many requests of one user are open at a time, on this replica.
//!
//! One token must not take every connection and every place in the queue from the others. What a user may spend is
//! another matter (`quota`).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The requests that are open, by user. Whoever has none is not in it, so that it cannot grow without end.
#[derive(Debug)]
pub struct ConcurrencyLimiter {
    most: usize,
    open: Arc<Mutex<HashMap<String, usize>>>,
}

/// One request's place among those of its user, for as long as this is kept.
#[derive(Debug)]
pub struct ConcurrencyPermit {
    user_id: String,
    open: Arc<Mutex<HashMap<String, usize>>>,
}

impl ConcurrencyLimiter {
    /// At most `most` requests of each user.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { most, open: Arc::default() }
    }

    /// How many requests of one user may be open.
    #[must_use]
    pub fn max_per_user(&self) -> usize {
        self.most
    }

    /// A place for one more request of `user_id`; `None` when there are as many as may be.
    #[must_use]
    pub fn try_acquire(&self, user_id: &str) -> Option<ConcurrencyPermit> {
        let mut open = lock(&self.open);
        match open.get_mut(user_id) {
            Some(count) if *count >= self.most => return None,
            Some(count) => *count += 1,
            None => drop(open.insert(user_id.to_owned(), 1)),
        }
        drop(open);
        Some(ConcurrencyPermit { user_id: user_id.to_owned(), open: Arc::clone(&self.open) })
    }

    /// How many requests of anybody are open.
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
    fn each_user_has_so_many_places_and_gets_them_back() {
        let crowd = ConcurrencyLimiter::new(2);
        let (first, second) = (crowd.try_acquire("ana"), crowd.try_acquire("ana"));
        assert!(first.is_some() && second.is_some() && crowd.try_acquire("ana").is_none());
        let other = crowd.try_acquire("bob");
        assert!(other.is_some(), "one user's crowd is nobody else's");
        drop(first);
        let third = crowd.try_acquire("ana");
        assert!(third.is_some() && crowd.try_acquire("ana").is_none());
        drop((second, third, other));
        assert_eq!(
            (crowd.open_requests(), lock(&crowd.open).len()),
            (0, 0),
            "nothing is kept of who has left"
        );
    }
}
