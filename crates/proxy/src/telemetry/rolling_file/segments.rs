//! What the files of a log are called: `bedrock-proxy_2026-11-22.json`, then `bedrock-proxy_2026-11-22.1.json`. Nothing
//! that is called otherwise is ever touched.

use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::{fs, process};

use jiff::civil::Date;

/// One file of a log. Later ones are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Part {
    /// Its day, in UTC.
    pub(super) day: Date,
    /// 0 for the first of the day.
    pub(super) number: u32,
}

/// The names of all files of a log.
#[derive(Debug)]
pub(super) struct Names {
    folder: PathBuf,
    /// The name that the operator gave, in two.
    stem: String,
    /// With its dot, if there is one.
    extension: String,
}

impl Names {
    /// The names that follow from `path`.
    ///
    /// # Errors
    /// When it does not end in the name of a file.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let invalid = || io::Error::new(io::ErrorKind::InvalidInput, "it does not end in the name of a file");
        let text = |part: &std::ffi::OsStr| part.to_str().map(str::to_owned);
        let stem = path.file_stem().and_then(text).ok_or_else(invalid)?;
        let extension = path.extension().and_then(text).map_or_else(String::new, |text| format!(".{text}"));
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        Ok(Self { folder: folder.unwrap_or(Path::new(".")).to_owned(), stem, extension })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn path(&self, part: Part) -> PathBuf {
        self.folder.join(self.name(part))
    }

    fn name(&self, part: Part) -> String {
        let Self { stem, extension, .. } = self;
        match part.number {
            0 => format!("{stem}_{}{extension}", part.day),
            number => format!("{stem}_{}.{number}{extension}", part.day),
        }
    }

    /// The part that is called `name`, exactly.
    fn part(&self, name: &str) -> Option<Part> {
        let rest = name.strip_prefix(&self.stem)?.strip_prefix('_')?.strip_suffix(&self.extension)?;
        let (day, number) = rest.split_once('.').unwrap_or((rest, "0"));
        let part = Part { day: day.parse().ok()?, number: number.parse().ok()? };
        (self.name(part) == name).then_some(part)
    }

    /// The files that are there, with their sizes in bytes.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub(super) fn parts(&self) -> io::Result<Vec<(Part, u64)>> {
        let mut parts = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let Some(part) = entry.file_name().to_str().and_then(|name| self.part(name)) else { continue };
            // What was deleted meanwhile is not there.
            parts.extend(entry.metadata().ok().map(|about| (part, about.len())));
        }
        Ok(parts)
    }

    /// The path that the operator named.
    fn link_path(&self) -> PathBuf {
        self.folder.join(format!("{}{}", self.stem, self.extension))
    }

    /// Whether there is anything at the path that the operator named.
    pub(super) fn is_linked(&self) -> bool {
        fs::symlink_metadata(self.link_path()).is_ok()
    }

    /// Makes the path that the operator named a link to `part`, unless a real file is there. Without the link nothing is
    /// lost.
    pub(super) fn link(&self, part: Part) {
        let link = self.link_path();
        let ours = match fs::symlink_metadata(&link) {
            Ok(about) => about.is_symlink(),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        if ours {
            // Renamed into its place, so that the path is never without a file.
            let new = self.folder.join(format!(".{}.{}", self.stem, process::id()));
            let linked = symlink(self.name(part), &new).and_then(|()| fs::rename(&new, &link));
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
    fn only_names_of_exactly_our_pattern_are_ours() {
        let names = Names::of(Path::new("logs/bedrock-proxy.json")).unwrap();
        for (name, number) in [("bedrock-proxy_2026-11-22.json", 0), ("bedrock-proxy_2026-11-22.12.json", 12)]
        {
            let part = names.part(name).unwrap();
            assert_eq!((part.number, names.name(part).as_str()), (number, name));
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
            assert_eq!(names.part(name), None, "{name}");
        }
    }

    #[test]
    fn a_name_needs_no_folder_and_no_extension() {
        let names = Names::of(Path::new("log")).unwrap();
        let part = names.part("log_2026-11-22.3").unwrap();
        assert_eq!(names.path(part), Path::new("./log_2026-11-22.3"));
        assert!(Names::of(Path::new("..")).is_err());
    }
}
