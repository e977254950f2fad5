//! Documents and search results: what a model reads, and may have to cite.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::ConverseRequestBuilder;
use super::content::not_content;
use crate::anthropic::InvalidRequest;
use crate::anthropic::request::{Block, CitationsConfigParam, Content, Source, SourceData};
use crate::converse::request::{
    self as converse, ContentBlock, DocumentBlock, DocumentSource, SearchResult, TextPart,
};
use crate::json::{JsonStr, RawJson};
use crate::translate::diagnostics::JsonPath;
use crate::translate::diagnostics::required;

/// Name of a document without a usable title.
const UNTITLED: &str = "document";
/// Maximum length of a document name.
/// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_DocumentBlock.html>
const MAX_NAME: usize = 200;
/// Text beside documents without one, which Bedrock requires.
const BESIDE_DOCUMENT: &str = "(document)";

/// The names of the documents of one request.
#[derive(Debug, Default)]
pub(super) struct DocumentNames {
    taken: HashSet<String>,
    /// The next number behind each beginning of a name.
    next_numbers: HashMap<String, usize>,
}

impl DocumentNames {
    /// `base`, or `base` with the first number that makes it a new name: `Report (2)`. Each number is tried once, so
    /// that the time for all names is linear in their number.
    fn unique(&mut self, base: String) -> String {
        if self.taken.insert(base.clone()) {
            return base;
        }
        let mut first = 2;
        // All numbers of as many digits follow the same beginning.
        for end in [10, 100, 1_000, 10_000, 100_000, 1_000_000, usize::MAX] {
            let number_len = format!(" ({})", end - 1).len();
            // Legal names are ASCII, so any place to cut is as good as another.
            let beginning = base[..base.len().min(MAX_NAME - number_len)].trim_end();
            let next = self.next_numbers.entry(beginning.to_owned()).or_insert(first);
            *next = first.max(*next);
            while *next < end {
                let name = format!("{beginning} ({next})");
                *next += 1;
                if self.taken.insert(name.clone()) {
                    return name;
                }
            }
            first = end;
        }
        base
    }
}

impl ConverseRequestBuilder {
    /// Translates a document; `None` when it is unsupported or blank.
    pub(super) fn document<'a>(
        &mut self,
        block: &mut Block<'a>,
        path: JsonPath<'_>,
    ) -> Result<Option<DocumentBlock<'a>>, InvalidRequest> {
        let at_source = path.key("source");
        let Source::Data(mut source) = required(block.source.take(), at_source)? else {
            return Err(InvalidRequest::new(at_source, "Input should be an object"));
        };
        let citations = self.citations_config(block.citations.take(), path.key("citations"))?;
        let title = block.title.take();
        let context = block.context.take().filter(|context| !context.is_blank());
        if !self.capabilities.documents {
            self.diagnostics.unsupported(path, "the model reads no documents");
            return Ok(None);
        }
        let Some((format, content)) = self.document_source(&mut source, citations.is_some(), path)? else {
            return Ok(None);
        };
        self.diagnostics.unknown_fields(at_source, source.left_over());
        let name = self.document_name(title, path.key("title"));
        let context = context.map(|context| context.0);
        Ok(Some(DocumentBlock { format, name: name.into(), source: content, context, citations }))
    }

    fn document_source<'a>(
        &mut self,
        source: &mut SourceData<'a>,
        cited: bool,
        path: JsonPath<'_>,
    ) -> Result<Option<(Option<&'static str>, DocumentSource<'a>)>, InvalidRequest> {
        let at_source = path.key("source");
        let kind = required(source.kind.take(), at_source.key("type"))?;
        match &*kind {
            "base64" => self.pdf(source, cited, path),
            "text" => {
                media_type(source, "text/plain", at_source)?;
                let text = required(source.data.take(), at_source.key("data"))?;
                let text = self.not_blank(text, path);
                Ok(text.map(|text| self.text_document(text)))
            }
            "content" => {
                let at_content = at_source.key("content");
                let parts = required(source.content.take(), at_content)?;
                let parts = self.text_parts(parts, at_content)?;
                if parts.is_empty() {
                    self.diagnostics.adjusted(path, "left out: there is nothing in it");
                    return Ok(None);
                }
                Ok(Some(self.document_in_parts(parts, at_source)))
            }
            _ => {
                // No route to Bedrock fetches anything.
                let message = format!(
                    "sources of type '{kind}' are not supported by Bedrock; send the document as base64"
                );
                Err(InvalidRequest::new(path, message))
            }
        }
    }

    fn pdf<'a>(
        &mut self,
        source: &mut SourceData<'a>,
        cited: bool,
        path: JsonPath<'_>,
    ) -> Result<Option<(Option<&'static str>, DocumentSource<'a>)>, InvalidRequest> {
        let at_source = path.key("source");
        media_type(source, "application/pdf", at_source)?;
        let bytes = required(source.data.take(), at_source.key("data"))?;
        if self.capabilities.claude && !cited {
            let reason =
                "Converse gives Claude no more than the text of a PDF; enable citations for its pages";
            if !self.options.converse_only {
                self.diagnostics.unsupported(path, reason);
                return Ok(None);
            }
            self.diagnostics.dropped(path, reason);
        }
        Ok(Some((Some("pdf"), DocumentSource::Bytes(bytes.0))))
    }

    /// Models other than Claude know documents as files.
    fn text_document<'a>(&self, text: Cow<'a, str>) -> (Option<&'static str>, DocumentSource<'a>) {
        if self.capabilities.claude {
            (Some("txt"), DocumentSource::Text(text))
        } else {
            (Some("txt"), DocumentSource::Bytes(STANDARD.encode(text.as_bytes()).into()))
        }
    }

    fn document_in_parts<'a>(
        &mut self,
        parts: Vec<TextPart<'a>>,
        path: JsonPath<'_>,
    ) -> (Option<&'static str>, DocumentSource<'a>) {
        if self.capabilities.claude {
            return (None, DocumentSource::Content(parts));
        }
        self.diagnostics.adjusted(path, "sent as one text: the model knows no documents in parts");
        let parts: Vec<_> = parts.iter().map(|part| part.text.text()).collect();
        self.text_document(parts.join("\n").into())
    }

    /// The parts of a document or a search result: text and nothing else.
    fn text_parts<'a>(
        &mut self,
        content: Content<'a>,
        path: JsonPath<'_>,
    ) -> Result<Vec<TextPart<'a>>, InvalidRequest> {
        let blocks = match content {
            Content::Text(text) => {
                return Ok(self
                    .not_blank(text, path)
                    .map(|text| TextPart { text: text.into() })
                    .into_iter()
                    .collect());
            }
            Content::Blocks(blocks) => blocks.0,
            Content::Object(_) => return Err(not_content(path)),
        };
        let mut parts = Vec::with_capacity(blocks.len());
        for (index, mut block) in blocks.into_iter().enumerate() {
            let path = path.index(index);
            let kind = required(block.kind.take(), path.key("type"))?;
            if &*kind != "text" {
                self.diagnostics.unsupported(path, format!("Converse carries no '{kind}' inside a document"));
                continue;
            }
            parts.extend(self.text(&mut block, path)?.map(|text| TextPart { text }));
            self.diagnostics.unknown_fields(path, block.left_over());
        }
        Ok(parts)
    }

    fn not_blank<'a>(&mut self, text: JsonStr<'a>, path: JsonPath<'_>) -> Option<Cow<'a, str>> {
        if text.is_blank() {
            self.diagnostics.adjusted(path, "left out: Bedrock does not accept blank text");
            return None;
        }
        Some(text.0)
    }

    /// Translates a search result; `None` when it is unsupported or blank.
    pub(super) fn search_result<'a>(
        &mut self,
        block: &mut Block<'a>,
        path: JsonPath<'_>,
    ) -> Result<Option<SearchResult<'a>>, InvalidRequest> {
        let at_source = path.key("source");
        let Source::Name(source) = required(block.source.take(), at_source)? else {
            return Err(InvalidRequest::new(at_source, "Input should be a string"));
        };
        let title = required(block.title.take(), path.key("title"))?;
        let at_content = path.key("content");
        let content = required(block.content.take(), at_content)?;
        let citations = self.citations_config(block.citations.take(), path.key("citations"))?;
        if !self.capabilities.claude {
            self.diagnostics.unsupported(path, "the model does not support search results");
            return Ok(None);
        }
        let content = self.text_parts(content, at_content)?;
        if content.is_empty() {
            self.diagnostics.adjusted(path, "left out: there is nothing in it");
            return Ok(None);
        }
        Ok(Some(SearchResult { source: source.0, title: title.0, content, citations }))
    }

    /// Citation settings; present only when citations are enabled.
    fn citations_config<'a>(
        &mut self,
        config: Option<RawJson<'a>>,
        path: JsonPath<'_>,
    ) -> Result<Option<converse::CitationsConfig>, InvalidRequest> {
        let Some(config) = config else {
            return Ok(None);
        };
        let mut config: CitationsConfigParam<'a> = config
            .read()
            .map_err(|_| InvalidRequest::new(path, "Input should be an object with `enabled`, a boolean"))?;
        let enabled = config.enabled.take().unwrap_or(false);
        self.diagnostics.unknown_fields(path, config.left_over());
        if enabled && !self.capabilities.claude {
            self.diagnostics.dropped(path, "left out: the model does not cite");
            return Ok(None);
        }
        Ok(enabled.then_some(converse::CitationsConfig { enabled }))
    }

    /// Name that Bedrock accepts and that no other document of the request has.
    fn document_name<'a>(&mut self, title: Option<JsonStr<'a>>, path: JsonPath<'_>) -> String {
        let wanted = title.as_ref().map_or_else(String::new, |title| legal_name(title));
        let base = if wanted.is_empty() { UNTITLED.to_owned() } else { wanted };
        let name = self.documents.unique(base);
        if title.is_some_and(|title| *title != name) {
            self.diagnostics.adjusted(path, format!("sent as `{name}`: Bedrock is particular about names"));
        }
        name
    }

    /// Adds a text to documents without one: Bedrock requires it.
    pub(super) fn text_beside_documents<'a>(
        &mut self,
        content: &mut Vec<ContentBlock<'a>>,
        path: JsonPath<'_>,
    ) {
        let Some(first) = content.iter().position(|block| matches!(block, ContentBlock::Document(_))) else {
            return;
        };
        if !content.iter().any(|block| matches!(block, ContentBlock::Text(_))) {
            self.diagnostics.adjusted(
                path,
                format!("\"{BESIDE_DOCUMENT}\" added: Bedrock does not accept a document without text"),
            );
            content.insert(first, ContentBlock::Text(BESIDE_DOCUMENT.into()));
        }
    }
}

fn media_type(source: &mut SourceData<'_>, wanted: &str, path: JsonPath<'_>) -> Result<(), InvalidRequest> {
    let path = path.key("media_type");
    if &*required(source.media_type.take(), path)? == wanted {
        return Ok(());
    }
    Err(InvalidRequest::new(path, format!("Input should be '{wanted}'")))
}

/// What of a title may be in a name, with single spaces for the rest.
fn legal_name(title: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-()[]".contains(c);
    let mut name = String::with_capacity(title.len().min(MAX_NAME));
    for c in title.chars() {
        match allowed(c) {
            true => name.push(c),
            false if !name.is_empty() && !name.ends_with(' ') => name.push(' '),
            false => {}
        }
        if name.len() == MAX_NAME {
            break;
        }
    }
    name.truncate(name.trim_end().len());
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn document_names_are_numbered_in_their_order() {
        let mut names = DocumentNames::default();
        let mut unique = |base: &str| names.unique(base.to_owned());
        let report: Vec<String> = (0..12).map(|_| unique("Report")).collect();
        assert_eq!(report[..3], ["Report", "Report (2)", "Report (3)"]);
        assert_eq!(report[8..], ["Report (9)", "Report (10)", "Report (11)", "Report (12)"]);
        assert_eq!(unique("Report (2)"), "Report (2) (2)");
        assert_eq!(unique("Report (13)"), "Report (13)");
        assert_eq!(unique("Report"), "Report (14)");

        let long = |end: &str| format!("{}{end}", "x".repeat(MAX_NAME - 4));
        assert_eq!(unique(&long("1111")), long("1111"));
        assert_eq!(unique(&long("2222")), long("2222"));
        assert_eq!(unique(&long("1111")), long(" (2)"));
        assert_eq!(unique(&long("2222")), long(" (3)"));
    }

    #[test]
    fn document_name_is_the_legal_part_of_the_title() {
        assert_eq!(legal_name("Report 2024-(final) [v2]"), "Report 2024-(final) [v2]");
        assert_eq!(legal_name("  ../etc/passwd\n\"x\"  "), "etc passwd x");
        assert_eq!(legal_name("größe_x"), "gr e x");
        assert_eq!(legal_name("日本"), "");
        assert_eq!(legal_name(&"ab ".repeat(100)).len(), MAX_NAME);
        assert_eq!(legal_name(&format!("{} tail", "a".repeat(199))), "a".repeat(199));
    }
}
