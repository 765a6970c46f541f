//! Upkeep that nobody asks for by a command: every node looks at the image and does what is missing.
//!
//! An activity takes no input but the image and what it observes, and may run twice or on two nodes at
//! once without harm: every write is guarded by what it was decided from. Nothing here talks to
//! users.

mod closing;
mod keeper;
mod rewriting;

pub use keeper::Keeper;
