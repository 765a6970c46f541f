//! Ring four: whole daemons in this process, on a coordinator and a machine in memory.
//!
//! Commands go in as the dicts the CLI sends, answers come out; the daemon dies at every single
//! call it makes to its machine or its coordinator, and is started again on what is left.

mod behind;
mod growing;
mod many;
mod matrix;
mod members;
mod mortal;
mod moving;
mod pool;
mod together;
mod unknown;
mod world;
