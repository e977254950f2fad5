//! The values that hold one request on its way to Bedrock and back.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request};
use protocol::anthropic::event_sink::ClientFormat;
use protocol::apis::{ClientApi, UpstreamApi};
use protocol::translate::{Notice, StreamContext};

use crate::auth::Authenticated;
use crate::bedrock::{BodyHash, Operation, RetryPolicy, Target};
use crate::catalog::{Pricing, ResolvedModel};
use crate::ids::RequestId;
use crate::quota::{LimitStatus, Period, TokenEstimate};
use crate::telemetry::RecordHandle;

/// A request as `api` hands it over. Dropped with its body at the first event or the last failure.
#[derive(Debug)]
pub(crate) struct InferenceRequest {
    /// The authenticated caller, with the permit of the request.
    pub(crate) caller: Arc<Authenticated>,
    /// The record of the request.
    pub(crate) record: RecordHandle,
    /// The model, resolved.
    pub(crate) model: ResolvedModel,
    /// The API that the client called. A chat completion is a Messages request by now.
    pub(crate) client_api: ClientApi,
    /// The body, with what is sent beside it.
    pub(crate) body: ClientBody,
    /// Whether the client wants a stream.
    pub(crate) is_streamed: bool,
    /// What was changed before planning.
    pub(crate) notices: Vec<Notice>,
    /// The form of the response.
    pub(crate) format: Arc<dyn ClientFormat>,
}

impl InferenceRequest {
    /// Our id of the request.
    pub(super) fn id(&self) -> &RequestId {
        self.record.request_id()
    }
}

/// The body of a request, by what is done with it.
#[derive(Clone, Debug)]
pub(crate) enum ClientBody {
    /// A Messages request: translated, or edited in place.
    Messages {
        /// The body; it has been parsed once.
        body: Bytes,
        /// The values of `anthropic-beta`.
        betas: Vec<String>,
    },
    /// A request of the Bedrock API: forwarded.
    Bedrock {
        /// The operation that the client called.
        operation: Operation,
        /// The headers to forward.
        headers: HeaderMap,
        /// The body.
        body: Bytes,
    },
}

impl ClientBody {
    /// The bytes of the body.
    pub(crate) fn bytes(&self) -> &Bytes {
        match self {
            Self::Messages { body, .. } | Self::Bedrock { body, .. } => body,
        }
    }
}

/// A request as it is sent to Bedrock. Made by `plan` and never changed: a fallback makes another.
#[derive(Clone, Debug)]
pub(crate) struct UpstreamRequest {
    /// Where it is sent.
    pub(crate) target: Arc<Target>,
    /// The operation.
    pub(crate) operation: Operation,
    /// The upstream API, where the proxy chose it.
    pub(crate) upstream_api: Option<UpstreamApi>,
    /// The upstream API by whose rules the body was made; `None` for one that is forwarded as it came.
    pub(crate) rules_api: Option<UpstreamApi>,
    /// Why that one.
    pub(crate) reason: &'static str,
    /// The model id or ARN.
    pub(crate) model_id: String,
    /// The request, without its signature.
    pub(crate) request: Request<Bytes>,
    /// The hash of a large body, for its signature.
    pub(crate) body_hash: Option<BodyHash>,
    /// Which errors may be retried.
    pub(crate) retry: RetryPolicy,
    /// What it may cost, computed from what is sent.
    pub(crate) estimate: TokenEstimate,
    /// Price list of the id that is sent.
    pub(crate) pricing: Pricing,
    /// What decoding the response needs.
    pub(crate) context: StreamContext,
    /// What was changed in the request, for the client.
    pub(crate) notices: Vec<Notice>,
}

impl UpstreamRequest {
    /// The media type that a response must have. The Bedrock API forwards AWS's response unchanged.
    pub(crate) fn media_type(&self) -> Option<&'static str> {
        self.upstream_api.map(|_| self.operation.media_type())
    }

    /// Whether sending `other` would send the same.
    pub(crate) fn is_same_as(&self, other: &Self) -> bool {
        self.operation == other.operation
            && self.model_id == other.model_id
            && self.request.body() == other.request.body()
            && self.request.headers() == other.request.headers()
    }
}

/// What the head of the response needs.
#[derive(Clone, Debug)]
pub(crate) struct ResponseHead {
    /// The upstream API, for `x-bedrock-proxy-route`.
    pub(crate) upstream_api: Option<UpstreamApi>,
    /// What was changed in the request.
    pub(crate) notices: Vec<Notice>,
    /// The limit with the largest used part, when the request was admitted.
    pub(crate) limit: Option<(LimitStatus, Period)>,
    /// The status and headers of AWS, forwarded to clients of the Bedrock API.
    pub(crate) forwarded: Option<(u16, HeaderMap)>,
}

impl ResponseHead {
    /// Sets the head of the attempt that succeeded. The limit is that of the admission.
    pub(super) fn set(&mut self, started: Self) {
        *self = Self { limit: self.limit.take(), ..started };
    }
}
