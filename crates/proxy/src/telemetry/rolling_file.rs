//! Rolling log file: segments named by their day in UTC, with a new one when a segment is full. Segments are deleted when
//! they are too old or too large together. The configured path is a link to the newest.
//!
//! Lines are appended whole, so two processes can share a folder. After an error (a full disk, a deleted folder) the next
//! line opens the file again.

mod segments;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use self::segments::{Segment, SegmentNames};
use super::queue::LineSink;
use crate::clock::Clock;
use crate::config::LogRetention;

/// Segments that the retention has room for: deleting one frees an eighth.
const SEGMENTS_PER_BUDGET: u64 = 8;
/// Smallest segment size: four of the longest lines fit.
const MIN_SEGMENT_BYTES: u64 = 64 << 10;
/// Largest segment size: editors and log shippers handle it.
const MAX_SEGMENT_BYTES: u64 = 128 << 20;
/// File mode without access for others: lines name users.
const MODE: u32 = 0o640;

/// Rolling log file.
#[derive(Debug)]
pub(super) struct RollingFile {
    names: SegmentNames,
    clock: Clock,
    retention: LogRetention,
    open: Option<(File, Segment)>,
}

impl RollingFile {
    /// Opens today's segment of the file at `path`.
    ///
    /// # Errors
    /// When the folder cannot be created, or the file cannot be written.
    pub(super) fn open(path: &Path, clock: Clock, retention: LogRetention) -> io::Result<Self> {
        let names = SegmentNames::from_path(path)?;
        let mut file = Self { names, clock, retention, open: None };
        file.current(0)?;
        Ok(file)
    }

    /// File of the segment that has room for `length` more bytes.
    fn current(&mut self, length: u64) -> io::Result<&mut File> {
        let day = today(&self.clock);
        let fits = match &self.open {
            Some((file, segment)) => {
                let metadata = file.metadata()?;
                // A file without a name was deleted while it was open.
                segment.day == day
                    && metadata.nlink() > 0
                    && metadata.len() + length <= self.max_segment_bytes()
            }
            None => false,
        };
        if !fits {
            self.open = None;
            self.open_segment(day, length)?;
        }
        let (file, _) = self.open.as_mut().ok_or(io::ErrorKind::NotFound)?;
        Ok(file)
    }

    /// Opens the last segment of `day`, or the next one when that is full.
    fn open_segment(&mut self, day: Date, length: u64) -> io::Result<()> {
        fs::create_dir_all(self.names.folder())?;
        let segments = self.names.list()?;
        let numbers =
            segments.iter().filter(|(segment, _)| segment.day == day).map(|(segment, _)| segment.number);
        let mut segment = Segment { day, number: numbers.max().unwrap_or(0) };
        let mut file = self.open_append(segment)?;
        if file.metadata()?.len() + length > self.max_segment_bytes() {
            segment.number += 1;
            file = self.open_append(segment)?;
        }
        terminate_last_line(&mut file)?;
        self.open = Some((file, segment));
        self.names.link(segment);
        self.delete_old(segment);
        Ok(())
    }

    fn open_append(&self, segment: Segment) -> io::Result<File> {
        let path = self.names.path(segment);
        OpenOptions::new().create(true).read(true).append(true).mode(MODE).open(path)
    }

    fn max_segment_bytes(&self) -> u64 {
        (self.retention.bytes / SEGMENTS_PER_BUDGET).clamp(MIN_SEGMENT_BYTES, MAX_SEGMENT_BYTES)
    }

    /// Deletes segments that are too old, then the oldest until `current` has room to grow. A segment that cannot be
    /// deleted stays.
    fn delete_old(&self, current: Segment) {
        let mut segments = self.names.list().unwrap_or_default();
        segments.sort_unstable_by_key(|(segment, _)| *segment);
        let first_day = current.day.saturating_sub(i64::from(self.retention.days).days());
        let max_total = self.retention.bytes.saturating_sub(self.max_segment_bytes());
        let others = segments.iter().filter(|(segment, _)| *segment != current);
        let mut total: u64 = others.map(|(_, bytes)| bytes).sum();
        for (segment, bytes) in segments {
            if segment < current && (segment.day < first_day || total > max_total) {
                let _ = fs::remove_file(self.names.path(segment));
                total -= bytes;
            }
        }
    }
}

impl LineSink for RollingFile {
    fn write_line(&mut self, line: &[u8]) -> io::Result<()> {
        let result = self.current(line.len() as u64).and_then(|file| write_whole(file, line));
        if result.is_err() {
            self.open = None;
        }
        result
    }
}

/// Writes `bytes` in one call, so that lines of two processes do not mix. A short write means that the disk is full.
fn write_whole(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    loop {
        match file.write(bytes) {
            Ok(written) if written == bytes.len() => return Ok(()),
            Ok(written) => {
                remove_partial_line(file, bytes.get(..written).unwrap_or_default())?;
                return Err(io::ErrorKind::StorageFull.into());
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Removes the part of a line that a full disk had room for: a line that is not JSON ends `jq` for the rest of the file.
/// If another process has written behind it, it stays.
fn remove_partial_line(file: &File, written: &[u8]) -> io::Result<()> {
    let length = file.metadata()?.len();
    let Some(start) = length.checked_sub(written.len() as u64) else { return Ok(()) };
    let mut last = vec![0; written.len()];
    file.read_exact_at(&mut last, start)?;
    if last == written { file.set_len(start) } else { Ok(()) }
}

/// Ends a line that was cut short by a crash.
fn terminate_last_line(file: &mut File) -> io::Result<()> {
    let length = file.metadata()?.len();
    let mut last = [b'\n'];
    if let Some(before) = length.checked_sub(1) {
        file.read_exact_at(&mut last, before)?;
    }
    if last == [b'\n'] { Ok(()) } else { write_whole(file, b"\n") }
}

fn today(clock: &Clock) -> Date {
    let now = Timestamp::from_millisecond(clock.milliseconds()).unwrap_or(Timestamp::MAX);
    TimeZone::UTC.to_datetime(now).date()
}

#[cfg(test)]
mod tests;
