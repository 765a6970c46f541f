//! What outlives a daemon: coordinator, machine, working directory; and one life on it.

use crate::mortal::{Fuse, MortalCoordinator, MortalHost, MortalLines};
use coord_api::mem::Mem;
use coord_api::{OpenOpts, Revision};
use glusterd_core::boot::Settings;
use glusterd_core::cli::ROWS;
use glusterd_core::daemon::{Ground, House};
use glusterd_core::host::fake::FakeHost;
use glusterd_core::host::{BrickFs, Dirs, Host};
use glusterd_core::membership;
use glusterd_core::mirror::Mirror;
use glusterd_core::model::{Refusal, Volume, VolumeName};
use glusterd_core::rpc::Dict;
use glusterd_core::store::View;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// The connection that the coordinator's faults act on.
pub const CLIENT: usize = 7;
const PATIENCE: Duration = Duration::from_secs(20);
pub const BRICKS: [&str; 3] = ["/bricks/a", "/bricks/b", "/bricks/c"];

/// A command as the CLI sends it.
#[derive(Clone, Copy, Debug)]
pub struct Command {
    pub procedure: u32,
    pub pairs: &'static [(&'static str, &'static str)],
}

pub struct World {
    pub mem: Mem,
    pub host: Arc<FakeHost>,
    work: tempfile::TempDir,
    /// A brick that passes every check and cannot be marked.
    pub spoiled: Arc<Mutex<Option<&'static str>>>,
}

impl World {
    pub fn new(seed: u64) -> World {
        let host = Arc::new(FakeHost::new(seed));
        host.add_local("h");
        World { mem: Mem::new(), host, work: tempfile::tempdir().unwrap(), spoiled: Arc::default() }
    }

    pub fn work(&self) -> &Path {
        self.work.path()
    }

    /// One life of a daemon: assembled, settled, then `act`; afterwards, or when the fuse has
    /// burnt, everything of it is gone at once. `None`: it died.
    pub fn live<T>(&self, fuse: &Arc<Fuse>, act: impl AsyncFnOnce(&Life<'_>) -> T) -> Option<T> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let living = async {
                let life = Life::begin(self, fuse).await;
                act(&life).await
            };
            tokio::select! {
                biased;
                () = fuse.burnt() => None,
                done = living => Some(done),
            }
        })
    }

    /// Runs commands that have to work, in a life of their own.
    pub fn prepare(&self, commands: &[Command]) {
        self.live(&Fuse::new(), async |life| {
            for command in commands {
                life.run(*command).await.unwrap_or_else(|no| panic!("{command:?}: {no:?}"));
            }
        });
    }

    /// Process ids of what moves a volume's files.
    pub fn rebalances(&self, volume: &str) -> Vec<i32> {
        let id = format!("rebalance/{volume}");
        let processes = self.host.processes().into_iter();
        processes.filter(|process| process.has(&id)).map(|process| process.pid).collect()
    }

    /// Which volume the brick at `path` is marked for.
    pub fn mark(&self, path: &str) -> Option<Vec<u8>> {
        self.host.fs.xattr(path, "trusted.glusterfs.volume-id").ok().flatten()
    }
}

pub struct Life<'a> {
    pub world: &'a World,
    pub house: House,
    mirror: Mirror,
}

impl Life<'_> {
    async fn begin<'a>(world: &'a World, fuse: &Arc<Fuse>) -> Life<'a> {
        let work = world.work().to_str().unwrap().to_owned();
        let settings = Settings { workdir: work.clone().into(), ..Settings::default() };
        let dirs = Dirs { work, ..Dirs::default() };
        let (machine, fuse) = (world.host.clone(), fuse.clone());
        let host: Arc<dyn Host> = Arc::new(MortalHost {
            host: machine.clone(),
            fuse: fuse.clone(),
            dirs,
            spoiled: world.spoiled.clone(),
        });
        let identity = membership::load_or_create(&*host).await.unwrap();
        let lines = Arc::new(MortalLines { host: machine, fuse: fuse.clone() });
        let opts = OpenOpts { request_timeout: Duration::from_millis(200), ..OpenOpts::default() };
        let inner = world.mem.open("", CLIENT, &opts);
        let coordinator = Arc::new(MortalCoordinator { inner, fuse });
        let ground = Ground { host, lines, coordinator, identity, own_store: None, tls: None };
        let house = House::assemble(&settings, ground).await.unwrap();
        tokio::spawn(house.converger.clone().run(None, house.settled.clone()));
        let mirror = house.converger.mirror().clone();
        let life = Life { world, house, mirror };
        life.settle().await;
        life
    }

    /// Until files and processes are as the newest image says, and nothing more happens.
    pub async fn settle(&self) {
        let current = self.house.store.wait_for(Revision(0), PATIENCE).await;
        let revision = current.expect("the coordinator answers").view.revision;
        let progress = self.house.converger.progress();
        let settled = async {
            while progress.borrow().files < revision || !self.house.converger.is_idle() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(PATIENCE, settled).await.expect("it settles");
        for _ in 0..32 {
            tokio::task::yield_now().await;
        }
    }

    pub async fn run(&self, command: Command) -> Result<(), Refusal> {
        let row = ROWS.iter().find(|row| row.procedure == command.procedure).unwrap();
        let mut request = Dict::new();
        for (key, value) in command.pairs {
            request.set_str(*key, value);
        }
        let mut reply = request.clone();
        let operation = (row.parse)(&request)?;
        self.house.engine.run(&*operation, &mut reply).await.map(drop)
    }

    pub fn view(&self) -> Arc<View> {
        self.house.store.view()
    }

    /// What users can see of the pool.
    pub fn summary(&self) -> BTreeMap<String, String> {
        let row = |(name, volume): (&VolumeName, &Arc<Volume>)| {
            let options: Vec<_> = volume.options.iter().collect();
            let bricks: Vec<_> =
                volume.bricks.iter().map(|b| (b.path.as_str(), b.decommissioned)).collect();
            let task = volume.task.as_ref().map(|t| (t.kind, t.status, t.over, &t.bricks));
            (name.to_string(), format!("{:?} {options:?} {bricks:?} {task:?}", volume.status))
        };
        self.view().volumes.iter().map(row).collect()
    }

    /// Whether records, files, processes and marks say one thing; else what is wrong.
    pub fn faults(&self) -> Vec<String> {
        let view = self.view();
        let mut faults = Vec::new();
        self.check_files(&view, &mut faults);
        self.check_processes(&view, &mut faults);
        self.check_tasks(&view, &mut faults);
        faults
    }

    fn check_files(&self, view: &View, faults: &mut Vec<String>) {
        let loaded = self.mirror.load(view.me);
        let damage = loaded.damage.iter().map(|damage| format!("{damage:?}"));
        faults.extend(damage);
        for (name, volume) in view.volumes.iter() {
            let Some(file) = loaded.view.volumes.get(name) else {
                faults.push(format!("{name} has no files"));
                continue;
            };
            let facts = |v: &Volume| (v.id, v.status, v.options.clone(), v.version);
            if facts(file) != facts(volume) {
                faults.push(format!("files of {name}: {:?} {:?}", facts(file), facts(volume)));
            }
            for (_, brick) in volume.local_bricks(view.me) {
                let volfile =
                    Dirs { work: self.world.work().display().to_string(), ..Dirs::default() }
                        .brick_volfile(name, brick);
                if fs::metadata(&volfile).map_or(0, |file| file.len()) == 0 {
                    faults.push(format!("no volfile {volfile}"));
                }
            }
        }
        let folders = fs::read_dir(self.world.work().join("vols")).into_iter().flatten();
        for folder in folders {
            let name = folder.unwrap().file_name().into_string().unwrap();
            if !view.volumes.contains_key(name.as_str()) {
                faults.push(format!("folder of {name}, which does not exist"));
            }
        }
    }

    fn check_processes(&self, view: &View, faults: &mut Vec<String>) {
        let processes = self.world.host.processes();
        let running: Vec<String> = processes
            .iter()
            .filter_map(|process| process.option("--brick-name").map(str::to_owned))
            .collect();
        let bricks = view.started().flat_map(|volume| volume.bricks.iter());
        let wanted: BTreeSet<String> = bricks.map(|brick| brick.path.clone()).collect();
        if running.iter().cloned().collect::<BTreeSet<_>>() != wanted
            || running.len() != wanted.len()
        {
            faults.push(format!("running {running:?}, wanted {wanted:?}"));
        }
        // It runs on while healing is off, as in stock.
        let replicated = view.started().any(|volume| volume.layout.replica > 1);
        let shd = processes
            .iter()
            .filter(|process| process.args.iter().any(|arg| arg.contains("glustershd")));
        if shd.count() != usize::from(replicated) {
            faults.push(format!("self-heal daemon: wanted {replicated}, {processes:?}"));
        }
    }

    /// A task that runs has one process; one that was told to stop may have its last one still.
    fn check_tasks(&self, view: &View, faults: &mut Vec<String>) {
        for (name, volume) in view.volumes.iter() {
            let task = volume.task.as_ref().filter(|task| task.is_running());
            let through = |id| view.progress.contains_key(&(id, view.me));
            let wanted = task.is_some_and(|task| !through(task.id)) && volume.is_started();
            let found = self.world.rebalances(name.as_str()).len();
            if found > 1 || (wanted && found == 0) {
                faults.push(format!("{name}: {found} rebalance processes, wanted: {wanted}"));
            }
        }
    }

    /// Brick directories marked for a volume that is not there.
    pub fn stray_marks(&self) -> Vec<&'static str> {
        let view = self.view();
        let known = |mark: &[u8]| view.volumes.values().any(|v| v.id.0.as_bytes() == mark);
        let stray = |path: &&str| self.world.mark(path).is_some_and(|mark| !known(&mark));
        BRICKS.into_iter().filter(stray).collect()
    }
}
