//! Log lines: each event is one line, a flat JSON object or text. `ts`, `level` and `msg` come first, then `event`, then
//! the fields in the order of the event. Numbers stay numbers; absent fields are left out.
//!
//! A value can neither end its line nor pass for another field, and holds no secret (`scrub`).

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use aho_corasick::BuildError;
use jiff::Timestamp;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::scrub::{self, Scrubber};
use crate::clock::Clock;
use crate::secret::Secret;

/// Longest value in bytes, before it is escaped: longer texts are bodies or stack traces, which the log does not hold.
const MAX_VALUE_BYTES: usize = 2 << 10;
/// Longest line in bytes: Docker splits lines beyond 16 KiB. Fields that do not fit are left out and counted.
const MAX_LINE_BYTES: usize = 16 << 10;
/// Target prefix of our own events, whose lines have no `target`.
const OWN_TARGET: &str = "bedrock_proxy";

/// Destination of log lines.
pub trait LogWriter: Send + Sync + 'static {
    /// Writes a line, its end included. Must not wait.
    fn write_line(&self, line: &[u8]);
}

/// Layer of `tracing` that formats events and writes them.
pub struct LogLayer {
    json: bool,
    clock: Clock,
    scrubber: Scrubber,
    writers: Vec<Box<dyn LogWriter>>,
}

impl<S: Subscriber> Layer<S> for LogLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let line = self.format(event);
        for writer in &self.writers {
            writer.write_line(line.as_bytes());
        }
    }
}

impl LogLayer {
    /// Creates a layer that writes to `writers`, as JSON or as text, without the values of `secrets`.
    ///
    /// # Errors
    /// When the secrets are too long for the scrubber.
    pub fn new(
        json: bool,
        clock: Clock,
        secrets: &[Secret],
        writers: Vec<Box<dyn LogWriter>>,
    ) -> Result<Self, BuildError> {
        Ok(Self { json, clock, scrubber: Scrubber::new(secrets)?, writers })
    }

    fn format(&self, event: &Event<'_>) -> String {
        let mut fields = Fields {
            layer: self,
            msg: String::new(),
            event: String::new(),
            rest: String::new(),
            left_out: 0,
        };
        event.record(&mut fields);
        let (level, target) = (*event.metadata().level(), event.metadata().target());
        if !target.starts_with(OWN_TARGET) {
            fields.add_text("target", target);
        }
        let Fields { msg, event, rest, left_out, .. } = fields;
        let now = Timestamp::from_millisecond(self.clock.milliseconds()).unwrap_or(Timestamp::MAX);
        let mut line = String::with_capacity(64 + msg.len() + event.len() + rest.len());
        // Writing to a String cannot fail.
        let _ = if self.json {
            write!(line, "{{\"ts\":\"{now:.3}\",\"level\":\"{}\",\"msg\":", level_name(level))
        } else {
            write!(line, "{now:.3} {level:5} ")
        };
        line.push_str(if msg.is_empty() { r#""""# } else { &msg });
        line.push_str(&event);
        line.push_str(&rest);
        if left_out > 0 {
            self.push_name("fields_left_out", &mut line);
            let _ = write!(line, "{left_out}");
        }
        line.push_str(if self.json { "}\n" } else { "\n" });
        line
    }

    /// Appends the name of a field, up to its value.
    fn push_name(&self, name: &str, out: &mut String) {
        let _ = if self.json { write!(out, ",\"{name}\":") } else { write!(out, " {name}=") };
    }
}

fn level_name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

/// Fields of one event, formatted.
struct Fields<'l> {
    layer: &'l LogLayer,
    msg: String,
    event: String,
    rest: String,
    left_out: usize,
}

impl Fields<'_> {
    fn set_message(&mut self, text: &str) {
        self.msg.clear();
        if self.layer.json {
            scrub::push_quoted(text, &mut self.msg);
        } else {
            scrub::push_message(text, &mut self.msg);
        }
    }

    fn add_text(&mut self, name: &str, value: &str) {
        let kept = value.floor_char_boundary(MAX_VALUE_BYTES + self.layer.scrubber.lookahead());
        let value = self.scrub_and_cut(value.get(..kept).unwrap_or_default(), value.len() - kept);
        self.add_scrubbed(name, &value);
    }

    fn add_scrubbed(&mut self, name: &str, value: &str) {
        if name == "message" {
            return self.set_message(value);
        }
        // The message of an event without one is its name.
        if name == "event" && self.msg.is_empty() {
            self.set_message(value);
        }
        self.add(name, |layer, out| {
            if layer.json { scrub::push_quoted(value, out) } else { scrub::push_word(value, out) }
        });
    }

    fn add_number(&mut self, name: &str, value: impl fmt::Display) {
        self.add(name, |_, out| {
            let _ = write!(out, "{value}");
        });
    }

    /// Scrubs `value` and cuts it at the limit; `more` bytes of it are cut already.
    fn scrub_and_cut<'t>(&self, value: &'t str, more: usize) -> Cow<'t, str> {
        let value = self.layer.scrubber.scrub(value);
        let kept = value.floor_char_boundary(MAX_VALUE_BYTES);
        let more = more + value.len() - kept;
        if more == 0 {
            return value;
        }
        Cow::Owned(format!("{}…[{more} more bytes]", value.get(..kept).unwrap_or_default()))
    }

    /// Adds a field, unless the line would be too long.
    fn add(&mut self, name: &str, push_value: impl FnOnce(&LogLayer, &mut String)) {
        // The names that a line starts with are reserved.
        let name = match name {
            "ts" => "field_ts",
            "level" => "field_level",
            "msg" => "field_msg",
            name => name,
        };
        let out = if name == "event" { &mut self.event } else { &mut self.rest };
        let length_before = out.len();
        self.layer.push_name(name, out);
        push_value(self.layer, out);
        let length = self.msg.len() + self.event.len() + self.rest.len();
        if length > MAX_LINE_BYTES {
            let out = if name == "event" { &mut self.event } else { &mut self.rest };
            out.truncate(length_before);
            self.left_out += 1;
        }
    }
}

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let limit = MAX_VALUE_BYTES + self.layer.scrubber.lookahead();
        let mut bounded = BoundedText { text: String::new(), limit, more: 0 };
        // It fails only when the value's own Debug fails; then the text up to there is logged.
        let _ = write!(bounded, "{value:?}");
        let value = self.scrub_and_cut(&bounded.text, bounded.more);
        self.add_scrubbed(field.name(), &value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add_text(field.name(), value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add_number(field.name(), value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add_number(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add_number(field.name(), value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() {
            self.add_number(field.name(), value);
        }
    }
}

/// Text up to a limit in bytes, so that a huge value is never built.
struct BoundedText {
    text: String,
    limit: usize,
    /// Bytes that did not fit.
    more: usize,
}

impl fmt::Write for BoundedText {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let available = if self.more == 0 { self.limit.saturating_sub(self.text.len()) } else { 0 };
        let kept = text.floor_char_boundary(available);
        self.text.push_str(text.get(..kept).unwrap_or_default());
        self.more += text.len() - kept;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
