//! The coordinator as the daemon sees it: keys, records, the cluster image, guarded changes.

mod edit;
mod follow;
mod image;
pub mod keys;
pub mod records;
mod view;

pub use edit::{Edit, guarded};
pub use follow::{CommitError, Store};
pub use image::{Image, Sight};
pub use keys::Pool;
pub use view::{Freshness, View};
