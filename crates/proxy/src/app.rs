//! What handlers share: built once from the configuration, read by every request.
//!
//! Not here: routes and listening (`server`), and what is done with a request (`api`, `inference`).

mod reload;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::{Mutex, Notify};

use crate::admin::Admin;
use crate::auth::{Authenticator, JwtKeys, RejectionList};
use crate::bedrock::{Bedrock, credential_monitor};
use crate::body_memory::BodyMemory;
use crate::catalog::{Catalog, ModelResolver, discovery};
use crate::clock::Clock;
use crate::config::{Config, ControlPlaneConfig, ServerConfig, SharedNewUsers, Source};
use crate::http_client::HttpClientError;
use crate::ids;
use crate::inference::Inference;
use crate::memory_limit;
use crate::quota::Quota;
use crate::readiness::Readiness;
use crate::store::{AuditEvent, Store, StoreError};
use crate::tasks::Tasks;
use crate::telemetry::TelemetrySinks;
use crate::telemetry::metrics::{Metrics, Snapshot};
use crate::telemetry::otel::{ExporterError, Otel};
use crate::usage::UsageRecorder;

/// Time limit for the last batch at shutdown. What is not stored then waits in the WAL.
const FINAL_FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// Why the server cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No client for Bedrock.
    #[error(transparent)]
    Client(#[from] HttpClientError),
    /// No exporter for OpenTelemetry.
    #[error(transparent)]
    Exporter(#[from] ExporterError),
    /// The database cannot be opened.
    #[error("cannot open the database: {0}; see DATA_DIR, DATABASE_URL and DB_*")]
    Store(#[from] StoreError),
    /// The WAL cannot be opened.
    #[error("cannot open the WAL in {path}: {error}; name a folder of this process alone with DATA_DIR")]
    Wal {
        /// The folder.
        path: PathBuf,
        /// The error of the system.
        error: io::Error,
    },
}

/// What handlers share.
#[derive(Debug)]
pub struct App {
    /// Actions of operators.
    pub(crate) admin: Admin,
    /// Authentication.
    pub authenticator: Authenticator,
    /// Model names and prices.
    pub(crate) catalog: Arc<Catalog>,
    /// Resolves model names.
    pub(crate) models: ModelResolver,
    /// AWS.
    pub bedrock: Arc<Bedrock>,
    /// Inference requests.
    pub(crate) inference: Arc<Inference>,
    /// Users, quotas, usage.
    pub store: Store,
    /// Metrics, OpenTelemetry and the access log.
    pub telemetry: Arc<TelemetrySinks>,
    /// Usage records and audit events on their way to the store.
    pub(crate) recorder: Arc<UsageRecorder>,
    /// Limits.
    pub quota: Arc<Quota>,
    /// Health checks.
    pub(crate) readiness: Readiness,
    /// Revoked tokens and users without access.
    pub(crate) rejections: Arc<RejectionList>,
    /// Requests to the control plane.
    pub(crate) control: ControlPlaneConfig,
    /// Sizes and time limits of the server.
    pub(crate) limits: ServerConfig,
    /// Memory for the bodies of requests.
    pub(crate) body_memory: BodyMemory,
    /// What new users get.
    new_users: SharedNewUsers,
    /// Where the configuration came from; locked during a reload. `None`: it cannot be reloaded.
    pub(crate) source: Mutex<Option<Source>>,
    /// Notified when the files of the certificate are to be read again.
    pub(crate) certificate_reload: Arc<Notify>,
    /// The wall clock.
    pub clock: Clock,
    /// Everything that runs for requests.
    pub tasks: Tasks,
    /// Everything that outlives the last request: the usage recorder and the maintenance of quotas.
    pub(crate) background: Tasks,
}

impl App {
    /// Builds everything but the listener.
    ///
    /// # Errors
    /// When there is no client for Bedrock, or no place for the database or the WAL.
    pub(crate) async fn open(config: &Config, clock: Clock) -> Result<Self, OpenError> {
        let (tasks, background) = (Tasks::default(), Tasks::default());
        let catalog = Arc::new(Catalog::new(&config.catalog));
        let bedrock = Arc::new(Bedrock::new(&config.bedrock, &clock, &background)?);
        let store = Store::open(&config.database, &background).await?;
        let metrics = Arc::new(Metrics::new(&catalog.foundation_models(), config.metrics.user_label));
        metrics.set_price_versions(&catalog.price_versions());
        let path = config.database.data_dir.join("journal");
        let recorder =
            UsageRecorder::open(&path, &config.usage, store.clone(), clock.clone(), Arc::clone(&metrics));
        let recorder = Arc::new(recorder.map_err(|error| OpenError::Wal { path, error })?);
        let quota = Quota::new(config.quota.clone(), store.clone(), Arc::clone(&recorder), clock.clone());
        let quota = Arc::new(quota);
        let control = config.bedrock.control.clone();
        let models = ModelResolver::new(Arc::clone(&catalog), Arc::clone(&bedrock), &background);
        let inference = Inference::new(
            models.clone(),
            Arc::clone(&catalog),
            Arc::clone(&bedrock),
            Arc::clone(&quota),
            Arc::clone(&metrics),
            &config.inference,
            &tasks,
            &clock,
        );
        let rejections = Arc::new(RejectionList::open(&config.database.data_dir, clock.clone()));
        let otel = Otel::open(&config.otel, config.bedrock.ca_bundle.as_deref(), &background)?;
        let aws_region = bedrock.region().to_owned();
        let telemetry = TelemetrySinks { metrics, otel, clock: clock.clone(), aws_region };
        Ok(Self {
            admin: Admin::new(config, store.clone(), Arc::clone(&rejections), clock.clone()),
            authenticator: Authenticator::new(
                JwtKeys::new(&config.auth),
                store.clone(),
                Arc::clone(&rejections),
                config.callers.clone(),
                clock.clone(),
            ),
            readiness: Readiness::new(Arc::clone(&bedrock), store.clone(), &config.quota, &config.callers),
            rejections,
            catalog,
            models,
            bedrock,
            inference: Arc::new(inference),
            store,
            telemetry: Arc::new(telemetry),
            recorder,
            quota,
            control,
            limits: config.server.clone(),
            body_memory: BodyMemory::new(memory_limit::bytes(), config.server.max_body_bytes),
            new_users: config.callers.new_users.clone(),
            source: Mutex::default(),
            certificate_reload: Arc::default(),
            clock,
            tasks,
            background,
        })
    }

    /// The metrics.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.telemetry.metrics
    }

    /// Updates the gauges.
    pub fn refresh_gauges(&self) {
        let backlog = self.recorder.backlog();
        self.metrics().refresh(&Snapshot {
            usage_queue_depth: backlog.depth,
            usage_dropped: backlog.lost,
            wal_bytes: backlog.bytes,
            oldest_usage_age: backlog.oldest,
            db_connections: self.store.connections(),
            db_up: self.store.is_connected(),
            credentials_expire_at: self.bedrock.credentials_expiry(),
            spans_dropped: self.telemetry.otel.lost_spans(),
        });
    }

    /// Starts what runs beside requests.
    pub(crate) fn start(self: &Arc<Self>) {
        if self.control.discover {
            self.tasks.spawn(discovery::run(
                Arc::clone(&self.catalog),
                Arc::clone(&self.bedrock),
                self.tasks.clone(),
            ));
        }
        self.recorder.start(&self.background);
        self.recorder.record_event(AuditEvent {
            id: ids::event_id(),
            kind: "config_loaded".to_owned(),
            user_id: None,
            team: None,
            actor: None,
            details: json!({
                "version": env!("CARGO_PKG_VERSION"),
                "authentication": self.authenticator.anonymous().is_none(),
                "database": self.store.kind(),
                "bedrock": self.bedrock.host(),
                "region": self.bedrock.region(),
            }),
            at: self.clock.milliseconds(),
        });
        let app = Arc::clone(self);
        self.background.spawn(async move { app.quota.run(&app.background).await });
        if self.authenticator.anonymous().is_none() {
            let app = Arc::clone(self);
            self.background.spawn(async move { app.rejections.run(&app.store, &app.background).await });
            let app = Arc::clone(self);
            self.background.spawn(async move {
                app.authenticator.token_use.run(&app.store, &app.background).await;
            });
        }
    }

    /// Checks the AWS credentials until requests end.
    pub fn monitor_credentials(&self) {
        let bedrock = Arc::clone(&self.bedrock);
        self.tasks.spawn(credential_monitor::run(bedrock, self.clock.clone(), self.tasks.clone()));
    }

    /// Ends what runs beside requests, once there are none: stores the last usage records, if that is fast.
    pub(crate) async fn shut_down(&self) {
        self.background.shutdown();
        self.telemetry.otel.shut_down().await;
        if tokio::time::timeout(FINAL_FLUSH_TIMEOUT, self.background.wait()).await.is_err() {
            tracing::warn!("last usage records are not stored; they wait in the WAL");
        }
        self.store.close().await;
    }
}
