//! Values with a grammar: mappings, regions, prefixes, endpoints.

use std::path::PathBuf;

use http::Uri;

/// Inference-profile prefixes of Bedrock.
/// <https://docs.aws.amazon.com/bedrock/latest/userguide/inference-profiles-support.html>
pub(crate) const PREFIXES: [&str; 9] = ["us", "eu", "apac", "au", "jp", "ca", "in", "us-gov", "global"];

/// `a=b,c=d`. A value may be an ARN, and both sides may be quoted.
pub(super) fn mappings(text: &str) -> Result<Vec<(String, String)>, Vec<String>> {
    let mut mappings: Vec<(String, String)> = Vec::new();
    let mut problems = Vec::new();
    for (index, entry) in unquote(text).split(',').enumerate() {
        let number = index + 1;
        let (name, id) = match unquote(entry).split_once('=') {
            Some((name, id)) => (unquote(name), unquote(id)),
            None => (unquote(entry), ""),
        };
        if name.is_empty() || id.is_empty() {
            problems.push(format!("entry {number} ({entry:?}) is not name=id; write name=id,name=id"));
        } else if mappings.iter().any(|(other, _)| other == name) {
            problems.push(format!("entry {number} repeats {name:?}; keep one of them"));
        } else if id.chars().any(|letter| letter.is_whitespace() || letter.is_control()) {
            problems.push(format!(
                "entry {number} maps {name:?} to an id with spaces; separate entries with commas"
            ));
        } else {
            mappings.push((name.to_owned(), id.to_owned()));
        }
    }
    if problems.is_empty() { Ok(mappings) } else { Err(problems) }
}

fn unquote(text: &str) -> &str {
    let text = text.trim();
    ['"', '\'']
        .iter()
        .find_map(|quote| text.strip_prefix(*quote)?.strip_suffix(*quote))
        .unwrap_or(text)
        .trim()
}

/// Whether `text` is shaped like a region: lower-case words and a number, as in `us-gov-west-1`.
pub(crate) fn is_region(text: &str) -> bool {
    let parts: Vec<_> = text.split('-').collect();
    let Some((number, words)) = parts.split_last() else {
        return false;
    };
    words.len() >= 2
        && text.len() <= 40
        && words.iter().all(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase()))
        && !number.is_empty()
        && number.bytes().all(|byte| byte.is_ascii_digit())
}

/// A region.
pub(super) fn region(text: &str) -> Result<String, &'static str> {
    if is_region(text) { Ok(text.to_owned()) } else { Err("not an AWS region; use one such as us-east-1") }
}

/// The path of a file that can be read.
pub(super) fn pem_file(path: &str) -> Result<PathBuf, String> {
    let found = std::fs::metadata(path).map(|_| path.into());
    found.map_err(|error| format!("cannot be read ({error}); name a PEM file"))
}

/// A prefix by name; `none` means model ids without an inference profile.
pub(super) fn prefix(text: &str) -> Result<Option<&'static str>, String> {
    let name = text.to_ascii_lowercase();
    if name == "none" {
        return Ok(None);
    }
    match PREFIXES.iter().find(|prefix| **prefix == name.trim_end_matches('.')) {
        Some(prefix) => Ok(Some(prefix)),
        None => Err(format!("use one of: {}, none", PREFIXES.join(", "))),
    }
}

/// The default prefix of a region, the same as in Claude Code.
pub(super) fn prefix_of_region(region: &str) -> &'static str {
    const STARTS: [(&str, &str); 4] = [("us-gov-", "us-gov"), ("us-", "us"), ("eu-", "eu"), ("ap-", "apac")];
    STARTS.iter().find(|(start, _)| region.starts_with(start)).map_or("global", |(_, prefix)| prefix)
}

/// A custom endpoint: `http` or `https`, a host and an optional path, no user and no query.
pub(super) fn endpoint(text: &str) -> Result<Uri, &'static str> {
    const ADVICE: &str = "use a URL such as https://vpce-1-2.bedrock-runtime.us-east-1.vpce.amazonaws.com";
    let uri: Uri = text.parse().map_err(|_| ADVICE)?;
    let scheme = matches!(uri.scheme_str(), Some("http" | "https"));
    let plain_host = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
    if scheme && plain_host && uri.query().is_none() { Ok(uri) } else { Err(ADVICE) }
}

/// Whether the endpoint is plain HTTP and not loopback.
pub(super) fn is_plain_and_remote(endpoint: &Uri) -> bool {
    let local = endpoint.host().is_some_and(|host| {
        let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    });
    endpoint.scheme_str() == Some("http") && !local
}
