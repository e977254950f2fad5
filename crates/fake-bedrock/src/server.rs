//! Accept loop and the response to each request.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::Config;
use crate::error::unknown_operation;
use crate::fixtures;
use crate::handler::{Handler, HandlerBody, HandlerError};
use crate::log::Log;
use crate::scripted_body::ConnectionDropped;
use crate::signatures::mix;
use crate::state::State;
use crate::{mantle, routes, sse, sts};

/// Delay after a failed accept; without it, a lack of file descriptors becomes a busy loop.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(10);
/// Date format of HTTP.
const HTTP_DATE: &str = "%a, %d %b %Y %H:%M:%S GMT";

/// A listening fake. [`FakeBedrock::run`] serves.
#[derive(Debug)]
pub struct FakeBedrock {
    listener: TcpListener,
    addr: SocketAddr,
    state: Arc<State>,
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
        Ok(Self { listener, addr, state: Arc::new(State::new(config, fixtures)) })
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

    /// Whether the access key was deleted: while it is true, every signature is rejected. Remains valid while it runs.
    pub fn key_deleted(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.state.key_deleted)
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
        async move { handle(&state, request).await }
    });
    // Clients and scripts end connections on purpose, so the error is not reported.
    let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
}

async fn handle(
    state: &State,
    request: Request<Incoming>,
) -> Result<Response<HandlerBody>, ConnectionDropped> {
    let started = Instant::now();
    let (parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("", |path| path.as_str());
    let number = state.log.begin(parts.method.as_str(), path, &parts.headers);
    let seed = state.next_seed();
    let request_id = request_id(seed);
    let full_body = |response: Response<Bytes>| response.map(|body| Either::Left(Full::new(body)));
    let result = match routes::find_operation(&parts, state.config.mantle) {
        None if state.config.mantle => Ok(full_body(mantle::not_found(&request_id))),
        None => Ok(full_body(unknown_operation())),
        Some(operation) => {
            let handler = Handler { state, parts: &parts, number, seed, started };
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
    let date = state.now().strftime(HTTP_DATE).to_string();
    if let Ok(date) = HeaderValue::from_str(&date) {
        response.headers_mut().insert("date", date);
    }
    state.log.set_status(number, response.status().as_u16());
    if matches!(response.body(), Either::Left(_)) {
        state.log.set_complete(number);
    }
    Ok(response)
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
