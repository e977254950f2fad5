use std::fmt::Write as _;

use super::*;
use crate::translate::chat_error;

fn with_message(message: &str) -> Exception {
    Exception { message: Some(message.to_owned()), ..Exception::default() }
}

fn refused(text: &str) -> MappedError {
    map_error(400, "ValidationException", &with_message(text))
}

#[test]
fn each_example_matches_its_own_row() {
    for expected in KNOWN_ERRORS {
        let [exception, ..] = expected.exceptions else { panic!("{} has no exception", expected.code) };
        let found = map_error(expected.status, exception, &with_message(expected.example));
        assert_eq!(found.known_error.code, expected.code, "{}", expected.example);
        assert_eq!(
            (found.error.kind, found.fault, found.retry),
            (expected.kind, expected.fault, expected.retry)
        );
        assert!(!found.error.message.is_empty());
    }
}

#[test]
fn each_row_has_a_cause_and_advice() {
    for (at, known_error) in KNOWN_ERRORS.iter().enumerate() {
        assert!(known_error.cause.len() > 5 && known_error.advice.ends_with('.'), "{}", known_error.code);
        assert!(
            known_error.patterns.iter().all(|words| *words == words.to_lowercase()),
            "{}",
            known_error.code
        );
        assert!(
            KNOWN_ERRORS[..at].iter().all(|before| before.code != known_error.code),
            "{} is there twice",
            known_error.code
        );
    }
}

#[test]
fn messages_of_all_known_errors() {
    let mut table = String::new();
    for known_error in KNOWN_ERRORS {
        let failure =
            map_error(known_error.status, known_error.exceptions[0], &with_message(known_error.example));
        let MappedError { error, fault, retry, .. } = failure;
        let _ = writeln!(
            table,
            "{} {} {fault:?} {retry:?}\n  {}",
            known_error.code,
            error.kind.as_str(),
            error.message
        );
    }
    insta::assert_snapshot!(table);
}

#[test]
fn every_wording_matches_its_row() {
    for (code, text) in [
        ("E01", "Invocation of model ID x with on-demand throughput isn't supported."),
        ("E10", "This model version has reached the end of its life. Please refer to the documentation."),
        ("E21", "output_config.format: Extra inputs are not permitted"),
        (
            "E21",
            "Malformed input request: #: extraneous key [top_k] is not permitted, please reformat your input and try again.",
        ),
        ("E20", "Unexpected value(s) `x-2026-01-01` for the `anthropic-beta` header"),
        ("E22", "prompt is too long: 206456 tokens > 200000 maximum"),
        ("E22", "input length and `max_tokens` exceed context limit: 213462 + 8192 > 204698"),
        ("E22b", "too many total text bytes"),
        (
            "E22b",
            "Malformed input request: expected maxLength: 50000, actual: 60000, please reformat your input and try again.",
        ),
        ("E23", "\"thinking.type.enabled\" is not supported for this model"),
        ("E23", "thinking: Input tag 'adaptive' found using 'type' does not match any of the expected tags"),
        ("E24", "messages.3.content.0.thinking.signature: Field required"),
        ("E32", "'max_completion_tokens' (128000) exceeds model maximum (65536)"),
        ("E35", "This model doesn't support the stopSequences field. Remove stopSequences and try again."),
        (
            "E36",
            "The text field in the ContentBlock object at messages.0.content.0 is blank. Add text to the text field, and try again.",
        ),
        ("E36", "Expected toolResult blocks at messages.2.content for the following Ids: tooluse_a"),
        ("E36", "Messages can not contain duplicate document names"),
        ("E39", "The provided request is not valid"),
    ] {
        let exception = if code == "E10" { "ResourceNotFoundException" } else { "ValidationException" };
        assert_eq!(map_error(400, exception, &with_message(text)).known_error.code, code, "{text}");
    }
}

#[test]
fn codes_match_in_every_spelling() {
    for (status, code, text, known_error) in [
        (400, "throttlingException", "in a frame", "E12"),
        (503, "ServiceUnavailableException:http://x/", "", "E14"),
        (429, "com.amazon.coral#ModelNotReadyException", "", "E15a"),
        (400, "", "prompt is too long: 3 tokens > 2 maximum", "E22"),
        (413, "", "", "E47"),
        (429, "", "", "E12"),
        (403, "", "no", "E44"),
        (404, "", "", "E43"),
        (408, "", "", "E15b"),
        (422, "", "", "E49"),
        (502, "", "<html>", "E15e"),
        (503, "", "", "E14"),
        (500, "NovelException", "", "E15e"),
    ] {
        assert_eq!(
            map_error(status, code, &with_message(text)).known_error.code,
            known_error,
            "{status} {code} {text}"
        );
    }
}

#[test]
fn model_errors_use_the_original_status() {
    let exception = |status| Exception {
        message: Some("outer".to_owned()),
        original_status_code: Some(status),
        original_message: Some("inner".to_owned()),
    };
    for (status, kind) in [
        (400, ErrorType::InvalidRequest),
        (413, ErrorType::TooLarge),
        (429, ErrorType::RateLimit),
        (503, ErrorType::Overloaded),
        (529, ErrorType::Overloaded),
        (500, ErrorType::Api),
    ] {
        let failure = map_error(424, "ModelErrorException", &exception(status));
        assert_eq!(failure.error, Error::new(kind, "inner"));
    }
}

#[test]
fn texts_that_clients_recover_on_are_unchanged() {
    for text in [
        "prompt is too long: 206456 tokens > 200000 maximum",
        "Input is too long for requested model.",
        "Input is too long.",
        "input length and `max_tokens` exceed context limit: 213462 + 8192 > 204698",
        "messages.1.content.0: Invalid `signature` in `thinking` block",
        "messages.1.role: Input should be 'user' or 'assistant'",
        "context_management: Extra inputs are not permitted",
    ] {
        let wrapped = format!("The model returned the following errors: {text}");
        assert_eq!(refused(&wrapped).error.message, text);
        assert!(refused(&wrapped).known_error.is_verbatim());
    }
}

#[test]
fn other_wordings_become_prompt_is_too_long() {
    for (text, expected) in [
        ("Input Tokens Exceeded: Number of input tokens exceeds maximum length.", Error::PROMPT_TOO_LONG),
        ("This model's maximum context length is 4096 tokens.", Error::PROMPT_TOO_LONG),
        ("too many total text bytes", Error::PROMPT_TOO_LONG),
        (
            "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length",
            "prompt is too long: 40000 tokens > 32768 maximum",
        ),
        (
            "This model's maximum context length is 131072 tokens. However, you requested 140000 tokens (139000 in the messages, 1000 in the completion).",
            "prompt is too long: 140000 tokens > 131072 maximum",
        ),
        (
            "Too many input tokens. Max input tokens: 8192, request input token count: 9000",
            "prompt is too long: 9000 tokens > 8192 maximum",
        ),
        (
            "Malformed input request: expected maxLength: 50000, actual: 60000, please reformat your input and try again.",
            Error::PROMPT_TOO_LONG,
        ),
    ] {
        let mapped = refused(text);
        assert_eq!(mapped.error, Error::new(ErrorType::InvalidRequest, expected));
        assert_eq!(chat_error(&mapped.error).code, Some("context_length_exceeded"), "{text}");
        assert_eq!(mapped.replaced_aws_message().as_deref(), Some(text), "clients of AWS read AWS's text");
    }
}

#[test]
fn throttling_never_mentions_the_context() {
    for text in ["Too many tokens, please wait before trying again.", "Too many tokens per day, please wait"]
    {
        let message = map_error(429, "ThrottlingException", &with_message(text)).error.message.to_lowercase();
        for words in ["too long", "prompt_too_long", "context", "exceed"] {
            assert!(!message.contains(words), "{message}");
        }
    }
}

#[test]
fn arns_and_account_ids_are_redacted() {
    let text = "User: arn:aws:sts::123456789012:assumed-role/x/y may not use \"arn:aws:bedrock:us-east-1::foundation-model/z\" in 123456789012, 1234567890123 tokens";
    let failure = map_error(403, "AccessDeniedException", &with_message(text));
    assert!(
        failure
            .error
            .message
            .starts_with("User: [arn] may not use \"[arn]\" in [account], 1234567890123 tokens."),
        "{failure:?}"
    );
    assert_eq!(failure.aws_message, text);
    for known_error in KNOWN_ERRORS {
        let message =
            map_error(known_error.status, known_error.exceptions[0], &with_message(known_error.example))
                .error
                .message;
        assert!(!message.contains("arn:") && !message.contains("123456789012"), "{message}");
    }
}

#[test]
fn constraint_names_the_clients_member() {
    let message =
        refused("Value '7' at 'inferenceConfig.temperature' failed to satisfy constraint: x").error.message;
    assert_eq!(message, "Value '7' at 'temperature' failed to satisfy constraint: x");
}

#[test]
fn proxy_credentials_are_an_operator_fault() {
    let failure = map_error(
        403,
        "UnrecognizedClientException",
        &with_message("The security token included in the request is invalid."),
    );
    assert_eq!((failure.fault, failure.error.kind), (Fault::Operator, ErrorType::Api));
    assert!(failure.error.message.contains("credentials of this proxy"));
}

#[test]
fn model_that_the_client_named_is_a_client_fault() {
    let mut id = refused("The provided model identifier is invalid.");
    assert_eq!((id.error.kind, id.fault), (ErrorType::Permission, Fault::Operator));
    id.blame_client("claude-sonet-4-5", Some("claude-sonnet-4-5"));
    assert_eq!((id.error.kind, id.fault), (ErrorType::NotFound, Fault::Client));
    assert_eq!(
        id.error.message,
        "The provided model identifier is invalid: claude-sonet-4-5. Did you mean claude-sonnet-4-5? \
         GET /v1/models lists the models of this proxy."
    );
    let mut arn = map_error(404, "ResourceNotFoundException", &with_message("nothing here"));
    arn.blame_client(&"é".repeat(1_000), None);
    assert_eq!((arn.error.kind, arn.fault), (ErrorType::NotFound, Fault::Client));
    assert!(arn.error.message.len() < 400 && !arn.error.message.contains("Did you mean"), "{arn:?}");
    let (other, mut blamed) = (refused("x"), refused("x"));
    blamed.blame_client("m", None);
    assert_eq!(blamed, other);
}
