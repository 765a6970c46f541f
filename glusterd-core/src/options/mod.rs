//! What can be set on a volume or on the pool, and what follows from it.
//!
//! Data (`table`) and pure functions of volumes and options. No I/O, no translator graphs
//! (`volgen`); what needs the host or a graph comes in as a value or a closure.

mod creation;
mod lookup;
mod opt;
mod table;

pub use creation::{refresh_op_versions, set_creation_defaults};
pub use lookup::{find, resolve};
pub use opt::{Declared, Help, Opt, Range, Reset, Rule, Scope, Value};
pub use table::TABLE;
