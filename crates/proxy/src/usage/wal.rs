//! What the ledger was told, on disk, one JSON line each, written before the client sees the end of its answer. A
//! process that is killed, or whose database is away, finds here what the database has not got.
//!
//! Not synchronised to the disk itself: it survives the process, not the power. The database does that.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::WalEntry;

/// A segment that is this long, in bytes, is followed by another.
const LONG: u64 = 4 << 20;

/// The segments in a folder; the newest is written to. A segment whose records are all stored is deleted.
#[derive(Debug)]
pub(super) struct Wal {
    folder: PathBuf,
    open: Mutex<Open>,
    /// Held so that no other process uses the folder.
    _lock: File,
}

#[derive(Debug)]
struct Open {
    /// The newest segment.
    number: u64,
    file: File,
    length: u64,
    /// How many records of each segment the database has not got yet.
    pending: BTreeMap<u64, usize>,
}

/// Which segment a record stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentId(u64);

impl Wal {
    /// Opens `folder`, makes it if need be, and begins a segment after those that are there.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let lock = OpenOptions::new().create(true).write(true).truncate(false).open(folder.join("lock"))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => io::Error::other("another bedrock-proxy uses this folder"),
            TryLockError::Error(error) => error,
        })?;
        let number = segments(folder)?.last().map_or(1, |(number, _)| number + 1);
        let open = Open { number, file: begin(folder, number)?, length: 0, pending: BTreeMap::new() };
        Ok(Self { folder: folder.to_owned(), open: Mutex::new(open), _lock: lock })
    }

    /// Writes `record` down.
    pub(super) fn append(&self, record: &WalEntry) -> io::Result<SegmentId> {
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        let mut open = self.lock();
        if open.length >= LONG {
            self.turn(&mut open)?;
        }
        if let Err(error) = open.file.write_all(&line) {
            // A disk that is full takes half a line, which would spoil the next one.
            let _ = open.file.set_len(open.length);
            return Err(error);
        }
        open.length += line.len() as u64;
        let number = open.number;
        *open.pending.entry(number).or_default() += 1;
        Ok(SegmentId(number))
    }

    /// The records at these places are in the database.
    pub(super) fn stored(&self, places: impl IntoIterator<Item = SegmentId>) {
        let mut open = self.lock();
        for SegmentId(number) in places {
            let Some(pending) = open.pending.get_mut(&number) else { continue };
            *pending = pending.saturating_sub(1);
            if *pending == 0 && number != open.number {
                open.pending.remove(&number);
                // Should this fail, its records are stored twice, which the database knows to ignore.
                let _ = fs::remove_file(path(&self.folder, number));
            }
        }
    }

    /// Whether the database has got everything that was written since the last rotation.
    pub(super) fn is_stored(&self) -> bool {
        self.lock().pending.values().all(|pending| *pending == 0)
    }

    /// Bytes of the segments that hold something the database has not got.
    pub(super) fn waiting(&self) -> u64 {
        let (number, newest) = {
            let open = self.lock();
            let waits = open.pending.get(&open.number).is_some_and(|pending| *pending > 0);
            (open.number, if waits { open.length } else { 0 })
        };
        let older =
            segments(&self.folder).unwrap_or_default().into_iter().filter(|(found, _)| *found < number);
        older.filter_map(|(_, path)| Some(fs::metadata(path).ok()?.len())).sum::<u64>() + newest
    }

    /// Begins a new segment and returns the older ones, the oldest first. Whoever has stored one deletes it.
    pub(super) fn rotate(&self) -> io::Result<Vec<PathBuf>> {
        let mut open = self.lock();
        self.turn(&mut open)?;
        open.pending.clear();
        let older = segments(&self.folder)?.into_iter().filter(|(number, _)| *number < open.number);
        Ok(older.map(|(_, path)| path).collect())
    }

    fn turn(&self, open: &mut Open) -> io::Result<()> {
        open.file = begin(&self.folder, open.number + 1)?;
        open.number += 1;
        open.length = 0;
        let before = open.number - 1;
        if open.pending.get(&before) == Some(&0) {
            open.pending.remove(&before);
            let _ = fs::remove_file(path(&self.folder, before));
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps `record` where an operator can look at it: the database will not have it.
    pub(super) fn quarantine(&self, record: &WalEntry, reason: &str) -> io::Result<()> {
        let path = self.folder.join("quarantine.jsonl");
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        let line = serde_json::json!({"reason": reason, "record": record});
        writeln!(file, "{line}")
    }
}

fn begin(folder: &Path, number: u64) -> io::Result<File> {
    OpenOptions::new().create_new(true).append(true).open(path(folder, number))
}

fn path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:08}.jsonl"))
}

/// All segments in `folder`, by number.
fn segments(folder: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name =
            path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".jsonl"));
        if let Some(number) = name.and_then(|name| name.parse().ok()) {
            found.push((number, path));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// The records of a segment, some at a time. A line that cannot be read is reported and left out: only the last line
/// of a process that was killed is ever cut.
pub(super) struct Reading(BufReader<File>);

impl Reading {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(BufReader::new(File::open(path)?)))
    }

    /// Up to `most` records; none at the end.
    pub(super) fn some(&mut self, most: usize) -> io::Result<Vec<WalEntry>> {
        let mut records = Vec::new();
        let mut line = Vec::new();
        while records.len() < most {
            line.clear();
            if self.0.read_until(b'\n', &mut line)? == 0 {
                break;
            }
            match serde_json::from_slice(&line) {
                Ok(record) => records.push(record),
                Err(error) => {
                    tracing::error!(%error, bytes = line.len(), "a line of the journal cannot be read");
                }
            }
        }
        Ok(records)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::store::Event;

    fn event(id: usize) -> WalEntry {
        WalEntry::Event(Event {
            id: id.to_string(),
            kind: "quota_exceeded".to_owned(),
            user_id: Some("ann".to_owned()),
            team: None,
            actor: None,
            details: json!({}),
            at: 7,
        })
    }

    fn files(folder: &Path) -> usize {
        segments(folder).unwrap().len()
    }

    fn ids(path: &Path) -> Vec<String> {
        let records = Reading::open(path).unwrap().some(usize::MAX).unwrap();
        let id = |record| match record {
            WalEntry::Event(event) => event.id,
            WalEntry::Usage(receipt) => receipt.id,
        };
        records.into_iter().map(id).collect()
    }

    #[test]
    fn what_a_killed_process_wrote_is_found_by_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Wal::open(folder.path()).unwrap();
        journal.append(&event(1)).unwrap();
        journal.append(&event(2)).unwrap();
        drop(journal);
        // The process was killed in the middle of a line.
        let cut = segments(folder.path()).unwrap().pop().unwrap().1;
        OpenOptions::new().append(true).open(cut).unwrap().write_all(b"{\"event\":{\"id\":\"3").unwrap();
        let journal = Wal::open(folder.path()).unwrap();
        let older = journal.rotate().unwrap();
        let found: Vec<_> = older.iter().flat_map(|path| ids(path)).collect();
        assert_eq!(found, ["1", "2"]);
    }

    #[test]
    fn a_long_segment_is_deleted_once_its_records_are_stored() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Wal::open(folder.path()).unwrap();
        let mut places = Vec::new();
        while files(folder.path()) < 3 {
            places.push(journal.append(&event(places.len())).unwrap());
        }
        assert!(places.len() > 10_000);
        let last = places.pop().unwrap();
        journal.stored(places);
        assert_eq!(files(folder.path()), 1);
        journal.stored([last]);
        assert_eq!(files(folder.path()), 1, "the open one stays");
    }

    #[test]
    fn two_processes_do_not_share_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Wal::open(folder.path()).unwrap();
        assert!(Wal::open(folder.path()).unwrap_err().to_string().contains("another"));
        drop(journal);
        assert!(Wal::open(folder.path()).is_ok());
    }
}
