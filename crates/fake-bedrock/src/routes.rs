//! The ways into the fake: which path leads to which operation.

use http::Method;
use http::request::Parts;

/// Where STS is asked.
pub(crate) const STS: &str = "/";

/// The dialect and the front door of a request, on which rules and allow-lists depend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Route {
    #[default]
    Converse,
    Invoke,
    /// The runtime's own `/anthropic/v1/messages`.
    Runtime,
    /// The same path on the Mantle endpoint.
    Mantle,
}

impl Route {
    /// How ordinary answers name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Converse => "ConverseStream",
            Self::Invoke => "InvokeModel",
            Self::Runtime => "Messages",
            Self::Mantle => "Mantle",
        }
    }

    /// Whether the Anthropic body arrives as it is, the model's name and `stream` included.
    pub(crate) fn is_messages(self) -> bool {
        matches!(self, Self::Runtime | Self::Mantle)
    }
}

/// The operations that name their model in the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Converse,
    ConverseStream,
    Invoke,
    InvokeStream,
    CountTokens,
}

/// What a request asks for; ids are decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Model {
        id: String,
        operation: Operation,
    },
    Messages(Route),
    /// Mantle's counting of tokens.
    Count,
    /// Mantle's list of models.
    MantleModels,
    FoundationModels,
    FoundationModel(String),
    InferenceProfiles,
    InferenceProfile(String),
    /// STS's GetCallerIdentity, by the only path that STS has.
    CallerIdentity,
}

/// Finds the target; `None` for everything that the endpoint does not have.
pub(crate) fn target(parts: &Parts, mantle: bool) -> Option<Target> {
    let path = parts.uri.path();
    if mantle {
        return match (&parts.method, path) {
            (&Method::POST, "/anthropic/v1/messages") => Some(Target::Messages(Route::Mantle)),
            (&Method::POST, "/anthropic/v1/messages/count_tokens") => Some(Target::Count),
            (&Method::GET, "/v1/models") => Some(Target::MantleModels),
            _ => None,
        };
    }
    if path == STS && parts.method == Method::POST {
        return Some(Target::CallerIdentity);
    }
    let segments: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
    match (&parts.method, segments.as_slice()) {
        (&Method::POST, ["model", id, operation]) if !id.is_empty() => {
            let operation = match *operation {
                "converse" => Operation::Converse,
                "converse-stream" => Operation::ConverseStream,
                "invoke" => Operation::Invoke,
                "invoke-with-response-stream" => Operation::InvokeStream,
                "count-tokens" => Operation::CountTokens,
                _ => return None,
            };
            Some(Target::Model { id: decode(id), operation })
        }
        (&Method::POST, ["anthropic", "v1", "messages"]) => Some(Target::Messages(Route::Runtime)),
        (&Method::GET, ["foundation-models"]) => Some(Target::FoundationModels),
        (&Method::GET, ["foundation-models", id]) => Some(Target::FoundationModel(decode(id))),
        (&Method::GET, ["inference-profiles"]) => Some(Target::InferenceProfiles),
        // The model of this operation lets the identifier keep its slashes.
        (&Method::GET, ["inference-profiles", rest @ ..]) => {
            Some(Target::InferenceProfile(decode(&rest.join("/"))))
        }
        _ => None,
    }
}

/// Undoes percent-encoding; what is none stays as it is.
pub(crate) fn decode(segment: &str) -> String {
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

/// A parameter of the query, decoded; empty ones count as absent.
pub(crate) fn parameter(parts: &Parts, name: &str) -> Option<String> {
    let pairs = parts.uri.query()?.split('&').filter_map(|pair| pair.split_once('='));
    pairs.filter(|(key, value)| *key == name && !value.is_empty()).map(|(_, value)| decode(value)).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(method: &str, path: &str, mantle: bool) -> Option<Target> {
        let request = http::Request::builder().method(method).uri(path).body(()).unwrap();
        target(&request.into_parts().0, mantle)
    }

    #[test]
    fn each_endpoint_has_its_own_routes() {
        let model = Target::Model { id: "a:0".into(), operation: Operation::Converse };
        assert_eq!(of("POST", "/model/a%3A0/converse", false), Some(model));
        assert_eq!(of("POST", "/model/a%3A0/converse", true), None);
        assert_eq!(of("GET", "/model/a/converse", false), None);
        assert_eq!(
            of("POST", "/anthropic/v1/messages?beta=true", false),
            Some(Target::Messages(Route::Runtime))
        );
        assert_eq!(of("POST", "/anthropic/v1/messages/count_tokens", false), None);
        assert_eq!(of("POST", "/anthropic/v1/messages/count_tokens", true), Some(Target::Count));
        let profile = Target::InferenceProfile("arn:aws:x/abc".into());
        assert_eq!(of("GET", "/inference-profiles/arn%3Aaws%3Ax%2Fabc", false), Some(profile.clone()));
        assert_eq!(of("GET", "/inference-profiles/arn:aws:x/abc", false), Some(profile));
        assert_eq!(of("GET", "/inference-profiles", true), None);
        assert_eq!(of("POST", "/", false), Some(Target::CallerIdentity));
        assert_eq!((of("GET", "/", false), of("POST", "/", true)), (None, None));
    }

    #[test]
    fn parameters_are_decoded() {
        let request = http::Request::get("/x?type=SYSTEM%5FDEFINED&nextToken=").body(()).unwrap();
        let parts = request.into_parts().0;
        assert_eq!(parameter(&parts, "type").as_deref(), Some("SYSTEM_DEFINED"));
        assert_eq!(parameter(&parts, "nextToken"), None);
    }
}
