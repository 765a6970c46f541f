//! What can be set on a volume or on the pool, and what follows from it.
//!
//! Data (`table`) and pure functions of volumes and options. No I/O, no translator graphs
//! (`volgen`); what needs the host or a graph comes in as a value or a closure.

mod address;
mod creation;
mod facts;
mod lookup;
mod node;
mod number;
mod opt;
mod pattern;
mod table;
mod value;

pub use creation::{refresh_op_versions, set_creation_defaults};
pub use facts::{NodeFacts, OldClient};
pub use lookup::{find, resolve};
pub use node::{Node, check_nodes, declaration};
pub use opt::{Declared, Help, Opt, Range, Reset, Rule, Scope, Value};
pub use table::TABLE;
pub use value::check_value;
