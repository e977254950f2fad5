//! The OpenAPI document of the admin API agrees with the code: routes, responses, kinds of events, and the page for people.

mod schema;

use std::collections::BTreeSet;
use std::path::Path;

use bedrock_proxy::testing::EVENT_KINDS;
use serde_json::{Value, json};

use crate::harness::TestResponse;
use crate::harness::tokens::{authenticated_server, token};

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// The document, as the server returns it.
pub(crate) fn document() -> Value {
    serde_json::from_str(include_str!("../../src/api/admin/openapi.json")).unwrap()
}

fn paths(document: &Value) -> impl Iterator<Item = (&String, &Value)> {
    document["paths"].as_object().unwrap().iter()
}

/// Whether a path without its query is one of a template such as `/admin/v1/users/{user_id}`.
fn matches_template(template: &str, path: &str) -> bool {
    let (template, path): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
    let is_same = |(template, part): (&&str, &&str)| template.starts_with('{') || template == part;
    template.len() == path.len() && template.iter().zip(&path).all(is_same)
}

/// Checks a response of the admin API against the document.
pub(crate) fn check_response(method: &str, target: &str, response: &TestResponse) {
    let document = document();
    let path = target.split('?').next().unwrap();
    let mut templates: Vec<_> =
        paths(&document).filter(|(template, _)| matches_template(template, path)).collect();
    // A literal path comes before a template.
    templates.sort_by_key(|(template, _)| template.matches('{').count());
    let (status, about) = (response.status.as_u16().to_string(), format!("{method} {target}"));
    let found = templates.first().map(|(_, item)| &item[method.to_lowercase()]);
    let declared = found.filter(|operation| operation.is_object()).map(|operation| {
        let declared = &operation["responses"][&status];
        assert!(declared.is_object(), "{about}: status {status} is not in the document: {}", response.body);
        schema::resolve(&document, declared)
    });
    let Some(declared) = declared else {
        // Neither the path nor the method exists.
        assert!(["401", "403", "404", "405"].contains(&status.as_str()), "{about} is not in the document");
        let error = &document["components"]["schemas"]["Error"];
        return schema::check(&document, error, &response.json(), &about);
    };
    let content_type = response.headers["content-type"].to_str().unwrap().split(';').next().unwrap();
    let content = &declared["content"][content_type];
    assert!(content.is_object(), "{about}: {content_type} is not in the document");
    if content_type == "application/json" {
        schema::check(&document, &content["schema"], &response.json(), &about);
    }
}

/// The text of every source file of the program, without its unit tests.
fn sources() -> Vec<String> {
    fn walk(folder: &Path, texts: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, texts);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                texts.push(text.split("#[cfg(test)]\nmod tests {").next().unwrap().to_owned());
            }
        }
    }
    let mut texts = Vec::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut texts);
    texts
}

/// The string literals that directly follow `start`.
fn literals_after(text: &str, start: &str) -> Vec<String> {
    let literal = |rest: &str| Some(rest.trim_start().strip_prefix('"')?.split('"').next()?.to_owned());
    text.split(start).skip(1).filter_map(literal).collect()
}

#[tokio::test]
async fn openapi_document_has_every_route() {
    let document = document();
    let mut routes = BTreeSet::new();
    for text in sources() {
        let found = literals_after(&text, ".route(");
        routes.extend(found.into_iter().filter(|path| path.starts_with("/admin/v1")));
    }
    let documented: BTreeSet<_> = paths(&document).map(|(path, _)| path.clone()).collect();
    let is_admin = |path: &&String| path.starts_with("/admin/v1");
    let admin: BTreeSet<_> = documented.iter().filter(is_admin).cloned().collect();
    assert_eq!(routes, admin, "routes of the code and paths of the document");

    let server = authenticated_server().await;
    let operator = token("op", &json!({"scope": "admin"}));
    for (template, item) in paths(&document) {
        let path = template.replace(['{', '}'], "");
        for method in METHODS {
            let bearer = format!("Bearer {operator}");
            let response =
                server.request(&method.to_uppercase(), &path, &[("authorization", &bearer)], "").await;
            let exists = response.status != 405;
            assert_eq!(item[method].is_object(), exists, "{method} {template}: {}", response.body);
        }
    }
}

#[test]
fn openapi_document_is_consistent() {
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    let mut ids = BTreeSet::new();
    for (path, item) in paths(&document) {
        for (method, operation) in item.as_object().unwrap() {
            let about = format!("{method} {path}");
            assert!(METHODS.contains(&method.as_str()), "{about}");
            assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()), "{about}");
            assert!(operation["summary"].is_string(), "{about}");
            let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
            let in_path: BTreeSet<_> = parameters
                .iter()
                .map(|parameter| schema::resolve(&document, parameter))
                .filter(|parameter| parameter["in"] == "path")
                .map(|parameter| parameter["name"].as_str().unwrap().to_owned())
                .collect();
            let parts = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
            assert_eq!(in_path, parts.map(str::to_owned).collect(), "{about}");
        }
    }
    schema::check_references(&document);
}

#[test]
fn openapi_document_has_every_event_kind() {
    let mut real = BTreeSet::new();
    for text in sources() {
        for start in [".event(", "kind: ", "record_event(app,", "actor,"] {
            let found = literals_after(&text, start).into_iter();
            // Kinds are two words or more; other literals there are none.
            real.extend(found.filter(|kind| kind.contains('_') && !kind.contains([' ', '{'])));
        }
    }
    // Kinds of errors, in logs.
    real.retain(|kind| !kind.ends_with("_error") && kind != "api_key");
    let document = document();
    let kinds = document["components"]["schemas"]["EventKind"]["oneOf"].as_array().unwrap();
    let documented: BTreeSet<_> =
        kinds.iter().map(|kind| kind["const"].as_str().unwrap().to_owned()).collect();
    assert_eq!(real, documented, "kinds in the code and in the document");
    assert_eq!(EVENT_KINDS.map(str::to_owned).into_iter().collect::<BTreeSet<_>>(), documented);
    assert!(kinds.iter().all(|kind| kind["description"].is_string()));
}

#[test]
fn admin_api_page_covers_the_openapi_document() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let page = std::fs::read_to_string(root.join("docs/admin-api.md")).unwrap();
    let document = document();
    for (path, item) in paths(&document) {
        for (method, operation) in item.as_object().unwrap() {
            let title = format!("`{} {path}`", method.to_uppercase());
            assert!(page.contains(&title), "{title} is not on the page");
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                let name = &schema::resolve(&document, parameter)["name"];
                assert!(page.contains(&format!("`{}`", name.as_str().unwrap())), "{title}: {name}");
            }
        }
    }
    for (name, definition) in document["components"]["schemas"].as_object().unwrap() {
        let members = definition["properties"].as_object();
        for member in members.into_iter().flatten().map(|(member, _)| member) {
            assert!(page.contains(&format!("`{member}`")), "{name}: {member} is not on the page");
        }
    }
    for kind in document["components"]["schemas"]["EventKind"]["oneOf"].as_array().unwrap() {
        assert!(page.contains(&format!("| `{}` |", kind["const"].as_str().unwrap())), "{kind}");
    }
}

#[tokio::test]
async fn openapi_document_is_served_to_operators() {
    let server = authenticated_server().await;
    for scope in ["admin", "admin:read"] {
        let reader = token("op", &json!({"scope": scope}));
        let response = server.act_as(&reader, "GET", "/openapi.json", &Value::Null).await;
        assert_eq!((response.status.as_u16(), response.json()), (200, document()));
    }
    server.request("GET", "/admin/v1/openapi.json", &[], "").await.refused("no token");
}
