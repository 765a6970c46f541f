//! Cluster op-versions: what the pool as a whole understands.
//!
//! Facts: libglusterfs/src/glusterfs/globals.h (v10.3): minimum 1, maximum of 10.x 100000.

pub const OP_VERSION_MIN: u32 = 1;
pub const OP_VERSION_MAX: u32 = 100_000;
