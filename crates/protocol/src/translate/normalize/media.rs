//! Images and documents in base64: their media types and the spelling of their bytes.
//!
//! Bedrock compares the media type of an image with its first bytes, and takes standard base64 only.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{find, quoted, string};
use crate::anthropic::request::{Block, Content, Source, SourceData};
use crate::json_edit::{Edit, Member, items, members};
use crate::translate::diagnostics::{Diagnostics, JsonPath};

/// Characters of base64 that hold the first bytes of every known format.
const PREFIX_CHARS: usize = 16;

/// Media type of a file, by its first bytes.
fn detect(base64: &str) -> Option<&'static str> {
    let bytes = base64.bytes().filter(|byte| !byte.is_ascii_whitespace());
    let prefix: Vec<u8> = bytes.take(PREFIX_CHARS).map(standard).collect();
    // Of a shorter text the part that is complete.
    let bytes = STANDARD.decode(prefix.get(..prefix.len() / 4 * 4)?).ok()?;
    match &*bytes {
        [0x89, b'P', b'N', b'G', ..] => Some("image/png"),
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [b'G', b'I', b'F', b'8', ..] => Some("image/gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("image/webp"),
        [b'%', b'P', b'D', b'F', ..] => Some("application/pdf"),
        _ => None,
    }
}

/// The character of standard base64.
fn standard(byte: u8) -> u8 {
    match byte {
        b'-' => b'+',
        b'_' => b'/',
        other => other,
    }
}

/// The media type to send for a block of type `kind`; `None` when the label is the one.
fn correct_type(kind: &str, label: &str, data: &str) -> Option<String> {
    let prefix = if kind == "image" { "image/" } else { "application/pdf" };
    let canonical = || match label.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str()
    {
        "image/jpg" | "image/pjpeg" => "image/jpeg".to_owned(),
        other => other.to_owned(),
    };
    let detected = detect(data).filter(|detected| detected.starts_with(prefix));
    let correct = detected.map_or_else(canonical, str::to_owned);
    (correct != label && !correct.is_empty()).then_some(correct)
}

/// The data in standard base64; `None` when it is, or when it is no base64.
fn standard_base64(data: &str) -> Option<String> {
    let bytes = data.as_bytes();
    let is_standard = bytes.len().is_multiple_of(4)
        && memchr::memchr3(b'-', b'_', b'\n', bytes).is_none()
        && memchr::memchr3(b' ', b'\r', b'\t', bytes).is_none();
    if is_standard {
        return None;
    }
    let kept = data.bytes().filter(|byte| !byte.is_ascii_whitespace() && *byte != b'=');
    let mut text: Vec<u8> = kept.map(standard).collect();
    while !text.len().is_multiple_of(4) {
        text.push(b'=');
    }
    let is_base64 = text != bytes && STANDARD.decode(&text).is_ok();
    String::from_utf8(text).ok().filter(|_| is_base64)
}

/// Whether normalization would change nothing in an image or a document.
pub(super) fn is_valid(block: &Block<'_>) -> bool {
    let Some(kind @ ("image" | "document")) = block.kind.as_deref() else { return true };
    let Some(Source::Data(source)) = &block.source else { return true };
    let SourceData { kind: source_kind, media_type, data, content, .. } = &**source;
    match (source_kind.as_deref(), data) {
        (Some("base64"), Some(data)) => {
            let label = media_type.as_deref().unwrap_or_default();
            correct_type(kind, label, data).is_none() && standard_base64(data).is_none()
        }
        (Some("content"), _) => match content {
            Some(Content::Blocks(blocks)) => blocks.iter().all(is_valid),
            _ => true,
        },
        _ => true,
    }
}

/// Corrects the media type and the data of an image or a document whose members are `all`.
pub(super) fn correct<'t>(
    all: &[Member<'t>],
    edit: &mut Edit<'t>,
    diagnostics: &mut Diagnostics,
    path: JsonPath<'_>,
) {
    let kind = string(all, "type");
    let Some(kind @ ("image" | "document")) = kind.as_deref() else { return };
    let Some(source) = find(all, "source") else { return };
    let path = path.key("source");
    let all = members(source);
    match string(&all, "type").as_deref() {
        Some("base64") => {}
        Some("content") => {
            let path = path.key("content");
            for (index, block) in find(&all, "content").map(items).unwrap_or_default().into_iter().enumerate()
            {
                correct(&members(block), edit, diagnostics, path.index(index));
            }
            return;
        }
        _ => return,
    }
    let Some((value, data)) = find(&all, "data").and_then(|value| Some((value, string(&all, "data")?)))
    else {
        return;
    };
    let label = find(&all, "media_type");
    let name = string(&all, "media_type").unwrap_or_default();
    if let Some(correct) = correct_type(kind, &name, &data) {
        let json = quoted(&correct);
        match label {
            Some(label) => edit.replace(label, json),
            None => edit.edit_object(source.get(), &all, |_| false, &[format!(r#""media_type":{json}"#)]),
        }
        let what = format!("sent as `{correct}`, the media type of its data");
        diagnostics.adjusted(path.key("media_type"), what);
    }
    if let Some(standard) = standard_base64(&data) {
        edit.replace(value, format!("\"{standard}\""));
        diagnostics.adjusted(path.key("data"), "sent as standard base64");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";
    const JPEG: &[u8] = b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01\x01\0\0\x01";
    const GIF: &[u8] = b"GIF89a\x01\0\x01\0\x80\0\0\xff\xff\xff\0";
    const WEBP: &[u8] = b"RIFF\x24\0\0\0WEBPVP8 \x18\0\0\0";

    #[test]
    fn first_bytes_decide_about_the_media_type() {
        for (bytes, expected) in
            [(PNG, "image/png"), (JPEG, "image/jpeg"), (GIF, "image/gif"), (WEBP, "image/webp")]
        {
            let data = STANDARD.encode(bytes);
            assert_eq!(correct_type("image", expected, &data), None);
            for label in ["image/tiff", "IMAGE/PNG", "image/png; charset=x", "", "application/octet-stream"] {
                assert_eq!(correct_type("image", label, &data).as_deref(), Some(expected), "{label}");
            }
        }
        let unknown = STANDARD.encode("unknown bytes of something");
        assert_eq!(correct_type("image", "image/png", &unknown), None);
        assert_eq!(correct_type("image", "IMAGE/JPG;q=1", &unknown).as_deref(), Some("image/jpeg"));
        let pdf = STANDARD.encode("%PDF-1.7 and more");
        assert_eq!(correct_type("document", "application/x-pdf", &pdf).as_deref(), Some("application/pdf"));
        assert_eq!(correct_type("image", "image/png", &pdf), None, "an image stays an image");
        assert_eq!(correct_type("document", "application/pdf", &STANDARD.encode(PNG)), None);
        for short in ["", "i", "iVBO", "====", "\u{e9}\u{e9}\u{e9}\u{e9}"] {
            assert_eq!(correct_type("image", "image/png", short), None, "{short}");
        }
    }

    proptest! {
        #[test]
        fn every_spelling_of_base64_becomes_the_standard(
            bytes in proptest::collection::vec(any::<u8>(), 0..200), width in 1_usize..100, url_safe: bool,
            padded: bool,
        ) {
            let data = STANDARD.encode(&bytes);
            prop_assert_eq!(standard_base64(&data), None);
            let mut other = if url_safe { data.replace('+', "-").replace('/', "_") } else { data.clone() };
            if !padded {
                other = other.trim_end_matches('=').to_owned();
            }
            let lines: Vec<&[u8]> = other.as_bytes().chunks(width).collect();
            let other = String::from_utf8(lines.join(&b"\r\n"[..])).unwrap();
            prop_assert_eq!(standard_base64(&other).unwrap_or(other), data);
        }

        #[test]
        fn other_text_is_not_changed(text in "[ -~]{0,40}") {
            let corrected = standard_base64(&text);
            prop_assert!(corrected.is_none_or(|corrected| STANDARD.decode(corrected).is_ok()));
            let _ = correct_type("image", "image/png", &text);
        }
    }
}
