//! What a lone member costs: opening, writes at several depths, reads, fan-out, idle.
//!
//! `cargo bench -p backend-local [-- DIR]`; DIR is a directory on the disk to measure, default
//! the build directory. Each row runs for about a second. Beside it the raw cost of one sync of
//! a 4 KiB append on the same disk, which nothing durable can beat.

use backend_local::{LocalConfig, LocalStore};
use coord_api::{Coordinator, CoordinatorExt, Key, Prefix, ReadOpts, Space, SpaceKind, Txn};
use coord_api::{WatchEvent, WatchOpts};
use futures_util::StreamExt;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

const RUN: Duration = Duration::from_secs(1);
const VALUE: [u8; 256] = [7; 256];

#[tokio::main]
async fn main() {
    let named = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    let base = named.map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    let dir = tempfile::tempdir_in(base).expect("a directory to write in");
    println!("{:<34} {:>10} {:>10} {:>10} {:>10}", "what", "per s", "p50 us", "p99 us", "max us");
    raw_sync(dir.path());
    opening(dir.path()).await;
    let store = LocalStore::open(&LocalConfig::new(dir.path().join("s"))).await.expect("open");
    let c = store.handle();
    let space = Space::new("config").expect("legal");
    c.ensure_space(&space, SpaceKind::Persistent).await.expect("space");
    for depth in [1, 4, 16, 64, 256] {
        writes(&c, &space, depth).await;
    }
    reads(&c, &space).await;
    for watchers in [1, 100, 1000] {
        fan_out(&c, &space, watchers).await;
    }
    idle().await;
    store.shut_down().await;
}

fn row(what: &str, took: Duration, mut each: Vec<Duration>) {
    each.sort_unstable();
    let at = |part: f64| each[((each.len() - 1) as f64 * part) as usize].as_micros();
    let rate = each.len() as f64 / took.as_secs_f64();
    println!("{what:<34} {rate:>10.0} {:>10} {:>10} {:>10}", at(0.5), at(0.99), at(1.0));
}

fn raw_sync(dir: &Path) {
    let mut file = std::fs::File::create(dir.join("raw")).expect("a file");
    let (begin, mut each) = (Instant::now(), Vec::new());
    while begin.elapsed() < RUN {
        let one = Instant::now();
        file.write_all(&[0; 4096]).expect("write");
        file.sync_data().expect("sync");
        each.push(one.elapsed());
    }
    row("raw: append 4 KiB + fdatasync", begin.elapsed(), each);
}

async fn opening(dir: &Path) {
    let (begin, mut each) = (Instant::now(), Vec::new());
    for n in 0..20 {
        let config = LocalConfig::new(dir.join(format!("o{}", n % 2)));
        let one = Instant::now();
        let store = LocalStore::open(&config).await.expect("open");
        each.push(one.elapsed());
        store.shut_down().await;
    }
    row("open, 2 of 20 create", begin.elapsed(), each);
}

async fn writes(c: &Arc<dyn Coordinator>, space: &Space, depth: usize) {
    let begin = Instant::now();
    let writer = |n: usize| {
        let (c, key) = (c.clone(), Key::new(space, &format!("w{n}")).expect("legal"));
        tokio::spawn(async move {
            let mut each = Vec::new();
            while begin.elapsed() < RUN {
                let one = Instant::now();
                c.txn(Txn::new().put(&key, &VALUE[..])).await.expect("write");
                each.push(one.elapsed());
            }
            each
        })
    };
    let writers: Vec<_> = (0..depth).map(writer).collect();
    let mut each = Vec::new();
    for writer in writers {
        each.extend(writer.await.expect("writer"));
    }
    row(&format!("write 256 B, {depth} in flight"), begin.elapsed(), each);
}

async fn reads(c: &Arc<dyn Coordinator>, space: &Space) {
    let key = Key::new(space, "w0").expect("legal");
    let (begin, mut each) = (Instant::now(), Vec::new());
    while begin.elapsed() < RUN / 4 {
        let one = Instant::now();
        c.get(&key, ReadOpts::linearizable()).await.expect("read");
        each.push(one.elapsed());
    }
    row("read, linearizable", begin.elapsed(), each);
}

/// From the start of a write to its arrival at the last watcher.
async fn fan_out(c: &Arc<dyn Coordinator>, space: &Space, watchers: usize) {
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let mut tasks = Vec::new();
    for _ in 0..watchers {
        let mut watch = c.watch(Prefix::new(space, "f").expect("legal"), WatchOpts::default());
        let tell = tell.clone();
        tasks.push(tokio::spawn(async move {
            while let Some(event) = watch.next().await {
                if matches!(event, WatchEvent::Changes { .. } | WatchEvent::Synced { .. }) {
                    tell.send(()).ok();
                }
            }
        }));
    }
    for _ in 0..watchers {
        told.recv().await;
    }
    let key = Key::new(space, "f").expect("legal");
    let (begin, mut each) = (Instant::now(), Vec::new());
    while begin.elapsed() < RUN / 2 {
        let one = Instant::now();
        c.txn(Txn::new().put(&key, &VALUE[..])).await.expect("write");
        for _ in 0..watchers {
            told.recv().await;
        }
        each.push(one.elapsed());
    }
    row(&format!("write seen by {watchers} watchers"), begin.elapsed(), each);
    tasks.into_iter().for_each(|task| task.abort());
}

async fn idle() {
    let before = cpu_ticks();
    tokio::time::sleep(Duration::from_secs(2)).await;
    println!("idle: {} ms of CPU in 2 s", (cpu_ticks() - before) * 10);
}

/// User and system time of this process in 1/100 s, from `/proc/self/stat`.
fn cpu_ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("procfs");
    let after_name = stat.rsplit(')').next().expect("a name in brackets");
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    fields[11].parse::<u64>().expect("utime") + fields[12].parse::<u64>().expect("stime")
}
