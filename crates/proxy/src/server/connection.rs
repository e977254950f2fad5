//! One connection, from its first byte to its last: TLS if wanted, HTTP/1.1 or HTTP/2, with deadlines for the silent.

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
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use super::stalled::Stalls;
use super::write_timeout::Patient;
use crate::app::App;

/// How long a connection may wait for its next request; longer than the 60 s for which load balancers keep theirs.
const NEXT_REQUEST: Duration = Duration::from_secs(75);
const HTTP2_STREAMS: u32 = 200;
/// Bounds the head of a request and what is read ahead of its body, per connection.
const READ_BUFFER: usize = 64 << 10;

/// Serves `stream`, which comes from `peer`, until it ends, or until the server stops and what is in flight is done.
pub(super) async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
    router: Router,
    app: Arc<App>,
) {
    // Small writes must not wait for acknowledgements; a socket that refuses is served all the same.
    let _ = stream.set_nodelay(true);
    let deadline = Instant::now() + app.limits.header_timeout;
    let stream = Patient::new(stream, app.limits.write_timeout);
    let Some(tls) = tls else { return talk(stream, peer, deadline, router, app).await };
    let shaken = tokio::select! {
        shaken = timeout_at(deadline, tls.accept(stream)) => shaken,
        // Nothing was asked yet.
        () = app.tasks.stopping() => return,
    };
    match shaken {
        Ok(Ok(stream)) => talk(stream, peer, deadline, router, app).await,
        Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
        Err(_) => tracing::debug!("a TLS handshake took too long"),
    }
}

/// Takes requests off `stream`, the first of them before `deadline`.
async fn talk<S>(stream: S, peer: SocketAddr, deadline: Instant, router: Router, app: Arc<App>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let asked = Arc::new(AtomicBool::new(false));
    let stalls = Stalls::default();
    let service = service_fn(|request: hyper::Request<Incoming>| {
        asked.store(true, Ordering::Relaxed);
        let stalls = (request.version() == Version::HTTP_2).then(|| stalls.clone());
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        let answer = router.clone().oneshot(request);
        answer.map_ok(|answer| match stalls {
            Some(stalls) => answer.map(|body| stalls.watch(body)),
            None => answer,
        })
    });
    let builder = builder();
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let mut deadline = pin!(tokio::time::sleep_until(deadline));
    let mut stalled = pin!(stalls.outlast(app.limits.write_timeout));
    let (mut waiting, mut stopping) = (true, false);
    loop {
        tokio::select! {
            served = connection.as_mut() => {
                if let Err(error) = served {
                    tracing::debug!(%error, "a connection ended early");
                }
                return;
            }
            () = stalled.as_mut() => {
                tracing::debug!("a connection is given up: its client takes nothing of an answer");
                return;
            }
            () = deadline.as_mut(), if waiting => {
                if !asked.load(Ordering::Relaxed) {
                    return;
                }
                waiting = false;
            }
            () = app.tasks.stopping(), if !stopping => {
                connection.as_mut().graceful_shutdown();
                stopping = true;
            }
        }
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(NEXT_REQUEST)
        .max_buf_size(READ_BUFFER)
        .keep_alive(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20))
        .max_concurrent_streams(HTTP2_STREAMS);
    builder
}
