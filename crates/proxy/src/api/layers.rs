//! The layers around every route, outermost first: `cors`, `request_id`, `record`, `catch_panic`, `host`; and those of a
//! route group: `error_format`, `cross_site`, `authenticate`, `body_limit`.

pub(crate) mod authenticate;
pub(crate) mod body_limit;
pub(crate) mod catch_panic;
pub(crate) mod cors;
mod counting;
pub(crate) mod cross_site;
pub(crate) mod error_format;
pub(crate) mod host;
pub(crate) mod record;
pub(crate) mod request_id;
