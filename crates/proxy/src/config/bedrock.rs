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
    /// `AWS_ENDPOINT_URL_BEDROCK_MANTLE`, used unchanged: the endpoint of models that the runtime does not serve.
    pub(crate) mantle: Option<Uri>,
    /// `AWS_ENDPOINT_URL_STS`, used unchanged.
    pub(crate) sts: Option<Uri>,
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
    /// `AWS_BEDROCK_RESOLVE_PROFILES`: look up the model of an application inference profile.
    pub(crate) resolve_profiles: bool,
    /// `AWS_ENDPOINT_URL_BEDROCK`, used unchanged.
    pub(crate) endpoint: Option<Uri>,
}

pub(super) fn bedrock(env: &mut EnvReader<'_>) -> BedrockConfig {
    let region = region(env);
    let endpoint = runtime_endpoint(env);
    let fips = env.boolean("AWS_USE_FIPS_ENDPOINT");
    let dual_stack = env.boolean("AWS_USE_DUALSTACK_ENDPOINT");
    for (name, enabled) in [("AWS_USE_FIPS_ENDPOINT", fips), ("AWS_USE_DUALSTACK_ENDPOINT", dual_stack)] {
        if enabled && endpoint.is_some() {
            env.error(name, Some("true"), "cannot be combined with a custom endpoint; unset one of them");
        }
    }
    let standard = !fips && !dual_stack;
    BedrockConfig {
        keys: access_keys(env),
        bearer: env.secret("AWS_BEARER_TOKEN_BEDROCK"),
        ca_bundle: ca_bundle(env),
        control: ControlPlaneConfig {
            endpoint: service_endpoint(env, "AWS_ENDPOINT_URL_BEDROCK", standard),
            discover: env.boolean("AWS_BEDROCK_DISCOVER_MODELS"),
            resolve_profiles: env.boolean("AWS_BEDROCK_RESOLVE_PROFILES"),
        },
        mantle: service_endpoint(env, "AWS_ENDPOINT_URL_BEDROCK_MANTLE", standard),
        sts: service_endpoint(env, "AWS_ENDPOINT_URL_STS", standard),
        region,
        endpoint,
        fips,
        dual_stack,
    }
}

fn region(env: &mut EnvReader<'_>) -> String {
    let set = env.first_of(&["AWS_BEDROCK_REGION", "AWS_REGION", "AWS_DEFAULT_REGION"]);
    if set.is_some() {
        env.set_default("AWS_BEDROCK_REGION", "");
    }
    let (name, region) =
        set.unwrap_or_else(|| ("AWS_BEDROCK_REGION", env.text_or_default("AWS_BEDROCK_REGION")));
    if !parse::is_region(&region) {
        env.error(name, Some(&region), "not an AWS region; use one such as us-east-1");
    }
    region
}

fn runtime_endpoint(env: &mut EnvReader<'_>) -> Option<Uri> {
    let (name, value) = env.first_of(&["AWS_ENDPOINT_URL_BEDROCK_RUNTIME", "AWS_ENDPOINT_URL"])?;
    parse::endpoint(&value).map_err(|reason| env.error(name, Some(&value), reason)).ok()
}

/// The endpoint in `variable`, or else in `AWS_ENDPOINT_URL`. `standard` excludes FIPS and dual-stack endpoints.
fn service_endpoint(env: &mut EnvReader<'_>, variable: &'static str, standard: bool) -> Option<Uri> {
    let (name, value) = env.first_of(&[variable, "AWS_ENDPOINT_URL"])?;
    // Errors in AWS_ENDPOINT_URL are reported once, for the runtime.
    let error = |env: &mut EnvReader<'_>, reason: &str| {
        if name == variable {
            env.error(name, Some(&value), reason);
        }
    };
    if !standard {
        error(env, "cannot be combined with FIPS or dual-stack endpoints; unset one of them");
    }
    parse::endpoint(&value).map_err(|reason| error(env, reason)).ok()
}

fn ca_bundle(env: &mut EnvReader<'_>) -> Option<PathBuf> {
    let path = PathBuf::from(env.text("AWS_CA_BUNDLE")?);
    if let Err(error) = std::fs::metadata(&path) {
        let value = path.display().to_string();
        env.error("AWS_CA_BUNDLE", Some(&value), format!("cannot be read ({error}); name a PEM file"));
    }
    Some(path)
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
        let mantle = ("AWS_ENDPOINT_URL_BEDROCK_MANTLE", "http://127.0.0.1:4");
        let bedrock = load(&[common, mantle]).unwrap().bedrock;
        let ports = [bedrock.endpoint, bedrock.control.endpoint, bedrock.mantle];
        assert_eq!(ports.map(|uri| uri.and_then(|uri| uri.port_u16())), [Some(1), Some(1), Some(4)]);
    }

    #[test]
    fn control_plane_endpoint_excludes_fips_and_dual_stack() {
        let own = ("AWS_ENDPOINT_URL_BEDROCK", "http://127.0.0.1:2");
        assert_eq!(load(&[own, ("AWS_USE_FIPS_ENDPOINT", "1")]).unwrap_err().len(), 1);
        assert_eq!(load(&[("AWS_ENDPOINT_URL_BEDROCK", "ftp://x")]).unwrap_err().len(), 1);
        let control = load(&[]).unwrap().bedrock.control;
        assert!(!control.discover && control.resolve_profiles);
        let remote = load(&[("AWS_ENDPOINT_URL_BEDROCK", "http://proxy.example")]).unwrap();
        assert_eq!(remote.warnings.len(), 1, "plain HTTP to a remote host is a warning");
    }
}
