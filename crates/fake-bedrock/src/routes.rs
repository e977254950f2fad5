//! Routes: method and path of a request to its operation.

use http::Method;
use http::request::Parts;

/// Path of STS.
pub(crate) const STS_PATH: &str = "/";

/// API that a request uses; validation rules and beta allow-lists depend on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Api {
    #[default]
    Converse,
    InvokeModel,
    /// `/anthropic/v1/messages` on bedrock-runtime.
    RuntimeMessages,
    /// `/anthropic/v1/messages` on bedrock-mantle.
    MantleMessages,
}

impl Api {
    /// Name of the API in default responses.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Converse => "ConverseStream",
            Self::InvokeModel => "InvokeModel",
            Self::RuntimeMessages => "Messages",
            Self::MantleMessages => "Mantle",
        }
    }

    /// Whether the body holds `model` and `stream`, as in Anthropic's Messages API.
    pub(crate) fn is_messages(self) -> bool {
        matches!(self, Self::RuntimeMessages | Self::MantleMessages)
    }
}

/// Operations that name their model in the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ModelOperation {
    Converse,
    ConverseStream,
    InvokeModel,
    InvokeModelStream,
    CountTokens,
}

/// Operation that a request calls; ids are percent-decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CalledOperation {
    Model {
        id: String,
        operation: ModelOperation,
    },
    Messages(Api),
    /// `/anthropic/v1/messages/count_tokens` on bedrock-mantle.
    MantleCountTokens,
    /// `/v1/models` on bedrock-mantle.
    MantleModels,
    FoundationModels,
    FoundationModel(String),
    InferenceProfiles,
    InferenceProfile(String),
    /// STS's GetCallerIdentity.
    CallerIdentity,
}

/// Finds the operation; `None` when the endpoint has no such route.
pub(crate) fn find_operation(parts: &Parts, mantle: bool) -> Option<CalledOperation> {
    let path = parts.uri.path();
    if mantle {
        return match (&parts.method, path) {
            (&Method::POST, "/anthropic/v1/messages") => Some(CalledOperation::Messages(Api::MantleMessages)),
            (&Method::POST, "/anthropic/v1/messages/count_tokens") => {
                Some(CalledOperation::MantleCountTokens)
            }
            (&Method::GET, "/v1/models") => Some(CalledOperation::MantleModels),
            _ => None,
        };
    }
    if path == STS_PATH && parts.method == Method::POST {
        return Some(CalledOperation::CallerIdentity);
    }
    let segments: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
    match (&parts.method, segments.as_slice()) {
        (&Method::POST, ["model", id, operation]) if !id.is_empty() => {
            let operation = match *operation {
                "converse" => ModelOperation::Converse,
                "converse-stream" => ModelOperation::ConverseStream,
                "invoke" => ModelOperation::InvokeModel,
                "invoke-with-response-stream" => ModelOperation::InvokeModelStream,
                "count-tokens" => ModelOperation::CountTokens,
                _ => return None,
            };
            Some(CalledOperation::Model { id: percent_decode(id), operation })
        }
        (&Method::POST, ["anthropic", "v1", "messages"]) => {
            Some(CalledOperation::Messages(Api::RuntimeMessages))
        }
        (&Method::GET, ["foundation-models"]) => Some(CalledOperation::FoundationModels),
        (&Method::GET, ["foundation-models", id]) => {
            Some(CalledOperation::FoundationModel(percent_decode(id)))
        }
        (&Method::GET, ["inference-profiles"]) => Some(CalledOperation::InferenceProfiles),
        // AWS's service model lets this identifier contain slashes.
        (&Method::GET, ["inference-profiles", rest @ ..]) => {
            Some(CalledOperation::InferenceProfile(percent_decode(&rest.join("/"))))
        }
        _ => None,
    }
}

/// Decodes percent-encoding; keeps invalid escapes unchanged.
pub(crate) fn percent_decode(segment: &str) -> String {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let [first, tail @ ..] = rest {
        let code = tail.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match code.filter(|_| *first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Decoded query parameter; `None` when it is absent or empty.
pub(crate) fn query_parameter(parts: &Parts, name: &str) -> Option<String> {
    let pairs = parts.uri.query()?.split('&').filter_map(|pair| pair.split_once('='));
    pairs
        .filter(|(key, value)| *key == name && !value.is_empty())
        .map(|(_, value)| percent_decode(value))
        .next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation_of(method: &str, path: &str, mantle: bool) -> Option<CalledOperation> {
        let request = http::Request::builder().method(method).uri(path).body(()).unwrap();
        find_operation(&request.into_parts().0, mantle)
    }

    #[test]
    fn endpoints_have_different_routes() {
        let model = CalledOperation::Model { id: "a:0".into(), operation: ModelOperation::Converse };
        assert_eq!(operation_of("POST", "/model/a%3A0/converse", false), Some(model));
        assert_eq!(operation_of("POST", "/model/a%3A0/converse", true), None);
        assert_eq!(operation_of("GET", "/model/a/converse", false), None);
        assert_eq!(
            operation_of("POST", "/anthropic/v1/messages?beta=true", false),
            Some(CalledOperation::Messages(Api::RuntimeMessages))
        );
        assert_eq!(operation_of("POST", "/anthropic/v1/messages/count_tokens", false), None);
        assert_eq!(
            operation_of("POST", "/anthropic/v1/messages/count_tokens", true),
            Some(CalledOperation::MantleCountTokens)
        );
        let profile = CalledOperation::InferenceProfile("arn:aws:x/abc".into());
        assert_eq!(
            operation_of("GET", "/inference-profiles/arn%3Aaws%3Ax%2Fabc", false),
            Some(profile.clone())
        );
        assert_eq!(operation_of("GET", "/inference-profiles/arn:aws:x/abc", false), Some(profile));
        assert_eq!(operation_of("GET", "/inference-profiles", true), None);
        assert_eq!(operation_of("POST", "/", false), Some(CalledOperation::CallerIdentity));
        assert_eq!((operation_of("GET", "/", false), operation_of("POST", "/", true)), (None, None));
    }

    #[test]
    fn query_parameters_are_decoded() {
        let request = http::Request::get("/x?type=SYSTEM%5FDEFINED&nextToken=").body(()).unwrap();
        let parts = request.into_parts().0;
        assert_eq!(query_parameter(&parts, "type").as_deref(), Some("SYSTEM_DEFINED"));
        assert_eq!(query_parameter(&parts, "nextToken"), None);
    }
}
