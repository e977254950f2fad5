//! Who the proxy is towards AWS: found out when it starts, in the background, and looked after from then on.
//!
//! Without requests nobody else would ask for credentials again, and without credentials no load balancer sends requests.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::App;
use crate::bedrock::{Failure, Known, NoCredentials};

/// How long to wait before missing credentials are looked for again.
const AGAIN: Duration = Duration::from_secs(15);
/// How often credentials that there are are looked at, which renews them before they expire.
const LOOK: Duration = Duration::from_secs(60);

/// What came of the last look.
#[derive(Debug, PartialEq, Eq)]
enum Standing {
    /// Nothing yet.
    Unknown,
    /// There are none, for this reason.
    Missing(String),
    /// AWS does not accept them; the row of the table says why.
    Refused(&'static str),
    /// AWS accepts them, or nobody can say.
    Settled,
}

impl App {
    /// Looks after the credentials until the server stops. Says in the log whose they are, or what to do.
    pub fn keep_identified(self: &Arc<Self>) {
        let app = Arc::clone(self);
        self.tasks.spawn(async move {
            tokio::select! {
                () = keep(&app) => {}
                () = app.tasks.shutdown_begun() => {}
            }
        });
    }
}

async fn keep(app: &App) {
    let mut standing = Standing::Unknown;
    loop {
        standing = match app.bedrock.warm_up().await {
            Err(error) => missing(&error, &standing),
            Ok(()) if standing == Standing::Settled => Standing::Settled,
            Ok(()) => identified(app, &standing).await,
        };
        app.readiness.refuse(matches!(standing, Standing::Refused(_)));
        tokio::time::sleep(if standing == Standing::Settled { LOOK } else { AGAIN }).await;
    }
}

/// Says what to do, once for each reason.
fn missing(error: &NoCredentials, before: &Standing) -> Standing {
    let standing = Standing::Missing(error.to_string());
    if standing != *before {
        let row = Failure::from(error.clone()).meaning().known_error;
        tracing::error!(event = "aws_credentials_missing", %error, row = row.code, advice = row.advice,
            "requests fail until there are credentials");
    }
    standing
}

async fn identified(app: &App, before: &Standing) -> Standing {
    let known = app.bedrock.known();
    let failure = if known == Known::ApiKey {
        match app.bedrock.foundation_models().await {
            Ok(_) => {
                tracing::info!(event = "aws_identity", kind = "api_key", "AWS accepts the Bedrock API key");
                return Standing::Settled;
            }
            Err(failure) => failure,
        }
    } else {
        match app.bedrock.caller_identity().await {
            Ok(identity) => {
                let left = left(known, app.clock.now());
                tracing::info!(
                    event = "aws_identity",
                    kind = "keys",
                    account = identity.account,
                    arn = identity.arn,
                    expires_in_s = left,
                    "AWS accepts the credentials"
                );
                return Standing::Settled;
            }
            Err(failure) => failure,
        }
    };
    let (about_us, said) = (failure.is_about_us(), failure.to_string());
    let row = failure.meaning().known_error;
    if !about_us {
        tracing::warn!(
            event = "aws_identity_unknown",
            failure = said,
            row = row.code,
            "the AWS credentials could not be checked; requests will tell"
        );
        return Standing::Settled;
    }
    let standing = Standing::Refused(row.code);
    if standing != *before {
        tracing::error!(
            event = "aws_credentials_refused",
            failure = said,
            row = row.code,
            advice = row.advice,
            "requests fail: AWS does not accept the credentials"
        );
    }
    standing
}

/// For how many seconds the credentials are valid.
fn left(known: Known, now: SystemTime) -> Option<u64> {
    let Known::Keys(Some(end)) = known else { return None };
    Some(end.duration_since(now).unwrap_or_default().as_secs())
}
