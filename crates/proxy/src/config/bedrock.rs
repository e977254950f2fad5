//! Bedrock: region, credentials, endpoints and the control plane.

use std::collections::HashMap;
use std::path::PathBuf;

use aws_config::profile;
use aws_types::os_shim_internal::{Env, Fs};
use futures_util::FutureExt;
use http::Uri;

use super::env::EnvReader;
use super::parse;
use crate::secret::Secret;

/// Source of a region that the selected profile of the AWS configuration has.
const PROFILE_REGION: &str = "region of the AWS profile";
/// Source of the region that applies when there is no other.
const DEFAULT_REGION: &str = "default";

/// Region, credentials and endpoints.
#[derive(Clone, Debug)]
pub(crate) struct BedrockConfig {
    /// `AWS_BEDROCK_REGION`.
    pub(crate) region: String,
    /// Where the region comes from: a variable, [`PROFILE_REGION`] or [`DEFAULT_REGION`].
    pub(crate) region_source: &'static str,
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
    let (region_source, region) = region(env);
    let config = BedrockConfig {
        region,
        region_source,
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

/// The region and its source, in the order of the AWS SDKs.
/// <https://docs.aws.amazon.com/sdkref/latest/guide/feature-region.html>
fn region(env: &mut EnvReader<'_>) -> (&'static str, String) {
    const NAME: &str = "AWS_BEDROCK_REGION";
    let is_set = env.text(NAME).is_some();
    if !is_set && let Some(region) = profile_region(env) {
        env.set_profile_value(NAME, &region);
        if !parse::is_region(&region) {
            env.error(PROFILE_REGION, Some(&region), "not an AWS region; use one such as us-east-1");
        }
        return (PROFILE_REGION, region);
    }
    let source = if is_set { env.source(NAME) } else { DEFAULT_REGION };
    (source, env.parse(NAME, parse::region).unwrap_or_default())
}

/// The region of the selected profile in the files `config` and `credentials` of AWS.
fn profile_region(env: &EnvReader<'_>) -> Option<String> {
    let names = ["HOME", "AWS_PROFILE", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"];
    let variables: HashMap<_, _> =
        names.iter().filter_map(|name| Some(((*name).to_owned(), env.raw(name)?))).collect();
    let files = Default::default();
    // The files are read without waiting, so that the future is ready.
    let profiles = profile::load(&Fs::real(), &Env::from(variables), &files, None).now_or_never()?;
    profiles.ok()?.get("region").map(|region| region.trim().to_owned()).filter(|region| !region.is_empty())
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
    use crate::config::{Config, ConfigError, Origin};

    fn load(pairs: &[(&str, &str)]) -> Result<Config, Vec<ConfigError>> {
        Config::load(lookup_in(pairs))
    }

    #[test]
    fn variables_win_over_the_region_of_the_profile() {
        let home = tempfile::tempdir().unwrap();
        let text = "[default]\nregion = eu-west-1\n[profile other]\nregion = ap-south-1\n[profile empty]\n";
        std::fs::create_dir(home.path().join(".aws")).unwrap();
        std::fs::write(home.path().join(".aws/config"), text).unwrap();
        let other = home.path().join("other");
        std::fs::write(&other, "[default]\nregion = Mars\n").unwrap();
        let home = ("HOME", home.path().to_str().unwrap());
        let region = |pairs: &[(&str, &str)]| {
            let bedrock = load(pairs).unwrap().bedrock;
            (bedrock.region, bedrock.region_source)
        };
        let expected = |region: &str, source| (region.to_owned(), source);
        assert_eq!(region(&[]), expected("us-east-1", super::DEFAULT_REGION));
        assert_eq!(region(&[home]), expected("eu-west-1", super::PROFILE_REGION));
        let other_profile = ("AWS_PROFILE", "other");
        assert_eq!(region(&[home, other_profile]), expected("ap-south-1", super::PROFILE_REGION));
        for profile in ["empty", "missing"] {
            assert_eq!(region(&[home, ("AWS_PROFILE", profile)]).1, super::DEFAULT_REGION, "{profile}");
        }
        for variable in ["AWS_BEDROCK_REGION", "AWS_REGION", "AWS_DEFAULT_REGION"] {
            assert_eq!(region(&[home, (variable, "us-west-2")]), expected("us-west-2", variable));
        }
        let errors = load(&[("AWS_CONFIG_FILE", other.to_str().unwrap())]).unwrap_err();
        assert!(errors[0].to_string().starts_with("region of the AWS profile=\"Mars\": not an AWS region"));
        let settings = Config::read(&lookup_in(&[home]), &|_| false).1;
        let mut rows = settings.rows(|_| false);
        let row = rows.find(|(name, ..)| *name == "AWS_BEDROCK_REGION");
        assert_eq!(row, Some(("AWS_BEDROCK_REGION", Some("eu-west-1"), Origin::AwsProfile)));
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
