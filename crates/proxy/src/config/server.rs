//! TLS at the proxy's own door: which certificate, which key, which versions.
//!
//! The files are read here once, so that `config check` finds what is wrong with them; the server reads them again
//! (`crate::certificate`, `server::tls`).

use std::path::PathBuf;

use super::env::Reader;
use crate::certificate::{self, File, Wrong};

/// What the listener shows to its clients.
#[derive(Clone, Debug)]
pub struct Tls {
    /// `TLS_CERT_FILE`: a PEM file with the certificate and those that lead to its authority.
    pub certificate: PathBuf,
    /// `TLS_KEY_FILE`: a PEM file with its private key.
    pub key: PathBuf,
    /// `TLS_MIN_VERSION`.
    pub oldest: TlsVersion,
}

/// The oldest version of TLS that clients may speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersion {
    /// TLS 1.2, and 1.3.
    V1_2,
    /// TLS 1.3 only.
    V1_3,
}

const CERTIFICATE: &str = "TLS_CERT_FILE";
const KEY: &str = "TLS_KEY_FILE";

/// Both files, or neither.
pub(super) fn tls(reader: &mut Reader<impl Fn(&str) -> Option<String>>) -> Option<Tls> {
    let versions = [("1.2", TlsVersion::V1_2), ("1.3", TlsVersion::V1_3)];
    let oldest = reader.choice("TLS_MIN_VERSION", TlsVersion::V1_2, &versions);
    let (certificate, key) = match (reader.text(CERTIFICATE), reader.text(KEY)) {
        (None, None) => return None,
        (Some(_), None) => {
            reader.problem(
                KEY,
                None,
                "is missing beside TLS_CERT_FILE; name the PEM file of its private key",
            );
            return None;
        }
        (None, Some(_)) => {
            reader.problem(
                CERTIFICATE,
                None,
                "is missing beside TLS_KEY_FILE; name the PEM file of its certificate",
            );
            return None;
        }
        (Some(certificate), Some(key)) => (certificate, key),
    };
    let tls = Tls { certificate: PathBuf::from(&certificate), key: PathBuf::from(&key), oldest };
    if let Err(Wrong { file, reason }) = certificate::read(&tls.certificate, &tls.key) {
        let (name, value) = match file {
            File::Certificate => (CERTIFICATE, certificate),
            File::Key => (KEY, key),
        };
        reader.problem(name, Some(&value), reason);
    }
    Some(tls)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::fixtures::Folder;
    use crate::config::{Config, Problem};

    fn load(pairs: &[(&str, &str)]) -> Result<Option<Tls>, Vec<Problem>> {
        let lookup =
            |name: &str| pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        Config::load(lookup).map(|config| config.server.tls)
    }

    #[test]
    fn without_a_word_there_is_no_tls_and_half_a_word_is_a_mistake() {
        assert!(load(&[]).unwrap().is_none());
        for (set, missing) in [(CERTIFICATE, KEY), (KEY, CERTIFICATE)] {
            let problems = load(&[(set, "/nonexistent.pem")]).unwrap_err();
            assert_eq!(problems[0].variable, missing);
        }
        assert_eq!(load(&[("TLS_MIN_VERSION", "1.1")]).unwrap_err()[0].variable, "TLS_MIN_VERSION");
    }

    #[test]
    fn a_problem_names_the_variable_of_the_file_that_is_wrong() {
        let folder = Folder::new("proxy.example", 0..1);
        let (certificate, key) = folder.names();
        let set = [(CERTIFICATE, certificate), (KEY, key), ("TLS_MIN_VERSION", "1.3")];
        assert_eq!(load(&set).unwrap().unwrap().oldest, TlsVersion::V1_3);
        for (wrong, name) in [
            ([(CERTIFICATE, "/nonexistent.pem"), (KEY, key)], CERTIFICATE),
            ([(CERTIFICATE, certificate), (KEY, "/nonexistent.pem")], KEY),
            ([(CERTIFICATE, certificate), (KEY, certificate)], KEY),
        ] {
            let problems = load(&wrong).unwrap_err();
            assert_eq!((problems.len(), problems[0].variable.as_str()), (1, name), "{problems:?}");
        }
    }
}
