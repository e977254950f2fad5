//! Revoked tokens and users without access, as they were last read from the database. The list is kept in a file, so that
//! a process that cannot reach its database at the start still rejects them.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{AccessError, Claims};
use crate::clock::Clock;
use crate::ids;
use crate::store::{RejectedUser, Rejections, Store, StoreError};
use crate::tasks::Tasks;

/// Name of the file in `DATA_DIR`.
const FILE: &str = "rejections.json";
/// Interval at which the database is read.
const REFRESH_INTERVAL: Duration = Duration::from_secs(5);
/// Maximum rows of each kind: some 10 MB in memory and on disk.
const MAX_ROWS: usize = 100_000;

/// The list, in memory and on disk.
#[derive(Debug)]
pub(crate) struct RejectionList {
    path: PathBuf,
    clock: Clock,
    known: RwLock<Known>,
    /// One refresh at a time, so that an older list never replaces a newer one. Holds the list in the file.
    written: tokio::sync::Mutex<Option<Rejections>>,
}

/// What is known of the list.
#[derive(Clone, Debug)]
pub(crate) enum Known {
    /// There is no file, and the database was not read yet.
    Nothing,
    /// There is a file, and it cannot be read.
    Unreadable,
    /// The list.
    List(Arc<Index>),
}

/// The list, for look-ups.
#[derive(Debug, Default)]
pub(crate) struct Index {
    tokens: HashSet<String>,
    users: HashMap<String, RejectedUser>,
    teams: HashSet<String>,
    members: HashMap<String, String>,
    /// Instant at which the database was read, epoch milliseconds.
    read_at: i64,
}

#[derive(Serialize, Deserialize)]
struct Content {
    read_at: i64,
    #[serde(flatten)]
    rejections: Rejections,
}

impl Index {
    fn new(rejections: &Rejections, read_at: i64) -> Self {
        let users = rejections.users.iter().map(|user| (user.user_id.clone(), user.clone()));
        Self {
            tokens: rejections.tokens.iter().cloned().collect(),
            users: users.collect(),
            teams: rejections.teams.iter().cloned().collect(),
            members: rejections.members.iter().cloned().collect(),
            read_at,
        }
    }

    /// Rejects what the rows of the database rejected when they were read.
    fn check(&self, claims: &Claims) -> Result<(), AccessError> {
        if claims.jti.as_ref().is_some_and(|jti| self.tokens.contains(jti)) {
            return Err(AccessError::Revoked { user_id: None });
        }
        if let Some(user) = self.users.get(&claims.user_id) {
            if user.disabled {
                return Err(AccessError::UserDisabled(user.user_id.clone()));
            }
            let issued_at = claims.issued_at.unwrap_or(0).saturating_mul(1000);
            if user.tokens_valid_from.is_some_and(|from| issued_at < from) {
                return Err(AccessError::Superseded { user_id: user.user_id.clone() });
            }
        }
        let claimed = claims.team.as_ref().filter(|team| self.teams.contains(*team));
        match self.members.get(&claims.user_id).or(claimed) {
            Some(team) => Err(AccessError::TeamDisabled(team.clone())),
            None => Ok(()),
        }
    }
}

impl RejectionList {
    /// The list in the folder `data_dir`, as the process before has left it.
    #[must_use]
    pub(crate) fn open(data_dir: &Path, clock: Clock) -> Self {
        let path = data_dir.join(FILE);
        let (known, written) = match read(&path) {
            Ok(Some(Content { read_at, rejections })) => {
                (Known::List(Arc::new(Index::new(&rejections, read_at))), Some(rejections))
            }
            Ok(None) => (Known::Nothing, None),
            Err(error) => {
                tracing::error!(
                    event = "rejections_unreadable",
                    %error,
                    path = %path.display(),
                    "list of revoked tokens and disabled users not readable; no token is accepted before the database \
                     was read"
                );
                (Known::Unreadable, None)
            }
        };
        Self { path, clock, known: known.into(), written: written.into() }
    }

    /// What is known of the list.
    #[must_use]
    pub(crate) fn known(&self) -> Known {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Age of the list; `None` without one.
    #[must_use]
    pub(crate) fn age(&self) -> Option<Duration> {
        let Known::List(index) = self.known() else { return None };
        let age_ms = self.clock.milliseconds().saturating_sub(index.read_at);
        Some(Duration::from_millis(u64::try_from(age_ms).unwrap_or(0)))
    }

    /// Checks a token while the database is unavailable.
    ///
    /// # Errors
    /// When the list rejects it, or is not readable.
    pub(crate) fn check(&self, claims: &Claims) -> Result<(), AccessError> {
        match self.known() {
            Known::Nothing => Ok(()),
            Known::Unreadable => Err(AccessError::StoreUnavailable),
            Known::List(index) => index.check(claims),
        }
    }

    /// Reads the database, and writes the file if something has changed. A file that cannot be written is logged; without
    /// its folder there is none.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub(crate) async fn refresh(&self, store: &Store) -> Result<(), StoreError> {
        let mut written = self.written.lock().await;
        let read_at = self.clock.milliseconds();
        let rejections = store.rejections(read_at, i64::try_from(MAX_ROWS).unwrap_or(i64::MAX)).await?;
        if rejections.is_cut(MAX_ROWS) {
            tracing::warn!(
                rows = MAX_ROWS,
                "list of revoked tokens and disabled users is cut; it has only the newest"
            );
        }
        let index = Arc::new(Index::new(&rejections, read_at));
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Known::List(index);
        if written.as_ref() == Some(&rejections) && self.path.exists() {
            return Ok(());
        }
        let (path, content) = (self.path.clone(), Content { read_at, rejections: rejections.clone() });
        let result = tokio::task::spawn_blocking(move || write(&path, &content)).await;
        match result.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(()) => *written = Some(rejections),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(%error, path = %self.path.display(), "list of revoked tokens and disabled users not written");
            }
        }
        Ok(())
    }

    /// Refreshes the list until `tasks` shut down.
    pub(crate) async fn run(&self, store: &Store, tasks: &Tasks) {
        loop {
            if let Err(error) = self.refresh(store).await {
                tracing::debug!(%error, "list of revoked tokens and disabled users not read");
            }
            tokio::select! {
                () = tokio::time::sleep(REFRESH_INTERVAL) => {}
                () = tasks.shutdown_begun() => return,
            }
        }
    }
}

fn read(path: &Path) -> io::Result<Option<Content>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Replaces the file: a process that is killed leaves the old one or the new one.
fn write(path: &Path, content: &Content) -> io::Result<()> {
    let temporary = path.with_extension(format!("{}.tmp", ids::event_id()));
    let written =
        File::options().write(true).create_new(true).mode(0o600).open(&temporary).and_then(|mut file| {
            file.write_all(&serde_json::to_vec(content)?)?;
            file.sync_all()?;
            fs::rename(&temporary, path)
        });
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Scope;

    fn claims(user_id: &str, team: Option<&str>, jti: &str, issued_at: i64) -> Claims {
        Claims {
            user_id: user_id.to_owned(),
            team: team.map(str::to_owned),
            default_inference_profile: None,
            scope: Scope::Inference,
            jti: Some(jti.to_owned()),
            issued_at: Some(issued_at),
            expires_at: i64::MAX,
        }
    }

    fn rejections() -> Rejections {
        let user = |user_id: &str, disabled, tokens_valid_from| RejectedUser {
            user_id: user_id.to_owned(),
            disabled,
            tokens_valid_from,
        };
        Rejections {
            tokens: vec!["tok_1".to_owned()],
            users: vec![user("eve", true, None), user("ana", false, Some(5_000))],
            teams: vec!["red".to_owned()],
            members: vec![("ben".to_owned(), "red".to_owned())],
        }
    }

    #[test]
    fn list_of_an_earlier_process_rejects() {
        let folder = tempfile::tempdir().unwrap();
        let open = || RejectionList::open(folder.path(), Clock::machine());
        assert!(matches!(open().known(), Known::Nothing) && open().age().is_none());
        let content = Content { read_at: 1, rejections: rejections() };
        write(&folder.path().join(FILE), &content).unwrap();
        let list = open();
        assert_eq!(
            list.check(&claims("cleo", None, "tok_1", 9)),
            Err(AccessError::Revoked { user_id: None })
        );
        assert_eq!(
            list.check(&claims("eve", None, "x", 9)),
            Err(AccessError::UserDisabled("eve".to_owned()))
        );
        assert_eq!(
            list.check(&claims("ana", None, "x", 4)),
            Err(AccessError::Superseded { user_id: "ana".to_owned() })
        );
        assert_eq!(list.check(&claims("ana", None, "x", 5)), Ok(()));
        for (user, team) in [("ben", None), ("cleo", Some("red"))] {
            let error = AccessError::TeamDisabled("red".to_owned());
            assert_eq!(list.check(&claims(user, team, "x", 9)), Err(error), "{user}");
        }
        assert_eq!(list.check(&claims("cleo", Some("blue"), "x", 9)), Ok(()));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn unreadable_list_accepts_no_token() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), "{\"read_at\":1").unwrap();
        let list = RejectionList::open(folder.path(), Clock::machine());
        assert_eq!(list.check(&claims("cleo", None, "x", 9)), Err(AccessError::StoreUnavailable));
    }
}
