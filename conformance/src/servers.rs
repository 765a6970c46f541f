//! Real servers for tests: etcd and ZooKeeper on free loopback ports with private data folders.
//!
//! Nothing of the system is touched: no unit, no configuration, no fixed port. A program that is
//! not installed is an error that names the Debian package, never a skipped test. Servers end when
//! the value is dropped.
//!
//! Facts: start lines and figures in etcd's and ZooKeeper's administrator guides; on Debian 12 an
//! etcd answers within 1 s (three: 1.5 s), a ZooKeeper within 1 s (three: 4 s).

use crate::network::Network;
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a server may take until it answers, on a busy machine.
const READY: Duration = Duration::from_secs(60);
/// Attempts to start, each on other ports: somebody may take a free port before the server does.
const ATTEMPTS: usize = 3;

/// The servers of one cluster, by index.
#[derive(Debug)]
pub struct Cluster {
    kind: Kind,
    servers: Vec<Server>,
    place: Place,
    /// Removed with the value.
    dir: TempDir,
}

/// Where the servers run: on the loopback, or each on a machine of its own.
#[derive(Clone, Debug, Default)]
pub struct Place(Option<Arc<Network>>);

impl Place {
    pub fn on(network: Arc<Network>) -> Place {
        Place(Some(network))
    }

    fn address(&self, at: usize) -> IpAddr {
        self.0.as_ref().map_or(Ipv4Addr::LOCALHOST.into(), |network| network.address(at))
    }

    fn command(&self, at: usize, program: &str) -> Command {
        self.0.as_ref().map_or_else(|| Command::new(program), |net| net.command(at, program))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Etcd { tls: bool },
    ZooKeeper,
}

#[derive(Debug)]
struct Server {
    at: usize,
    address: SocketAddr,
    program: &'static str,
    args: Vec<String>,
    log: PathBuf,
    /// What a wiped server has lost.
    state: PathBuf,
    child: Option<Child>,
}

/// What etcd is started with beyond the least.
#[derive(Clone, Debug, Default)]
pub struct EtcdOpts {
    /// More command line arguments.
    pub args: Vec<String>,
    /// Server certificate, its key and the CA that clients must be signed by: PEM files.
    pub tls: Option<(PathBuf, PathBuf, PathBuf)>,
    pub place: Place,
}

/// What ZooKeeper is started with beyond the least.
#[derive(Clone, Debug)]
pub struct ZooKeeperOpts {
    /// Sessions get 2 to 20 ticks.
    pub tick: Duration,
    /// More lines for `zoo.cfg`.
    pub lines: Vec<String>,
    /// More arguments for the Java machine.
    pub java: Vec<String>,
    pub place: Place,
}

impl Default for ZooKeeperOpts {
    fn default() -> ZooKeeperOpts {
        // 4 s to 40 s, as with ZooKeeper's own default tick.
        let tick = Duration::from_secs(2);
        ZooKeeperOpts { tick, lines: Vec::new(), java: Vec::new(), place: Place::default() }
    }
}

impl Cluster {
    /// `members` etcd servers that form a cluster and serve.
    ///
    /// # Errors
    /// A missing program, or what the servers wrote to their logs when they did not come up.
    pub fn etcd(members: usize, opts: &EtcdOpts) -> io::Result<Cluster> {
        retried(|| {
            let dir = tempfile::Builder::new().prefix("etcd-").tempdir()?;
            let servers = etcd_servers(dir.path(), members, opts)?;
            let kind = Kind::Etcd { tls: opts.tls.is_some() };
            Cluster { kind, servers, place: opts.place.clone(), dir }.up()
        })
    }

    /// `servers` ZooKeeper servers that form an ensemble and serve.
    ///
    /// # Errors
    /// As [`Cluster::etcd`].
    pub fn zookeeper(servers: usize, opts: &ZooKeeperOpts) -> io::Result<Cluster> {
        retried(|| {
            let dir = tempfile::Builder::new().prefix("zookeeper-").tempdir()?;
            let servers = zookeeper_servers(dir.path(), servers, opts)?;
            let place = opts.place.clone();
            Cluster { kind: Kind::ZooKeeper, servers, place, dir }.up()
        })
    }

    fn up(mut self) -> io::Result<Cluster> {
        for at in 0..self.servers.len() {
            self.servers[at].start(&self.place)?;
        }
        for at in 0..self.servers.len() {
            self.ready(at)?;
        }
        Ok(self)
    }

    /// Number of servers, running or not.
    pub fn len(&self) -> usize {
        self.servers.len()
    }

    pub fn is_empty(&self) -> bool {
        self.servers.is_empty()
    }

    /// Where clients reach the servers, by index.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.servers.iter().map(|server| server.address).collect()
    }

    /// `HOST:PORT` of every server, with commas, as an address of a backend has it.
    pub fn hosts(&self) -> String {
        let hosts: Vec<_> = self.addresses().iter().map(SocketAddr::to_string).collect();
        hosts.join(",")
    }

    /// The network between the servers, if each is on a machine of its own.
    pub fn network(&self) -> Option<&Arc<Network>> {
        self.place.0.as_ref()
    }

    /// A private folder for the test's own files, gone with the cluster.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// SIGKILL. Harmless on a dead server.
    pub fn kill(&mut self, at: usize) {
        self.servers[at].end();
    }

    /// Starts a killed server again on its data and waits until it serves.
    ///
    /// # Errors
    /// As [`Cluster::etcd`].
    pub fn restart(&mut self, at: usize) -> io::Result<()> {
        self.launch(at)?;
        self.ready(at)
    }

    /// As [`Cluster::restart`], without waiting: it may lack a quorum.
    ///
    /// # Errors
    /// Those of starting a process.
    pub fn launch(&mut self, at: usize) -> io::Result<()> {
        self.kill(at);
        self.servers[at].start(&self.place)
    }

    /// Waits until a started server serves.
    ///
    /// # Errors
    /// Its log when it does not within a minute.
    pub fn ready(&mut self, at: usize) -> io::Result<()> {
        let end = Instant::now() + READY;
        while !self.serves(at) {
            let exited = match &mut self.servers[at].child {
                Some(child) => child.try_wait()?.is_some(),
                None => true,
            };
            if exited || Instant::now() > end {
                let log = fs::read_to_string(&self.servers[at].log).unwrap_or_default();
                let tail: Vec<&str> = log.lines().rev().take(20).collect();
                let tail: Vec<&str> = tail.into_iter().rev().collect();
                let what = self.servers[at].program;
                return Err(io::Error::other(format!("{what} {at}:\n{}", tail.join("\n"))));
            }
            std::thread::sleep(Duration::from_millis(30));
        }
        Ok(())
    }

    /// Another cluster under the same addresses: all servers end, lose their data and start anew.
    ///
    /// # Errors
    /// As [`Cluster::etcd`].
    pub fn wipe(&mut self) -> io::Result<()> {
        for server in &mut self.servers {
            server.end();
            match fs::remove_dir_all(&server.state) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        for server in &mut self.servers {
            server.start(&self.place)?;
        }
        (0..self.servers.len()).try_for_each(|at| self.ready(at))
    }

    /// SIGSTOP: the server keeps its connections and says nothing.
    pub fn pause(&self, at: usize) {
        self.servers[at].set_paused(true);
    }

    /// SIGCONT.
    pub fn resume(&self, at: usize) {
        self.servers[at].set_paused(false);
    }

    /// Index of the server that leads, if any says so.
    pub fn leader(&self) -> Option<usize> {
        (0..self.len()).find(|at| match self.kind {
            Kind::Etcd { .. } => self.metrics(*at).is_some_and(|text| {
                text.lines().any(|line| line.trim() == "etcd_server_is_leader 1")
            }),
            Kind::ZooKeeper => {
                let mode = self.word(*at, "srvr").unwrap_or_default();
                mode.contains("Mode: leader") || mode.contains("Mode: standalone")
            }
        })
    }

    fn serves(&self, at: usize) -> bool {
        match self.kind {
            // With client certificates only the port can be tried.
            Kind::Etcd { tls: true } => TcpStream::connect(self.servers[at].address)
                .is_ok_and(|_| self.metrics(at).is_some_and(|text| has_leader(&text))),
            Kind::Etcd { tls: false } => self.metrics(at).is_some_and(|text| has_leader(&text)),
            Kind::ZooKeeper => self.word(at, "srvr").is_some_and(|text| text.contains("Mode:")),
        }
    }

    /// Etcd's metrics come over a plain port of their own, next to data that needs no secret.
    fn metrics(&self, at: usize) -> Option<String> {
        let address = self.servers[at].metrics()?;
        ask(address, "GET /metrics HTTP/1.0\r\n\r\n")
    }

    /// ZooKeeper's four-letter words.
    fn word(&self, at: usize, word: &str) -> Option<String> {
        ask(self.servers[at].address, word)
    }
}

fn has_leader(metrics: &str) -> bool {
    metrics.lines().any(|line| line.trim() == "etcd_server_has_leader 1")
}

fn ask(address: SocketAddr, question: &str) -> Option<String> {
    let limit = Duration::from_secs(1);
    let mut stream = TcpStream::connect_timeout(&address, limit).ok()?;
    stream.set_read_timeout(Some(limit)).ok()?;
    stream.set_write_timeout(Some(limit)).ok()?;
    stream.write_all(question.as_bytes()).ok()?;
    let mut text = String::new();
    stream.take(1 << 20).read_to_string(&mut text).ok()?;
    Some(text)
}

impl Server {
    fn start(&mut self, place: &Place) -> io::Result<()> {
        let log = fs::OpenOptions::new().create(true).append(true).open(&self.log)?;
        let child = place
            .command(self.at, self.program)
            .args(&self.args)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .map_err(|error| missing(self.program, &error))?;
        self.child = Some(child);
        Ok(())
    }

    fn end(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Both fail only for a process that has ended.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn set_paused(&self, paused: bool) {
        if let Some(child) = &self.child {
            set_paused(child, paused);
        }
    }

    fn metrics(&self) -> Option<SocketAddr> {
        let at = self.args.iter().position(|arg| arg == "--listen-metrics-urls")?;
        self.args.get(at + 1)?.rsplit('/').next()?.parse().ok()
    }
}

/// Longest wait for a process to come to rest.
const REST: Duration = Duration::from_secs(10);

/// SIGSTOP or SIGCONT. A stopped process is at rest on return: the signal reaches its threads one by
/// one, and on a busy machine one that still runs answers what is asked after the call.
pub fn set_paused(child: &Child, paused: bool) {
    let Some(pid) = Pid::from_raw(child.id().cast_signed()) else { return };
    // Not reaped yet, so the id is still its own.
    if kill_process(pid, if paused { Signal::STOP } else { Signal::CONT }).is_err() {
        return;
    }
    let end = Instant::now() + REST;
    while paused && !is_at_rest(child.id()) && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Whether no thread of the process runs; the state is the field behind the name in parentheses.
fn is_at_rest(pid: u32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return true };
    threads.flatten().all(|thread| {
        let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        state.is_none_or(|state| matches!(state, 'T' | 't' | 'Z' | 'X'))
    })
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

fn missing(program: &str, error: &io::Error) -> io::Error {
    let package = if program == "etcd" { "etcd-server" } else { "zookeeper and default-jre" };
    io::Error::new(error.kind(), format!("{program}: {error}; Debian's {package} is needed"))
}

fn retried(start: impl Fn() -> io::Result<Cluster>) -> io::Result<Cluster> {
    let mut result = start();
    for _ in 1..ATTEMPTS {
        match &result {
            Err(error) if error.kind() != io::ErrorKind::NotFound => result = start(),
            _ => break,
        }
    }
    result
}

/// Ports that are free now.
fn free_ports(count: usize) -> io::Result<Vec<u16>> {
    let held: Vec<_> =
        (0..count).map(|_| TcpListener::bind(("127.0.0.1", 0))).collect::<io::Result<_>>()?;
    held.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}

fn etcd_servers(dir: &Path, members: usize, opts: &EtcdOpts) -> io::Result<Vec<Server>> {
    let ports = free_ports(members * 3)?;
    let scheme = if opts.tls.is_some() { "https" } else { "http" };
    let url = |at: usize, port: u16| {
        format!("http://{}", SocketAddr::from((opts.place.address(at), port)))
    };
    let all: Vec<String> =
        (0..members).map(|at| format!("s{at}={}", url(at, ports[members + at]))).collect();
    let server = |at: usize| {
        let address = SocketAddr::from((opts.place.address(at), ports[at]));
        let (client, peer) = (format!("{scheme}://{address}"), url(at, ports[members + at]));
        let mut args: Vec<String> = [
            ("--name", format!("s{at}")),
            ("--data-dir", dir.join(format!("s{at}")).display().to_string()),
            ("--listen-client-urls", client.clone()),
            ("--advertise-client-urls", client),
            ("--listen-peer-urls", peer.clone()),
            ("--initial-advertise-peer-urls", peer),
            ("--listen-metrics-urls", url(at, ports[2 * members + at])),
            ("--initial-cluster", all.join(",")),
            ("--initial-cluster-token", "test".into()),
            ("--initial-cluster-state", "new".into()),
            ("--logger", "zap".into()),
            ("--log-level", "error".into()),
        ]
        .into_iter()
        .flat_map(|(name, value)| [name.to_owned(), value])
        .collect();
        if let Some((certificate, key, ca)) = &opts.tls {
            for (name, file) in
                [("--cert-file", certificate), ("--key-file", key), ("--trusted-ca-file", ca)]
            {
                args.extend([name.to_owned(), file.display().to_string()]);
            }
            args.push("--client-cert-auth".into());
        }
        args.extend(opts.args.iter().cloned());
        let log = dir.join(format!("s{at}.log"));
        let state = dir.join(format!("s{at}"));
        Server { at, address, program: "etcd", args, log, state, child: None }
    };
    Ok((0..members).map(server).collect())
}

/// What Debian's packages put the classes into; the manifest of the first names most others.
const CLASS_PATH: &str = "/usr/share/java/zookeeper.jar:/usr/share/java/slf4j-simple.jar:\
    /usr/share/java/netty-codec.jar:/usr/share/java/netty-resolver.jar:\
    /usr/share/java/netty-transport-native-unix-common.jar";

fn zookeeper_servers(dir: &Path, servers: usize, opts: &ZooKeeperOpts) -> io::Result<Vec<Server>> {
    if !Path::new("/usr/share/java/zookeeper.jar").exists() {
        return Err(missing("zookeeper.jar", &io::ErrorKind::NotFound.into()));
    }
    let ports = free_ports(servers * 3)?;
    let ensemble: Vec<String> = (0..servers)
        .map(|at| {
            let (quorum, election) = (ports[servers + at], ports[2 * servers + at]);
            let (host, port) = (opts.place.address(at), ports[at]);
            format!("server.{}={host}:{quorum}:{election}:participant;{host}:{port}", at + 1)
        })
        .collect();
    let server = |at: usize| -> io::Result<Server> {
        let home = dir.join(format!("s{at}"));
        let data = home.join("data");
        fs::create_dir_all(&data)?;
        fs::write(data.join("myid"), (at + 1).to_string())?;
        let mut lines = vec![
            format!("tickTime={}", opts.tick.as_millis()),
            // An election whose winner finds no followers in this time is held again.
            "initLimit=5".into(),
            "syncLimit=5".into(),
            format!("dataDir={}", data.display()),
            "admin.enableServer=false".into(),
            "4lw.commands.whitelist=*".into(),
            "maxClientCnxns=0".into(),
            // A log file each 64 KiB instead of 64 MiB: many servers run on one disk.
            "preAllocSize=64".into(),
        ];
        let address = SocketAddr::from((opts.place.address(at), ports[at]));
        if servers == 1 {
            lines.push(format!("clientPort={}", address.port()));
            lines.push(format!("clientPortAddress={}", address.ip()));
        } else {
            lines.extend(["standaloneEnabled=false".into(), "reconfigEnabled=true".into()]);
            lines.extend(ensemble.iter().cloned());
        }
        lines.extend(opts.lines.iter().cloned());
        let config = home.join("zoo.cfg");
        fs::write(&config, lines.join("\n") + "\n")?;
        let main = if servers == 1 { "ZooKeeperServerMain" } else { "quorum.QuorumPeerMain" };
        let mut args: Vec<String> = [
            "-Xmx256m",
            "-Xss512k",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-XX:-UsePerfData",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            "-Dzookeeper.jmx.log4j.disable=true",
        ]
        .map(str::to_owned)
        .to_vec();
        if servers > 1 {
            // Without a leader servers ask each other again after twice the time, up to a minute, which
            // is longer than any session lasts.
            args.push("-Dzookeeper.fastleader.maxNotificationInterval=1000".into());
        }
        args.extend(opts.java.iter().cloned());
        args.extend(["-cp".into(), CLASS_PATH.replace(' ', "")]);
        args.push(format!("org.apache.zookeeper.server.{main}"));
        args.push(config.display().to_string());
        let log = home.join("log");
        let state = data.join("version-2");
        Ok(Server { at, address, program: "java", args, log, state, child: None })
    };
    (0..servers).map(server).collect()
}
