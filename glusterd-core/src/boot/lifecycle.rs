//! What ties a running daemon to the world outside: ready, stop, dump, logs.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::cmd_history::CmdHistory;
use super::logging::LogControl;

/// Handed to the daemon's `run`.
#[derive(Clone, Debug)]
pub struct Lifecycle {
    /// To be signalled once both listeners exist and the state is restored.
    pub ready: Ready,
    /// Cancelled on TERM or INT: stop listening, close the session, return. Bricks are left alone.
    pub stop: CancellationToken,
    /// Notified on USR1: write a state dump.
    pub dump: Arc<Notify>,
    pub log: LogControl,
    pub history: CmdHistory,
}

/// The promise of readiness: the parent process, the service manager or a pid file waits for it.
#[derive(Clone, Debug)]
pub struct Ready(Arc<Mutex<Waiting>>);

#[derive(Debug)]
pub(super) enum Waiting {
    /// The parent of a daemonised child reads this pipe to its end; `start.rs` says what it does then.
    Parent(OwnedFd),
    /// In the foreground the pid file is ours to write.
    Foreground(Option<PathBuf>),
    Nobody,
}

impl Ready {
    pub(super) fn new(waiting: Waiting) -> Ready {
        Ready(Arc::new(Mutex::new(waiting)))
    }

    /// Says that commands are answered from now on. Saying it twice is harmless.
    ///
    /// # Errors
    /// The pid file could not be written.
    pub fn signal(&self) -> io::Result<()> {
        match std::mem::replace(&mut *self.0.lock(), Waiting::Nobody) {
            Waiting::Parent(pipe) => fs::File::from(pipe).write_all(&[0])?,
            Waiting::Foreground(pid_file) => {
                if let Some(path) = pid_file {
                    write_pid_file(&path, std::process::id())?;
                }
            }
            Waiting::Nobody => return Ok(()),
        }
        // Without a service manager there is no socket to tell, and no harm in that.
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
        Ok(())
    }

    /// Says that nothing will come of it; true if somebody was told who shows it to the user.
    pub(super) fn fail(&self, exit: u8, text: &str) -> bool {
        match std::mem::replace(&mut *self.0.lock(), Waiting::Nobody) {
            Waiting::Parent(pipe) => {
                let mut pipe = fs::File::from(pipe);
                pipe.write_all(&[exit]).and_then(|()| pipe.write_all(text.as_bytes())).is_ok()
            }
            Waiting::Foreground(_) | Waiting::Nobody => false,
        }
    }
}

/// `PID\n`, over what was there. Nobody removes it at the end, as in stock.
pub(super) fn write_pid_file(path: &Path, pid: u32) -> io::Result<()> {
    fs::write(path, format!("{pid}\n"))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn told(tell: impl FnOnce(&Ready)) -> Vec<u8> {
        let (read, write) = nix::unistd::pipe().unwrap();
        let ready = Ready::new(Waiting::Parent(write));
        tell(&ready);
        drop(ready);
        let mut bytes = Vec::new();
        fs::File::from(read).read_to_end(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn the_parent_hears_once() {
        assert_eq!(told(|ready| (ready.signal().unwrap(), ready.signal().unwrap()).0), [0]);
        assert_eq!(told(|ready| drop((ready.fail(1, "no"), ready.signal()))), b"\x01no");
        assert_eq!(told(|_| ()), b"", "a child that dies says nothing");
    }

    #[test]
    fn the_foreground_writes_its_own_pid_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pid");
        fs::write(&path, "something longer than a pid\n").unwrap();
        Ready::new(Waiting::Foreground(Some(path.clone()))).signal().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()));
    }
}
