//! One operation across the pool: ask the nodes concerned, commit one change, let them settle.
//!
//! A command decides (`plan`, pure); the engine acts. There is no undo: before the commit nothing
//! has happened that matters, after it nodes converge however often they crash.

mod concerned;
mod converge;
mod engine;
mod held;
mod letter;
mod marks;
mod node;
mod node_locks;
mod node_motion;
mod node_peers;
mod node_quota;
mod node_upkeep;
mod partings;
mod pool_nodes;
mod post;
mod processes;
mod question;
mod quota;
mod refusals;
mod step;
mod supervised;

pub use converge::{Announce, Converger, Progress};
pub use engine::{Change, Engine, NodeFailed, Nodes};
pub use marks::Marks;
pub use node::{Clients, LocalNode};
pub use node_motion::moving;
pub use partings::Partings;
pub use pool_nodes::PoolNodes;
pub use post::Post;
pub use processes::Processes;
pub use question::*;
pub use quota::QuotaAsk;
pub use step::*;
