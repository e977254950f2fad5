//! Pages of a PDF, counted in its bytes without decompressing any.
//!
//! A page is an object of `/Type /Page`, which stands in the `/Kids` of a node of `/Type /Pages`, and the root of the
//! nodes has the number of all pages as `/Count`. Since PDF 1.5 objects may be compressed, and all of them may be
//! encrypted: then nothing is known. <https://opensource.adobe.com/dc-acrobat-sdk-docs/pdfstandards/PDF32000_2008.pdf>,
//! 7.7.3.

/// Bytes within which the header stands.
const HEADER_BYTES: usize = 1024;
/// Longest name that is compared.
const MAX_NAME: usize = 8;
/// Deepest nesting of dictionaries that is followed.
const MAX_DEPTH: usize = 64;

/// A dictionary that is open.
#[derive(Clone, Copy, Default)]
struct Dictionary {
    is_node: bool,
    count: u64,
}

/// The largest number of pages that any of the three says; `None` when the file can have pages that cannot be seen.
pub(super) fn pages(pdf: &[u8]) -> Option<u64> {
    let header = pdf.get(..HEADER_BYTES).unwrap_or(pdf);
    memchr::memmem::find(header, b"%PDF-")?;
    let (mut types, mut kids, mut largest_count) = (0_u64, 0_u64, 0_u64);
    let mut open: Vec<Dictionary> = Vec::new();
    let mut end_of_kids = 0;
    for at in memchr::memchr3_iter(b'/', b'<', b'>', pdf) {
        match pdf[at] {
            b'<' if pdf.get(at + 1) == Some(&b'<') && open.len() < MAX_DEPTH => {
                open.push(Dictionary::default());
            }
            b'>' if pdf.get(at + 1) == Some(&b'>') => {
                let closed = open.pop().unwrap_or_default();
                if closed.is_node {
                    largest_count = largest_count.max(closed.count);
                }
            }
            b'/' => {
                let name = Name::read(&pdf[at + 1..]);
                let after = at + 1 + name.written;
                let dictionary = open.last_mut();
                match name.as_slice() {
                    b"Encrypt" | b"ObjStm" => return None,
                    b"Page" if is_type(&pdf[..at]) => types += 1,
                    b"Pages" if is_type(&pdf[..at]) => set_node(dictionary),
                    b"Kids" => {
                        // Kids in an object of their own, or in an array without end, could be any number. An array in
                        // an array is none of a node, and each byte is read once.
                        let (count, end) = references(pdf, after).filter(|_| at >= end_of_kids)?;
                        (kids, end_of_kids) = (kids + count, end);
                        set_node(dictionary);
                    }
                    b"Count" => {
                        if let (Some(dictionary), Some(count)) = (dictionary, number(&pdf[after..])) {
                            dictionary.count = dictionary.count.max(count);
                        }
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }
    let pages = types.max(kids).max(largest_count);
    (pages > 0).then_some(pages)
}

fn set_node(dictionary: Option<&mut Dictionary>) {
    if let Some(dictionary) = dictionary {
        dictionary.is_node = true;
    }
}

/// A name without its slash.
struct Name {
    decoded: [u8; Self::MAX_WRITTEN],
    len: usize,
    /// Its length as it is written: bytes may be written in hexadecimal, as in `#50age`.
    written: usize,
}

impl Name {
    /// Three bytes for each letter, and one that shows that the name goes on.
    const MAX_WRITTEN: usize = 3 * MAX_NAME + 1;

    /// The name at the beginning of `bytes`, or the first part of a long one.
    fn read(bytes: &[u8]) -> Self {
        let is_regular = |byte: &u8| byte.is_ascii_graphic() && !b"()<>[]{}/%".contains(byte);
        let written = bytes.iter().take(Self::MAX_WRITTEN).take_while(|byte| is_regular(byte)).count();
        let mut name = Self { decoded: [0; Self::MAX_WRITTEN], len: 0, written };
        let mut at = 0;
        while at < written {
            let hex = bytes[..written].get(at + 1..at + 3).filter(|_| bytes[at] == b'#');
            let hex = hex.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
            name.decoded[name.len] = hex.unwrap_or(bytes[at]);
            name.len += 1;
            at += if hex.is_some() { 3 } else { 1 };
        }
        name
    }

    fn as_slice(&self) -> &[u8] {
        &self.decoded[..self.len]
    }
}

/// Whether the value that follows `before` is that of `/Type`.
fn is_type(before: &[u8]) -> bool {
    let before = before.trim_ascii_end();
    let tail = &before[before.len().saturating_sub(Name::MAX_WRITTEN)..];
    let Some(start) = memchr::memrchr(b'/', tail) else { return false };
    let name = Name::read(&tail[start + 1..]);
    name.as_slice() == b"Type" && start + 1 + name.written == tail.len()
}

/// The number at the beginning of `bytes`.
fn number(bytes: &[u8]) -> Option<u64> {
    let bytes = bytes.trim_ascii_start();
    let digits = bytes.iter().take(20).take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&bytes[..digits]).ok()?.parse().ok()
}

/// Number of references (`7 0 R`) in the array behind `at`, and where it ends; `None` when there is no array.
fn references(pdf: &[u8], at: usize) -> Option<(u64, usize)> {
    let blanks = pdf[at..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    let array = pdf[at + blanks..].strip_prefix(b"[")?;
    let end = memchr::memchr(b']', array)?;
    let count = memchr::memchr_iter(b'R', &array[..end]).count() as u64;
    Some((count, at + blanks + 1 + end))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with this many pages, as simple programs write it.
    fn file(count: usize) -> String {
        let kids: String = (0..count).map(|n| format!("{} 0 R ", n + 3)).collect();
        let page = |n: usize| {
            format!(
                "{} 0 obj\n<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] /Contents 999 0 R >>\nendobj\n",
                n + 3
            )
        };
        let pages: String = (0..count).map(page).collect();
        format!(
            "%PDF-1.4\n1 0 obj\n<< /Type /Catalog /Pages 2 0 R /Outlines << /Count 5000 >> >>\nendobj\n2 0 obj\n\
             << /Type /Pages /Kids [{kids}] /Count {count} >>\nendobj\n{pages}999 0 obj\n<< /Length 3 >>\nstream\nabc\n\
             endstream\nendobj\ntrailer << /Root 1 0 R >>\n%%EOF"
        )
    }

    #[test]
    fn pages_are_counted_wherever_they_are_stated() {
        assert_eq!(pages(file(1).as_bytes()), Some(1));
        assert_eq!(pages(file(600).as_bytes()), Some(600));
        let file = file(100);
        for (from, to) in [
            ("/Type /Page ", "/Type/Page"),
            ("/Type /Page ", "/Type\n/Page "),
            ("/Type /Page ", "/Typ#65 /P#61ge "),
            ("/Type /Page ", "/Other /Page "),
            ("/Count 100", "/Count 1"),
            ("/Count 100", "/#43ount 100"),
            ("/Kids", "/Other"),
            ("/Kids [", "/Kids["),
        ] {
            let file = file.replace(from, to);
            assert_eq!(pages(file.as_bytes()), Some(100), "{from} {to}");
        }
    }

    #[test]
    fn pages_that_cannot_be_seen_are_unknown() {
        let file = file(3);
        for unknown in [
            file.replace("/Length 3", "/Type /ObjStm /N 5 /Length 3"),
            file.replace("/Length 3", "/Type /Obj#53tm /N 5 /Length 3"),
            file.replace("/Root 1 0 R", "/Root 1 0 R /Encrypt 9 0 R"),
            file.replace("/Kids [", "/Kids 8 0 R /Other ["),
            file.replace("%PDF-1.4", "%!PS"),
            "%PDF-1.4".to_owned(),
            String::new(),
        ] {
            assert_eq!(pages(unknown.as_bytes()), None, "{unknown:.60}");
        }
    }

    #[test]
    fn hostile_bytes_are_counted_in_linear_time() {
        for bytes in ["/", "<<", ">>", "/Kids[", "/Type/Page", "/Count 1 ", "/Type /", " ", "/#", "/Kids[R]"]
        {
            let file = format!("%PDF-1.4{}", bytes.repeat(100_000));
            let _ = pages(file.as_bytes());
        }
    }
}
