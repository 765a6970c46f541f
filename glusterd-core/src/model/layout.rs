//! How bricks combine: kind, counts, arithmetic.
//!
//! Facts: `type` and counts of vols/V/info; xlators/mgmt/glusterd/src/glusterd-store.c:765 (v10.3).

/// What a subvolume is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Distribute,
    Replicate,
    Disperse,
}

impl Kind {
    /// Number in `info` files and dicts (`type`).
    pub fn code(self) -> u32 {
        match self {
            Kind::Distribute => 0,
            Kind::Replicate => 2,
            Kind::Disperse => 4,
        }
    }

    pub fn from_code(code: u32) -> Option<Kind> {
        match code {
            0 => Some(Kind::Distribute),
            2 => Some(Kind::Replicate),
            4 => Some(Kind::Disperse),
            _ => None,
        }
    }
}

/// Counts per subvolume. `replica` is 1 unless replicate and includes the arbiter, but not a thin
/// arbiter; `disperse` and `redundancy` are 0 unless disperse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    pub kind: Kind,
    pub replica: u32,
    pub arbiter: u32,
    pub thin_arbiter: u32,
    pub disperse: u32,
    pub redundancy: u32,
}

impl Layout {
    pub const DISTRIBUTE: Layout = Layout {
        kind: Kind::Distribute,
        replica: 1,
        arbiter: 0,
        thin_arbiter: 0,
        disperse: 0,
        redundancy: 0,
    };

    /// Bricks in one subvolume.
    pub fn leaf(&self) -> usize {
        match self.kind {
            Kind::Distribute => 1,
            Kind::Replicate => self.replica.max(1) as usize,
            Kind::Disperse => self.disperse.max(1) as usize,
        }
    }

    /// `sub_count` of the info file and `dist_count` of the reply: 0 for a plain distribute volume.
    pub fn sub_count(&self) -> usize {
        match self.leaf() {
            1 => 0,
            n => n,
        }
    }

    pub fn subvolumes(&self, bricks: usize) -> usize {
        bricks / self.leaf()
    }

    /// Whether brick number `index` (from 0) is an arbiter.
    pub fn is_arbiter(&self, index: usize) -> bool {
        self.arbiter > 0 && (index + 1).is_multiple_of(self.leaf())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic() {
        let r3a1 = Layout { kind: Kind::Replicate, replica: 3, arbiter: 1, ..Layout::DISTRIBUTE };
        assert_eq!((r3a1.leaf(), r3a1.sub_count(), r3a1.subvolumes(6)), (3, 3, 2));
        assert!(r3a1.is_arbiter(2) && r3a1.is_arbiter(5) && !r3a1.is_arbiter(3));
        let plain = Layout::DISTRIBUTE;
        assert_eq!((plain.leaf(), plain.sub_count(), plain.subvolumes(4)), (1, 0, 4));
    }
}
