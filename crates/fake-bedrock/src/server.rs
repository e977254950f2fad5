//! Accept loop and shared state.

use std::collections::{HashSet, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::Config;
use crate::error::unknown_operation;
use crate::fixtures::{self, Fixture};
use crate::handler::{Handler, HandlerError, ResponseBody};
use crate::log::Log;
use crate::scripted_body::ConnectionDropped;
use crate::signatures::mix;
use crate::sse;
use crate::tokens::PromptCache;
use crate::{mantle, routes, sts};

/// Delay after a failed accept; without it, a lack of file descriptors becomes a busy loop.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(10);
/// Date format of HTTP.
const HTTP_DATE: &str = "%a, %d %b %Y %H:%M:%S GMT";
/// Maximum number of bodies that `[throttle-once]` remembers.
const MAX_THROTTLED_BODIES: usize = 4_096;

/// A listening fake. [`FakeBedrock::run`] serves.
#[derive(Debug)]
pub struct FakeBedrock {
    listener: TcpListener,
    addr: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) config: Config,
    pub(crate) fixtures: Vec<Fixture>,
    pub(crate) log: Arc<Log>,
    pub(crate) cache: PromptCache,
    requests: AtomicU64,
    seed: u64,
    throttled: Mutex<ThrottledBodies>,
}

/// Bodies that `[throttle-once]` has throttled.
#[derive(Debug, Default)]
struct ThrottledBodies {
    bodies: HashSet<[u8; 32]>,
    order: VecDeque<[u8; 32]>,
}

impl ThrottledBodies {
    fn insert(&mut self, body: [u8; 32]) -> bool {
        if !self.bodies.insert(body) {
            return false;
        }
        self.order.push_back(body);
        if self.order.len() > MAX_THROTTLED_BODIES
            && let Some(oldest) = self.order.pop_front()
        {
            self.bodies.remove(&oldest);
        }
        true
    }
}

impl FakeBedrock {
    /// Binds the address; connections wait until [`FakeBedrock::run`]. Port 0 takes a free port.
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
            cache: PromptCache::default(),
            requests: AtomicU64::new(0),
            seed: Timestamp::now().as_nanosecond() as u64,
            throttled: Mutex::default(),
        };
        Ok(Self { listener, addr, state: Arc::new(state) })
    }

    /// Address of the listener.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Endpoint URL, such as `http://127.0.0.1:9090`.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Log of requests; remains valid after [`FakeBedrock::run`] has ended.
    pub fn log(&self) -> Arc<Log> {
        Arc::clone(&self.state.log)
    }

    /// Serves until the future is dropped, which closes every connection.
    pub async fn run(self) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept() => {
                    // The connection is already gone, or file descriptors have run out; the listener itself stays usable.
                    let Ok((stream, _)) = accepted else {
                        sleep(ACCEPT_BACKOFF).await;
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
    // Otherwise small frames wait for acknowledgements. A socket that rejects the option fails soon anyway.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let state = Arc::clone(&state);
        async move { state.handle(request).await }
    });
    // Clients and scripts end connections on purpose, so the error is not reported.
    let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
}

impl State {
    async fn handle(&self, request: Request<Incoming>) -> Result<Response<ResponseBody>, ConnectionDropped> {
        let started = Instant::now();
        let (parts, body) = request.into_parts();
        let path = parts.uri.path_and_query().map_or("", |path| path.as_str());
        let number = self.log.begin(parts.method.as_str(), path, &parts.headers);
        let count = self.requests.fetch_add(1, Ordering::Relaxed);
        let seed = mix(self.seed.wrapping_add(count));
        let request_id = request_id(seed);
        let full_body = |response: Response<Bytes>| response.map(|body| Either::Left(Full::new(body)));
        let result = match routes::find_operation(&parts, self.config.mantle) {
            None if self.config.mantle => Ok(full_body(mantle::not_found(&request_id))),
            None => Ok(full_body(unknown_operation())),
            Some(operation) => {
                let handler = Handler { state: self, parts: &parts, number, seed, started };
                handler.handle(operation, body).await
            }
        };
        let mut response = match result {
            Ok(response) => response,
            Err(HandlerError::Aws(error)) => full_body(error.response()),
            Err(HandlerError::Model(error)) => full_body(sse::error_response(&error, &request_id)),
            Err(HandlerError::Sts(error)) => full_body(sts::error_response(&error, &request_id)),
            Err(HandlerError::ConnectionDropped) => return Err(ConnectionDropped),
        };
        if let Ok(id) = HeaderValue::from_str(&request_id) {
            response.headers_mut().insert("x-amzn-requestid", id);
        }
        let date = self.now().strftime(HTTP_DATE).to_string();
        if let Ok(date) = HeaderValue::from_str(&date) {
            response.headers_mut().insert("date", date);
        }
        self.log.set_status(number, response.status().as_u16());
        if matches!(response.body(), Either::Left(_)) {
            self.log.set_complete(number);
        }
        Ok(response)
    }

    /// Current time plus the configured clock skew.
    pub(crate) fn now(&self) -> Timestamp {
        let skew = SignedDuration::from_secs(self.config.clock_skew);
        Timestamp::now().saturating_add(skew).unwrap_or(Timestamp::MAX)
    }

    /// Whether `[throttle-once]` throttles this body: only the first time.
    pub(crate) fn is_first_attempt(&self, body: &[u8]) -> bool {
        let mut throttled = self.throttled.lock().unwrap_or_else(PoisonError::into_inner);
        throttled.insert(Sha256::digest(body).into())
    }
}

/// Request id in the form of a version 4 UUID.
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
