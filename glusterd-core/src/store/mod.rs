//! The coordinator as the daemon sees it: keys, records, the cluster image, guarded changes.

mod view;

pub use view::{Freshness, View};
