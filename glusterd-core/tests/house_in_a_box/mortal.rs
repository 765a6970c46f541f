//! A machine and a coordinator whose daemon dies at a chosen call.
//!
//! Every call is counted while the fuse is armed. The one that is one too many, and every call
//! after it, never begins and never ends: to the world, the process is gone.

use async_trait::async_trait;
use coord_api::{
    BoxStream, Coordinator, Health, Info, Key, Prefix, ReadOpts, Session, SessionOpts, Snapshot,
    Space, SpaceKind, Txn, TxnOutcome, WatchEvent, WatchOpts,
};
use glusterd_core::host::fake::FakeHost;
use glusterd_core::host::{
    BrickPlace, BrickReady, Command, Dirs, Exit, FsDetail, HookRun, Host, MarkBrick, PrepareBrick,
    Process, ProcessRef, Signal, StartBrick, VolumeIdCheck,
};
use glusterd_core::rpc::Dict;
use glusterd_core::rpc::brick::{BrickAnswer, BrickProc};
use glusterd_core::rpc::client::CallError;
use glusterd_core::supervise::{LineCall, Lines};
use parking_lot::Mutex;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use uuid::Uuid;

/// Counts calls; burns down once.
#[derive(Debug)]
pub struct Fuse {
    state: Mutex<State>,
    dead: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct State {
    armed: bool,
    /// Calls that still begin; `None`: all.
    left: Option<usize>,
    calls: Vec<&'static str>,
}

impl Fuse {
    pub fn new() -> Arc<Fuse> {
        Arc::new(Fuse { state: Default::default(), dead: watch::Sender::new(false) })
    }

    /// Counts from now on, and lets `left` calls through.
    pub fn arm(&self, left: Option<usize>) {
        *self.state.lock() = State { armed: true, left, calls: Vec::new() };
    }

    /// What was called since.
    pub fn calls(&self) -> Vec<&'static str> {
        self.state.lock().calls.clone()
    }

    pub async fn burnt(&self) {
        let mut dead = self.dead.subscribe();
        dead.wait_for(|dead| *dead).await.unwrap();
    }

    async fn call(&self, name: &'static str) {
        let lives = {
            let mut state = self.state.lock();
            let lives = !*self.dead.borrow() && state.left != Some(0);
            if state.armed && lives {
                state.calls.push(name);
                state.left = state.left.map(|left| left - 1);
            }
            lives
        };
        if !lives {
            self.dead.send_replace(true);
            std::future::pending::<()>().await;
        }
    }
}

/// The fake machine; the working directory is a real folder, as the mirror writes there.
#[derive(Debug)]
pub struct MortalHost {
    pub host: Arc<FakeHost>,
    pub fuse: Arc<Fuse>,
    pub dirs: Dirs,
    pub spoiled: Arc<Mutex<Option<&'static str>>>,
}

impl MortalHost {
    fn on_disk(&self, path: &str) -> bool {
        path.starts_with(&self.dirs.work)
    }
}

macro_rules! through {
    ($($name:ident(&self $(, $arg:ident: $kind:ty)*) -> $result:ty;)*) => {
        #[async_trait]
        impl Host for MortalHost {
            fn dirs(&self) -> &Dirs { &self.dirs }
            fn port_is_free(&self, port: u16) -> bool { self.host.port_is_free(port) }
            fn random(&self) -> u64 { self.host.random() }
            fn unix_time_s(&self) -> u64 { self.host.unix_time_s() }
            fn own_addresses(&self) -> io::Result<Vec<IpAddr>> { self.host.own_addresses() }

            async fn read(&self, path: &str, bytes_max: u64) -> io::Result<Vec<u8>> {
                self.fuse.call("read").await;
                match self.on_disk(path) {
                    true => std::fs::read(path),
                    false => self.host.read(path, bytes_max).await,
                }
            }

            async fn write(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
                self.fuse.call("write").await;
                match self.on_disk(path) {
                    true => std::fs::write(path, bytes),
                    false => self.host.write(path, bytes).await,
                }
            }

            async fn list(&self, path: &str) -> io::Result<Vec<String>> {
                self.fuse.call("list").await;
                if !self.on_disk(path) {
                    return self.host.list(path).await;
                }
                let names = std::fs::read_dir(path)?;
                Ok(names.map(|name| name.unwrap().file_name().into_string().unwrap()).collect())
            }

            async fn make_dirs(&self, path: &str) -> io::Result<()> {
                self.fuse.call("make_dirs").await;
                match self.on_disk(path) {
                    true => std::fs::create_dir_all(path),
                    false => self.host.make_dirs(path).await,
                }
            }

            async fn unlink(&self, path: &str) -> io::Result<()> {
                self.fuse.call("unlink").await;
                match self.on_disk(path) {
                    true => std::fs::remove_file(path).or(Ok(())),
                    false => self.host.unlink(path).await,
                }
            }

            async fn mark_brick(&self, mark: &MarkBrick) -> Result<(), String> {
                self.fuse.call("mark_brick").await;
                match *self.spoiled.lock() == Some(mark.path.as_str()) {
                    true => Err("No mark can be set".to_owned()),
                    false => Ok(()),
                }?;
                self.host.mark_brick(mark).await
            }

            /// Waiting changes nothing, and a daemon always waits for its processes.
            async fn exited(&self, target: &ProcessRef, bound: Option<Duration>) -> bool {
                self.host.exited(target, bound).await
            }

            $(async fn $name(&self $(, $arg: $kind)*) -> $result {
                self.fuse.call(stringify!($name)).await;
                self.host.$name($($arg),*).await
            })*
        }
    };
}

through! {
    check_brick(&self, ask: &PrepareBrick) -> Result<BrickPlace, String>;
    unmark_brick(&self, path: &str, volume_id: Uuid) -> Result<(), String>;
    check_brick_start(&self, ask: &StartBrick) -> Result<BrickReady, String>;
    check_volume_id(&self, path: &str, volume: &[u8; 16]) -> VolumeIdCheck;
    real_path(&self, path: &str) -> io::Result<String>;
    is_directory(&self, path: &str) -> bool;
    fs_detail(&self, path: &str) -> io::Result<FsDetail>;
    rename(&self, from: &str, to: &str) -> io::Result<()>;
    run(&self, command: &Command, bound: Duration) -> io::Result<Exit>;
    spawn(&self, command: &Command) -> io::Result<()>;
    process_of(&self, pid_file: &str) -> Option<Process>;
    signal(&self, target: &ProcessRef, signal: Signal) -> io::Result<bool>;
    holds_open(&self, pid: i32, path: &str) -> bool;
    is_local(&self, host: &str) -> io::Result<bool>;
    addresses(&self, host: &str) -> io::Result<Vec<IpAddr>>;
    reaches(&self, host: &str, port: u16) -> bool;
    address_towards(&self, target: IpAddr) -> io::Result<IpAddr>;
    run_hooks(&self, run: &HookRun) -> ();
    unmount_lazily(&self, path: &str) -> io::Result<()>;
    check_dir(&self, path: &str) -> io::Result<()>;
    overwrite(&self, path: &str, bytes: &[u8]) -> io::Result<()>;
    make_temp_dir(&self, prefix: &str) -> io::Result<String>;
    remove_empty_dir(&self, path: &str) -> io::Result<()>;
    xattr(&self, path: &str, name: &str) -> io::Result<Vec<u8>>;
    set_xattr(&self, path: &str, name: &str, value: &[u8]) -> io::Result<()>;
    remove_xattr(&self, path: &str, name: &str) -> io::Result<()>;
    lstat_dir(&self, path: &str) -> io::Result<()>;
}

/// Processes answer every call with success.
#[derive(Debug)]
pub struct MortalLines {
    pub host: Arc<FakeHost>,
    pub fuse: Arc<Fuse>,
}

#[async_trait]
impl Lines for MortalLines {
    async fn call(&self, socket: &str, call: LineCall) -> Result<BrickAnswer, CallError> {
        self.fuse.call("call").await;
        let found = self.host.processes().into_iter().find(|process| process.has(socket));
        let Some(process) = found else {
            return Err(CallError::Connect(io::ErrorKind::ConnectionRefused.into()));
        };
        if call.procedure == BrickProc::SVC_ATTACH {
            let text = format!("{}\n", process.pid);
            self.host.write(call.dict.str("pidfile").unwrap(), text.as_bytes()).await.unwrap();
        }
        let op_errstr = String::new();
        Ok(BrickAnswer { op_ret: 0, op_errno: 0, op_errstr, output: Dict::new() })
    }
}

/// A coordinator's handle; its watches run on, as nobody is left to act on them.
#[derive(Debug)]
pub struct MortalCoordinator {
    pub inner: Arc<dyn Coordinator>,
    pub fuse: Arc<Fuse>,
}

#[async_trait]
impl Coordinator for MortalCoordinator {
    fn info(&self) -> Info {
        self.inner.info()
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.inner.health()
    }

    async fn ensure_space(&self, space: &Space, kind: SpaceKind) -> coord_api::Result<()> {
        self.fuse.call("ensure_space").await;
        self.inner.ensure_space(space, kind).await
    }

    async fn get_many(&self, keys: &[Key], opts: ReadOpts) -> coord_api::Result<Snapshot> {
        self.fuse.call("get_many").await;
        self.inner.get_many(keys, opts).await
    }

    async fn list_page(
        &self,
        prefix: &Prefix,
        after: Option<&Key>,
        limit: usize,
        opts: ReadOpts,
    ) -> coord_api::Result<(Snapshot, bool)> {
        self.fuse.call("list_page").await;
        self.inner.list_page(prefix, after, limit, opts).await
    }

    /// Two places to die: before it arrives, and before its answer does.
    async fn txn(&self, txn: Txn) -> coord_api::Result<TxnOutcome> {
        self.fuse.call("txn").await;
        let outcome = self.inner.txn(txn).await;
        self.fuse.call("answer of txn").await;
        outcome
    }

    fn watch(&self, prefix: Prefix, opts: WatchOpts) -> BoxStream<WatchEvent> {
        self.inner.watch(prefix, opts)
    }

    async fn session(&self, opts: SessionOpts) -> coord_api::Result<Arc<dyn Session>> {
        self.fuse.call("session").await;
        self.inner.session(opts).await
    }

    async fn close(&self) -> coord_api::Result<()> {
        self.inner.close().await
    }
}
