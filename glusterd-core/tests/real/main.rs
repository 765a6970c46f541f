//! The real thing: our daemon, and stock's beside it, under the unmodified CLI, bricks and mounts.
//!
//! Every test builds a [`sandbox::Sandbox`], a set of Linux namespaces with folders in memory; what runs in it
//! ends with it. Needs root, Debian's GlusterFS 10.3 and /dev/fuse; a missing part fails the test.

mod arrival;
mod boot;
mod commands;
mod compare;
mod crash;
mod dice;
mod field;
mod kill;
mod motion;
mod normal;
mod pains;
mod pool;
mod random;
mod rescue;
mod sandbox;
mod secure;
mod service;
mod writer;
