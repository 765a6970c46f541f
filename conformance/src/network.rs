//! A network of the suite's own, in which servers can be cut off from one another: each server is
//! on a machine (a network namespace), and every packet between two of them crosses this process's
//! namespace, which can lose it.
//!
//! Nothing of the system's network is touched: the process that calls [`enter`] leaves it. What is
//! lost is lost in silence, as on a dead switch; this process reaches every machine all the while.

use std::io::{self, Error};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Names the namespace that [`enter`] left; another one means that the process is inside.
const OUTSIDE: &str = "CONFORMANCE_OUTSIDE";
const OWN: &str = "/proc/self/ns/net";
const READY: Duration = Duration::from_secs(20);

/// Puts this process into a network namespace of its own, by running it again there; to be called
/// first in `main`. Needs root or user namespaces, and Debian's util-linux and iproute2.
///
/// # Errors
/// Those of starting `unshare` and `ip`.
pub fn enter() -> io::Result<()> {
    let here = namespace(OWN)?;
    if std::env::var(OUTSIDE).is_ok_and(|outside| outside != here) {
        return ip("link set lo up");
    }
    let mut unshare = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        unshare.args(["--user", "--map-root-user"]);
    }
    unshare.args(["--net", "--"]).arg(std::env::current_exe()?).args(std::env::args_os().skip(1));
    Err(unshare.env(OUTSIDE, here).exec())
}

/// Machines that reach each other through this process's namespace.
#[derive(Debug)]
pub struct Network {
    machines: Vec<Machine>,
}

/// A namespace, which lives as long as the process in it: one that ends when its input does.
#[derive(Debug)]
struct Machine {
    holder: Child,
}

impl Network {
    /// # Errors
    /// Those of `unshare` and `ip`; without [`enter`] before, the system's network is refused.
    pub fn of(machines: usize) -> io::Result<Network> {
        if std::env::var(OUTSIDE).map_or(true, |outside| namespace(OWN).ok() == Some(outside)) {
            return Err(Error::other("a network is made in a namespace of one's own only"));
        }
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
        let machines = (0..machines).map(Machine::start).collect::<io::Result<_>>()?;
        Ok(Network { machines })
    }

    /// Number of machines.
    pub fn len(&self) -> usize {
        self.machines.len()
    }

    pub fn is_empty(&self) -> bool {
        self.machines.is_empty()
    }

    pub fn address(&self, at: usize) -> IpAddr {
        IpAddr::V4(address(at))
    }

    /// A program that is going to run on the machine.
    pub fn command(&self, at: usize, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(self.machines[at].net()).arg("--").arg(program);
        command
    }

    /// From now on machines in different sets hear nothing of each other.
    ///
    /// # Errors
    /// Those of `ip`.
    pub fn partition(&self, sets: &[Vec<usize>]) -> io::Result<()> {
        pairs(sets).try_for_each(|(from, to)| ip(&format!("rule add {}", lost(from, to))))
    }

    /// Ends [`Network::partition`] of the same sets.
    ///
    /// # Errors
    /// Those of `ip`.
    pub fn join(&self, sets: &[Vec<usize>]) -> io::Result<()> {
        pairs(sets).try_for_each(|(from, to)| ip(&format!("rule del {}", lost(from, to))))
    }
}

impl Machine {
    fn start(at: usize) -> io::Result<Machine> {
        let holder =
            Command::new("unshare").args(["--net", "cat"]).stdin(Stdio::piped()).spawn()?;
        let machine = Machine { holder };
        let (process, end) = (machine.holder.id(), Instant::now() + READY);
        // It is in the new namespace a moment after it has started.
        while namespace(&format!("/proc/{process}/ns/net"))? == namespace(OWN)? {
            if Instant::now() > end {
                return Err(Error::other("unshare makes no namespace"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let (here, there) = (Ipv4Addr::new(10, 77, octet(at), 1), address(at));
        ip(&format!("link add m{at} type veth peer name eth0 netns {process}"))?;
        ip(&format!("addr add {here}/30 dev m{at}"))?;
        ip(&format!("link set m{at} up"))?;
        for line in [
            "link set lo up".to_owned(),
            format!("addr add {there}/30 dev eth0"),
            "link set eth0 up".to_owned(),
            format!("route add default via {here}"),
        ] {
            let mut inside = Command::new("nsenter");
            inside.arg(machine.net()).args(["--", "ip"]).args(line.split(' '));
            run(inside)?;
        }
        Ok(machine)
    }

    fn net(&self) -> String {
        format!("--net=/proc/{}/ns/net", self.holder.id())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Both fail only for a process that has ended.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

fn octet(at: usize) -> u8 {
    u8::try_from(at).expect("no more than 256 machines")
}

fn address(at: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, octet(at), 2)
}

fn lost(from: usize, to: usize) -> String {
    format!("from {} to {} blackhole", address(from), address(to))
}

/// Both directions of every pair in different sets.
fn pairs(sets: &[Vec<usize>]) -> impl Iterator<Item = (usize, usize)> + '_ {
    sets.iter().enumerate().flat_map(move |(n, set)| {
        let others = sets.iter().enumerate().filter(move |(m, _)| *m != n);
        let others = others.flat_map(|(_, other)| other);
        others.flat_map(move |to| set.iter().map(move |from| (*from, *to)))
    })
}

fn namespace(path: &str) -> io::Result<String> {
    Ok(std::fs::read_link(path)?.to_string_lossy().into_owned())
}

fn ip(line: &str) -> io::Result<()> {
    let mut command = Command::new("ip");
    command.args(line.split(' '));
    run(command)
}

fn run(mut command: Command) -> io::Result<()> {
    let output = command.output().map_err(|error| {
        Error::new(error.kind(), format!("{command:?}: {error}; util-linux, iproute2 are needed"))
    })?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::other(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_between_sets_and_both_ways() {
        let mut found: Vec<_> = pairs(&[vec![0], vec![1, 2]]).collect();
        found.sort_unstable();
        assert_eq!(found, [(0, 1), (0, 2), (1, 0), (2, 0)]);
    }

    /// The system's own network is never rearranged.
    #[test]
    fn outside_there_is_no_network() {
        assert!(Network::of(1).is_err());
    }
}
