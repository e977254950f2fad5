//! Which endpoint a question goes to and what its signature is good for: the configured region, or the one an ARN names.
//!
//! <https://docs.aws.amazon.com/bedrock/latest/userguide/inference-profiles-use.html>

use std::borrow::Cow;

use http::uri::InvalidUri;

use super::endpoint::{self, Endpoint};
use super::sign::{self, Scope};
use super::{Bedrock, Failure};
use crate::config;
use crate::http_client::{self, Client, HttpClientError};

/// An endpoint, and what requests to it are signed for.
#[derive(Debug)]
pub(super) struct Place<'a> {
    pub(super) endpoint: Cow<'a, Endpoint>,
    pub(super) region: Cow<'a, str>,
    service: &'static str,
}

impl Place<'_> {
    /// What a request to it is signed for.
    pub(super) fn scope(&self) -> Scope<'_> {
        Scope { service: self.service, region: &self.region }
    }
}

/// What is needed to find other places than the runtime in the configured region.
#[derive(Debug)]
pub(super) struct Places {
    /// The control plane of the configured region.
    control: Endpoint,
    /// The way to it; there is none when it needs root certificates and this machine has none.
    pub(super) control_client: Option<Client>,
    /// Mantle in the configured region.
    mantle: Endpoint,
    /// The way to it, as for the control plane.
    mantle_client: Option<Client>,
    /// STS in the configured region.
    sts: Endpoint,
    /// The way to it, as for the control plane.
    sts_client: Option<Client>,
    fips: bool,
    dual_stack: bool,
    custom_runtime: bool,
    custom_control: bool,
}

impl Places {
    pub(super) fn new(
        config: &config::BedrockConfig,
        runtime: &Endpoint,
        client: &Client,
    ) -> Result<Self, HttpClientError> {
        let custom = config.control.endpoint.as_ref();
        let control = match custom {
            Some(uri) => Endpoint::custom(uri),
            None => Endpoint::of("bedrock", &config.region, config.fips, config.dual_stack),
        };
        let control = control.map_err(|error| HttpClientError::Endpoint(error.to_string()))?;
        let mantle = match &config.mantle {
            Some(uri) => Endpoint::custom(uri),
            // It has a name in the dual-stack domain only.
            None => Endpoint::of("bedrock-mantle", &config.region, config.fips, true),
        };
        let mantle = mantle.map_err(|error| HttpClientError::Endpoint(error.to_string()))?;
        let sts = match &config.sts {
            Some(uri) => Endpoint::custom(uri),
            // There the usual name is the one that keeps FIPS.
            None => {
                let fips = config.fips && !config.region.starts_with("us-gov-");
                Endpoint::of("sts", &config.region, fips, config.dual_stack)
            }
        };
        let sts = sts.map_err(|error| HttpClientError::Endpoint(error.to_string()))?;
        // A client made for plain HTTP trusts no certificate.
        let client_for = |endpoint: &Endpoint| {
            if runtime.is_https() || !endpoint.is_https() {
                Some(client.clone())
            } else {
                http_client::new(endpoint.is_https(), config.ca_bundle.as_deref()).ok()
            }
        };
        Ok(Self {
            control_client: client_for(&control),
            mantle_client: client_for(&mantle),
            sts_client: client_for(&sts),
            control,
            mantle,
            sts,
            fips: config.fips,
            dual_stack: config.dual_stack,
            custom_runtime: config.endpoint.is_some(),
            custom_control: custom.is_some(),
        })
    }

    fn elsewhere(&self, service: &str, region: &str) -> Result<Endpoint, InvalidUri> {
        Endpoint::of(service, region, self.fips, self.dual_stack)
    }
}

impl Bedrock {
    /// The region where `model_id` is asked.
    #[must_use]
    pub fn region_of<'a>(&'a self, model_id: &'a str) -> &'a str {
        foreign_region(model_id, &self.region).unwrap_or(&self.region)
    }

    /// The ARN of something of AWS's own in the configured region.
    #[must_use]
    pub fn arn(&self, kind: &str, id: &str) -> String {
        let partition = endpoint::partition_name(&self.region);
        format!("arn:{partition}:bedrock:{}::{kind}/{id}", self.region)
    }

    /// The runtime for `model_id`: an ARN of another region is asked and signed for there.
    pub(super) fn place(&self, model_id: &str) -> Place<'_> {
        self.find(model_id, &self.endpoint, self.places.custom_runtime, "bedrock-runtime")
    }

    /// The control plane for `id`, found in the same way.
    pub(super) fn control_place(&self, id: &str) -> Place<'_> {
        self.find(id, &self.places.control, self.places.custom_control, "bedrock")
    }

    /// Mantle, and the way to it.
    pub(super) fn mantle(&self) -> Result<(Place<'_>, &Client), Failure> {
        let no_client = || Failure::unsendable("there are no root certificates for the Mantle endpoint");
        let client = self.places.mantle_client.as_ref().ok_or_else(no_client)?;
        let (endpoint, region) = (Cow::Borrowed(&self.places.mantle), Cow::Borrowed(self.region.as_str()));
        Ok((Place { endpoint, region, service: sign::MANTLE }, client))
    }

    /// STS, and the way to it.
    pub(super) fn sts(&self) -> Result<(Place<'_>, &Client), Failure> {
        let no_client = || Failure::unsendable("there are no root certificates for STS");
        let client = self.places.sts_client.as_ref().ok_or_else(no_client)?;
        let (endpoint, region) = (Cow::Borrowed(&self.places.sts), Cow::Borrowed(self.region.as_str()));
        Ok((Place { endpoint, region, service: sign::STS }, client))
    }

    /// A custom endpoint is used for everything, as only its operator knows what is behind it; the signature
    /// still has to name the ARN's own region.
    fn find<'a>(&'a self, id: &str, configured: &'a Endpoint, custom: bool, service: &str) -> Place<'a> {
        let place = |endpoint, region| Place { endpoint, region, service: sign::BEDROCK };
        let here = || place(Cow::Borrowed(configured), Cow::Borrowed(&self.region));
        let Some(region) = foreign_region(id, &self.region) else { return here() };
        let region = Cow::Owned(region.to_owned());
        if custom {
            return place(Cow::Borrowed(configured), region);
        }
        match self.places.elsewhere(service, &region) {
            Ok(endpoint) => place(Cow::Owned(endpoint), region),
            Err(_) => here(),
        }
    }
}

/// The region in an ARN when it is not `ours`. It becomes part of a host name, and what is sent there holds our
/// proof of identity: anything that is not a region of our own partition is not followed.
fn foreign_region<'a>(id: &'a str, ours: &str) -> Option<&'a str> {
    let mut parts = id.strip_prefix("arn:")?.split(':');
    let region = parts.nth(2)?;
    let plain = config::is_region(region) && endpoint::is_same_partition(region, ours);
    (plain && region != ours).then_some(region)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::config::Config;

    const ARN: &str = "arn:aws:bedrock:eu-west-1:123456789012:application-inference-profile/abc";

    fn place(variables: &[(&str, &str)], id: &str) -> [String; 4] {
        let config = Config::load(|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        });
        let bedrock = Bedrock::new(&config.unwrap().bedrock, Clock::machine()).unwrap();
        let (runtime, control) = (bedrock.place(id), bedrock.control_place(id));
        [
            runtime.endpoint.host().to_owned(),
            runtime.region.into_owned(),
            control.endpoint.host().to_owned(),
            control.region.into_owned(),
        ]
    }

    #[test]
    fn an_arn_is_asked_and_signed_for_in_its_own_region() {
        let [runtime, region, control, signed] = place(&[("AWS_USE_FIPS_ENDPOINT", "1")], ARN);
        assert_eq!(
            (runtime.as_str(), region.as_str()),
            ("bedrock-runtime-fips.eu-west-1.amazonaws.com", "eu-west-1")
        );
        assert_eq!(
            (control.as_str(), signed.as_str()),
            ("bedrock-fips.eu-west-1.amazonaws.com", "eu-west-1")
        );
        let [runtime, region, control, _] = place(&[], "us.anthropic.claude-opus-5");
        assert_eq!(
            (runtime.as_str(), region.as_str()),
            ("bedrock-runtime.us-east-1.amazonaws.com", "us-east-1")
        );
        assert_eq!(control, "bedrock.us-east-1.amazonaws.com");
    }

    #[test]
    fn mantle_is_elsewhere_and_signed_for_by_its_own_name() {
        let mantle = |variables: &[(&str, &str)]| {
            let config = Config::load(|name| {
                variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
            });
            let bedrock = Bedrock::new(&config.unwrap().bedrock, Clock::machine()).unwrap();
            let (place, _) = bedrock.mantle().unwrap();
            assert_eq!((place.scope().service, place.scope().region), ("bedrock-mantle", "us-west-2"));
            place.endpoint.host().to_owned()
        };
        let region = ("AWS_BEDROCK_REGION", "us-west-2");
        assert_eq!(mantle(&[region]), "bedrock-mantle.us-west-2.api.aws");
        assert_eq!(mantle(&[region, ("AWS_ENDPOINT_URL", "http://127.0.0.1:9")]), "127.0.0.1:9");
    }

    #[test]
    fn sts_is_asked_in_the_same_region_and_partition() {
        let host = |variables: &[(&str, &str)]| {
            let config = Config::load(|name| {
                variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
            });
            let bedrock = Bedrock::new(&config.unwrap().bedrock, Clock::machine()).unwrap();
            let (place, _) = bedrock.sts().unwrap();
            assert_eq!(place.scope().service, "sts");
            place.endpoint.host().to_owned()
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
    fn a_custom_endpoint_stays_and_only_the_signature_names_the_arns_region() {
        let [runtime, region, control, signed] = place(&[("AWS_ENDPOINT_URL", "http://127.0.0.1:9")], ARN);
        assert_eq!((runtime.as_str(), control.as_str()), ("127.0.0.1:9", "127.0.0.1:9"));
        assert_eq!((region.as_str(), signed.as_str()), ("eu-west-1", "eu-west-1"));
        let apart = [
            ("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", "http://127.0.0.1:1"),
            ("AWS_ENDPOINT_URL_BEDROCK", "http://127.0.0.1:2"),
        ];
        let [runtime, _, control, _] = place(&apart, "m");
        assert_eq!((runtime.as_str(), control.as_str()), ("127.0.0.1:1", "127.0.0.1:2"));
    }

    #[test]
    fn what_only_looks_like_a_region_leads_nowhere_else() {
        for region in
            ["evil.example/x", "us-east-1.evil-2", "cn-north-1", "eu-isoe-west-1", "", "eu-west-1@x-1"]
        {
            let arn = format!("arn:aws:bedrock:{region}:123456789012:application-inference-profile/abc");
            let [runtime, region, ..] = place(&[], &arn);
            assert_eq!(
                (runtime.as_str(), region.as_str()),
                ("bedrock-runtime.us-east-1.amazonaws.com", "us-east-1")
            );
        }
    }
}
