//! The older of the two text formats, for whoever does not ask for the newer one.
//!
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>

/// What the format is called.
pub const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";
/// What the newer one is called.
pub const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// OpenMetrics as the older format: units and the end are not told, and counters are described by their whole names.
pub(super) fn plain(open: &str) -> String {
    let mut text = String::with_capacity(open.len());
    let mut lines = open.lines().peekable();
    while let Some(line) = lines.next() {
        if line.starts_with("# UNIT ") || line == "# EOF" {
            continue;
        }
        let Some(help) = line.strip_prefix("# HELP ") else {
            text.push_str(line);
            text.push('\n');
            continue;
        };
        let (name, words) = help.split_once(' ').unwrap_or((help, ""));
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
        text.push_str(&format!("# HELP {name}{suffix} {words}\n# TYPE {name}{suffix} {kind}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_described_by_the_names_of_their_samples() {
        let open = "# HELP a_tokens Tokens.\n# TYPE a_tokens counter\na_tokens_total 1\n# HELP t_seconds T.\n\
                    # TYPE t_seconds histogram\n# UNIT t_seconds seconds\nt_seconds_count 2\n# HELP b B.\n\
                    # TYPE b info\nb_info{v=\"1\"} 1\n# EOF\n";
        let expected = "# HELP a_tokens_total Tokens.\n# TYPE a_tokens_total counter\na_tokens_total 1\n\
                        # HELP t_seconds T.\n# TYPE t_seconds histogram\nt_seconds_count 2\n# HELP b_info B.\n\
                        # TYPE b_info gauge\nb_info{v=\"1\"} 1\n";
        assert_eq!(plain(open), expected);
    }
}
