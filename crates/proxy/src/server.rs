//! The server: which route leads where, what surrounds every request, and the life of the listener.

mod connection;
mod stalled;
mod tls;
mod write_timeout;

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, head, post};
use futures_util::FutureExt as _;
use futures_util::future::FusedFuture as _;
use http::StatusCode;
use protocol::anthropic::ErrorType;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;

pub use tls::{Tls, TlsError};

use crate::api::error::ApiError;
use crate::api::{
    access_log, admin, aliases, body, caller, caller::Door, chat, context, count_tokens, dialect, health,
    host, me, messages as endpoint, models,
};
use crate::app::{App, CannotOpen};
use crate::clock::Clock;
use crate::config::Config;

/// How long streams may take to pass on that they are cut off.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// A pause when the system is out of file descriptors.
const BREATH: Duration = Duration::from_millis(100);

/// Why the server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Something that requests need is not there.
    #[error(transparent)]
    Open(#[from] CannotOpen),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {error}{}", advice(error))]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// TLS cannot be offered.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "; something else uses this port: stop it, or choose another with PORT or --port"
        }
        io::ErrorKind::PermissionDenied => "; choose a port above 1023 with PORT or --port",
        _ => "",
    }
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Every connection came to its end.
    Clean,
    /// So many tasks were cut off.
    Cut(usize),
}

/// A server that listens. [`Server::run`] makes it answer.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    app: Arc<App>,
    tls: Option<Tls>,
}

/// Every route, behind its door, and what surrounds all of them: the first layer is the outermost.
pub fn service(app: Arc<App>) -> Router {
    let layers = ServiceBuilder::new()
        .layer(from_fn(context::layer))
        .layer(from_fn_with_state(Arc::clone(&app), access_log::layer))
        .layer(CatchPanicLayer::custom(context::panicked))
        .layer(from_fn(host::layer));
    let behind = |door: Door| {
        ServiceBuilder::new()
            .layer(from_fn_with_state((Arc::clone(&app), door), caller::layer))
            .layer(from_fn_with_state(Arc::clone(&app), body::limit))
    };
    let open = Router::new()
        .route("/health", get(health::health))
        .route("/livez", get(health::live))
        .route("/healthz", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/startupz", get(health::startup))
        .route("/api/hello", get(health::hello))
        .route("/", head(health::hello))
        .merge(aliases::open())
        .method_not_allowed_fallback(wrong_method);
    let inference = Router::new()
        .route("/v1/messages", post(endpoint::post))
        .route("/v1/messages/count_tokens", post(count_tokens::post))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{id}", get(models::get))
        .merge(aliases::router())
        .fallback(no_such_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(behind(Door::Inference));
    let chat = chat::router()
        .method_not_allowed_fallback(wrong_method)
        .layer(behind(Door::Inference))
        .layer(from_fn(chat::layer));
    let bedrock = dialect::router().method_not_allowed_fallback(wrong_method).layer(behind(Door::Bedrock));
    let operators = admin::router().method_not_allowed_fallback(wrong_method).layer(behind(Door::Admin));
    let anybody = Router::new()
        .route("/v1/me", get(me::get))
        .route("/metrics", get(health::metrics))
        .method_not_allowed_fallback(wrong_method)
        .layer(behind(Door::Anybody));
    let routes = open.merge(operators).merge(anybody).merge(inference).merge(chat).merge(bedrock);
    routes.layer(layers).with_state(app)
}

async fn no_such_path(uri: http::Uri) -> ApiError {
    ApiError::new(ErrorType::NotFound, format!("there is nothing at {}", uri.path()))
}

async fn wrong_method(method: http::Method, uri: http::Uri) -> Response {
    let message = format!("{} does not take {method}", uri.path());
    ApiError::new(ErrorType::InvalidRequest, message)
        .with_status(StatusCode::METHOD_NOT_ALLOWED)
        .into_response()
}

impl Server {
    /// Listens where the configuration says. Connections wait until [`Server::run`].
    ///
    /// # Errors
    /// When the address is taken or not ours, the certificate cannot be used, there is no way to Bedrock, or no place for
    /// what has to be kept.
    pub async fn bind(config: &Config, clock: Clock) -> Result<Self, StartError> {
        let tls = config.server.tls.as_ref().map(|tls| Tls::new(tls, clock.clone())).transpose()?;
        let app = Arc::new(App::open(config, clock).await?);
        let address = SocketAddr::new(config.server.host, config.server.port);
        let listening =
            TcpListener::bind(address).await.and_then(|listener| Ok((listener.local_addr()?, listener)));
        let (address, listener) = listening.map_err(|error| StartError::Listen { address, error })?;
        Ok(Self { listener, address, app, tls })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What its handlers share.
    #[must_use]
    pub fn app(&self) -> &Arc<App> {
        &self.app
    }

    /// The certificate that it shows, if any.
    #[must_use]
    pub fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    /// Serves until `stop`, goes on for the delay with readiness gone, then takes no more connections and lets the open
    /// ones finish, until the grace is over or `hurry` resolves. Streams that are cut off get an error event.
    pub async fn run(self, stop: impl Future<Output = ()>, hurry: impl Future<Output = ()>) -> Drained {
        let app = Arc::clone(&self.app);
        app.start();
        let mut hurry = pin!(hurry.fuse());
        let stop = async {
            stop.await;
            app.readiness.stop();
            tokio::select! {
                () = tokio::time::sleep(app.limits.shutdown_delay) => {}
                () = hurry.as_mut() => {}
            }
        };
        if let Some(tls) = self.tls.clone() {
            let upkeep = app.upkeep.clone();
            app.upkeep.spawn(async move {
                tokio::select! {
                    () = tls.watch() => {}
                    () = upkeep.stopping() => {}
                }
            });
        }
        tokio::select! {
            () = stop => {}
            () = self.accept() => {}
        }
        // Whoever hurried the delay does not want to wait for the rest either.
        let hurried = hurry.is_terminated();
        let drained = drain(&app, async {
            if !hurried {
                hurry.await;
            }
        })
        .await;
        app.finish().await;
        drained
    }

    /// Takes connections for ever, as many at a time as allowed.
    async fn accept(self) {
        let room = Arc::new(Semaphore::new(self.app.limits.max_connections));
        let service = service(Arc::clone(&self.app));
        let tls = self.tls.as_ref().map(Tls::acceptor);
        loop {
            let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
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
                // The peer gave up before we came to it.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    tracing::warn!(%error, "a connection cannot be accepted");
                    tokio::time::sleep(BREATH).await;
                }
            }
        }
    }
}

/// Lets open requests finish for a while, then cuts them off.
async fn drain(app: &App, hurry: impl Future<Output = ()>) -> Drained {
    let tasks = &app.tasks;
    tasks.stop();
    tracing::info!(connections = tasks.alive(), "no more requests are taken; open ones may finish");
    tokio::select! {
        () = tasks.ended() => return Drained::Clean,
        () = tokio::time::sleep(app.limits.shutdown_grace) => {}
        () = hurry => {}
    }
    let cut = tasks.alive();
    tasks.cut();
    let _ = tokio::time::timeout(LAST_WORDS, tasks.ended()).await;
    Drained::Cut(cut)
}
