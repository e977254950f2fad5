//! The accept loop, the routes, and the way of a request from its headers to its answer.

use std::collections::{HashSet, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Either, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::Config;
use crate::auth::{self, Caller};
use crate::converse::{self, Terms};
use crate::error::{AwsError, unknown_operation};
use crate::fixtures::{self, Fixture};
use crate::invoke::{self, Translator};
use crate::issued::mix;
use crate::log::Log;
use crate::models::{self, Model};
use crate::prompts::{self, Means, Plan};
use crate::script::{self, Step};
use crate::stream::{Dialect, Dropped, Playing};
use crate::tokens::{Cache, Prompted};
use crate::validate;

/// The largest body AWS models, in bytes.
const MAX_BODY: usize = 25_000_000;
/// Pause after a failed accept, so that a lack of file descriptors does not become a busy loop.
const AFTER_ACCEPT_ERROR: Duration = Duration::from_millis(10);
/// How many bodies are remembered that were refused once.
const REFUSED: usize = 4_096;

type Answer = Either<Full<Bytes>, Playing>;

/// A fake that listens. [`FakeBedrock::run`] makes it answer.
#[derive(Debug)]
pub struct FakeBedrock {
    listener: TcpListener,
    addr: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    config: Config,
    fixtures: Vec<Fixture>,
    log: Arc<Log>,
    cache: Cache,
    requests: AtomicU64,
    seed: u64,
    refused: Mutex<Refused>,
}

/// The bodies that `[throttle-once]` has already refused.
#[derive(Debug, Default)]
struct Refused {
    known: HashSet<[u8; 32]>,
    order: VecDeque<[u8; 32]>,
}

impl Refused {
    fn first_time(&mut self, body: [u8; 32]) -> bool {
        if !self.known.insert(body) {
            return false;
        }
        self.order.push_back(body);
        if self.order.len() > REFUSED
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }
}

impl FakeBedrock {
    /// Starts to listen; connections wait until [`FakeBedrock::run`]. Port 0 takes any free port.
    ///
    /// # Errors
    /// The address cannot be bound, or a fixture cannot be read.
    pub async fn bind(config: Config, addr: SocketAddr) -> std::io::Result<Self> {
        let fixtures = match &config.fixtures {
            Some(directory) => fixtures::load(directory)?,
            None => Vec::new(),
        };
        let listener = TcpListener::bind(addr).await?;
        let addr = listener.local_addr()?;
        let state = State {
            config,
            fixtures,
            log: Arc::default(),
            cache: Cache::default(),
            requests: AtomicU64::new(0),
            seed: Timestamp::now().as_nanosecond() as u64,
            refused: Mutex::default(),
        };
        Ok(Self { listener, addr, state: Arc::new(state) })
    }

    /// The address it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The address as an endpoint URL, such as `http://127.0.0.1:9090`.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// What has been asked and answered; stays valid after [`FakeBedrock::run`] has ended.
    pub fn log(&self) -> Arc<Log> {
        Arc::clone(&self.state.log)
    }

    /// Serves for ever. Dropping the future closes every connection.
    pub async fn run(self) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept() => {
                    // An error here concerns a connection that is already gone, or is out of file descriptors: in both
                    // cases the listener itself goes on.
                    let Ok((stream, _)) = accepted else {
                        sleep(AFTER_ACCEPT_ERROR).await;
                        continue;
                    };
                    connections.spawn(serve(Arc::clone(&self.state), stream));
                }
                Some(_) = connections.join_next() => {}
            }
        }
    }
}

async fn serve(state: Arc<State>, stream: TcpStream) {
    // Without it small frames wait for acknowledgements; a socket that refuses is about to fail anyway.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let state = Arc::clone(&state);
        async move { state.handle(request).await }
    });
    // Whatever ends a connection, dropped scripts included, is no news.
    let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
}

/// The operations of the runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Converse,
    ConverseStream,
    Invoke,
    InvokeStream,
    CountTokens,
}

/// Reads `/model/{modelId}/{operation}`; the id comes back decoded.
fn route(parts: &Parts) -> Option<(String, Operation)> {
    let mut segments = parts.uri.path().strip_prefix("/model/")?.split('/');
    let (id, operation) = (segments.next()?, segments.next()?);
    if parts.method != Method::POST || segments.next().is_some() || id.is_empty() {
        return None;
    }
    let operation = match operation {
        "converse" => Operation::Converse,
        "converse-stream" => Operation::ConverseStream,
        "invoke" => Operation::Invoke,
        "invoke-with-response-stream" => Operation::InvokeStream,
        "count-tokens" => Operation::CountTokens,
        _ => return None,
    };
    Some((decode(id), operation))
}

fn decode(segment: &str) -> String {
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

/// How a request ends when it does not end well.
enum Failure {
    Aws(AwsError),
    Dropped,
}

impl From<AwsError> for Failure {
    fn from(error: AwsError) -> Self {
        Self::Aws(error)
    }
}

impl State {
    async fn handle(&self, request: Request<Incoming>) -> Result<Response<Answer>, Dropped> {
        let started = Instant::now();
        let (parts, body) = request.into_parts();
        let path = parts.uri.path_and_query().map_or("", |path| path.as_str());
        let number = self.log.asked(parts.method.as_str(), path, &parts.headers);
        let count = self.requests.fetch_add(1, Ordering::Relaxed);
        let seed = mix(self.seed.wrapping_add(count));
        let answered = match route(&parts) {
            None => Ok(unknown_operation().map(|body| Either::Left(Full::new(body)))),
            Some((id, operation)) => {
                let job = Job { state: self, parts: &parts, id, operation, number, seed, started };
                job.answer(body).await
            }
        };
        let mut response = match answered {
            Ok(response) => response,
            Err(Failure::Aws(error)) => error.response().map(|body| Either::Left(Full::new(body))),
            Err(Failure::Dropped) => return Err(Dropped),
        };
        if let Ok(id) = HeaderValue::from_str(&request_id(seed)) {
            response.headers_mut().insert("x-amzn-requestid", id);
        }
        self.log.status(number, response.status().as_u16());
        if matches!(response.body(), Either::Left(_)) {
            self.log.complete(number);
        }
        Ok(response)
    }
}

/// One request on its way.
struct Job<'a> {
    state: &'a State,
    parts: &'a Parts,
    id: String,
    operation: Operation,
    number: u64,
    seed: u64,
    started: Instant,
}

impl Job<'_> {
    async fn answer(&self, body: Incoming) -> Result<Response<Answer>, Failure> {
        let config = &self.state.config;
        let caller = auth::identify(config, self.parts, Timestamp::now())?;
        let body = read(body).await?;
        if config.record_bodies {
            self.state.log.body(self.number, &body);
        }
        if let Caller::Signed(signed) = caller {
            signed.verify(config, self.parts, &body)?;
        }
        let mut value: Value = serde_json::from_slice(&body).map_err(|error| malformed(&error))?;
        let (model, form) = models::find(&self.id, &config.region)?;
        if self.operation == Operation::CountTokens {
            if let Some(request) = value.get_mut("input").and_then(|input| input.get_mut("converse")) {
                validate::drop_nulls(request);
            }
            let tokens = validate::count_tokens(&value, model, form)?;
            return Ok(json_answer(&json!({"inputTokens": tokens})));
        }
        models::check_on_demand(model, form, &self.id)?;
        match self.operation {
            Operation::Converse | Operation::ConverseStream => {
                validate::drop_nulls(&mut value);
                validate::converse(&value, model, self.operation == Operation::ConverseStream)?;
                let prompted = converse::prompted(&value, model);
                validate::context(prompted.tokens(), &value, model)?;
                let prompt = converse::prompt(&value, model);
                let max = converse::max_tokens(&value, model);
                let (steps, metered) = self.play(model, &prompted, &prompt, max, &body)?;
                let terms = Terms::read(&value, metered);
                if self.operation == Operation::ConverseStream {
                    return Ok(self.stream(steps, Dialect::Converse, terms));
                }
                let steps = self.whole(steps).await?;
                let usage = terms.metered.usage;
                self.state.log.used(self.number, usage);
                Ok(json_answer(&converse::fold(steps, &terms, self.latency())))
            }
            _ => self.invoke(model, &value, &body).await.map_err(|failure| match failure {
                Failure::Aws(error) => Failure::Aws(error.without_model_prefix()),
                Failure::Dropped => Failure::Dropped,
            }),
        }
    }

    async fn invoke(
        &self,
        model: &'static Model,
        value: &Value,
        body: &Bytes,
    ) -> Result<Response<Answer>, Failure> {
        validate::invoke(value, model)?;
        let prompted = invoke::prompted(value, model);
        validate::context(prompted.tokens(), value, model)?;
        let prompt = invoke::prompt(value);
        let max = value["max_tokens"].as_u64().unwrap_or(model.max_output);
        let (steps, metered) = self.play(model, &prompted, &prompt, max, body)?;
        let terms = invoke::terms(metered);
        let translator = Translator::new(model, self.seed);
        if self.operation == Operation::InvokeStream {
            let mut response = self.stream(steps, Dialect::Invoke(translator), terms);
            let json = HeaderValue::from_static("application/json");
            response.headers_mut().insert("x-amzn-bedrock-content-type", json);
            return Ok(response);
        }
        let steps = self.whole(steps).await?;
        let usage = terms.metered.usage;
        self.state.log.used(self.number, usage);
        let mut response = json_answer(&translator.fold(steps, &terms));
        for (name, count) in [
            ("x-amzn-bedrock-input-token-count", usage.input_tokens),
            ("x-amzn-bedrock-output-token-count", usage.output_tokens),
            ("x-amzn-bedrock-cache-read-input-token-count", usage.cache_read_tokens),
            ("x-amzn-bedrock-cache-write-input-token-count", usage.cache_write_tokens),
            ("x-amzn-bedrock-invocation-latency", self.latency()),
        ] {
            response.headers_mut().insert(name, count.into());
        }
        Ok(response)
    }

    /// Chooses the script and meters it.
    fn play(
        &self,
        model: &Model,
        prompted: &Prompted,
        prompt: &prompts::Prompt,
        max: u64,
        body: &Bytes,
    ) -> Result<(Vec<Step>, crate::tokens::Metered), Failure> {
        let fixture = prompt.texts.iter().rev().find_map(|text| fixtures::find(&self.state.fixtures, text));
        let steps = match fixture {
            Some(steps) => steps.to_vec(),
            None => {
                let means = Means { seed: self.seed, pace: self.state.config.pace };
                let steps = match prompts::plan(prompt, means) {
                    Plan::Play(steps) => steps,
                    Plan::Refuse(error) => return Err(error.into()),
                    Plan::RefuseOnce(error, steps) => {
                        let hash = Sha256::digest(body).into();
                        let mut refused = self.state.refused.lock().unwrap_or_else(PoisonError::into_inner);
                        if refused.first_time(hash) {
                            return Err(error.into());
                        }
                        steps
                    }
                    Plan::Drop => return Err(Failure::Dropped),
                };
                script::limit(steps, max)
            }
        };
        let mut metered = self.state.cache.meter(model, prompted, self.started);
        metered.usage.output_tokens = script::output_tokens(&steps);
        // A fixture says itself what it cost.
        let metered = fixtures::usage(&steps).unwrap_or(metered);
        Ok((steps, metered))
    }

    fn stream(&self, steps: Vec<Step>, dialect: Dialect, terms: Terms) -> Response<Answer> {
        let log = Arc::clone(&self.state.log);
        let playing = Playing::new(steps, dialect, terms, self.started, log, self.number);
        let mut response = Response::new(Either::Right(playing));
        let kind = HeaderValue::from_static("application/vnd.amazon.eventstream");
        response.headers_mut().insert("content-type", kind);
        response
    }

    /// Waits through the silences of a script that is answered in one piece, and fails where it fails.
    async fn whole(&self, steps: Vec<Step>) -> Result<Vec<Step>, Failure> {
        let mut kept = Vec::with_capacity(steps.len());
        for step in steps {
            match step {
                Step::Sleep(time) => sleep(time).await,
                Step::Exception(mut error) => {
                    // Only streams have the stream's own exception.
                    if error.kind == "ModelStreamErrorException" {
                        error.kind = "ModelErrorException".into();
                    }
                    return Err(error.into());
                }
                Step::Error(..) => return Err(AwsError::named("InternalServerException", None).into()),
                Step::Cut => return Err(Failure::Dropped),
                other => kept.push(other),
            }
        }
        Ok(kept)
    }

    fn latency(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

async fn read(body: Incoming) -> Result<Bytes, Failure> {
    match Limited::new(body, MAX_BODY).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            let status = StatusCode::PAYLOAD_TOO_LARGE;
            Err(AwsError::new(status, "RequestEntityTooLargeException", "Request size limit exceeded").into())
        }
        Err(_) => Err(Failure::Dropped),
    }
}

fn malformed(error: &serde_json::Error) -> AwsError {
    AwsError::validation(format!(
        "1 validation error detected: Value at '/' failed to satisfy constraint: Member must be valid JSON: {error}"
    ))
}

fn json_answer(value: &Value) -> Response<Answer> {
    let mut response = Response::new(Either::Left(Full::new(Bytes::from(value.to_string()))));
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
    response
}

/// Shaped like a version 4 UUID.
fn request_id(seed: u64) -> String {
    let (high, low) = (mix(seed), mix(seed ^ 1));
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xfff,
        (low >> 48) & 0x3fff | 0x8000,
        low & 0xffff_ffff_ffff
    )
}
