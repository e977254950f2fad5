//! How a request went, for counting: what the gateway itself took, what was asked of Bedrock, and what came of it.

use std::time::Duration;

use protocol::anthropic::Usage;
use protocol::translate::{Outcome, StreamSummary};
use tokio::time::Instant;

use crate::bedrock::Attempts;
use crate::telemetry::metrics::{Answered, LabelValue, Metrics};
use crate::telemetry::record::OverheadPhase;

/// What becomes known of it on the way.
#[derive(Debug, Default)]
pub(super) struct Course {
    /// Which model in which region, as labels.
    pub(super) model: Option<(LabelValue, LabelValue)>,
    /// How it is asked, when that is not the route.
    pub(super) api: Option<&'static str>,
    /// When Bedrock was first asked.
    pub(super) asked_at: Option<Instant>,
    /// When the answer was over.
    pub(super) ended_at: Option<Instant>,
    /// Why the answer broke off after it had begun.
    pub(super) broke: Option<&'static str>,
    /// The attempts that failed before there was an answer, in order.
    failures: Vec<&'static str>,
    /// Whether the last of them was the end of it.
    gave_up: bool,
    phases: [Option<Duration>; OverheadPhase::ALL.len()],
}

impl Course {
    /// Adds what a phase took.
    pub(super) fn took(&mut self, phase: OverheadPhase, took: Duration) {
        if let Some(sum) = self.phases.get_mut(phase as usize) {
            *sum = Some(sum.unwrap_or_default() + took);
        }
    }

    /// Bedrock is asked.
    pub(super) fn asked(&mut self) {
        self.asked_at.get_or_insert_with(Instant::now);
    }

    /// How the attempts went, and whether there is no answer after them.
    pub(super) fn tried(&mut self, attempts: &Attempts, gave_up: bool) {
        self.failures = attempts.failures().to_vec();
        self.gave_up = gave_up;
    }

    /// What became of the last attempt, in one word; nothing when Bedrock was not asked.
    pub(super) fn outcome(&self, summary: Option<&StreamSummary>) -> Option<&'static str> {
        self.asked_at?;
        Some(match summary.map(|summary| &summary.outcome) {
            _ if self.gave_up => self.failures.last().copied().unwrap_or("broken"),
            Some(Outcome::Finished) => "ok",
            Some(Outcome::Failed) => self.broke.unwrap_or("broken"),
            Some(Outcome::Cancelled) | None => "cancelled",
        })
    }

    /// Counts all of it, once it is over. `first` is when the model's first word arrived.
    pub(super) fn count(
        &self,
        metrics: &Metrics,
        route: Option<&'static str>,
        summary: Option<&StreamSummary>,
        first: Option<(Instant, Duration)>,
    ) {
        for (phase, took) in OverheadPhase::ALL.into_iter().zip(self.phases) {
            if let Some(took) = took {
                metrics.overhead(phase, took);
            }
        }
        let (Some((model, region)), Some(last)) = (&self.model, self.outcome(summary)) else { return };
        let api = route.or(self.api).unwrap_or("other");
        let again = self.failures.len().saturating_sub(usize::from(self.gave_up));
        let retried = self.failures.get(..again).unwrap_or_default();
        for outcome in retried.iter().copied() {
            metrics.retried(outcome);
        }
        for outcome in retried.iter().copied().chain([last]) {
            metrics.asked(&Answered { model, region, api, outcome });
        }
        if let (Some(asked), Some(ended)) = (self.asked_at, self.ended_at) {
            metrics.answered(model, region, ended - asked);
        }
        let Some((at, waited)) = first else { return };
        metrics.first_token(model, waited);
        let usage = summary.filter(|summary| summary.outcome == Outcome::Finished);
        let tokens =
            usage.and_then(|summary| summary.usage).map_or(0, |Usage { output_tokens, .. }| output_tokens);
        let steps = u32::try_from(tokens.saturating_sub(1)).unwrap_or(u32::MAX);
        if let (Some(ended), 1..) = (self.ended_at, steps) {
            metrics.inter_token(model, (ended - at) / steps);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(outcome: Outcome) -> StreamSummary {
        let usage = Some(Usage { output_tokens: 101, ..Usage::default() });
        StreamSummary { outcome, usage, stop_reason: None, notices: Vec::new() }
    }

    fn asked(failures: &[&'static str], gave_up: bool) -> Course {
        let model = Some((LabelValue::from("m"), LabelValue::from("us-east-1")));
        let mut course = Course { model, failures: failures.to_vec(), gave_up, ..Course::default() };
        course.asked();
        course
    }

    fn counted(course: &Course, outcome: Outcome) -> Vec<String> {
        let metrics = Metrics::default();
        course.count(&metrics, Some("converse"), Some(&summary(outcome)), None);
        let text = metrics.render(true);
        let lines = text.lines().filter_map(|line| {
            let retry = line.strip_prefix(r#"bedrock_proxy_retries_total{reason=""#);
            let asked = line.split_once(r#"api="converse",outcome=""#).map(|(_, rest)| rest);
            let (word, number) = retry.or(asked)?.split_once("\"} ")?;
            let kind = if retry.is_some() { "retry" } else { "asked" };
            Some(format!("{kind} {word} {number}"))
        });
        let mut lines: Vec<_> = lines.collect();
        lines.sort_unstable();
        lines
    }

    #[test]
    fn each_attempt_is_counted_by_what_became_of_it() {
        let begun = asked(&["throttled", "throttled"], false);
        let expected = ["asked ok 1", "asked throttled 2", "retry throttled 2"];
        assert_eq!(counted(&begun, Outcome::Finished), expected);
        assert_eq!(counted(&asked(&[], false), Outcome::Cancelled), ["asked cancelled 1"]);
        let refused = asked(&["validation", "access"], true);
        let expected = ["asked access 1", "asked validation 1", "retry validation 1"];
        assert_eq!(counted(&refused, Outcome::Failed), expected);
        let broken = Course { broke: Some("timeout"), ..asked(&[], false) };
        assert_eq!(counted(&broken, Outcome::Failed), ["asked timeout 1"]);
        assert_eq!(counted(&Course::default(), Outcome::Finished), Vec::<String>::new());
    }

    #[test]
    fn tokens_are_as_far_apart_as_the_answer_is_long() {
        let mut course = asked(&[], false);
        let start = course.asked_at.unwrap();
        course.ended_at = Some(start + Duration::from_secs(3));
        let metrics = Metrics::default();
        let first = Some((start + Duration::from_secs(1), Duration::from_secs(1)));
        course.count(&metrics, Some("invoke"), Some(&summary(Outcome::Finished)), first);
        let text = metrics.render(true);
        for line in [
            r#"bedrock_proxy_inter_token_seconds_sum{model="m"} 0.02"#,
            r#"bedrock_proxy_time_to_first_token_seconds_sum{model="m"} 1.0"#,
            r#"bedrock_proxy_upstream_duration_seconds_sum{model="m",region="us-east-1"} 3.0"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }

    #[test]
    fn what_a_phase_takes_twice_is_added_up() {
        let mut course = Course::default();
        course.took(OverheadPhase::Translate, Duration::from_micros(30));
        course.took(OverheadPhase::Translate, Duration::from_micros(20));
        course.took(OverheadPhase::Auth, Duration::from_micros(5));
        let metrics = Metrics::default();
        course.count(&metrics, None, None, None);
        let text = metrics.render(true);
        for line in [
            r#"bedrock_proxy_overhead_seconds_count{phase="translate"} 1"#,
            r#"bedrock_proxy_overhead_seconds_bucket{le="0.00005",phase="translate"} 1"#,
            r#"bedrock_proxy_overhead_seconds_bucket{le="0.000025",phase="translate"} 0"#,
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }
}
