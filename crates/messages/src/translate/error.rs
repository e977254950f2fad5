//! What AWS calls a failure, into what Anthropic calls it.
//!
//! Whose fault it is and whether to try again are part of the answer. The text is the one that clients
//! recover on, without ARNs and account ids. Not here: status codes (the server's table). See
//! <https://docs.aws.amazon.com/bedrock/latest/userguide/troubleshooting-api-error-codes.html>.

use crate::anthropic::{Error, ErrorType};
use crate::converse::event::Exception;

/// Who can mend it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Whoever wrote the request.
    Client,
    /// AWS, or time.
    Upstream,
    /// Whoever runs this: credentials, clock, access to models.
    Operator,
}

/// Whether to try again, as long as the client has been told nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// It would fail again.
    Never,
    /// After a pause.
    AfterPause,
    /// With credentials fetched anew.
    WithNewCredentials,
}

/// A failure of an upstream call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What the client may see.
    pub error: Error,
    /// AWS's code, or [`Failure::BAD_STREAM`].
    pub code: String,
    /// AWS's own text, for the operator's log only.
    pub text: String,
    /// Who can mend it.
    pub fault: Fault,
    /// Whether to try again.
    pub retry: Retry,
}

impl Failure {
    /// The code of an answer that cannot be read.
    pub const BAD_STREAM: &str = "BadStream";

    /// The answer cannot be read.
    pub(super) fn unreadable(what: String) -> Self {
        Self {
            error: Error::new(ErrorType::Api, format!("Bedrock's answer cannot be read: {what}")),
            code: Self::BAD_STREAM.to_owned(),
            text: what,
            fault: Fault::Upstream,
            retry: Retry::Never,
        }
    }

    /// The model broke its own format and said nothing else.
    pub(super) fn malformed(reason: &str) -> Self {
        Self {
            error: Error::new(
                ErrorType::Api,
                format!("the model broke its own format ({reason}); try again"),
            ),
            code: reason.to_owned(),
            text: String::new(),
            fault: Fault::Upstream,
            retry: Retry::AfterPause,
        }
    }
}

/// Translates an error answer (`status` ≥ 400), or an exception inside a stream (`status` 400).
///
/// `code` is `x-amzn-errortype`, the body's `__type` or the exception type of a frame, in any spelling.
#[must_use]
pub fn error(status: u16, code: &str, said: &Exception) -> Failure {
    let code = normal(code);
    let text = said.message.as_deref().unwrap_or_default();
    let class = classify(status, &code, text, said.original_status_code);
    let shown = match &class.says {
        Says::Text => {
            visible(said.original_message.as_deref().filter(|text| !text.is_empty()).unwrap_or(text), &code)
        }
        Says::This(words) => words.clone(),
    };
    Failure {
        error: Error::new(class.kind, shown),
        text: text.to_owned(),
        fault: class.fault,
        retry: class.retry,
        code,
    }
}

struct Class {
    kind: ErrorType,
    fault: Fault,
    retry: Retry,
    says: Says,
}

enum Says {
    Text,
    This(String),
}

fn classify(status: u16, code: &str, text: &str, original: Option<u16>) -> Class {
    use Fault::{Client, Operator, Upstream};
    use Retry::{AfterPause, Never, WithNewCredentials};
    let class = |kind, fault, retry| Class { kind, fault, retry, says: Says::Text };
    match code {
        // "per day" does not pass by waiting a moment.
        "ThrottlingException" | "TooManyRequestsException" if contains(text, "per day") => {
            class(ErrorType::RateLimit, Upstream, Never)
        }
        "ThrottlingException" | "TooManyRequestsException" => {
            class(ErrorType::RateLimit, Upstream, AfterPause)
        }
        "ServiceQuotaExceededException" => class(ErrorType::RateLimit, Upstream, Never),
        "ServiceUnavailableException" | "ModelNotReadyException" => {
            class(ErrorType::Overloaded, Upstream, AfterPause)
        }
        "InternalServerException" | "InternalFailure" => class(ErrorType::Api, Upstream, AfterPause),
        "ModelTimeoutException" => class(ErrorType::Timeout, Upstream, Never),
        // 424 means nothing to clients; what the model's own server said does.
        "ModelErrorException" | "ModelStreamErrorException" => match original {
            Some(400) => class(ErrorType::InvalidRequest, Client, Never),
            Some(413) => class(ErrorType::TooLarge, Client, Never),
            Some(429) => class(ErrorType::RateLimit, Upstream, AfterPause),
            Some(503 | 529) => class(ErrorType::Overloaded, Upstream, AfterPause),
            _ => class(ErrorType::Api, Upstream, AfterPause),
        },
        "ValidationException" => validation(text),
        "ResourceNotFoundException" if is_about_access(text) => class(ErrorType::Permission, Operator, Never),
        "ResourceNotFoundException" | "UnknownOperationException" => {
            class(ErrorType::NotFound, Operator, Never)
        }
        "FTUFormNotFilled" | "AccessDeniedException" | "BadCScoreException" => {
            class(ErrorType::Permission, Operator, Never)
        }
        "ExpiredTokenException"
        | "ExpiredToken"
        | "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "RequestExpired" => {
            Class { says: own_credentials(code), ..class(ErrorType::Api, Operator, WithNewCredentials) }
        }
        "InvalidSignatureException"
        | "IncompleteSignature"
        | "IncompleteSignatureException"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "NotAuthorized"
        | "OptInRequired" => Class { says: own_credentials(code), ..class(ErrorType::Api, Operator, Never) },
        _ => match status {
            413 => class(ErrorType::TooLarge, Client, Never),
            429 => class(ErrorType::RateLimit, Upstream, AfterPause),
            401 | 403 => class(ErrorType::Permission, Operator, Never),
            404 => class(ErrorType::NotFound, Operator, Never),
            408 => class(ErrorType::Timeout, Upstream, Never),
            400..=499 => class(ErrorType::InvalidRequest, Client, Never),
            503 => class(ErrorType::Overloaded, Upstream, AfterPause),
            _ => class(ErrorType::Api, Upstream, AfterPause),
        },
    }
}

/// A refused request: mostly the client's, in a few words the operator's.
fn validation(text: &str) -> Class {
    // The first words are not recognised by clients, the second are.
    const OVERFLOW: [&str; 6] = [
        "input tokens exceeded",
        "maximum context length is",
        "too many total text bytes",
        "too many input tokens",
        "expected maxlength",
        "context window",
    ];
    let class = |kind, fault, says| Class { kind, fault, retry: Retry::Never, says };
    if contains(text, "on-demand throughput isn") || contains(text, "support on-demand throughput") {
        return class(ErrorType::Permission, Fault::Operator, Says::Text);
    }
    if OVERFLOW.iter().any(|words| contains(text, words)) {
        let says = Says::This("capability_rejected: prompt_too_long".to_owned());
        return class(ErrorType::InvalidRequest, Fault::Client, says);
    }
    class(ErrorType::InvalidRequest, Fault::Client, Says::Text)
}

fn is_about_access(text: &str) -> bool {
    ["use case details", "access denied", "end of its life"].iter().any(|words| contains(text, words))
}

/// The client's credentials are fine; saying otherwise would send people looking in the wrong place.
fn own_credentials(code: &str) -> Says {
    Says::This(format!(
        "AWS refused the credentials of this proxy ({code}); whoever runs it has to renew them"
    ))
}

/// The code without name space, address and the spelling of frames (`throttlingException`).
fn normal(code: &str) -> String {
    let code = code.rsplit_once('#').map_or(code, |(_, code)| code);
    let code = code.split_once(':').map_or(code, |(code, _)| code).trim();
    let mut letters = code.chars();
    letters.next().map_or_else(String::new, |first| first.to_ascii_uppercase().to_string() + letters.as_str())
}

fn contains(text: &str, words: &str) -> bool {
    text.to_lowercase().contains(words)
}

/// AWS's text as a client may see it.
fn visible(text: &str, code: &str) -> String {
    const PREFIX: &str = "The model returned the following errors: ";
    let text = text.trim();
    let text = text.strip_prefix(PREFIX).unwrap_or(text);
    if text.is_empty() {
        return if code.is_empty() {
            "Bedrock refused the request".to_owned()
        } else {
            format!("Bedrock said {code}")
        };
    }
    redact(text)
}

/// Takes out ARNs and account ids.
fn redact(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let at_word = out.chars().next_back().is_none_or(|last| !last.is_ascii_alphanumeric());
        if at_word && rest.starts_with("arn:") {
            out.push_str("[arn]");
            rest = &rest
                [rest.find(|c: char| c.is_whitespace() || "\"'`,;)]}".contains(c)).unwrap_or(rest.len())..];
            continue;
        }
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if at_word && digits == 12 {
            out.push_str("[account]");
            rest = &rest[digits..];
            continue;
        }
        let Some(next) = rest.chars().next() else { break };
        out.push(next);
        rest = &rest[next.len_utf8()..];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(message: &str) -> Exception {
        Exception { message: Some(message.to_owned()), ..Exception::default() }
    }

    #[test]
    fn each_code_of_aws_has_its_counterpart() {
        use ErrorType::*;
        use Retry::*;
        for (status, code, text, kind, retry) in [
            (
                429,
                "ThrottlingException",
                "Too many tokens, please wait before trying again.",
                RateLimit,
                AfterPause,
            ),
            (429, "ThrottlingException", "Too many tokens per day, please wait", RateLimit, Never),
            (400, "throttlingException", "in a frame", RateLimit, AfterPause),
            (503, "ServiceUnavailableException:http://x/", "", Overloaded, AfterPause),
            (429, "com.amazon.coral#ModelNotReadyException", "", Overloaded, AfterPause),
            (500, "InternalServerException", "", Api, AfterPause),
            (408, "ModelTimeoutException", "", Timeout, Never),
            (403, "AccessDeniedException", "no", Permission, Never),
            (
                404,
                "ResourceNotFoundException",
                "Model use case details have not been submitted",
                Permission,
                Never,
            ),
            (404, "ResourceNotFoundException", "nothing here", NotFound, Never),
            (403, "ExpiredTokenException", "expired", Api, WithNewCredentials),
            (403, "InvalidSignatureException", "Signature expired", Api, Never),
            (400, "ValidationException", "wrong", InvalidRequest, Never),
            (
                400,
                "ValidationException",
                "Invocation of model ID x with on-demand throughput isn\u{2019}t supported.",
                Permission,
                Never,
            ),
            (413, "", "", TooLarge, Never),
            (502, "", "<html>", Api, AfterPause),
        ] {
            let failure = error(status, code, &said(text));
            assert_eq!((failure.error.kind, failure.retry), (kind, retry), "{status} {code} {text}");
            assert!(!failure.error.message.is_empty());
        }
    }

    #[test]
    fn a_model_error_is_what_the_models_own_server_said() {
        let said = |status| Exception {
            message: Some("outer".to_owned()),
            original_status_code: Some(status),
            original_message: Some("inner".to_owned()),
        };
        for (status, kind) in [
            (400, ErrorType::InvalidRequest),
            (413, ErrorType::TooLarge),
            (429, ErrorType::RateLimit),
            (529, ErrorType::Overloaded),
            (500, ErrorType::Api),
        ] {
            let failure = error(424, "ModelErrorException", &said(status));
            assert_eq!(failure.error, Error::new(kind, "inner"));
        }
    }

    #[test]
    fn the_words_that_clients_recover_on_stay_as_they_are() {
        for text in [
            "prompt is too long: 206456 tokens > 200000 maximum",
            "Input is too long for requested model.",
            "messages.1.content.0: Invalid `signature` in `thinking` block",
        ] {
            let wrapped = format!("The model returned the following errors: {text}");
            assert_eq!(error(400, "ValidationException", &said(&wrapped)).error.message, text);
        }
        let nova = "Input Tokens Exceeded: Number of input tokens exceeds maximum length.";
        assert_eq!(
            error(400, "ValidationException", &said(nova)).error.message,
            "capability_rejected: prompt_too_long"
        );
    }

    #[test]
    fn arns_and_account_ids_stay_inside() {
        let text = "User: arn:aws:sts::123456789012:assumed-role/x/y is not authorized on \"arn:aws:bedrock:us-east-1::foundation-model/z\" in 123456789012, 1234567890123 tokens";
        let failure = error(403, "AccessDeniedException", &said(text));
        assert_eq!(
            failure.error.message,
            "User: [arn] is not authorized on \"[arn]\" in [account], 1234567890123 tokens"
        );
        assert_eq!(failure.text, text);
    }

    #[test]
    fn the_proxys_own_credentials_are_not_blamed_on_the_client() {
        let failure = error(
            403,
            "UnrecognizedClientException",
            &said("The security token included in the request is invalid."),
        );
        assert_eq!(failure.fault, Fault::Operator);
        assert!(failure.error.message.contains("credentials of this proxy"));
    }
}
