//! Errors of the database, by what a caller can do about them.

use thiserror::Error;

/// Failure of a call to the store.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum StoreError {
    /// The database cannot be reached, did not respond in time, or cannot write: try again later.
    #[error("database unavailable: {0}")]
    Unavailable(String),
    /// The database responds to other calls, but not to this one in time: try again in a moment.
    #[error("database busy: {0}")]
    Busy(String),
    /// This row or value can never be stored.
    #[error("invalid value: {0}")]
    Invalid(String),
    /// The schema is incompatible with this program.
    #[error("incompatible schema: {0}")]
    Schema(String),
    /// No row has this key.
    #[error("row not found")]
    NotFound,
    /// A row with this key exists already.
    #[error("conflict: {0}")]
    Conflict(String),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::RowNotFound => Self::NotFound,
            sqlx::Error::Encode(_) => Self::Invalid(error.to_string()),
            sqlx::Error::Database(database) if database.is_unique_violation() => {
                Self::Conflict(database.message().to_owned())
            }
            sqlx::Error::Database(database) => {
                let code = database.code().unwrap_or_default();
                if is_data_error(&code) {
                    Self::Invalid(database.message().to_owned())
                } else {
                    Self::Unavailable(database.message().to_owned())
                }
            }
            sqlx::Error::PoolTimedOut => Self::Unavailable("no connection in time".to_owned()),
            _ => Self::Unavailable(error.to_string()),
        }
    }
}

/// Whether the code means that the values are invalid. Other causes (disk, lock, permissions, schema) can be repaired, so
/// rows must not be quarantined for them.
fn is_data_error(code: &str) -> bool {
    // A SQLSTATE of PostgreSQL has five characters: class 22 is data exceptions, 23 constraint violations.
    // https://www.postgresql.org/docs/current/errcodes-appendix.html
    if code.len() == 5 && (code.starts_with("22") || code.starts_with("23")) {
        return true;
    }
    // The low byte of a SQLite code is its kind: 18 too big, 19 constraint, 20 mismatch, 25 range.
    // https://www.sqlite.org/rescode.html
    code.len() < 5 && code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, 18 | 19 | 20 | 25))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_data_errors_make_a_row_invalid() {
        for code in ["22021", "22P05", "23503", "787", "1299", "20"] {
            assert!(is_data_error(code), "{code}");
        }
        for code in ["53100", "25006", "57014", "40P01", "42P01", "28P01", "5", "13", "8", "10", "1", ""] {
            assert!(!is_data_error(code), "{code}");
        }
    }

    #[test]
    fn exhausted_pool_is_unavailable() {
        assert!(matches!(StoreError::from(sqlx::Error::PoolTimedOut), StoreError::Unavailable(_)));
        assert_eq!(StoreError::from(sqlx::Error::RowNotFound), StoreError::NotFound);
    }
}
