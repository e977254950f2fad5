//! Which database keeps users, quotas, usage and events: a file by default, or PostgreSQL.

use std::path::PathBuf;
use std::str::FromStr;

use percent_encoding::percent_decode_str;
use sqlx::postgres::{PgConnectOptions, PgSslMode};

use super::env::Reader;
use crate::secret::Secret;

/// Where everything is kept that has to survive the process.
#[derive(Clone, Debug)]
pub struct Database {
    /// `DATA_DIR`: the directory of the database file and of the journal; made when it is missing.
    pub data_dir: PathBuf,
    /// `DATABASE_URL`, or the `DB_*` variables, or a file in `DATA_DIR`.
    pub place: Place,
    /// `DB_MAX_CONNS`: connections to PostgreSQL at most.
    pub max_connections: u32,
    /// `DB_MIN_CONNS`: connections to PostgreSQL kept open.
    pub min_connections: u32,
    /// `DB_SSLROOTCERT`: a PEM file with the certificate authority of the database's own certificate.
    pub ssl_root_cert: Option<PathBuf>,
}

/// The one database.
#[derive(Clone, Debug)]
pub enum Place {
    /// SQLite in this file.
    File(PathBuf),
    /// PostgreSQL at this URL, which may hold a password.
    Url(Secret),
    /// PostgreSQL, named by parts.
    Parts(Parts),
}

/// A PostgreSQL database named by parts.
#[derive(Clone, Debug)]
pub struct Parts {
    /// `DB_HOST`: a name, an address, or the directory of a unix socket.
    pub host: String,
    /// `DB_PORT`.
    pub port: u16,
    /// `DB_NAME`.
    pub name: String,
    /// `DB_USER`.
    pub user: String,
    /// `DB_PASSWORD`.
    pub password: Option<Secret>,
    /// `DB_SSLMODE`, in libpq's words: disable, allow, prefer, require, verify-ca or verify-full.
    pub ssl_mode: PgSslMode,
}

const SSL_MODES: [(&str, PgSslMode); 6] = [
    ("disable", PgSslMode::Disable),
    ("allow", PgSslMode::Allow),
    ("prefer", PgSslMode::Prefer),
    ("require", PgSslMode::Require),
    ("verify-ca", PgSslMode::VerifyCa),
    ("verify-full", PgSslMode::VerifyFull),
];

pub(super) fn database(reader: &mut Reader<impl Fn(&str) -> Option<String>>) -> Database {
    let data_dir = PathBuf::from(reader.text_or("DATA_DIR", "./data"));
    let (parts, first_part) = parts(reader);
    let place = match (reader.secret("DATABASE_URL"), first_part) {
        (None, None) => Place::File(data_dir.join("bedrock-proxy.db")),
        (None, Some(_)) => Place::Parts(parts),
        (Some(url), None) => place(reader, url),
        (Some(url), Some(name)) => {
            reader.problem(name, None, "is set beside DATABASE_URL; unset one of them");
            Place::Url(url)
        }
    };
    let max_connections = reader.number("DB_MAX_CONNS", 25, 2..=1000);
    let min_connections = reader.number("DB_MIN_CONNS", 5, 0..=1000);
    if min_connections > max_connections {
        let value = min_connections.to_string();
        reader.problem("DB_MIN_CONNS", Some(&value), "is more than DB_MAX_CONNS; use a smaller number");
    }
    Database { data_dir, place, max_connections, min_connections, ssl_root_cert: root_certificate(reader) }
}

/// The parts, and the name of the first one that was set.
fn parts(reader: &mut Reader<impl Fn(&str) -> Option<String>>) -> (Parts, Option<&'static str>) {
    let names = ["DB_HOST", "DB_PORT", "DB_NAME", "DB_USER", "DB_PASSWORD", "DB_SSLMODE"];
    let first = reader.first(&names).map(|(name, _)| name);
    let words = SSL_MODES.map(|(word, _)| (word, word));
    let wanted = reader.choice("DB_SSLMODE", "require", &words);
    let ssl_mode = SSL_MODES.iter().find(|(word, _)| *word == wanted);
    let parts = Parts {
        host: reader.text_or("DB_HOST", "localhost"),
        port: reader.number("DB_PORT", 5432, 1..=u16::MAX),
        name: reader.text_or("DB_NAME", "bedrock_proxy"),
        user: reader.text_or("DB_USER", "postgres"),
        password: reader.secret("DB_PASSWORD"),
        ssl_mode: ssl_mode.map_or(PgSslMode::Require, |(_, mode)| *mode),
    };
    (parts, first)
}

/// What `DATABASE_URL` names. Its value is never repeated in a problem, as it may hold a password.
fn place(reader: &mut Reader<impl Fn(&str) -> Option<String>>, secret: Secret) -> Place {
    const NAME: &str = "DATABASE_URL";
    let url = secret.expose();
    if let Some(path) = url.strip_prefix("sqlite:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        if path.is_empty() || path.contains(['?', '#']) || path.contains(":memory:") {
            reader.problem(NAME, None, "name a file, as in sqlite:/var/lib/bedrock-proxy/data.db");
        }
        return Place::File(PathBuf::from(path));
    }
    let postgres = url.starts_with("postgres://") || url.starts_with("postgresql://");
    if !postgres {
        reader.problem(NAME, None, "use postgres://user:password@host:5432/name or sqlite:/path/to/file");
    } else if PgConnectOptions::from_str(url).is_err() {
        reader.problem(
            NAME,
            None,
            "cannot be read as a URL; write letters such as @ / : # of a password as %40 %2F %3A %23",
        );
    }
    for password in passwords(url) {
        reader.hide(password);
    }
    Place::Url(secret)
}

/// The passwords in a URL, as they are written there and as they are.
fn passwords(url: &str) -> Vec<String> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let (address, query) = rest.split_once('?').unwrap_or((rest, ""));
    let user = address.rsplit_once('@').and_then(|(user, _)| user.split_once(':'));
    let named = query.split('&').filter_map(|pair| pair.strip_prefix("password="));
    let written = user.into_iter().map(|(_, password)| password).chain(named);
    let both =
        written.flat_map(|text| [text.to_owned(), percent_decode_str(text).decode_utf8_lossy().into_owned()]);
    both.filter(|password| !password.is_empty()).collect()
}

fn root_certificate(reader: &mut Reader<impl Fn(&str) -> Option<String>>) -> Option<PathBuf> {
    const NAME: &str = "DB_SSLROOTCERT";
    let path = PathBuf::from(reader.text(NAME)?);
    if let Err(error) = std::fs::metadata(&path) {
        let value = path.display().to_string();
        reader.problem(NAME, Some(&value), format!("cannot be read ({error}); name a PEM file"));
    }
    Some(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Problem};

    fn load(pairs: &[(&str, &str)]) -> Result<Database, Vec<Problem>> {
        let lookup =
            |name: &str| pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        Config::load(lookup).map(|config| config.database)
    }

    #[test]
    fn without_a_word_everything_is_in_one_file_of_the_data_directory() {
        let database = load(&[("DATA_DIR", "/srv/proxy")]).unwrap();
        assert!(
            matches!(&database.place, Place::File(path) if path.ends_with("proxy/bedrock-proxy.db")),
            "{database:?}"
        );
        assert_eq!((database.min_connections, database.max_connections), (5, 25));
    }

    #[test]
    fn one_part_is_enough_to_mean_postgresql_and_the_others_have_defaults() {
        let database = load(&[("DB_PASSWORD", "canary")]).unwrap();
        let Place::Parts(parts) = &database.place else { panic!("{database:?}") };
        assert_eq!((parts.host.as_str(), parts.port), ("localhost", 5432));
        assert_eq!((parts.name.as_str(), parts.user.as_str()), ("bedrock_proxy", "postgres"));
        assert!(matches!(parts.ssl_mode, PgSslMode::Require));
        assert!(!format!("{database:?}").contains("canary"));
    }

    #[test]
    fn all_six_ways_of_tls_are_known() {
        for (word, _) in SSL_MODES {
            assert!(load(&[("DB_HOST", "db"), ("DB_SSLMODE", word)]).is_ok(), "{word}");
        }
        assert!(load(&[("DB_HOST", "db"), ("DB_SSLMODE", "on")]).is_err());
    }

    #[test]
    fn a_url_names_a_file_or_a_server_and_is_never_printed() {
        let file = load(&[("DATABASE_URL", "sqlite:///srv/a.db")]).unwrap().place;
        assert!(matches!(&file, Place::File(path) if path == &PathBuf::from("/srv/a.db")), "{file:?}");
        let file = load(&[("DATABASE_URL", "sqlite:a.db")]).unwrap().place;
        assert!(matches!(&file, Place::File(path) if path == &PathBuf::from("a.db")), "{file:?}");
        let server = load(&[("DATABASE_URL", "postgres://u:canary@h/db?sslmode=disable")]).unwrap();
        assert!(!format!("{server:?}").contains("canary"));
        for wrong in ["sqlite::memory:", "mysql://u:canary@h/db", "postgres://u:can/ary@h:x/db", "sqlite:"] {
            let problems = load(&[("DATABASE_URL", wrong)]).unwrap_err();
            assert_eq!(problems.len(), 1, "{wrong}");
            assert!(!format!("{problems:?}").contains("canary"));
        }
    }

    #[test]
    fn contradictions_are_refused() {
        let url = ("DATABASE_URL", "postgres://h/db");
        assert!(load(&[url, ("DB_HOST", "db")]).is_err());
        assert!(load(&[("DB_MIN_CONNS", "30"), ("DB_MAX_CONNS", "25")]).is_err());
        assert!(load(&[("DB_SSLROOTCERT", "/nonexistent.pem")]).is_err());
    }
}
