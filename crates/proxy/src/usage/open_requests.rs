//! Requests that AWS has and whose usage is not known yet, in a file: after a kill, the next process charges each of them
//! by the estimate that stands here.
//!
//! The file has one slot for each request. A slot is written before its request is sent, and cleared when AWS bills
//! nothing for it, or when its usage record is in the WAL. A process that is killed between the two leaves both, with the
//! same id, of which the database takes the first. Like the WAL, the file survives the process, not a power failure.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::wal::UnreadableLine;
use crate::store::UsageRecord;

/// Name of the file in the folder of the WAL.
const FILE: &str = "open-requests";
/// Size of a slot: a record with ARNs has some 3 KB.
const SLOT_BYTES: usize = 8 << 10;
/// What ends a record in its slot, and is all of a slot that was cleared.
const END: u8 = b'\n';

/// The file.
#[derive(Debug)]
pub(super) struct OpenRequests {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    file: File,
    /// Slots that were cleared.
    cleared: BTreeSet<u64>,
    /// Number of slots that were ever used.
    used: u64,
    /// Number of files before this one.
    generation: u64,
}

/// A slot in use, in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    number: u64,
    /// Generation of the file: a folder that was deleted gets a new file, whose slots are others.
    generation: u64,
}

impl OpenRequests {
    /// Opens the file in `folder`, with the records of the process before, which stay until [`OpenRequests::clear_all`].
    pub(super) fn open(folder: &Path) -> io::Result<(Self, Vec<Result<UsageRecord, UnreadableLine>>)> {
        let path = folder.join(FILE);
        let file = create(&path)?;
        let interrupted = read(&file)?;
        let used = file.metadata()?.len().div_ceil(SLOT_BYTES as u64);
        let state = State { file, cleared: BTreeSet::new(), used, generation: 0 };
        Ok((Self { path, state: state.into() }, interrupted))
    }

    /// Forgets the requests of the process before.
    pub(super) fn clear_all(&self) -> io::Result<()> {
        let mut state = self.lock();
        state.file.set_len(0)?;
        state.used = 0;
        Ok(())
    }

    /// Writes what a request may cost, before it is sent.
    pub(super) fn begin(&self, record: &UsageRecord) -> io::Result<Slot> {
        let mut line = serde_json::to_vec(record)?;
        line.push(END);
        if line.len() > SLOT_BYTES {
            return Err(io::Error::other("the record is too long"));
        }
        let mut state = self.lock();
        if state.file.metadata()?.nlink() == 0 {
            let generation = state.generation + 1;
            *state = State { file: create(&self.path)?, cleared: BTreeSet::new(), used: 0, generation };
        }
        let number = state.cleared.first().copied().unwrap_or(state.used);
        state.file.write_all_at(&line, number * SLOT_BYTES as u64)?;
        if !state.cleared.remove(&number) {
            state.used = number + 1;
        }
        Ok(Slot { number, generation: state.generation })
    }

    /// Clears a slot.
    pub(super) fn end(&self, slot: Slot) {
        let mut state = self.lock();
        let is_same = state.generation == slot.generation;
        // A slot that cannot be cleared is not used again: its record is recognized by its id.
        if is_same && state.file.write_all_at(&[END], slot.number * SLOT_BYTES as u64).is_ok() {
            state.cleared.insert(slot.number);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn create(path: &Path) -> io::Result<File> {
    File::options().read(true).write(true).create(true).truncate(false).open(path)
}

/// The records in the slots of a file.
fn read(mut file: &File) -> io::Result<Vec<Result<UsageRecord, UnreadableLine>>> {
    let (mut found, mut slot) = (Vec::new(), vec![0; SLOT_BYTES]);
    loop {
        let mut length = 0;
        while let Some(rest) = slot.get_mut(length..).filter(|rest| !rest.is_empty()) {
            match file.read(rest)? {
                0 => break,
                count => length += count,
            }
        }
        let line = slot.get(..length).unwrap_or_default();
        let Some(first) = line.first() else { return Ok(found) };
        let line = line.split(|byte| *byte == END).next().unwrap_or_default();
        // A slot that was never written is full of zeros.
        if *first != 0 && !line.is_empty() {
            found.push(serde_json::from_slice(line).map_err(|error| UnreadableLine {
                bytes: line.to_vec(),
                reason: format!("open request not readable: {error}"),
            }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: &str) -> UsageRecord {
        UsageRecord { id: id.to_owned(), ..UsageRecord::default() }
    }

    fn ids(found: Vec<Result<UsageRecord, UnreadableLine>>) -> Vec<String> {
        found.into_iter().map(|record| record.unwrap().id).collect()
    }

    #[test]
    fn next_process_finds_requests_that_did_not_end() {
        let folder = tempfile::tempdir().unwrap();
        let (open, found) = OpenRequests::open(folder.path()).unwrap();
        assert!(found.is_empty());
        let [_, second, third] = ["a", "b", "c"].map(|id| open.begin(&record(id)).unwrap());
        open.end(second);
        open.end(third);
        assert_eq!(open.begin(&record("d")).unwrap().number, 1, "the first slot that is free");
        let (open, found) = OpenRequests::open(folder.path()).unwrap();
        assert_eq!(ids(found), ["a", "d"]);
        open.clear_all().unwrap();
        assert!(OpenRequests::open(folder.path()).unwrap().1.is_empty());
    }

    #[test]
    fn unreadable_slot_hides_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let (open, _) = OpenRequests::open(folder.path()).unwrap();
        let slots = ["a", "b"].map(|id| open.begin(&record(id)).unwrap());
        open.lock().file.write_all_at(b"{broken", slots[0].number).unwrap();
        let (_, found) = OpenRequests::open(folder.path()).unwrap();
        assert_eq!(found.len(), 2);
        assert!(found[0].is_err());
        assert_eq!(found[1].as_ref().unwrap().id, "b");
    }

    #[test]
    fn deleted_file_is_created_again() {
        let folder = tempfile::tempdir().unwrap();
        let (open, _) = OpenRequests::open(folder.path()).unwrap();
        let lost = open.begin(&record("a")).unwrap();
        std::fs::remove_file(folder.path().join(FILE)).unwrap();
        open.begin(&record("b")).unwrap();
        open.end(lost);
        assert_eq!(ids(OpenRequests::open(folder.path()).unwrap().1), ["b"]);
    }

    #[test]
    fn longest_record_fits_into_its_slot() {
        let folder = tempfile::tempdir().unwrap();
        let (open, _) = OpenRequests::open(folder.path()).unwrap();
        let name = || "\u{e9}".repeat(255);
        let record = UsageRecord {
            id: name(),
            request_id: name(),
            user_id: name(),
            team: Some(name()),
            session_id: Some(name()),
            model: name(),
            model_requested: Some(name()),
            model_upstream: Some("a".repeat(2048)),
            ..UsageRecord::default()
        };
        open.begin(&record).unwrap();
    }
}
