//! This machine: brick directories, processes, hooks, mounts, addresses; behind one trait.
//!
//! Everything that touches the disk, spawns or signals goes through [`Host`], so that the rest can
//! be tested on [`fake::FakeHost`]. No decisions about the cluster here, no RPC, no coordinator.

mod address;
mod brick_dir;
mod dirs;
pub mod fake;
mod fs;
mod fs_detail;
mod hooks;
mod process;
mod real;

pub use brick_dir::{
    BrickPlace, BrickReady, MarkBrick, PrepareBrick, StartBrick, VolumeIdCheck, reason,
};
pub use dirs::{Dirs, LOG_DEFAULT, RUN_DEFAULT, WORK_DEFAULT};
pub use fs::BrickFs;
pub use fs_detail::FsDetail;
pub use hooks::{EVENTS as HOOK_EVENTS, HookQueue, HookRun, Phase};
pub use process::{Command, Exit, Process, ProcessRef, Signal};
pub use real::RealHost;

use async_trait::async_trait;
use std::fmt;
use std::io;
use std::time::Duration;
use uuid::Uuid;

/// What the daemon asks of the machine it runs on.
///
/// Blocking work runs on threads of its own; a brick's file system that hangs holds up the caller
/// alone. Texts in `Err(String)` go to users as they stand.
#[async_trait]
pub trait Host: fmt::Debug + Send + Sync + 'static {
    fn dirs(&self) -> &Dirs;

    /// Whether `ask.path` may become a brick; makes the directory, leaves no other mark.
    ///
    /// # Errors
    /// Stock's text. A directory made by this call is removed again.
    async fn check_brick(&self, ask: &PrepareBrick) -> Result<BrickPlace, String>;

    /// Makes a checked directory the volume's brick. Doing it twice is harmless.
    ///
    /// # Errors
    /// Stock's text.
    async fn mark_brick(&self, mark: &MarkBrick) -> Result<(), String>;

    /// Takes the volume's mark back, if it is there.
    ///
    /// # Errors
    /// A text for the log.
    async fn unmark_brick(&self, path: &str, volume_id: Uuid) -> Result<(), String>;

    /// Whether the brick may be started; with force a lost volume-id is put back.
    ///
    /// # Errors
    /// Stock's text.
    async fn check_brick_start(&self, ask: &StartBrick) -> Result<BrickReady, String>;

    /// Compares the brick root's volume-id: asked before every launch.
    async fn check_volume_id(&self, path: &str, volume: &[u8; 16]) -> VolumeIdCheck;

    /// The path without links; a path that does not exist comes back as it is.
    async fn real_path(&self, path: &str) -> io::Result<String>;

    /// Whether there is a directory at the path; what cannot be looked at is none.
    async fn is_directory(&self, path: &str) -> bool;

    /// Device, type, options and space of the file system that holds `path`.
    async fn fs_detail(&self, path: &str) -> io::Result<FsDetail>;

    /// A whole file of at most `bytes_max` bytes; a longer one is an error.
    async fn read(&self, path: &str, bytes_max: u64) -> io::Result<Vec<u8>>;

    /// Writes beside the file and renames over it: a reader sees the old or the new text.
    async fn write(&self, path: &str, bytes: &[u8]) -> io::Result<()>;

    /// Names of a folder's entries, in byte order.
    async fn list(&self, path: &str) -> io::Result<Vec<String>>;

    async fn make_dirs(&self, path: &str) -> io::Result<()>;

    async fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Gone already is fine.
    async fn unlink(&self, path: &str) -> io::Result<()>;

    /// Runs a program to its end. Past `bound` it is killed and the result is [`Exit::TimedOut`].
    ///
    /// For daemons this is the launcher: it ends when the daemon serves, or with its error.
    async fn run(&self, command: &Command, bound: Duration) -> io::Result<Exit>;

    /// Starts a program and does not wait for it.
    async fn spawn(&self, command: &Command) -> io::Result<()>;

    /// The process whose number stands in `pid_file`, if it is one of ours and alive.
    ///
    /// Alive: not a zombie, and a GlusterFS program. That it is *the* process is for the caller to
    /// judge from its arguments; numbers are reused.
    async fn process_of(&self, pid_file: &str) -> Option<Process>;

    /// Sends a signal, unless `target` has ended and its number went to another program.
    /// `false`: there was nothing to signal.
    async fn signal(&self, target: &ProcessRef, signal: Signal) -> io::Result<bool>;

    /// Waits until `target` has ended, `bound` at most (`None`: as long as it takes). `true`: ended.
    async fn exited(&self, target: &ProcessRef, bound: Option<Duration>) -> bool;

    /// Whether the process holds `path` open: tells which process carries an attached brick.
    async fn holds_open(&self, pid: i32, path: &str) -> bool;

    /// Whether a listener could have this TCP port now.
    fn port_is_free(&self, port: u16) -> bool;

    fn random(&self) -> u64;

    /// Seconds since 1970: names of rotated logs.
    fn unix_time_s(&self) -> u64;

    /// Whether the host name or address is this machine's.
    ///
    /// # Errors
    /// The name cannot be resolved, or not in time.
    async fn is_local(&self, host: &str) -> io::Result<bool>;

    /// What the name resolves to, or the address itself.
    ///
    /// # Errors
    /// The name cannot be resolved, or not in time.
    async fn addresses(&self, host: &str) -> io::Result<Vec<std::net::IpAddr>>;

    /// The addresses of this machine that others could reach: no loopback.
    ///
    /// # Errors
    /// The interfaces cannot be listed.
    fn own_addresses(&self) -> io::Result<Vec<std::net::IpAddr>>;

    /// The address of this machine from which packets go to `target`.
    ///
    /// # Errors
    /// There is no way to it.
    async fn address_towards(&self, target: std::net::IpAddr) -> io::Result<std::net::IpAddr>;

    /// Whether somebody takes a TCP connection there, within a few seconds.
    async fn reaches(&self, host: &str, port: u16) -> bool;

    /// Runs the scripts of one event one after another; failures are logged, as in stock.
    async fn run_hooks(&self, run: &HookRun);

    /// Detaches the mount at `path` from the tree; it ends when its last user is gone.
    async fn unmount_lazily(&self, path: &str) -> io::Result<()>;

    /// Whether the folder can be read; the error says why not.
    async fn check_dir(&self, path: &str) -> io::Result<()>;

    /// Whether the path itself, no link, is a directory; the error says why not.
    async fn lstat_dir(&self, path: &str) -> io::Result<()>;

    /// Writes into the file itself, as `>` in a shell does: a device stays a device.
    async fn overwrite(&self, path: &str, bytes: &[u8]) -> io::Result<()>;

    /// A new folder for this process alone, its name `prefix` and something random.
    async fn make_temp_dir(&self, prefix: &str) -> io::Result<String>;

    async fn remove_empty_dir(&self, path: &str) -> io::Result<()>;

    /// One extended attribute, a link at the end of the path not followed.
    async fn xattr(&self, path: &str, name: &str) -> io::Result<Vec<u8>>;

    /// Sets one, whatever it was before; a link at the end of the path not followed.
    async fn set_xattr(&self, path: &str, name: &str, value: &[u8]) -> io::Result<()>;

    async fn remove_xattr(&self, path: &str, name: &str) -> io::Result<()>;
}
