//! Nodes of a pool in one process, each with its seat and an address of the loopback.

use backend_local::{Baggage, LocalConfig, Seat, StoreMember, Timing};
use bytes::Bytes;
use coord_api::{
    Coordinator, CoordinatorExt, Key, OpenOpts, Prefix, ReadOpts, Space, SpaceKind, Txn,
};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub const SOON: Duration = Duration::from_secs(60);

/// Each node has an address of the loopback, and all the same free port.
pub fn config(dir: &Path, n: u8, port: u16) -> LocalConfig {
    LocalConfig {
        name: format!("n{n}"),
        listen: Some(format!("127.1.2.{n}:{port}")),
        address: format!("127.1.2.{n}:{port}"),
        timing: Timing { heartbeat_ms: 100, election_ms: (600, 1200) },
        lock_wait: SOON,
        open: OpenOpts::default(),
        ..LocalConfig::new(dir.join(format!("n{n}")))
    }
}

pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub fn space() -> Space {
    Space::new("config").unwrap()
}

pub fn key(name: &str) -> Key {
    Key::new(&space(), name).unwrap()
}

pub fn baggage(node: &str) -> Baggage {
    let own = key(&format!("{node}.own"));
    Baggage {
        empty: vec![Prefix::new(&space(), &format!("{node}.volume")).unwrap()],
        records: vec![(own, Bytes::from_static(b"kept"))],
    }
}

pub async fn value(c: &Arc<dyn Coordinator>, name: &str) -> Option<Bytes> {
    let deadline = Instant::now() + SOON;
    loop {
        match c.get(&key(name), ReadOpts::linearizable()).await {
            Ok((entry, _)) => return entry.map(|entry| entry.value),
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub async fn put(c: &Arc<dyn Coordinator>, name: &str) {
    let deadline = Instant::now() + SOON;
    while let Err(error) = c.txn(Txn::new().put(&key(name), "x")).await {
        assert!(Instant::now() < deadline, "{error}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub async fn members(seat: &Seat, count: usize) {
    let deadline = Instant::now() + SOON;
    loop {
        let members = seat.members().await;
        if members.as_ref().is_ok_and(|members| members.len() == count) {
            return;
        }
        assert!(Instant::now() < deadline, "not {count}: {members:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub async fn masters(seat: &Seat, count: usize) {
    let deadline = Instant::now() + SOON;
    loop {
        let members = seat.members().await;
        let masters = |m: &Vec<StoreMember>| m.iter().filter(|m| m.master).count();
        if members.as_ref().is_ok_and(|members| masters(members) == count) {
            return;
        }
        assert!(Instant::now() < deadline, "not {count} masters: {members:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub async fn opened(config: &LocalConfig) -> Arc<Seat> {
    let seat = Seat::open(config.clone(), SOON).await.unwrap();
    seat.handle().ensure_space(&space(), SpaceKind::Persistent).await.unwrap();
    seat
}

pub async fn invited(host: &Arc<Seat>, guest: &Arc<Seat>, n: u8) {
    let deadline = Instant::now() + SOON;
    loop {
        let joined = match host.invite("127.1.2.1").await {
            Ok(text) => guest.join(&text, "host", &baggage(&format!("n{n}"))).await,
            Err(error) => Err(error),
        };
        match joined {
            Ok(()) => return,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
