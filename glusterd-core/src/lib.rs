//! The daemon as a library: rooms from the ground up, each naming only rooms above it in this list.
//!
//! `tests/house.rs` reads the imports and holds the order. What each room is for stands in
//! `ARCHITECTURE.md`.

pub mod model;

pub mod rpc;

pub mod options;

pub mod store;

pub mod volgen;

pub mod host;

pub mod membership;

pub mod mirror;

pub mod supervise;

pub mod ops;

pub mod cli;

pub mod tasks;

pub mod serve;

pub mod boot;

pub mod daemon;
