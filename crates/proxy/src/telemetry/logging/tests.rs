use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use serde_json::Value;
use tracing_subscriber::layer::SubscriberExt;

use super::*;

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl LogWriter for Buffer {
    fn write_line(&self, line: &[u8]) {
        self.0.lock().unwrap().extend_from_slice(line);
    }
}

/// Lines of the events of `work`, at noon.
fn logged(json: bool, work: impl FnOnce()) -> String {
    let noon = SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_348_800_042);
    let buffer = Buffer::default();
    let secrets = [Secret::new("canary-of-the-configuration")];
    let layer = LogLayer::new(json, Clock::manual(noon), &secrets, vec![Box::new(buffer.clone())]).unwrap();
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), work);
    let bytes = buffer.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn json_line_is_flat_with_ts_level_msg_first() {
    let line = logged(true, || {
        let absent: Option<&str> = None;
        tracing::info!(
            user = "ana",
            absent,
            ms = 12,
            ratio = 0.5,
            nan = f64::NAN,
            ok = true,
            event = "request",
            "GET {}",
            "/x"
        );
    });
    assert_eq!(
        line,
        concat!(
            r#"{"ts":"2026-11-22T12:00:00.042Z","level":"info","msg":"GET /x","event":"request","user":"ana","#,
            r#""ms":12,"ratio":0.5,"ok":true}"#,
            "\n"
        )
    );
}

#[test]
fn text_line_has_the_same_fields() {
    let line = logged(false, || {
        tracing::warn!(user = "ana level=error", path = %"/a\n/b", ms = 12, event = "request", "two words");
    });
    let expected = concat!(
        "2026-11-22T12:00:00.042Z WARN  two words event=request ",
        r#"user="ana level=error" path="/a\n/b" ms=12"#,
        "\n"
    );
    assert_eq!(line, expected);
}

#[test]
fn reserved_field_names_get_a_prefix() {
    let line = logged(true, || tracing::info!(ts = 1, level = "debug", msg = "forged", "real"));
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&line["level"], &line["msg"]), (&"info".into(), &"real".into()));
    assert_eq!((&line["field_level"], &line["field_ts"]), (&"debug".into(), &1.into()));
}

#[test]
fn event_without_message_has_its_name_as_message() {
    let line = logged(true, || tracing::info!(event = "reset", n = 1));
    assert!(line.contains(r#""msg":"reset","event":"reset","n":1"#), "{line}");
    assert!(logged(true, || tracing::info!(event = "reset", "words")).contains(r#""msg":"words""#));
}

#[test]
fn lines_of_libraries_have_a_target() {
    let line = logged(true, || tracing::error!(target: "hyper::client", "broken"));
    assert!(line.contains(r#""target":"hyper::client""#), "{line}");
    assert!(!logged(true, || tracing::error!("broken")).contains("target"));
}

#[test]
fn long_values_and_lines_are_cut_with_a_mark() {
    let long = "é".repeat(5000);
    let line = logged(true, || tracing::info!(long, "x"));
    let value = serde_json::from_str::<Value>(&line).unwrap()["long"].as_str().unwrap().to_owned();
    assert_eq!(value, format!("{}…[7952 more bytes]", "é".repeat(1024)));
    // Each of these letters takes six in JSON.
    let (a, b, c) = ("\u{1}".repeat(2000), "\u{1}".repeat(2000), "\u{1}".repeat(9000));
    let line = logged(true, || tracing::info!(a, b, c, d = 1, "{c}"));
    assert!(line.len() < MAX_LINE_BYTES + 200, "{}", line.len());
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&line["fields_left_out"], &line["d"]), (&3.into(), &1.into()));
    let debug = logged(true, || tracing::info!(debug = ?"\n".repeat(1 << 20), "x"));
    assert!(debug.len() < 8 << 10 && debug.contains("more bytes]"), "{}", debug.len());
}

#[test]
fn secrets_are_redacted_in_all_kinds_of_values() {
    let canary = "canary-of-the-configuration";
    let cut = format!("{}{canary}", "x".repeat(MAX_VALUE_BYTES - 10));
    let url = format!("{}postgres://u:pw@h/db", " ".repeat(MAX_VALUE_BYTES - 15));
    for json in [true, false] {
        let lines = logged(json, || {
            tracing::info!(text = canary, shown = %canary, debug = ?Some(canary), cut, "text {canary}");
            tracing::info!(key = "AKIAIOSFODNN7EXAMPLE", long = url, url = %"postgres://u:pw@h/db", "x");
        });
        assert!(!lines.contains("canary") && !lines.contains("AKIA") && !lines.contains(":pw"), "{lines}");
        assert_eq!(lines.lines().count(), 2);
    }
}

/// Text as an attacker would write it.
fn hostile() -> impl Strategy<Value = String> {
    const PIECES: [&str; 12] = [
        "\n",
        "\r\n",
        "\u{1b}[2J",
        "\u{2028}",
        "\u{85}",
        "\u{202e}",
        "\"",
        "\\",
        "}",
        "{\"level\":\"error\"",
        " user=root",
        "=",
    ];
    let piece = prop_oneof![prop::sample::select(&PIECES[..]).prop_map(str::to_owned), any::<String>()];
    prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn json_values_never_add_lines_or_fields(user in hostile(), path in hostile(), text in hostile()) {
        let log = || tracing::info!(user, path = %path, text = ?text, last = 1, "{text}");
        let line = logged(true, log);
        prop_assert_eq!(line.lines().count(), 1);
        let object: serde_json::Map<String, Value> = serde_json::from_str(&line).unwrap();
        let names: Vec<_> = object.keys().map(String::as_str).collect();
        prop_assert_eq!(names, ["ts", "level", "msg", "user", "path", "text", "last"]);
        prop_assert_eq!(&object["user"], &Value::from(user.as_str()));
        prop_assert_eq!(&object["last"], 1);
    }

    #[test]
    fn text_values_never_add_lines_or_fields(user in hostile(), path in hostile(), text in hostile()) {
        let line = logged(false, || tracing::info!(user, path = %path, last = 1, "{text}"));
        prop_assert_eq!(line.chars().filter(|c| c.is_control()).collect::<String>(), "\n");
        prop_assert!(line.ends_with(" last=1\n"));
        // Outside of quotes are exactly the fields of the event.
        let outside: String = line.replace("\\\\", "").replace("\\\"", "").split('"').step_by(2).collect();
        prop_assert_eq!(outside.matches('=').count(), 3, "{}", line);
    }
}
