//! Tokens made by hand, and servers that require them.

use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bedrock_proxy::testing::Config;
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use http::Request;
use serde_json::{Value, json};
use sha2::Sha256;

use crate::harness::{TestResponse, TestServer, full, message_body, test_server_with};

pub(crate) const KEY: &str = "canary-key-0123456789abcdef-0123456789";

/// A server with authentication.
pub(crate) async fn authenticated_server() -> TestServer {
    authenticated_server_with(&[], |_| {}).await
}

pub(crate) async fn authenticated_server_with(
    variables: &[(&str, &str)],
    change: impl FnOnce(&mut Config),
) -> TestServer {
    let mut all = vec![("JWT_SECRET_KEY", KEY)];
    all.extend_from_slice(variables);
    test_server_with(&all, change).await
}

/// Seconds since the epoch.
pub(crate) fn now() -> i64 {
    #[allow(clippy::disallowed_methods)] // tokens for a server that goes by the machine's clock
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

/// Valid claims of `user`, with `more` over them; `null` takes one away.
pub(crate) fn claims(user: &str, more: &Value) -> Value {
    let mut claims = json!({
        "iss": "bedrock-proxy", "aud": "bedrock-api", "iat": now(), "exp": now() + 3600, "user_id": user,
    });
    let claims_map = claims.as_object_mut().unwrap();
    for (name, value) in more.as_object().unwrap() {
        if value.is_null() {
            claims_map.remove(name);
        } else {
            claims_map.insert(name.clone(), value.clone());
        }
    }
    claims
}

pub(crate) fn signed(header: &Value, payload: &str, key: &str) -> String {
    let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(payload));
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap();
    mac.update(text.as_bytes());
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

/// A token of `user` with `more` claims.
pub(crate) fn token(user: &str, more: &Value) -> String {
    signed(&json!({"alg": "HS256", "typ": "JWT"}), &claims(user, more).to_string(), KEY)
}

impl TestServer {
    /// A question with these headers.
    pub(crate) async fn post_with(&self, headers: &[(&str, &str)]) -> TestResponse {
        self.request("POST", "/v1/messages", headers, message_body("Hello", false).to_string()).await
    }

    /// A question by the bearer of `token`.
    pub(crate) async fn post_as(&self, token: &str) -> TestResponse {
        self.post_with(&[("authorization", &format!("Bearer {token}"))]).await
    }

    pub(crate) async fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> TestResponse {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.fetch(request.body(full(body.into())).unwrap()).await
    }
}

impl TestResponse {
    /// Message of a rejected credential; names the failed check, and that a retry is of no use.
    pub(crate) fn refused(&self, about: &str) -> String {
        let (status, kind, message) = self.error();
        assert_eq!((status, kind.as_str()), (401, "authentication_error"), "{about}: {message}");
        assert_eq!(self.headers["x-should-retry"], "false", "{about}");
        assert_eq!(self.headers["www-authenticate"], "Bearer", "{about}");
        message
    }
}
