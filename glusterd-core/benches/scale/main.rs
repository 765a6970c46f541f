//! What a pool costs as nodes and volumes grow: whole daemons on machines in memory and on one
//! coordinator, in this process; each writes its files.
//!
//! `cargo bench -p glusterd-core --bench scale -- [storm] NODES:VOLUMES...` (a few when none is named;
//! TMPDIR on a tmpfs spares the disk; `storm`: see `storm.rs`). The first node has every brick.
//! Messages are calls, answers and watch events of all nodes together; heartbeats are not among them.
//! What fails in it is a defect of the simulation or of the daemons, and ends the run where it stands.

mod counted;
#[path = "../../tests/house_in_a_box/mortal.rs"]
#[allow(dead_code)]
mod mortal;
mod storm;

use coord_api::mem::Mem;
use coord_api::{CoordinatorExt, OpenOpts, Prefix, ReadOpts};
use counted::{Counted, Counter, Traffic};
use glusterd_core::boot::Settings;
use glusterd_core::cli::ROWS;
use glusterd_core::daemon::{Ground, House};
use glusterd_core::host::fake::FakeHost;
use glusterd_core::host::{Dirs, Host};
use glusterd_core::membership::{self, Identity};
use glusterd_core::rpc::Dict;
use glusterd_core::store::View;
use glusterd_core::store::keys::ALIVE;
use mortal::{Fuse, MortalHost, MortalLines};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(3600);
/// The most that the model grants: sessions end when the simulation says so.
const TTL: Duration = Duration::from_secs(40);
const PROBE: u32 = 1;
const CREATE: u32 = 4;
const SET: u32 = 12;

fn main() {
    // `cargo test` builds and runs benches too; there is nothing to test here.
    let words = std::env::args().skip(1).filter(|word| word != "--bench");
    let (modes, words): (Vec<String>, Vec<String>) = words.partition(|word| word == "storm");
    if words.iter().any(|word| word == "--test") {
        return;
    }
    let pair = |word: &String| {
        let (nodes, volumes) = word.split_once(':').expect("NODES:VOLUMES");
        (nodes.parse().expect("a number"), volumes.parse().expect("a number"))
    };
    let mut sizes: Vec<(usize, usize)> = words.iter().map(pair).collect();
    if sizes.is_empty() {
        sizes = vec![(3, 20), (10, 20), (30, 20), (100, 20), (10, 60), (10, 200)];
    }
    let measurable = |&(nodes, volumes): &(usize, usize)| nodes >= 3 && volumes >= 2;
    assert!(sizes.iter().all(measurable), "from 3 nodes and 2 volumes on");
    println!("| nodes x volumes | what | s | messages | KiB | messages per node |");
    println!("|---|---|---|---|---|---|");
    for (nodes, volumes) in sizes {
        match modes.is_empty() {
            true => World::new(nodes, volumes).tell(),
            false => World::new(nodes, volumes).tell_storm(),
        }
    }
}

struct World {
    mem: Mem,
    counter: Arc<Counter>,
    nodes: Vec<Node>,
    volumes: usize,
    beside: Runtime,
}

struct Node {
    name: String,
    client: usize,
    machine: Arc<FakeHost>,
    work: TempDir,
    /// Known beforehand of a node that is a member when it first starts, and writes no files.
    identity: Option<Identity>,
    life: Option<(Runtime, Arc<House>)>,
}

impl World {
    fn new(nodes: usize, volumes: usize) -> World {
        let node = |at: usize| {
            let name = format!("h{}", at + 1);
            let machine = Arc::new(FakeHost::new(at as u64));
            machine.add_local(&name);
            machine.set_reachable("h1", true);
            let work = tempfile::tempdir().unwrap();
            Node { name, client: at, machine, work, identity: None, life: None }
        };
        let nodes: Vec<Node> = (0..nodes).map(node).collect();
        nodes.iter().for_each(|node| nodes[0].machine.set_reachable(&node.name, true));
        let counter = Arc::default();
        World { mem: Mem::new(), counter, nodes, volumes, beside: runtime(2) }
    }

    fn tell(mut self) {
        let (count, last) = (self.nodes.len(), self.nodes.len() - 1);
        self.start(0);
        let bare = resident_kib();
        let tenth = (self.volumes / 10).max(1);
        self.step("first tenth of the creates, each", tenth, |world| world.create(0..tenth));
        self.create(tenth..self.volumes - tenth);
        let rest = self.volumes - tenth..self.volumes;
        self.step("last tenth of the creates, each", tenth, |world| world.create(rest));
        let alone = resident_kib();
        let tenth = (last / 10).max(1);
        self.step("first tenth of the joins, each", tenth, |world| world.join(1..tenth + 1));
        self.join(tenth + 1..count - tenth);
        self.step("last tenth of the joins, each", tenth, |world| world.join(count - tenth..count));
        self.until("all are connected", World::all_connected);
        let all = resident_kib();
        self.change_and_lose_one();
        self.step("restart of all others at once, until all are connected", 1, |world| {
            (1..count).for_each(|at| world.kill(at));
            world.start_at_once();
            world.until("all are connected", World::all_connected);
        });
        let per_node = all.saturating_sub(alone) / last as u64;
        let first = alone.saturating_sub(bare);
        println!(
            "| {count} x {} | resident KiB per joined node: {per_node}; of the first one's volumes: {first} | | | | |",
            self.volumes
        );
    }

    fn change_and_lose_one(&mut self) {
        let (count, last) = (self.nodes.len(), self.nodes.len() - 1);
        self.step("one `volume set`, until all know", 1, |world| {
            world.set("v0", "64MB");
            world.until("all know", |world| {
                let knows = |view: Arc<View>| {
                    let volume = view.volume("v0");
                    volume.is_some_and(|v| v.options.value("performance.cache-size").is_some())
                };
                world.views().all(knows)
            });
        });
        self.step("one node's death, until all know", 1, |world| {
            world.kill(last);
            world.until("all know", |world| world.views().all(|v| v.alive.len() == count - 1));
        });
        self.step("one node's restart, until all are connected", 1, |world| {
            world.start(last);
            world.until("all are connected", World::all_connected);
        });
    }

    /// Measures, and says what of it comes to each of `of`.
    fn step(&mut self, what: &str, of: usize, act: impl FnOnce(&mut World)) {
        let (before, begun) = (self.counter.now(), Instant::now());
        act(self);
        let took = begun.elapsed().as_secs_f64() / of as f64;
        let Traffic { messages, bytes } = self.counter.now() - before;
        let (messages, kib) = (messages as f64 / of as f64, bytes as f64 / 1024.0 / of as f64);
        println!(
            "| {} x {} | {what} | {took:.4} | {messages:.0} | {kib:.0} | {:.1} |",
            self.nodes.len(),
            self.volumes,
            messages / self.nodes.len() as f64
        );
    }

    fn start(&mut self, at: usize) {
        let (mem, counter) = (self.mem.clone(), self.counter.clone());
        self.nodes[at].begin(&mem, counter);
    }

    fn start_at_once(&mut self) {
        let (mem, counter) = (&self.mem, &self.counter);
        let share = self.nodes.len().div_ceil(8);
        std::thread::scope(|scope| {
            for some in self.nodes[1..].chunks_mut(share) {
                scope.spawn(move || {
                    some.iter_mut().for_each(|node| node.begin(mem, counter.clone()));
                });
            }
        });
    }

    /// As `kill -9`, and the coordinator has noticed.
    fn kill(&mut self, at: usize) {
        let (runtime, house) = self.nodes[at].life.take().expect("it runs");
        let me = house.store.view().me.to_string();
        drop(house);
        runtime.shutdown_background();
        let (reader, all) = (self.mem.connect(""), Prefix::all(&ALIVE));
        let listed = self.beside.block_on(reader.list(&all, ReadOpts::default())).unwrap();
        let gone = listed.entries.iter().filter(|entry| entry.key.name().contains(&me));
        gone.filter_map(|entry| entry.owner).for_each(|session| self.mem.expire(session));
    }

    fn views(&self) -> impl Iterator<Item = Arc<View>> {
        self.nodes.iter().filter_map(|node| node.life.as_ref()).map(|(_, house)| house.store.view())
    }

    fn all_connected(&self) -> bool {
        let count = self.nodes.len();
        self.views().all(|view| view.alive.len() == count && view.volumes.len() == self.volumes)
    }

    fn until(&self, what: &str, done: impl Fn(&World) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(Instant::now() < end, "not in time: {what}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn run(&self, procedure: u32, pairs: &[(&str, &str)]) -> Result<(), String> {
        let mut request = Dict::new();
        pairs.iter().for_each(|(key, value)| request.set_str(*key, value));
        let row = ROWS.iter().find(|row| row.procedure == procedure).unwrap();
        let operation = (row.parse)(&request).map_err(|no| no.text)?;
        let (runtime, house) = self.nodes[0].life.as_ref().expect("it runs");
        let mut reply = request.clone();
        let done = runtime.block_on(house.engine.run(&*operation, &mut reply));
        done.map(drop).map_err(|no| no.text)
    }

    fn create(&self, numbers: std::ops::Range<usize>) {
        for n in numbers {
            let bricks: Vec<String> = (1..=3).map(|b| format!("h1:/bricks/{n}-{b}")).collect();
            let pairs = [
                ("volname", format!("v{n}")),
                ("count", "3".to_owned()),
                ("type", "0".to_owned()),
                ("transport", "tcp".to_owned()),
                ("bricks", bricks.join(" ")),
                ("force", "1".to_owned()),
            ];
            let pairs = pairs.each_ref().map(|(key, value)| (*key, value.as_str()));
            self.run(CREATE, &pairs).unwrap();
        }
    }

    fn set(&self, volume: &str, value: &str) {
        let key = ("key1", "performance.cache-size");
        let pairs = [("volname", volume), key, ("value1", value), ("count", "1")];
        self.run(SET, &pairs).unwrap();
    }

    /// Fresh daemons that are taken in one after the other.
    fn join(&mut self, nodes: std::ops::Range<usize>) {
        for at in nodes {
            self.start(at);
            let name = self.nodes[at].name.clone();
            self.until("it is taken in", |world| {
                match world.run(PROBE, &[("hostname", &name), ("port", "24007")]) {
                    Ok(()) => true,
                    Err(text) if text.contains("runs no glusterd that uses") => false,
                    Err(text) => panic!("{name}: {text}"),
                }
            });
        }
    }
}

impl Node {
    fn begin(&mut self, mem: &Mem, counter: Arc<Counter>) {
        let runtime = runtime(1);
        let work = self.work.path().to_str().unwrap().to_owned();
        let settings = Settings { workdir: work.clone().into(), ..Settings::default() };
        let fuse = Fuse::new();
        let host: Arc<dyn Host> = Arc::new(MortalHost {
            host: self.machine.clone(),
            fuse: fuse.clone(),
            dirs: Dirs { work, ..Dirs::default() },
            spoiled: Arc::default(),
        });
        let lines = Arc::new(MortalLines { host: self.machine.clone(), fuse });
        // Many nodes on few cores: an answer may take its time.
        let opts = OpenOpts { request_timeout: Duration::from_secs(60), ..OpenOpts::default() };
        let coordinator = Arc::new(Counted { inner: mem.open("", self.client, &opts), counter });
        let house = runtime.block_on(async {
            let identity = match self.identity {
                Some(identity) => identity,
                None => membership::load_or_create(&*host).await.unwrap(),
            };
            let ground = Ground { host, lines, coordinator, identity, own_store: None, tls: None };
            let house = House::assemble(&settings, ground).await.unwrap();
            if self.identity.is_none() {
                tokio::spawn(house.converger.clone().run(None, house.settled.clone()));
            }
            drop(house.take_part(TTL, CancellationToken::new()));
            Arc::new(house)
        });
        self.life = Some((runtime, house));
    }
}

fn runtime(threads: usize) -> Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(threads).max_blocking_threads(1).enable_all().build().unwrap()
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
