//! Bedrock: region, credentials, endpoints and the control plane.

use std::path::PathBuf;

use http::Uri;

use super::env::EnvReader;
use super::parse;
use crate::secret::Secret;

/// Region, credentials and endpoints.
#[derive(Clone, Debug)]
pub(crate) struct BedrockConfig {
    /// `AWS_BEDROCK_REGION`.
    pub(crate) region: String,
    /// `AWS_BEDROCK_ACCESS_KEY` and companions; `None` leaves the choice to the AWS credential chain.
    pub(crate) keys: Option<AccessKeyConfig>,
    /// `AWS_BEARER_TOKEN_BEDROCK`: a Bedrock API key.
    pub(crate) bearer: Option<Secret>,
    /// `AWS_ENDPOINT_URL_BEDROCK_RUNTIME`, used unchanged.
    pub(crate) endpoint: Option<Uri>,
    /// `AWS_USE_FIPS_ENDPOINT`.
    pub(crate) fips: bool,
    /// `AWS_USE_DUALSTACK_ENDPOINT`.
    pub(crate) dual_stack: bool,
    /// `AWS_CA_BUNDLE`: a PEM file that replaces the system's root certificates.
    pub(crate) ca_bundle: Option<PathBuf>,
    /// The control plane.
    pub(crate) control: ControlPlaneConfig,
    /// `AWS_ENDPOINT_URL`, used unchanged for the endpoint of models that the runtime does not serve.
    pub(crate) mantle: Option<Uri>,
    /// `AWS_ENDPOINT_URL_STS`, used unchanged.
    pub(crate) sts: Option<Uri>,
}

impl BedrockConfig {
    /// The custom endpoints.
    pub(super) fn endpoints(&self) -> impl Iterator<Item = &Uri> {
        [&self.endpoint, &self.control.endpoint, &self.mantle, &self.sts].into_iter().flatten()
    }
}

/// Static AWS access keys.
#[derive(Clone, Debug)]
pub(crate) struct AccessKeyConfig {
    /// `AWS_BEDROCK_ACCESS_KEY`.
    pub(crate) access_key: String,
    /// `AWS_BEDROCK_SECRET_KEY`.
    pub(crate) secret_key: Secret,
    /// `AWS_BEDROCK_SESSION_TOKEN`.
    pub(crate) session_token: Option<Secret>,
}

/// The control plane, which lists models and inference profiles.
#[derive(Clone, Debug, Default)]
pub(crate) struct ControlPlaneConfig {
    /// `AWS_BEDROCK_DISCOVER_MODELS`: list the models at start and every hour.
    pub(crate) discover: bool,
    /// `AWS_ENDPOINT_URL_BEDROCK`, used unchanged.
    pub(crate) endpoint: Option<Uri>,
}

pub(super) fn bedrock(env: &mut EnvReader<'_>) -> BedrockConfig {
    let config = BedrockConfig {
        region: env.parse("AWS_BEDROCK_REGION", parse::region).unwrap_or_default(),
        keys: access_keys(env),
        bearer: env.secret("AWS_BEARER_TOKEN_BEDROCK"),
        endpoint: env.parse("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", parse::endpoint),
        fips: env.boolean("AWS_USE_FIPS_ENDPOINT"),
        dual_stack: env.boolean("AWS_USE_DUALSTACK_ENDPOINT"),
        ca_bundle: env.parse("AWS_CA_BUNDLE", parse::pem_file),
        control: ControlPlaneConfig {
            endpoint: env.parse("AWS_ENDPOINT_URL_BEDROCK", parse::endpoint),
            discover: env.boolean("AWS_BEDROCK_DISCOVER_MODELS"),
        },
        mantle: env.parse("AWS_ENDPOINT_URL", parse::endpoint),
        sts: env.parse("AWS_ENDPOINT_URL_STS", parse::endpoint),
    };
    let is_custom = config.endpoints().next().is_some();
    for (name, enabled) in
        [("AWS_USE_FIPS_ENDPOINT", config.fips), ("AWS_USE_DUALSTACK_ENDPOINT", config.dual_stack)]
    {
        if enabled && is_custom {
            env.error(name, Some("true"), "cannot be combined with a custom endpoint; unset one of them");
        }
    }
    config
}

fn access_keys(env: &mut EnvReader<'_>) -> Option<AccessKeyConfig> {
    const ACCESS_KEY: &str = "AWS_BEDROCK_ACCESS_KEY";
    const SECRET_KEY: &str = "AWS_BEDROCK_SECRET_KEY";
    const SESSION_TOKEN: &str = "AWS_BEDROCK_SESSION_TOKEN";
    let (access_key, secret_key) = (env.text(ACCESS_KEY), env.secret(SECRET_KEY));
    let session_token = env.secret(SESSION_TOKEN);
    match (access_key, secret_key) {
        (Some(access_key), Some(secret_key)) => {
            return Some(AccessKeyConfig { access_key, secret_key, session_token });
        }
        (Some(_), None) => {
            env.error(SECRET_KEY, None, "missing; set it together with AWS_BEDROCK_ACCESS_KEY");
        }
        (None, Some(_)) => {
            env.error(ACCESS_KEY, None, "missing; set it together with AWS_BEDROCK_SECRET_KEY");
        }
        (None, None) if session_token.is_some() => env.error(
            SESSION_TOKEN,
            None,
            "set without keys; set AWS_BEDROCK_ACCESS_KEY and AWS_BEDROCK_SECRET_KEY too",
        ),
        (None, None) => {}
    }
    None
}

#[cfg(test)]
mod tests {
    use crate::config::env::lookup_in;
    use crate::config::{Config, ConfigError};

    fn load(pairs: &[(&str, &str)]) -> Result<Config, Vec<ConfigError>> {
        Config::load(lookup_in(pairs))
    }

    #[test]
    fn control_plane_has_own_or_common_endpoint() {
        let common = ("AWS_ENDPOINT_URL", "http://127.0.0.1:1");
        let own = ("AWS_ENDPOINT_URL_BEDROCK", "http://127.0.0.1:2");
        let port = |pairs: &[(&str, &str)]| {
            load(pairs).unwrap().bedrock.control.endpoint.and_then(|uri| uri.port_u16())
        };
        assert_eq!(port(&[]), None);
        assert_eq!(port(&[common]), Some(1));
        assert_eq!(port(&[common, own]), Some(2));
        assert_eq!(port(&[("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", "http://127.0.0.1:3")]), None);
        let sts = ("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:4");
        let bedrock = load(&[common, own, sts]).unwrap().bedrock;
        let ports: Vec<_> = bedrock.endpoints().map(|uri| uri.port_u16().unwrap()).collect();
        assert_eq!(ports, [1, 2, 1, 4]);
    }

    #[test]
    fn control_plane_endpoint_excludes_fips_and_dual_stack() {
        let own = ("AWS_ENDPOINT_URL_BEDROCK", "http://127.0.0.1:2");
        assert_eq!(load(&[own, ("AWS_USE_FIPS_ENDPOINT", "1")]).unwrap_err().len(), 1);
        assert_eq!(load(&[("AWS_ENDPOINT_URL_BEDROCK", "ftp://x")]).unwrap_err().len(), 1);
        assert!(!load(&[]).unwrap().bedrock.control.discover);
        let remote = load(&[("AWS_ENDPOINT_URL_BEDROCK", "http://proxy.example")]).unwrap();
        assert_eq!(remote.warnings.len(), 1, "plain HTTP to a remote host is a warning");
    }
}
