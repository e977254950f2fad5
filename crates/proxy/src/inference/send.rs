//! Sends a request and waits for its first event: the one loop of attempts, with retries, new credentials and fallbacks.
//! An error here is an HTTP error if the head of the response is not sent yet, else an error event.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;

use http::{HeaderMap, Response};
use hyper::body::Incoming;
use protocol::anthropic::Usage;
use protocol::anthropic::event_sink::FirstEvents;
use protocol::translate::{Decoder, MappedError, Progress, UsageObserver};

use super::beta_trials::BetaTrials;
use super::error::{log_credentials_error, log_service_error};
use super::metering::Meter;
use super::request::{InferenceRequest, ResponseHead, UpstreamRequest};
use super::stream::{Reading, Sent, UpstreamChunk, poll_chunk};
use super::{Inference, InferenceError};
use crate::bedrock::{
    ConnectionReuse, Next, Operation, ServiceError, UpstreamError, forwarded_response_headers, request_id,
};
use crate::catalog::ResolvedModel;
use crate::ids::RequestId;

impl Inference {
    /// Sends `upstream` until there is a first event. Goes on when its client has left. Dropped, it is charged by
    /// `meter`.
    pub(super) async fn send(
        self: Arc<Self>,
        request: InferenceRequest,
        mut upstream: UpstreamRequest,
        mut meter: Meter,
    ) -> Sent {
        let mut attempts = self.bedrock.attempts(upstream.retry, Some(request.id()));
        let mut trials = BetaTrials::default();
        loop {
            meter.begin_attempt(&upstream);
            let error = match start(request.id(), &upstream, attempts.connection_reuse(), &mut meter).await {
                Ok((response, decoder, first_events)) => {
                    attempts.succeeded();
                    self.bedrock.record_outcome(&upstream.target, None);
                    self.remember_betas(&request, &upstream, &trials);
                    let head = response_head(upstream, &response);
                    meter.begin_response(head.forwarded.is_none());
                    let body = response.into_body();
                    return Ok((head, Box::new(Reading::new(body, decoder, first_events, meter))));
                }
                Err(error) => error,
            };
            meter.end_attempt(&error);
            let can_refresh = upstream.target.can_refresh();
            let (caller, bytes) = (Arc::clone(&request.caller), request.body.bytes().clone());
            // A 400 is compared with the whole body.
            let is_compared = upstream.rules_api.is_some() && error.may_name_unsupported_feature();
            let compared = if is_compared { bytes.len() } else { 0 };
            let next = || attempts.next(&error, can_refresh, upstream.rules_api, &bytes);
            let next = self.work_on_body(&caller.caller, compared, next).await;
            match next.unwrap_or(Next::GiveUp) {
                Next::Retry(delay) => meter.retry_after(delay).await,
                Next::RefreshCredentials => match upstream.target.refresh_credentials().await {
                    Ok(true) => {}
                    Ok(false) => {
                        self.bedrock.record_outcome(&upstream.target, Some(&error));
                        return Err(self.give_up(error, &request, meter));
                    }
                    Err(error) => return Err(self.give_up(error.into(), &request, meter)),
                },
                Next::Fallback(feature) => {
                    let reserved = meter.reserved();
                    let replan = || self.replan(&request, &upstream, &feature, &mut trials, reserved);
                    match self.work_on_body(&caller.caller, bytes.len(), replan).await {
                        Ok(Some(other)) => upstream = other,
                        Ok(None) | Err(_) => return Err(self.give_up(error, &request, meter)),
                    }
                }
                Next::GiveUp => {
                    self.bedrock.record_outcome(&upstream.target, Some(&error));
                    return Err(self.give_up(error, &request, meter));
                }
            }
        }
    }

    /// Leaves the betas out of later requests without which `upstream` was accepted.
    fn remember_betas(&self, request: &InferenceRequest, upstream: &UpstreamRequest, trials: &BetaTrials) {
        let Some(api) = upstream.rules_api else { return };
        for beta in trials.found(api) {
            self.remember_unsupported(request, api, &beta);
        }
    }

    /// Settles and returns the last error.
    fn give_up(&self, error: UpstreamError, request: &InferenceRequest, meter: Meter) -> InferenceError {
        let aws_request_id = error.request_id().map(str::to_owned);
        let is_from_aws = error.service().is_some();
        match &error {
            UpstreamError::Service(_) => {}
            UpstreamError::Credentials(cause) => log_credentials_error(request.id(), cause),
            error => tracing::error!(request_id = %request.id(), %error, "no response from Bedrock"),
        }
        let mut error = InferenceError::from(error);
        if let InferenceError::Upstream(service) = &mut error {
            self.word_for_client(&mut service.mapped, request);
            if is_from_aws {
                log_service_error(request.id(), aws_request_id.as_deref(), &service.mapped);
            }
        }
        meter.give_up(&error);
        error
    }

    /// Changes AWS's error to what the client of `request` has to read.
    fn word_for_client(&self, mapped: &mut MappedError, request: &InferenceRequest) {
        let ResolvedModel { requested_model, model_id, .. } = &request.model;
        // Else the operator or the table of models gave the name its meaning.
        if requested_model == model_id || !self.catalog.is_configured(requested_model) {
            let suggestion = self.catalog.suggestion_for(requested_model);
            mapped.blame_client(
                requested_model,
                suggestion.filter(|known| known != requested_model).as_deref(),
            );
        }
        if mapped.may_be_retired()
            && let Some(sentence) = self.catalog.retirement(&request.model, &self.clock)
        {
            mapped.error.message.push_str(&format!(" {sentence}"));
        }
        mapped.error = request.format.upstream_error(mapped.error.clone());
    }
}

/// Sends once and decodes until the first event; for the Bedrock API, until the head.
async fn start(
    id: &RequestId,
    upstream: &UpstreamRequest,
    reuse: ConnectionReuse,
    meter: &mut Meter,
) -> Result<(Response<Incoming>, Decoder, FirstEvents), UpstreamError> {
    let (hash, media_type) = (upstream.body_hash.as_ref(), upstream.media_type());
    // Pinned here: a future that is an argument of another one takes its place twice.
    let sending = pin!(upstream.target.send(&upstream.request, hash, media_type, reuse));
    let mut response = meter.wait(sending).await?;
    meter.set_aws_request_id(request_id(response.headers()));
    let mut decoder = decoder_for(upstream, response.headers());
    let mut first_events = FirstEvents::default();
    if upstream.upstream_api.is_none() {
        return Ok((response, decoder, first_events));
    }
    loop {
        let chunk = meter.wait(poll_fn(|context| poll_chunk(response.body_mut(), id, context))).await;
        let progress = match chunk {
            UpstreamChunk::Bytes(bytes) => meter.decode(&mut decoder, &bytes, &mut first_events),
            UpstreamChunk::End(end) => decoder.end_early(end, &mut first_events),
        };
        match progress {
            Progress::Started => return Ok((response, decoder, first_events)),
            Progress::Waiting => {}
            Progress::Ended if decoder.is_too_large() => return Err(UpstreamError::TooLarge),
            Progress::Ended => return Err(early_end(&decoder, meter.aws_request_id())),
        }
    }
}

/// The head for the client, from the request that was sent and the head of its response.
fn response_head(upstream: UpstreamRequest, response: &Response<Incoming>) -> ResponseHead {
    let is_forwarded = upstream.upstream_api.is_none();
    ResponseHead {
        upstream_api: upstream.upstream_api,
        notices: upstream.notices,
        limit: None,
        forwarded: is_forwarded
            .then(|| (response.status().as_u16(), forwarded_response_headers(response.headers()))),
    }
}

/// The error of a response that ended before its first event: an exception frame, or nothing at all.
fn early_end(decoder: &Decoder, request_id: Option<&str>) -> UpstreamError {
    match decoder.failure() {
        Some(mapped) => UpstreamError::Service(Box::new(ServiceError {
            mapped: mapped.clone(),
            status: None,
            request_id: request_id.map(str::to_owned),
            retry_after: None,
        })),
        None => UpstreamError::Incomplete,
    }
}

/// The decoder of the response to `upstream`, whose head has `headers`.
fn decoder_for(upstream: &UpstreamRequest, headers: &HeaderMap) -> Decoder {
    if upstream.upstream_api.is_none() {
        return Decoder::passthrough(usage_observer(upstream.operation, headers));
    }
    let context = upstream.context.clone();
    match upstream.operation {
        Operation::InvokeModelWithResponseStream => Decoder::invoke_stream(context),
        Operation::Messages | Operation::MantleMessages => Decoder::messages_stream(context),
        Operation::Converse => Decoder::converse_document(context),
        operation if operation.is_streamed() => Decoder::converse_stream(context),
        _ => Decoder::message_document(context),
    }
}

/// The observer of a response of the Bedrock API. InvokeModel states its usage in `headers`.
fn usage_observer(operation: Operation, headers: &HeaderMap) -> UsageObserver {
    match operation {
        Operation::Converse => UsageObserver::converse(),
        Operation::InvokeModel => UsageObserver::invoke_model(header_usage(headers)),
        Operation::InvokeModelWithResponseStream => UsageObserver::invoke_model_stream(),
        _ => UsageObserver::converse_stream(),
    }
}

/// The usage in the headers of InvokeModel.
fn header_usage(headers: &HeaderMap) -> Option<Usage> {
    let count = |name: &str| headers.get(name)?.to_str().ok()?.parse::<u64>().ok();
    let count_or_zero = |name: &str| count(name).unwrap_or(0);
    Some(Usage {
        input_tokens: count("x-amzn-bedrock-input-token-count")?,
        output_tokens: count_or_zero("x-amzn-bedrock-output-token-count"),
        cache_read_input_tokens: count_or_zero("x-amzn-bedrock-cache-read-input-token-count"),
        cache_creation_input_tokens: count_or_zero("x-amzn-bedrock-cache-write-input-token-count"),
        ..Usage::default()
    })
}
