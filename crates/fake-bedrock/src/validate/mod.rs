//! What Bedrock refuses, with its own words.

use serde_json::Value;

use crate::converse;
use crate::error::AwsError;
use crate::models::{IdForm, Model};

pub(crate) fn converse(_body: &Value, _model: &Model, _streaming: bool) -> Result<(), AwsError> {
    Ok(())
}
pub(crate) fn invoke(_body: &Value, _model: &Model) -> Result<(), AwsError> {
    Ok(())
}
pub(crate) fn count_tokens(body: &Value, model: &Model, _form: IdForm) -> Result<u64, AwsError> {
    Ok(converse::prompted(&body["input"]["converse"], model).tokens())
}
pub(crate) fn context(_tokens: u64, _model: &Model) -> Result<(), AwsError> {
    Ok(())
}
