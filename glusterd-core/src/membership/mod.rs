//! Who this node is, and which pool it belongs to.

mod alive;
mod identity;

pub use alive::announce;
pub use identity::{Identity, IdentityError, load_or_create, write_identity};
