//! `safeguards`: a check of tool calls by the platform, which Claude Code requests in its auto mode.

use std::str::FromStr;

use serde_json::{Map, Value, json};

use crate::error::AwsError;
use crate::routes::Api;

/// Beta that the member requires.
pub(crate) const BETA: &str = "dangerous-tool-use-2026-09-03";

/// What is done with the `safeguards` of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Safeguards {
    /// Every tool call of the response is evaluated, and none is flagged.
    #[default]
    Judged,
    /// The response reports that the platform does not evaluate tool calls.
    Unsupported,
    /// The member is not known: a 400.
    RefuseField,
    /// The beta is not known: a 400.
    RefuseBeta,
}

impl FromStr for Safeguards {
    type Err = &'static str;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "judged" => Ok(Self::Judged),
            "unsupported" => Ok(Self::Unsupported),
            "refuse-field" => Ok(Self::RefuseField),
            "refuse-beta" => Ok(Self::RefuseBeta),
            _ => Err("expected judged, unsupported, refuse-field or refuse-beta"),
        }
    }
}

impl Safeguards {
    /// Refuses the member or the beta, with AWS's messages for members and betas that it does not know.
    ///
    /// # Errors
    /// A 400 when the request has what is refused.
    pub(crate) fn check(self, body: &Value, api: Api, betas: &[&str]) -> Result<(), AwsError> {
        let has_beta = betas.contains(&BETA);
        match self {
            Self::RefuseField if body.get("safeguards").is_some() => {
                Err(AwsError::model("safeguards: Extra inputs are not permitted"))
            }
            Self::RefuseBeta if has_beta && api.is_messages() => Err(AwsError::model(format!(
                "Unexpected value(s) `{BETA}` for the `anthropic-beta` header. Please consult our documentation at \
                 docs.claude.com or try again without the header."
            ))),
            Self::RefuseBeta if has_beta => Err(AwsError::model("invalid beta flag")),
            Self::RefuseField | Self::RefuseBeta | Self::Judged | Self::Unsupported => Ok(()),
        }
    }

    /// `safeguard_results` for the tool calls of a response.
    pub(crate) fn results(self, tool_use_ids: &[String]) -> Value {
        let status = match self {
            Self::Judged => {
                let not_flagged = json!({"type": "evaluated", "outcome": "not_flagged"});
                let tool_uses: Map<String, Value> =
                    tool_use_ids.iter().map(|id| (id.clone(), not_flagged.clone())).collect();
                json!({"type": "available", "tool_uses": tool_uses})
            }
            Self::Unsupported | Self::RefuseField | Self::RefuseBeta => json!({"type": "unsupported"}),
        };
        json!([{"type": "dangerous_tool_use", "status": status}])
    }
}
