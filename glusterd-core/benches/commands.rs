//! What a command costs on stock's daemon and on ours, side by side on one machine.
//!
//! `cargo bench -p glusterd-core --bench commands` as root; needs the stock packages. Both daemons
//! run at the same time in sandboxes of their own and take turns, command by command, so a noisy
//! machine is noisy for both. Prints medians, and the ratio without what the CLI itself takes.

#[path = "../tests/real/sandbox.rs"]
#[allow(dead_code)]
mod sandbox;

use sandbox::{Kind, Sandbox};
use std::time::{Duration, Instant};

const ROUNDS: usize = 15;
const IDLE: Duration = Duration::from_secs(10);

fn main() {
    // `cargo test` builds and runs benches too; there is nothing to test here.
    if std::env::args().any(|arg| arg == "--test") {
        return;
    }
    starts();
    commands();
    footprint();
}

/// From the daemon's command line to its parent's exit.
fn starts() {
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..5 {
        for (kind, times) in [Kind::Stock, Kind::Ours].into_iter().zip(&mut times) {
            let sandbox = Sandbox::new(kind);
            times.push(timed(|| sandbox.start()));
        }
    }
    let [stock, ours] = times.map(median);
    println!("{:<28} {:>10} {:>10} {:>7}", "", "stock ms", "ours ms", "ratio");
    row("daemon start, empty", stock, ours, Duration::ZERO);
}

fn commands() {
    let pair = [Sandbox::started(Kind::Stock), Sandbox::started(Kind::Ours)];
    let cli = median((0..ROUNDS).map(|_| timed(|| drop(pair[0].gluster("--version")))).collect());
    let list = [
        (
            "volume create, replica 3",
            "volume create v replica 3 node1:/srv/b/N-1 node1:/srv/b/N-2 node1:/srv/b/N-3 force",
        ),
        ("volume start, replica 3", "volume start v"),
        ("volume set", "volume set v performance.cache-size 64MB"),
        ("volume info", "volume info v"),
        ("volume status", "volume status v"),
        ("volume stop, replica 3", "volume stop v"),
        ("volume delete", "volume delete v"),
    ];
    let mut times = vec![[Vec::new(), Vec::new()]; list.len()];
    for round in 0..ROUNDS {
        for (at, (_, line)) in list.iter().enumerate() {
            let line = line.replace('N', &round.to_string());
            for (sandbox, times) in pair.iter().zip(&mut times[at]) {
                times.push(timed(|| drop(sandbox.must(&line))));
            }
        }
    }
    println!("\nwall time; ratio beyond the {:.0} ms that the CLI takes by itself", ms(cli));
    for ((name, _), [stock, ours]) in list.iter().zip(times) {
        row(name, median(stock), median(ours), cli);
    }
}

/// Resident memory and what an idle daemon costs, by number of volumes.
fn footprint() {
    println!("\n{:<28} {:>10} {:>10} {:>7}", "idle daemon", "stock", "ours", "ratio");
    let pair = [Sandbox::started(Kind::Stock), Sandbox::started(Kind::Ours)];
    let mut made = 0;
    for volumes in [0, 20, 100] {
        for sandbox in &pair {
            for n in made..volumes {
                sandbox.must(&format!("volume create v{n} node1:/srv/b/{n} force"));
            }
        }
        made = volumes;
        let before: Vec<u64> = pair.iter().map(ticks).collect();
        std::thread::sleep(IDLE);
        let spent: Vec<u64> =
            pair.iter().zip(before).map(|(s, before)| ticks(s) - before).collect();
        let memory: Vec<u64> = pair.iter().map(resident_kib).collect();
        let (stock, ours) = (memory[0], memory[1]);
        let name = format!("resident MiB, {volumes} volumes");
        let mib = |kib: u64| kib as f64 / 1024.0;
        println!(
            "{name:<28} {:>10.1} {:>10.1} {:>7.2}",
            mib(stock),
            mib(ours),
            ours as f64 / stock as f64
        );
        let name = format!("CPU %, {volumes} volumes");
        let percent = |ticks: u64| ticks as f64 / IDLE.as_secs_f64();
        println!("{name:<28} {:>10.2} {:>10.2}", percent(spent[0]), percent(spent[1]));
    }
}

fn row(name: &str, stock: Duration, ours: Duration, cli: Duration) {
    let beyond = |time: Duration| time.saturating_sub(cli).as_secs_f64();
    let ratio = beyond(ours) / beyond(stock).max(1e-6);
    println!("{name:<28} {:>10.1} {:>10.1} {ratio:>7.2}", ms(stock), ms(ours));
}

fn timed(work: impl FnOnce()) -> Duration {
    let started = Instant::now();
    work();
    started.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn pid(sandbox: &Sandbox) -> String {
    sandbox.read("/run/glusterd.pid").trim().to_owned()
}

/// User and system time of the daemon, in clock ticks (100 a second).
fn ticks(sandbox: &Sandbox) -> u64 {
    let stat = sandbox.read(&format!("/proc/{}/stat", pid(sandbox)));
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

fn resident_kib(sandbox: &Sandbox) -> u64 {
    let status = sandbox.read(&format!("/proc/{}/status", pid(sandbox)));
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
