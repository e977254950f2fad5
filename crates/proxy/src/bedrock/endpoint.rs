//! Where Bedrock lives, the runtime and the control plane: partition, FIPS, dual-stack, or the operator's own URL.
//!
//! <https://docs.aws.amazon.com/general/latest/gr/bedrock.html>

use http::Uri;
use http::uri::{Authority, InvalidUri, PathAndQuery, Scheme};

/// The base of every URL: scheme, host, and a path in front if the operator gave one.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    scheme: Scheme,
    authority: Authority,
    base_path: String,
}

/// Start of a region name, DNS suffix, dual-stack DNS suffix; the last row is the commercial partition.
const PARTITIONS: [(&str, &str, &str); 8] = [
    ("cn-", "amazonaws.com.cn", "api.amazonwebservices.com.cn"),
    ("eusc-", "amazonaws.eu", "api.amazonwebservices.eu"),
    ("us-iso-", "c2s.ic.gov", "api.aws.ic.gov"),
    ("us-isob-", "sc2s.sgov.gov", "api.aws.scloud"),
    ("eu-isoe-", "cloud.adc-e.uk", "api.cloud-aws.adc-e.uk"),
    ("us-isof-", "csp.hci.ic.gov", "api.aws.hci.ic.gov"),
    ("us-gov-", "amazonaws.com", "api.aws"),
    ("", "amazonaws.com", "api.aws"),
];

impl Endpoint {
    /// An endpoint as typed.
    pub(super) fn custom(uri: &Uri) -> Result<Self, InvalidUri> {
        let scheme = uri.scheme().cloned().unwrap_or(Scheme::HTTPS);
        let authority = uri.authority().map_or("", Authority::as_str).parse()?;
        Ok(Self { scheme, authority, base_path: uri.path().trim_end_matches('/').to_owned() })
    }

    /// AWS's own endpoint of `service` in `region`.
    pub(super) fn of(service: &str, region: &str, fips: bool, dual_stack: bool) -> Result<Self, InvalidUri> {
        let (_, plain, both) = partition(region);
        let fips = if fips { "-fips" } else { "" };
        let suffix = if dual_stack { both } else { plain };
        let authority = format!("{service}{fips}.{region}.{suffix}").parse()?;
        Ok(Self { scheme: Scheme::HTTPS, authority, base_path: String::new() })
    }

    /// Whether connections need TLS.
    pub(super) fn is_https(&self) -> bool {
        self.scheme == Scheme::HTTPS
    }

    /// The host and port as the `Host` header carries them: without the scheme's own port.
    pub(super) fn host(&self) -> &str {
        let default_port = if self.is_https() { ":443" } else { ":80" };
        self.authority.as_str().trim_end_matches(default_port)
    }

    /// The URL of a path, encoded already, and perhaps a query.
    pub(super) fn url(&self, path_and_query: &str) -> Result<Uri, http::Error> {
        Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query(PathAndQuery::try_from(format!("{}{path_and_query}", self.base_path))?)
            .build()
    }
}

/// The row of [`PARTITIONS`] that `region` belongs to.
fn partition(region: &str) -> (&'static str, &'static str, &'static str) {
    let row = PARTITIONS.into_iter().find(|(start, ..)| region.starts_with(start));
    row.unwrap_or(("", "amazonaws.com", "api.aws"))
}

/// The name of the region's partition, as ARNs have it.
pub(super) fn partition_name(region: &str) -> &'static str {
    const NAMES: [(&str, &str); 7] = [
        ("cn-", "aws-cn"),
        ("eusc-", "aws-eusc"),
        ("us-iso-", "aws-iso"),
        ("us-isob-", "aws-iso-b"),
        ("eu-isoe-", "aws-iso-e"),
        ("us-isof-", "aws-iso-f"),
        ("us-gov-", "aws-us-gov"),
    ];
    NAMES.iter().find(|(start, _)| region.starts_with(start)).map_or("aws", |(_, name)| name)
}

/// Whether both regions are of one partition, so that the same credentials are known in both.
pub(super) fn is_same_partition(region: &str, other: &str) -> bool {
    partition(region).0 == partition(other).0
}

/// Percent-encodes everything but RFC 3986's unreserved characters, as botocore does (`:` → `%3A`, `/` → `%2F`).
pub(super) fn encode_segment(text: &str, out: &mut String) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::bedrock::{Bedrock, Operation};
    use crate::clock::Clock;
    use crate::config::Config;

    fn url(variables: &[(&str, &str)], model_id: &str) -> String {
        let config = Config::load(|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        });
        let bedrock =
            Bedrock::new(&config.unwrap().bedrock, &Clock::machine(), &crate::tasks::Tasks::default())
                .unwrap();
        let operation = Operation::ConverseStream;
        let target = bedrock.target_for(operation, "m");
        target.endpoint.url(&operation.path(model_id)).unwrap().to_string()
    }

    #[test]
    fn the_host_follows_region_partition_fips_and_dual_stack() {
        let host = |region, fips, dual| {
            let variables = [
                ("AWS_REGION", region),
                ("AWS_USE_FIPS_ENDPOINT", fips),
                ("AWS_USE_DUALSTACK_ENDPOINT", dual),
            ];
            url(&variables, "m").split('/').nth(2).unwrap().to_owned()
        };
        assert_eq!(host("us-east-1", "0", "0"), "bedrock-runtime.us-east-1.amazonaws.com");
        assert_eq!(host("us-east-1", "1", "0"), "bedrock-runtime-fips.us-east-1.amazonaws.com");
        assert_eq!(host("us-east-1", "0", "1"), "bedrock-runtime.us-east-1.api.aws");
        assert_eq!(host("us-gov-west-1", "1", "1"), "bedrock-runtime-fips.us-gov-west-1.api.aws");
        assert_eq!(host("cn-north-1", "0", "0"), "bedrock-runtime.cn-north-1.amazonaws.com.cn");
        assert_eq!(host("eusc-de-east-1", "0", "0"), "bedrock-runtime.eusc-de-east-1.amazonaws.eu");
        assert_eq!(host("us-isob-east-1", "0", "0"), "bedrock-runtime.us-isob-east-1.sc2s.sgov.gov");
    }

    #[test]
    fn a_custom_endpoint_is_used_as_typed() {
        let custom = |base| url(&[("AWS_ENDPOINT_URL", base)], "m");
        assert_eq!(custom("http://127.0.0.1:9000"), "http://127.0.0.1:9000/model/m/converse-stream");
        assert_eq!(
            custom("https://gateway.example/aws/"),
            "https://gateway.example/aws/model/m/converse-stream"
        );
    }

    #[test]
    fn a_model_id_is_always_one_path_segment() {
        let path = |id| url(&[], id).split_once(".com").unwrap().1.to_owned();
        assert_eq!(path("us.anthropic.claude-v1:0"), "/model/us.anthropic.claude-v1%3A0/converse-stream");
        assert_eq!(
            path("arn:aws:bedrock:us-east-1:1:application-inference-profile/abc"),
            "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Aapplication-inference-profile%2Fabc/converse-stream"
        );
        assert_eq!(path("a?b#c%2f é"), "/model/a%3Fb%23c%252f%20%C3%A9/converse-stream");
    }
}
