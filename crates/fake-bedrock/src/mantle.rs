//! The bedrock-mantle endpoint: foundation model ids, list of models, errors.

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::{Value, json};

use crate::error::AwsError;
use crate::models::{self, Model};
use crate::sse;

/// Finds the model of an id without a prefix, in the region of the endpoint.
///
/// # Errors
/// A 404 for a model that the endpoint does not serve, a 400 for one that the account has not opted into.
pub(crate) fn find(id: &str, region: &str) -> Result<&'static Model, AwsError> {
    let not_found_error =
        || AwsError::new(StatusCode::NOT_FOUND, "ResourceNotFoundException", format!("model: {id}"));
    let model = models::find_mantle_model(id).ok_or_else(not_found_error)?;
    match model.alias() {
        "claude-fable-5" => {
            Err(AwsError::validation("data retention mode 'default' is not available for this model"))
        }
        "claude-fable-5-1" if !region.starts_with("us-gov-") => Err(not_found_error()),
        _ => Ok(model),
    }
}

/// List of models in OpenAI's format.
pub(crate) fn models() -> Value {
    let served = models::all().iter().filter(|model| model.generation >= 45);
    let data: Vec<Value> = served
        .map(|model| {
            let id = format!("anthropic.{}", model.alias());
            json!({"id": id, "object": "model", "created": 0, "owned_by": "anthropic"})
        })
        .collect();
    json!({"object": "list", "data": data})
}

/// Response to an unknown route.
pub(crate) fn not_found(request_id: &str) -> Response<Bytes> {
    let error = AwsError::new(StatusCode::NOT_FOUND, "ResourceNotFoundException", "Not found");
    sse::error_response(&error, request_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mantle_serves_foundation_model_ids_only() {
        assert_eq!(find("anthropic.claude-opus-5", "us-east-1").unwrap().generation, 50);
        assert_eq!(find("us.anthropic.claude-opus-5", "us-east-1").unwrap_err().status, 404);
        assert_eq!(find("anthropic.claude-fable-5", "us-east-1").unwrap_err().status, 400);
        assert!(find("anthropic.claude-fable-5-1", "us-gov-west-1").is_ok());
    }
}
