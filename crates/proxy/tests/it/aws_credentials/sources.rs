//! Each source of credentials, by a stand-in of its service: what a failure costs, and how it ends.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;

use super::Proxy;
use crate::harness::credential_service::{
    Behavior, CredentialService, FILE_TOKEN, SESSION_TOKEN, SOURCES, Source, remove_sso_token,
    write_sso_token,
};
use crate::harness::wait_for;

const HOUR: Duration = Duration::from_secs(3600);
/// The AWS SDK sends a request at most so often within one attempt.
const MAX_SENDS: usize = 4;
/// Less than two attempts take.
const ONE_ATTEMPT: Duration = Duration::from_secs(19);

/// A proxy with `source`, whose service has `behavior`.
async fn proxy(source: Source, behavior: &Behavior) -> (Proxy, CredentialService) {
    let mut service = None;
    let proxy = Proxy::start_with(Some(SESSION_TOKEN), |home| {
        let started = service.insert(CredentialService::start(home));
        started.set(behavior);
        source.prepare(home, started)
    })
    .await;
    (proxy, service.unwrap())
}

impl Proxy {
    /// Sends requests until the log has a line with all of `texts`, and checks that none of them is served.
    async fn wait_for_error(&self, source: Source, texts: &[&str]) {
        wait_for(&format!("{source:?}: {texts:?}"), async || {
            assert_eq!(self.status().await, 502, "{source:?} {texts:?}");
            let log = self.process.output_text();
            log.lines().any(|line| texts.iter().all(|text| line.contains(text))).then_some(())
        })
        .await;
    }
}

async fn recovers(source: Source) {
    let (proxy, service) = proxy(source, &Behavior::Status(500)).await;
    let url = &*service.url;
    // The metadata service is tried again for as long as 10 seconds.
    let failure = if source == Source::Instance { "last request: " } else { "status 500" };
    proxy.wait_for_error(source, &["no AWS credentials", url, failure, "E19", "aws sso login"]).await;
    if source != Source::Instance {
        // The AWS SDK extends the life of expired keys of instances.
        service.set(&Behavior::Expired);
        proxy.wait_for_error(source, &["have expired", url]).await;
    }
    let (ready, checks) = proxy.readiness().await;
    assert_eq!((ready, checks.contains("[-]credentials failed")), (503, true), "{source:?}: {checks}");
    service.set(&Behavior::Unknown);
    wait_for("AWS rejects the keys", async || {
        assert_eq!(proxy.status().await, 502, "{source:?}");
        proxy.readiness().await.1.contains("[-]credentials failed: AWS rejects them").then_some(())
    })
    .await;
    service.set(&Behavior::Valid(HOUR));
    proxy.wait_for_status(200).await;
    let calls = service.calls().len();
    service.set(&Behavior::Status(500));
    let statuses = join_all((0..20).map(|_| proxy.status())).await;
    assert!(statuses.iter().all(|status| *status == 200), "{source:?}: {statuses:?}");
    assert_eq!(service.calls().len(), calls, "{source:?}: valid keys need no service");
    wait_for("readiness", async || (proxy.readiness().await.0 == 200).then_some(())).await;
}

#[tokio::test]
async fn every_source_recovers_without_restart() {
    join_all(SOURCES.map(recovers)).await;
}

async fn is_silent(source: Source) {
    let (proxy, service) = proxy(source, &Behavior::Silent).await;
    let begun = Instant::now();
    let statuses = join_all((0..20).map(|_| proxy.status())).await;
    assert!(statuses.iter().all(|status| *status == 502), "{source:?}: {statuses:?}");
    assert!(begun.elapsed() < ONE_ATTEMPT, "{source:?}: {:?}", begun.elapsed());
    let calls = service.calls();
    assert!(calls.len() <= 2 * MAX_SENDS, "{source:?}: one attempt for all: {calls:?}");
    proxy.wait_for_error(source, &["request not sent to Bedrock", &service.url]).await;
    service.set(&Behavior::Valid(HOUR));
    proxy.wait_for_status(200).await;
}

#[tokio::test]
async fn silent_source_costs_one_attempt() {
    join_all(SOURCES.map(is_silent)).await;
}

async fn renews(source: Source) {
    let (proxy, service) = proxy(source, &Behavior::Valid(Duration::from_secs(4))).await;
    let begun = Instant::now();
    // One request after the other from every source would leave no processor to the services.
    let mut pace = tokio::time::interval(Duration::from_millis(50));
    while begun.elapsed() < Duration::from_secs(9) {
        pace.tick().await;
        assert_eq!(proxy.status().await, 200, "{source:?} after {:?}", begun.elapsed());
    }
    let calls = service.calls().iter().filter(|path| !path.contains("token")).count();
    assert!((3..20).contains(&calls), "{source:?}: {calls} calls for keys of 4 s");
}

#[tokio::test]
async fn short_lived_keys_of_every_source_are_renewed() {
    join_all(SOURCES.map(renews)).await;
}

#[tokio::test]
async fn projected_token_files_are_read_again() {
    for (source, file) in
        [(Source::Container, "container-token"), (Source::WebIdentity, "web-identity-token")]
    {
        let proxy = Proxy::start_with(Some(SESSION_TOKEN), |home| {
            let service = CredentialService::start(home);
            service.set(&Behavior::Valid(HOUR));
            let variables = source.prepare(home, &service);
            std::fs::write(home.join(file), "stale").unwrap();
            variables
        })
        .await;
        proxy.wait_for_error(source, &["no AWS credentials", "status 40"]).await;
        proxy.write(file, FILE_TOKEN);
        proxy.wait_for_status(200).await;
    }
}

#[tokio::test]
async fn sso_session_is_renewed_or_replaced() {
    let source = Source::SsoSession;
    let (proxy, service) = proxy(source, &Behavior::Status(400)).await;
    let home = proxy.home.path();
    remove_sso_token(home);
    proxy.wait_for_error(source, &["failed to load the cached SSO token", "aws sso login"]).await;
    write_sso_token(home, "valid", Duration::from_secs(1));
    proxy.wait_for_error(source, &["no AWS credentials", "status 400"]).await;
    service.set(&Behavior::Valid(HOUR));
    proxy.wait_for_status(200).await;
    assert!(service.calls().contains(&"/token".to_owned()), "the session renews its token");
}
