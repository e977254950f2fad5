//! What handlers share: built once from the configuration, read by every request.
//!
//! Not here: routes and listening (`server`), and what a request does with all this (`http`).

mod counts;
mod discovery;
mod identity;
mod readiness;
mod resolution;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

pub use crate::inference::detach::{Abandonable, Drains};
pub use counts::Counts;
pub use readiness::{Check, Readiness};

use crate::admin::Admin;
use crate::auth::Authenticator;
use crate::auth::JwtKeys;
use crate::bedrock::Bedrock;
use crate::catalog::Catalog;
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::http_client::HttpClientError;
use crate::ids;
use crate::inference::unsupported::Learned;
use crate::quota::Quota;
use crate::store::{Event, Store, StoreError};
use crate::tasks::Tasks;
use crate::telemetry::metrics::{Metrics, Snapshot};
use crate::telemetry::otel::{ExporterError, Otel};
use crate::usage::UsageRecorder;

/// How long the last batch may take when the server ends. What is not stored then waits in the journal.
const LAST_BATCH: Duration = Duration::from_secs(5);

/// Why handlers cannot be given what they need.
#[derive(Debug, thiserror::Error)]
pub enum CannotOpen {
    /// There is no way to Bedrock.
    #[error(transparent)]
    Transport(#[from] HttpClientError),
    /// There is no way to a collector.
    #[error(transparent)]
    Collector(#[from] ExporterError),
    /// The database cannot be opened.
    #[error("cannot open the database: {0}; see DATA_DIR, DATABASE_URL and DB_*")]
    Store(#[from] StoreError),
    /// There is no place for the journal.
    #[error("cannot keep the journal in {path}: {error}; name a folder of this process's own with DATA_DIR")]
    Journal {
        /// Where.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

/// What handlers share.
#[derive(Debug)]
pub struct App {
    /// What an operator can do.
    pub admin: Admin,
    /// Who may pass.
    pub authenticator: Authenticator,
    /// Names to models.
    pub catalog: Catalog,
    /// The way to AWS.
    pub bedrock: Bedrock,
    /// What models were seen to refuse.
    pub learned: Learned,
    /// What is asked of the control plane.
    pub control: config::Control,
    /// Prompts that were counted a moment ago.
    pub counts: Counts,
    /// Where abandoned answers are read to their end.
    pub drains: Drains,
    /// Users, quotas, usage.
    pub store: Store,
    /// What collectors are told.
    pub otel: Otel,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What was spent and done.
    pub recorder: Arc<UsageRecorder>,
    /// What may be spent.
    pub quota: Quota,
    /// Whether requests may come.
    pub readiness: Readiness,
    /// Whether a limit refuses requests while the database is away.
    outages_are_closed: bool,
    /// How one request is served.
    pub relay: config::Relay,
    /// Sizes and times of the server itself.
    pub limits: config::Server,
    /// The wall clock.
    pub clock: Clock,
    /// Everything that runs for requests.
    pub tasks: Tasks,
    /// What outlives the last request: the recorder, and the upkeep of quotas.
    pub upkeep: Tasks,
}

impl App {
    /// Everything but the listener.
    ///
    /// # Errors
    /// When there is no way to Bedrock, or no place for what has to be kept.
    pub async fn open(config: &Config, clock: Clock) -> Result<Self, CannotOpen> {
        let (tasks, upkeep) = (Tasks::default(), Tasks::default());
        let catalog = Catalog::new(&config.catalog);
        let store = Store::open(&config.database, &upkeep).await?;
        let path = config.database.data_dir.join("journal");
        let metrics = Arc::new(Metrics::new(&catalog.foundation_models(), config.metrics.user_label));
        metrics.set_price_versions(&catalog.price_versions());
        let recorder =
            UsageRecorder::open(&path, &config.ledger, store.clone(), clock.clone(), Arc::clone(&metrics));
        let recorder = Arc::new(recorder.map_err(|error| CannotOpen::Journal { path, error })?);
        let quota = Quota::new(config.quota.clone(), store.clone(), Arc::clone(&recorder), clock.clone());
        Ok(Self {
            admin: Admin::new(config, store.clone(), clock.clone()),
            authenticator: Authenticator::new(
                JwtKeys::new(&config.auth),
                store.clone(),
                config.callers.clone(),
                clock.clone(),
            ),
            catalog,
            bedrock: Bedrock::new(&config.bedrock, clock.clone())?,
            learned: Learned::new(clock.clone()),
            control: config.bedrock.control.clone(),
            counts: Counts::default(),
            drains: Drains::new(&config.relay, &tasks),
            store,
            otel: Otel::open(&config.otel, config.bedrock.ca_bundle.as_deref(), &upkeep)?,
            metrics,
            recorder,
            quota,
            readiness: Readiness::default(),
            outages_are_closed: readiness::closed(&config.quota),
            relay: config.relay.clone(),
            limits: config.server.clone(),
            clock,
            tasks,
            upkeep,
        })
    }

    /// Lets the metrics tell what is true now.
    pub fn look(&self) {
        let backlog = self.recorder.backlog();
        self.metrics.refresh(&Snapshot {
            usage_queue_depth: backlog.depth,
            usage_dropped: backlog.lost,
            wal_bytes: backlog.bytes,
            oldest_usage_age: backlog.oldest,
            db_connections: self.store.connections(),
            db_up: self.store.is_connected(),
            credentials_expire_at: self.bedrock.credentials_expiry(),
            spans_dropped: self.otel.dropped_spans(),
        });
    }

    /// Starts what runs beside requests.
    pub fn start(self: &Arc<Self>) {
        if self.control.discover {
            self.tasks.spawn(discovery::keep_discovering(Arc::clone(self)));
        }
        self.recorder.start(&self.upkeep);
        self.otel.start(&self.upkeep);
        self.recorder.record_event(Event {
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
        self.upkeep.spawn(async move { app.quota.run(&app.upkeep).await });
    }

    /// Ends what runs beside requests, once there are none: what was spent is stored, if that does not take long.
    pub async fn finish(&self) {
        self.upkeep.stop();
        self.otel.shut_down().await;
        if tokio::time::timeout(LAST_BATCH, self.upkeep.ended()).await.is_err() {
            tracing::warn!("the database did not take the last usage rows; they wait in the journal");
        }
        self.store.close().await;
    }
}
