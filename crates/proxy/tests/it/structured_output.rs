//! Structured output and strict tools: schemas that Bedrock takes, for every client API and upstream API.

use http::Request;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Map, Value, json};

use crate::harness::{TestResponse, TestServer, full, message_body, test_server, test_server_with};

const CHAT: &str = "/v1/chat/completions";
const UPSTREAM_APIS: [&str; 3] = ["converse", "invoke", "messages"];

/// A request that many clients send: without a word on further properties.
fn open_schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "answer": {"type": "string", "maxLength": 200},
            "items": {"type": "array", "items": {
                "type": "object",
                "properties": {"n": {"type": "integer", "description": "A count", "minimum": 1}},
                "required": ["n"],
            }},
        },
        "required": ["answer"],
    })
}

/// The same, as Bedrock takes it.
fn closed_schema() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "answer": {"type": "string", "description": "{maxLength: 200}"},
            "items": {"type": "array", "items": {
                "type": "object",
                "additionalProperties": false,
                "properties": {"n": {"type": "integer", "description": "A count\n\n{minimum: 1}"}},
                "required": ["n"],
            }},
        },
        "required": ["answer"],
    })
}

fn chat_body(schema: &Value) -> Value {
    json!({
        "model": "claude-sonnet-4-5",
        "messages": [{"role": "user", "content": "Hello"}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}},
    })
}

fn messages_body(schema: &Value) -> Value {
    let mut body = message_body("Hello", false);
    body["output_config"] = json!({"format": {"type": "json_schema", "schema": schema}});
    body
}

/// A strict tool for chat completions.
fn chat_tool(schema: &Value) -> Value {
    let function = json!({"name": "t", "strict": true, "parameters": schema});
    json!({
        "model": "claude-sonnet-4-5",
        "messages": [{"role": "user", "content": "Hello"}],
        "tools": [{"type": "function", "function": function}],
    })
}

fn messages_tool(schema: &Value) -> Value {
    let mut body = message_body("Hello", false);
    body["tools"] = json!([{"name": "t", "strict": true, "input_schema": schema}]);
    body
}

async fn send(server: &TestServer, path: &str, body: &Value) -> TestResponse {
    server.fetch(Request::post(path).body(full(body.to_string().into())).unwrap()).await
}

/// The schema in the last request that the fake received.
fn sent_schema(server: &TestServer) -> Value {
    let body: Value = serde_json::from_slice(&server.bedrock.requests().pop().unwrap().body).unwrap();
    let converse = &body["outputConfig"]["textFormat"]["structure"]["jsonSchema"]["schema"];
    match converse.as_str() {
        Some(schema) => serde_json::from_str(schema).unwrap(),
        None => body["output_config"]["format"]["schema"].clone(),
    }
}

fn sent_tool(server: &TestServer) -> Value {
    let body: Value = serde_json::from_slice(&server.bedrock.requests().pop().unwrap().body).unwrap();
    match body["toolConfig"]["tools"].get(0) {
        Some(tool) => json!([tool["toolSpec"]["strict"], tool["toolSpec"]["inputSchema"]["json"]]),
        None => json!([body["tools"][0]["strict"], body["tools"][0]["input_schema"]]),
    }
}

#[tokio::test]
async fn every_upstream_api_gets_closed_schemas() {
    for route in UPSTREAM_APIS {
        let server = test_server_with(&[("AWS_BEDROCK_ROUTE", route)], |_| {}).await;
        for (path, body) in
            [(CHAT, chat_body(&open_schema())), ("/v1/messages", messages_body(&open_schema()))]
        {
            for stream in [false, true] {
                let mut body = body.clone();
                body["stream"] = json!(stream);
                let response = send(&server, path, &body).await;
                assert_eq!(response.status, 200, "{route} {path}: {}", response.body);
                assert_eq!(response.headers["x-bedrock-proxy-route"], route);
                assert_eq!(sent_schema(&server), closed_schema(), "{route} {path}");
                let notice = response.headers["x-bedrock-proxy-notice"].to_str().unwrap();
                assert!(notice.contains("maxLength, minimum: moved to the description"), "{notice}");
                assert!(notice.contains("`additionalProperties: false` added to 2 objects"), "{notice}");
            }
        }
        for (path, body) in
            [(CHAT, chat_tool(&open_schema())), ("/v1/messages", messages_tool(&open_schema()))]
        {
            let response = send(&server, path, &body).await;
            assert_eq!(response.status, 200, "{route} {path}: {}", response.body);
            assert_eq!(sent_tool(&server), json!([true, closed_schema()]), "{route} {path}");
        }
        // Without `strict`, nothing is held to the schema.
        let mut body = messages_tool(&open_schema());
        body["tools"][0]["strict"] = json!(false);
        assert_eq!(send(&server, "/v1/messages", &body).await.status, 200);
        assert_eq!(sent_tool(&server)[1], open_schema(), "{route}");
    }
}

/// Schemas that are valid, and beyond every grammar.
fn free_form_schemas() -> Vec<Value> {
    let with =
        |free: Value| json!({"type": "object", "properties": {"free": free, "n": {"type": "integer"}}});
    vec![
        with(json!({"type": "object"})),
        with(json!({"type": "object", "additionalProperties": true})),
        with(json!({"type": "object", "additionalProperties": {"type": "string"}})),
        with(json!({"type": "array", "items": {"anyOf": [{"type": "null"}, {"type": "object"}]}})),
        json!({"type": "object", "additionalProperties": {"type": "integer"}}),
        json!({"type": "object", "properties": {"n": {"$ref": "#/$defs/node"}},
            "$defs": {"node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}}}),
    ]
}

/// Texts of the system prompt of the last request.
fn sent_system(server: &TestServer) -> Vec<String> {
    let system = crate::tool_calls::last_sent(server)["system"].clone();
    let blocks = system.as_array().into_iter().flatten();
    blocks.map(|block| block["text"].as_str().unwrap().to_owned()).collect()
}

/// https://github.com/BerriAI/litellm/issues/35808, https://github.com/stdapi-ai/stdapi.ai/issues/96
#[tokio::test]
async fn free_form_object_loses_no_request() {
    for route in UPSTREAM_APIS {
        let server = test_server_with(&[("AWS_BEDROCK_ROUTE", route)], |_| {}).await;
        for schema in free_form_schemas() {
            for (path, mut body) in [(CHAT, chat_body(&schema)), ("/v1/messages", messages_body(&schema))] {
                for (index, stream) in [true, false].into_iter().enumerate() {
                    body["stream"] = json!(stream);
                    let before = server.bedrock.refused();
                    let response = send(&server, path, &body).await;
                    assert_eq!(response.status, 200, "{route} {path} {schema}: {}", response.body);
                    let refused = server.bedrock.refused() - before;
                    assert_eq!(refused, u64::from(index == 0 && path == CHAT), "{schema}: it is remembered");
                    assert!(sent_schema(&server).is_null(), "{route} {path}");
                    let system = sent_system(&server);
                    assert!(
                        system.last().unwrap().ends_with(&schema.to_string()),
                        "{route} {path}: {system:?}"
                    );
                    let notice = response.headers["x-bedrock-proxy-notice"].to_str().unwrap();
                    let place = if path == CHAT { "response_format" } else { "output_config.format.schema" };
                    assert!(
                        notice.contains(place) && notice.contains("sent in the system prompt"),
                        "{notice}"
                    );
                }
            }
        }
    }
}

#[tokio::test]
async fn free_form_strict_tool_loses_no_request() {
    for route in UPSTREAM_APIS {
        let server = test_server_with(&[("AWS_BEDROCK_ROUTE", route)], |_| {}).await;
        for schema in free_form_schemas() {
            for (path, body) in [(CHAT, chat_tool(&schema)), ("/v1/messages", messages_tool(&schema))] {
                for _ in 0..2 {
                    let response = send(&server, path, &body).await;
                    assert_eq!(response.status, 200, "{route} {path} {schema}: {}", response.body);
                    assert_eq!(sent_tool(&server), json!([null, schema]), "{route} {path}");
                }
            }
        }
    }
}

#[tokio::test]
async fn rejected_schema_joins_the_system_prompt() {
    let server = test_server_with(&[("AWS_BEDROCK_ROUTE", "invoke")], |_| {}).await;
    let schema = json!({"type": "object", "additionalProperties": true});
    for (system, count) in [
        (json!("Be brief."), 2),
        (
            json!([{"type": "text", "text": "a"}, {"type": "text", "text": " "}, {"type": "text", "text": "b"}]),
            3,
        ),
        (json!(" "), 1),
        (json!([{"type": "text", "text": ""}]), 1),
        (json!([]), 1),
    ] {
        for name in ["output_config", "output_format"] {
            let format = json!({"type": "json_schema", "schema": schema});
            let mut body = message_body("Hello", false);
            body["system"] = system.clone();
            body[name] = if name == "output_config" { json!({"format": format}) } else { format };
            let response = send(&server, "/v1/messages", &body).await;
            assert_eq!(response.status, 200, "{system}: {}", response.body);
            assert_eq!(sent_system(&server).len(), count, "{system}");
            assert!(crate::tool_calls::last_sent(&server).get(name).is_none(), "{name}");
        }
    }
    // Of a client that wants all or nothing, AWS's error is the answer.
    let server = test_server_with(&[("AWS_BEDROCK_STRICT", "true")], |_| {}).await;
    assert_eq!(send(&server, "/v1/messages", &messages_body(&schema)).await.status, 400);
}

#[tokio::test]
async fn strict_setting_rejects_moved_keywords() {
    let server = test_server_with(&[("AWS_BEDROCK_STRICT", "true")], |_| {}).await;
    let (status, _, text) = send(&server, "/v1/messages", &messages_body(&open_schema())).await.error();
    assert_eq!(status, 400);
    assert!(text.starts_with("output_config.format.schema: maxLength, minimum: moved"), "{text}");
    let closed_only = json!({"type": "object", "properties": {"a": {"type": "string"}}});
    let response = send(&server, "/v1/messages", &messages_body(&closed_only)).await;
    assert_eq!(response.status, 200, "{}", response.body);
}

#[tokio::test]
async fn schema_is_left_out_after_newer_models_reject() {
    for model in ["claude-opus-5-5", "claude-fable-5-2", "claude-sonnet-5"] {
        let server = test_server().await;
        let mut body = messages_body(&closed_schema());
        body["model"] = json!(model);
        let response = send(&server, "/v1/messages", &body).await;
        assert_eq!(response.status, 200, "{}", response.body);
        let notice = response.headers["x-bedrock-proxy-notice"].to_str().unwrap();
        assert!(notice.contains("output_config.format: left out"), "{notice}");
        let requests = server.bedrock.requests();
        let statuses: Vec<u16> = requests.iter().map(|request| request.status).collect();
        assert_eq!(statuses, [400, 400, 200], "by Converse, by InvokeModel, without");
        // What was learned holds for a day, and for requests with a format only.
        let response = send(&server, "/v1/messages", &body).await;
        assert_eq!(response.status, 200, "{}", response.body);
        assert_eq!(server.bedrock.requests().len(), 4);
        let mut other = message_body("Hello", false);
        other["model"] = json!(model);
        other["tools"] = json!([{"name": "t", "input_schema": {"type": "object", "properties": {"format": {"type": "string"}}}}]);
        let response = send(&server, "/v1/messages", &other).await;
        assert_eq!(response.headers["x-bedrock-proxy-route"], "converse", "{}", response.body);

        let mut tool = messages_tool(&closed_schema());
        tool["model"] = json!(model);
        let response = send(&server, "/v1/messages", &tool).await;
        assert_eq!(response.status, 200, "{}", response.body);
        let notice = response.headers["x-bedrock-proxy-notice"].to_str().unwrap();
        assert!(notice.contains("tools.0.strict: left out"), "{notice}");
    }
}

#[tokio::test]
async fn every_upstream_api_gets_valid_tool_schemas() {
    for route in UPSTREAM_APIS {
        let server = test_server_with(&[("AWS_BEDROCK_ROUTE", route)], |_| {}).await;
        let properties = json!({"x": {"type": "string"}});
        for (schema, expected) in [
            (
                r#"{"properties":{"x":{"type":"string"}},"required":["x"]}"#,
                json!({"type": "object", "properties": properties, "required": ["x"]}),
            ),
            ("{ }", json!({"type": "object"})),
            (r#"{ "type" : [ "null" , "object" ] }"#, json!({"type": "object"})),
            (r#"{"type":null,"properties":{}}"#, json!({"type": "object", "properties": {}})),
        ] {
            let messages = format!(
                r#"{{"model":"claude-sonnet-4-5","max_tokens":10,"messages":[{{"role":"user","content":"Hello"}}],"tools":[{{"name":"t","input_schema":{schema}}}]}}"#
            );
            let chat = format!(
                r#"{{"model":"claude-sonnet-4-5","messages":[{{"role":"user","content":"Hello"}}],"tools":[{{"type":"function","function":{{"name":"t","parameters":{schema}}}}}]}}"#
            );
            for (path, body) in [("/v1/messages", messages), (CHAT, chat)] {
                let response = server.fetch(Request::post(path).body(full(body.into())).unwrap()).await;
                assert_eq!(response.status, 200, "{route} {path} {schema}: {}", response.body);
                let mut sent = sent_tool(&server)[1].clone();
                if schema == "{ }" {
                    // Chat completions have it for functions without parameters.
                    sent.as_object_mut().unwrap().shift_remove("properties");
                }
                assert_eq!(sent, expected, "{route} {path} {schema}");
            }
        }
        let before = server.bedrock.requests().len();
        for keyword in ["anyOf", "oneOf", "allOf"] {
            let schema = json!({"type": "object", keyword: [{"required": ["a"]}]});
            for (path, body) in [(CHAT, chat_tool(&schema)), ("/v1/messages", messages_tool(&schema))] {
                let response = send(&server, path, &body).await;
                assert_eq!(response.status, 400);
                let text = response.json()["error"]["message"].as_str().unwrap().to_owned();
                assert!(text.contains("tool 't'") && text.contains(keyword), "{text}");
            }
        }
        assert_eq!(server.bedrock.requests().len(), before, "rejected before they are sent");
    }
}

/// A schema that the grammar can express, as libraries write it: open, with keywords of all kinds.
fn schema() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!({"type": "string", "minLength": 1, "maxLength": 5, "pattern": "^(?!a)b"})),
        Just(json!({"type": "string", "format": "email"})),
        Just(json!({"type": "string", "format": "byte", "description": "\"quoted\""})),
        Just(json!({"type": "integer", "minimum": 1, "exclusiveMaximum": 9, "format": "int32"})),
        Just(json!({"type": "number", "multipleOf": 0.5, "default": 1.5})),
        Just(json!({"type": ["string", "null"], "enum": ["a", null]})),
        Just(json!({"type": "string", "enum": ["a", 1]})),
        Just(json!({"const": "c", "type": "string", "title": "T"})),
        Just(json!({"$ref": "#/$defs/Leaf"})),
        Just(json!({"allOf": [{"$ref": "#/definitions/Leaf"}], "description": "d"})),
        Just(json!({"type": "null", "additionalProperties": false})),
        Just(json!({"not": {"type": "null"}, "if": {}, "then": {}, "type": "boolean"})),
    ];
    leaf.prop_recursive(4, 20, 3, |inner| {
        let many = proptest::collection::vec(inner.clone(), 1..3);
        prop_oneof![
            many.clone().prop_map(|all| {
                let named = all.into_iter().enumerate().map(|(n, schema)| (format!("p{n}"), schema));
                let required = json!(["p0"]);
                json!({"properties": Map::from_iter(named), "type": "object", "required": required, "maxProperties": 3})
            }),
            inner.prop_map(|item| json!({"type": "array", "items": item, "minItems": 2, "uniqueItems": true})),
            many.clone().prop_map(|all| json!({"anyOf": all})),
            many.clone().prop_map(|all| json!({"oneOf": all, "discriminator": {"propertyName": "p0"}})),
            many.prop_map(|all| json!({"type": "array", "prefixItems": all, "items": false})),
        ]
    })
}

#[tokio::test]
async fn every_expressible_schema_is_accepted() {
    let mut runner = TestRunner::deterministic();
    let servers = {
        let mut servers = Vec::new();
        for route in UPSTREAM_APIS {
            servers.push(test_server_with(&[("AWS_BEDROCK_ROUTE", route)], |_| {}).await);
        }
        servers
    };
    for case in 0..60 {
        let schema = schema().new_tree(&mut runner).unwrap().current();
        let definition = json!({"type": "object", "properties": {"n": {"type": "integer", "maximum": 3}}});
        let root = json!({
            "type": "object",
            "properties": {"x": schema},
            "$defs": {"Leaf": definition},
            "definitions": {"Leaf": definition},
        });
        let server = &servers[case % servers.len()];
        for (path, body) in [
            (CHAT, chat_body(&root)),
            ("/v1/messages", messages_body(&root)),
            (CHAT, chat_tool(&root)),
            ("/v1/messages", messages_tool(&root)),
        ] {
            let response = send(server, path, &body).await;
            assert_eq!(response.status, 200, "{path} {root}: {}", response.body);
        }
    }
}
