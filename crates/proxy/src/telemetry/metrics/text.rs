//! Prometheus's text format 0.0.4, for scrapers that do not accept OpenMetrics.
//!
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>

/// Content type of the text format 0.0.4.
pub(crate) const TEXT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Content type of OpenMetrics.
pub(crate) const OPENMETRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Converts OpenMetrics into the text format: without units and the end mark, and with the full names of counters.
pub(super) fn from_openmetrics(openmetrics: &str) -> String {
    let mut text = String::with_capacity(openmetrics.len());
    let mut lines = openmetrics.lines().peekable();
    while let Some(line) = lines.next() {
        if line.starts_with("# UNIT ") || line == "# EOF" {
            continue;
        }
        let Some(help) = line.strip_prefix("# HELP ") else {
            text.push_str(line);
            text.push('\n');
            continue;
        };
        let (name, help) = help.split_once(' ').unwrap_or((help, ""));
        let kind = lines.peek().and_then(|next| next.strip_prefix("# TYPE ")?.rsplit_once(' '));
        let (suffix, kind) = match kind.map(|(_, kind)| kind) {
            Some("counter") => ("_total", "counter"),
            Some("info") => ("_info", "gauge"),
            Some(other) => ("", other),
            None => ("", "untyped"),
        };
        if lines.peek().is_some_and(|next| next.starts_with("# TYPE ")) {
            lines.next();
        }
        text.push_str(&format!("# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_described_by_their_sample_names() {
        let openmetrics = "# HELP a_tokens Tokens.\n# TYPE a_tokens counter\na_tokens_total 1\n# HELP t_seconds T.\n\
                    # TYPE t_seconds histogram\n# UNIT t_seconds seconds\nt_seconds_count 2\n# HELP b B.\n\
                    # TYPE b info\nb_info{v=\"1\"} 1\n# EOF\n";
        let expected = "# HELP a_tokens_total Tokens.\n# TYPE a_tokens_total counter\na_tokens_total 1\n\
                        # HELP t_seconds T.\n# TYPE t_seconds histogram\nt_seconds_count 2\n# HELP b_info B.\n\
                        # TYPE b_info gauge\nb_info{v=\"1\"} 1\n";
        assert_eq!(from_openmetrics(openmetrics), expected);
    }
}
