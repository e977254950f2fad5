//! Data URLs: `data:image/png;base64,…`. <https://www.rfc-editor.org/rfc/rfc2397>

use std::borrow::Cow;

/// Media type and base64 of a data URL; `None` for another URL. Schemes and media types have no case, and parameters may
/// stand beside them.
pub(super) fn parse(url: &str) -> Option<(Cow<'_, str>, Cow<'_, str>)> {
    let url = url.trim();
    let scheme = url.get(..5)?;
    if !scheme.eq_ignore_ascii_case("data:") {
        return None;
    }
    let (head, data) = url[5..].split_once(',')?;
    let mut parts = head.split(';').map(str::trim);
    let media_type = parts.next().unwrap_or_default();
    if !parts.any(|parameter| parameter.eq_ignore_ascii_case("base64")) {
        return None;
    }
    Some((canonical(media_type), unescaped(data)))
}

fn canonical(media_type: &str) -> Cow<'_, str> {
    if media_type.eq_ignore_ascii_case("image/jpg") {
        return Cow::Borrowed("image/jpeg");
    }
    if media_type.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Cow::Owned(media_type.to_ascii_lowercase());
    }
    Cow::Borrowed(media_type)
}

/// Base64 without percent-encoding: `%2B`, `%2F`, `%3D`, `%0A` …
fn unescaped(data: &str) -> Cow<'_, str> {
    if memchr::memchr(b'%', data.as_bytes()).is_none() {
        return Cow::Borrowed(data);
    }
    let mut parts = data.split('%');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(u8::is_ascii) {
            Some(byte) => {
                text.push(char::from(byte));
                text.push_str(&part[2..]);
            }
            None => {
                text.push('%');
                text.push_str(part);
            }
        }
    }
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn data_urls_are_parsed_in_every_spelling() {
        for (url, expected) in [
            ("data:image/png;base64,AAAA", Some(("image/png", "AAAA"))),
            ("DATA:IMAGE/PNG;BASE64,AAAA", Some(("image/png", "AAAA"))),
            (" data:image/JPG;base64,AA==\n", Some(("image/jpeg", "AA=="))),
            ("data:image/png;charset=utf-8;name=a.png;base64,AAAA", Some(("image/png", "AAAA"))),
            ("data:image/png; base64,AAAA", Some(("image/png", "AAAA"))),
            ("data:;base64,AAAA", Some(("", "AAAA"))),
            ("data:image/png;base64,A%2BA%2fA%3d%3D%0a", Some(("image/png", "A+A/A==\n"))),
            ("data:image/png;base64,A%zz%e9%", Some(("image/png", "A%zz%e9%"))),
            ("data:image/png,AAAA", None),
            ("data:image/png;base64", None),
            ("https://example.com/a.png", None),
            ("dat\u{e9}:", None),
            ("", None),
        ] {
            let parsed = parse(url);
            assert_eq!(parsed.as_ref().map(|(media_type, data)| (&**media_type, &**data)), expected, "{url}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_rejected(text in "(data:)?\\PC{0,60}") {
            let _ = parse(&text);
        }
    }
}
