//! Write-ahead log: one JSON line per record, written before the client receives the end of its response. After a kill,
//! or while the database is unavailable, it holds the records that are not in the database.
//!
//! Not synced to disk: it survives the process, not a power failure. The database is synced.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::WalEntry;

/// Size in bytes at which a new segment begins: some 6,000 records.
const MAX_SEGMENT_BYTES: u64 = 4 << 20;

/// Segments in a folder; the newest is open for appending. A segment whose records are all stored is deleted.
#[derive(Debug)]
pub(super) struct Wal {
    folder: PathBuf,
    open: Mutex<OpenSegment>,
}

#[derive(Debug)]
struct OpenSegment {
    /// Number of the segment.
    number: u64,
    file: File,
    length: u64,
    /// Whether half a line could not be removed from the file: nothing can follow it.
    is_broken: bool,
    /// Lock of the folder against other processes.
    lock: File,
    /// Number of records of each segment that are not stored yet.
    pending: BTreeMap<u64, usize>,
}

/// Number of the segment that holds a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentId(u64);

impl Wal {
    /// Opens `folder`, which is created if missing, and creates a segment after the existing ones.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        let lock = lock(folder)?;
        let number = segments(folder)?.last().map_or(1, |(number, _)| number + 1);
        let open = OpenSegment {
            number,
            file: create_segment(folder, number)?,
            length: 0,
            is_broken: false,
            lock,
            pending: BTreeMap::new(),
        };
        Ok(Self { folder: folder.to_owned(), open: Mutex::new(open) })
    }

    /// Appends `entry`. After an error the next entry is attempted again; if the folder was deleted, in a new one.
    pub(super) fn append(&self, entry: &WalEntry) -> io::Result<SegmentId> {
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        let mut open = self.lock();
        // A file without a name was deleted while it was open.
        let is_deleted = open.file.metadata()?.nlink() == 0;
        if is_deleted {
            open.lock = lock(&self.folder)?;
        }
        if open.length >= MAX_SEGMENT_BYTES || open.is_broken || is_deleted {
            self.roll(&mut open)?;
        }
        if let Err(error) = open.file.write_all(&line) {
            // A full disk takes half a line, which would corrupt the next one.
            open.is_broken = open.file.set_len(open.length).is_err();
            return Err(error);
        }
        open.length += line.len() as u64;
        let number = open.number;
        *open.pending.entry(number).or_default() += 1;
        Ok(SegmentId(number))
    }

    /// Marks one record of each given segment as stored in the database.
    pub(super) fn mark_stored(&self, segments: impl IntoIterator<Item = SegmentId>) {
        let mut open = self.lock();
        for SegmentId(number) in segments {
            let Some(pending) = open.pending.get_mut(&number) else { continue };
            *pending = pending.saturating_sub(1);
            if *pending == 0 && number != open.number {
                open.pending.remove(&number);
                // If this fails, its records are written again, and the database ignores them.
                let _ = fs::remove_file(path(&self.folder, number));
            }
        }
    }

    /// Whether all records since the last rotation are stored.
    pub(super) fn is_stored(&self) -> bool {
        self.lock().pending.values().all(|pending| *pending == 0)
    }

    /// Size in bytes of the segments with records that are not stored.
    pub(super) fn pending_bytes(&self) -> u64 {
        let (number, newest) = {
            let open = self.lock();
            let is_pending = open.pending.get(&open.number).is_some_and(|pending| *pending > 0);
            (open.number, if is_pending { open.length } else { 0 })
        };
        let older =
            segments(&self.folder).unwrap_or_default().into_iter().filter(|(found, _)| *found < number);
        older.filter_map(|(_, path)| Some(fs::metadata(path).ok()?.len())).sum::<u64>() + newest
    }

    /// Segments before the open one, oldest first.
    pub(super) fn older(&self) -> io::Result<Vec<PathBuf>> {
        let number = self.lock().number;
        let older = segments(&self.folder)?.into_iter().filter(|(found, _)| *found < number);
        Ok(older.map(|(_, path)| path).collect())
    }

    /// Begins a new segment, unless the open one is empty. Returns the older ones, oldest first.
    pub(super) fn rotate(&self) -> io::Result<Vec<PathBuf>> {
        let mut open = self.lock();
        if open.length > 0 {
            self.roll(&mut open)?;
        }
        drop(open);
        self.older()
    }

    /// Path of the open segment.
    pub(super) fn newest(&self) -> PathBuf {
        path(&self.folder, self.lock().number)
    }

    /// Deletes a segment whose records are all stored.
    pub(super) fn remove(&self, path: &Path) -> io::Result<()> {
        if let Some(number) = segment_number(path) {
            self.lock().pending.remove(&number);
        }
        fs::remove_file(path)
    }

    /// Renames a segment that cannot be read, so that it is not replayed again. Returns its new path.
    pub(super) fn set_aside(&self, path: &Path) -> io::Result<PathBuf> {
        if let Some(number) = segment_number(path) {
            self.lock().pending.remove(&number);
        }
        let aside = path.with_extension("unreadable");
        fs::rename(path, &aside)?;
        Ok(aside)
    }

    /// Creates the next segment.
    fn roll(&self, open: &mut OpenSegment) -> io::Result<()> {
        open.file = create_segment(&self.folder, open.number + 1)?;
        open.number += 1;
        open.length = 0;
        open.is_broken = false;
        let previous = open.number - 1;
        if open.pending.get(&previous) == Some(&0) {
            open.pending.remove(&previous);
            let _ = fs::remove_file(path(&self.folder, previous));
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, OpenSegment> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends an entry that the database rejects to `quarantine.jsonl`, with the reason, for the operator.
    pub(super) fn quarantine(&self, entry: &WalEntry, reason: &str) -> io::Result<()> {
        self.append_to_quarantine(&serde_json::json!({"reason": reason, "record": entry}))
    }

    /// Appends a line that cannot be parsed to `quarantine.jsonl`, in base64.
    pub(super) fn quarantine_line(&self, line: &UnreadableLine) -> io::Result<()> {
        let bytes = STANDARD.encode(&line.bytes);
        self.append_to_quarantine(&serde_json::json!({"reason": line.reason, "base64": bytes}))
    }

    fn append_to_quarantine(&self, entry: &serde_json::Value) -> io::Result<()> {
        let path = self.folder.join("quarantine.jsonl");
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        writeln!(file, "{entry}")
    }
}

/// Locks `folder`, which is created if missing, against other processes. Only its owner can read it: records name users.
fn lock(folder: &Path) -> io::Result<File> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let lock = OpenOptions::new().create(true).write(true).truncate(false).open(folder.join("lock"))?;
    lock.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => io::Error::other("another bedrock-proxy uses this folder"),
        TryLockError::Error(error) => error,
    })?;
    Ok(lock)
}

fn create_segment(folder: &Path, number: u64) -> io::Result<File> {
    OpenOptions::new().create_new(true).append(true).open(path(folder, number))
}

fn path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:08}.jsonl"))
}

/// Segments in `folder`, by number.
fn segments(folder: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        // It was deleted, and the next record creates it again.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let path = entry?.path();
        if let Some(number) = segment_number(&path) {
            found.push((number, path));
        }
    }
    found.sort_unstable();
    Ok(found)
}

fn segment_number(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_suffix(".jsonl")?.parse().ok()
}

/// Reader of a segment in chunks.
pub(super) struct SegmentReader(BufReader<File>);

/// Consecutive lines of a segment.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    /// Lines that could be parsed.
    pub(super) entries: Vec<WalEntry>,
    /// The other lines. The last line of a killed process can be incomplete.
    pub(super) unreadable: Vec<UnreadableLine>,
}

/// A line that cannot be parsed.
#[derive(Debug)]
pub(super) struct UnreadableLine {
    /// Its bytes.
    pub(super) bytes: Vec<u8>,
    /// The error of the parser.
    pub(super) reason: String,
}

impl SegmentReader {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(BufReader::new(File::open(path)?)))
    }

    /// Reads up to `max` lines; `None` at the end.
    pub(super) fn next_chunk(&mut self, max: usize) -> io::Result<Option<Chunk>> {
        let mut chunk = Chunk::default();
        let mut line = Vec::new();
        while chunk.entries.len() + chunk.unreadable.len() < max {
            line.clear();
            if self.0.read_until(b'\n', &mut line)? == 0 {
                break;
            }
            match serde_json::from_slice(&line) {
                Ok(entry) => chunk.entries.push(entry),
                Err(error) => {
                    let reason = format!("WAL line not readable: {error}");
                    chunk.unreadable.push(UnreadableLine { bytes: line.clone(), reason });
                }
            }
        }
        let is_empty = chunk.entries.is_empty() && chunk.unreadable.is_empty();
        Ok((!is_empty).then_some(chunk))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::store::AuditEvent;

    fn event(id: usize) -> WalEntry {
        WalEntry::Event(AuditEvent {
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
        let entries = SegmentReader::open(path).unwrap().next_chunk(usize::MAX).unwrap().unwrap().entries;
        let id = |entry| match entry {
            WalEntry::Event(event) => event.id,
            WalEntry::Usage(record) => record.id,
        };
        entries.into_iter().map(id).collect()
    }

    #[test]
    fn next_process_reads_entries_of_a_killed_one() {
        let folder = tempfile::tempdir().unwrap();
        let wal = Wal::open(folder.path()).unwrap();
        wal.append(&event(1)).unwrap();
        wal.append(&event(2)).unwrap();
        drop(wal);
        // The process was killed in the middle of a line.
        let cut = segments(folder.path()).unwrap().pop().unwrap().1;
        OpenOptions::new().append(true).open(cut).unwrap().write_all(b"{\"event\":{\"id\":\"3").unwrap();
        let wal = Wal::open(folder.path()).unwrap();
        let older = wal.rotate().unwrap();
        let found: Vec<_> = older.iter().flat_map(|path| ids(path)).collect();
        assert_eq!(found, ["1", "2"]);
    }

    #[test]
    fn empty_segment_is_not_rotated() {
        let folder = tempfile::tempdir().unwrap();
        let wal = Wal::open(folder.path()).unwrap();
        for _ in 0..10 {
            assert!(wal.rotate().unwrap().is_empty());
        }
        assert_eq!(files(folder.path()), 1);
        wal.append(&event(1)).unwrap();
        for _ in 0..10 {
            assert_eq!(wal.rotate().unwrap(), wal.older().unwrap());
        }
        assert_eq!(files(folder.path()), 2);
        assert!(!wal.is_stored());
        wal.remove(&wal.older().unwrap()[0]).unwrap();
        assert!(wal.is_stored() && files(folder.path()) == 1);
    }

    #[test]
    fn stored_segment_is_deleted() {
        let folder = tempfile::tempdir().unwrap();
        let wal = Wal::open(folder.path()).unwrap();
        let mut appended = Vec::new();
        while files(folder.path()) < 3 {
            appended.push(wal.append(&event(appended.len())).unwrap());
        }
        assert!(appended.len() > 10_000);
        let last = appended.pop().unwrap();
        wal.mark_stored(appended);
        assert_eq!(files(folder.path()), 1);
        wal.mark_stored([last]);
        assert_eq!(files(folder.path()), 1, "the open segment stays");
    }

    #[test]
    fn deleted_folder_is_created_again() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("wal");
        let wal = Wal::open(&folder).unwrap();
        wal.append(&event(1)).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        wal.append(&event(2)).unwrap();
        let older = wal.rotate().unwrap();
        assert_eq!(older.iter().flat_map(|path| ids(path)).collect::<Vec<_>>(), ["2"]);
        assert!(Wal::open(&folder).unwrap_err().to_string().contains("another"));
    }

    #[test]
    fn folder_is_locked_against_other_processes() {
        let folder = tempfile::tempdir().unwrap();
        let wal = Wal::open(folder.path()).unwrap();
        assert!(Wal::open(folder.path()).unwrap_err().to_string().contains("another"));
        drop(wal);
        assert!(Wal::open(folder.path()).is_ok());
    }
}
