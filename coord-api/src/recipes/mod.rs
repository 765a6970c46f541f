//! What is made of the kernel once for all backends: view, receipts, election, lock.
//!
//! Nothing here knows a backend; the conformance suite runs all of it on each.

mod election;
mod lock;
mod receipts;
mod tenure;
mod view;

pub use election::{Election, LeaderView, Leadership};
pub use lock::{Lock, LockGuard};
pub use receipts::{Receipts, Resolved};
pub use tenure::HolderLoss;
pub use view::{Follow, Freshness, Image, View, ViewDiff};
