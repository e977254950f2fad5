//! Families of bodies, each of a size that a number sets. Each was once slower than linear, or could become so.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Endpoint;
use crate::bedrock::Operation;

/// Bodies that grow with a number.
pub(super) struct Family {
    pub(super) name: &'static str,
    /// The number of the smaller of two bodies. In [`largest`]: the bytes that one more adds.
    pub(super) count: usize,
    pub(super) body: fn(usize) -> String,
    /// What takes such a body; for [`largest`] only.
    pub(super) endpoints: &'static [Endpoint],
}

/// The usual number: large enough for a time that can be measured, within the limits of one list when it is doubled.
const COUNT: usize = if cfg!(debug_assertions) { 3_000 } else { 4_900 };
/// For items of several blocks: a body with more than 10,000 is not parsed but scanned, at another price a byte.
const FEWER: usize = COUNT / 3;
/// Bytes of one text.
const TEXT: usize = COUNT * 100;

fn family(name: &'static str, count: usize, body: fn(usize) -> String) -> Family {
    Family { name, count, body, endpoints: &[] }
}

/// Items of a list, joined.
fn list(count: usize, item: impl Fn(usize) -> String) -> String {
    (0..count).map(item).collect::<Vec<_>>().join(",")
}

/// A Messages body with these messages and with further members.
fn with(messages: &str, members: &str) -> String {
    format!(r#"{{"model":"m","max_tokens":64,"messages":[{messages}]{members}}}"#)
}

fn user(content: &str) -> String {
    format!(r#"{{"role":"user","content":[{content}]}}"#)
}

fn assistant(content: &str) -> String {
    format!(r#"{{"role":"assistant","content":[{content}]}}"#)
}

/// A Messages body with one message of these blocks.
fn blocks(content: &str) -> String {
    with(&user(content), "")
}

/// A Messages body with members beside one message.
fn members(members: &str) -> String {
    with(&user(&text("x")), &format!(",{members}"))
}

fn text(text: &str) -> String {
    format!(r#"{{"type":"text","text":"{text}"}}"#)
}

fn call(id: &str, name: &str) -> String {
    format!(r#"{{"type":"tool_use","id":"{id}","name":"{name}","input":{{"a":1}}}}"#)
}

fn result(id: &str) -> String {
    format!(r#"{{"type":"tool_result","tool_use_id":"{id}","content":"x"}}"#)
}

fn tool(name: &str) -> String {
    format!(r#"{{"name":"{name}","input_schema":{{"type":"object"}}}}"#)
}

fn document(title: &str) -> String {
    format!(
        r#"{{"type":"document","title":"{title}","source":{{"type":"text","media_type":"text/plain","data":"x"}}}}"#
    )
}

fn pdf(pages: usize) -> String {
    let page = |n: usize| format!("{n} 0 obj\n<< /Type /Page /Parent 1 0 R >>\nendobj\n");
    let pages: String = (0..pages).map(page).collect();
    STANDARD.encode(format!("%PDF-1.4\n{pages}"))
}

/// Calls of one turn, and their results in the next.
fn calls(count: usize, id: impl Fn(usize) -> String, name: impl Fn(usize) -> String) -> String {
    let calls = assistant(&list(count, |n| call(&id(n), &name(n))));
    let results = user(&list(count, |n| result(&id(count - 1 - n))));
    format!("{},{calls},{results}", user(&text("x")))
}

/// Families of Messages bodies.
pub(super) fn messages() -> Vec<Family> {
    [documents(), tools(), conversations(), texts(), top_level(), invalid()].into_iter().flatten().collect()
}

pub(super) fn documents() -> Vec<Family> {
    vec![
        family("documents, one title", COUNT, |n| blocks(&list(n, |_| document("same")))),
        family("documents, no title", COUNT, |n| blocks(&list(n, |_| document("")))),
        family("documents, different titles", COUNT, |n| {
            blocks(&list(n, |at| document(&format!("title {at}"))))
        }),
        family("documents, long titles twice", COUNT, |n| {
            blocks(&list(n, |at| document(&format!("{}{:06}", "x".repeat(194), at / 2))))
        }),
        family("documents, numbered titles", COUNT, |n| {
            blocks(&list(n, |at| match at % 2 {
                0 => document("same"),
                _ => document(&format!("same ({at})")),
            }))
        }),
        family("documents in results", COUNT, |n| {
            let documents = list(n, |_| document("same"));
            let content = format!(r#"{{"type":"tool_result","tool_use_id":"a","content":[{documents}]}}"#);
            let calls = assistant(&call("a", "b"));
            with(&format!("{},{calls},{}", user(&text("x")), user(&content)), "")
        }),
        family("parts of a document", COUNT, |n| {
            let parts = list(n, |_| text("x"));
            blocks(&format!(
                r#"{{"type":"document","source":{{"type":"content","content":[{parts}]}},"citations":{{"enabled":true}}}}"#
            ))
        }),
        family("pages of a PDF", COUNT * 5, |n| {
            let data = pdf(n);
            blocks(&format!(
                r#"{{"type":"document","source":{{"type":"base64","media_type":"application/pdf","data":"{data}"}}}}"#
            ))
        }),
        family("images", COUNT, |n| {
            blocks(&list(n, |_| {
                r#"{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AAAA"}}"#
                    .to_owned()
            }))
        }),
        family("search results", FEWER, |n| {
            blocks(&list(n, |at| {
                let part = text("x");
                format!(r#"{{"type":"search_result","source":"s{at}","title":"t","content":[{part}]}}"#)
            }))
        }),
        family("citations", COUNT, |n| {
            let citations = list(n, |at| {
                format!(
                    r#"{{"type":"char_location","cited_text":"x","document_index":{at},"start_char_index":1,"end_char_index":2}}"#
                )
            });
            let content = format!(r#"{{"type":"text","text":"x","citations":[{citations}]}}"#);
            with(&format!("{},{}", user(&text("x")), assistant(&content)), "")
        }),
    ]
}

fn tools() -> Vec<Family> {
    vec![
        family("tools", COUNT, |n| {
            members(&format!(r#""tools":[{}]"#, list(n, |at| tool(&format!("t{at}")))))
        }),
        family("tools with aliases", COUNT, |n| {
            members(&format!(r#""tools":[{}]"#, list(n, |at| tool(&format!("tool {at}")))))
        }),
        family("tools without a type", COUNT, |n| {
            let tool =
                |at: usize| format!(r#"{{"name":"t{at}","input_schema":{{"anyOf":[],"properties":{{}}}}}}"#);
            members(&format!(r#""tools":[{}]"#, list(n, tool).replace(r#""anyOf":[],"#, "")))
        }),
        family("server tools", COUNT, |n| {
            let tool = |at: usize| format!(r#"{{"type":"web_search_20250305","name":"t{at}"}}"#);
            members(&format!(
                r#""tools":[{},{{"name":"t","input_schema":{{"type":"object"}}}}]"#,
                list(n, tool)
            ))
        }),
        family("computer tools of many dates", COUNT, |n| {
            let tool = |at: usize| format!(r#"{{"type":"computer_{:08}","name":"t{at}"}}"#, 20_000_000 + at);
            members(&format!(r#""tools":[{}]"#, list(n, tool)))
        }),
        family("old tools of many dates", COUNT, |n| {
            let tool =
                |_| r#"{"type":"bash_20241022","name":"bash","strict":true,"defer_loading":true}"#.to_owned();
            members(&format!(r#""tools":[{}]"#, list(n, tool)))
        }),
        family("tools with members left out", COUNT, |n| {
            let tool = |at: usize| {
                format!(
                    r#"{{"type":"custom","name":"t{at}","input_schema":{{"type":"object"}},"strict":true,"eager_input_streaming":true,"defer_loading":true,"allowed_callers":["direct"]}}"#
                )
            };
            members(&format!(r#""tools":[{}]"#, list(n, tool)))
        }),
        family("properties of a schema", COUNT, |n| {
            let properties = list(n, |at| format!(r#""p{at}":{{"anyOf":[{{"type":"string"}}]}}"#));
            members(&format!(
                r#""tools":[{{"name":"t","input_schema":{{"properties":{{{properties}}},"type":"object"}}}}]"#
            ))
        }),
        family("keywords of a strict schema", COUNT, |n| {
            let keyword = |at: usize| {
                format!(r#""p{at}":{{"type":"string","minLength":1,"oneOf":[{{"type":"null"}}]}}"#)
            };
            let properties = list(n, keyword);
            members(&format!(
                r#""tools":[{{"name":"t","strict":true,"input_schema":{{"properties":{{{properties}}},"type":"object"}}}}]"#
            ))
        }),
        family("keywords of a schema given twice", 450, |n| {
            let keywords = list(n, |_| r#""oneOf":[],"items":[],"format":"x""#.to_owned());
            let schemas = list(COUNT / 100, |_| format!("{{{keywords}}}"));
            members(&format!(
                r#""output_config":{{"format":{{"type":"json_schema","schema":{{"type":"object","anyOf":[{schemas}]}}}}}}"#
            ))
        }),
        family("deep schemas", 50, |n| {
            let inner = format!(r#"{{"type":"string","description":"{}"}}"#, "x".repeat(TEXT));
            let schema = format!("{}{inner}{}", r#"{"items":"#.repeat(n), "}".repeat(n));
            members(&format!(
                r#""tools":[{{"name":"t","strict":true,"input_schema":{{"type":"object","properties":{{"a":{schema}}}}}}}]"#
            ))
        }),
        family("names in context_management", COUNT, |n| {
            let names = list(n, |at| format!(r#""tool {at}""#));
            members(&format!(
                r#""context_management":{{"edits":[{{"type":"clear_tool_uses_20250919","exclude_tools":[{names}]}}]}},"tools":[{}]"#,
                tool("tool 0")
            ))
        }),
        family("calls and results", COUNT, |n| with(&calls(n, |at| format!("c{at}"), |_| "t".into()), "")),
        family("calls of one id", COUNT, |n| with(&calls(n, |_| "c".into(), |_| "t".into()), "")),
        family("calls without results", COUNT, |n| {
            let calls = assistant(&list(n, |at| call(&format!("c{at}"), "t")));
            with(&format!("{},{calls},{}", user(&text("x")), user(&text("x"))), "")
        }),
        family("calls of many tools", COUNT, |n| {
            with(&calls(n, |at| format!("c{at}"), |at| format!("t{at}")), "")
        }),
        family("calls with aliases", COUNT, |n| {
            with(&calls(n, |at| format!("c {at}"), |at| format!("tool {at}")), "")
        }),
        family("calls in many turns", COUNT, |n| {
            let turn = |at: usize| {
                let id = format!("c{at}");
                format!("{},{}", assistant(&call(&id, "t")), user(&result(&id)))
            };
            with(&format!("{},{}", user(&text("x")), list(n, turn)), "")
        }),
        family("results behind text", FEWER, |n| {
            let calls = assistant(&list(n, |at| call(&format!("c{at}"), "t")));
            let content = list(n, |at| format!("{},{}", text("x"), result(&format!("c{at}"))));
            with(&format!("{},{calls},{}", user(&text("x")), user(&content)), "")
        }),
        family("results inside results", 30, |n| {
            let open =
                r#"{"type":"tool_result","tool_use_id":"a","source":{"type":"url","url":"x"},"content":["#;
            let inside = format!("{}{}{}", open.repeat(n), text(&"x".repeat(TEXT)), "]}".repeat(n));
            let calls = assistant(&call("a", "t"));
            with(&format!("{},{calls},{}", user(&text("x")), user(&inside)), "")
        }),
        family("references to tools", COUNT, |n| {
            let references = list(n, |at| format!(r#"{{"type":"tool_reference","tool_name":"tool {at}"}}"#));
            let found = format!(
                r#"{{"type":"tool_search_tool_result","tool_use_id":"a","content":{{"type":"tool_search_tool_search_result","tool_references":[{references}]}}}}"#
            );
            with(&format!("{},{},{}", user(&text("x")), assistant(&found), user(&text("x"))), "")
        }),
    ]
}

fn conversations() -> Vec<Family> {
    vec![
        family("messages in turn", COUNT, |n| {
            with(&list(n, |_| format!("{},{}", user(&text("x")), assistant(&text("y")))), "")
        }),
        family("messages of one role", COUNT * 2, |n| with(&list(n, |_| user(&text("x"))), "")),
        family("messages without content", COUNT * 2, |n| {
            with(&format!("{},{}", user(&text("x")), list(n, |_| user(""))), "")
        }),
        family("system messages", COUNT * 2, |n| {
            let system = list(n, |_| r#"{"role":"system","content":"x"}"#.to_owned());
            with(&format!("{},{system},{}", user(&text("x")), assistant(&text("y"))), "")
        }),
        family("system messages in turn", COUNT, |n| {
            let turn = |_| {
                let system = r#"{"role":"system","content":"x"}"#;
                format!("{},{system},{},{system}", user(&text("x")), assistant(&text("y")))
            };
            with(&list(n, turn), "")
        }),
        family("unknown roles", COUNT * 2, |n| {
            with(&list(n, |at| format!(r#"{{"role":"r{at}","content":"x"}}"#)), "")
        }),
        family("system blocks", COUNT, |n| members(&format!(r#""system":[{}]"#, list(n, |_| text("x"))))),
        family("blank system blocks", COUNT, |n| {
            members(&format!(r#""system":[{},{}]"#, text("x"), list(n, |_| text(" "))))
        }),
        family("blank blocks", COUNT, |n| blocks(&format!("{},{}", text("x"), list(n, |_| text(" "))))),
        family("blank blocks with markers", COUNT, |n| {
            let blank = |_| r#"{"type":"text","text":"","cache_control":{"type":"ephemeral"}}"#.to_owned();
            blocks(&format!("{},{}", text(&"x".repeat(TEXT)), list(n, blank)))
        }),
        family("blank blocks in a result", COUNT, |n| {
            let content = format!(
                r#"{{"type":"tool_result","tool_use_id":"a","content":[{},{}]}}"#,
                text("x"),
                list(n, |_| text(""))
            );
            with(&format!("{},{},{}", user(&text("x")), assistant(&call("a", "t")), user(&content)), "")
        }),
        family("cache markers", COUNT, |n| {
            let marked = |_| r#"{"type":"text","text":"x","cache_control":{"type":"ephemeral"}}"#.to_owned();
            blocks(&list(n, marked))
        }),
        family("scoped cache markers", COUNT, |n| {
            let marked = |_| {
                r#"{"type":"novel","text":"x","cache_control":{"type":"ephemeral","scope":"global"}}"#
                    .to_owned()
            };
            blocks(&list(n, marked))
        }),
        family("thinking without a signature", COUNT, |n| {
            let thinking = list(n, |_| r#"{"type":"thinking","thinking":"x"}"#.to_owned());
            let turn = assistant(&format!("{thinking},{}", text("y")));
            with(&format!("{},{turn},{}", user(&text("x")), user(&text("x"))), "")
        }),
        family("redacted thinking", COUNT, |n| {
            let thinking = list(n, |_| r#"{"type":"redacted_thinking","data":"x"}"#.to_owned());
            let turn = assistant(&format!("{thinking},{}", text("y")));
            with(&format!("{},{turn},{}", user(&text("x")), user(&text("x"))), "")
        }),
        family("blocks of unknown types", COUNT, |n| {
            blocks(&list(n, |at| format!(r#"{{"type":"novel_{at}","a":1}}"#)))
        }),
        family("unknown members of a block", 100, |n| {
            let unknown = list(n, |at| format!(r#""member_{at}":1"#));
            blocks(&list(COUNT / 10, |_| format!(r#"{{"type":"text","text":"x",{unknown}}}"#)))
        }),
        family("unknown members of blocks", COUNT, |n| {
            blocks(&list(n, |at| format!(r#"{{"type":"text","text":"x","a{at}":1,"b{at}":{{"c":[1]}}}}"#)))
        }),
    ]
}

fn texts() -> Vec<Family> {
    vec![
        family("a text", TEXT, |n| blocks(&text(&"The quick brown fox. ".repeat(n / 20)))),
        family("a text of escapes", TEXT / 6, |n| blocks(&text(&r"\u00e9".repeat(n)))),
        family("a text of quotes", TEXT / 2, |n| blocks(&text(&r#"\""#.repeat(n)))),
        family("a text of digits", TEXT, |n| blocks(&text(&"7".repeat(n)))),
        family("a text of brackets", TEXT, |n| blocks(&text(&"[{<".repeat(n / 3)))),
        family("a text of other scripts", TEXT / 3, |n| blocks(&text(&"漢字".repeat(n / 2)))),
        family("white space", TEXT, |n| blocks(&format!("{},{}", text("x"), text(&" ".repeat(n))))),
        family("white space between values", TEXT, |n| with(&user(&text("x")), &" ".repeat(n))),
        family("white space behind a prefill", TEXT, |n| {
            let prefill = text(&format!("y{}", " ".repeat(n)));
            with(&format!("{},{}", user(&text("x")), assistant(&prefill)), "")
        }),
        family("arguments", COUNT, |n| {
            let input = list(n, |at| format!(r#""a{at}":[1,2.5,"x",{{}}]"#));
            let call = format!(r#"{{"type":"tool_use","id":"a","name":"t","input":{{{input}}}}}"#);
            with(&format!("{},{},{}", user(&text("x")), assistant(&call), user(&result("a"))), "")
        }),
        family("deep arguments", 50, |n| {
            let input = format!(r#"{}"{}"{}"#, r#"{"a":"#.repeat(n), "x".repeat(TEXT), "}".repeat(n));
            let call = format!(r#"{{"type":"tool_use","id":"a","name":"t","input":{input}}}"#);
            with(&format!("{},{},{}", user(&text("x")), assistant(&call), user(&result("a"))), "")
        }),
        family("deep unknown block", 50, |n| {
            let value = format!(r#"{}"scope{}"{}"#, "[".repeat(n), "x".repeat(TEXT), "]".repeat(n));
            blocks(&format!(r#"{{"type":"novel","a":{value},"cache_control":{{"scope":"global"}}}}"#))
        }),
    ]
}

fn top_level() -> Vec<Family> {
    vec![
        family("unknown members", 100, |n| members(&list(n, |at| format!(r#""member_{at}":1"#)))),
        family("a long unknown name", TEXT, |n| members(&format!(r#""{}":1"#, "x".repeat(n)))),
        family("an unknown value", COUNT, |n| {
            members(&format!(r#""novel":[{}]"#, list(n, |at| at.to_string())))
        }),
        family("null members", COUNT, |n| members(&list(n, |at| format!(r#""member_{at}":null"#)))),
        family("betas", 1_200, |n| {
            members(&format!(r#""anthropic_beta":[{}]"#, list(n, |at| format!(r#""beta-{at}""#))))
        }),
        family("betas of Anthropic's service", 1_200, |n| {
            members(&format!(r#""anthropic_beta":[{}]"#, list(n, |at| format!(r#""mcp-client-{at}""#))))
        }),
        family("stop sequences", 1_200, |n| {
            members(&format!(r#""stop_sequences":[{}]"#, list(n, |at| format!(r#""stop {at}""#))))
        }),
        family("a long user id", TEXT, |n| {
            members(&format!(r#""metadata":{{"user_id":"{}"}}"#, "{".repeat(n)))
        }),
        family("members of metadata", 100, |n| {
            members(&format!(r#""metadata":{{{}}}"#, list(n, |at| format!(r#""m{at}":1"#))))
        }),
        family("an output schema", COUNT, |n| {
            let properties = list(n, |at| format!(r#""p{at}":{{"type":"string"}}"#));
            members(&format!(
                r#""output_config":{{"format":{{"type":"json_schema","schema":{{"type":"object","properties":{{{properties}}}}}}}}}"#
            ))
        }),
        family("automatic caching", COUNT, |n| {
            with(&list(n, |_| user(&text("x"))), r#","cache_control":{"type":"ephemeral"}"#)
        }),
    ]
}

fn invalid() -> Vec<Family> {
    vec![
        family("a text instead of messages", TEXT, |n| {
            format!(r#"{{"model":"m","max_tokens":1,"messages":"{}"}}"#, r"\u0001".repeat(n / 6))
        }),
        family("a wrong type at the end", COUNT, |n| blocks(&format!("{},7", list(n, |_| text("x"))))),
        family("a duplicate at the end", 100, |n| {
            members(&format!(r#"{},"member_0":1"#, list(n, |at| format!(r#""member_{at}":1"#))))
        }),
        family("a cut body", COUNT, |n| {
            blocks(&list(n, |_| text("x"))).trim_end_matches(['}', ']']).to_owned()
        }),
        family("a long type", TEXT, |n| blocks(&format!(r#"{{"type":"{}"}}"#, "x".repeat(n)))),
        family("a long id", TEXT, |n| {
            with(&format!("{},{}", user(&text("x")), user(&result(&"x".repeat(n)))), "")
        }),
        family("a long tool name", TEXT, |n| members(&format!(r#""tools":[{}]"#, tool(&" ".repeat(n))))),
    ]
}

/// Families of chat completions.
pub(super) fn chat() -> Vec<Family> {
    fn with(messages: &str, members: &str) -> String {
        format!(r#"{{"model":"m","messages":[{messages}]{members}}}"#)
    }
    fn message(role: &str) -> String {
        format!(r#"{{"role":"{role}","content":"x"}}"#)
    }
    fn call(id: &str, name: &str) -> String {
        format!(r#"{{"id":"{id}","type":"function","function":{{"name":"{name}","arguments":"{{}}"}}}}"#)
    }
    fn result(id: &str) -> String {
        format!(r#"{{"role":"tool","tool_call_id":"{id}","content":"x"}}"#)
    }
    fn calls(count: usize, name: impl Fn(usize) -> String) -> String {
        let calls = list(count, |at| call(&format!("c{at}"), &name(at)));
        let results = list(count, |at| result(&format!("c{}", count - 1 - at)));
        format!(r#"{},{{"role":"assistant","tool_calls":[{calls}]}},{results}"#, message("user"))
    }
    fn parts(count: usize, part: impl Fn(usize) -> String) -> String {
        with(&format!(r#"{{"role":"user","content":[{}]}}"#, list(count, part)), "")
    }
    vec![
        family("calls and results", COUNT, |n| with(&calls(n, |_| "t".into()), "")),
        family("calls of many tools", COUNT, |n| with(&calls(n, |at| format!("t{at}")), "")),
        family("calls with aliases", COUNT, |n| with(&calls(n, |at| format!("tool {at}")), "")),
        family("calls in many turns", COUNT, |n| {
            let turn = |at: usize| {
                let id = format!("c{at}");
                format!(r#"{{"role":"assistant","tool_calls":[{}]}},{}"#, call(&id, "t"), result(&id))
            };
            with(&format!("{},{}", message("user"), list(n, turn)), "")
        }),
        family("function calls", COUNT, |n| {
            let turn = |at: usize| {
                format!(
                    r#"{{"role":"assistant","function_call":{{"name":"t{at}","arguments":"{{}}"}}}},{{"role":"function","name":"t{at}","content":"x"}}"#
                )
            };
            with(&format!("{},{}", message("user"), list(n, turn)), "")
        }),
        family("results behind text", FEWER, |n| {
            let calls = list(n, |at| call(&format!("c{at}"), "t"));
            let texts = list(n, |_| r#"{"type":"text","text":"x"}"#.to_owned());
            let results = list(n, |at| result(&format!("c{at}")));
            with(
                &format!(
                    r#"{},{{"role":"assistant","tool_calls":[{calls}]}},{{"role":"user","content":[{texts}]}},{results}"#,
                    message("user")
                ),
                "",
            )
        }),
        family("instructions", COUNT, |n| {
            let instructions = list(n, |_| message("developer"));
            with(&format!("{},{instructions},{}", message("user"), message("assistant")), "")
        }),
        family("instructions at the beginning", COUNT, |n| {
            with(&format!("{},{}", list(n, |_| message("system")), message("user")), "")
        }),
        family("instructions in turn", COUNT, |n| {
            let turn = |_| [message("user"), message("system"), message("assistant")].join(",");
            with(&list(n, turn), "")
        }),
        family("messages of one role", COUNT, |n| with(&list(n, |_| message("user")), "")),
        family("empty messages", COUNT, |n| {
            let empty = list(n, |_| r#"{"role":"assistant","content":""}"#.to_owned());
            with(&format!("{},{empty}", message("user")), "")
        }),
        family("names and thoughts", COUNT, |n| {
            let named = |at: usize| {
                format!(
                    r#"{{"role":"assistant","name":"n{at}","reasoning_content":"x","content":"y","u{at}":1}}"#
                )
            };
            with(&format!("{},{}", message("user"), list(n, named)), "")
        }),
        family("files, one name", COUNT, |n| {
            parts(n, |_| {
                r#"{"type":"file","file":{"filename":"same.pdf","file_data":"data:application/pdf;base64,AAAA"}}"#
                    .to_owned()
            })
        }),
        family("images", COUNT, |n| {
            parts(n, |_| {
                r#"{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA","detail":"low"}}"#
                    .to_owned()
            })
        }),
        family("parts", COUNT, |n| parts(n, |_| r#"{"type":"text","text":"x"}"#.to_owned())),
        family("blank parts", COUNT, |n| parts(n, |_| r#"{"type":"text","text":" "}"#.to_owned())),
        family("cache markers", COUNT, |n| {
            parts(n, |_| r#"{"type":"text","text":"x","cache_control":{"type":"ephemeral"}}"#.to_owned())
        }),
        family("tools", COUNT, |n| {
            let tool =
                |at: usize| format!(r#"{{"type":"function","function":{{"name":"t {at}","strict":true}}}}"#);
            with(&message("user"), &format!(r#","tools":[{}]"#, list(n, tool)))
        }),
        family("functions", COUNT, |n| {
            let function = |at: usize| format!(r#"{{"name":"t {at}","parameters":{{"type":"object"}}}}"#);
            with(&message("user"), &format!(r#","functions":[{}]"#, list(n, function)))
        }),
        family("stop sequences", 1_200, |n| {
            with(&message("user"), &format!(r#","stop":[{}]"#, list(n, |at| format!(r#""s{at}""#))))
        }),
        family("blank stop sequences", 1_200, |n| {
            with(&message("user"), &format!(r#","stop":[{}]"#, list(n, |_| r#"" ""#.to_owned())))
        }),
        family("unknown members", 100, |n| {
            with(&message("user"), &format!(",{}", list(n, |at| format!(r#""member_{at}":1"#))))
        }),
        family("a text", TEXT, |n| {
            with(&format!(r#"{{"role":"user","content":"{}"}}"#, "The quick brown fox. ".repeat(n / 20)), "")
        }),
        family("arguments", COUNT, |n| {
            let arguments = list(n, |at| format!(r#"\"a{at}\":[1,{{}}]"#));
            let call = format!(
                r#"{{"id":"a","type":"function","function":{{"name":"t","arguments":"{{{arguments}}}"}}}}"#
            );
            with(
                &format!(
                    r#"{},{{"role":"assistant","tool_calls":[{call}]}},{}"#,
                    message("user"),
                    result("a")
                ),
                "",
            )
        }),
    ]
}

/// Families of InvokeModel bodies that no other client API takes.
pub(super) fn native() -> Vec<Family> {
    fn with(members: &str) -> String {
        format!(r#"{{{members},"max_tokens":64,"messages":[{{"role":"user","content":"x"}}]}}"#)
    }
    vec![
        family("members given twice", COUNT, |n| {
            with(&list(n, |at| format!(r#""{}":1"#, ["speed", "tags", "thread"][at * 3 / n])))
        }),
        family("sampling given twice", COUNT, |n| {
            with(&list(n, |at| format!(r#""{}":1"#, ["temperature", "top_p"][at * 2 / n])))
        }),
        family("caching given twice", COUNT, |n| {
            with(&list(n, |_| r#""cache_control":{"type":"ephemeral"}"#.to_owned()))
        }),
        family("tools given twice", COUNT, |n| with(&list(n, |_| r#""tools":[]"#.to_owned()))),
        family("members of a tool given twice", COUNT, |n| {
            let members =
                list(n, |at| format!(r#""{}":true"#, ["strict", "eager_input_streaming"][at * 2 / n]));
            with(&format!(r#""tools":[{{"name":"t",{members}}}]"#))
        }),
        family("output settings given twice", COUNT, |n| {
            let members = list(n, |at| format!(r#""{}":"max""#, ["format", "effort"][at * 2 / n]));
            with(&format!(r#""output_config":{{{members}}}"#))
        }),
        family("user ids given twice", COUNT, |n| {
            with(&format!(r#""metadata":{{{}}}"#, list(n, |_| r#""user_id":"{}""#.to_owned())))
        }),
        family("content given twice", COUNT, |n| {
            let content =
                list(n, |_| format!(r#""content":[{}]"#, document("x").replace("\"text\"", "\"url\"")));
            with(&format!(r#""system":"url","messages":[{{"role":"user",{content}}}]"#))
        }),
        family("unknown members", COUNT, |n| with(&list(n, |at| format!(r#""member_{at}":1"#)))),
    ]
}

/// Families of Converse bodies.
pub(super) fn converse() -> Vec<Family> {
    fn with(content: &str, members: &str) -> String {
        format!(r#"{{"messages":[{{"role":"user","content":[{content}]}}]{members}}}"#)
    }
    vec![
        family("small values", COUNT * 10, |n| with(&list(n, |_| "0".to_owned()), "")),
        family("small members", COUNT * 5, |n| {
            with("", &format!(r#","a":{{{}}}"#, list(n, |at| format!(r#""{at}":0"#))))
        }),
        family("members given twice", COUNT * 5, |n| {
            with("", &format!(",{}", list(n, |_| r#""inferenceConfig":{"maxTokens":1}"#.to_owned())))
        }),
        family("texts", COUNT, |n| with(&list(n, |_| r#"{"text":"x"}"#.to_owned()), "")),
        family("a text of escapes", TEXT / 6, |n| {
            with(&format!(r#"{{"text":"{}"}}"#, r"\u00e9".repeat(n)), "")
        }),
        family("documents", COUNT, |n| {
            let document =
                |_| r#"{"document":{"format":"txt","name":"x","source":{"bytes":"AAAA"}}}"#.to_owned();
            with(&list(n, document), "")
        }),
        family("pages of a PDF", COUNT * 5, |n| {
            with(
                &format!(r#"{{"document":{{"format":"pdf","name":"x","source":{{"bytes":"{}"}}}}}}"#, pdf(n)),
                "",
            )
        }),
        family("images", COUNT, |n| {
            with(&list(n, |_| r#"{"image":{"format":"png","source":{"bytes":"AAAA"}}}"#.to_owned()), "")
        }),
        family("calls and results", COUNT, |n| {
            let item = |at: usize| {
                format!(
                    r#"{{"toolUse":{{"toolUseId":"c{at}","name":"t","input":{{"a":[1]}}}}}},{{"toolResult":{{"toolUseId":"c{at}","content":[{{"json":{{"a":[1]}}}}]}}}}"#
                )
            };
            with(&list(n, item), "")
        }),
        family("deep values", 50, |n| {
            with(&format!("{}\"{}\"{}", "[".repeat(n), "x".repeat(TEXT), "]".repeat(n)), "")
        }),
        family("tools", COUNT, |n| {
            let tool = |at: usize| {
                format!(r#"{{"toolSpec":{{"name":"t{at}","inputSchema":{{"json":{{"type":"object"}}}}}}}}"#)
            };
            with("", &format!(r#","toolConfig":{{"tools":[{}]}}"#, list(n, tool)))
        }),
        family("a cut body", COUNT, |n| format!(r#"{{"messages":[{}"#, list(n, |_| "0".to_owned()))),
    ]
}

/// Families of CountTokens bodies of the Bedrock API.
pub(super) fn counts() -> Vec<Family> {
    fn native(body: &str) -> String {
        format!(r#"{{"input":{{"invokeModel":{{"body":"{}"}}}}}}"#, STANDARD.encode(body))
    }
    vec![
        family("a native body", COUNT, |n| native(&blocks(&list(n, |_| document("same"))))),
        family("a Converse body", COUNT, |n| {
            let content = list(n, |_| r#"{"text":"x"}"#.to_owned());
            format!(r#"{{"input":{{"converse":{{"messages":[{{"role":"user","content":[{content}]}}]}}}}}}"#)
        }),
        family("a body that is no base64", TEXT, |n| {
            format!(r#"{{"input":{{"invokeModel":{{"body":"{}"}}}}}}"#, "!".repeat(n))
        }),
    ]
}

/// Families for the largest bodies. The number is that of the bytes divided by `count`.
pub(super) fn largest() -> Vec<Family> {
    const NATIVE: &[Endpoint] = &[
        Endpoint::Messages,
        Endpoint::CountTokens,
        Endpoint::Bedrock(Operation::InvokeModelWithResponseStream),
    ];
    const CHAT: &[Endpoint] = &[Endpoint::ChatCompletions];
    const CONVERSE: &[Endpoint] =
        &[Endpoint::Bedrock(Operation::ConverseStream), Endpoint::Bedrock(Operation::InvokeModel)];
    const COUNT: &[Endpoint] = &[Endpoint::Bedrock(Operation::CountTokens)];
    let family = |name, count, endpoints, body| Family { name, count, body, endpoints };
    vec![
        family("a text", 1, NATIVE, |n| blocks(&text(&"The quick brown fox. ".repeat(n / 21)))),
        family("a text of escapes", 6, NATIVE, |n| blocks(&text(&r"\u00e9".repeat(n)))),
        family("a text of digits", 1, NATIVE, |n| blocks(&text(&"7".repeat(n)))),
        family("blank text", 1, NATIVE, |n| blocks(&format!("{},{}", text("x"), text(&" ".repeat(n))))),
        family("messages", 300, NATIVE, |n| {
            let turn = |_| format!("{},{}", user(&text(&"x".repeat(210))), assistant(&text("y")));
            with(&list(n.min(25_000), turn), "")
        }),
        family("long results behind text", 3_000, NATIVE, |n| {
            let n = n.min(9_000);
            let calls = assistant(&list(n, |at| call(&format!("c.{at}"), "a tool")));
            let long = "x".repeat(2_800);
            let content = list(n, |at| {
                format!(
                    "{},{}",
                    text("x"),
                    result(&format!("c.{at}")).replace(r#""x""#, &format!(r#""{long}""#))
                )
            });
            with(&format!("{},{calls},{}", user(&text("x")), user(&content)), "")
        }),
        family("unknown members", 3_000, NATIVE, |n| {
            let unknown = list(250, |at| format!(r#""m{at:03}":123"#));
            blocks(&list(n.min(9_999), |_| format!(r#"{{"type":"text","text":"x",{unknown}}}"#)))
        }),
        family("deep unknown block", 1, NATIVE, |n| {
            let value = format!(r#"{}"scope{}"{}"#, "[".repeat(100), "x".repeat(n), "]".repeat(100));
            blocks(&format!(r#"{{"type":"novel","a":{value},"cache_control":{{"scope":"global"}}}}"#))
        }),
        family("small values", 2, NATIVE, |n| {
            members(&format!(r#""novel":[{}]"#, list(n, |_| "0".to_owned())))
        }),
        family("tools", 3_200, NATIVE, |n| {
            let properties = list(60, |at| format!(r#""p{at}":{{"type":"string","description":"x"}}"#));
            let tool = |at: usize| {
                format!(
                    r#"{{"name":"t {at}","input_schema":{{"properties":{{{properties}}},"type":"object"}}}}"#
                )
            };
            members(&format!(r#""tools":[{}]"#, list(n.min(9_999), tool)))
        }),
        family("schema keywords given twice", 10_000, NATIVE, |n| {
            let keywords = list(990, |_| r#""oneOf":[]"#.to_owned());
            let schemas = list(n, |_| format!("{{{keywords}}}"));
            members(&format!(
                r#""output_config":{{"format":{{"type":"json_schema","schema":{{"type":"object","anyOf":[{schemas}]}}}}}}"#
            ))
        }),
        family("an output schema", 80, NATIVE, |n| {
            let properties = list(n, |at| {
                format!(
                    r#""p{at}":{{"type":"object","properties":{{"a":{{"type":"string","minLength":1}}}}}}"#
                )
            });
            members(&format!(
                r#""output_config":{{"format":{{"type":"json_schema","schema":{{"type":"object","properties":{{{properties}}}}}}}}}"#
            ))
        }),
        family("images", 1, NATIVE, |n| {
            let data = "A".repeat(n / 4 * 4);
            blocks(&format!(
                r#"{{"type":"image","source":{{"type":"base64","media_type":"image/png","data":"{data}"}}}}"#
            ))
        }),
        family("a PDF", 82, NATIVE, |n| {
            let data = pdf(n);
            blocks(&format!(
                r#"{{"type":"document","citations":{{"enabled":true}},"source":{{"type":"base64","media_type":"application/pdf","data":"{data}"}}}}"#
            ))
        }),
        family("a text instead of messages", 6, NATIVE, |n| {
            format!(r#"{{"model":"m","max_tokens":1,"messages":"{}"}}"#, r"\u0001".repeat(n))
        }),
        family("chat, a text", 1, CHAT, |n| {
            format!(
                r#"{{"messages":[{{"role":"user","content":"{}"}}]}}"#,
                "The quick brown fox. ".repeat(n / 21)
            )
        }),
        family("chat, calls and results", 3_100, CHAT, |n| {
            let n = n.min(9_999);
            let call = |at: usize| {
                format!(
                    r#"{{"id":"c{at}","function":{{"name":"t {at}","arguments":"{{\"a\":\"{}\"}}"}}}}"#,
                    "x".repeat(2_900)
                )
            };
            let results = list(n, |at| format!(r#"{{"role":"tool","tool_call_id":"c{at}","content":"x"}}"#));
            format!(
                r#"{{"messages":[{{"role":"user","content":"x"}},{{"role":"assistant","tool_calls":[{}]}},{results}]}}"#,
                list(n, call)
            )
        }),
        family("Converse, small values", 2, CONVERSE, |n| {
            format!(r#"{{"messages":[{{"role":"user","content":[{}]}}]}}"#, list(n, |_| "0".to_owned()))
        }),
        family("Converse, small members", 12, CONVERSE, |n| {
            format!(r#"{{"messages":[],"a":{{{}}}}}"#, list(n, |at| format!(r#""{at}":0"#)))
        }),
        family("Converse, a text of escapes", 6, CONVERSE, |n| {
            format!(r#"{{"messages":[{{"role":"user","content":[{{"text":"{}"}}]}}]}}"#, r"\u00e9".repeat(n))
        }),
        family("Converse, a document", 82, CONVERSE, |n| {
            format!(
                r#"{{"messages":[{{"role":"user","content":[{{"document":{{"format":"pdf","name":"x","source":{{"bytes":"{}"}}}}}}]}}]}}"#,
                pdf(n)
            )
        }),
        family("CountTokens, a native body", 1, COUNT, |n| {
            let native = STANDARD.encode(blocks(&text(&"x y ".repeat(n * 3 / 4 / 4))));
            format!(r#"{{"input":{{"invokeModel":{{"body":"{native}"}}}}}}"#)
        }),
    ]
}
