//! kill -9 at seeded moments: nothing acknowledged is lost, nothing half done is there.
//!
//! The test runs itself again as the victim: it writes and prints each acknowledgement, is killed,
//! and what it left is opened and compared. A pipe holds what was printed before the kill.

use backend_local::{LocalConfig, LocalStore};
use coord_api::{CoordinatorExt, Key, Prefix, ReadOpts, SessionOpts, Space, SpaceKind, Txn};
use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant, SystemTime};

const VICTIM: &str = "--victim";
const WRITERS: u64 = 4;
const ROUNDS: u64 = 25;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    if let [_, flag, dir] = args.as_slice()
        && flag == VICTIM
    {
        runtime.block_on(write_until_killed(Path::new(dir)));
        return ExitCode::FAILURE;
    }
    // Asked for its list of tests, or for another test: it has this one alone.
    if args.iter().any(|arg| arg == "--list") {
        println!("acknowledged_writes_survive_kill_9: test");
        return ExitCode::SUCCESS;
    }
    let named = |arg: &String| {
        !arg.starts_with('-') && !"acknowledged_writes_survive_kill_9".contains(arg.as_str())
    };
    if args.iter().skip(1).any(named) {
        return ExitCode::SUCCESS;
    }
    let seed = std::env::var("CRASH_SEED").ok().and_then(|text| text.parse().ok());
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    let seed = seed.unwrap_or(now.as_nanos() as u64);
    println!("CRASH_SEED={seed}");
    acknowledged_writes_survive_kill_9(&runtime, seed);
    println!("acknowledged_writes_survive_kill_9 ... ok");
    ExitCode::SUCCESS
}

fn config(dir: &Path) -> LocalConfig {
    // Small, so that kills also hit snapshots and purges.
    LocalConfig { snapshot_every: 40, ..LocalConfig::new(dir) }
}

fn config_space() -> Space {
    Space::new("config").expect("legal")
}

/// Two keys, always written together: the count and its double.
fn pair(writer: u64) -> (Key, Key) {
    let key = |name: &str| Key::new(&config_space(), &format!("{name}{writer}")).expect("legal");
    (key("once"), key("twice"))
}

async fn write_until_killed(dir: &Path) {
    let store = LocalStore::open(&config(dir)).await.expect("open");
    let c = store.handle();
    c.ensure_space(&config_space(), SpaceKind::Persistent).await.expect("space");
    let alive = Space::new("alive").expect("legal");
    c.ensure_space(&alive, SpaceKind::Ephemeral).await.expect("space");
    let opts = SessionOpts { ttl: Duration::from_secs(30), name: "victim".into() };
    let session = c.session(opts).await.expect("session");
    let mine = Key::ephemeral(&alive, "victim", session.id(), 0).expect("legal");
    session.txn(Txn::new().put_ephemeral(&mine, "")).await.expect("ephemeral");
    let writers = (0..WRITERS).map(|writer| {
        let c = c.clone();
        tokio::spawn(async move {
            let (once, twice) = pair(writer);
            let found = c.get(&once, ReadOpts::linearizable()).await.expect("read").0;
            let mut count = found.map_or(0, |e| number(&e.value));
            loop {
                count += 1;
                let value = format!("{}", count * 2) + &" ".repeat((count % 7 * 900) as usize);
                let txn = Txn::new().put(&once, count.to_string()).put(&twice, value);
                c.txn(txn).await.expect("write");
                println!("{writer} {count}");
            }
        })
    });
    // None ends before the process is killed; one that does has failed.
    let (ended, ..) = futures_util::future::select_all(writers).await;
    ended.expect("a writer runs until it is killed");
}

fn number(value: &[u8]) -> u64 {
    String::from_utf8_lossy(value).trim().parse().expect("a number")
}

fn acknowledged_writes_survive_kill_9(runtime: &tokio::runtime::Runtime, seed: u64) {
    let dir = tempfile::tempdir().expect("a directory");
    let mut dice = seed | 1;
    let mut acknowledged: HashMap<u64, u64> = HashMap::new();
    let mut total = 0;
    for round in 0..ROUNDS {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        let life = Duration::from_micros(dice % 250_000);
        for (writer, count) in victim_of(dir.path(), life) {
            let best = acknowledged.entry(writer).or_default();
            assert!(count > *best, "writer {writer} went back from {best} to {count}");
            *best = count;
            total += 1;
        }
        runtime.block_on(compare(dir.path(), &mut acknowledged, round));
    }
    println!("{total} acknowledged writes in {ROUNDS} lives");
    assert!(total > ROUNDS, "the victims hardly wrote: {total}");
}

/// Runs a victim until `life` after its first acknowledgement; returns all it acknowledged.
fn victim_of(dir: &Path, life: Duration) -> Vec<(u64, u64)> {
    let mut victim = Command::new(std::env::current_exe().expect("this program"))
        .args([VICTIM.as_ref(), dir.as_os_str()])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the victim starts");
    let out = BufReader::new(victim.stdout.take().expect("piped"));
    let (tell, first) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut said = Vec::new();
        for line in out.lines() {
            let Ok(line) = line else { break };
            // The last line may be cut in the middle by the kill.
            let Some((writer, count)) = line.split_once(' ') else { break };
            let (Ok(writer), Ok(count)) = (writer.parse(), count.parse()) else { break };
            said.push((writer, count));
            tell.send(()).ok();
        }
        said
    });
    first.recv_timeout(Duration::from_secs(60)).expect("the victim writes");
    std::thread::sleep(life);
    victim.kill().expect("SIGKILL");
    let status = victim.wait().expect("waited for");
    assert_eq!(status.code(), None, "the victim ended by itself: {status}");
    let said = reader.join().expect("the reader ends with the pipe");
    // Each line is one write system call of a short line, so a cut one is not seen in practice;
    // if it were, its number would be shorter and smaller, which is no claim either.
    said
}

/// What is found counts as told from here on: the next life goes on from it.
async fn compare(dir: &Path, acknowledged: &mut HashMap<u64, u64>, round: u64) {
    let begin = Instant::now();
    let store = LocalStore::open(&config(dir)).await.expect("what a kill left can be opened");
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(10), "round {round}: opening took {took:?}");
    let c = store.handle();
    for (writer, count) in acknowledged {
        let (once, twice) = pair(*writer);
        let both = c.get_many(&[once.clone(), twice.clone()], ReadOpts::linearizable()).await;
        let both = both.expect("read");
        let value = |key| number(&both.entry(key).expect("acknowledged keys are there").value);
        let found = value(&once);
        assert_eq!(value(&twice), found * 2, "round {round}: half a transaction");
        // One more may have been committed and its acknowledgement not printed.
        assert!(
            found == *count || found == *count + 1,
            "round {round}: writer {writer} was told {count}, there is {found}"
        );
        *count = found;
    }
    let alive = Prefix::all(&Space::new("alive").expect("legal"));
    let ghosts = c.list(&alive, ReadOpts::linearizable()).await.expect("list").entries;
    assert!(ghosts.is_empty(), "the victim is dead, its session too: {ghosts:?}");
    store.shut_down().await;
}
