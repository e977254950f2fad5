//! What the log lost, asked for when somebody reads the numbers.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;

use crate::telemetry;

/// The counter of lines that the log of this process lost.
#[derive(Debug)]
pub(super) struct Lost;

impl Collector for Lost {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let counter = ConstCounter::new(telemetry::lines_dropped());
        let help = "Log lines that came too fast or could not be written";
        let encoder = encoder.encode_descriptor("log_lines_dropped", help, None, counter.metric_type())?;
        counter.encode(encoder)
    }
}
