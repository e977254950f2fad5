//! The Bedrock Runtime API, for clients of AWS's SDKs: its own paths, also below `/bedrock`. Bodies are forwarded to AWS
//! and responses come back byte for byte; the model's name is resolved, and the signature is the proxy's.
//!
//! A client's own signature is not checked: with authentication on, clients send their token as a Bedrock API key
//! (`AWS_BEARER_TOKEN_BEDROCK`).
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_Operations_Amazon_Bedrock_Runtime.html>

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use http::HeaderMap;
use protocol::anthropic::{InvalidRequest, MessagesFormat};
use protocol::apis::ClientApi;
use protocol::translate;

use super::error::ApiError;
use super::extract::{AuthenticatedCaller, BodyBytes, ModelId, Record, decode_model_id, without_own_arn};
use super::messages::respond;
use super::{count_tokens, inference_profiles};
use crate::app::App;
use crate::auth::Authenticated;
use crate::bedrock::Operation;
use crate::inference::{ClientBody, InferenceRequest};
use crate::telemetry::RecordHandle;

/// The paths of the API.
pub(crate) fn router() -> Router<Arc<App>> {
    let mut router = Router::new();
    for base in ["", "/bedrock"] {
        for operation in Operation::OF_A_MODEL {
            let handler = move |State(app): State<Arc<App>>,
                                Record(record): Record,
                                AuthenticatedCaller(caller): AuthenticatedCaller,
                                id: ModelId,
                                headers: HeaderMap,
                                BodyBytes(body): BodyBytes| async move {
                let body = ClientBody::Bedrock { operation, headers, body };
                call(app, record, caller, operation, id, body).await
            };
            router = router.route(&format!("{base}/model/{{id}}/{}", operation.name()), post(handler));
        }
        router = router.merge(inference_profiles::router(base));
    }
    router
}

/// Forwards one call of `operation`.
async fn call(
    app: Arc<App>,
    record: RecordHandle,
    caller: Arc<Authenticated>,
    operation: Operation,
    id: ModelId,
    body: ClientBody,
) -> Result<Response, ApiError> {
    let id = decode_model_id(id)?;
    let (name, by) = (Some(without_own_arn(&id)), &caller.caller);
    let is_streamed = operation.is_streamed();
    record.set_model_name(name, is_streamed, ClientApi::Bedrock.as_str());
    let model = match operation {
        Operation::CountTokens => app.inference.resolve_counted(name, by).await?,
        _ => app.inference.resolve(name, by).await?,
    };
    record.set_model(model.requested_model.clone(), is_streamed, ClientApi::Bedrock.as_str());
    if !app.inference.config().s3_locations {
        let bytes = body.bytes();
        let check = || check_s3_locations(bytes);
        app.inference.work_on_body(&caller.caller, bytes.len(), check).await??;
    }
    if let (Operation::CountTokens, ClientBody::Bedrock { headers, body, .. }) = (operation, &body) {
        return count_tokens::forward(&app, &record, &caller.caller, &model, headers, body).await;
    }
    let request = InferenceRequest {
        caller,
        record,
        model,
        client_api: ClientApi::Bedrock,
        body,
        // A document of AWS is forwarded as it arrives, too.
        is_streamed: true,
        notices: Vec::new(),
        format: Arc::new(MessagesFormat::default()),
    };
    Ok(respond(app.inference.handle(request, None).await?))
}

/// Rejects objects that Bedrock would read from S3: with the proxy's credentials, not with the client's. AWS's parser may
/// read other encodings than UTF-8, in which a location is not found: they are rejected as well.
fn check_s3_locations(body: &[u8]) -> Result<(), InvalidRequest> {
    // In UTF-16 and UTF-32 JSON has zero bytes, in UTF-8 it has none.
    if memchr::memchr(0, body).is_some() || std::str::from_utf8(body).is_err() {
        return Err(InvalidRequest::new("", "the body is not JSON in UTF-8"));
    }
    let Some(path) = translate::find_s3_location(body) else { return Ok(()) };
    let reason = "S3 locations are not allowed, because Bedrock would read them with the proxy's credentials; send the \
                  bytes, or have the proxy's operator set AWS_BEDROCK_ENABLE_S3_LOCATIONS=true";
    Err(InvalidRequest::new(path, reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_encodings_do_not_hide_s3_locations() {
        let body = r#"{"source":{"s3Location":{"uri":"s3://bucket/key"}}}"#;
        let little: Vec<u8> = body.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let big: Vec<u8> = body.encode_utf16().flat_map(u16::to_be_bytes).collect();
        // `s` in two bytes, which a lenient decoder reads.
        let (before, after) = body.split_once("s3L").unwrap();
        let overlong = [before.as_bytes(), b"\xc1\xb33L", after.as_bytes()].concat();
        for encoded in [body.as_bytes(), &little, &big, &overlong] {
            assert!(check_s3_locations(encoded).is_err(), "{encoded:?}");
        }
        assert!(check_s3_locations("{\"text\":\"caf\u{e9}\"}".as_bytes()).is_ok());
    }
}
