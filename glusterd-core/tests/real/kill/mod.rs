//! The kill matrix: a node of three killed or cut off at a seeded moment of every changing command.
//!
//! On every coordination service. After each strike all nodes agree, the operation is wholly done or
//! wholly absent, what the CLI said is true, nobody is rejected, every brick that should run runs
//! once, and a client that writes to a replica 3 volume never saw an error.
//!
//! In the gate a few strikes on each service. A big run, from any seed, one service or all:
//! `KILL_RUNS=300 KILL_SEED=1 cargo test -p glusterd-core --test real kill_matrix -- --nocapture`
//! Each strike is printed with what is needed to repeat it. After one that failed the logs are kept and
//! the rest goes on in a new field.

mod operations;
mod seen;
mod strike;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::dice::{Random, setting};
use super::field::{Backend, Field, Plan};
use super::writer::Writer;
use operations::{OPERATIONS, Operation};
use seen::Seen;
use strike::{Strike, struck};

/// Members of the pool; one more node comes and goes.
pub const MEMBERS: [usize; 3] = [1, 2, 3];
pub const GUEST: usize = 4;
/// After so many failures a run ends.
const FOUND_MAX: usize = 10;

/// A pool with a volume that is written to, `keep`, and one that things happen to, `v`.
struct Matrix {
    field: Field,
    random: Random,
    /// Strikes gather about the moment of an operation's commit, in microseconds.
    aim: BTreeMap<&'static str, u64>,
    /// How often each operation was the one.
    chosen: BTreeMap<&'static str, u64>,
    /// Bricks of one life of `v`.
    life: u64,
    writer: Option<Writer>,
}

fn field(backend: Backend, runs: u64) -> Field {
    let limit = Duration::from_secs(600 + runs * 200);
    let plan = Plan { session_ttl_s: 4, limit, ..Plan::of(backend, GUEST) };
    let field = Field::pool(plan, MEMBERS.len());
    field.must(1, "volume create keep replica 3 node1:/srv/b/k node2:/srv/b/k node3:/srv/b/k");
    // Clients and copies of a node that has fallen silent are not waited for long; what it missed is healed soon.
    field.must(2, "volume set keep network.ping-timeout 4");
    field.must(2, "volume set keep cluster.heal-timeout 5");
    field.must(3, "volume start keep");
    field.agree(&MEMBERS).unwrap();
    field.mount("keep");
    field
}

impl Matrix {
    fn new(backend: Backend, seed: u64, runs: u64) -> Matrix {
        let field = field(backend, runs);
        let writer = Some(Writer::begin(&field.client));
        let (aim, chosen) = (BTreeMap::new(), BTreeMap::new());
        Matrix { field, random: Random(seed), aim, chosen, life: 0, writer }
    }

    /// One of those that fit and have come least often.
    fn choose(&mut self, seen: &Seen) -> &'static Operation {
        let times = |op: &Operation| self.chosen.get(op.name).copied().unwrap_or(0);
        let fits = || OPERATIONS.iter().filter(|op| (op.when)(seen));
        let least = fits().map(times).min().unwrap_or(0);
        let rare: Vec<&'static Operation> = fits().filter(|op| times(op) <= least).collect();
        let chosen: &&'static Operation = self.random.of(&rare);
        *self.chosen.entry(chosen.name).or_default() += 1;
        chosen
    }

    /// One strike and all that has to be true afterwards. Whether the operation was done.
    fn point(&mut self, point: u64) -> Result<(String, bool), String> {
        let before = Seen::at(&self.field, 1)?;
        let op = self.choose(&before);
        let window = *self.aim.entry(op.name).or_insert(150_000);
        let delay = Duration::from_micros(window / 3 + self.random.below(window));
        let strike = Strike::draw(&mut self.random, op, delay);
        let asked = op.asked(&before, point, self.life);
        let place = format!("{}: {strike}, of `{}`", op.name, asked.line);
        let begun = Instant::now();
        let fault = |what: String| format!("{place}\n{what}");
        let said = struck(&self.field, &strike, &asked).map_err(fault)?;
        for line in op.afterwards(&before) {
            self.insist(&line).map_err(|why| fault(format!("{said:?}\n{why}")))?;
        }
        let after = self.settled(&before, op).map_err(|why| fault(format!("{said:?}\n{why}")))?;
        let done = (op.done)(&before, &after, &asked);
        if !done && after != before {
            return Err(fault(format!("half-done, {said:?}: {before:?}\nbecame {after:?}")));
        }
        said.judge(&strike, done, before == after).map_err(fault)?;
        let window = if done { window * 4 / 5 } else { window * 5 / 4 };
        self.aim.insert(op.name, window.clamp(20_000, 4_000_000));
        if done && op.name == "delete" {
            self.life += 1;
        }
        let took = begun.elapsed().as_secs_f32();
        Ok((format!("{place}: exit {}, done {done}, {took:.1} s", said.exit), done))
    }

    /// Asks again until it is done: the pool may still be finding together.
    fn insist(&self, line: &str) -> Result<(), String> {
        let end = Instant::now() + super::field::SETTLE;
        loop {
            let done = self.field.gluster(1, line);
            if done.exit == 0 {
                return Ok(());
            }
            if Instant::now() > end {
                return Err(format!("{line}: {done:?}"));
            }
            std::thread::sleep(Duration::from_millis(300));
        }
    }

    /// The pool of one mind again, the volume that is written to whole again.
    fn settled(&self, before: &Seen, op: &Operation) -> Result<Seen, String> {
        let field = &self.field;
        self.members_agree(before, op)?;
        let end = Instant::now() + super::field::SETTLE;
        let (count, _) = Writer::rounds(&field.client);
        loop {
            let pending = field.each(&MEMBERS, |node| {
                let index = "ls /srv/b/k/.glusterfs/indices/xattrop | grep -vc xattrop-";
                field.node(node).sh(index).out.trim().parse().unwrap_or(99)
            });
            let whole: u64 = pending.iter().sum();
            if whole <= 1 && Writer::rounds(&field.client).0 > count {
                break;
            }
            if Instant::now() > end {
                return Err(format!("to be healed: {pending:?}, writing since {count}"));
            }
            std::thread::sleep(Duration::from_millis(300));
        }
        let errors = Writer::errors(&field.client);
        if !errors.is_empty() {
            return Err(format!("the client saw {errors}"));
        }
        Seen::at(field, 2)
    }

    /// Three or four of them: with the guest if it has become one.
    fn members_agree(&self, before: &Seen, op: &Operation) -> Result<(), String> {
        let field = &self.field;
        let mut members = MEMBERS.to_vec();
        let after = self.with_guest().unwrap_or_else(|| with_guest(before));
        if !op.moves_guest && after != with_guest(before) {
            return Err("the guest came or went".to_owned());
        }
        if after {
            members.push(GUEST);
        }
        field.agree(&members)
    }

    /// Whether the guest is a member, once all say the same: one that was silent hears of it late.
    fn with_guest(&self) -> Option<bool> {
        let end = Instant::now() + super::field::SETTLE;
        while Instant::now() < end {
            let said =
                MEMBERS.map(|node| Seen::at(&self.field, node).ok().as_ref().map(with_guest));
            if said[0].is_some() && said.iter().all(|other| *other == said[0]) {
                return said[0];
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        None
    }
}

fn with_guest(seen: &Seen) -> bool {
    seen.members > MEMBERS.len()
}

fn keep_logs(field: &Field, backend: Backend, seed: u64, point: u64) -> PathBuf {
    let folder = format!("kill-{backend:?}-{seed}-{point}").to_lowercase();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(folder);
    let _ = std::fs::remove_dir_all(&folder);
    field.keep_logs(&folder);
    folder
}

/// Strikes on one service; all of them have to be harmless.
fn run(backend: Backend, runs: u64, seed: u64) {
    let mut matrix = Matrix::new(backend, seed, runs);
    let mut found: Vec<String> = Vec::new();
    let mut tally: BTreeMap<String, [u64; 2]> = BTreeMap::new();
    for point in 0..runs {
        match matrix.point(point) {
            Ok((line, done)) => {
                println!("{backend:?} {seed} {point}: {line}");
                let kind = line.split(':').next().unwrap_or_default().to_owned();
                tally.entry(kind).or_default()[usize::from(done)] += 1;
            }
            Err(why) => {
                let folder = keep_logs(&matrix.field, backend, seed, point);
                let text = format!("{backend:?}, seed {seed}, point {point}: {why}\n{folder:?}");
                println!("FAILED {text}");
                found.push(text);
                if found.len() >= FOUND_MAX || point + 1 == runs {
                    break;
                }
                // The choices go on where they were: the same seed, the same run.
                let (random, chosen) = (Random(matrix.random.0), matrix.chosen.clone());
                drop(matrix);
                matrix = Matrix { random, chosen, ..Matrix::new(backend, 0, runs) };
            }
        }
    }
    assert!(found.is_empty(), "{} of {runs}:\n{}", found.len(), found.join("\n\n"));
    let writer = matrix.writer.take().unwrap();
    let (rounds, longest) = writer.end(&matrix.field.client);
    println!("{backend:?}: {rounds} rounds of the client, the longest {longest:?}; {tally:?}");
}

fn gate(backend: Backend) {
    let runs = setting("KILL_RUNS", 3);
    let seed = setting("KILL_SEED", 20_264);
    run(backend, runs, seed.wrapping_add(backend as u64));
}

#[test]
fn kill_matrix_on_the_built_in_store() {
    gate(Backend::Local);
}

#[test]
fn kill_matrix_on_etcd() {
    gate(Backend::Etcd);
}

#[test]
fn kill_matrix_on_zookeeper() {
    gate(Backend::ZooKeeper);
}
