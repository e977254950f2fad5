//! One event, one line: a flat JSON object, or text. `ts`, `level` and `msg` come first, then `event`, then the fields in
//! the order they were given. Numbers stay numbers; what is absent is left out.
//!
//! Whatever stands in a value, it can neither end the line nor pretend to be a field (`escape`), and it holds no
//! credential (`net`).

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use aho_corasick::BuildError;
use jiff::Timestamp;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::escape;
use super::scrub::Net;
use crate::clock::Clock;
use crate::secret::Secret;

/// The most of one value, in bytes, before it is escaped.
const LONGEST_VALUE: usize = 2 << 10;
/// The most of a line, in bytes; fields that would be too much are left out and counted.
const LONGEST_LINE: usize = 16 << 10;
/// What is ours needs no `target`.
const OURS: &str = "bedrock_proxy";

/// Where lines go.
pub trait Output: Send + Sync + 'static {
    /// Takes a line, its end included. Must not wait.
    fn put(&self, line: &[u8]);
}

/// Makes lines of events.
pub struct Lines {
    maker: Maker,
    outputs: Vec<Box<dyn Output>>,
}

/// How a line is made.
#[derive(Debug)]
pub(super) struct Maker {
    json: bool,
    clock: Clock,
    net: Net,
}

impl Lines {
    /// Lines for `outputs`, as JSON or as text, without the values of `secrets`.
    ///
    /// # Errors
    /// When the secrets are too long to look for.
    pub fn new(
        json: bool,
        clock: Clock,
        secrets: &[Secret],
        outputs: Vec<Box<dyn Output>>,
    ) -> Result<Self, BuildError> {
        Ok(Self { maker: Maker::new(json, clock, secrets)?, outputs })
    }
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lines").field("maker", &self.maker).finish_non_exhaustive()
    }
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let line = self.maker.line(event);
        for output in &self.outputs {
            output.put(line.as_bytes());
        }
    }
}

impl Maker {
    pub(super) fn new(json: bool, clock: Clock, secrets: &[Secret]) -> Result<Self, BuildError> {
        Ok(Self { json, clock, net: Net::new(secrets)? })
    }

    fn line(&self, event: &Event<'_>) -> String {
        let mut fields = Fields::new(self);
        event.record(&mut fields);
        let target = event.metadata().target();
        if !target.starts_with(OURS) {
            fields.text("target", target);
        }
        self.put_together(*event.metadata().level(), fields)
    }

    /// The line that says how many were lost.
    pub(super) fn lost(&self, lines: u64) -> Vec<u8> {
        let mut fields = Fields::new(self);
        fields.message("log lines were lost");
        fields.text("event", "log_lines_lost");
        fields.number("lines", lines);
        self.put_together(Level::WARN, fields).into_bytes()
    }

    fn put_together(&self, level: Level, fields: Fields<'_>) -> String {
        let Fields { msg, event, rest, left_out, .. } = fields;
        let now = Timestamp::from_millisecond(self.clock.milliseconds()).unwrap_or(Timestamp::MAX);
        let mut line = String::with_capacity(64 + msg.len() + event.len() + rest.len());
        // Writing to a String cannot fail.
        let _ = if self.json {
            write!(line, "{{\"ts\":\"{now:.3}\",\"level\":\"{}\",\"msg\":", lower(level))
        } else {
            write!(line, "{now:.3} {level:5} ")
        };
        line.push_str(if msg.is_empty() { r#""""# } else { &msg });
        line.push_str(&event);
        line.push_str(&rest);
        if left_out > 0 {
            self.member("fields_left_out", &mut line);
            let _ = write!(line, "{left_out}");
        }
        line.push_str(if self.json { "}\n" } else { "\n" });
        line
    }

    /// Begins a field.
    fn member(&self, name: &str, out: &mut String) {
        let _ = if self.json { write!(out, ",\"{name}\":") } else { write!(out, " {name}=") };
    }
}

fn lower(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

/// The fields of one event, as they stand in the line.
struct Fields<'m> {
    maker: &'m Maker,
    msg: String,
    event: String,
    rest: String,
    left_out: usize,
}

impl<'m> Fields<'m> {
    fn new(maker: &'m Maker) -> Self {
        Self { maker, msg: String::new(), event: String::new(), rest: String::new(), left_out: 0 }
    }

    fn message(&mut self, text: &str) {
        self.msg.clear();
        if self.maker.json {
            escape::quoted(text, &mut self.msg);
        } else {
            escape::sentence(text, &mut self.msg);
        }
    }

    fn text(&mut self, name: &str, value: &str) {
        let kept = value.floor_char_boundary(LONGEST_VALUE + self.maker.net.reach());
        let fitted = self.fitted(value.get(..kept).unwrap_or_default(), value.len() - kept);
        self.shown(name, &fitted);
    }

    fn shown(&mut self, name: &str, value: &str) {
        if name == "message" {
            return self.message(value);
        }
        // An event that says nothing else says its name.
        if name == "event" && self.msg.is_empty() {
            self.message(value);
        }
        self.field(
            name,
            |maker, out| {
                if maker.json { escape::quoted(value, out) } else { escape::word(value, out) }
            },
        );
    }

    fn number(&mut self, name: &str, value: impl fmt::Display) {
        self.field(name, |_, out| {
            let _ = write!(out, "{value}");
        });
    }

    /// `value` without credentials and not too long; `more` bytes of it are missing already.
    fn fitted<'t>(&self, value: &'t str, more: usize) -> Cow<'t, str> {
        let value = self.maker.net.clean(value);
        let kept = value.floor_char_boundary(LONGEST_VALUE);
        let more = more + value.len() - kept;
        if more == 0 {
            return value;
        }
        Cow::Owned(format!("{}…[{more} more bytes]", value.get(..kept).unwrap_or_default()))
    }

    fn field(&mut self, name: &str, write: impl FnOnce(&Maker, &mut String)) {
        // What a line begins with is not for a field to say.
        let name = match name {
            "ts" => "field_ts",
            "level" => "field_level",
            "msg" => "field_msg",
            name => name,
        };
        let place = if name == "event" { &mut self.event } else { &mut self.rest };
        let before = place.len();
        self.maker.member(name, place);
        write(self.maker, place);
        let length = self.msg.len() + self.event.len() + self.rest.len();
        if length > LONGEST_LINE {
            let place = if name == "event" { &mut self.event } else { &mut self.rest };
            place.truncate(before);
            self.left_out += 1;
        }
    }
}

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text =
            Bounded { text: String::new(), limit: LONGEST_VALUE + self.maker.net.reach(), more: 0 };
        // It cannot fail, unless the value does; then as much stands there as it said.
        let _ = write!(text, "{value:?}");
        let fitted = self.fitted(&text.text, text.more);
        self.shown(field.name(), &fitted);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field.name(), value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.number(field.name(), value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.number(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.number(field.name(), value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() {
            self.number(field.name(), value);
        }
    }
}

/// Text that is longer than anybody wants to read is not even built.
struct Bounded {
    text: String,
    limit: usize,
    /// How many bytes did not fit.
    more: usize,
}

impl fmt::Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = if self.more == 0 { self.limit.saturating_sub(self.text.len()) } else { 0 };
        let kept = text.floor_char_boundary(room);
        self.text.push_str(text.get(..kept).unwrap_or_default());
        self.more += text.len() - kept;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
