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

    fn open(&self) -> RollingFile {
        RollingFile::open(&self.path("bp.json"), self.clock.clone(), self.retention).unwrap()
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
fn new_day_opens_a_new_segment_and_moves_the_link() {
    let folder = Folder::new();
    let mut file = folder.open();
    file.write_line(b"noon\n").unwrap();
    folder.clock.advance(HALF_A_DAY - Duration::from_millis(1));
    file.write_line(b"a moment before midnight\n").unwrap();
    assert_eq!(folder.text("bp.json"), "noon\na moment before midnight\n");
    folder.clock.advance(Duration::from_millis(1));
    file.write_line(b"midnight\n").unwrap();
    assert_eq!(folder.text("bp_2026-11-22.json"), "noon\na moment before midnight\n");
    assert_eq!(folder.text("bp_2026-11-23.json"), "midnight\n");
    assert_eq!(folder.text("bp.json"), "midnight\n");
    assert_eq!(folder.names(), ["bp.json", "bp_2026-11-22.json", "bp_2026-11-23.json"]);
}

#[test]
fn processes_share_a_segment_and_restarts_append() {
    let folder = Folder::new();
    let (mut one, mut other) = (folder.open(), folder.open());
    one.write_line(b"1\n").unwrap();
    other.write_line(b"2\n").unwrap();
    one.write_line(b"3\n").unwrap();
    drop((one, other));
    folder.open().write_line(b"4\n").unwrap();
    assert_eq!(folder.text("bp_2026-11-22.json"), "1\n2\n3\n4\n");
}

#[test]
fn full_segment_is_continued_in_the_next() {
    let mut folder = Folder::new();
    folder.retention.bytes = 1 << 20;
    let mut file = folder.open();
    let line = [&vec![b'x'; 50_000][..], b"\n"].concat();
    for _ in 0..5 {
        file.write_line(&line).unwrap();
    }
    let sizes = ["bp_2026-11-22.json", "bp_2026-11-22.1.json", "bp_2026-11-22.2.json"];
    assert_eq!(sizes.map(|name| folder.text(name).len()), [100_002, 100_002, 50_001]);
    let mut again = folder.open();
    again.write_line(b"on\n").unwrap();
    assert_eq!(folder.text("bp.json").len(), 50_004, "a restart appends to the last segment");
}

#[test]
fn oldest_segments_are_deleted_beyond_the_size_limit() {
    let mut folder = Folder::new();
    folder.retention.bytes = 1 << 20;
    let mut file = folder.open();
    let line = [&vec![b'x'; 60_000][..], b"\n"].concat();
    for _ in 0..60 {
        file.write_line(&line).unwrap();
        let total: u64 = file.names.list().unwrap().iter().map(|(_, size)| size).sum();
        assert!(total <= 1 << 20, "{total}");
    }
    let first = folder.names()[1].clone();
    assert!(folder.names().len() >= 7 && first != "bp_2026-11-22.json", "{:?}", folder.names());
    assert!(!folder.path("bp_2026-11-22.3.json").exists() && folder.path("bp_2026-11-22.29.json").exists());
}

#[test]
fn old_segments_are_deleted_at_start_and_midnight() {
    let mut folder = Folder::new();
    folder.retention.days = 2;
    fs::create_dir(folder.path("")).unwrap();
    let others = ["bp_2020-01-01.json.gz", "bp_notes.json", "other_2020-01-01.json", "bp_2020-01-01.txt"];
    for name in others.iter().chain(&["bp_2026-11-19.json", "bp_2026-11-19.4.json", "bp_2026-11-20.json"]) {
        fs::write(folder.path(name), "x\n").unwrap();
    }
    let mut file = folder.open();
    assert!(!folder.path("bp_2026-11-19.json").exists() && !folder.path("bp_2026-11-19.4.json").exists());
    assert!(folder.path("bp_2026-11-20.json").exists());
    folder.clock.advance(HALF_A_DAY);
    file.write_line(b"midnight\n").unwrap();
    assert!(!folder.path("bp_2026-11-20.json").exists());
    assert!(others.iter().all(|name| folder.path(name).exists()), "{:?}", folder.names());
}

#[test]
fn regular_file_at_the_link_path_is_kept() {
    let folder = Folder::new();
    fs::create_dir(folder.path("")).unwrap();
    fs::write(folder.path("bp.json"), "of an earlier program\n").unwrap();
    folder.open().write_line(b"x\n").unwrap();
    assert_eq!(folder.text("bp.json"), "of an earlier program\n");
    assert_eq!(folder.text("bp_2026-11-22.json"), "x\n");
}

#[test]
fn deleted_folder_is_created_again() {
    let folder = Folder::new();
    let mut file = folder.open();
    file.write_line(b"lost\n").unwrap();
    fs::remove_dir_all(folder.path("")).unwrap();
    file.write_line(b"kept\n").unwrap();
    assert_eq!(folder.text("bp.json"), "kept\n");
}

#[test]
fn full_disk_fails_each_line_until_it_recovers() {
    let folder = Folder::new();
    fs::create_dir(folder.path("")).unwrap();
    symlink("/dev/full", folder.path("bp_2026-11-22.json")).unwrap();
    let mut file = folder.open();
    for _ in 0..3 {
        assert_eq!(file.write_line(b"x\n").unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
    fs::remove_file(folder.path("bp_2026-11-22.json")).unwrap();
    file.write_line(b"room again\n").unwrap();
    assert_eq!(folder.text("bp_2026-11-22.json"), "room again\n");
}

#[test]
fn part_of_a_line_is_removed() {
    let folder = Folder::new();
    fs::create_dir(folder.path("")).unwrap();
    let path = folder.path("bp_2026-11-22.json");
    let removed = |text: &str, written: &str| {
        fs::write(&path, text).unwrap();
        let file = File::options().read(true).append(true).open(&path).unwrap();
        remove_partial_line(&file, written.as_bytes()).unwrap();
        folder.text("bp_2026-11-22.json")
    };
    assert_eq!(removed("{}\n{\"ts\":\"20", "{\"ts\":\"20"), "{}\n");
    assert_eq!(removed("{}\n", ""), "{}\n");
    assert_eq!(removed("{\"ts\"{}\n", "{\"ts\""), "{\"ts\"{}\n", "another process has written behind it");
}

#[test]
fn incomplete_line_is_terminated_before_the_next() {
    let folder = Folder::new();
    fs::create_dir(folder.path("")).unwrap();
    fs::write(folder.path("bp_2026-11-22.json"), "{\"ts\":\"20").unwrap();
    folder.open().write_line(b"{}\n").unwrap();
    assert_eq!(folder.text("bp_2026-11-22.json"), "{\"ts\":\"20\n{}\n");
}

#[test]
fn uncreatable_folder_fails_at_open() {
    let folder = Folder::new();
    fs::write(folder.home.path().join("file"), "").unwrap();
    let path = folder.home.path().join("file").join("bp.json");
    assert!(RollingFile::open(&path, folder.clock.clone(), folder.retention).is_err());
}
