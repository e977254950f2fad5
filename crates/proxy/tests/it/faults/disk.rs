//! A disk that fails below a folder, for one process. Needs no privileges: a library stands between the process and the
//! system's calls.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// What the disk does.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(super) enum DiskFault {
    Nothing = b'-',
    Full = b'f',
    Errors = b'e',
    ReadOnly = b'r',
    SlowSync = b's',
    Missing = b'm',
}

/// The control of such a disk.
#[derive(Debug)]
pub(super) struct Disk {
    control: File,
    path: PathBuf,
}

impl Disk {
    /// A disk below `prefix`, which may begin to fail later.
    pub(super) fn new(home: &Path, prefix: &Path) -> Self {
        let path = home.join("faulty-disk");
        let mut content = vec![0; 4096];
        content[0] = DiskFault::Nothing as u8;
        let prefix = prefix.as_os_str().as_encoded_bytes();
        content[1..=prefix.len()].copy_from_slice(prefix);
        std::fs::write(&path, content).unwrap();
        Self { control: File::options().write(true).open(&path).unwrap(), path }
    }

    /// The variables of the process.
    pub(super) fn variables(&self) -> [(String, String); 2] {
        let text = |path: &Path| path.display().to_string();
        [("LD_PRELOAD".to_owned(), text(library())), ("FAULTY_DISK".to_owned(), text(&self.path))]
    }

    pub(super) fn set(&self, fault: DiskFault) {
        self.control.write_all_at(&[fault as u8], 0).unwrap();
    }
}

/// The library, compiled once.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let (source, library) =
            (folder.join("disk.c"), folder.join(format!("disk-{}.so", std::process::id())));
        std::fs::write(&source, include_str!("disk.c")).unwrap();
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source).arg("-ldl");
        let compiled = compiler.output().unwrap();
        assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
        library
    })
}
