//! A TCP stream that can be watched while a connection reads and writes it.
//!
//! hyper notices a client that has left only when it reads or writes. While a response is awaited it does neither, so the
//! connection watches the socket. A client that closes its side and is not known to have left (see [`super::exchange`]) is
//! noticed by a reset, which its machine sends for the first bytes of the response, and for keepalive probes once it has
//! forgotten the connection.

use std::future::poll_fn;
use std::io;
use std::net::Shutdown;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::exchange::Exchange;

/// Time behind a request in which a client closes its side of the connection and still waits for the response. It does so
/// by one system call behind the other; a client that gives up has waited longer.
const HALF_CLOSE_WINDOW: Duration = Duration::from_millis(2);
/// Time without traffic until the first keepalive probe, and between the next ones.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// Probes without a response until the connection is lost.
const KEEPALIVE_RETRIES: u32 = 4;

/// A TCP stream. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct SharedTcpStream(Arc<TcpStream>);

impl SharedTcpStream {
    /// Sets the options of a connection.
    pub(super) fn new(stream: TcpStream) -> Self {
        // Small writes must not wait for acknowledgements. An error of an option is no reason to close the connection.
        let _ = stream.set_nodelay(true);
        let keepalive = TcpKeepalive::new()
            .with_time(KEEPALIVE_INTERVAL)
            .with_interval(KEEPALIVE_INTERVAL)
            .with_retries(KEEPALIVE_RETRIES);
        let _ = SockRef::from(&stream).set_tcp_keepalive(&keepalive);
        Self(Arc::new(stream))
    }

    /// Resolves when the client has left: it reset the connection, or closed its side of it while it waited for the
    /// response of `exchange` or received it.
    pub(super) async fn client_left(&self, exchange: &Exchange) {
        let mut closed = pin!(self.closed_by_client());
        let mut window = pin!(tokio::time::sleep(HALF_CLOSE_WINDOW));
        let mut windowed = None;
        poll_fn(|context| {
            // Before the timer: what came meanwhile came in time, however late this is polled.
            if closed.as_mut().poll(context).is_ready() {
                return Poll::Ready(());
            }
            let Some(request) = exchange.just_received() else { return Poll::Pending };
            if windowed != Some(request) {
                windowed = Some(request);
                window.as_mut().reset(Instant::now() + HALF_CLOSE_WINDOW);
            }
            if window.as_mut().poll(context).is_ready() {
                exchange.wait(request);
            }
            Poll::Pending
        })
        .await;
        if !exchange.is_abandoned() {
            let _ = self.0.ready(Interest::ERROR).await;
        }
    }

    /// Resolves when the client has closed its side of the connection, or reset it.
    #[cfg(target_os = "linux")]
    async fn closed_by_client(&self) {
        // `READABLE` is set by unread bytes, too; `PRIORITY` only by urgent ones, which no client sends. Both are set by the
        // end of the bytes.
        let _ = self.0.ready(Interest::PRIORITY).await;
    }

    /// Never resolves: other systems do not report it apart from readable bytes. Writes notice the client that left.
    #[cfg(not(target_os = "linux"))]
    async fn closed_by_client(&self) {
        std::future::pending().await
    }
}

impl AsyncRead for SharedTcpStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.0.poll_read_ready(context))?;
            match self.0.try_read_buf(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return Poll::Ready(read.map(drop)),
            }
        }
    }
}

impl SharedTcpStream {
    fn poll_try_write(
        &self,
        context: &mut Context<'_>,
        write: impl Fn(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(context))?;
            match write(&self.0) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }
}

impl AsyncWrite for SharedTcpStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_try_write(context, |stream| stream.try_write(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_try_write(context, |stream| stream.try_write_vectored(slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shutdown = SockRef::from(&*self.0).shutdown(Shutdown::Write);
        Poll::Ready(match shutdown {
            // As tokio does: the connection is gone already.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
            other => other,
        })
    }
}
