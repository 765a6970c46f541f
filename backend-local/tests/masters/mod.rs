//! The suite on masters in processes of their own, each on a machine of a private network: each
//! client behind its proxies, each master to be killed, stopped and cut off.
//!
//! The test runs itself again as the masters. One obeys lines on its standard input, and ends
//! with it.

use async_trait::async_trait;
use backend_local::{Invitation, LocalConfig, LocalStore};
use conformance::network::{self, Network};
use conformance::{Fault, Hooks, Namespaced, ProxyHarness, Tcp, Timing};
use coord_api::{Coordinator, CoordinatorExt, Error, ErrorKind, Health, OpenOpts, Result};
use parking_lot::Mutex;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

const MASTER: &str = "--master";
/// On a machine of its own each has it to itself.
const PORT: u16 = 24009;
const READY: Duration = Duration::from_secs(60);

/// The whole of a test's `main`.
pub fn conformance(name: &'static str, masters: usize) -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    if let [_, flag, name, dir, listen] = args.as_slice()
        && flag == MASTER
    {
        let runtime = Runtime::new().expect("a runtime");
        runtime.block_on(serve(name, Path::new(dir), listen));
        return ExitCode::SUCCESS;
    }
    if args.iter().any(|arg| arg == "--list") {
        // No need of servers to say which cases there are.
        return conformance::main(ProxyHarness::new(Masters::none(name, Vec::new())));
    }
    network::enter().expect("a network of its own");
    let network = Arc::new(Network::of(masters).expect("machines"));
    let masters = Masters::start(name, &network).expect("the masters start");
    conformance::main(ProxyHarness::new(masters))
}

fn config(name: &str, dir: &Path, listen: Option<&str>) -> LocalConfig {
    LocalConfig {
        name: name.to_owned(),
        listen: listen.map(str::to_owned),
        lock_wait: Duration::from_secs(10),
        ..LocalConfig::new(dir.join(name))
    }
}

/// A master: `join TEXT` or `open` first, then `invite` and `compact`; a line of answer to each.
async fn serve(name: &str, dir: &Path, listen: &str) {
    let mut lines = std::io::stdin().lines();
    let mut line = || lines.next().and_then(std::result::Result::ok);
    let config = config(name, dir, Some(listen));
    let Some(first) = line() else { return };
    let opened = match first.strip_prefix("join ") {
        Some(text) => {
            let invitation = Invitation::parse(text).expect("an invitation");
            LocalStore::join(&config, &invitation).await
        }
        None => LocalStore::open(&config).await,
    };
    let store = opened.expect("the store opens");
    println!("ready");
    while let Some(word) = line() {
        match word.as_str() {
            "invite" => match store.invite().await {
                Ok(invitation) => println!("{}", invitation.to_text()),
                Err(error) => println!("error: {error}"),
            },
            "compact" => {
                store.compact();
                println!("done");
            }
            other => println!("error: {other}?"),
        }
    }
}

struct Process {
    name: String,
    dir: PathBuf,
    listen: SocketAddr,
    running: Option<(Child, ChildStdin, BufReader<ChildStdout>)>,
    paused: bool,
    at: usize,
    network: Arc<Network>,
}

impl Process {
    fn start(&mut self, first: &str) -> std::io::Result<()> {
        let mut child = self
            .network
            .command(self.at, std::env::current_exe()?)
            .args([MASTER.as_ref(), self.name.as_ref(), self.dir.as_os_str()])
            .arg(self.listen.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdin = child.stdin.take().expect("piped");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        self.running = Some((child, stdin, stdout));
        match self.tell(first)?.as_str() {
            "ready" => Ok(()),
            other => Err(std::io::Error::other(format!("{}: {other}", self.name))),
        }
    }

    fn tell(&mut self, word: &str) -> std::io::Result<String> {
        let (_, stdin, stdout) = self.running.as_mut().ok_or(std::io::ErrorKind::NotConnected)?;
        writeln!(stdin, "{word}")?;
        let mut answer = String::new();
        stdout.read_line(&mut answer)?;
        Ok(answer.trim().to_owned())
    }

    fn kill(&mut self) {
        if let Some((mut child, ..)) = self.running.take() {
            // Both fail only for a process that has ended.
            child.kill().ok();
            child.wait().ok();
        }
        self.paused = false;
    }

    fn pause(&mut self, paused: bool) {
        self.paused = paused;
        if let Some((child, ..)) = &self.running {
            conformance::servers::set_paused(child, paused);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The masters, and the suite's own place in their pool, from which its clients are made.
#[derive(Clone)]
struct Masters(Arc<Mutex<Set>>);

struct Set {
    name: &'static str,
    processes: Vec<Process>,
    admin: Option<LocalStore>,
    runtime: Arc<Runtime>,
    dir: tempfile::TempDir,
    /// Numbers the pools that lived here.
    lives: usize,
}

impl Masters {
    fn none(name: &'static str, processes: Vec<Process>) -> Masters {
        let runtime = Arc::new(Runtime::new().expect("a runtime"));
        let dir = tempfile::tempdir().expect("a directory");
        let set = Set { name, processes, admin: None, runtime, dir, lives: 0 };
        Masters(Arc::new(Mutex::new(set)))
    }

    fn start(name: &'static str, network: &Arc<Network>) -> std::io::Result<Masters> {
        let process = |at: usize| Process {
            name: format!("m{at}"),
            dir: PathBuf::new(),
            listen: SocketAddr::from((network.address(at), PORT)),
            running: None,
            paused: false,
            at,
            network: network.clone(),
        };
        let masters = Masters::none(name, (0..network.len()).map(process).collect());
        masters.0.lock().found()?;
        Ok(masters)
    }

    /// Waits until every master answers as one of its quorum: the next case's clients begin with
    /// it. Those that are healed before the last have nothing to wait for.
    async fn serve(&self) -> Result<()> {
        let up = |process: &Process| process.running.is_some() && !process.paused;
        if !self.0.lock().processes.iter().all(up) {
            return Ok(());
        }
        let count = self.0.lock().processes.len();
        for at in 0..count {
            self.serves(at).await?;
        }
        Ok(())
    }

    async fn serves(&self, at: usize) -> Result<()> {
        let (admin, address) = {
            let set = self.0.lock();
            (set.admin()?, set.processes[at].listen.to_string())
        };
        let opts = OpenOpts { connect_timeout: READY, ..OpenOpts::default() };
        let c = admin.client_through(vec![address], &opts).await?;
        c.barrier(Some(READY)).await?;
        let mut health = c.health();
        let well = health.wait_for(|health| *health == Health::Ok);
        let late = |_| Error::none(ErrorKind::Timeout);
        tokio::time::timeout(READY, well).await.map_err(late)?.map(drop).ok();
        c.close().await
    }

    async fn act(
        &self,
        act: impl FnOnce(&mut Set) -> std::io::Result<()> + Send + 'static,
    ) -> Result<()> {
        let set = self.0.clone();
        let done = tokio::task::spawn_blocking(move || act(&mut set.lock())).await;
        let internal = |text: String| Error::none(ErrorKind::Internal).because(text);
        done.map_err(|error| internal(error.to_string()))?
            .map_err(|error| internal(error.to_string()))
    }
}

impl Set {
    /// A new pool under the known addresses.
    fn found(&mut self) -> std::io::Result<()> {
        self.admin = None;
        self.lives += 1;
        let dir = self.dir.path().join(format!("pool{}", self.lives));
        for process in &mut self.processes {
            process.kill();
            process.dir = dir.clone();
        }
        self.processes[0].start("open")?;
        for n in 1..self.processes.len() {
            let text = self.processes[0].tell("invite")?;
            self.processes[n].start(&format!("join {text}"))?;
        }
        let text = self.processes[0].tell("invite")?;
        let invitation = Invitation::parse(&text).map_err(std::io::Error::other)?;
        let runtime = self.runtime.clone();
        let count = self.processes.len();
        let admin = runtime.block_on(async {
            let admin = LocalStore::join(&config("suite", &dir, None), &invitation).await;
            let admin = admin.map_err(std::io::Error::other)?;
            let end = Instant::now() + READY;
            loop {
                let members = admin.members().await;
                let masters = members.iter().flatten().filter(|member| member.master).count();
                if masters == count {
                    return Ok(admin);
                }
                if Instant::now() > end {
                    return Err(std::io::Error::other(format!("{members:?}")));
                }
                tokio::time::sleep(Duration::from_millis(30)).await;
            }
        })?;
        self.admin = Some(admin);
        Ok(())
    }

    fn network(&self) -> Arc<Network> {
        self.processes[0].network.clone()
    }

    fn admin(&self) -> Result<LocalStore> {
        self.admin.clone().ok_or_else(|| Error::none(ErrorKind::Unavailable))
    }
}

#[async_trait]
impl Tcp for Masters {
    fn name(&self) -> &'static str {
        self.0.lock().name
    }

    fn servers(&self) -> Vec<SocketAddr> {
        self.0.lock().processes.iter().map(|process| process.listen).collect()
    }

    async fn connect(
        &self,
        ns: &str,
        servers: &[SocketAddr],
        timing: Timing,
    ) -> Result<Arc<dyn Coordinator>> {
        let admin = self.0.lock().admin()?;
        let opts = OpenOpts {
            request_timeout: timing.request,
            detect: timing.detect,
            connect_timeout: READY,
            ..OpenOpts::default()
        };
        let servers = servers.iter().map(SocketAddr::to_string).collect();
        Ok(Arc::new(Namespaced::new(admin.client_through(servers, &opts).await?, ns)))
    }

    fn hooks(&self) -> Hooks {
        let servers = self.0.lock().processes.len();
        Hooks {
            servers,
            partition: servers > 1,
            kill: true,
            pause: true,
            expire: true,
            compact: true,
            wipe: true,
            ..Hooks::default()
        }
    }

    fn timing(&self) -> Timing {
        Timing { ttl: Duration::from_secs(4), ..Timing::default() }
    }

    async fn leader(&self) -> Option<usize> {
        let set = self.0.lock();
        let members = set.admin().ok()?.handle().info().members;
        let leader = members.into_iter().find(|member| member.leader == Some(true))?;
        set.processes.iter().position(|process| process.listen.to_string() == leader.name)
    }

    async fn inject(&self, fault: &Fault) -> Result<()> {
        if let Fault::PartitionServers(sets) = fault {
            let sets = sets.clone();
            return self.act(move |set| set.network().partition(&sets)).await;
        }
        match *fault {
            Fault::KillServer(at) => {
                self.act(move |set| {
                    set.processes[at].kill();
                    Ok(())
                })
                .await
            }
            Fault::PauseServer(at) => {
                self.act(move |set| {
                    set.processes[at].pause(true);
                    Ok(())
                })
                .await
            }
            Fault::Compact => {
                self.act(|set| {
                    set.processes
                        .iter_mut()
                        .try_for_each(|process| process.tell("compact").map(drop))
                })
                .await
            }
            Fault::WipeCluster => self.act(Set::found).await,
            Fault::SessionExpiry(session) => {
                let admin = self.0.lock().admin()?;
                admin.expire(session).await
            }
            _ => Err(Error::none(ErrorKind::Unsupported("this fault"))),
        }
    }

    async fn heal(&self, fault: &Fault) -> Result<()> {
        if let Fault::PartitionServers(sets) = fault {
            let sets = sets.clone();
            self.act(move |set| set.network().join(&sets)).await?;
            return self.serve().await;
        }
        match *fault {
            Fault::KillServer(at) => {
                self.act(move |set| {
                    set.processes[at].kill();
                    set.processes[at].start("open")
                })
                .await?;
                self.serve().await
            }
            Fault::PauseServer(at) => {
                self.act(move |set| {
                    set.processes[at].pause(false);
                    Ok(())
                })
                .await?;
                self.serve().await
            }
            _ => Ok(()),
        }
    }
}
