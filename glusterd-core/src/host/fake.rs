//! A machine in memory: directories, files, processes and ports that obey, or fail as told.
//!
//! For tests of everything above this room. Nothing here may look at the real machine; chance
//! comes from the seed alone.

mod faults;
mod made_up;

use super::brick_dir::{check, check_start, check_volume_id, mark, mount_dir, mount_root, unmark};
use super::fs::{BrickFs, MemFs, MemNode};
use super::{
    BrickPlace, BrickReady, Command, Dirs, Exit, FsDetail, HookRun, Host, MarkBrick, PrepareBrick,
    Process, ProcessRef, Signal, StartBrick, VolumeIdCheck,
};
use async_trait::async_trait;
pub use faults::Faults;
use made_up::{absent, address_of, brick_port, next};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Duration;
use tokio::sync::watch;
use uuid::Uuid;

#[derive(Debug, Default)]
struct State {
    processes: BTreeMap<i32, Process>,
    files: BTreeMap<String, Vec<u8>>,
    open: BTreeSet<(i32, String)>,
    ports: BTreeSet<u16>,
    last_pid: i32,
    chance: u64,
    faults: Faults,
    launched: Vec<Command>,
    signals: Vec<(i32, Signal)>,
    hooks: Vec<HookRun>,
    local: BTreeSet<String>,
    reachable: BTreeSet<String>,
}

#[derive(Debug)]
pub struct FakeHost {
    dirs: Dirs,
    pub fs: MemFs,
    state: Mutex<State>,
    /// Counts changes of the process table.
    changed: watch::Sender<u64>,
    /// Whether programs wait before they start.
    held: watch::Sender<bool>,
}

impl FakeHost {
    /// A machine with `/`, `/tmp` and a mount on `/bricks`. `seed` decides everything random.
    pub fn new(seed: u64) -> FakeHost {
        let fs = MemFs::default();
        fs.put("/bricks", MemNode { dev: 2, ..MemNode::default() });
        fs.put("/tmp", MemNode::default());
        let state = State { last_pid: 1000, chance: seed, ..State::default() };
        FakeHost {
            dirs: Dirs::default(),
            fs,
            state: Mutex::new(state),
            changed: watch::Sender::new(0),
            held: watch::Sender::new(false),
        }
    }

    pub fn set_faults(&self, faults: Faults) {
        self.state.lock().faults = faults;
    }

    pub fn add_local(&self, host: &str) {
        self.state.lock().local.insert(host.to_owned());
    }

    /// Whether somebody takes connections there.
    pub fn set_reachable(&self, host: &str, reachable: bool) {
        let known = &mut self.state.lock().reachable;
        known.retain(|name| name != host);
        known.extend(reachable.then(|| host.to_owned()));
    }

    pub fn occupy_port(&self, port: u16) {
        self.state.lock().ports.insert(port);
    }

    /// A process opened a path (a brick that was attached to it).
    pub fn open_path(&self, pid: i32, path: &str) {
        self.state.lock().open.insert((pid, path.to_owned()));
    }

    /// Ends a process as `kill -9` from outside would: its pid file stays.
    pub fn kill(&self, pid: i32) {
        self.end(pid);
    }

    /// While held, programs that somebody waits for do not start.
    pub fn hold(&self, held: bool) {
        self.held.send_replace(held);
    }

    /// Every program started so far, waited for or not.
    pub fn launched(&self) -> Vec<Command> {
        self.state.lock().launched.clone()
    }

    pub fn signals(&self) -> Vec<(i32, Signal)> {
        self.state.lock().signals.clone()
    }

    pub fn hooks(&self) -> Vec<HookRun> {
        self.state.lock().hooks.clone()
    }

    pub fn processes(&self) -> Vec<Process> {
        self.state.lock().processes.values().cloned().collect()
    }

    pub fn has_file(&self, path: &str) -> bool {
        self.state.lock().files.contains_key(path)
    }

    fn end(&self, pid: i32) {
        let mut state = self.state.lock();
        if let Some(process) = state.processes.remove(&pid) {
            if let Some(port) = brick_port(&process) {
                state.ports.remove(&port);
            }
            state.open.retain(|(owner, _)| *owner != pid);
        }
        drop(state);
        self.changed.send_modify(|count| *count += 1);
    }

    fn launch(&self, command: &Command) -> Exit {
        let mut state = self.state.lock();
        state.launched.push(command.clone());
        let failed = match state.faults.next_exits.pop_front() {
            Some(code) => code,
            None => i32::from(next(&mut state.chance) % 100 < state.faults.launch_fails_percent),
        };
        if failed != 0 {
            return Exit::Code(failed);
        }
        state.last_pid += 1;
        let pid = state.last_pid;
        let args = [vec![command.program.clone()], command.args.clone()].concat();
        let process = Process { pid, args };
        if let Some(port) = brick_port(&process)
            && !state.ports.insert(port)
        {
            return Exit::Code(nix::libc::EADDRINUSE);
        }
        let pid_file = command.option("-p").or_else(|| command.option("--pid-file"));
        if let Some(pid_file) = pid_file {
            state.files.insert(pid_file.to_owned(), format!("{pid}\n").into_bytes());
        }
        if let Some(brick) = command.option("--brick-name") {
            state.open.insert((pid, brick.to_owned()));
        }
        state.processes.insert(pid, process);
        drop(state);
        self.changed.send_modify(|count| *count += 1);
        Exit::Code(0)
    }

    fn is_alive(&self, target: &ProcessRef) -> bool {
        let state = self.state.lock();
        state.processes.get(&target.pid).is_some_and(|process| process.has(&target.marker))
    }
}

#[async_trait]
impl Host for FakeHost {
    fn dirs(&self) -> &Dirs {
        &self.dirs
    }

    async fn check_brick(&self, ask: &PrepareBrick) -> Result<BrickPlace, String> {
        let overridden = check(&self.fs, ask)?;
        let text = |err: io::Error| err.to_string();
        let root = mount_root(&self.fs, &ask.path).map_err(text)?;
        Ok(BrickPlace {
            real_path: ask.path.clone(),
            mount_dir: mount_dir(&ask.path, &root),
            fsid: self.fs.fsid(&ask.path).map_err(text)?,
            overridden,
        })
    }

    async fn mark_brick(&self, ask: &MarkBrick) -> Result<(), String> {
        mark(&self.fs, ask)
    }

    async fn unmark_brick(&self, path: &str, volume_id: Uuid) -> Result<(), String> {
        unmark(&self.fs, path, volume_id)
    }

    async fn check_brick_start(&self, ask: &StartBrick) -> Result<BrickReady, String> {
        check_start(&self.fs, ask)
    }

    async fn check_volume_id(&self, path: &str, volume: &[u8; 16]) -> VolumeIdCheck {
        check_volume_id(&self.fs, path, volume)
    }

    async fn real_path(&self, path: &str) -> io::Result<String> {
        Ok(path.to_owned())
    }

    async fn is_directory(&self, path: &str) -> bool {
        self.fs.lstat(path).is_ok_and(|found| found.is_dir)
    }

    async fn fs_detail(&self, path: &str) -> io::Result<FsDetail> {
        self.fs.device(path)?;
        Ok(FsDetail {
            block_size: 4096,
            free_bytes: 1 << 30,
            total_bytes: 2 << 30,
            total_inodes: Some(1000),
            free_inodes: Some(900),
            device: "/dev/fake".into(),
            fs_name: "xfs".into(),
            mount_options: "rw".into(),
            inode_size: Some("512".into()),
        })
    }

    async fn read(&self, path: &str, bytes_max: u64) -> io::Result<Vec<u8>> {
        let state = self.state.lock();
        let bytes = state.files.get(path).ok_or_else(absent)?;
        match bytes.len() as u64 > bytes_max {
            true => Err(io::Error::from_raw_os_error(nix::libc::EFBIG)),
            false => Ok(bytes.clone()),
        }
    }

    async fn write(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        self.state.lock().files.insert(path.to_owned(), bytes.to_owned());
        Ok(())
    }

    async fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let below = format!("{path}/");
        let state = self.state.lock();
        let names = state.files.keys().filter_map(|file| file.strip_prefix(&below));
        let first = |name: &str| name.split('/').next().unwrap_or(name).to_owned();
        let names: BTreeSet<String> = names.map(first).collect();
        Ok(names.into_iter().collect())
    }

    async fn make_dirs(&self, _path: &str) -> io::Result<()> {
        Ok(())
    }

    async fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state.lock();
        let bytes = state.files.remove(from).ok_or_else(absent)?;
        state.files.insert(to.to_owned(), bytes);
        Ok(())
    }

    async fn unlink(&self, path: &str) -> io::Result<()> {
        self.state.lock().files.remove(path);
        Ok(())
    }

    async fn run(&self, command: &Command, _bound: Duration) -> io::Result<Exit> {
        tokio::task::yield_now().await;
        let mut held = self.held.subscribe();
        let _the_gate_lives_as_long_as_we = held.wait_for(|held| !held).await;
        Ok(self.launch(command))
    }

    async fn spawn(&self, command: &Command) -> io::Result<()> {
        self.launch(command);
        Ok(())
    }

    async fn process_of(&self, pid_file: &str) -> Option<Process> {
        let state = self.state.lock();
        let text = std::str::from_utf8(state.files.get(pid_file)?).ok()?;
        state.processes.get(&text.trim().parse().ok()?).cloned()
    }

    async fn signal(&self, target: &ProcessRef, signal: Signal) -> io::Result<bool> {
        if !self.is_alive(target) {
            return Ok(false);
        }
        let ignores_term = {
            let mut state = self.state.lock();
            state.signals.push((target.pid, signal));
            state.faults.ignores_term
        };
        if signal == Signal::Kill || (signal == Signal::Term && !ignores_term) {
            self.end(target.pid);
        }
        Ok(true)
    }

    async fn exited(&self, target: &ProcessRef, bound: Option<Duration>) -> bool {
        let mut changes = self.changed.subscribe();
        let ended = changes.wait_for(|_| !self.is_alive(target));
        match bound {
            Some(bound) => tokio::time::timeout(bound, ended).await.is_ok(),
            None => ended.await.is_ok(),
        }
    }

    async fn holds_open(&self, pid: i32, path: &str) -> bool {
        self.state.lock().open.contains(&(pid, path.to_owned()))
    }

    fn port_is_free(&self, port: u16) -> bool {
        !self.state.lock().ports.contains(&port)
    }

    fn random(&self) -> u64 {
        next(&mut self.state.lock().chance)
    }

    fn unix_time_s(&self) -> u64 {
        1_700_000_000
    }

    async fn is_local(&self, host: &str) -> io::Result<bool> {
        Ok(self.state.lock().local.contains(host))
    }

    async fn reaches(&self, host: &str, _port: u16) -> bool {
        self.state.lock().reachable.contains(host)
    }

    fn own_addresses(&self) -> io::Result<Vec<std::net::IpAddr>> {
        Ok(self.state.lock().local.iter().map(|name| address_of(name)).collect())
    }

    async fn address_towards(&self, _target: std::net::IpAddr) -> io::Result<std::net::IpAddr> {
        self.own_addresses()?.first().copied().ok_or_else(absent)
    }

    async fn addresses(&self, host: &str) -> io::Result<Vec<std::net::IpAddr>> {
        Ok(vec![address_of(host)])
    }

    async fn run_hooks(&self, run: &HookRun) {
        self.state.lock().hooks.push(run.clone());
    }

    async fn unmount_lazily(&self, _path: &str) -> io::Result<()> {
        Ok(())
    }

    /// Files keep no folders here: what is no file is one.
    async fn check_dir(&self, path: &str) -> io::Result<()> {
        match self.has_file(path) {
            true => Err(io::Error::from_raw_os_error(nix::libc::ENOTDIR)),
            false => Ok(()),
        }
    }

    async fn lstat_dir(&self, path: &str) -> io::Result<()> {
        match self.fs.lstat(path)?.is_dir {
            true => Ok(()),
            false => Err(io::Error::from_raw_os_error(nix::libc::ENOTDIR)),
        }
    }

    async fn overwrite(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        self.write(path, bytes).await
    }

    async fn make_temp_dir(&self, prefix: &str) -> io::Result<String> {
        let path = format!("{prefix}{:06x}", self.random() & 0xff_ffff);
        self.fs.mkdir(&path, 0o700)?;
        Ok(path)
    }

    async fn remove_empty_dir(&self, path: &str) -> io::Result<()> {
        self.fs.remove_empty_dir(path)
    }

    async fn xattr(&self, path: &str, name: &str) -> io::Result<Vec<u8>> {
        let none = || io::Error::from_raw_os_error(nix::libc::ENODATA);
        self.fs.xattr(path, name)?.ok_or_else(none)
    }

    async fn set_xattr(&self, path: &str, name: &str, value: &[u8]) -> io::Result<()> {
        self.fs.set_xattr(path, name, value, false)
    }

    async fn remove_xattr(&self, path: &str, name: &str) -> io::Result<()> {
        self.fs.remove_xattr(path, name)
    }
}

#[cfg(test)]
mod tests;
