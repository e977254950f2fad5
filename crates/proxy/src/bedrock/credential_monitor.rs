//! Checks the AWS credentials at start, in the background, and renews them from then on.
//!
//! Without requests nothing else would look credentials up again, and without credentials no load balancer sends
//! requests.

use std::sync::Arc;
use std::time::Duration;

use super::{Bedrock, CredentialsError, UpstreamError};
use crate::clock::Clock;
use crate::tasks::Tasks;

/// Pause before missing or rejected credentials are looked up again: an operator repairs them within minutes.
const RETRY_INTERVAL: Duration = Duration::from_secs(15);
/// Pause between looks at good credentials, which renews them before they expire.
const CHECK_INTERVAL: Duration = Duration::from_secs(60);

/// The result of the last check.
#[derive(Debug, PartialEq, Eq)]
enum Check {
    /// None yet.
    Unknown,
    /// There are no credentials, for this reason.
    Missing(String),
    /// AWS rejects them: the code of the known error.
    Rejected(&'static str),
    /// They could not be checked, for this reason.
    Unchecked(String),
    /// AWS accepts them.
    Done,
}

/// Checks the credentials until requests end. Logs whose they are, or what to do.
pub(crate) async fn run(bedrock: Arc<Bedrock>, clock: Clock, tasks: Tasks) {
    tokio::select! {
        () = check_repeatedly(&bedrock, &clock) => {}
        () = tasks.shutdown_begun() => {}
    }
}

async fn check_repeatedly(bedrock: &Bedrock, clock: &Clock) {
    let mut check = Check::Unknown;
    loop {
        match bedrock.preload_credentials().await {
            Err(error) => check = report_missing(&error, &check),
            // A request may have found that AWS does not accept them any more.
            Ok(()) if check == Check::Done && !bedrock.credentials.has_rejection() => {}
            Ok(()) => {
                check = identify(bedrock, clock, &check).await;
                // Without a result, requests find out: no load balancer sends any while the check of readiness fails.
                bedrock.set_credentials_rejected(matches!(check, Check::Rejected(_)));
            }
        }
        bedrock.finish_first_credential_check();
        let is_usable = matches!(check, Check::Done | Check::Unchecked(_));
        tokio::time::sleep(if is_usable { CHECK_INTERVAL } else { RETRY_INTERVAL }).await;
    }
}

/// Logs what to do, once for each reason.
fn report_missing(error: &CredentialsError, previous: &Check) -> Check {
    let check = Check::Missing(error.to_string());
    if check != *previous {
        let row = UpstreamError::from(error.clone()).into_mapped().known_error;
        tracing::error!(event = "aws_credentials_missing", %error, row = row.code, advice = row.advice,
            "requests fail: there are no AWS credentials");
    }
    check
}

async fn identify(bedrock: &Bedrock, clock: &Clock, previous: &Check) -> Check {
    let checked = if bedrock.credentials.is_api_key() {
        bedrock.foundation_models().await.map(|_| {
            tracing::info!(event = "aws_identity", kind = "api_key", "AWS accepts the Bedrock API key");
        })
    } else {
        bedrock.caller_identity().await.map(|identity| {
            let expires_in_s = bedrock.credentials_expiry().map(|at| at - clock.milliseconds() / 1000);
            tracing::info!(
                event = "aws_identity",
                kind = "keys",
                account = identity.account,
                arn = identity.arn,
                expires_in_s,
                "AWS accepts the credentials"
            );
        })
    };
    let Err(error) = checked else { return Check::Done };
    let (is_identity_error, detail) = (error.is_identity_error(), error.to_string());
    let row = error.into_mapped().known_error;
    if !is_identity_error {
        let check = Check::Unchecked(detail.clone());
        if check != *previous {
            tracing::warn!(
                event = "aws_identity_unknown",
                failure = detail,
                row = row.code,
                retry_s = CHECK_INTERVAL.as_secs(),
                "the AWS credentials could not be checked"
            );
        }
        return check;
    }
    let check = Check::Rejected(row.code);
    if check != *previous {
        tracing::error!(
            event = "aws_credentials_refused",
            failure = detail,
            row = row.code,
            advice = row.advice,
            "requests fail: AWS rejects the credentials"
        );
    }
    check
}
