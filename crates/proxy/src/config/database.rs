//! The database: a SQLite file by default, or PostgreSQL.

use std::path::PathBuf;
use std::str::FromStr;

use percent_encoding::percent_decode_str;
use sqlx::postgres::{PgConnectOptions, PgSslMode};

use super::env::EnvReader;
use super::parse;
use crate::secret::Secret;

/// Storage of users, quotas, usage and events.
#[derive(Clone, Debug)]
pub struct DatabaseConfig {
    /// `DATA_DIR`: the directory of the SQLite file and of the WAL; created when missing.
    pub(crate) data_dir: PathBuf,
    /// `DATABASE_URL`, or the `DB_*` variables, or a file in `DATA_DIR`.
    pub url: DatabaseUrl,
    /// `DB_MAX_CONNS`: maximum of connections to PostgreSQL.
    pub(crate) max_connections: u32,
    /// `DB_MIN_CONNS`: connections to PostgreSQL that stay open.
    pub(crate) min_connections: u32,
    /// `DB_SSLROOTCERT`: a PEM file with the certificate authority of the database.
    pub(crate) ssl_root_cert: Option<PathBuf>,
}

/// Which database.
#[derive(Clone, Debug)]
pub enum DatabaseUrl {
    /// A SQLite file.
    Sqlite(PathBuf),
    /// A PostgreSQL URL, which may contain a password.
    Postgres(Secret),
    /// PostgreSQL, given by parts.
    PostgresParts(PostgresParts),
}

/// The parts of a PostgreSQL URL.
#[derive(Clone, Debug)]
pub struct PostgresParts {
    /// `DB_HOST`: a name, an address, or the directory of a unix socket.
    pub(crate) host: String,
    /// `DB_PORT`.
    pub(crate) port: u16,
    /// `DB_NAME`.
    pub(crate) name: String,
    /// `DB_USER`.
    pub(crate) user: String,
    /// `DB_PASSWORD`.
    pub(crate) password: Option<Secret>,
    /// `DB_SSLMODE`, as in libpq: disable, allow, prefer, require, verify-ca or verify-full.
    pub(crate) ssl_mode: PgSslMode,
}

const SSL_MODES: [(&str, PgSslMode); 6] = [
    ("disable", PgSslMode::Disable),
    ("allow", PgSslMode::Allow),
    ("prefer", PgSslMode::Prefer),
    ("require", PgSslMode::Require),
    ("verify-ca", PgSslMode::VerifyCa),
    ("verify-full", PgSslMode::VerifyFull),
];

pub(super) fn database(env: &mut EnvReader<'_>) -> DatabaseConfig {
    let data_dir = PathBuf::from(env.text_or_default("DATA_DIR"));
    let (parts, first_part) = postgres_parts(env);
    let url = match (env.secret("DATABASE_URL"), first_part) {
        (None, None) => DatabaseUrl::Sqlite(data_dir.join("bedrock-proxy.db")),
        (None, Some(_)) => DatabaseUrl::PostgresParts(parts),
        (Some(url), None) => parse_url(env, url),
        (Some(url), Some(name)) => {
            env.error(name, None, "set beside DATABASE_URL; unset one of them");
            DatabaseUrl::Postgres(url)
        }
    };
    // Three replicas stay below the default `max_connections` of PostgreSQL, 100.
    let max_connections: u32 = env.number("DB_MAX_CONNS");
    // Open connections spare a burst of requests the TLS handshakes.
    let min_connections: u32 = env.number("DB_MIN_CONNS");
    if min_connections > max_connections {
        let value = min_connections.to_string();
        env.error("DB_MIN_CONNS", Some(&value), "more than DB_MAX_CONNS; use a smaller number");
    }
    DatabaseConfig {
        data_dir,
        url,
        max_connections,
        min_connections,
        ssl_root_cert: env.parse("DB_SSLROOTCERT", parse::pem_file),
    }
}

/// The parts, and the name of the first one that is set.
fn postgres_parts(env: &mut EnvReader<'_>) -> (PostgresParts, Option<&'static str>) {
    let names = ["DB_HOST", "DB_PORT", "DB_NAME", "DB_USER", "DB_PASSWORD", "DB_PASSWORD_FILE", "DB_SSLMODE"];
    let first = env.first_set(&names);
    let ssl_mode = env.choice("DB_SSLMODE", SSL_MODES);
    let parts = PostgresParts {
        host: env.word("DB_HOST"),
        port: env.number("DB_PORT"),
        name: env.text_or_default("DB_NAME"),
        user: env.text_or_default("DB_USER"),
        password: env.secret("DB_PASSWORD"),
        ssl_mode,
    };
    (parts, first)
}

/// Parses `DATABASE_URL`. Errors never repeat its value, which may contain a password.
fn parse_url(env: &mut EnvReader<'_>, secret: Secret) -> DatabaseUrl {
    const NAME: &str = "DATABASE_URL";
    let url = secret.expose();
    if let Some(path) = url.strip_prefix("sqlite:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        if path.is_empty() || path.contains(['?', '#']) || path.contains(":memory:") {
            env.error(NAME, None, "name a file, as in sqlite:/var/lib/bedrock-proxy/data.db");
        }
        return DatabaseUrl::Sqlite(PathBuf::from(path));
    }
    let postgres = url.starts_with("postgres://") || url.starts_with("postgresql://");
    if !postgres {
        env.error(NAME, None, "use postgres://user:password@host:5432/name or sqlite:/path/to/file");
    } else if PgConnectOptions::from_str(url).is_err() {
        env.error(
            NAME,
            None,
            "not a valid URL; write characters such as @ / : # of a password as %40 %2F %3A %23",
        );
    }
    for password in passwords(url) {
        env.register_secret(password);
    }
    DatabaseUrl::Postgres(secret)
}

/// The passwords in a URL, percent-encoded and decoded.
fn passwords(url: &str) -> Vec<String> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let (address, query) = rest.split_once('?').unwrap_or((rest, ""));
    let user = address.rsplit_once('@').and_then(|(user, _)| user.split_once(':'));
    let in_query = query.split('&').filter_map(|pair| pair.strip_prefix("password="));
    let encoded = user.into_iter().map(|(_, password)| password).chain(in_query);
    let both =
        encoded.flat_map(|text| [text.to_owned(), percent_decode_str(text).decode_utf8_lossy().into_owned()]);
    both.filter(|password| !password.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::env::lookup_in;
    use crate::config::{Config, ConfigError};

    fn load(pairs: &[(&str, &str)]) -> Result<DatabaseConfig, Vec<ConfigError>> {
        Config::load(lookup_in(pairs)).map(|config| config.database)
    }

    #[test]
    fn default_database_is_sqlite_in_data_dir() {
        let database = load(&[("DATA_DIR", "/srv/proxy")]).unwrap();
        assert!(
            matches!(&database.url, DatabaseUrl::Sqlite(path) if path.ends_with("proxy/bedrock-proxy.db")),
            "{database:?}"
        );
        assert_eq!((database.min_connections, database.max_connections), (5, 25));
    }

    #[test]
    fn one_part_selects_postgresql() {
        let database = load(&[("DB_PASSWORD", "canary")]).unwrap();
        let DatabaseUrl::PostgresParts(parts) = &database.url else { panic!("{database:?}") };
        assert_eq!((parts.host.as_str(), parts.port), ("localhost", 5432));
        assert_eq!((parts.name.as_str(), parts.user.as_str()), ("bedrock_proxy", "postgres"));
        assert!(matches!(parts.ssl_mode, PgSslMode::Require));
        assert!(!format!("{database:?}").contains("canary"));
    }

    #[test]
    fn all_libpq_ssl_modes_are_accepted() {
        for (word, _) in SSL_MODES {
            assert!(load(&[("DB_HOST", "db"), ("DB_SSLMODE", word)]).is_ok(), "{word}");
        }
        assert!(load(&[("DB_HOST", "db"), ("DB_SSLMODE", "on")]).is_err());
    }

    #[test]
    fn database_url_is_parsed_and_never_printed() {
        let file = load(&[("DATABASE_URL", "sqlite:///srv/a.db")]).unwrap().url;
        assert!(
            matches!(&file, DatabaseUrl::Sqlite(path) if path == &PathBuf::from("/srv/a.db")),
            "{file:?}"
        );
        let file = load(&[("DATABASE_URL", "sqlite:a.db")]).unwrap().url;
        assert!(matches!(&file, DatabaseUrl::Sqlite(path) if path == &PathBuf::from("a.db")), "{file:?}");
        let server = load(&[("DATABASE_URL", "postgres://u:canary@h/db?sslmode=disable")]).unwrap();
        assert!(!format!("{server:?}").contains("canary"));
        for invalid in ["sqlite::memory:", "mysql://u:canary@h/db", "postgres://u:can/ary@h:x/db", "sqlite:"]
        {
            let errors = load(&[("DATABASE_URL", invalid)]).unwrap_err();
            assert_eq!(errors.len(), 1, "{invalid}");
            assert!(!format!("{errors:?}").contains("canary"));
        }
    }

    #[test]
    fn contradictory_variables_are_rejected() {
        let url = ("DATABASE_URL", "postgres://h/db");
        assert!(load(&[url, ("DB_HOST", "db")]).is_err());
        assert!(load(&[("DB_MIN_CONNS", "30"), ("DB_MAX_CONNS", "25")]).is_err());
        assert!(load(&[("DB_SSLROOTCERT", "/nonexistent.pem")]).is_err());
    }
}
