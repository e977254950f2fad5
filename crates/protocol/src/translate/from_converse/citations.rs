//! Citations of Converse → citations of the Messages API.

use crate::anthropic::TextCitation;
use crate::converse::event::CitationsDelta;
use crate::converse::request::{DocumentRange, SearchResultRange};

/// Citation of the Messages API; `None` when its location is of an unknown type.
pub(super) fn text_citation(citation: CitationsDelta<'_>) -> Option<TextCitation> {
    let CitationsDelta { title, source, source_content, location } = citation;
    let cited_text: String = source_content.iter().filter_map(|piece| piece.text.as_deref()).collect();
    let title = title.map(|title| title.0.into_owned());
    if let Some(DocumentRange { document_index, start, end }) = location.document_char {
        let (document_title, file_id) = (title, None);
        let (start_char_index, end_char_index) = (start, end);
        return Some(TextCitation::CharLocation {
            cited_text,
            document_index,
            document_title,
            start_char_index,
            end_char_index,
            file_id,
        });
    }
    if let Some(DocumentRange { document_index, start, end }) = location.document_page {
        let (document_title, file_id) = (title, None);
        let (start_page_number, end_page_number) = (start, end);
        return Some(TextCitation::PageLocation {
            cited_text,
            document_index,
            document_title,
            start_page_number,
            end_page_number,
            file_id,
        });
    }
    if let Some(DocumentRange { document_index, start, end }) = location.document_chunk {
        let (document_title, file_id) = (title, None);
        let (start_block_index, end_block_index) = (start, end);
        return Some(TextCitation::ContentBlockLocation {
            cited_text,
            document_index,
            document_title,
            start_block_index,
            end_block_index,
            file_id,
        });
    }
    let source = source.map(|source| source.0.into_owned());
    if let Some(SearchResultRange { search_result_index, start, end }) = location.search_result_location {
        return Some(TextCitation::SearchResultLocation {
            cited_text,
            search_result_index,
            source: source.unwrap_or_default(),
            title,
            start_block_index: start,
            end_block_index: end,
        });
    }
    let url = location.web?.url.map(|url| url.0.into_owned()).or(source).unwrap_or_default();
    Some(TextCitation::WebSearchResultLocation { cited_text, encrypted_index: String::new(), title, url })
}
