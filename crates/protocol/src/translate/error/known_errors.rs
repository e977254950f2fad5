//! Known errors on the way to a model. The first that matches counts.
//!
//! See <https://docs.aws.amazon.com/bedrock/latest/userguide/troubleshooting-api-error-codes.html>.

use super::Fault::{Client, Network, Operator, Proxy, Upstream};
use super::MappedError;
use super::Retry::{AfterPause, ByClient, Never, WithNewCredentials};
use super::known_error::KnownError;
use crate::anthropic::ErrorType::{
    Api, InvalidRequest, NotFound, Overloaded, Permission, RateLimit, Timeout, TooLarge,
};

const VALIDATION: &[&str] = &["ValidationException"];
const DENIED: &[&str] = &["AccessDeniedException"];
const NOT_FOUND: &[&str] = &["ResourceNotFoundException"];
const THROTTLED: &[&str] = &["ThrottlingException", "TooManyRequestsException"];
const ANY_TEXT: &[&str] = &[];

/// Default for unknown errors.
pub(super) const INTERNAL: KnownError = KnownError::new(
    "E15e",
    500,
    &["InternalServerException", "InternalFailure", "InternalServerError"],
    ANY_TEXT,
)
.example("The system encountered an unexpected error during processing. Try your request again.")
.maps_to(Api, Upstream, AfterPause)
.cause("AWS had an internal error")
.advice("Try again; if it stays, look at the AWS Health Dashboard.");

/// All known errors. The first that matches counts.
pub static KNOWN_ERRORS: &[KnownError] = &[
    // --- Which model, and whether it may be used ---------------------------------------------------------------
    KnownError::new("E01", 400, VALIDATION, &["with on-demand throughput isn"])
        .example("Invocation of model ID anthropic.claude-sonnet-4-5-20250929-v1:0 with on-demand throughput isn\u{2019}t supported. Retry your request with the ID or ARN of an inference profile that contains this model.")
        .maps_to(Permission, Operator, Never)
        .cause("the model is offered through inference profiles only")
        .advice("Use the id of a profile: us., eu., apac. or global. before the model's id, one that the proxy's region has.")
        .with_advice(),
    KnownError::new("E02", 400, VALIDATION, &["support on-demand throughput"])
        .example("The provided model doesn't support on-demand throughput.")
        .maps_to(Permission, Operator, Never)
        .cause("the same error with an older message")
        .advice("Use the id of a profile: us., eu., apac. or global. before the model's id, one that the proxy's region has.")
        .with_advice(),
    KnownError::new("E03", 400, VALIDATION, &["model identifier is invalid"])
        .example("The provided model identifier is invalid.")
        .maps_to(Permission, Operator, Never)
        .cause("a typing error, or an id that this region does not have, such as eu. in us-west-2")
        .advice("Compare the id with `aws bedrock list-foundation-models` and `list-inference-profiles` in the proxy's region; GET /v1/models lists what this proxy knows.")
        .with_advice(),
    KnownError::new("E04", 404, &["ResourceNotFoundException", "FTUFormNotFilled"], &["use case details"])
        .example("Model use case details have not been submitted for this account. Fill out the Anthropic use case details form before using the model. If you have already filled out the form, try again in 15 minutes.")
        .maps_to(Permission, Operator, Never)
        .cause("Anthropic's form was not sent from this AWS account, or the agreement is missing")
        .advice("Fill out the form in the Bedrock console (Model catalog, any Anthropic model) or with `aws bedrock put-use-case-for-model-access`; it takes up to 15 minutes.")
        .with_advice(),
    KnownError::new("E05", 403, DENIED, &["aws-marketplace:", "aws marketplace"])
        .example("Model access is denied due to IAM user or service role is not authorized to perform the required AWS Marketplace actions (aws-marketplace:ViewSubscriptions, aws-marketplace:Subscribe) to enable access to this model.")
        .maps_to(Permission, Operator, Never)
        .cause("the first call of a model subscribes the account, and these credentials may not subscribe")
        .advice("Call the model once with credentials that have aws-marketplace:Subscribe and ViewSubscriptions; then wait up to 15 minutes.")
        .with_advice(),
    KnownError::new("E06", 403, DENIED, &["invalid_payment_instrument", "payment instrument"])
        .example("Model access is denied due to INVALID_PAYMENT_INSTRUMENT: A valid payment instrument must be provided.")
        .maps_to(Permission, Operator, Never)
        .cause("the AWS account has no valid means of payment for the Marketplace")
        .advice("Add a card in the account's billing settings and wait two minutes.")
        .with_advice(),
    KnownError::new("E07", 403, DENIED, &["don't have access to the model"])
        .example("You don't have access to the model with the specified model ID.")
        .maps_to(Permission, Operator, Never)
        .cause("the model is not enabled for the account in this region")
        .advice("Enable it in the Bedrock console (Model access) of the proxy's region and check the service control policies; only a call proves access.")
        .with_advice(),
    KnownError::new("E28", 403, &["AccessDeniedException", "UnrecognizedClientException", "MissingAuthenticationTokenException", "MissingAuthenticationToken"], &["authorization header is missing", "api key", "bearer"])
        .example("Authentication failed: Please make sure your API Key is valid.")
        .maps_to(Api, Operator, Never)
        .cause("the proxy's Bedrock API key is wrong, or older than the 12 hours of a short-term key")
        .advice("Make a new key and set AWS_BEARER_TOKEN_BEDROCK.")
        .with_message("AWS does not accept the proxy's Bedrock API key."),
    KnownError::new("E09", 403, DENIED, &["service control policy", "explicit deny"])
        .example("User: arn:aws:sts::123456789012:assumed-role/gateway/i-1 is not authorized to perform: bedrock:InvokeModelWithResponseStream on resource: arn:aws:bedrock:us-west-2::foundation-model/anthropic.claude-sonnet-4-6 with an explicit deny in a service control policy")
        .maps_to(Permission, Operator, Never)
        .cause("a policy of the organisation forbids it, often for another region that the profile leads to")
        .advice("Allow every region that the inference profile leads to, or use a profile or id with fewer regions; the denied region is in the proxy's log.")
        .with_advice(),
    KnownError::new("E08", 403, DENIED, &["is not authorized to perform"])
        .example("User: arn:aws:sts::123456789012:assumed-role/gateway/i-1 is not authorized to perform: bedrock:InvokeModelWithResponseStream on resource: arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-4-6 because no identity-based policy allows the bedrock:InvokeModelWithResponseStream action")
        .maps_to(Permission, Operator, Never)
        .cause("IAM does not allow the proxy's credentials to call the model")
        .advice("Allow bedrock:InvokeModel and bedrock:InvokeModelWithResponseStream on the inference profile and on foundation-model/* in every region that it leads to.")
        .with_advice(),
    KnownError::new("E10", 404, NOT_FOUND, &["marked by provider as legacy", "end of its life", "access denied"])
        .example("Access denied. This Model is marked by provider as Legacy and you have not been actively using the model in the last 30 days. Please upgrade to an active model on Amazon Bedrock")
        .maps_to(Permission, Operator, Never)
        .cause("the model is retired, for this account or for all")
        .advice("Use its successor; GET /v1/models lists what there is.")
        .with_advice(),
    // --- Too much, too fast --------------------------------------------------------------------------------------
    KnownError::new("E13", 429, THROTTLED, &["per day"])
        .example("Too many tokens per day, please wait before trying again.")
        .maps_to(RateLimit, Upstream, Never)
        .cause("the daily quota of the account is spent; it may be 0 for a new account")
        .advice("A retry does not help: use another model or region, or look at the applied quota in Service Quotas.")
        .with_advice(),
    KnownError::new("E14b", 503, THROTTLED, &["too many connections"])
        .example("Too many connections, please wait before trying again.")
        .maps_to(Overloaded, Upstream, AfterPause)
        .cause("Bedrock has no capacity for the model in this region at the moment")
        .advice("Try again, or use another region or a profile with more regions."),
    KnownError::new("E11", 429, THROTTLED, &["too many tokens"])
        .example("Too many tokens, please wait before trying again.")
        .maps_to(RateLimit, Upstream, AfterPause)
        .retry_after(10)
        .cause("the quota of tokens per minute for this model and region is spent; max_tokens is reserved when a request begins")
        .advice("Lower max_tokens, spread the load over regions, or raise the quota in Service Quotas."),
    KnownError::new("E12", 429, THROTTLED, ANY_TEXT)
        .example("Too many requests, please wait before trying again.")
        .maps_to(RateLimit, Upstream, AfterPause)
        .retry_after(5)
        .cause("the quota of requests per minute for this model and region is spent")
        .advice("Spread the load over regions, or raise the quota in Service Quotas."),
    KnownError::new("E14", 503, &["ServiceUnavailableException", "ServiceUnavailable"], ANY_TEXT)
        .example("Bedrock is unable to process your request.")
        .maps_to(Overloaded, Upstream, AfterPause)
        .cause("Bedrock has no capacity for the model in this region at the moment")
        .advice("Try again, or use another region or a profile with more regions."),
    KnownError::new("E16", 400, &["ServiceQuotaExceededException"], ANY_TEXT)
        .example("Your request exceeds the service quota for your account.")
        .maps_to(RateLimit, Upstream, Never)
        .cause("a quota of the account is exceeded; a retry does not help")
        .advice("Look at the applied quota in Service Quotas.")
        .with_advice(),
    // --- The model's own server ----------------------------------------------------------------------------------
    KnownError::new("E15a", 429, &["ModelNotReadyException"], ANY_TEXT)
        .example("The model is not ready for inference. Wait and try again.")
        .maps_to(Overloaded, Upstream, AfterPause)
        .cause("an imported or custom model is being loaded")
        .advice("Send a short request before users need the model."),
    KnownError::new("E15b", 408, &["ModelTimeoutException", MappedError::SILENT], ANY_TEXT)
        .example("The request took too long to process. Processing time exceeded the model timeout length.")
        .maps_to(Timeout, Upstream, ByClient)
        .cause("the model took too long")
        .advice("Send a smaller request, or use another region."),
    KnownError::new("E15d", 424, &["ModelStreamErrorException", "ModelErrorException"], &["invalid sequence as part of tooluse"])
        .example("Model produced invalid sequence as part of ToolUse. Please refer to the model tool use troubleshooting guide.")
        .maps_to(Api, Upstream, AfterPause)
        .cause("the model broke the syntax of a tool call; Nova and Llama do that")
        .advice("Set temperature to 0 (and top_k to 1 for Nova) when tools are offered.")
        .with_advice(),
    // The error type is that of the model's own server.
    KnownError::new("E15c", 424, &["ModelErrorException", "ModelStreamErrorException"], ANY_TEXT)
        .example("The system encountered an unexpected error during processing. Try your request again.")
        .maps_to(Api, Upstream, AfterPause)
        .cause("the model's own server failed; the error type is that of the server")
        .advice("Try again; if it stays, look at the AWS Health Dashboard."),
    KnownError::new("E50", 0, &["Malformed_tool_use", "Malformed_model_output"], ANY_TEXT)
        .maps_to(Api, Upstream, AfterPause)
        .cause("the model broke its own format before it wrote any content")
        .advice("Try again.")
        .with_advice(),
    INTERNAL,
    // --- The proxy and its way to AWS --------------------------------------------------------------------------
    KnownError::new("E18", 403, &["InvalidSignatureException", "SignatureDoesNotMatch"], &["signature expired", "signature not yet current", "is now earlier than"])
        .example("Signature expired: 20261122T110000Z is now earlier than 20261122T115500Z (20261122T120000Z - 5 min.)")
        .maps_to(Api, Operator, Never)
        .cause("the clock of the proxy's machine is wrong by more than five minutes")
        .advice("Set the machine's clock (NTP).")
        .with_message("AWS does not accept the proxy's signature because of its clock."),
    KnownError::new("E17", 403, &["ExpiredTokenException", "ExpiredToken", "UnrecognizedClientException", "InvalidClientTokenId", "RequestExpired"], ANY_TEXT)
        .example("The security token included in the request is expired")
        .maps_to(Api, Operator, WithNewCredentials)
        .cause("the proxy's own AWS credentials are expired or unknown")
        .advice("Renew them: `aws sso login`, the role, or the keys in the environment.")
        .with_message("AWS rejected the credentials of this proxy."),
    KnownError::new("E17b", 403, &["InvalidSignatureException", "SignatureDoesNotMatch", "IncompleteSignature", "IncompleteSignatureException", "MissingAuthenticationToken", "MissingAuthenticationTokenException", "NotAuthorized", "OptInRequired"], ANY_TEXT)
        .example("The request signature we calculated does not match the signature you provided.")
        .maps_to(Api, Operator, Never)
        .cause("the proxy's own AWS credentials are wrong, or not allowed in this region")
        .advice("Compare the secret key, and check whether the region is enabled for the account.")
        .with_message("AWS rejected the credentials of this proxy."),
    KnownError::new("E19", 0, &[MappedError::NO_CREDENTIALS], ANY_TEXT)
        .maps_to(Api, Operator, Never)
        .cause("the proxy has no AWS credentials; in a container the instance's metadata may be one hop too far")
        .advice("Give the proxy keys or a role, or renew its session with `aws sso login`; the proxy's log names the source that failed. For containers on EC2 `aws ec2 modify-instance-metadata-options --http-put-response-hop-limit 2`.")
        .with_message("The proxy has no AWS credentials."),
    KnownError::new("E29", 0, &[MappedError::NOT_A_STREAM], ANY_TEXT)
        .maps_to(Api, Network, ByClient)
        .cause("something between the proxy and Bedrock sent the response: an HTTP proxy, a firewall, an API gateway")
        .advice("Look at the proxy's log for the content-type and the server, and at AWS_ENDPOINT_URL.")
        .with_advice(),
    KnownError::new("E46", 200, &["UnknownOperationException"], ANY_TEXT)
        .example("UnknownOperationException")
        .maps_to(NotFound, Operator, Never)
        .cause("this AWS endpoint does not have the operation")
        .advice("Look at the endpoint URL and the region, or choose another AWS_BEDROCK_ROUTE.")
        .with_message("The Bedrock endpoint does not have this operation."),
    KnownError::new("E48", 0, &[MappedError::UNREACHABLE], ANY_TEXT)
        .maps_to(Api, Network, ByClient)
        .cause("DNS, TLS or the connection failed on the way to Bedrock")
        .advice("The proxy's operator can check DNS, the firewall and AWS_ENDPOINT_URL (HTTPS_PROXY has no effect); the proxy's log contains the host and the reason.")
        .with_advice(),
    KnownError::new("E48b", 0, &[MappedError::BAD_STREAM], ANY_TEXT)
        .maps_to(Api, Network, ByClient)
        .cause("a response was damaged in transit, or does not have the format of Bedrock's responses")
        .advice("Try again.")
        .with_advice(),
    // --- The prompt is too long ----------------------------------------------------------------------------------
    KnownError::new("E22", 400, VALIDATION, &["input is too long", "prompt is too long", "input length and `max_tokens` exceed context limit"])
        .example("Input is too long for requested model.")
        .maps_to(InvalidRequest, Client, Never)
        .cause("the conversation does not fit into the model's context")
        .advice("Shorten it; clients such as Claude Code compact it by themselves."),
    KnownError::new("E22b", 400, VALIDATION, &["input tokens exceeded", "maximum context length", "too many total text bytes", "too many input tokens", "expected maxlength", "context window", "context length exceeded", "prompt token count", "exceeds the maximum number of input tokens"])
        .example("Input Tokens Exceeded: Number of input tokens exceeds maximum length. Please update the input to try again.")
        .maps_to(InvalidRequest, Client, Never)
        .cause("the same error with the messages of other models")
        .advice("Shorten it; clients such as Claude Code compact it by themselves.")
        .prompt_too_long(),
    KnownError::new("E47", 413, &["RequestEntityTooLargeException", "RequestTooLargeException"], ANY_TEXT)
        .example("Request entity too large")
        .maps_to(TooLarge, Client, Never)
        .cause("Bedrock takes bodies of 20 MB at most")
        .advice("Send fewer or smaller images and documents."),
    // --- What a model or a route does not support; most of these are handled by a fallback, unseen by the client -------
    KnownError::new("E20", 400, VALIDATION, &["invalid beta flag", "for the `anthropic-beta` header"])
        .example("The model returned the following errors: invalid beta flag")
        .maps_to(InvalidRequest, Client, Never)
        .cause("a beta that the model does not know; the proxy leaves it out and remembers")
        .advice("None; report a beta that is rejected repeatedly."),
    KnownError::new("E21", 400, VALIDATION, &["extra inputs are not permitted", "extraneous key ["])
        .example("context_management: Extra inputs are not permitted")
        .maps_to(InvalidRequest, Client, Never)
        .cause("a member that the model or the route does not know; the proxy leaves it out and remembers where it can")
        .advice("Leave it out, or use a model that knows it."),
    KnownError::new("E24", 400, VALIDATION, &["invalid `signature` in `thinking` block", "signature: field required"])
        .example("messages.1.content.0: Invalid `signature` in `thinking` block")
        .maps_to(InvalidRequest, Client, Never)
        .cause("thinking was altered, moved, or comes from another model")
        .advice("Send thinking back unchanged, or leave all of it out."),
    KnownError::new("E25", 400, VALIDATION, &["expected `thinking` or `redacted_thinking`", "must start with a thinking block"])
        .example("messages.1.content.0.type: Expected `thinking` or `redacted_thinking`, but found `text`")
        .maps_to(InvalidRequest, Client, Never)
        .cause("thinking has a budget and the turn of a tool call came without its thinking; the proxy leaves thinking out where it sees that")
        .advice("Send thinking back with the call that it led to, or switch it off."),
    KnownError::new("E23", 400, VALIDATION, &["input tag 'adaptive' found", "thinking.type must be", "thinking.type.enabled", "adaptive thinking is not supported"])
        .example("adaptive thinking is not supported on this model")
        .maps_to(InvalidRequest, Client, Never)
        .cause("the thinking of another generation of models; the proxy translates it for models that it knows")
        .advice("Describe the model in AWS_BEDROCK_MODELS_FILE (thinking)."),
    KnownError::new("E37", 400, VALIDATION, &["does not support assistant message prefill"])
        .example("This model does not support assistant message prefill. The conversation must end with a user message.")
        .maps_to(InvalidRequest, Client, Never)
        .cause("the conversation ends with a prefill (an assistant message), which newer models do not take")
        .advice("End the conversation with a user message."),
    KnownError::new("E33", 400, VALIDATION, &["cannot both be specified"])
        .example("`temperature` and `top_p` cannot both be specified for this model. Please use only one.")
        .maps_to(InvalidRequest, Client, Never)
        .cause("the model takes one of the two; the proxy leaves top_p out and remembers")
        .advice("Send one of them."),
    KnownError::new("E32", 400, VALIDATION, &["exceeds the model limit of", "exceeds model maximum"])
        .example("The maximum tokens you requested exceeds the model limit of 64000. Try again with a maximum tokens value that is lower than 64000.")
        .maps_to(InvalidRequest, Client, Never)
        .cause("max_tokens is more than the output limit of the model; the proxy lowers it for models that it knows")
        .advice("Lower max_tokens, or describe the model in AWS_BEDROCK_MODELS_FILE (max_output_tokens)."),
    KnownError::new("E34", 400, VALIDATION, &["support tool use in streaming mode"])
        .example("This model doesn't support tool use in streaming mode.")
        .maps_to(InvalidRequest, Client, Never)
        .cause("the model calls tools in unstreamed responses only; the proxy requests one and remembers")
        .advice("None."),
    KnownError::new("E35", 400, VALIDATION, &["this model doesn't support the"])
        .example("This model doesn't support the cachePoint field. Remove cachePoint and try again.")
        .maps_to(InvalidRequest, Client, Never)
        .cause("a field that the model does not support")
        .advice("Describe the model in AWS_BEDROCK_MODELS_FILE."),
    KnownError::new("E30", 400, VALIDATION, &["url sources not supported", "url sources are not supported"])
        .example("URL sources not supported")
        .maps_to(InvalidRequest, Client, Never)
        .cause("Bedrock does not fetch URLs")
        .advice("Send images and documents as base64."),
    KnownError::new("E38", 400, VALIDATION, &["compiled grammar size"])
        .example("Compiled grammar size (484.8MB) exceeds maximum allowed size (300MB)")
        .maps_to(InvalidRequest, Client, Never)
        .cause("the schema of the output or of a strict tool is too complex")
        .advice("Use a simpler schema."),
    KnownError::new("E39", 400, VALIDATION, &["tool type '", "the provided request is not valid"])
        .example("tool type 'web_search_20250305' is not supported")
        .maps_to(InvalidRequest, Client, Never)
        .cause("a tool that Anthropic runs itself and Bedrock does not have")
        .advice("Offer a tool of your own, or none."),
    KnownError::new("E41", 400, &["ValidationException", "AccessDeniedException"], &["data retention mode"])
        .example("data retention mode 'default' is not available for this model")
        .maps_to(Permission, Operator, Never)
        .cause("the model wants another setting for data retention than the account has")
        .advice("Change the account's data retention for the model, or use another route or model.")
        .with_advice(),
    KnownError::new("E42", 400, &["ValidationException", "ResourceNotFoundException"], &["support counting tokens"])
        .example("The provided model doesn't support counting tokens")
        .maps_to(InvalidRequest, Upstream, Never)
        .cause("CountTokens does not know the model; the proxy estimates, and marks the result as an estimate")
        .advice("None."),
    // --- What the translation has to prevent -------------------------------------------------------------------------
    KnownError::new("E27", 400, VALIDATION, &["tooluse.input is empty"])
        .example("The value at messages.1.content.2.toolUse.input is empty.")
        .maps_to(InvalidRequest, Proxy, Never)
        .cause("an error of the proxy: it should have sent an empty object")
        .advice("Please report it with the request id."),
    KnownError::new("E31", 400, VALIDATION, &["request metadata contains a value"])
        .example("Request metadata contains a value that violates the regular expression")
        .maps_to(InvalidRequest, Proxy, Never)
        .cause("an error of the proxy: it should have left metadata.user_id out")
        .advice("Please report it with the request id."),
    KnownError::new("E36", 400, VALIDATION, &["in the contentblock object at", "cannot end with trailing whitespace", "must alternate between user and assistant", "expected toolresult blocks", "the number of toolresult blocks", "the toolconfig field must be defined", "duplicate document names"])
        .example("A conversation must alternate between user and assistant roles. Make sure the conversation alternates between user and assistant roles and try again.")
        .maps_to(InvalidRequest, Proxy, Never)
        .cause("an error of the proxy: it should have arranged the conversation as Converse requires")
        .advice("Please report it with the request id."),
    // --- Everything else -----------------------------------------------------------------------------------------------
    KnownError::new("E40", 400, VALIDATION, &["failed to satisfy constraint"])
        .example("1 validation error detected: Value '7.0' at 'inferenceConfig.temperature' failed to satisfy constraint: Member must have value less than or equal to 1")
        .maps_to(InvalidRequest, Client, Never)
        .cause("a value outside of what Bedrock takes")
        .advice("Correct the value at the path in the message."),
    KnownError::new("E26", 403, DENIED, &["unsupported countries"])
        .example("Access to Anthropic models is not allowed from unsupported countries, regions, or territories.")
        .maps_to(Permission, Operator, Never)
        .cause("the request or the account comes from a country where Anthropic's models are not offered")
        .advice("Look at the address that the proxy's requests leave from, and at the account's country.")
        .with_advice(),
    KnownError::new("E43", 404, NOT_FOUND, ANY_TEXT)
        .example("The provided model ARN was not found.")
        .maps_to(Permission, Operator, Never)
        .cause("the ARN or id does not exist")
        .advice("Look at AWS_BEDROCK_MODEL_MAPPINGS, the region and the account.")
        .with_advice(),
    KnownError::new("E44", 403, &["AccessDeniedException", "BadCScoreException"], ANY_TEXT)
        .example("Access denied.")
        .maps_to(Permission, Operator, Never)
        .cause("AWS denies access with a message that this table does not have; the account may be flagged")
        .advice("AWS's own text is in the proxy's log; AWS support helps with a flagged account.")
        .with_advice(),
    KnownError::new("E45", 400, &["ConflictException"], ANY_TEXT)
        .example("The request conflicts with the state of the resource.")
        .maps_to(InvalidRequest, Client, Never)
        .cause("two operations on the same resource")
        .advice("Try again when the first is done."),
    KnownError::new("E49", 400, VALIDATION, ANY_TEXT)
        .example("messages.0.content.0.text: Field required")
        .maps_to(InvalidRequest, Client, Never)
        .cause("Bedrock rejects the request with a message that this table does not have")
        .advice("AWS's own text is in the proxy's log."),
];

/// The row with this code; the first, where one code has several.
#[must_use]
pub fn known_error(code: &str) -> Option<&'static KnownError> {
    KNOWN_ERRORS.iter().find(|known_error| known_error.code.eq_ignore_ascii_case(code))
}

/// Known error by the status alone.
pub(super) fn by_status(status: u16) -> &'static KnownError {
    let code = match status {
        413 => "E47",
        429 => "E12",
        401 | 403 => "E44",
        404 => "E43",
        408 => "E15b",
        400..=499 => "E49",
        503 => "E14",
        _ => INTERNAL.code,
    };
    known_error(code).unwrap_or(&INTERNAL)
}
