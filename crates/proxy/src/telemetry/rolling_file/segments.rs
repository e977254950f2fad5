//! Names of the segments of a log file: `bedrock-proxy_2026-11-22.json`, then `bedrock-proxy_2026-11-22.1.json`. Files
//! with other names are never touched.

use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::{fs, process};

use jiff::civil::Date;

/// Segment of a log file. Later ones are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Segment {
    /// Day, in UTC.
    pub(super) day: Date,
    /// Number within the day, from 0.
    pub(super) number: u32,
}

/// Names of the segments, and of the link to the newest.
#[derive(Debug)]
pub(super) struct SegmentNames {
    folder: PathBuf,
    /// File name of the configured path, without its extension.
    stem: String,
    /// Extension with its dot; empty without one.
    extension: String,
}

impl SegmentNames {
    /// Derives the names from the configured path.
    ///
    /// # Errors
    /// When the path does not end in a file name.
    pub(super) fn from_path(path: &Path) -> io::Result<Self> {
        let invalid = || io::Error::new(io::ErrorKind::InvalidInput, "the path does not end in a file name");
        let text = |name: &std::ffi::OsStr| name.to_str().map(str::to_owned);
        let stem = path.file_stem().and_then(text).ok_or_else(invalid)?;
        let extension = path.extension().and_then(text).map_or_else(String::new, |text| format!(".{text}"));
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        Ok(Self { folder: folder.unwrap_or(Path::new(".")).to_owned(), stem, extension })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn path(&self, segment: Segment) -> PathBuf {
        self.folder.join(self.name(segment))
    }

    fn name(&self, segment: Segment) -> String {
        let Self { stem, extension, .. } = self;
        match segment.number {
            0 => format!("{stem}_{}{extension}", segment.day),
            number => format!("{stem}_{}.{number}{extension}", segment.day),
        }
    }

    /// Parses the name of a segment; `None` for any other name.
    fn parse(&self, name: &str) -> Option<Segment> {
        let rest = name.strip_prefix(&self.stem)?.strip_prefix('_')?.strip_suffix(&self.extension)?;
        let (day, number) = rest.split_once('.').unwrap_or((rest, "0"));
        let segment = Segment { day: day.parse().ok()?, number: number.parse().ok()? };
        (self.name(segment) == name).then_some(segment)
    }

    /// Lists the segments in the folder, with their sizes in bytes.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub(super) fn list(&self) -> io::Result<Vec<(Segment, u64)>> {
        let mut segments = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let file_name = entry.file_name();
            let Some(segment) = file_name.to_str().and_then(|name| self.parse(name)) else { continue };
            // No metadata: another process deleted the file in the meantime.
            segments.extend(entry.metadata().ok().map(|metadata| (segment, metadata.len())));
        }
        Ok(segments)
    }

    /// Makes the configured path a link to `segment`, unless a regular file is there. Errors are ignored: the link is a
    /// convenience.
    pub(super) fn link(&self, segment: Segment) {
        let link = self.folder.join(format!("{}{}", self.stem, self.extension));
        let is_replaceable = match fs::symlink_metadata(&link) {
            Ok(metadata) => metadata.is_symlink(),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        if is_replaceable {
            // A rename replaces the link at once, so that the path always leads to a file.
            let new = self.folder.join(format!(".{}.{}", self.stem, process::id()));
            let linked = symlink(self.name(segment), &new).and_then(|()| fs::rename(&new, &link));
            if linked.is_err() {
                let _ = fs::remove_file(&new);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_names_are_no_segments() {
        let names = SegmentNames::from_path(Path::new("logs/bedrock-proxy.json")).unwrap();
        for (name, number) in [("bedrock-proxy_2026-11-22.json", 0), ("bedrock-proxy_2026-11-22.12.json", 12)]
        {
            let segment = names.parse(name).unwrap();
            assert_eq!((segment.number, names.name(segment).as_str()), (number, name));
        }
        for name in [
            "bedrock-proxy.json",
            "bedrock-proxy_2026-11-22.json.gz",
            "bedrock-proxy_2026-11-22.0.json",
            "bedrock-proxy_2026-11-22.01.json",
            "bedrock-proxy_2026-11-22.-1.json",
            "bedrock-proxy_20261122.json",
            "bedrock-proxy_2026-13-22.json",
            "bedrock-proxy_2026-11-22T00:00:00.json",
            "bedrock-proxy_notes.json",
            "my-bedrock-proxy_2026-11-22.json",
        ] {
            assert_eq!(names.parse(name), None, "{name}");
        }
    }

    #[test]
    fn folder_and_extension_are_optional() {
        let names = SegmentNames::from_path(Path::new("log")).unwrap();
        let segment = names.parse("log_2026-11-22.3").unwrap();
        assert_eq!(names.path(segment), Path::new("./log_2026-11-22.3"));
        assert!(SegmentNames::from_path(Path::new("..")).is_err());
    }
}
