//! The one call that splits the process in two, and what the starter left open.

#![allow(unsafe_code)]

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::unistd::{ForkResult, fork};
use std::os::fd::BorrowedFd;

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

/// Keeps from bricks and hooks what whoever started this process left open beyond the three standard
/// streams. To be called before the process opens anything.
pub fn keep_from_children() {
    let Ok(listed) = std::fs::read_dir("/proc/self/fd") else { return };
    let numbers = listed.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    // All of them first: the listing has a descriptor of its own.
    let open: Vec<i32> = numbers.filter(|fd| *fd > 2).collect();
    for fd in open {
        // SAFETY: borrowed for this call alone, which fails with EBADF on one that is closed.
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        let _closed_meanwhile = fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC));
    }
}
