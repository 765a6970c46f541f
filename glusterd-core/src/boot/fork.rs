//! The one call that splits the process in two.

#![allow(unsafe_code)]

use nix::unistd::{ForkResult, fork};

/// Forks. To be called before the process has a second thread.
///
/// # Errors
/// What fork(2) gave.
pub fn split() -> nix::Result<ForkResult> {
    // SAFETY: after fork only async-signal-safe calls are allowed in the child if the process had several
    // threads, because a lock may be held by a thread the child does not have. `start.rs` calls this
    // before the log's thread and the runtime exist, and nothing in `boot` starts a thread earlier.
    unsafe { fork() }
}
