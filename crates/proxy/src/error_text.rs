//! Texts of errors of libraries and of the operating system, for people: without codes and names of types.

use std::error::Error;

/// Names of layers in the HTTP client's errors, which begin the text of their cause.
const LAYERS: [&str; 2] = ["client error (", "tcp connect error"];

/// The text of an error and of its causes.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let mut parts = Vec::new();
    let mut current = Some(error);
    while let Some(error) = current {
        current = error.source();
        let text = error.to_string();
        // The cause explains what the layer does not.
        let is_layer = current.is_some() && LAYERS.iter().any(|layer| text.starts_with(layer));
        let is_repeated = parts.last() == Some(&text);
        if !is_layer && !is_repeated {
            parts.push(text);
        }
    }
    without_os_codes(&parts.join(": "))
}

/// `text` without the numbers of the operating system, such as ` (os error 2)`.
pub(crate) fn without_os_codes(text: &str) -> String {
    let mut parts = text.split(" (os error ");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.split_once(')').map_or("", |(_, rest)| rest))
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Layer(&'static str, #[source] Option<Box<dyn Error + Send + Sync>>);

    #[test]
    fn texts_have_no_codes_and_no_layers() {
        let refused = || Box::new(io::Error::from_raw_os_error(111));
        let tcp = Layer("tcp connect error", Some(refused()));
        let client = Layer("client error (Connect)", Some(Box::new(tcp)));
        assert_eq!(with_causes(&client), "Connection refused");
        let dns = Layer("dns error", Some(Box::new(io::Error::other("no such host"))));
        assert_eq!(with_causes(&dns), "dns error: no such host");
        assert_eq!(with_causes(&Layer("client error (Connect)", None)), "client error (Connect)");
        let text = "a: No such file or directory (os error 2); b: Input/output error (os error 5), too";
        assert_eq!(without_os_codes(text), "a: No such file or directory; b: Input/output error, too");
        assert_eq!(without_os_codes("as it is (os"), "as it is (os");
    }
}
