//! What only the Mantle endpoint has: bare ids, a list of models, and its own refusals.

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::{Value, json};

use crate::error::AwsError;
use crate::models::{self, Model};
use crate::sse;

/// Finds the model behind a bare id, as far as this region has it.
///
/// # Errors
/// A 404 for everything that is not served here, a 400 for what the account has not opted into.
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

/// The list of models, in the form of OpenAI's API.
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

/// What the endpoint answers on a route it does not have.
pub(crate) fn not_found(request_id: &str) -> Response<Bytes> {
    let error = AwsError::new(StatusCode::NOT_FOUND, "ResourceNotFoundException", "Not found");
    sse::error_response(&error, request_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bare_ids_are_served_and_profiles_are_not() {
        assert_eq!(find("anthropic.claude-opus-5", "us-east-1").unwrap().generation, 50);
        assert_eq!(find("us.anthropic.claude-opus-5", "us-east-1").unwrap_err().status, 404);
        assert_eq!(find("anthropic.claude-fable-5", "us-east-1").unwrap_err().status, 400);
        assert!(find("anthropic.claude-fable-5-1", "us-gov-west-1").is_ok());
    }
}
