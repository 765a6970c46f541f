//! The tree under the working directory: the configuration in stock's own files.
//!
//! Written one way, from the cluster image; hook scripts, tools and upstream's tests read it. The
//! daemon itself believes it only while the coordinator is out of reach, to keep serving volfiles
//! and keep bricks up. It is also the way back: a stock daemon can start on it.
//! `text` and `parse` are pure, `tree` is the driver.

mod disk;
pub mod parse;
mod quota;
pub mod text;
mod tree;

pub use tree::{Damage, Loaded, Mirror, Observed, Report};
