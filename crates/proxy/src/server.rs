//! The server: bind, accept connections, drain.

mod connection;
mod exchange;
mod router;
mod shared_tcp;
mod stalled;
mod tls;
mod write_timeout;

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::FusedFuture as _;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

pub use tls::Tls;
pub(crate) use tls::TlsError;

use crate::app::{App, OpenError};
use crate::clock::Clock;
use crate::config::Config;
use crate::file_limit;

/// Limit for aborted streams to send their error event; a client on a slow network needs a round trip or two.
const ABORT_TIMEOUT: Duration = Duration::from_secs(1);
/// Pause after a failed accept, so that a process without file descriptors does not spin.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// Why the server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartupError {
    /// The application cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The address is not available.
    #[error("cannot listen on {address}: {error}{}", advice(error))]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The error of the system.
        error: io::Error,
    },
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "; another program uses this port: stop it, or choose another port with PORT or --port"
        }
        io::ErrorKind::PermissionDenied => "; choose a port above 1023 with PORT or --port",
        _ => "",
    }
}

/// The result of a drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// All connections finished.
    Clean,
    /// Number of tasks that were aborted.
    Aborted(usize),
}

/// A bound server. [`Server::run`] serves requests.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    app: Arc<App>,
    tls: Option<Tls>,
}

impl Server {
    /// Binds the configured address. Connections wait until [`Server::run`].
    ///
    /// # Errors
    /// When the address is not available, the certificate is invalid, or the application cannot be opened.
    pub async fn bind(config: &Config, clock: Clock) -> Result<Self, StartupError> {
        let tls = config.server.tls.as_ref().map(|tls| Tls::new(tls, clock.clone())).transpose()?;
        let app = Arc::new(App::open(config, clock).await?);
        let address = SocketAddr::new(config.server.host, config.server.port);
        let bound =
            TcpListener::bind(address).await.and_then(|listener| Ok((listener.local_addr()?, listener)));
        let (address, listener) = bound.map_err(|error| StartupError::Listen { address, error })?;
        Ok(Self { listener, address, app, tls })
    }

    /// The listen address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The state of the handlers.
    #[must_use]
    pub fn app(&self) -> &Arc<App> {
        &self.app
    }

    /// The TLS certificate, if any.
    #[must_use]
    pub fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    /// Serves until `shutdown`. Then readiness fails during the shutdown delay, new connections are refused, and open ones
    /// drain until the shutdown grace ends or `force_shutdown` resolves. Aborted streams get an error event.
    pub async fn run(
        self,
        shutdown: impl Future<Output = ()>,
        force_shutdown: impl Future<Output = ()>,
    ) -> Drained {
        let app = Arc::clone(&self.app);
        app.start();
        let mut force_shutdown = pin!(force_shutdown.fuse());
        let shutdown = async {
            shutdown.await;
            app.readiness.begin_shutdown();
            tokio::select! {
                () = tokio::time::sleep(app.limits.shutdown_delay) => {}
                () = force_shutdown.as_mut() => {}
            }
        };
        if let Some(tls) = self.tls.clone() {
            let (tasks, metrics) = (app.background.clone(), Arc::clone(&app.telemetry.metrics));
            let reload = Arc::clone(&app.certificate_reload);
            app.background.spawn(async move {
                tokio::select! {
                    () = tls.watch(metrics, reload) => {}
                    () = tasks.shutdown_begun() => {}
                }
            });
        }
        tokio::select! {
            () = shutdown => {}
            () = self.accept() => {}
        }
        // A second signal during the delay also ends the drain.
        let is_forced = force_shutdown.is_terminated();
        let drained = drain(&app, async {
            if !is_forced {
                force_shutdown.await;
            }
        })
        .await;
        app.shut_down().await;
        drained
    }

    /// Accepts connections forever, up to the maximum at a time.
    async fn accept(self) {
        let permits = Arc::new(Semaphore::new(max_connections(self.app.limits.max_connections)));
        let service = router::service(Arc::clone(&self.app));
        let tls = self.tls.as_ref().map(Tls::acceptor);
        loop {
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
                return;
            };
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    let app = Arc::clone(&self.app);
                    let connection = connection::serve(stream, peer, tls.clone(), service.clone(), app);
                    self.app.tasks.spawn(async move {
                        connection.await;
                        drop(permit);
                    });
                }
                // The client closed the connection before it was accepted.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    tracing::warn!(%error, "connection not accepted");
                    tokio::time::sleep(ACCEPT_BACKOFF).await;
                }
            }
        }
    }
}

/// The number of connections to accept: `wanted`, unless the limit of open files is too low for them.
fn max_connections(wanted: usize) -> usize {
    file_limit::raise();
    let allowed = file_limit::max_connections(wanted);
    if allowed < wanted {
        tracing::warn!(
            max_connections = allowed,
            wanted,
            needed_open_files = file_limit::files_for(wanted),
            "fewer connections are accepted: the limit of open files is too low"
        );
    }
    allowed
}

/// Waits for open requests during the shutdown grace, then aborts them.
async fn drain(app: &App, force_shutdown: impl Future<Output = ()>) -> Drained {
    let tasks = &app.tasks;
    tasks.shutdown();
    tracing::info!(connections = tasks.len(), "drain started; no new requests are accepted");
    tokio::select! {
        () = tasks.wait() => return Drained::Clean,
        () = tokio::time::sleep(app.limits.shutdown_grace) => {}
        () = force_shutdown => {}
    }
    let aborted = tasks.len();
    tasks.abort();
    let _ = tokio::time::timeout(ABORT_TIMEOUT, tasks.wait()).await;
    Drained::Aborted(aborted)
}
