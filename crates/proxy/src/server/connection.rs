//! One connection: TLS, HTTP/1.1 or HTTP/2, with timeouts for idle clients.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use futures_util::TryFutureExt;
use http::Version;
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use super::exchange::Exchange;
use super::shared_tcp::SharedTcpStream;
use super::stalled::StallDetector;
use super::write_timeout::WriteTimeout;
use crate::api::aliases::normalize_slashes;
use crate::app::App;
use crate::tasks::Tasks;

/// Limit for the next request of a connection. Longer than the 60 s after which AWS load balancers close an idle
/// connection, so that they never send a request into a closing one.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(75);
/// Concurrent streams of one HTTP/2 connection. RFC 9113 recommends at least 100; an agent with many sub-agents needs more.
const MAX_HTTP2_STREAMS: u32 = 200;
/// Time between two HTTP/2 PING frames: shorter than the 60 s idle timeout of AWS load balancers.
const HTTP2_PING_INTERVAL: Duration = Duration::from_secs(30);
/// Limit for the acknowledgement of a PING frame: the default of hyper and of gRPC.
const HTTP2_PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Read buffer of a connection: limits a request head, and the read-ahead of a body. Other servers limit heads to 8-64 KB.
const MAX_READ_BUFFER_BYTES: usize = 64 << 10;

/// The other end of a connection.
struct Client {
    socket: SharedTcpStream,
    peer: SocketAddr,
}

/// Serves `stream` from `peer` until it ends, or until the server shuts down and its open requests finish.
pub(super) async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
    router: Router,
    app: Arc<App>,
) {
    let deadline = Instant::now() + app.limits.header_timeout;
    let client = Client { socket: SharedTcpStream::new(stream), peer };
    let stream = WriteTimeout::new(client.socket.clone(), app.limits.write_timeout);
    let Some(tls) = tls else { return serve_http(stream, client, deadline, router, app).await };
    let handshake = tokio::select! {
        handshake = timeout_at(deadline, tls.accept(stream)) => handshake,
        // There is no request yet.
        () = app.tasks.shutdown_begun() => return,
    };
    match handshake {
        Ok(Ok(stream)) => serve_http(stream, client, deadline, router, app).await,
        Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
        Err(_) => tracing::debug!("TLS handshake timed out"),
    }
}

/// Serves HTTP on `stream`. The first request must arrive before `deadline`.
async fn serve_http<S>(stream: S, client: Client, deadline: Instant, router: Router, app: Arc<App>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let has_request = Arc::new(AtomicBool::new(false));
    let stalls = StallDetector::default();
    let exchange = Exchange::default();
    let service = service_fn(|request: hyper::Request<Incoming>| {
        has_request.store(true, Ordering::Relaxed);
        let stalls = (request.version() == Version::HTTP_2).then(|| stalls.clone());
        let exchange = exchange.clone();
        let mut request = request.map(Body::new);
        if stalls.is_none() {
            request = request.map(|body| exchange.begin(body));
        }
        request.extensions_mut().insert(ConnectInfo(client.peer));
        normalize_slashes(&mut request);
        let response = router.clone().oneshot(request);
        response.map_ok(move |response| match stalls {
            Some(stalls) => response.map(|body| stalls.track(body)),
            None => response.map(|body| exchange.respond(body)),
        })
    });
    let builder = builder(&app.tasks);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let mut deadline = pin!(tokio::time::sleep_until(deadline));
    let mut stalled = pin!(stalls.expired(app.limits.write_timeout));
    let mut left = pin!(client.socket.client_left(&exchange));
    let (mut is_waiting, mut is_draining) = (true, false);
    loop {
        tokio::select! {
            // The connection is polled first: it updates the state of the request that the other branches read.
            biased;
            result = connection.as_mut() => {
                if let Err(error) = result {
                    tracing::debug!(%error, "connection ended with an error");
                }
                return;
            }
            () = stalled.as_mut() => {
                tracing::debug!("connection closed; the client does not read its response");
                return;
            }
            () = left.as_mut() => {
                tracing::debug!("connection closed; the client has left");
                return;
            }
            () = deadline.as_mut(), if is_waiting => {
                if !has_request.load(Ordering::Relaxed) {
                    return;
                }
                is_waiting = false;
            }
            () = app.tasks.shutdown_begun(), if !is_draining => {
                connection.as_mut().graceful_shutdown();
                is_draining = true;
            }
        }
    }
}

/// Spawns the streams of an HTTP/2 connection, so that a drain waits for each: they outlive their connection.
#[derive(Clone, Debug)]
struct TaskExecutor(Tasks);

impl<F> Executor<F> for TaskExecutor
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        self.0.spawn(stream);
    }
}

fn builder(tasks: &Tasks) -> auto::Builder<TaskExecutor> {
    let mut builder = auto::Builder::new(TaskExecutor(tasks.clone()));
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(KEEP_ALIVE_TIMEOUT)
        .max_buf_size(MAX_READ_BUFFER_BYTES)
        .half_close(true)
        .keep_alive(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(HTTP2_PING_INTERVAL)
        .keep_alive_timeout(HTTP2_PING_TIMEOUT)
        .max_concurrent_streams(MAX_HTTP2_STREAMS);
    builder
}
