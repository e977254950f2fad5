//! What is known of the database: whether the last calls reached it, and whether requests should fail at once.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What a call does. With SQLite, reads succeed while nothing can be written: the disk is full, or another process holds
/// the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AccessKind {
    Read,
    Write,
}

impl AccessKind {
    /// Name in the log.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

/// State of one kind of access.
#[derive(Debug, Default)]
pub(super) struct Circuit {
    /// Whether the last call succeeded.
    is_connected: AtomicBool,
    /// Number of calls that the database responded to.
    responses: AtomicU64,
    /// Whether a request timed out while the database responded to no other call, and none has succeeded since.
    is_open: AtomicBool,
    /// Whether a task finds out when the database responds again.
    is_probed: AtomicBool,
}

impl Circuit {
    pub(super) fn new(is_connected: bool) -> Self {
        Self { is_connected: is_connected.into(), ..Self::default() }
    }

    pub(super) fn is_connected(&self) -> bool {
        self.is_connected.load(Ordering::Relaxed)
    }

    pub(super) fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Relaxed)
    }

    pub(super) fn responses(&self) -> u64 {
        self.responses.load(Ordering::Relaxed)
    }

    /// Records whether the last call succeeded.
    pub(super) fn set_connected(&self, is_connected: bool) {
        self.is_connected.store(is_connected, Ordering::Relaxed);
    }

    /// Counts a response.
    pub(super) fn add_response(&self) {
        self.responses.fetch_add(1, Ordering::Relaxed);
    }

    /// Makes requests fail fast. Returns whether they did not before.
    pub(super) fn open(&self) -> bool {
        !self.is_open.swap(true, Ordering::Relaxed)
    }

    /// Begins to probe. Returns whether no other task does.
    pub(super) fn begin_probing(&self) -> bool {
        !self.is_probed.swap(true, Ordering::Relaxed)
    }

    /// Ends probing.
    pub(super) fn end_probing(&self) {
        self.is_probed.store(false, Ordering::Relaxed);
    }

    /// Lets requests call the database again.
    pub(super) fn close(&self) {
        self.is_open.store(false, Ordering::Relaxed);
    }
}
