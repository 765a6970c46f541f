//! What can be set on a volume or on the pool, and what follows from it.
//!
//! Data (`table`) and pure functions of volumes and options. No I/O, no translator graphs
//! (`volgen`); what needs the host or a graph comes in as a value or a closure.

mod address;
mod apply;
mod creation;
mod facts;
mod feature;
mod get;
mod help;
mod lookup;
mod node;
pub mod number;
mod opt;
mod own;
mod pattern;
mod reset;
mod rule;
mod set;
mod sweep;
mod table;
mod value;

pub use apply::{Change, apply_set};
pub use creation::{refresh_op_versions, set_client_threads, set_creation_defaults};
pub use facts::{NodeFacts, OldClient};
pub use feature::{disable_bitrot, disable_quota, enable_bitrot, enable_inode_quota, enable_quota};
pub use get::{Values, all_of_pool, all_of_volume, one_of_pool, one_of_volume};
pub use help::{help_text, help_xml};
pub use lookup::{find, resolve};
pub use node::{Node, check_nodes, declaration};
pub use opt::{Declared, Help, Opt, Range, Reset, Rule, Scope, Value};
pub use own::{MASTERS, OWN};
pub use reset::{ResetChange, ResetRequest, reset};
pub use set::{Graphs, Needs, Pool, Set, Target, stage_set};
pub use sweep::{RECORDS_MAX, take_in};
pub use table::TABLE;
pub use value::check_value;
