//! Which directories of a volume have a quota limit.
//!
//! The limits themselves are extended attributes on the bricks; here is the list that `quota list`
//! walks, in the order in which limits were set.

use uuid::Uuid;

/// Limits in one list: it shares the record of its volume, which a coordinator bounds.
pub const QUOTA_LIMITS_MAX: usize = 8000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitKind {
    Usage,
    Objects,
}

/// A directory by its GlusterFS id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaLimit {
    pub gfid: Uuid,
    pub kind: LimitKind,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QuotaList {
    /// Grows with every limit added or removed; disabling quota starts it anew.
    pub version: u32,
    pub limits: Vec<QuotaLimit>,
}

impl QuotaList {
    pub fn contains(&self, limit: QuotaLimit) -> bool {
        self.limits.contains(&limit)
    }

    /// A limit that is there keeps its place.
    pub fn add(&mut self, limit: QuotaLimit) {
        if !self.contains(limit) {
            self.limits.push(limit);
            self.version += 1;
        }
    }

    pub fn remove(&mut self, limit: QuotaLimit) {
        let before = self.limits.len();
        self.limits.retain(|known| *known != limit);
        self.version += u32::from(self.limits.len() != before);
    }
}
