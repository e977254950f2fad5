//! Files named by their day in UTC, each continued in parts when it grows too large, and deleted when they are too old or
//! too many. The path that the operator named is a link to the newest.
//!
//! Lines are appended whole, so two processes can share a folder. Whatever goes wrong (a full disk, a folder that was
//! deleted) is tried anew with the next line.

mod segments;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use self::segments::{Names, Part};
use super::queue::Sink;
use crate::clock::Clock;
use crate::config::Retention;

/// A part is so much of all that is kept, within bounds.
const PARTS: u64 = 8;
const SMALLEST_PART: u64 = 64 << 10;
const LARGEST_PART: u64 = 128 << 20;
/// Lines name users: others than the owner and the group have no business with them.
const MODE: u32 = 0o640;

/// The files, of which one is written to.
#[derive(Debug)]
pub(super) struct Files {
    names: Names,
    clock: Clock,
    retention: Retention,
    open: Option<(File, Part)>,
    /// The part that the link points to.
    linked: Option<Part>,
}

impl Files {
    /// The files of `path`, of which today's is opened.
    ///
    /// # Errors
    /// When the folder cannot be made, or the file cannot be written.
    pub(super) fn open(path: &Path, clock: Clock, retention: Retention) -> io::Result<Self> {
        let names = Names::of(path)?;
        let mut files = Self { names, clock, retention, open: None, linked: None };
        files.ready(0)?;
        Ok(files)
    }

    /// The file for `length` more bytes.
    fn ready(&mut self, length: u64) -> io::Result<&mut File> {
        let day = today(&self.clock);
        let fits = match &self.open {
            Some((file, part)) => {
                let about = file.metadata()?;
                // Without a name it was deleted under us.
                part.day == day && about.nlink() > 0 && about.len() + length <= self.largest()
            }
            None => false,
        };
        if !fits {
            self.open = None;
            self.begin(day, length)?;
        }
        let (file, _) = self.open.as_mut().ok_or(io::ErrorKind::NotFound)?;
        Ok(file)
    }

    /// Opens the last part of `day`, or the next one.
    fn begin(&mut self, day: Date, length: u64) -> io::Result<()> {
        fs::create_dir_all(self.names.folder())?;
        let parts = self.names.parts()?;
        let number = parts.iter().filter(|(part, _)| part.day == day).map(|(part, _)| part.number).max();
        let mut part = Part { day, number: number.unwrap_or(0) };
        let mut file = self.append(part)?;
        if file.metadata()?.len() + length > self.largest() {
            part.number += 1;
            file = self.append(part)?;
        }
        mend(&mut file)?;
        self.open = Some((file, part));
        if self.linked != Some(part) || !self.names.is_linked() {
            self.linked = Some(part);
            self.names.link(part);
            self.tidy(part);
        }
        Ok(())
    }

    fn append(&self, part: Part) -> io::Result<File> {
        let path = self.names.path(part);
        OpenOptions::new().create(true).read(true).append(true).mode(MODE).open(path)
    }

    /// How large a part may grow, in bytes.
    fn largest(&self) -> u64 {
        (self.retention.bytes / PARTS).clamp(SMALLEST_PART, LARGEST_PART)
    }

    /// Deletes what is too old, and then the oldest until there is room for `current` to grow. What cannot be deleted
    /// stays.
    fn tidy(&self, current: Part) {
        let mut parts = self.names.parts().unwrap_or_default();
        parts.sort_unstable_by_key(|(part, _)| *part);
        let oldest = current.day.saturating_sub(i64::from(self.retention.days).days());
        let room = self.retention.bytes.saturating_sub(self.largest());
        let mut total: u64 = parts.iter().filter(|(part, _)| *part != current).map(|(_, size)| size).sum();
        for (part, size) in parts {
            if part < current && (part.day < oldest || total > room) {
                let _ = fs::remove_file(self.names.path(part));
                total -= size;
            }
        }
    }
}

impl Sink for Files {
    fn line(&mut self, line: &[u8]) -> io::Result<()> {
        let written = self.ready(line.len() as u64).and_then(|file| whole(file, line));
        if written.is_err() {
            self.open = None;
        }
        written
    }
}

/// All of `bytes` in one call, so that lines of two processes do not mix. A part of them means that the disk is full.
fn whole(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    loop {
        match file.write(bytes) {
            Ok(written) if written == bytes.len() => return Ok(()),
            Ok(_) => return Err(io::ErrorKind::StorageFull.into()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Ends a line that was broken off, by a full disk or a crash.
fn mend(file: &mut File) -> io::Result<()> {
    let length = file.metadata()?.len();
    let mut last = [b'\n'];
    if let Some(before) = length.checked_sub(1) {
        file.read_exact_at(&mut last, before)?;
    }
    if last == [b'\n'] { Ok(()) } else { whole(file, b"\n") }
}

fn today(clock: &Clock) -> Date {
    let now = Timestamp::from_millisecond(clock.milliseconds()).unwrap_or(Timestamp::MAX);
    TimeZone::UTC.to_datetime(now).date()
}

#[cfg(test)]
mod tests;
