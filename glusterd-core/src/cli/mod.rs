//! The commands of the stock `gluster` program: a file per family, a row per command.
//!
//! A command parses its dict into a request, plans purely, and writes the reply; `ops` drives it.
//! Adding one touches its family's file and the table below.

mod add_brick;
mod args;
mod bitrot;
mod bricks;
mod create;
mod delete;
mod detach;
mod get;
mod graphs;
mod heal;
mod info;
mod masters;
mod motion;
#[cfg(test)]
mod motion_tests;
pub mod peers;
mod probe;
mod quota;
mod rebalance;
mod remove_brick;
mod remove_layout;
mod replace_brick;
mod reset;
mod set;
mod small;
mod snapshot;
mod start;
mod state;
mod state_text;
mod stats;
mod status;
mod stop;
mod sync;
mod table;
#[cfg(test)]
mod transcripts;
mod upkeep;

pub use args::{Args, no_such_volume};
pub use bricks::{BrickPlan, place_bricks};
pub use table::{NOT_SERVED, ROWS, Row, row};
