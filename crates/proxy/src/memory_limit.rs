//! The memory that this process may use: the limit of its control group, or the memory of the machine.
//!
//! <https://docs.kernel.org/admin-guide/cgroup-v2.html#memory-interface-files>

use std::fs;
use std::path::{Path, PathBuf};

/// Bytes that this process may use, `u64::MAX` where that is unknown.
#[must_use]
pub(crate) fn bytes() -> u64 {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let machine = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let limits = limit_files(&groups).into_iter().filter_map(|file| fs::read_to_string(file).ok());
    let limits = limits.filter_map(|text| parse_limit(&text));
    limits.chain(parse_total(&machine)).min().unwrap_or(u64::MAX)
}

/// The files with the limits of the control groups in `/proc/self/cgroup`, those of their parents included. In a
/// container the path of a group may be that of the host, so its root is looked at, too.
fn limit_files(groups: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        let (root, name) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            v1 if v1.split(',').any(|one| one == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let path = Path::new(path.trim_start_matches('/'));
        files.extend(path.ancestors().map(|path| Path::new(root).join(path).join(name)));
    }
    files
}

/// The limit in a file of a control group; `max` is none.
fn parse_limit(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// The memory of the machine, from `/proc/meminfo`.
fn parse_total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_a_group_and_its_parents_are_found() {
        let paths = |groups: &str| {
            let files = limit_files(groups);
            files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(
            paths("0::/kubepods/pod1\n"),
            [
                "/sys/fs/cgroup/kubepods/pod1/memory.max",
                "/sys/fs/cgroup/kubepods/memory.max",
                "/sys/fs/cgroup/memory.max"
            ]
        );
        assert_eq!(
            paths("5:cpu,cpuacct:/a\n4:memory:/a\n0::/\n"),
            [
                "/sys/fs/cgroup/memory/a/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory.max"
            ]
        );
        assert!(paths("odd\n").is_empty());
    }

    #[test]
    fn limits_are_bytes_and_max_is_none() {
        assert_eq!(parse_limit("268435456\n"), Some(268_435_456));
        assert_eq!(parse_limit("max\n"), None);
        assert_eq!(parse_total("MemTotal:       24618000 kB\nMemFree: 1 kB\n"), Some(24_618_000 * 1024));
        assert_eq!(parse_total(""), None);
        assert!(bytes() > 1 << 20);
    }
}
