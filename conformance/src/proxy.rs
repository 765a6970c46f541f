//! A TCP proxy per client inside the suite, so that any TCP backend gets the faults of one client
//! for nothing: cut, black hole, lost answers, delay.
//!
//! A black hole holds bytes and lets them go when it heals, as TCP's retransmission does; what a
//! server then does with a late request is part of the test (X2).

use crate::harness::{Fault, Harness, Hooks, Timing};
use async_trait::async_trait;
use coord_api::{Coordinator, Error, ErrorKind, Result};
use parking_lot::Mutex;
use rustix::net::sockopt::set_socket_linger;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// A backend behind TCP servers. [`ProxyHarness`] makes a [`Harness`] of it.
#[async_trait]
pub trait Tcp: Send + Sync + 'static {
    fn name(&self) -> &'static str;

    /// Client addresses of all servers; they stay the same through restarts.
    fn servers(&self) -> Vec<SocketAddr>;

    /// A new independent handle that reaches the servers under these addresses only.
    async fn connect(
        &self,
        ns: &str,
        servers: &[SocketAddr],
        timing: Timing,
    ) -> Result<Arc<dyn Coordinator>>;

    /// Beyond `proxy`, which is given.
    fn hooks(&self) -> Hooks {
        Hooks::default()
    }

    fn timing(&self) -> Timing {
        Timing::default()
    }

    /// The server that leads, if that can be told.
    async fn leader(&self) -> Option<usize> {
        None
    }

    /// Faults of servers, sessions and history.
    async fn inject(&self, fault: &Fault) -> Result<()> {
        Err(Error::none(ErrorKind::Unsupported("this fault")).because(format!("{fault:?}")))
    }

    async fn heal(&self, _fault: &Fault) -> Result<()> {
        Ok(())
    }
}

/// A harness whose clients reach their servers through proxies.
pub struct ProxyHarness<T> {
    inner: T,
    proxies: Proxies,
}

impl<T: Tcp> ProxyHarness<T> {
    pub fn new(inner: T) -> ProxyHarness<T> {
        let proxies = Proxies::new(inner.servers());
        ProxyHarness { inner, proxies }
    }
}

#[async_trait]
impl<T: Tcp> Harness for ProxyHarness<T> {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn hooks(&self) -> Hooks {
        Hooks { proxy: true, ..self.inner.hooks() }
    }

    fn timing(&self) -> Timing {
        self.inner.timing()
    }

    async fn connect(&self, ns: &str, client: usize) -> Result<Arc<dyn Coordinator>> {
        let servers = self.proxies.addresses(client);
        let servers = servers.map_err(|error| Error::from(ErrorKind::Internal).because(error))?;
        self.inner.connect(ns, &servers, self.timing()).await
    }

    async fn leader(&self) -> Option<usize> {
        self.inner.leader().await
    }

    async fn inject(&self, fault: &Fault) -> Result<()> {
        let (client, mode) = match fault {
            Fault::PinClient(client, server) => {
                self.proxies.pin(*client, *server);
                return Ok(());
            }
            Fault::CutClient(client) => (*client, Mode::Cut),
            Fault::BlackholeClient(client) => (*client, Mode::Silent),
            Fault::DropReplies(client) => (*client, Mode::NoReplies),
            Fault::DelayClient(client, by) => (*client, Mode::Slow(*by)),
            other => return self.inner.inject(other).await,
        };
        self.proxies.set(client, mode);
        Ok(())
    }

    async fn heal(&self, fault: &Fault) -> Result<()> {
        match fault {
            Fault::CutClient(client)
            | Fault::BlackholeClient(client)
            | Fault::DropReplies(client)
            | Fault::DelayClient(client, _)
            | Fault::PinClient(client, _) => self.proxies.set(*client, Mode::Open),
            other => return self.inner.heal(other).await,
        }
        Ok(())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Open,
    /// Connections are reset, new ones too.
    Cut,
    /// Nothing passes, nothing is lost.
    Silent,
    /// Requests pass, answers do not.
    NoReplies,
    Slow(Duration),
}

/// The mode, and a number that changes whenever existing connections must end.
#[derive(Clone, Copy, Debug)]
struct Gate {
    mode: Mode,
    resets: u64,
}

/// The proxies of all clients, on a thread of their own.
struct Proxies {
    /// Taken when dropped.
    runtime: Option<Runtime>,
    upstreams: Vec<SocketAddr>,
    clients: Mutex<HashMap<usize, ClientProxy>>,
}

/// By server.
struct ClientProxy {
    addresses: Vec<SocketAddr>,
    gates: Vec<watch::Sender<Gate>>,
}

impl Proxies {
    fn new(upstreams: Vec<SocketAddr>) -> Proxies {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("proxy")
            .enable_all()
            .build()
            .expect("a runtime can be started");
        Proxies { runtime: Some(runtime), upstreams, clients: Mutex::default() }
    }

    /// The client's own address of each server; listeners are made on first use.
    fn addresses(&self, client: usize) -> io::Result<Vec<SocketAddr>> {
        let mut clients = self.clients.lock();
        if let Some(known) = clients.get(&client) {
            return Ok(known.addresses.clone());
        }
        let runtime = self.runtime.as_ref().expect("taken only when dropped");
        let (mut addresses, mut gates) = (Vec::new(), Vec::new());
        for upstream in &self.upstreams {
            let (gate, watched) = watch::channel(Gate { mode: Mode::Open, resets: 0 });
            gates.push(gate);
            let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
            listener.set_nonblocking(true)?;
            addresses.push(listener.local_addr()?);
            runtime.spawn(listen(listener, *upstream, watched));
        }
        clients.insert(client, ClientProxy { addresses: addresses.clone(), gates });
        Ok(addresses)
    }

    fn set(&self, client: usize, mode: Mode) {
        if let Some(proxy) = self.clients.lock().get(&client) {
            proxy.gates.iter().for_each(|gate| turn(gate, mode));
        }
    }

    /// Only the way to that server stays open.
    fn pin(&self, client: usize, server: usize) {
        if let Some(proxy) = self.clients.lock().get(&client) {
            for (at, gate) in proxy.gates.iter().enumerate() {
                turn(gate, if at == server { Mode::Open } else { Mode::Cut });
            }
        }
    }
}

fn turn(gate: &watch::Sender<Gate>, mode: Mode) {
    gate.send_modify(|gate| {
        // A stream that has lost bytes cannot go on.
        let torn = gate.mode == Mode::NoReplies || mode == Mode::Cut;
        gate.resets += u64::from(torn && gate.mode != mode);
        gate.mode = mode;
    });
}

impl Drop for Proxies {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn listen(
    listener: std::net::TcpListener,
    upstream: SocketAddr,
    gate: watch::Receiver<Gate>,
) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    let mut ended = gate.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            // The harness is gone.
            _ = ended.wait_for(|_| false) => return,
        };
        match accepted {
            Ok((stream, _)) => drop(tokio::spawn(serve(stream, upstream, gate.clone()))),
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn serve(client: TcpStream, upstream: SocketAddr, gate: watch::Receiver<Gate>) {
    let born = *gate.borrow();
    let mut passing = gate.clone();
    if born.mode == Mode::Cut {
        return reset(&client);
    }
    let reached = async {
        let open = passing.wait_for(|gate| gate.mode != Mode::Silent);
        open.await.ok()?;
        TcpStream::connect(upstream).await.ok()
    };
    let mut ends = gate.clone();
    let server = tokio::select! {
        server = reached => server,
        _ = ends.wait_for(|gate| gate.resets != born.resets) => None,
    };
    let Some(server) = server else { return reset(&client) };
    drop((client.set_nodelay(true), server.set_nodelay(true)));
    // Both ends are reset, not closed, when a fault ends them.
    let (client_end, server_end) = (Linger::of(&client), Linger::of(&server));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let (requests, answers) = (gate.clone(), gate.clone());
    tokio::select! {
        () = pass(from_client, to_server, requests, false) => {}
        () = pass(from_server, to_client, answers, true) => {}
        _ = ends.wait_for(|gate| gate.resets != born.resets) => {
            client_end.arm();
            server_end.arm();
        }
    }
}

/// Copies one direction as the gate allows, until either end closes.
async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut gate: watch::Receiver<Gate>,
    answers: bool,
) {
    let mut bytes = vec![0; 64 << 10];
    loop {
        let Ok(n @ 1..) = from.read(&mut bytes).await else { return };
        // Whoever waits here holds what has been read.
        let Ok(now) = gate.wait_for(|gate| gate.mode != Mode::Silent).await.map(|gate| *gate)
        else {
            return;
        };
        match now.mode {
            Mode::NoReplies if answers => continue,
            Mode::Slow(by) => tokio::time::sleep(by).await,
            _ => {}
        }
        if to.write_all(&bytes[..n]).await.is_err() {
            return;
        }
    }
}

fn reset(stream: &TcpStream) {
    // Without it the peer sees an orderly end, which is another fault.
    let _ = set_socket_linger(stream, Some(Duration::ZERO));
}

/// Lets a split stream be reset when it is dropped.
struct Linger(Option<std::os::fd::OwnedFd>);

impl Linger {
    fn of(stream: &TcpStream) -> Linger {
        use std::os::fd::AsFd;
        Linger(stream.as_fd().try_clone_to_owned().ok())
    }

    /// The option belongs to the socket, whichever descriptor sets it.
    fn arm(&self) {
        if let Some(fd) = &self.0 {
            let _ = set_socket_linger(fd, Some(Duration::ZERO));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpStream as Plain;

    /// An upper-casing server, and a connection to it through a proxy.
    fn start() -> (Proxies, Vec<SocketAddr>) {
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in server.incoming() {
                std::thread::spawn(move || {
                    let (mut stream, mut byte) = (stream.unwrap(), [0]);
                    while stream.read_exact(&mut byte).is_ok() {
                        stream.write_all(&[byte[0].to_ascii_uppercase()]).unwrap_or(());
                    }
                });
            }
        });
        let proxies = Proxies::new(vec![address]);
        let addresses = proxies.addresses(1).unwrap();
        (proxies, addresses)
    }

    /// `A` for an answer, `-` for none in time, `!` for a connection that is gone.
    fn ask(stream: &mut Plain) -> char {
        stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let mut byte = [0];
        if stream.write_all(b"a").is_err() {
            return '!';
        }
        match stream.read(&mut byte) {
            Ok(1) => char::from(byte[0]),
            Ok(_) => '!',
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                '-'
            }
            Err(_) => '!',
        }
    }

    #[test]
    fn faults_act_on_connections_and_heal() {
        let (proxies, addresses) = start();
        assert_eq!(proxies.addresses(1).unwrap(), addresses);
        let connect = || Plain::connect(addresses[0]).unwrap();
        let mut stream = connect();
        assert_eq!(ask(&mut stream), 'A');

        proxies.set(1, Mode::Silent);
        assert_eq!(ask(&mut stream), '-');
        proxies.set(1, Mode::Open);
        assert_eq!(ask(&mut stream), 'A');
        assert_eq!(ask(&mut stream), 'A', "and the held answer came too");

        let mut stream = connect();
        assert_eq!(ask(&mut stream), 'A');
        proxies.set(1, Mode::NoReplies);
        assert_eq!(ask(&mut stream), '-');
        proxies.set(1, Mode::Open);
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(ask(&mut stream), '!');

        let mut stream = connect();
        assert_eq!(ask(&mut stream), 'A');
        proxies.set(1, Mode::Cut);
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(ask(&mut stream), '!');
        let mut refused = connect();
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(ask(&mut refused), '!');
        proxies.set(1, Mode::Open);
        assert_eq!(ask(&mut connect()), 'A');
    }
}
