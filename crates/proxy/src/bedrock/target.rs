//! Targets: the account, region and endpoint that a request is sent to, with what its signature is valid for.
//!
//! A model id that is an ARN of another region is sent to that region and signed for it.
//! <https://docs.aws.amazon.com/bedrock/latest/userguide/inference-profiles-use.html>

use std::sync::Arc;

use super::credentials::CredentialCache;
use super::endpoint::{self, Endpoint};
use super::sign::{self, CredentialScope};
use super::{Bedrock, CredentialsError, Operation, UpstreamError};
use crate::clock::Clock;
use crate::config;
use crate::http_client::HttpClientError;
use crate::http_client::{self, Client};

/// An endpoint of AWS in one region, with a client, credentials and their scope.
#[derive(Debug)]
pub(crate) struct Target {
    pub(super) endpoint: Endpoint,
    region: String,
    service: &'static str,
    /// `None` when the endpoint needs root certificates and this machine has none.
    client: Option<Client>,
    pub(super) credentials: Arc<CredentialCache>,
    pub(super) clock: Clock,
}

impl Target {
    /// The host and port, as the `Host` header carries them.
    #[must_use]
    pub(crate) fn host(&self) -> &str {
        self.endpoint.host()
    }

    /// The region that requests are signed for.
    #[must_use]
    pub(crate) fn region(&self) -> &str {
        &self.region
    }

    /// Whether rejected credentials can be replaced.
    #[must_use]
    pub(crate) fn can_refresh(&self) -> bool {
        self.credentials.can_refresh()
    }

    /// Replaces credentials that AWS rejected, once for all requests that used them. Returns whether there are others.
    ///
    /// # Errors
    /// When there are none.
    pub(crate) async fn refresh_credentials(&self) -> Result<bool, CredentialsError> {
        self.credentials.refresh_rejected().await
    }

    pub(super) fn credential_scope(&self) -> CredentialScope<'_> {
        CredentialScope { service: self.service, region: &self.region }
    }

    pub(super) fn client(&self) -> Result<&Client, UpstreamError> {
        self.client.as_ref().ok_or_else(|| {
            UpstreamError::construction(format!("there are no root certificates for {}", self.host()))
        })
    }

    /// The same client and credentials with another region, and another endpoint if given.
    fn in_region(&self, region: &str, endpoint: Option<Endpoint>) -> Self {
        Self {
            endpoint: endpoint.unwrap_or_else(|| self.endpoint.clone()),
            region: region.to_owned(),
            service: self.service,
            client: self.client.clone(),
            credentials: Arc::clone(&self.credentials),
            clock: self.clock.clone(),
        }
    }
}

/// The targets of the configured region.
#[derive(Debug)]
pub(super) struct Targets {
    runtime: Arc<Target>,
    control: Arc<Target>,
    mantle: Arc<Target>,
    sts: Target,
    fips: bool,
    dual_stack: bool,
    has_custom_runtime: bool,
    has_custom_control: bool,
}

impl Targets {
    pub(super) fn new(
        config: &config::BedrockConfig,
        credentials: &Arc<CredentialCache>,
        clock: &Clock,
    ) -> Result<Self, HttpClientError> {
        let invalid = |error: http::uri::InvalidUri| HttpClientError::Endpoint(error.to_string());
        let endpoint = |custom: Option<&http::Uri>, service: &str, fips: bool, dual_stack: bool| {
            let endpoint = match custom {
                Some(uri) => Endpoint::custom(uri),
                None => Endpoint::of(service, &config.region, fips, dual_stack),
            };
            endpoint.map_err(invalid)
        };
        let (fips, dual_stack) = (config.fips, config.dual_stack);
        let custom_control = config.control.endpoint.as_ref();
        let runtime = endpoint(config.endpoint.as_ref(), "bedrock-runtime", fips, dual_stack)?;
        let client = http_client::new(runtime.is_https(), config.ca_bundle.as_deref())?;
        let is_https = runtime.is_https();
        // A client made for plain HTTP trusts no certificate.
        let client_for = |endpoint: &Endpoint| {
            if is_https || !endpoint.is_https() {
                Some(client.clone())
            } else {
                http_client::new(endpoint.is_https(), config.ca_bundle.as_deref()).ok()
            }
        };
        let target = |endpoint: Endpoint, service: &'static str| Target {
            client: client_for(&endpoint),
            endpoint,
            region: config.region.clone(),
            service,
            credentials: Arc::clone(credentials),
            clock: clock.clone(),
        };
        // Mantle has a name in the dual-stack domain only.
        let mantle = endpoint(config.mantle.as_ref(), "bedrock-mantle", fips, true)?;
        // In GovCloud the usual name of STS is the FIPS endpoint.
        let has_fips_sts = fips && !config.region.starts_with("us-gov-");
        let sts = endpoint(config.sts.as_ref(), "sts", has_fips_sts, dual_stack)?;
        Ok(Self {
            runtime: Arc::new(target(runtime, sign::BEDROCK)),
            control: Arc::new(target(endpoint(custom_control, "bedrock", fips, dual_stack)?, sign::BEDROCK)),
            mantle: Arc::new(target(mantle, sign::MANTLE)),
            sts: target(sts, sign::STS),
            fips,
            dual_stack,
            has_custom_runtime: config.endpoint.is_some(),
            has_custom_control: custom_control.is_some(),
        })
    }

    /// The runtime of the configured region.
    pub(super) fn runtime(&self) -> &Arc<Target> {
        &self.runtime
    }

    /// STS in the configured region.
    pub(super) fn sts(&self) -> &Target {
        &self.sts
    }

    /// The control plane of the region of `id`.
    pub(super) fn control(&self, id: &str) -> Arc<Target> {
        self.for_id(id, &self.control, self.has_custom_control, "bedrock")
    }

    /// A custom endpoint serves every region, as only its operator knows what is behind it; the signature still has
    /// to name the ARN's own region.
    fn for_id(&self, id: &str, configured: &Arc<Target>, is_custom: bool, service: &str) -> Arc<Target> {
        let Some(region) = arn_region(id, &configured.region) else { return Arc::clone(configured) };
        if is_custom {
            return Arc::new(configured.in_region(region, None));
        }
        match Endpoint::of(service, region, self.fips, self.dual_stack) {
            Ok(endpoint) => Arc::new(configured.in_region(region, Some(endpoint))),
            Err(_) => Arc::clone(configured),
        }
    }
}

impl Bedrock {
    /// The target of `operation` for `model_id`.
    #[must_use]
    pub(crate) fn target_for(&self, operation: Operation, model_id: &str) -> Arc<Target> {
        if operation.is_on_mantle() {
            return Arc::clone(&self.targets.mantle);
        }
        let targets = &self.targets;
        targets.for_id(model_id, &targets.runtime, targets.has_custom_runtime, "bedrock-runtime")
    }

    /// The ARN of a system-defined resource in the configured region.
    #[must_use]
    pub(crate) fn arn(&self, kind: &str, id: &str) -> String {
        let partition = endpoint::partition_name(&self.region);
        format!("arn:{partition}:bedrock:{}::{kind}/{id}", self.region)
    }
}

/// The region in an ARN when it is not `configured`. It becomes part of a host name that gets signed requests, so
/// what is no region of the same partition is not followed.
fn arn_region<'a>(id: &'a str, configured: &str) -> Option<&'a str> {
    let mut parts = id.strip_prefix("arn:")?.split(':');
    let region = parts.nth(2)?;
    let is_valid = config::is_region(region) && endpoint::is_same_partition(region, configured);
    (is_valid && region != configured).then_some(region)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::config::Config;
    use crate::tasks::Tasks;

    const ARN: &str = "arn:aws:bedrock:eu-west-1:123456789012:application-inference-profile/abc";

    fn bedrock(variables: &[(&str, &str)]) -> Bedrock {
        let config = Config::load(|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        });
        Bedrock::new(&config.unwrap().bedrock, &Clock::machine(), &Tasks::default()).unwrap()
    }

    /// Host and region of the runtime, then of the control plane.
    fn targets(variables: &[(&str, &str)], id: &str) -> [String; 4] {
        let bedrock = bedrock(variables);
        let (runtime, control) = (bedrock.target_for(Operation::Converse, id), bedrock.targets.control(id));
        [&runtime, &control]
            .map(|target| [target.host().to_owned(), target.region().to_owned()])
            .concat()
            .try_into()
            .unwrap()
    }

    #[test]
    fn arn_is_sent_to_and_signed_for_its_region() {
        let [runtime, region, control, signed] = targets(&[("AWS_USE_FIPS_ENDPOINT", "1")], ARN);
        assert_eq!(
            (runtime.as_str(), region.as_str()),
            ("bedrock-runtime-fips.eu-west-1.amazonaws.com", "eu-west-1")
        );
        assert_eq!(
            (control.as_str(), signed.as_str()),
            ("bedrock-fips.eu-west-1.amazonaws.com", "eu-west-1")
        );
        let [runtime, region, control, _] = targets(&[], "us.anthropic.claude-opus-5");
        assert_eq!(
            (runtime.as_str(), region.as_str()),
            ("bedrock-runtime.us-east-1.amazonaws.com", "us-east-1")
        );
        assert_eq!(control, "bedrock.us-east-1.amazonaws.com");
    }

    #[test]
    fn mantle_has_its_own_host_and_scope() {
        let mantle = |variables: &[(&str, &str)]| {
            let bedrock = bedrock(variables);
            let target = bedrock.target_for(Operation::MantleMessages, "m");
            assert_eq!(
                (target.credential_scope().service, target.credential_scope().region),
                ("bedrock-mantle", "us-west-2")
            );
            target.host().to_owned()
        };
        let region = ("AWS_BEDROCK_REGION", "us-west-2");
        assert_eq!(mantle(&[region]), "bedrock-mantle.us-west-2.api.aws");
        assert_eq!(mantle(&[region, ("AWS_ENDPOINT_URL", "http://127.0.0.1:9")]), "127.0.0.1:9");
    }

    #[test]
    fn sts_follows_region_and_partition() {
        let host = |variables: &[(&str, &str)]| {
            let bedrock = bedrock(variables);
            let target = bedrock.targets.sts();
            assert_eq!(target.credential_scope().service, "sts");
            target.host().to_owned()
        };
        let [fips, dual] = [("AWS_USE_FIPS_ENDPOINT", "1"), ("AWS_USE_DUALSTACK_ENDPOINT", "1")];
        assert_eq!(host(&[]), "sts.us-east-1.amazonaws.com");
        assert_eq!(host(&[fips]), "sts-fips.us-east-1.amazonaws.com");
        assert_eq!(host(&[fips, ("AWS_REGION", "us-gov-west-1")]), "sts.us-gov-west-1.amazonaws.com");
        assert_eq!(host(&[dual]), "sts.us-east-1.api.aws");
        assert_eq!(host(&[("AWS_REGION", "cn-north-1")]), "sts.cn-north-1.amazonaws.com.cn");
        let common = ("AWS_ENDPOINT_URL", "http://127.0.0.1:9");
        assert_eq!(host(&[common]), "127.0.0.1:9");
        assert_eq!(host(&[common, ("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:8")]), "127.0.0.1:8");
    }

    #[test]
    fn custom_endpoint_keeps_its_host_for_every_region() {
        let [runtime, region, control, signed] = targets(&[("AWS_ENDPOINT_URL", "http://127.0.0.1:9")], ARN);
        assert_eq!((runtime.as_str(), control.as_str()), ("127.0.0.1:9", "127.0.0.1:9"));
        assert_eq!((region.as_str(), signed.as_str()), ("eu-west-1", "eu-west-1"));
        let apart = [
            ("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", "http://127.0.0.1:1"),
            ("AWS_ENDPOINT_URL_BEDROCK", "http://127.0.0.1:2"),
        ];
        let [runtime, _, control, _] = targets(&apart, "m");
        assert_eq!((runtime.as_str(), control.as_str()), ("127.0.0.1:1", "127.0.0.1:2"));
    }

    #[test]
    fn invalid_regions_in_arns_are_ignored() {
        for region in
            ["evil.example/x", "us-east-1.evil-2", "cn-north-1", "eu-isoe-west-1", "", "eu-west-1@x-1"]
        {
            let arn = format!("arn:aws:bedrock:{region}:123456789012:application-inference-profile/abc");
            let [runtime, region, ..] = targets(&[], &arn);
            assert_eq!(
                (runtime.as_str(), region.as_str()),
                ("bedrock-runtime.us-east-1.amazonaws.com", "us-east-1")
            );
        }
    }
}
