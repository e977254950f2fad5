//! Connections of the client: a time limit for all of a connection's setup, and what each one has carried.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::{Extensions, Uri};
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tower::Service;

/// Limit for DNS, TCP and TLS together: TCP alone has 3 s, and a handshake takes two round trips.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Stream = TokioIo<MaybeHttpsStream<TokioIo<TcpStream>>>;

/// Connects over HTTP or HTTPS within [`CONNECT_TIMEOUT`].
#[derive(Clone, Debug)]
pub(crate) struct Connector(pub(super) HttpsConnector<HttpConnector>);

impl Service<Uri> for Connector {
    type Response = TokioIo<TrackedStream>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.0.call(uri);
        Box::pin(async move {
            let connected = tokio::time::timeout(CONNECT_TIMEOUT, connecting).await;
            let stream = connected.unwrap_or_else(|_| {
                let seconds = CONNECT_TIMEOUT.as_secs();
                let text = format!("no connection, or no TLS session on it, within {seconds} s");
                Err(io::Error::new(io::ErrorKind::TimedOut, text).into())
            })?;
            Ok(TokioIo::new(TrackedStream { stream: TokioIo::new(stream), exchange: Exchange::default() }))
        })
    }
}

/// A connection that tracks how far its current exchange has come.
#[derive(Debug)]
pub(crate) struct TrackedStream {
    stream: Stream,
    exchange: Exchange,
}

/// What a connection has carried. Clones share it.
#[derive(Clone, Debug, Default)]
struct Exchange(Arc<AtomicU8>);

impl Exchange {
    /// Nothing was received yet.
    const NEW: u8 = 0;
    /// The last bytes were received.
    const RECEIVED: u8 = 1;
    /// Bytes were received before, and the last bytes were sent.
    const SENT_AGAIN: u8 = 2;

    fn sent(&self) {
        let _ =
            self.0.compare_exchange(Self::RECEIVED, Self::SENT_AGAIN, Ordering::Relaxed, Ordering::Relaxed);
    }

    fn received(&self) {
        self.0.store(Self::RECEIVED, Ordering::Relaxed);
    }
}

/// Whether `error` ended a request that was sent on a connection which had served one before, and of whose response no
/// byte has arrived: the peer has most likely closed the idle connection while the request was on its way.
#[must_use]
pub(crate) fn is_closed_idle_connection(error: &legacy::Error) -> bool {
    let mut extensions = Extensions::new();
    let Some(connected) = error.connect_info() else { return false };
    connected.get_extras(&mut extensions);
    let exchange = extensions.get::<Exchange>();
    let state = exchange.map_or(Exchange::NEW, |exchange| exchange.0.load(Ordering::Relaxed));
    state == Exchange::SENT_AGAIN && is_close(error)
}

/// Whether the peer, or the network, has closed the connection.
fn is_close(error: &legacy::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof};
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<hyper::Error>()
            && (error.is_incomplete_message() || error.is_canceled() || error.is_closed())
        {
            return true;
        }
        if let Some(error) = error.downcast_ref::<io::Error>()
            && matches!(
                error.kind(),
                BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected | UnexpectedEof
            )
        {
            return true;
        }
        cause = error.source();
    }
    false
}

impl Connection for TrackedStream {
    fn connected(&self) -> Connected {
        self.stream.inner().connected().extra(self.exchange.clone())
    }
}

impl AsyncRead for TrackedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.exchange.received();
        }
        polled
    }
}

impl AsyncWrite for TrackedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.exchange.sent();
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.exchange.sent();
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
