//! Rules of the edits, one by one.

use super::*;
use crate::anthropic::Request;
use crate::capabilities::{Efforts, Sampling, Thinking};
use crate::translate::to_converse;

fn sent(body: &str, capabilities: &Capabilities, betas: &[&str]) -> (String, Vec<String>, Vec<String>) {
    let names: Vec<String> = betas.iter().map(ToString::to_string).collect();
    let betas = RequestedBetas { names: &names, ..RequestedBetas::default() };
    let options = InvokeOptions { betas, ..InvokeOptions::invoke_model(TranslationOptions::new(8192)) };
    let call = to_invoke(body, capabilities, &options).unwrap();
    let unsupported = call.unsupported.iter().map(ToString::to_string).collect();
    let notices = call.notices.iter().map(ToString::to_string).collect();
    (String::from_utf8(call.body).unwrap(), unsupported, notices)
}

#[test]
fn valid_body_is_forwarded_byte_for_byte() {
    let body = r#"{"model":"m", "messages" : [ {"role":"user","content":[{"type":"novel","z":1.0,"a":1e3}]} ],"max_tokens":5,"novel":{"b":1,"a":2},"stream":true }"#;
    let (body, unsupported, notices) = sent(body, &Capabilities::NEWEST_CLAUDE, &[]);
    assert_eq!(
        body,
        r#"{"anthropic_version":"bedrock-2023-05-31","messages" : [ {"role":"user","content":[{"type":"novel","z":1.0,"a":1e3}]} ],"max_tokens":5,"novel":{"b":1,"a":2} }"#
    );
    assert!(unsupported.is_empty() && notices.is_empty(), "{unsupported:?} {notices:?}");
}

#[test]
fn request_of_claude_code_is_carried() {
    let body = r#"{"model":"claude-opus-5-5","messages":[{"role":"user","content":"a"},{"role":"system","content":"b","output_config":{"effort":"low"}}],"system":[{"type":"text","text":"s","cache_control":{"type":"ephemeral","scope":"global"}}],"tools":[{"name":"t","input_schema":{"scope":1},"defer_loading":true,"eager_input_streaming":true}],"metadata":{"user_id":"{\"device_id\":\"d\"}"},"max_tokens":999999,"thinking":{"type":"adaptive"},"context_management":{"edits":[{"type":"clear_thinking_20251015","keep":"all"}]},"output_config":{"effort":"high","format":{"type":"json_schema","schema":{}}}}"#;
    let betas = ["claude-code-20250219", "advanced-tool-use-2025-11-20", "context-management-2025-06-27"];
    let (body, unsupported, notices) = sent(body, &Capabilities::NEWEST_CLAUDE, &betas);
    assert_eq!(unsupported, [""; 0]);
    assert_eq!(
        body,
        r#"{"anthropic_version":"bedrock-2023-05-31","anthropic_beta":["tool-search-tool-2025-10-19","context-management-2025-06-27","mid-conversation-output-config-2026-07-01","fine-grained-tool-streaming-2025-05-14"],"messages":[{"role":"user","content":"a"},{"role":"system","content":"b","output_config":{"effort":"low"}}],"system":[{"type":"text","text":"s","cache_control":{"type":"ephemeral"}}],"tools":[{"name":"t","input_schema":{"scope":1},"defer_loading":true}],"metadata":{"user_id":"user_55dcddabb7cd7f49"},"max_tokens":128000,"thinking":{"type":"adaptive"},"context_management":{"edits":[{"type":"clear_thinking_20251015","keep":"all"}]},"output_config":{"effort":"high","format":{"type":"json_schema","schema":{}}}}"#
    );
    assert_eq!(notices.len(), 4, "{notices:?}");
}

#[test]
fn fields_that_were_rejected_are_left_out() {
    let body = r#"{"max_tokens":1,"messages":[],"tools":[{"name":"t","strict":true},{"name":"u","strict":false}],"output_config":{"effort":"low","format":{"type":"json_schema"}}}"#;
    let (taken, ..) = sent(body, &Capabilities::NEWEST_CLAUDE, &[]);
    assert!(taken.contains(r#"[{"name":"t","strict":true},{"name":"u"}]"#), "{taken}");
    let unsupported_fields = &["tools.strict".to_owned(), "output_config.format".to_owned()];
    let options =
        InvokeOptions { unsupported_fields, ..InvokeOptions::invoke_model(TranslationOptions::new(1)) };
    let call = to_invoke(body, &Capabilities::NEWEST_CLAUDE, &options).unwrap();
    let text = String::from_utf8(call.body).unwrap();
    assert!(
        text.ends_with(r#""tools":[{"name":"t"},{"name":"u"}],"output_config":{"effort":"low"}}"#),
        "{text}"
    );
    let notices: Vec<&str> = call.notices.iter().map(|notice| notice.path.as_str()).collect();
    assert_eq!(notices, ["tools.0.strict", "output_config.format"]);
}

#[test]
fn model_may_take_its_default_sampling_only() {
    let capabilities = Capabilities { sampling: Sampling::Defaults, ..Capabilities::NEWEST_CLAUDE };
    for (members, kept) in [
        (r#""temperature":1"#, r#""temperature":1"#),
        (r#""temperature":1.0,"top_p":0.99"#, r#""temperature":1.0"#),
        (r#""top_p":0.99"#, r#""top_p":0.99"#),
        (r#""temperature":0.5,"top_p":0.99,"top_k":5"#, r#""top_p":0.99"#),
        (r#""temperature":0.999"#, ""),
        (r#""top_p":1"#, ""),
    ] {
        let body = format!(r#"{{{members},"max_tokens":1,"messages":[{{"role":"user","content":"x"}}]}}"#);
        let (sent, _, notices) = sent(&body, &capabilities, &[]);
        let kept = if kept.is_empty() { String::new() } else { format!("{kept},") };
        assert!(sent.contains(&format!(r#""bedrock-2023-05-31",{kept}"max_tokens""#)), "{sent}");
        let request = Request::parse(body.as_bytes()).unwrap();
        let options = TranslationOptions::new(1);
        let call = to_converse(request, RequestedBetas::default(), 0, &capabilities, &options).unwrap();
        let converse = String::from_utf8(call.body).unwrap();
        let has = |name: &str| converse.contains(&format!(r#""{name}":"#));
        assert_eq!((has("temperature"), has("topP")), (kept.contains("temperature"), kept.contains("top_p")));
        assert_eq!(call.notices.len(), notices.len());
    }
}

#[test]
fn automatic_caching_marks_the_last_block() {
    let body = r#"{"cache_control":{"type":"ephemeral"},"max_tokens":1,"messages":[{"role":"user","content":"hi"}]}"#;
    let (body, ..) = sent(body, &Capabilities::NEWEST_CLAUDE, &[]);
    assert!(
        body.contains(r#""content":[{"type":"text","text":"hi","cache_control":{"type":"ephemeral"}}]"#),
        "{body}"
    );
}

#[test]
fn server_tools_are_dropped_while_others_remain() {
    let body = r#"{"max_tokens":1,"tools":[{"type":"web_search_20250305","name":"web_search"},{"name":"t","input_schema":{}}],"messages":[]}"#;
    let (body, _, notices) = sent(body, &Capabilities::NEWEST_CLAUDE, &[]);
    assert!(body.contains(r#""tools":[{"name":"t","input_schema":{}}]"#), "{body}");
    assert!(notices[0].contains("web_search_20250305"), "{notices:?}");
    let alone =
        r#"{"max_tokens":1,"tools":[{"type":"web_search_20250305","name":"web_search"}],"messages":[]}"#;
    let options = InvokeOptions::invoke_model(TranslationOptions::new(1));
    let refused = to_invoke(alone, &Capabilities::NEWEST_CLAUDE, &options).unwrap_err();
    assert!(refused.to_string().starts_with("tools.0: tool type 'web_search_20250305'"), "{refused}");
}

#[test]
fn thinking_is_mapped_to_the_model() {
    let enabled = r#"{"max_tokens":9000,"thinking":{"type":"enabled","budget_tokens":2000},"messages":[]}"#;
    let (newest, ..) = sent(enabled, &Capabilities::NEWEST_CLAUDE, &[]);
    assert!(
        newest.contains(r#""thinking":{"type":"adaptive"}"#) && newest.contains(r#""effort":"low""#),
        "{newest}"
    );
    let adaptive = r#"{"max_tokens":9000,"thinking":{"type":"adaptive"},"output_config":{"effort":"max"},"messages":[]}"#;
    let thinking = Thinking { enabled: true, ..Thinking::default() };
    let older = Capabilities { thinking, effort: Efforts::default(), ..Capabilities::CLASSIC_CLAUDE };
    let (older, ..) = sent(adaptive, &older, &[]);
    assert!(older.contains(r#""type":"enabled""#) && !older.contains("output_config"), "{older}");
    let (as_it_came, ..) = sent(adaptive, &Capabilities::NEWEST_CLAUDE, &[]);
    assert!(as_it_came.contains(&adaptive[1..adaptive.len() - 1]), "{as_it_came}");
}

#[test]
fn unsupported_fields_are_reported() {
    let body =
        r#"{"max_tokens":1,"container":"c","mcp_servers":[{}],"messages":[{"role":"system","content":"x"}]}"#;
    let (_, unsupported, _) = sent(body, &Capabilities::CLASSIC_CLAUDE, &[]);
    assert_eq!(unsupported.len(), 2, "{unsupported:?}");
}

#[test]
fn unsupported_members_and_betas_are_dropped() {
    let names = ["novel-2027-01-01".to_owned()];
    let betas = RequestedBetas { names: &names, unsupported: &names, all_unsupported: false };
    let unsupported_fields = &["temperature".to_owned()];
    let options = InvokeOptions {
        betas,
        unsupported_fields,
        ..InvokeOptions::invoke_model(TranslationOptions::new(1))
    };
    let call =
        to_invoke(r#"{"temperature":1,"max_tokens":2}"#, &Capabilities::CLASSIC_CLAUDE, &options).unwrap();
    assert_eq!(
        String::from_utf8(call.body).unwrap(),
        r#"{"anthropic_version":"bedrock-2023-05-31","max_tokens":2}"#
    );
}

/// The body for InvokeModel, with what the model was seen not to support.
fn invoke(body: &str, betas: &[&str], unsupported: &[&str]) -> (String, Vec<Notice>) {
    let [names, unsupported] =
        [betas, unsupported].map(|names| names.iter().map(ToString::to_string).collect::<Vec<_>>());
    let betas = RequestedBetas { names: &names, unsupported: &unsupported, all_unsupported: false };
    let options = InvokeOptions {
        betas,
        unsupported_fields: &unsupported,
        ..InvokeOptions::invoke_model(TranslationOptions::new(8192))
    };
    let call = to_invoke(body, &Capabilities::NEWEST_CLAUDE, &options).unwrap();
    assert!(call.unsupported.is_empty(), "{:?}", call.unsupported);
    (String::from_utf8(call.body).unwrap(), call.notices)
}

const SAFEGUARDS: &str = r#""safeguards":[{"type":"dangerous_tool_use","classifier_context":{}}]"#;

#[test]
fn safeguards_travel_with_their_beta() {
    let body = format!(r#"{{"max_tokens":1,{SAFEGUARDS}}}"#);
    let version = r#""anthropic_version":"bedrock-2023-05-31""#;
    let (known, later) = ("dangerous-tool-use-2026-09-03", "dangerous-tool-use-2027-01-01");
    for (betas, beta) in [(vec![], known), (vec![known], known), (vec![later], later)] {
        let (sent, notices) = invoke(&body, &betas, &[]);
        let expected = format!(r#"{{{version},"anthropic_beta":["{beta}"],"max_tokens":1,{SAFEGUARDS}}}"#);
        assert_eq!((sent, notices), (expected, vec![]));
    }
    let (sent, notices) = invoke(r#"{"max_tokens":1}"#, &[known], &[]);
    assert_eq!(sent, format!(r#"{{{version},"max_tokens":1}}"#), "no beta without its member");
    assert_eq!(notices.len(), 1);
    for half in [known, later, "safeguards"] {
        let (sent, notices) = invoke(&body, &[known], &[half]);
        assert_eq!(sent, format!(r#"{{{version},"max_tokens":1}}"#), "{half}");
        assert!(notices.iter().any(|notice| notice.path == "safeguards" && !notice.dropped), "{notices:?}");
    }
    let call = by_messages(&body, &[]);
    assert_eq!(call.betas, [known]);
}

#[test]
fn display_travels_with_its_beta() {
    let beta = "thinking-display-updates-2026-08-18";
    let body = r#"{"max_tokens":1,"thinking":{"type":"adaptive","display":"updates"}}"#;
    for betas in [vec![], vec![beta]] {
        let (sent, notices) = invoke(body, &betas, &[]);
        assert!(sent.contains(&format!(r#""anthropic_beta":["{beta}"]"#)), "{sent}");
        assert!(sent.contains(r#""display":"updates""#) && notices.is_empty(), "{sent}");
    }
    for unsupported in [beta, "thinking.display.updates"] {
        let (sent, notices) = invoke(body, &[], &[unsupported]);
        assert!(sent.contains(r#"{"type":"adaptive","display":"summarized"}"#), "{sent}");
        assert!(!sent.contains(beta) && notices.len() == 1, "{sent}");
    }
    let (sent, _) = invoke(body, &[], &["thinking.display"]);
    assert!(sent.contains(r#""thinking":{"type":"adaptive"}"#), "{sent}");
    let other = body.replace("updates", "novel");
    assert!(invoke(&other, &[], &[]).0.contains("novel"));
    assert!(invoke(&other, &[], &["thinking.display.novel"]).0.contains("summarized"));
}

#[test]
fn required_field_is_never_left_out() {
    let body = r#"{"max_tokens":1,"inference_geo":"eu"}"#;
    assert!(invoke(body, &[], &[]).0.contains(r#""inference_geo":"eu""#));
    let unsupported_fields = &["inference_geo".to_owned()];
    let options =
        InvokeOptions { unsupported_fields, ..InvokeOptions::invoke_model(TranslationOptions::new(1)) };
    let call = to_invoke(body, &Capabilities::NEWEST_CLAUDE, &options).unwrap();
    assert_eq!(call.unsupported[0].to_string(), "inference_geo: Extra inputs are not permitted");
}

fn by_messages(body: &str, betas: &[&str]) -> InvokeCall {
    let names: Vec<String> = betas.iter().map(ToString::to_string).collect();
    let betas = RequestedBetas { names: &names, ..RequestedBetas::default() };
    let options = InvokeOptions { betas, ..InvokeOptions::messages("us.m", TranslationOptions::new(8192)) };
    let call = to_invoke(body, &Capabilities::NEWEST_CLAUDE, &options).unwrap();
    assert!(call.unsupported.is_empty(), "{:?}", call.unsupported);
    call
}

#[test]
fn messages_api_body_names_the_upstream_model() {
    let body = r#"{"model":"m", "cache_control":{"type":"ephemeral"},"messages" : [ {"role":"user","content":"x"} ],"max_tokens":5,"tools":[{"type":"custom","name":"t","input_schema":{},"eager_input_streaming":true}],"novel":1.0,"stream":false }"#;
    let expected = body.replace(r#""model":"m""#, r#""model":"us.m""#).replace("false", "true");
    assert_eq!(String::from_utf8(by_messages(body, &[]).body).unwrap(), expected);
    let short = by_messages(r#"{"max_tokens":5,"anthropic_version":"bedrock-2023-05-31"}"#, &[]);
    assert_eq!(String::from_utf8(short.body).unwrap(), r#"{"model":"us.m","stream":true,"max_tokens":5}"#);
}

#[test]
fn messages_api_betas_go_into_the_header() {
    let body = r#"{"max_tokens":5,"anthropic_beta":["novel-2027-01-01"],"service_tier":"flex","context_management":{"edits":[]}}"#;
    let call = by_messages(body, &["claude-code-20250219", "prompt-caching-scope-2026-01-05"]);
    let expected = ["claude-code-20250219", "novel-2027-01-01", "context-management-2025-06-27"];
    assert_eq!(call.betas, expected);
    assert_eq!(call.service_tier, None);
    let notices: Vec<String> = call.notices.iter().map(ToString::to_string).collect();
    assert!(notices[0].starts_with("service_tier: left out"), "{notices:?}");
    assert_eq!(notices[1], "anthropic-beta: not sent: prompt-caching-scope-2026-01-05");
    let options = InvokeOptions::messages("m", TranslationOptions::new(1));
    let split = r#"{"max_tokens":5,"anthropic_beta":["a\r\nb: c"]}"#;
    assert!(to_invoke(split, &Capabilities::NEWEST_CLAUDE, &options).is_err(), "no header is made of that");
}

#[test]
fn token_count_body_has_prompt_members_only() {
    let body = r#"{"model":"m","max_tokens":5,"stream":true,"temperature":1,"metadata":{"user_id":"{}"},"system":"s","messages":[{"role":"user","content":"x"}]}"#;
    let options = InvokeOptions::count_tokens("anthropic.m", TranslationOptions::new(1));
    let call = to_invoke(body, &Capabilities::NEWEST_CLAUDE, &options).unwrap();
    let expected = r#"{"model":"anthropic.m","system":"s","messages":[{"role":"user","content":"x"}]}"#;
    assert_eq!(String::from_utf8(call.body).unwrap(), expected);
}

#[test]
fn default_thinking_applies_where_it_is_valid() {
    let by_default =
        TranslationOptions { default_thinking_budget: Some(2048), ..TranslationOptions::new(8192) };
    let thinking = |members: &str, capabilities: &Capabilities| {
        let body = format!(r#"{{{members}"max_tokens":9000}}"#);
        let call = to_invoke(&body, capabilities, &InvokeOptions::invoke_model(by_default)).unwrap();
        let body: serde_json::Value = serde_json::from_slice(&call.body).unwrap();
        assert_eq!(
            body.get("thinking").is_some(),
            call.notices.iter().any(|notice| notice.path == "thinking")
        );
        body.get("thinking").map(ToString::to_string)
    };
    let enabled = Some(r#"{"type":"enabled","budget_tokens":2048}"#.to_owned());
    let adaptive = Some(r#"{"type":"adaptive"}"#.to_owned());
    let (older, newest) = (&Capabilities::CLASSIC_CLAUDE, &Capabilities::NEWEST_CLAUDE);
    for bears in ["", r#""thinking":null,"#, r#""tool_choice":{"type":"auto"},"#, r#""temperature":1,"#] {
        assert_eq!(thinking(bears, older), enabled, "{bears}");
        assert_eq!(thinking(bears, newest), adaptive, "{bears}");
    }
    let call = r#"{"type":"tool_use","id":"a","name":"t","input":{}}"#;
    let result = r#"{"role":"user","content":[{"type":"tool_result","tool_use_id":"a"}]}"#;
    for cannot in [
        r#""temperature":0.5,"#.to_owned(),
        r#""tool_choice":{"type":"any"},"#.to_owned(),
        r#""messages":[{"role":"user","content":"x"},{"role":"assistant","content":"so"}],"#.to_owned(),
        format!(r#""messages":[{{"role":"assistant","content":[{call}]}},{result}],"#),
    ] {
        assert_eq!(thinking(&cannot, older), None, "{cannot}");
    }
    let thought = r#"{"type":"thinking","thinking":"t","signature":"s"}"#;
    let with_thinking =
        format!(r#""messages":[{{"role":"assistant","content":[{thought},{call}]}},{result}],"#);
    assert_eq!(thinking(&with_thinking, older), enabled);
    assert_eq!(thinking(r#""temperature":0.5,"#, newest), adaptive, "it is left out anyway");
}

#[test]
fn budget_is_dropped_when_thinking_is_missing() {
    let body = |turn: &str| {
        format!(
            r#"{{"max_tokens":9000,"thinking":{{"type":"enabled","budget_tokens":2000}},"messages":[{{"role":"user","content":"x"}},{{"role":"assistant","content":[{turn}{{"type":"tool_use","id":"a","name":"t","input":{{}}}}]}},{{"role":"user","content":[{{"type":"tool_result","tool_use_id":"a"}}]}}]}}"#
        )
    };
    let without = body(r#"{"type":"text","text":"so"},"#);
    let (sent_without, _, notices) = sent(&without, &Capabilities::CLASSIC_CLAUDE, &[]);
    assert!(!sent_without.contains("budget_tokens"), "{sent_without}");
    assert!(
        notices[0].starts_with("thinking: left out: the tool calls came without thinking"),
        "{notices:?}"
    );
    let with = body(r#"{"type":"thinking","thinking":"t","signature":"s"},"#);
    assert!(sent(&with, &Capabilities::CLASSIC_CLAUDE, &[]).0.contains("budget_tokens"));
    let adaptive = without.replace(r#""enabled","budget_tokens":2000"#, r#""adaptive""#);
    assert!(sent(&adaptive, &Capabilities::CLASSIC_CLAUDE, &[]).0.contains("adaptive"));
}

#[test]
fn url_source_is_rejected_with_its_path() {
    let linked = r#"{"type":"image","source":{"type":"url","url":"https://example.com/a.png"}}"#;
    let filed = r#"{"type":"document","source":{"type":"file","file_id":"f"}}"#;
    let inner = format!(r#"{{"type":"tool_result","tool_use_id":"a","content":[{filed}]}}"#);
    for (block, place) in
        [(linked, "messages.0.content.1.source: "), (&*inner, "messages.0.content.1.content.0.source: ")]
    {
        let text = r#"{"type":"text","text":"\"source\" \"url\""}"#;
        let body = format!(r#"{{"max_tokens":1,"messages":[{{"role":"user","content":[{text},{block}]}}]}}"#);
        let refused = to_invoke(
            &body,
            &Capabilities::NEWEST_CLAUDE,
            &InvokeOptions::invoke_model(TranslationOptions::new(1)),
        );
        let refused = refused.unwrap_err().to_string();
        assert!(refused.starts_with(place) && refused.contains("not supported by Bedrock"), "{refused}");
    }
}
