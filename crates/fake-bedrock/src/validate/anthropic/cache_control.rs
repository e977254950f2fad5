//! `cache_control` markers: positions, members, number and order.

use serde_json::Value;

use super::super::fields::extra;
use super::super::tools::cache_order;
use super::{Request, ValidationResult};
use crate::converse::items;
use crate::error::AwsError;

/// Checks all markers.
pub(super) fn check(request: &Request<'_>) -> ValidationResult {
    let mut hours = Vec::new();
    for (at, block) in marked(request.body) {
        let Some(mark) = block.get("cache_control").filter(|mark| !mark.is_null()) else {
            continue;
        };
        if !request.model.has("cache") {
            return Err(extra(&format!("{at}.cache_control")));
        }
        hours.push(check_mark(request, mark, &format!("{at}.cache_control"))?);
    }
    if let Some(mark) = request.members.get("cache_control").filter(|mark| !mark.is_null()) {
        let hour = check_mark(request, mark, "cache_control")?;
        // The top-level marker applies to the last block, so it counts as the last marker.
        hours.push(hour);
    }
    cache_order(&hours)
}

/// Blocks that may carry a marker, in cache order, with their paths.
fn marked(body: &Value) -> Vec<(String, &Value)> {
    let mut all = Vec::new();
    for (t, tool) in items(body, "tools").iter().enumerate() {
        all.push((format!("tools.{t}.{}", tool["type"].as_str().unwrap_or("custom")), tool));
    }
    for (b, block) in items(body, "system").iter().enumerate() {
        all.push((format!("system.{b}"), block));
    }
    for (m, message) in items(body, "messages").iter().enumerate() {
        for (c, block) in items(message, "content").iter().enumerate() {
            let kind = block["type"].as_str().unwrap_or_default();
            let at = format!("messages.{m}.content.{c}.{kind}");
            for (p, part) in items(block, "content").iter().enumerate() {
                let kind = part["type"].as_str().unwrap_or_default();
                all.push((format!("{at}.content.{p}.{kind}"), part));
            }
            all.push((at, block));
        }
    }
    all
}

/// Whether the time to live is one hour.
fn check_mark(request: &Request<'_>, mark: &Value, at: &str) -> Result<bool, AwsError> {
    let Some(members) = mark.as_object() else {
        return Err(AwsError::model(format!("{at}: Input should be a valid dictionary")));
    };
    let kind = mark["type"].as_str().unwrap_or_default();
    if kind != "ephemeral" {
        return Err(AwsError::model(format!(
            "{at}: Input tag '{kind}' found using 'type' does not match any of the expected tags: 'ephemeral'"
        )));
    }
    for (key, value) in members {
        let listed = match key.as_str() {
            "type" => true,
            "ttl" => value == "5m" || request.model.has("cache_1h"),
            _ => false,
        };
        if !listed {
            return Err(extra(&format!("{at}.ephemeral.{key}")));
        }
    }
    match mark.get("ttl").map(|ttl| ttl.as_str().unwrap_or_default()) {
        None | Some("5m") => Ok(false),
        Some("1h") => Ok(true),
        Some(_) => Err(AwsError::model(format!("{at}.ephemeral.ttl: Input should be '5m' or '1h'"))),
    }
}
