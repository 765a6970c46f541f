//! Which processes should run on this node, and what is done until they do.

pub mod ports;
