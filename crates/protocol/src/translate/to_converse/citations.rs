//! Assistant text with citations, sent back to the model.

use super::ConverseRequestBuilder;
use crate::anthropic::InvalidRequest;
use crate::anthropic::request::{Block, TextCitationParam};
use crate::converse::request::{
    self as converse, CitationLocation, CitationsContent, ContentBlock, DocumentRange, SearchResultRange,
    TextPart,
};
use crate::json::{List, RawJson};
use crate::translate::diagnostics::JsonPath;
use crate::translate::diagnostics::required;

impl ConverseRequestBuilder {
    /// Text of the assistant with its sources; nothing when it is blank.
    pub(super) fn assistant_text<'a>(
        &mut self,
        block: &mut Block<'a>,
        path: JsonPath<'_>,
    ) -> Result<Option<ContentBlock<'a>>, InvalidRequest> {
        let citations = block.citations.take();
        let Some(text) = self.text(block, path)? else {
            return Ok(None);
        };
        let citations = self.citations(citations, path.key("citations"))?;
        if citations.is_empty() {
            return Ok(Some(ContentBlock::Text(text)));
        }
        Ok(Some(ContentBlock::CitationsContent(CitationsContent { content: [TextPart { text }], citations })))
    }

    fn citations<'a>(
        &mut self,
        citations: Option<RawJson<'a>>,
        path: JsonPath<'_>,
    ) -> Result<Vec<converse::Citation<'a>>, InvalidRequest> {
        let Some(citations) = citations else {
            return Ok(Vec::new());
        };
        let citations: List<TextCitationParam<'a>> = citations
            .read()
            .map_err(|_| InvalidRequest::new(path, "Input should be an array of citations"))?;
        if !self.capabilities.claude && !citations.is_empty() {
            self.diagnostics.dropped(path, "left out: the model does not cite");
            return Ok(Vec::new());
        }
        let mut translated = Vec::with_capacity(citations.len());
        for (index, citation) in citations.0.into_iter().enumerate() {
            translated.extend(self.citation(citation, path.index(index))?);
        }
        Ok(translated)
    }

    /// Translates a citation; `None` when it is unsupported.
    fn citation<'a>(
        &mut self,
        mut citation: TextCitationParam<'a>,
        path: JsonPath<'_>,
    ) -> Result<Option<converse::Citation<'a>>, InvalidRequest> {
        let kind = required(citation.kind.take(), path.key("type"))?;
        let in_document = |index: Option<u64>, start: Option<u64>, end: Option<u64>| {
            Some(DocumentRange { document_index: index?, start: start?, end: end? })
        };
        let location = match &*kind {
            "char_location" => in_document(
                citation.document_index.take(),
                citation.start_char_index.take(),
                citation.end_char_index.take(),
            )
            .map(CitationLocation::DocumentChar),
            "page_location" => in_document(
                citation.document_index.take(),
                citation.start_page_number.take(),
                citation.end_page_number.take(),
            )
            .map(CitationLocation::DocumentPage),
            "content_block_location" => in_document(
                citation.document_index.take(),
                citation.start_block_index.take(),
                citation.end_block_index.take(),
            )
            .map(CitationLocation::DocumentChunk),
            "search_result_location" => in_document(
                citation.search_result_index.take(),
                citation.start_block_index.take(),
                citation.end_block_index.take(),
            )
            .map(|DocumentRange { document_index, start, end }| {
                CitationLocation::SearchResultLocation(SearchResultRange {
                    search_result_index: document_index,
                    start,
                    end,
                })
            }),
            _ => {
                self.diagnostics.unsupported(path, format!("Converse carries no citation of type '{kind}'"));
                return Ok(None);
            }
        };
        let location = location
            .ok_or_else(|| InvalidRequest::new(path, format!("Field required: the place of a '{kind}'")))?;
        let of_search = matches!(location, CitationLocation::SearchResultLocation(_));
        let title = if of_search { citation.title.take() } else { citation.document_title.take() };
        let source = if of_search { citation.source.take() } else { None };
        let cited = required(citation.cited_text.take(), path.key("cited_text"))?;
        self.diagnostics.unknown_fields(path, citation.left_over());
        Ok(Some(converse::Citation {
            title: title.map(|title| title.0),
            source: source.map(|source| source.0),
            source_content: [TextPart { text: cited.into() }],
            location,
        }))
    }
}
