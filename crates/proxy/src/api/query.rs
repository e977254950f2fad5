//! The query of a URL, taken apart.

/// `name=value` pairs, decoded once; `+` is a space, as forms write it.
pub(super) fn pairs(query: Option<&str>) -> Vec<(String, String)> {
    let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (decode(name), decode(value)))
        .collect()
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let byte = hex.filter(|_| *first == b'%').and_then(|hex| u8::from_str_radix(hex, 16).ok());
        rest = if byte.is_some() { tail.get(2..).unwrap_or_default() } else { tail };
        bytes.push(byte.unwrap_or(if *first == b'+' { b' ' } else { *first }));
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_decoded_once() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let read = pairs(Some("limit=5&&lifecycle%5B%5D=active&a=%2541+b&c"));
        assert_eq!(
            read,
            [pair("limit", "5"), pair("lifecycle[]", "active"), pair("a", "%41 b"), pair("c", "")]
        );
        assert_eq!(pairs(Some("a=%zz%4")), [pair("a", "%zz%4")]);
        assert!(pairs(None).is_empty());
    }
}
