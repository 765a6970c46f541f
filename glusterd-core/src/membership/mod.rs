//! Who this node is, and which pool it belongs to.

mod alive;
mod guest;
mod headcount;
mod homecoming;
mod homing;
mod identity;
mod invite;
mod masters;
mod outage;
mod own_store;
mod registry;

pub use alive::{Announced, Announcement};
pub use guest::Guest;
pub use headcount::count_heads;
pub use homecoming::Homecoming;
pub use homing::keep_home;
pub use identity::{Identity, IdentityError, keep_pool, load_or_create, write_identity};
pub use invite::Stranger;
pub use masters::{keep_masters, member, names as master_names, without as without_master};
pub use outage::tell_outages;
pub use own_store::{Luggage, OwnStore, is_free};
pub use registry::{Registered, registered_at};
