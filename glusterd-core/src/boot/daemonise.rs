//! Into the background: the child carries on, the parent waits for its word and leaves.
//!
//! Facts: glusterfsd/src/glusterfsd.c:2158-2260 and :2358-2457 (v10.3). Unlike stock's, the parent also
//! shows why the child failed.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::fcntl::OFlag;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, chdir, dup2_stderr, dup2_stdin, dup2_stdout, pipe2, setsid};

use super::fork;
use super::lifecycle::{Ready, Waiting, write_pid_file};

/// Longest complaint a parent repeats, in bytes.
const COMPLAINT_BYTES_MAX: u64 = 64 * 1024;

/// Which of the two processes this is.
pub enum Side {
    /// The daemon; the parent waits for `Ready`.
    Child(Ready),
    /// The child's word is in: exit with this.
    Parent(u8),
}

/// Splits the process; the parent returns when the child is ready, has failed or has died.
///
/// # Errors
/// A sentence: pipe, fork or the switch to the background failed.
pub fn daemonise(pid_file: Option<&Path>) -> Result<Side, String> {
    let wrong = |what: &'static str| move |error: nix::Error| format!("{what}: {error}");
    // Closed on exec, or a brick would keep the parent waiting.
    let (read, write) = pipe2(OFlag::O_CLOEXEC).map_err(wrong("pipe"))?;
    match fork::split().map_err(wrong("fork"))? {
        ForkResult::Parent { child } => {
            drop(write);
            Ok(Side::Parent(attend(child, read, pid_file)))
        }
        ForkResult::Child => {
            drop(read);
            let ready = Ready::new(Waiting::Parent(write));
            setsid().map_err(wrong("setsid"))?;
            chdir("/").map_err(wrong("chdir /"))?;
            silence()?;
            Ok(Side::Child(ready))
        }
    }
}

fn silence() -> Result<(), String> {
    let null = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")
        .map_err(|error| format!("/dev/null: {error}"))?;
    let wrong = |error: nix::Error| format!("dup2: {error}");
    dup2_stdin(&null).map_err(wrong)?;
    dup2_stdout(&null).map_err(wrong)?;
    dup2_stderr(&null).map_err(wrong)
}

/// The parent's part: wait, write the pid file, choose the exit status.
fn attend(child: Pid, pipe: OwnedFd, pid_file: Option<&Path>) -> u8 {
    let mut word = Vec::new();
    let heard = File::from(pipe).take(COMPLAINT_BYTES_MAX).read_to_end(&mut word);
    match (heard, word.split_first()) {
        (Ok(_), Some((0, _))) => {
            match pid_file.map(|path| write_pid_file(path, child.as_raw().unsigned_abs())) {
                None | Some(Ok(())) => 0,
                Some(Err(error)) => {
                    eprintln!("glusterd: the pid file cannot be written: {error}");
                    1
                }
            }
        }
        (Ok(_), Some((exit, text))) => {
            eprintln!("glusterd: {}", String::from_utf8_lossy(text));
            *exit
        }
        // It died without a word.
        _ => match waitpid(child, None) {
            Ok(WaitStatus::Exited(_, status)) => u8::try_from(status).unwrap_or(1).max(1),
            _ => 1,
        },
    }
}
