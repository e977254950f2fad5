//! The way to Bedrock's control plane, what is asked there, and the endpoints that have a variable of their own.

use http::Uri;

use super::env::Reader;
use super::parse;

/// The control plane: which models and inference profiles there are.
#[derive(Clone, Debug, Default)]
pub struct Control {
    /// `AWS_BEDROCK_DISCOVER_MODELS`: ask at start and every hour which models there are.
    pub discover: bool,
    /// `AWS_BEDROCK_RESOLVE_PROFILES`: ask which model an application inference profile stands for.
    pub resolve_profiles: bool,
    /// `AWS_ENDPOINT_URL_BEDROCK`, used as typed.
    pub endpoint: Option<Uri>,
}

pub(super) fn control(reader: &mut Reader<impl Fn(&str) -> Option<String>>, standard: bool) -> Control {
    let endpoint = endpoint(reader, "AWS_ENDPOINT_URL_BEDROCK", standard);
    Control {
        discover: reader.boolean("AWS_BEDROCK_DISCOVER_MODELS", false),
        resolve_profiles: reader.boolean("AWS_BEDROCK_RESOLVE_PROFILES", true),
        endpoint,
    }
}

/// The endpoint that the variable `own` names, or else the common one.
pub(super) fn endpoint(
    reader: &mut Reader<impl Fn(&str) -> Option<String>>,
    own: &'static str,
    standard: bool,
) -> Option<Uri> {
    let (name, value) = reader.first(&[own, "AWS_ENDPOINT_URL"])?;
    // What is wrong with the common name is reported once, for the runtime.
    let wrong = |reader: &mut Reader<_>, reason: &str| {
        if name == own {
            reader.problem(name, Some(&value), reason);
        }
    };
    if !standard {
        wrong(reader, "cannot be combined with FIPS or dual-stack endpoints; unset one of them");
    }
    parse::endpoint(&value).map_err(|reason| wrong(reader, reason)).ok()
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, Problem};

    fn load(pairs: &[(&str, &str)]) -> Result<Config, Vec<Problem>> {
        Config::load(|name| {
            pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_control_plane_has_its_own_endpoint_or_the_common_one() {
        let common = ("AWS_ENDPOINT_URL", "http://127.0.0.1:1");
        let own = ("AWS_ENDPOINT_URL_BEDROCK", "http://127.0.0.1:2");
        let port = |pairs: &[(&str, &str)]| {
            load(pairs).unwrap().bedrock.control.endpoint.and_then(|uri| uri.port_u16())
        };
        assert_eq!(port(&[]), None);
        assert_eq!(port(&[common]), Some(1));
        assert_eq!(port(&[common, own]), Some(2));
        assert_eq!(port(&[("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", "http://127.0.0.1:3")]), None);
        let mantle = ("AWS_ENDPOINT_URL_BEDROCK_MANTLE", "http://127.0.0.1:4");
        let bedrock = load(&[common, mantle]).unwrap().bedrock;
        let ports = [bedrock.endpoint, bedrock.control.endpoint, bedrock.mantle];
        assert_eq!(ports.map(|uri| uri.and_then(|uri| uri.port_u16())), [Some(1), Some(1), Some(4)]);
    }

    #[test]
    fn its_endpoint_excludes_fips_and_dual_stack_too() {
        let own = ("AWS_ENDPOINT_URL_BEDROCK", "http://127.0.0.1:2");
        assert_eq!(load(&[own, ("AWS_USE_FIPS_ENDPOINT", "1")]).unwrap_err().len(), 1);
        assert_eq!(load(&[("AWS_ENDPOINT_URL_BEDROCK", "ftp://x")]).unwrap_err().len(), 1);
        let control = load(&[]).unwrap().bedrock.control;
        assert!(!control.discover && control.resolve_profiles);
        let remote = load(&[("AWS_ENDPOINT_URL_BEDROCK", "http://proxy.example")]).unwrap();
        assert_eq!(remote.warnings.len(), 1, "what travels in the clear is said");
    }
}
