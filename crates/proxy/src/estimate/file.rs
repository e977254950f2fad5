//! Tokens of a document that is sent as a file.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{MAX_PAGES, PAGE_TOKENS, Tokenizer, Tokens, pdf};

/// Minimum size of a page in characters of base64, approximately.
const MIN_PAGE_BYTES: usize = 32_000;
/// A document of which nothing is known.
pub(super) const UNKNOWN: Tokens = Tokens::range(PAGE_TOKENS, MAX_PAGES * PAGE_TOKENS);

/// Tokens of the file in `base64`, by its `format` in Converse. A text counts as text, a PDF by its pages. The pages of
/// other formats, and of a PDF that does not show its pages, are unknown.
pub(super) fn tokens(base64: &str, format: Option<&str>, tokenizer: Tokenizer) -> Tokens {
    let pages = (base64.len().div_ceil(MIN_PAGE_BYTES) as u64).clamp(1, MAX_PAGES);
    let unknown = Tokens::range(pages * PAGE_TOKENS, MAX_PAGES * PAGE_TOKENS);
    let Ok(file) = STANDARD.decode(base64) else { return unknown };
    match format {
        Some("pdf") => match pdf::pages(&file) {
            Some(counted) => {
                let tokens = counted.clamp(pages, MAX_PAGES) * PAGE_TOKENS;
                Tokens::range(tokens, tokens)
            }
            None => unknown,
        },
        Some("txt" | "md" | "csv" | "html") => Tokens::text(tokenizer.bytes(&file).max(PAGE_TOKENS)),
        Some("doc" | "docx" | "xls" | "xlsx") => unknown,
        _ => unknown + Tokens::text(tokenizer.bytes(&file)),
    }
}
