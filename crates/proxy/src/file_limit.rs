//! The limit of open files, and the connections that it allows.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files that are open beside connections: the database, the WAL, logs, idle connections to AWS, and some more.
const OTHER_FILES: u64 = 64;
/// Files of one connection: its socket, and that to AWS.
const FILES_PER_CONNECTION: u64 = 2;
/// Connections that are accepted however low the limit is.
const MIN_CONNECTIONS: usize = 8;

/// Raises the limit of this process to the maximum that the system allows it. Many systems start programs with 1,024,
/// for the sake of those that use select(2).
pub(crate) fn raise() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
        if let Err(error) = raised {
            tracing::warn!(%error, "the limit of open files cannot be raised");
        }
    }
}

/// The number of connections that the limit allows, at most `wanted`.
#[must_use]
pub(crate) fn max_connections(wanted: usize) -> usize {
    connections_within(getrlimit(Resource::Nofile).current, wanted)
}

/// The same once the limit is raised.
#[must_use]
pub(crate) fn max_connections_after_raise(wanted: usize) -> usize {
    connections_within(getrlimit(Resource::Nofile).maximum, wanted)
}

/// The limit of open files that `connections` need.
#[must_use]
pub(crate) fn files_for(connections: usize) -> u64 {
    connections as u64 * FILES_PER_CONNECTION + OTHER_FILES
}

fn connections_within(limit: Option<u64>, wanted: usize) -> usize {
    let Some(limit) = limit else { return wanted };
    let allowed = limit.saturating_sub(OTHER_FILES) / FILES_PER_CONNECTION;
    usize::try_from(allowed).unwrap_or(usize::MAX).clamp(MIN_CONNECTIONS.min(wanted), wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_limit_bounds_connections() {
        assert_eq!(connections_within(None, 10_000), 10_000);
        assert_eq!(connections_within(Some(1024), 10_000), 480);
        assert_eq!(connections_within(Some(files_for(10_000)), 10_000), 10_000);
        assert_eq!(connections_within(Some(65_536), 10_000), 10_000);
        assert_eq!(connections_within(Some(10), 10_000), MIN_CONNECTIONS);
        assert_eq!(connections_within(Some(10), 3), 3);
    }
}
