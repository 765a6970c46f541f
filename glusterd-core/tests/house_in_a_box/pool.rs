//! Several daemons on one coordinator, each on a machine of its own.
//!
//! A daemon has a thread of its own and is gone at once when it is killed; its machine, its files
//! and its running bricks stay.

use crate::mortal::{Fuse, MortalCoordinator, MortalHost, MortalLines};
use coord_api::mem::Mem;
use coord_api::{CoordinatorExt, OpenOpts, ReadOpts, Revision};
use glusterd_core::boot::Settings;
use glusterd_core::cli::{ROWS, peers};
use glusterd_core::daemon::{Ground, House};
use glusterd_core::host::fake::FakeHost;
use glusterd_core::host::{Dirs, Host};
use glusterd_core::membership;
use glusterd_core::mirror::Mirror;
use glusterd_core::model::{NodeId, Refusal};
use glusterd_core::rpc::Dict;
use glusterd_core::store::keys::{ALIVE, CONFIG, REGISTRY};
use glusterd_core::store::{Freshness, View};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

/// Far more than anything takes; a machine under load is slow.
const PATIENCE: Duration = Duration::from_secs(120);
const TTL: Duration = Duration::from_secs(20);

pub struct Pool {
    pub mem: Mem,
    pub nodes: Vec<Node>,
    runtime: Runtime,
}

pub struct Node {
    /// `h1`, `h2`, ...
    pub name: String,
    pub machine: Arc<FakeHost>,
    client: usize,
    work: TempDir,
    life: Option<Life>,
}

struct Life {
    runtime: Runtime,
    house: Arc<House>,
    mirror: Mirror,
}

impl Pool {
    /// That many daemons, each alone.
    pub fn new(nodes: usize, seed: u64) -> Pool {
        let names: Vec<String> = (1..=nodes).map(|n| format!("h{n}")).collect();
        let node = |(at, name): (usize, &String)| {
            let machine = Arc::new(FakeHost::new(seed * 100 + at as u64));
            machine.add_local(name);
            names.iter().for_each(|other| machine.set_reachable(other, true));
            let (name, work) = (name.clone(), tempfile::tempdir().unwrap());
            Node { name, machine, client: at, work, life: None }
        };
        let nodes = names.iter().enumerate().map(node).collect();
        let runtime = runtime();
        let mut pool = Pool { mem: Mem::new(), nodes, runtime };
        (0..pool.nodes.len()).for_each(|at| pool.start(at));
        pool
    }

    pub fn start(&mut self, at: usize) {
        let mem = self.mem.clone();
        self.nodes[at].begin(&mem);
        let name = self.nodes[at].name.clone();
        for node in &self.nodes {
            node.machine.set_reachable(&name, true);
        }
    }

    /// All daemons that do not run, at the same time.
    pub fn start_all(&mut self) {
        let mem = &self.mem;
        std::thread::scope(|scope| {
            for node in self.nodes.iter_mut().filter(|node| node.life.is_none()) {
                scope.spawn(move || node.begin(mem));
            }
        });
        let names: Vec<String> = self.nodes.iter().map(|node| node.name.clone()).collect();
        for node in &self.nodes {
            names.iter().for_each(|name| node.machine.set_reachable(name, true));
        }
    }

    /// Another service, which knows nobody, and nodes that have only their files. None of them runs.
    pub fn forget(&mut self) {
        self.mem = Mem::new();
        for node in &self.nodes {
            std::fs::remove_dir_all(node.work.path().join("coordination")).unwrap();
        }
    }

    /// As `kill -9`, and the coordinator has noticed.
    pub fn kill(&mut self, at: usize) {
        let Some(life) = self.nodes[at].life.take() else { return };
        let me = life.house.store.view().me;
        drop(life.house);
        life.runtime.shutdown_background();
        let name = self.nodes[at].name.clone();
        for node in &self.nodes {
            node.machine.set_reachable(&name, false);
        }
        self.end_sessions(me);
    }

    /// How many daemons have announced themselves to the ensemble.
    pub fn registered(&self) -> usize {
        let reader = self.mem.connect("");
        let prefix = coord_api::Prefix::all(&REGISTRY);
        let listed = self.runtime.block_on(reader.list(&prefix, ReadOpts::default()));
        listed.map_or(0, |listed| listed.entries.len())
    }

    /// What the coordinator does to a node that it has not heard of for a while.
    pub fn end_sessions(&self, node: NodeId) {
        let reader = self.mem.connect("");
        let prefix = coord_api::Prefix::all(&ALIVE);
        let listed = self.runtime.block_on(reader.list(&prefix, ReadOpts::default())).unwrap();
        let of_node = |name: &str| name.contains(&node.to_string());
        let gone = listed.entries.iter().filter(|entry| of_node(entry.key.name()));
        gone.filter_map(|entry| entry.owner).for_each(|session| self.mem.expire(session));
    }

    /// Resets the node's connections until [`Pool::heal`].
    pub fn cut(&self, at: usize) {
        self.mem.cut(self.nodes[at].client);
        self.end_sessions(self.view(at).me);
    }

    pub fn heal(&self) {
        self.mem.heal();
    }

    pub fn is_running(&self, at: usize) -> bool {
        self.nodes[at].life.is_some()
    }

    /// Starts a command and does not wait for it.
    pub fn begin(&self, at: usize, procedure: u32, pairs: &[(&str, &str)]) -> Answer {
        let mut request = Dict::new();
        pairs.iter().for_each(|(key, value)| request.set_str(*key, value));
        let life = self.nodes[at].life.as_ref().expect("the daemon runs");
        let house = life.house.clone();
        let row = ROWS.iter().find(|row| row.procedure == procedure).unwrap();
        let (tell, told) = std::sync::mpsc::channel();
        life.runtime.spawn(async move {
            let mut reply = request.clone();
            let operation = (row.parse)(&request);
            let answer = match operation {
                Ok(operation) => house.engine.run(&*operation, &mut reply).await.map(|_| reply),
                Err(no) => Err(no),
            };
            drop(house);
            let _nobody_waits = tell.send(answer);
        });
        Answer(told)
    }

    /// `None`: the daemon was killed under it.
    pub fn run(&self, at: usize, procedure: u32, pairs: &[(&str, &str)]) -> Result<Dict, Refusal> {
        self.begin(at, procedure, pairs).wait().expect("nobody is killed")
    }

    pub fn probe(&self, at: usize, host: &str) -> Result<Dict, Refusal> {
        self.run(at, 1, &[("hostname", host), ("port", "24007")])
    }

    pub fn detach(&self, at: usize, host: &str) -> Result<Dict, Refusal> {
        self.run(at, 2, &[("hostname", host), ("port", "24007"), ("flags", "0")])
    }

    pub fn view(&self, at: usize) -> Arc<View> {
        self.nodes[at].life.as_ref().expect("the daemon runs").house.store.view()
    }

    pub fn house(&self, at: usize) -> &House {
        &self.nodes[at].life.as_ref().expect("the daemon runs").house
    }

    /// Waits beside the daemons.
    pub fn wait<T>(&self, what: impl Future<Output = T>) -> T {
        self.runtime.block_on(what)
    }

    /// `peer status`: hosts by name, and whether they are connected.
    pub fn peers(&self, at: usize) -> BTreeMap<String, bool> {
        let friends = peers::friends(&self.view(at), false);
        let count: usize = friends.int("count").unwrap();
        let peer = |n: usize| {
            let name = friends.str(&format!("friend{n}.hostname")).unwrap().to_owned();
            (name, friends.int::<u32>(&format!("friend{n}.connected")) == Some(1))
        };
        (1..=count).map(peer).collect()
    }

    /// Until `done`, and the machine may take its time.
    pub fn until(&self, what: &str, done: impl Fn(&Pool) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(Instant::now() < end, "not in time: {what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Until every running daemon has nothing left to do for what the coordinator holds now.
    pub fn settle(&self) {
        let reader = self.mem.connect("");
        let all = coord_api::Prefix::all(&CONFIG);
        let listed = self.runtime.block_on(reader.list(&all, ReadOpts::default())).unwrap();
        let now = listed.entries.iter().map(|entry| entry.modified).max().unwrap_or_default();
        for life in self.nodes.iter().filter_map(|node| node.life.as_ref()) {
            life.settle(now);
        }
    }

    /// What differs between the running daemons, between a daemon and its files, and between what
    /// runs on a machine and what should.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let running: Vec<(usize, Arc<View>)> = (0..self.nodes.len())
            .filter(|at| self.is_running(*at))
            .map(|at| (at, self.view(at)))
            .collect();
        for (at, view) in &running {
            let (_, first) = &running[0];
            let same = view.volumes == first.volumes
                && view.peers == first.peers
                && view.global == first.global
                && view.alive == first.alive;
            if !same || view.freshness != Freshness::Current {
                faults.push(format!("node {at} sees {view:?}, the first sees {first:?}"));
            }
            self.nodes[*at].check_files(view, &mut faults);
        }
        for (at, view) in &running {
            self.nodes[*at].check_bricks(view, &mut faults);
        }
        let bricks = running[0].1.volumes.values().flat_map(|volume| &volume.bricks);
        let mut seen = std::collections::BTreeSet::new();
        for brick in bricks {
            if !seen.insert(brick.reference()) {
                faults.push(format!("{brick:?} is in two volumes"));
            }
        }
        faults
    }
}

pub struct Answer(std::sync::mpsc::Receiver<Result<Dict, Refusal>>);

impl Answer {
    /// `None`: the daemon was killed.
    pub fn wait(self) -> Option<Result<Dict, Refusal>> {
        match self.0.recv_timeout(Duration::from_secs(150)) {
            Ok(answer) => Some(answer),
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => None,
            Err(error) => panic!("a command does not end: {error}"),
        }
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

impl Node {
    fn begin(&mut self, mem: &Mem) {
        let runtime = runtime();
        let work = self.work.path().to_str().unwrap().to_owned();
        let settings = Settings { workdir: work.clone().into(), ..Settings::default() };
        let fuse = Fuse::new();
        let host: Arc<dyn Host> = Arc::new(MortalHost {
            host: self.machine.clone(),
            fuse: fuse.clone(),
            dirs: Dirs { work, ..Dirs::default() },
            spoiled: Arc::default(),
        });
        let lines = Arc::new(MortalLines { host: self.machine.clone(), fuse: fuse.clone() });
        let opts = OpenOpts { request_timeout: Duration::from_secs(1), ..OpenOpts::default() };
        let inner = mem.open("", self.client, &opts);
        let house = runtime.block_on(async {
            let identity = membership::load_or_create(&*host).await.unwrap();
            let coordinator = Arc::new(MortalCoordinator { inner, fuse });
            let ground = Ground { host, lines, coordinator, identity, own_store: None, tls: None };
            let house = House::assemble(&settings, ground).await.unwrap();
            tokio::spawn(house.converger.clone().run(None, house.settled.clone()));
            drop(house.take_part(TTL, CancellationToken::new()));
            Arc::new(house)
        });
        let mirror = house.converger.mirror().clone();
        self.life = Some(Life { runtime, house, mirror });
    }

    fn check_files(&self, view: &View, faults: &mut Vec<String>) {
        let mirror = &self.life.as_ref().expect("the daemon runs").mirror;
        let loaded = mirror.load(view.me);
        faults.extend(loaded.damage.iter().map(|damage| format!("{}: {damage:?}", self.name)));
        let facts = |view: &View| -> Vec<_> {
            let volumes = view.volumes.values();
            volumes.map(|v| (v.id, v.status, v.options.clone(), v.version)).collect()
        };
        if facts(&loaded.view) != facts(view) {
            let (files, known) = (facts(&loaded.view), facts(view));
            faults.push(format!("files of {}: {files:?}, not {known:?}", self.name));
        }
        if !loaded.view.others().eq(view.others()) {
            faults.push(format!("peer files of {}", self.name));
        }
    }

    fn check_bricks(&self, view: &View, faults: &mut Vec<String>) {
        let mut running: Vec<String> = self
            .machine
            .processes()
            .iter()
            .filter_map(|process| process.option("--brick-name").map(str::to_owned))
            .collect();
        let bricks = view.started().flat_map(|volume| volume.local_bricks(view.me));
        let mut wanted: Vec<String> = bricks.map(|(_, brick)| brick.path.clone()).collect();
        running.sort();
        wanted.sort();
        if running != wanted {
            faults.push(format!("{} runs {running:?}, wanted {wanted:?}", self.name));
        }
    }
}

impl Life {
    fn settle(&self, revision: Revision) {
        let house = self.house.clone();
        self.runtime.block_on(async move {
            let settled = async {
                house.store.wait_for(revision, PATIENCE).await.expect("the image follows");
                loop {
                    let view = house.store.view();
                    let files = house.converger.progress().borrow().files;
                    if files >= view.revision && house.converger.is_idle() {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            };
            tokio::time::timeout(PATIENCE, settled).await.expect("it settles");
        });
    }
}
