//! The coordinator as the daemon sees it: keys, records, the cluster image, guarded changes.

mod edit;
mod follow;
mod image;
pub mod keys;
mod live;
mod pool_records;
mod present;
pub mod records;
pub mod transfer;
mod view;

pub use edit::{Adoption, Edit, guarded};
pub use image::{Image, Sight};
pub use keys::Pool;
pub use live::{CommitError, Place, Store};
pub use view::{Freshness, View};
