//! What an administrator of ZooKeeper can do to it, and the suite with that.
//!
//! No tool ends a session. But whoever names its id and password takes it over and may close it,
//! and the password follows from the id (ZooKeeperServer.java, `generatePasswd`, 3.8.0).

use async_trait::async_trait;
use backend_zk::ZooKeeper;
use conformance::network::{self, Network};
use conformance::servers::{Cluster, Place, ZooKeeperOpts};
use conformance::{Admin, Administered, ProcessHarness, Timing};
use coord_api::{Error, ErrorKind, Result, SessionId};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

struct Ensemble {
    addresses: Vec<SocketAddr>,
}

#[async_trait]
impl Admin for Ensemble {
    async fn expire(&self, session: SessionId) -> Result<()> {
        let mut last = io::Error::other("no server");
        for address in self.addresses.clone() {
            match tokio::task::spawn_blocking(move || close_session(address, session.0)).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) => last = error,
                Err(error) => last = io::Error::other(error),
            }
        }
        Err(Error::none(ErrorKind::Internal).because(last))
    }

    fn compacts(&self) -> bool {
        false
    }

    async fn compact(&self) -> Result<()> {
        Err(ErrorKind::Unsupported("ZooKeeper keeps no history").into())
    }
}

/// The owner of a session that is taken over connects again at once and takes it back; so the
/// closing goes out with the connect, and again until the session is gone.
fn close_session(address: SocketAddr, session: u64) -> io::Result<()> {
    for _ in 0..50 {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        // ConnectRequest: protocol, last zxid, timeout, session, password, read-only.
        let mut request = 45u32.to_be_bytes().to_vec();
        request.extend(0u32.to_be_bytes());
        request.extend(0u64.to_be_bytes());
        request.extend(6000u32.to_be_bytes());
        request.extend(session.to_be_bytes());
        request.extend(16u32.to_be_bytes());
        request.extend(password(session));
        request.push(0);
        // A request without body: length, xid, closeSession (-11).
        request.extend([8i32.to_be_bytes(), 1i32.to_be_bytes(), (-11i32).to_be_bytes()].concat());
        stream.write_all(&request)?;
        let mut answer = [0; 41];
        if stream.read_exact(&mut answer).is_err() {
            continue;
        }
        // Length, protocol, timeout, session: another one means that ours is over.
        let closed = stream.read_exact(&mut [0; 20]).is_ok();
        if closed || answer[12..20] != session.to_be_bytes() {
            return Ok(());
        }
    }
    Err(io::Error::other("the session is taken back each time"))
}

/// Sixteen bytes of java.util.Random, seeded with the id and a constant.
fn password(session: u64) -> [u8; 16] {
    const MASK: u64 = (1 << 48) - 1;
    const FACTOR: u64 = 0x5_DEEC_E66D;
    let mut seed = (session ^ 0xB341_5C00 ^ FACTOR) & MASK;
    let mut bytes = [0; 16];
    for chunk in bytes.chunks_mut(4) {
        seed = seed.wrapping_mul(FACTOR).wrapping_add(0xB) & MASK;
        let word = (seed >> 16) as u32;
        chunk.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

pub fn conformance(name: &'static str, servers: usize) -> ExitCode {
    network::enter().expect("a network of its own");
    let network = Arc::new(Network::of(servers).expect("machines"));
    let opts = ZooKeeperOpts { place: Place::on(network), ..ZooKeeperOpts::default() };
    let cluster = Cluster::zookeeper(servers, &opts).expect("ZooKeeper starts");
    let addresses = cluster.addresses();
    let url = |hosts: &str, ns: &str| format!("zk://{hosts}/{ns}");
    let harness = ProcessHarness::new(name, cluster, ZooKeeper, Timing::default(), url);
    conformance::main(Administered::new(harness, Ensemble { addresses }))
}
