//! Smithy shapes of Converse and CountTokens requests, after the API reference; data only.
//!
//! The members of `guardrailConfig` and `promptVariables` are not checked.

/// A shape of the service model.
#[derive(Debug)]
pub(crate) enum Shape {
    /// Any JSON document, including null.
    Any,
    Text {
        min: usize,
        max: usize,
        pattern: Option<Pattern>,
    },
    Integer {
        min: i64,
    },
    /// A number from 0 to 1.
    Ratio,
    Flag,
    /// Base64 of at least one byte.
    Blob,
    OneOf(&'static [&'static str]),
    List {
        of: &'static Shape,
        min: usize,
        max: usize,
    },
    Struct(&'static [ShapeMember]),
    /// Exactly one member.
    Union(&'static [ShapeMember]),
    /// An object with arbitrary names.
    Map,
}

/// Allowed characters of a text, and AWS's regular expression for them.
#[derive(Debug)]
pub(crate) struct Pattern {
    pub(crate) text: &'static str,
    pub(crate) allows: fn(char) -> bool,
}

/// Name, whether it is required, and shape.
pub(crate) type ShapeMember = (&'static str, bool, &'static Shape);

const UNLIMITED: usize = usize::MAX;

const fn text(min: usize, max: usize) -> Shape {
    Shape::Text { min, max, pattern: None }
}

const fn list(of: &'static Shape) -> Shape {
    Shape::List { of, min: 0, max: UNLIMITED }
}

static ANY: Shape = Shape::Any;
static TEXT: Shape = text(0, UNLIMITED);
static SOME_TEXT: Shape = text(1, UNLIMITED);
static FLAG: Shape = Shape::Flag;
static BLOB: Shape = Shape::Blob;
static COUNT: Shape = Shape::Integer { min: 0 };
static EMPTY: Shape = Shape::Struct(&[]);

static NAME: Shape = Shape::Text {
    min: 1,
    max: 64,
    pattern: Some(Pattern {
        text: "[a-zA-Z0-9_-]+",
        allows: |c| c.is_ascii_alphanumeric() || "_-".contains(c),
    }),
};
static TOOL_USE_ID: Shape = Shape::Text {
    min: 1,
    max: 64,
    pattern: Some(Pattern {
        text: "[a-zA-Z0-9_.:-]+",
        allows: |c| c.is_ascii_alphanumeric() || "_.:-".contains(c),
    }),
};

static CACHE_POINT: Shape = Shape::Struct(&[
    ("type", true, &Shape::OneOf(&["default"])),
    ("ttl", false, &Shape::OneOf(&["5m", "1h"])),
]);
static S3: Shape = Shape::Struct(&[("uri", true, &text(1, 1024)), ("bucketOwner", false, &TEXT)]);
static MEDIA_SOURCE: Shape = Shape::Union(&[("bytes", false, &BLOB), ("s3Location", false, &S3)]);
static ERROR: Shape = Shape::Struct(&[("message", false, &TEXT)]);
static IMAGE: Shape = Shape::Struct(&[
    ("format", true, &Shape::OneOf(&["png", "jpeg", "gif", "webp"])),
    ("source", true, &MEDIA_SOURCE),
    ("error", false, &ERROR),
]);
static TEXT_UNION: Shape = Shape::Union(&[("text", false, &TEXT)]);
static TEXT_UNIONS: Shape = list(&TEXT_UNION);
static CITATIONS_CONFIG: Shape = Shape::Struct(&[("enabled", true, &FLAG)]);
static DOCUMENT: Shape = Shape::Struct(&[
    ("format", false, &Shape::OneOf(&["pdf", "csv", "doc", "docx", "xls", "xlsx", "html", "txt", "md"])),
    ("name", true, &text(1, 200)),
    (
        "source",
        true,
        &Shape::Union(&[
            ("bytes", false, &BLOB),
            ("s3Location", false, &S3),
            ("text", false, &TEXT),
            ("content", false, &TEXT_UNIONS),
        ]),
    ),
    ("context", false, &TEXT),
    ("citations", false, &CITATIONS_CONFIG),
]);
static VIDEO: Shape = Shape::Struct(&[
    ("format", true, &Shape::OneOf(&["mkv", "mov", "mp4", "webm", "flv", "mpeg", "mpg", "wmv", "three_gp"])),
    ("source", true, &MEDIA_SOURCE),
]);
static AUDIO: Shape = Shape::Struct(&[
    (
        "format",
        true,
        &Shape::OneOf(&[
            "mp3", "opus", "wav", "aac", "flac", "mp4", "ogg", "mkv", "mka", "x-aac", "m4a", "mpeg", "mpga",
            "pcm", "webm",
        ]),
    ),
    ("source", true, &MEDIA_SOURCE),
    ("error", false, &ERROR),
]);
static SEARCH_RESULT: Shape = Shape::Struct(&[
    ("source", true, &TEXT),
    ("title", true, &TEXT),
    ("content", true, &list(&Shape::Struct(&[("text", true, &TEXT)]))),
    ("citations", false, &CITATIONS_CONFIG),
]);
static TOOL_USE: Shape = Shape::Struct(&[
    ("toolUseId", true, &TOOL_USE_ID),
    ("name", true, &NAME),
    ("input", true, &ANY),
    ("type", false, &Shape::OneOf(&["server_tool_use"])),
]);
static TOOL_RESULT: Shape = Shape::Struct(&[
    ("toolUseId", true, &TOOL_USE_ID),
    (
        "content",
        true,
        &list(&Shape::Union(&[
            ("json", false, &ANY),
            ("text", false, &TEXT),
            ("image", false, &IMAGE),
            ("document", false, &DOCUMENT),
            ("video", false, &VIDEO),
            ("searchResult", false, &SEARCH_RESULT),
        ])),
    ),
    ("status", false, &Shape::OneOf(&["success", "error"])),
    ("type", false, &TEXT),
]);
static GUARD: Shape = Shape::Union(&[
    (
        "text",
        false,
        &Shape::Struct(&[
            ("text", true, &TEXT),
            ("qualifiers", false, &list(&Shape::OneOf(&["grounding_source", "query", "guard_content"]))),
        ]),
    ),
    (
        "image",
        false,
        &Shape::Struct(&[
            ("format", true, &Shape::OneOf(&["png", "jpeg"])),
            ("source", true, &Shape::Union(&[("bytes", false, &BLOB)])),
        ]),
    ),
]);
static REASONING: Shape = Shape::Union(&[
    ("reasoningText", false, &Shape::Struct(&[("text", true, &TEXT), ("signature", false, &TEXT)])),
    ("redactedContent", false, &BLOB),
]);
static CHARS: Shape =
    Shape::Struct(&[("documentIndex", false, &COUNT), ("start", false, &COUNT), ("end", false, &COUNT)]);
static SEARCH_LOCATION: Shape =
    Shape::Struct(&[("searchResultIndex", false, &COUNT), ("start", false, &COUNT), ("end", false, &COUNT)]);
static CITATIONS: Shape = Shape::Struct(&[
    ("content", false, &TEXT_UNIONS),
    (
        "citations",
        false,
        &list(&Shape::Struct(&[
            ("title", false, &TEXT),
            ("source", false, &TEXT),
            ("sourceContent", false, &TEXT_UNIONS),
            (
                "location",
                false,
                &Shape::Union(&[
                    ("web", false, &Shape::Struct(&[("url", false, &TEXT), ("domain", false, &TEXT)])),
                    ("documentChar", false, &CHARS),
                    ("documentPage", false, &CHARS),
                    ("documentChunk", false, &CHARS),
                    ("searchResultLocation", false, &SEARCH_LOCATION),
                ]),
            ),
        ])),
    ),
]);
static TOOL_REFERENCE: Shape = Shape::Struct(&[(
    "tool",
    true,
    &Shape::Struct(&[
        ("type", false, &text(1, 64)),
        ("name", false, &text(1, 128)),
        ("serverName", false, &text(1, 128)),
    ]),
)]);
static CONTENT: Shape = Shape::Union(&[
    ("text", false, &TEXT),
    ("image", false, &IMAGE),
    ("document", false, &DOCUMENT),
    ("video", false, &VIDEO),
    ("audio", false, &AUDIO),
    ("toolUse", false, &TOOL_USE),
    ("toolResult", false, &TOOL_RESULT),
    ("guardContent", false, &GUARD),
    ("cachePoint", false, &CACHE_POINT),
    ("reasoningContent", false, &REASONING),
    ("citationsContent", false, &CITATIONS),
    ("searchResult", false, &SEARCH_RESULT),
    ("toolAddition", false, &TOOL_REFERENCE),
    ("toolRemoval", false, &TOOL_REFERENCE),
]);
static MESSAGES: Shape = list(&Shape::Struct(&[
    ("role", true, &Shape::OneOf(&["user", "assistant", "system"])),
    ("content", true, &list(&CONTENT)),
]));
static SYSTEM: Shape = list(&Shape::Union(&[
    ("text", false, &SOME_TEXT),
    ("guardContent", false, &GUARD),
    ("cachePoint", false, &CACHE_POINT),
]));
static TOOL: Shape = Shape::Union(&[
    (
        "toolSpec",
        false,
        &Shape::Struct(&[
            ("name", true, &NAME),
            ("description", false, &SOME_TEXT),
            ("inputSchema", true, &Shape::Union(&[("json", false, &ANY)])),
            ("strict", false, &FLAG),
        ]),
    ),
    ("systemTool", false, &Shape::Struct(&[("name", true, &NAME)])),
    ("cachePoint", false, &CACHE_POINT),
]);
static TOOL_CONFIG: Shape = Shape::Struct(&[
    ("tools", true, &Shape::List { of: &TOOL, min: 1, max: UNLIMITED }),
    (
        "toolChoice",
        false,
        &Shape::Union(&[
            ("auto", false, &EMPTY),
            ("any", false, &EMPTY),
            ("tool", false, &Shape::Struct(&[("name", true, &NAME)])),
        ]),
    ),
]);
static INFERENCE: Shape = Shape::Struct(&[
    ("maxTokens", false, &Shape::Integer { min: 1 }),
    ("temperature", false, &Shape::Ratio),
    ("topP", false, &Shape::Ratio),
    ("stopSequences", false, &Shape::List { of: &SOME_TEXT, min: 0, max: 2500 }),
]);
static OUTPUT_CONFIG: Shape = Shape::Struct(&[
    (
        "textFormat",
        false,
        &Shape::Struct(&[
            ("type", true, &Shape::OneOf(&["json_schema"])),
            (
                "structure",
                true,
                &Shape::Union(&[(
                    "jsonSchema",
                    false,
                    &Shape::Struct(&[
                        ("schema", true, &TEXT),
                        ("name", false, &TEXT),
                        ("description", false, &TEXT),
                    ]),
                )]),
            ),
        ]),
    ),
    ("effort", false, &text(0, 16)),
]);

/// Body of Converse and ConverseStream.
pub(crate) static CONVERSE: Shape = Shape::Struct(&[
    ("messages", false, &MESSAGES),
    ("system", false, &SYSTEM),
    ("inferenceConfig", false, &INFERENCE),
    ("toolConfig", false, &TOOL_CONFIG),
    ("guardrailConfig", false, &Shape::Map),
    ("additionalModelRequestFields", false, &ANY),
    ("promptVariables", false, &Shape::Map),
    ("additionalModelResponseFieldPaths", false, &Shape::List { of: &text(1, 256), min: 0, max: 10 }),
    ("requestMetadata", false, &Shape::Map),
    (
        "performanceConfig",
        false,
        &Shape::Struct(&[("latency", false, &Shape::OneOf(&["standard", "optimized"]))]),
    ),
    (
        "serviceTier",
        false,
        &Shape::Struct(&[("type", true, &Shape::OneOf(&["priority", "default", "flex", "reserved"]))]),
    ),
    ("outputConfig", false, &OUTPUT_CONFIG),
]);

/// Body of CountTokens.
pub(crate) static COUNT_TOKENS: Shape = Shape::Struct(&[(
    "input",
    true,
    &Shape::Union(&[
        ("invokeModel", false, &Shape::Struct(&[("body", true, &BLOB)])),
        (
            "converse",
            false,
            &Shape::Struct(&[
                ("messages", false, &MESSAGES),
                ("system", false, &SYSTEM),
                ("toolConfig", false, &TOOL_CONFIG),
                ("additionalModelRequestFields", false, &ANY),
            ]),
        ),
    ]),
)]);
