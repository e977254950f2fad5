//! `cache_control` markers: positions, members, number and order.

use serde_json::Value;

use super::super::fields::extra_input;
use super::super::tools::check_cache_order;
use super::{Request, ValidationResult};
use crate::converse::items;
use crate::error::AwsError;

/// Checks all markers.
pub(super) fn check(request: &Request<'_>) -> ValidationResult {
    let mut one_hour_flags = Vec::new();
    for (at, block) in cacheable_blocks(request.body) {
        let Some(marker) = block.get("cache_control").filter(|marker| !marker.is_null()) else {
            continue;
        };
        if !request.model.has("cache") {
            return Err(extra_input(&format!("{at}.cache_control")));
        }
        one_hour_flags.push(check_marker(request, marker, &format!("{at}.cache_control"))?);
    }
    if let Some(marker) = request.members.get("cache_control").filter(|marker| !marker.is_null()) {
        let is_one_hour = check_marker(request, marker, "cache_control")?;
        // The top-level marker applies to the last block, so it counts as the last marker.
        one_hour_flags.push(is_one_hour);
    }
    check_cache_order(&one_hour_flags)
}

/// Blocks that may carry a marker, in cache order, with their paths.
fn cacheable_blocks(body: &Value) -> Vec<(String, &Value)> {
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
fn check_marker(request: &Request<'_>, marker: &Value, at: &str) -> Result<bool, AwsError> {
    let Some(members) = marker.as_object() else {
        return Err(AwsError::model(format!("{at}: Input should be a valid dictionary")));
    };
    let kind = marker["type"].as_str().unwrap_or_default();
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
            return Err(extra_input(&format!("{at}.ephemeral.{key}")));
        }
    }
    match marker.get("ttl").map(|ttl| ttl.as_str().unwrap_or_default()) {
        None | Some("5m") => Ok(false),
        Some("1h") => Ok(true),
        Some(_) => Err(AwsError::model(format!("{at}.ephemeral.ttl: Input should be '5m' or '1h'"))),
    }
}
