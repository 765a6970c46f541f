//! The tree under the working directory: the configuration in stock's own files.
//!
//! Written one way, from the cluster image; hook scripts, tools and upstream's tests read it. The
//! daemon itself believes it only while the coordinator is out of reach, to keep serving volfiles
//! and keep bricks up. It is also the way back: a stock daemon can start on it.
//! `text` and `parse` are pure, `tree` and `load` are the drivers.

mod disk;
mod load;
pub mod parse;
mod quota;
pub mod text;
mod tree;

pub use load::Loaded;
pub use tree::{Damage, Mirror, Observed, Report};
