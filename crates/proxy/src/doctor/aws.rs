//! Whether AWS accepts who we are, agrees on the time, and tells what it has.

use std::time::{Duration, SystemTime};

use super::{Check, Wishes, models, span};
use crate::bedrock::{Bedrock, Failure, Known};
use crate::clock::Clock;
use crate::config::{self, Config};

/// By more than this a signature is refused.
const MOST_SKEW: Duration = Duration::from_secs(300);

pub(super) async fn examine(
    bedrock: &Bedrock,
    config: &Config,
    wishes: &Wishes,
    clock: &Clock,
    tell: &mut (dyn FnMut(Check) + Send),
) {
    tell(region(bedrock, config));
    let reached = match bedrock.date().await {
        Ok(theirs) => {
            tell(skew(theirs, clock.now()));
            true
        }
        // Who answers at all may still have no date.
        Err(failure @ Failure::Unreadable { .. }) => {
            tell(Check::note("Clock", format!("not compared: {failure}")));
            true
        }
        Err(failure) => {
            tell(Check::failure("Way to Bedrock", failure));
            false
        }
    };
    let (identity, accepted) = identity(bedrock, clock).await;
    tell(identity);
    if reached && accepted {
        lists(bedrock, config, tell).await;
    }
    let names = models::named(config, &wishes.models);
    if wishes.calls && reached && accepted {
        models::ask(config, clock, &names, tell).await;
        return;
    }
    let reason = if wishes.calls { "AWS cannot be asked" } else { "--no-calls" };
    for name in names {
        tell(Check::note(&name, format!("not asked: {reason}")));
    }
}

fn region(bedrock: &Bedrock, config: &Config) -> Check {
    let profiles = match config.catalog.prefix {
        Some(prefix) => format!("inference profiles of {prefix}"),
        None => "no inference profiles".to_owned(),
    };
    Check::ok("Region", format!("{}, {profiles}, by {}", bedrock.region(), bedrock.host()))
}

/// How far the clocks are apart. More than five minutes is more than a signature bears.
fn skew(theirs: SystemTime, ours: SystemTime) -> Check {
    let (apart, word) = match theirs.duration_since(ours) {
        Ok(behind) => (behind, "behind"),
        Err(error) => (error.duration(), "ahead of"),
    };
    let said = format!("{} {word} AWS's", span(apart));
    if apart > MOST_SKEW {
        return Check::coded("Clock", said, Some("E18"));
    }
    // The date is told by whole seconds.
    Check::ok("Clock", if apart.as_secs() < 2 { "as AWS's".to_owned() } else { said })
}

/// Who we are, and whether AWS accepts that, as far as anybody can tell.
async fn identity(bedrock: &Bedrock, clock: &Clock) -> (Check, bool) {
    const NAME: &str = "AWS identity";
    if let Err(error) = bedrock.warm_up().await {
        return (Check::failure(NAME, error.into()), false);
    }
    let known = bedrock.known();
    if known == Known::ApiKey {
        return match bedrock.foundation_models().await {
            Ok(_) => (Check::ok(NAME, "a Bedrock API key, which AWS accepts"), true),
            Err(failure) if failure.is_about_us() => (Check::failure(NAME, failure), false),
            Err(_) => (Check::note(NAME, "a Bedrock API key, not checked: it may not list models"), true),
        };
    }
    match bedrock.caller_identity().await {
        Ok(identity) => (Check::ok(NAME, format!("{}{}", identity.arn, expiry(known, clock.now()))), true),
        Err(failure) if failure.is_about_us() => (Check::failure(NAME, failure), false),
        Err(failure) => (Check::note(NAME, format!("there are keys, not checked by STS: {failure}")), true),
    }
}

fn expiry(known: Known, now: SystemTime) -> String {
    match known {
        Known::Keys(Some(end)) => {
            format!(" (expires in {})", span(end.duration_since(now).unwrap_or_default()))
        }
        _ => String::new(),
    }
}

/// Whether the lists of models may be read; only a server that discovers models needs them.
async fn lists(bedrock: &Bedrock, config: &Config, tell: &mut (dyn FnMut(Check) + Send)) {
    const NAME: &str = "Lists of models";
    let told = match (bedrock.foundation_models().await, bedrock.inference_profiles().await) {
        (Ok(models), Ok(profiles)) => {
            Check::ok(NAME, format!("{} models, {} inference profiles", models.len(), profiles.len()))
        }
        (Err(failure), _) | (_, Err(failure)) if config.bedrock.control.discover => {
            Check::failure(NAME, failure)
        }
        (Err(failure), _) | (_, Err(failure)) => {
            let said = format!("cannot be read, which only AWS_BEDROCK_DISCOVER_MODELS needs: {failure}");
            Check::note(NAME, said)
        }
    };
    tell(told);
    let mappings = config.catalog.mappings.iter();
    for (name, arn) in mappings.filter(|(_, id)| id.contains(":application-inference-profile/")) {
        tell(profile(bedrock, name, arn, &config.bedrock.control).await);
    }
}

/// What is behind an application inference profile. Without an answer its name decides what it can take.
async fn profile(bedrock: &Bedrock, name: &str, arn: &str, control: &config::ControlPlaneConfig) -> Check {
    let about = format!("{name}'s profile");
    if !control.resolve_profiles {
        return Check::note(&about, "not looked up: AWS_BEDROCK_RESOLVE_PROFILES=false");
    }
    match bedrock.inference_profile(arn).await {
        Ok(profile) => {
            let models: Vec<_> = profile.arns().filter_map(|arn| arn.rsplit('/').next()).collect();
            Check::ok(
                &about,
                format!("leads to {} in {} regions", models.first().unwrap_or(&"nothing"), models.len()),
            )
        }
        Err(failure) => Check::failure(&about, failure).not_a_fault(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;

    #[test]
    fn clocks_may_differ_by_five_minutes() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(skew(at(1_000), at(1_001)).said, "as AWS's");
        assert_eq!(skew(at(1_000), at(1_300)).said, "5 min ahead of AWS's");
        assert_eq!(skew(at(1_000), at(1_300)).state, State::Ok);
        let wrong = skew(at(10_000), at(1_000));
        assert_eq!((wrong.state, wrong.code), (State::Fail, Some("E18")));
        assert!(wrong.said.ends_with("2 h behind AWS's"), "{}", wrong.said);
        assert!(wrong.fix.unwrap().contains("NTP"));
    }
}
