//! Who this node is, and which pool it belongs to.

mod alive;
mod identity;
mod registry;

pub use alive::{Announced, Announcement};
pub use identity::{Identity, IdentityError, keep_pool, load_or_create, write_identity};
pub use registry::{Registered, registered_at};
