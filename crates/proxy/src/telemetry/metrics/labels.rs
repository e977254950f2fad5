//! Labels of the metrics. Every value comes from a closed list or through [`BoundedLabels`], so that clients cannot create
//! series without end.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use prometheus_client::encoding::{EncodeLabel, EncodeLabelSet, LabelSetEncoder};

/// Value out of `BoundedLabels`, or a word of a closed list. Cheap to clone.
pub(crate) type LabelValue = Arc<str>;

/// Label values that are kept apart, up to a maximum; further ones become `other`.
#[derive(Debug)]
pub(super) struct BoundedLabels {
    values: RwLock<HashSet<LabelValue>>,
    max: usize,
}

impl BoundedLabels {
    pub(super) fn new(max: usize) -> Self {
        Self { values: RwLock::default(), max }
    }

    /// The value itself, or `other` beyond the maximum. Allocates for new values only.
    pub(super) fn get(&self, value: &str) -> LabelValue {
        if let Some(present) = self.values.read().unwrap_or_else(PoisonError::into_inner).get(value) {
            return Arc::clone(present);
        }
        let mut values = self.values.write().unwrap_or_else(PoisonError::into_inner);
        if values.len() >= self.max {
            return "other".into();
        }
        let value: LabelValue = value.into();
        values.insert(Arc::clone(&value));
        value
    }

    /// Adds `value` beyond the maximum.
    pub(super) fn reserve(&mut self, value: &str) {
        if self.values.get_mut().unwrap_or_else(PoisonError::into_inner).insert(value.into()) {
            self.max += 1;
        }
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(super) struct RequestLabels {
    pub(super) route: LabelValue,
    pub(super) method: &'static str,
    pub(super) status: u16,
    pub(super) client: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(super) struct RouteStatusLabels {
    pub(super) route: LabelValue,
    pub(super) status: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(super) struct RouteLabels {
    pub(super) route: LabelValue,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(super) struct AttemptLabels {
    pub(super) model: LabelValue,
    pub(super) region: LabelValue,
    pub(super) api: &'static str,
    pub(super) outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(super) struct ModelRegionLabels {
    pub(super) model: LabelValue,
    pub(super) region: LabelValue,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(super) struct ModelLabels {
    pub(super) model: LabelValue,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(super) struct ReasonLabels {
    pub(super) reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(super) struct PhaseLabels {
    pub(super) phase: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(super) struct UnsupportedFeatureLabels {
    pub(super) api: &'static str,
    pub(super) feature: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(super) struct QuotaDecisionLabels {
    pub(super) scope: &'static str,
    pub(super) decision: &'static str,
    pub(super) reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(super) struct StateLabels {
    pub(super) state: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(super) struct VersionLabels {
    pub(super) version: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(super) struct BuildLabels {
    pub(super) version: &'static str,
    pub(super) commit: &'static str,
}

/// Labels of tokens and cost; `kind` and `user` are left out where they do not apply.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
pub(super) struct ChargeLabels {
    pub(super) model: LabelValue,
    pub(super) team: LabelValue,
    pub(super) kind: Option<&'static str>,
    pub(super) user: Option<LabelValue>,
}

impl EncodeLabelSet for ChargeLabels {
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
