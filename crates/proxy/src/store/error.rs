//! What can go wrong with a database, by what a caller can do about it.

use thiserror::Error;

/// Why the store could not do it.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum StoreError {
    /// The database cannot be reached, did not answer in time, or can take nothing: try again later.
    #[error("the database is away: {0}")]
    Unavailable(String),
    /// The database answers others, but there are too many of them: try again in a moment.
    #[error("the database has too much to do: {0}")]
    Busy(String),
    /// This very row or value can never be stored.
    #[error("the database refused it: {0}")]
    Invalid(String),
    /// The schema is not one that this program can serve.
    #[error("its schema is not this program's: {0}")]
    Schema(String),
    /// There is no such row.
    #[error("there is no such row")]
    NotFound,
    /// Somebody else was first.
    #[error("in conflict: {0}")]
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
                if is_about_the_data(&code) {
                    Self::Invalid(database.message().to_owned())
                } else {
                    Self::Unavailable(database.message().to_owned())
                }
            }
            _ => Self::Unavailable(error.to_string()),
        }
    }
}

/// Whether the code blames the values. Whatever else it blames (the disk, a lock, rights, the schema) may be mended, and
/// rows must not be thrown away for it.
fn is_about_the_data(code: &str) -> bool {
    // PostgreSQL's SQLSTATE has five letters: class 22 is data exceptions, 23 broken constraints.
    if code.len() == 5 && (code.starts_with("22") || code.starts_with("23")) {
        return true;
    }
    // SQLite's number has the kind in its low byte: 18 too big, 19 constraint, 20 mismatch, 25 range.
    code.len() < 5 && code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, 18 | 19 | 20 | 25))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_codes_that_blame_the_values_condemn_a_row() {
        for data in ["22021", "22P05", "23503", "787", "1299", "20"] {
            assert!(is_about_the_data(data), "{data}");
        }
        for elsewhere in ["53100", "25006", "57014", "40P01", "42P01", "28P01", "5", "13", "8", "10", "1", ""]
        {
            assert!(!is_about_the_data(elsewhere), "{elsewhere}");
        }
    }

    #[test]
    fn a_pool_without_a_free_connection_is_away() {
        assert!(matches!(StoreError::from(sqlx::Error::PoolTimedOut), StoreError::Unavailable(_)));
        assert_eq!(StoreError::from(sqlx::Error::RowNotFound), StoreError::NotFound);
    }
}
