//! The daemon as a library: rooms from the ground up, each naming only rooms above it in this list.
//!
//! `tests/house.rs` reads the imports and holds the order. What each room is for stands in
//! `ARCHITECTURE.md`.


pub mod cli;
pub mod model;
pub mod ops;
pub mod options;
pub mod rpc;
pub mod store;
pub mod supervise;
pub mod volgen;
