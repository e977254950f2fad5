//! The path of an inference request: from the parsed body to the settled usage. It knows no HTTP handlers: `api` calls
//! `Inference::handle` and turns the result into HTTP. Bodies are either Messages requests, whatever the client API, or
//! bodies of the Bedrock API, which are forwarded.
//!
//! Reading order: `request` (the values that travel), `plan` (which upstream API, which body, what it may cost),
//! `metering` (reserves before sending, settles once), `send` (attempts until the first event), `stream` (the request in
//! flight), `streaming_body` and `json_body` (the two forms of a response), `detach` (work that outlives its client). Beside them `large_bodies` (bounds the work on large bodies), `count_tokens`, `output_limit` (the limit in a
//! body of the Bedrock API), `unsupported` (features that models were seen not to support), `debug` and `error`.

mod beta_trials;
mod count_tokens;
mod debug;
mod detach;
mod error;
#[cfg(test)]
mod growth;
mod json_body;
mod large_bodies;
mod metering;
mod output_limit;
mod plan;
mod request;
mod send;
mod stream;
mod streaming_body;
mod token_counts;
mod unsupported;

use std::sync::Arc;

use protocol::anthropic::Request;
use tokio::time::Instant;

pub(crate) use count_tokens::{CountTokensResponse, TokenCount};
pub(crate) use error::{InferenceError, error_class, message_with_code, resolve_error};
pub(crate) use request::{ClientBody, InferenceRequest, ResponseHead};

pub(crate) use metering::quota_subject;

use crate::auth::Caller;
use crate::bedrock::Bedrock;
use crate::catalog::{Catalog, ModelResolver, NamedBy, ResolvedModel};
use crate::clock::Clock;
use crate::config::InferenceConfig;
use crate::quota::Quota;
use crate::tasks::Tasks;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::record::OverheadPhase;
use detach::DetachedReads;
use large_bodies::LargeBodies;
use stream::UpstreamStream;
use streaming_body::StreamingBody;
use token_counts::TokenCountCache;
use unsupported::UnsupportedFeatures;

/// What serves inference requests. Built once, shared by all.
#[derive(Debug)]
pub(crate) struct Inference {
    models: ModelResolver,
    catalog: Arc<Catalog>,
    bedrock: Arc<Bedrock>,
    quota: Arc<Quota>,
    metrics: Arc<Metrics>,
    config: InferenceConfig,
    unsupported: UnsupportedFeatures,
    token_counts: TokenCountCache,
    detached: DetachedReads,
    large_bodies: LargeBodies,
    tasks: Tasks,
    clock: Clock,
}

/// The body of a response.
#[derive(Debug)]
pub(crate) enum ResponseBody {
    /// One JSON document.
    Json(Vec<u8>),
    /// A body that is read from Bedrock as the client takes it.
    Streaming(StreamingBody),
}

fn named_by(caller: &Caller) -> NamedBy<'_> {
    NamedBy {
        user_id: (!caller.is_anonymous()).then_some(&caller.user_id),
        profile: caller.default_inference_profile.as_deref(),
    }
}

impl Inference {
    /// Serves requests by `config`.
    #[must_use]
    #[expect(clippy::too_many_arguments, reason = "one caller, which builds all of them")]
    pub(crate) fn new(
        models: ModelResolver,
        catalog: Arc<Catalog>,
        bedrock: Arc<Bedrock>,
        quota: Arc<Quota>,
        metrics: Arc<Metrics>,
        config: &InferenceConfig,
        tasks: &Tasks,
        clock: &Clock,
    ) -> Self {
        Self {
            models,
            catalog,
            bedrock,
            quota,
            metrics,
            config: config.clone(),
            unsupported: UnsupportedFeatures::new(clock.clone()),
            token_counts: TokenCountCache::default(),
            detached: DetachedReads::new(config, tasks),
            large_bodies: LargeBodies::default(),
            tasks: tasks.clone(),
            clock: clock.clone(),
        }
    }

    /// The settings of inference requests.
    pub(crate) fn config(&self) -> &InferenceConfig {
        &self.config
    }

    /// The model that `caller` means by `requested`.
    ///
    /// # Errors
    /// When no such model is known.
    pub(crate) async fn resolve(
        &self,
        requested: Option<&str>,
        caller: &Caller,
    ) -> Result<ResolvedModel, InferenceError> {
        let model = self.models.resolve_for(requested, named_by(caller)).await?;
        self.catalog.warn_if_retired(&model, &self.clock);
        Ok(model)
    }

    /// The model whose tokens `caller` counts, which costs nothing.
    ///
    /// # Errors
    /// When no such model is known.
    pub(crate) async fn resolve_counted(
        &self,
        requested: Option<&str>,
        caller: &Caller,
    ) -> Result<ResolvedModel, InferenceError> {
        Ok(self.models.resolve_free(requested, named_by(caller)).await?)
    }

    /// Serves one request: plans it, reserves what it may cost, sends it, and returns the response once its first
    /// event is there. `parsed` is the Messages request in its body; `None` for the Bedrock API, whose body is forwarded.
    ///
    /// # Errors
    /// 400 for what cannot be translated, 429 when a limit is reached, and what Bedrock responds with.
    pub(crate) async fn handle(
        self: &Arc<Self>,
        request: InferenceRequest,
        parsed: Option<Request<'_>>,
    ) -> Result<(ResponseHead, ResponseBody), InferenceError> {
        let record = request.record.clone();
        let begun = Instant::now();
        let bytes = request.body.bytes().len();
        let upstream =
            self.work_on_body(&request.caller.caller, bytes, || self.plan(&request, parsed)).await??;
        record.add_phase(OverheadPhase::Translate, begun.elapsed());
        let begun = Instant::now();
        let meter = self.admit(&request, &upstream).await;
        record.add_phase(OverheadPhase::Quota, begun.elapsed());
        let meter = meter?;
        let mut head = ResponseHead {
            upstream_api: upstream.upstream_api,
            notices: upstream.notices.clone(),
            limit: meter.most_used_limit(),
            forwarded: None,
        };
        let (format, is_streamed) = (Arc::clone(&request.format), request.is_streamed);
        let permit = Arc::clone(&request.caller);
        let deadline = self.deadline(&upstream);
        let stream = UpstreamStream::new(&self.detached, Arc::clone(self).send(request, upstream, meter));
        let aborted = self.tasks.aborted();
        tokio::select! {
            body = async {
                if is_streamed {
                    let body = self.streaming_body(stream, &mut head, format, deadline, record, permit).await;
                    body.map(ResponseBody::Streaming)
                } else {
                    self.json_body(stream, &mut head, format).await.map(ResponseBody::Json)
                }
            } => Ok((head, body?)),
            () = aborted => Err(InferenceError::ShuttingDown),
        }
    }
}
