//! What counts are split by. Every label comes from a closed list or through [`Names`], so that no series can be made
//! up without end.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use prometheus_client::encoding::{EncodeLabel, EncodeLabelSet, LabelSetEncoder};

/// A name out of [`Names`], or a word of a closed list. Cheap to clone.
pub type Name = Arc<str>;

/// Names that are kept apart, up to a number of them; further ones are `other`.
#[derive(Debug)]
pub(super) struct Names {
    known: RwLock<HashSet<Name>>,
    most: usize,
}

impl Names {
    pub(super) fn new(most: usize) -> Self {
        Self { known: RwLock::default(), most }
    }

    /// The name itself, or `other`. Takes no memory for a name that is known.
    pub(super) fn get(&self, name: &str) -> Name {
        if let Some(known) = self.known.read().unwrap_or_else(PoisonError::into_inner).get(name) {
            return Arc::clone(known);
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= self.most {
            return "other".into();
        }
        let name: Name = name.into();
        known.insert(Arc::clone(&name));
        name
    }

    /// Knows `name`, beyond the number of others.
    pub(super) fn reserve(&mut self, name: &str) {
        if self.known.get_mut().unwrap_or_else(PoisonError::into_inner).insert(name.into()) {
            self.most += 1;
        }
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(super) struct Request {
    pub(super) route: Name,
    pub(super) method: &'static str,
    pub(super) status: u16,
    pub(super) client: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(super) struct RouteStatus {
    pub(super) route: Name,
    pub(super) status: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(super) struct Route {
    pub(super) route: Name,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(super) struct Upstream {
    pub(super) model: Name,
    pub(super) region: Name,
    pub(super) api: &'static str,
    pub(super) outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(super) struct ModelRegion {
    pub(super) model: Name,
    pub(super) region: Name,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(super) struct Model {
    pub(super) model: Name,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(super) struct Reason {
    pub(super) reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(super) struct Phase {
    pub(super) phase: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(super) struct Lesson {
    pub(super) api: &'static str,
    pub(super) lesson: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(super) struct Decision {
    pub(super) scope: &'static str,
    pub(super) decision: &'static str,
    pub(super) reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(super) struct State {
    pub(super) state: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(super) struct Version {
    pub(super) version: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(super) struct Build {
    pub(super) version: &'static str,
    pub(super) commit: &'static str,
}

/// Whose tokens or money; `kind` and `user` are left out where they say nothing.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
pub(super) struct Spending {
    pub(super) model: Name,
    pub(super) team: Name,
    pub(super) kind: Option<&'static str>,
    pub(super) user: Option<Name>,
}

impl EncodeLabelSet for Spending {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), fmt::Error> {
        ("model", &*self.model).encode(encoder.encode_label())?;
        if let Some(kind) = self.kind {
            ("type", kind).encode(encoder.encode_label())?;
        }
        ("team", &*self.team).encode(encoder.encode_label())?;
        match &self.user {
            Some(user) => ("user", &**user).encode(encoder.encode_label()),
            None => Ok(()),
        }
    }
}
