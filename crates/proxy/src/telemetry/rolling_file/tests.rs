use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use super::*;

const NOON: Duration = Duration::from_secs(1_795_348_800);
const HALF_A_DAY: Duration = Duration::from_secs(43_200);

struct Folder {
    home: TempDir,
    clock: Clock,
    retention: LogRetention,
}

impl Folder {
    fn new() -> Self {
        let clock = Clock::manual(SystemTime::UNIX_EPOCH + NOON);
        Self {
            home: tempfile::tempdir().unwrap(),
            clock,
            retention: LogRetention { days: 30, bytes: 1 << 30 },
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join("logs").join(name)
    }

    fn open(&self) -> Files {
        Files::open(&self.path("bp.json"), self.clock.clone(), self.retention).unwrap()
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.home.path().join("logs")).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

#[test]
fn a_new_day_has_a_new_file_and_the_link_follows() {
    let folder = Folder::new();
    let mut files = folder.open();
    files.line(b"noon\n").unwrap();
    folder.clock.advance(HALF_A_DAY - Duration::from_millis(1));
    files.line(b"a moment before midnight\n").unwrap();
    assert_eq!(folder.text("bp.json"), "noon\na moment before midnight\n");
    folder.clock.advance(Duration::from_millis(1));
    files.line(b"midnight\n").unwrap();
    assert_eq!(folder.text("bp_2026-11-22.json"), "noon\na moment before midnight\n");
    assert_eq!(folder.text("bp_2026-11-23.json"), "midnight\n");
    assert_eq!(folder.text("bp.json"), "midnight\n");
    assert_eq!(folder.names(), ["bp.json", "bp_2026-11-22.json", "bp_2026-11-23.json"]);
}

#[test]
fn two_processes_share_a_file_and_a_restart_goes_on_with_it() {
    let folder = Folder::new();
    let (mut one, mut other) = (folder.open(), folder.open());
    one.line(b"1\n").unwrap();
    other.line(b"2\n").unwrap();
    one.line(b"3\n").unwrap();
    drop((one, other));
    folder.open().line(b"4\n").unwrap();
    assert_eq!(folder.text("bp_2026-11-22.json"), "1\n2\n3\n4\n");
}

#[test]
fn a_file_that_grows_too_large_is_continued_in_parts() {
    let mut folder = Folder::new();
    folder.retention.bytes = 1 << 20;
    let mut files = folder.open();
    let line = [&vec![b'x'; 50_000][..], b"\n"].concat();
    for _ in 0..5 {
        files.line(&line).unwrap();
    }
    let sizes = ["bp_2026-11-22.json", "bp_2026-11-22.1.json", "bp_2026-11-22.2.json"];
    assert_eq!(sizes.map(|name| folder.text(name).len()), [100_002, 100_002, 50_001]);
    let mut again = folder.open();
    again.line(b"on\n").unwrap();
    assert_eq!(folder.text("bp.json").len(), 50_004, "a restart goes on with the last part");
}

#[test]
fn all_files_together_stay_below_the_limit_and_the_oldest_go_first() {
    let mut folder = Folder::new();
    folder.retention.bytes = 1 << 20;
    let mut files = folder.open();
    let line = [&vec![b'x'; 60_000][..], b"\n"].concat();
    for _ in 0..60 {
        files.line(&line).unwrap();
        let total: u64 = files.names.parts().unwrap().iter().map(|(_, size)| size).sum();
        assert!(total <= 1 << 20, "{total}");
    }
    let first = folder.names()[1].clone();
    assert!(folder.names().len() >= 7 && first != "bp_2026-11-22.json", "{:?}", folder.names());
    assert!(!folder.path("bp_2026-11-22.3.json").exists() && folder.path("bp_2026-11-22.29.json").exists());
}

#[test]
fn old_files_are_deleted_at_start_and_at_midnight_and_nothing_else() {
    let mut folder = Folder::new();
    folder.retention.days = 2;
    fs::create_dir(folder.path("")).unwrap();
    let strangers = ["bp_2020-01-01.json.gz", "bp_notes.json", "other_2020-01-01.json", "bp_2020-01-01.txt"];
    for name in strangers.iter().chain(&["bp_2026-11-19.json", "bp_2026-11-19.4.json", "bp_2026-11-20.json"])
    {
        fs::write(folder.path(name), "x\n").unwrap();
    }
    let mut files = folder.open();
    assert!(!folder.path("bp_2026-11-19.json").exists() && !folder.path("bp_2026-11-19.4.json").exists());
    assert!(folder.path("bp_2026-11-20.json").exists());
    folder.clock.advance(HALF_A_DAY);
    files.line(b"midnight\n").unwrap();
    assert!(!folder.path("bp_2026-11-20.json").exists());
    assert!(strangers.iter().all(|name| folder.path(name).exists()), "{:?}", folder.names());
}

#[test]
fn a_real_file_where_the_link_would_be_is_left_alone() {
    let folder = Folder::new();
    fs::create_dir(folder.path("")).unwrap();
    fs::write(folder.path("bp.json"), "of an earlier program\n").unwrap();
    folder.open().line(b"x\n").unwrap();
    assert_eq!(folder.text("bp.json"), "of an earlier program\n");
    assert_eq!(folder.text("bp_2026-11-22.json"), "x\n");
}

#[test]
fn a_folder_that_was_deleted_is_made_anew() {
    let folder = Folder::new();
    let mut files = folder.open();
    files.line(b"lost\n").unwrap();
    fs::remove_dir_all(folder.path("")).unwrap();
    files.line(b"kept\n").unwrap();
    assert_eq!(folder.text("bp.json"), "kept\n");
}

#[test]
fn a_full_disk_is_an_error_for_each_line_until_there_is_room() {
    let folder = Folder::new();
    fs::create_dir(folder.path("")).unwrap();
    symlink("/dev/full", folder.path("bp_2026-11-22.json")).unwrap();
    let mut files = folder.open();
    for _ in 0..3 {
        assert_eq!(files.line(b"x\n").unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
    fs::remove_file(folder.path("bp_2026-11-22.json")).unwrap();
    files.line(b"room again\n").unwrap();
    assert_eq!(folder.text("bp_2026-11-22.json"), "room again\n");
}

#[test]
fn a_line_that_was_broken_off_is_ended_before_the_next() {
    let folder = Folder::new();
    fs::create_dir(folder.path("")).unwrap();
    fs::write(folder.path("bp_2026-11-22.json"), "{\"ts\":\"20").unwrap();
    folder.open().line(b"{}\n").unwrap();
    assert_eq!(folder.text("bp_2026-11-22.json"), "{\"ts\":\"20\n{}\n");
}

#[test]
fn a_folder_that_cannot_be_made_is_an_error_at_once() {
    let folder = Folder::new();
    fs::write(folder.home.path().join("file"), "").unwrap();
    let path = folder.home.path().join("file").join("bp.json");
    assert!(Files::open(&path, folder.clock.clone(), folder.retention).is_err());
}
