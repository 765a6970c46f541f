//! Who this node is, and which pool it belongs to.

mod alive;
mod guest;
mod homing;
mod identity;
mod invite;
mod own_store;
mod registry;

pub use alive::{Announced, Announcement};
pub use guest::Guest;
pub use homing::keep_home;
pub use identity::{Identity, IdentityError, keep_pool, load_or_create, write_identity};
pub use invite::Stranger;
pub use own_store::{Luggage, OwnStore};
pub use registry::{Registered, registered_at};
