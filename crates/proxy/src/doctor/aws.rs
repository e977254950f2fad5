//! AWS checks: region, clock, identity, lists of models, inference profiles.

use std::time::{Duration, SystemTime};

use super::{DoctorOptions, Finding, humanize_duration, models};
use crate::bedrock::{Bedrock, CredentialStatus, UpstreamError};
use crate::clock::Clock;
use crate::config::Config;

/// AWS rejects a signature whose time differs by more than 5 minutes.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/signature-v4-troubleshooting.html>
const MAX_CLOCK_SKEW: Duration = Duration::from_secs(300);

pub(super) async fn examine(
    bedrock: &Bedrock,
    config: &Config,
    options: &DoctorOptions,
    clock: &Clock,
    report: &mut (dyn FnMut(Finding) + Send),
) {
    report(region(bedrock, config));
    let reachable = match bedrock.server_time().await {
        Ok(aws_time) => {
            report(clock_skew(aws_time, clock.now()));
            true
        }
        // A test server may respond without a date.
        Err(error @ UpstreamError::Response { .. }) => {
            report(Finding::note("Clock", format!("not compared: {error}")));
            true
        }
        Err(error) => {
            report(Finding::from_upstream_error("Connection to Bedrock", error));
            false
        }
    };
    let (identity, accepted) = identity(bedrock, clock).await;
    report(identity);
    if reachable && accepted {
        model_lists(bedrock, config, report).await;
    }
    let names = models::configured(config, &options.models);
    if options.calls && reachable && accepted {
        models::check(config, clock, &names, report).await;
        return;
    }
    let reason = if options.calls { "AWS is not reachable or rejects the credentials" } else { "--no-calls" };
    for name in names {
        report(Finding::note(&name, format!("not checked: {reason}")));
    }
}

fn region(bedrock: &Bedrock, config: &Config) -> Finding {
    let profiles = match config.catalog.prefix {
        Some(prefix) => format!("inference profiles of {prefix}"),
        None => "no inference profiles".to_owned(),
    };
    let (region, source, host) = (bedrock.region(), config.bedrock.region_source, bedrock.host());
    Finding::ok("Region", format!("{region} ({source}), {profiles}, by {host}"))
}

/// Compares the clocks of AWS and of this machine.
fn clock_skew(aws_time: SystemTime, local_time: SystemTime) -> Finding {
    let (skew, direction) = match aws_time.duration_since(local_time) {
        Ok(behind) => (behind, "behind"),
        Err(error) => (error.duration(), "ahead of"),
    };
    let detail = format!("{} {direction} the clock of AWS", humanize_duration(skew));
    if skew > MAX_CLOCK_SKEW {
        return Finding::from_code("Clock", detail, Some("E18"));
    }
    // The date header has whole seconds.
    Finding::ok("Clock", if skew.as_secs() < 2 { "in sync with AWS".to_owned() } else { detail })
}

/// The AWS identity, and whether AWS accepts the credentials as far as that can be checked.
async fn identity(bedrock: &Bedrock, clock: &Clock) -> (Finding, bool) {
    const NAME: &str = "AWS identity";
    if let Err(error) = bedrock.preload_credentials().await {
        return (Finding::from_upstream_error(NAME, error.into()), false);
    }
    let status = bedrock.credential_status();
    if status == CredentialStatus::ApiKey {
        return match bedrock.foundation_models().await {
            Ok(_) => (Finding::ok(NAME, "a Bedrock API key, which AWS accepts"), true),
            Err(error) if error.is_identity_error() => (Finding::from_upstream_error(NAME, error), false),
            Err(_) => (
                Finding::note(NAME, "a Bedrock API key, not checked: it has no permission to list models"),
                true,
            ),
        };
    }
    match bedrock.caller_identity().await {
        Ok(identity) => (Finding::ok(NAME, format!("{}{}", identity.arn, expiry(status, clock.now()))), true),
        Err(error) if error.is_identity_error() => (Finding::from_upstream_error(NAME, error), false),
        Err(error) => (Finding::note(NAME, format!("credentials found, not checked by STS: {error}")), true),
    }
}

fn expiry(status: CredentialStatus, now: SystemTime) -> String {
    match status {
        CredentialStatus::Keys(Some(end)) => {
            format!(" (expires in {})", humanize_duration(end.duration_since(now).unwrap_or_default()))
        }
        _ => String::new(),
    }
}

/// Whether the lists of models are readable; only a server that discovers models needs them.
async fn model_lists(bedrock: &Bedrock, config: &Config, report: &mut (dyn FnMut(Finding) + Send)) {
    const NAME: &str = "Model lists";
    let finding = match (bedrock.foundation_models().await, bedrock.inference_profiles().await) {
        (Ok(models), Ok(profiles)) => {
            Finding::ok(NAME, format!("{} models, {} inference profiles", models.len(), profiles.len()))
        }
        (Err(error), _) | (_, Err(error)) if config.bedrock.control.discover => {
            Finding::from_upstream_error(NAME, error)
        }
        (Err(error), _) | (_, Err(error)) => {
            let detail = format!("not readable; only AWS_BEDROCK_DISCOVER_MODELS needs them: {error}");
            Finding::note(NAME, detail)
        }
    };
    report(finding);
    let mappings = config.catalog.mappings.iter();
    for (name, arn) in mappings.filter(|(_, id)| id.contains(":application-inference-profile/")) {
        report(inference_profile(bedrock, name, arn).await);
    }
}

/// The model of an application inference profile. Without a look-up its name decides which capabilities it has.
async fn inference_profile(bedrock: &Bedrock, name: &str, arn: &str) -> Finding {
    let subject = format!("{name}'s profile");
    match bedrock.inference_profile(arn).await {
        Ok(profile) => {
            let models: Vec<_> = profile.arns().filter_map(|arn| arn.rsplit('/').next()).collect();
            Finding::ok(
                &subject,
                format!("resolves to {} in {} regions", models.first().unwrap_or(&"nothing"), models.len()),
            )
        }
        Err(error) => Finding::from_upstream_error(&subject, error).into_note(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Severity;

    #[test]
    fn clock_skew_above_five_minutes_fails() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(clock_skew(at(1_000), at(1_001)).detail, "in sync with AWS");
        assert_eq!(clock_skew(at(1_000), at(1_300)).detail, "5 min ahead of the clock of AWS");
        assert_eq!(clock_skew(at(1_000), at(1_300)).severity, Severity::Ok);
        let failed = clock_skew(at(10_000), at(1_000));
        assert_eq!((failed.severity, failed.code), (Severity::Fail, Some("E18")));
        assert!(failed.detail.ends_with("2 h behind the clock of AWS"), "{}", failed.detail);
        assert!(failed.fix.unwrap().contains("NTP"));
    }
}
