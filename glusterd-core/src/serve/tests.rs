//! The transport on real sockets: what peers may do wrong, and that others do not notice.

use super::dispatch::{Narrowed, Program, Reject, Table};
use super::listener::{Family, ListenError, Listener, Plain, TcpEndpoint};
use super::registry::{Connection, Connections, Peer};
use super::{Limits, portmap::Portmap};
use crate::rpc::callback::CallbackProc;
use crate::rpc::client::{CallError, Callback, Client, Endpoint};
use crate::rpc::dump::{CommonRsp, DumpProc, DumpReq, DumpRsp};
use crate::rpc::header::{Auth, Call, Message, Outcome};
use crate::rpc::record::{self, RecordCodec};
use crate::rpc::{ProgramId, Xdr};
use crate::supervise::ports::Ports;
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, future};
use proptest::prelude::*;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::codec::Framed;
use tokio_util::sync::CancellationToken;

const ID: ProgramId = ProgramId { number: 777, version: 3 };
const ECHO: u32 = 1;
const WAIT: u32 = 2;
const PANIC: u32 = 3;
const BIG: u32 = 4;
const PATIENCE: Duration = Duration::from_secs(20);

/// Answers in the ways a program can.
struct Sample {
    gate: Arc<Semaphore>,
    disconnected: Arc<AtomicUsize>,
}

#[async_trait]
impl Program for Sample {
    fn id(&self) -> ProgramId {
        ID
    }

    fn name(&self) -> &str {
        "Sample"
    }

    fn serves(&self, procedure: u32) -> bool {
        (ECHO..=BIG).contains(&procedure)
    }

    async fn call(&self, _: &Connection, procedure: u32, body: Bytes) -> Result<Vec<u8>, Reject> {
        match procedure {
            ECHO => Ok(Vec::<u8>::from_bytes(&body)?.to_bytes()),
            WAIT => {
                self.gate.acquire().await.unwrap().forget();
                Ok(body.to_vec())
            }
            PANIC => panic!("a fault in a program"),
            _ => Ok(vec![0; u32::from_bytes(&body)? as usize]),
        }
    }

    fn disconnected(&self, _: &Connection) {
        self.disconnected.fetch_add(1, Ordering::SeqCst);
    }
}

/// A daemon's unix socket with [`Sample`] behind it.
struct House {
    folder: TempDir,
    connections: Arc<Connections>,
    gate: Arc<Semaphore>,
    disconnected: Arc<AtomicUsize>,
    stop: CancellationToken,
}

impl House {
    async fn new(limits: Limits, bytes_max: usize) -> House {
        let house = House {
            folder: tempfile::tempdir().unwrap(),
            connections: Arc::new(Connections::new(bytes_max)),
            gate: Arc::new(Semaphore::new(0)),
            disconnected: Arc::default(),
            stop: CancellationToken::new(),
        };
        let listener = Listener::unix(&house.path()).await.unwrap();
        listener.serve(house.table(), house.connections.clone(), limits, house.stop.clone());
        house
    }

    async fn plain() -> House {
        House::new(Limits::default(), 1 << 20).await
    }

    fn table(&self) -> Arc<Table> {
        let (gate, disconnected) = (self.gate.clone(), self.disconnected.clone());
        let sample: Arc<dyn Program> = Arc::new(Sample { gate, disconnected });
        let narrowed = Narrowed {
            program: Arc::new(Portmap::new(Ports::default())),
            name: "Few",
            procedures: vec![1],
        };
        Arc::new(Table::new(vec![sample, Arc::new(narrowed)]))
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("glusterd.socket")
    }

    async fn client(&self) -> Client {
        self.listening().await.0
    }

    async fn listening(&self) -> (Client, mpsc::Receiver<Callback>) {
        let endpoint = Endpoint::Unix(self.path());
        Client::connect_listening(&endpoint, PATIENCE).await.unwrap()
    }

    async fn stream(&self) -> UnixStream {
        UnixStream::connect(self.path()).await.unwrap()
    }

    /// A new connection gets its answer.
    async fn check_serves(&self) {
        assert_eq!(echo(&self.client().await, "still here").await, "still here");
    }

    async fn check_connections(&self, count: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.connections.len() != count {
            assert!(Instant::now() < deadline, "{} are open", self.connections.len());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn echo(client: &Client, text: &str) -> String {
    let results = client.call(ID, ECHO, &text.to_owned().to_bytes(), PATIENCE).await.unwrap();
    String::from_bytes(&results).unwrap()
}

/// Bytes of a marked call.
fn call(xid: u32, program: ProgramId, procedure: u32, arguments: &[u8]) -> Vec<u8> {
    let credential = Auth::glusterfs_v2();
    let call = Call { xid, program, procedure, credential, verifier: Auth::default() };
    let record = call.record(arguments);
    [&record::mark(record.len()).to_be_bytes()[..], &record].concat()
}

async fn ended(mut stream: UnixStream) {
    let mut rest = Vec::new();
    let reading = stream.read_to_end(&mut rest);
    let _reset_will_do = tokio::time::timeout(PATIENCE, reading).await.expect("it ends");
}

async fn refusal(client: &Client, program: ProgramId, procedure: u32, body: &[u8]) -> Outcome {
    match client.call(program, procedure, body, PATIENCE).await {
        Err(CallError::Refused(outcome)) => outcome,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_is_not_served_is_refused_in_the_words_of_rpc() {
    let house = House::plain().await;
    let client = house.client().await;
    let other = |number, version| ProgramId { number, version };
    let check = async |program, procedure, body: &[u8], expected| {
        assert_eq!(refusal(&client, program, procedure, body).await, expected);
    };
    check(other(99, 1), 1, b"", Outcome::ProgramUnavailable).await;
    check(other(777, 4), 1, b"", Outcome::ProgramMismatch { low: 0, high: 0 }).await;
    check(other(ProgramId::DUMP.number, 2), 1, b"", Outcome::ProgramMismatch { low: 0, high: 0 })
        .await;
    check(ID, 0, b"", Outcome::ProcedureUnavailable).await;
    check(ID, 99, b"", Outcome::ProcedureUnavailable).await;
    check(ProgramId::DUMP, 9, b"", Outcome::ProcedureUnavailable).await;
    check(ProgramId::PORTMAP, 4, b"", Outcome::ProcedureUnavailable).await;
    check(ID, ECHO, &[0, 0, 0, 9, 1], Outcome::GarbageArguments).await;
    check(ProgramId::DUMP, 1, &[0; 7], Outcome::GarbageArguments).await;
    check(ID, PANIC, b"", Outcome::SystemError).await;
    assert_eq!(echo(&client, "x").await, "x");
}

#[tokio::test]
async fn another_rpc_version_is_denied() {
    let house = House::plain().await;
    let mut peer = Framed::new(house.stream().await, RecordCodec::default());
    let mut bytes = call(5, ID, ECHO, b"");
    bytes[15] = 3;
    peer.get_mut().write_all(&bytes).await.unwrap();
    let Message::Reply(reply, _) = Message::decode(peer.next().await.unwrap().unwrap()).unwrap()
    else {
        panic!("a reply")
    };
    assert_eq!((reply.xid, reply.outcome), (5, Outcome::RpcMismatch { low: 2, high: 2 }));
}

#[tokio::test]
async fn dump_lists_the_table_and_ping_answers_beside_blocked_calls() {
    let house = House::plain().await;
    let client = house.client().await;
    let blocked: Vec<_> = (0..Limits::default().calls)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.call(ID, WAIT, b"done", PATIENCE).await })
        })
        .collect();
    let asked = DumpReq { gfs_id: 0xcaed }.to_bytes();
    let results = client.call(ProgramId::DUMP, DumpProc::DUMP.0, &asked, PATIENCE).await.unwrap();
    let listed = DumpRsp::from_bytes(&results).unwrap().programs;
    let listed: Vec<_> = listed.iter().map(|p| (p.name.as_str(), p.number, p.version)).collect();
    let expected = [("GF-DUMP", 123_451_501, 1), ("Sample", 777, 3), ("Few", 34_123_456, 1)];
    assert_eq!(listed, expected);
    let pong = client.call(ProgramId::DUMP, DumpProc::PING.0, b"", PATIENCE).await.unwrap();
    assert_eq!(pong, CommonRsp::default().to_bytes());
    house.check_serves().await;

    house.gate.add_permits(blocked.len());
    for answer in blocked {
        assert_eq!(answer.await.unwrap().unwrap(), b"done"[..]);
    }
}

#[tokio::test]
async fn pipelined_calls_are_answered_as_they_get_ready() {
    let house = House::plain().await;
    let mut peer = Framed::new(house.stream().await, RecordCodec::default());
    let mut bytes = call(10, ID, WAIT, b"late");
    for xid in 11..40 {
        bytes.extend(call(xid, ID, ECHO, &"now".to_owned().to_bytes()));
    }
    peer.get_mut().write_all(&bytes).await.unwrap();
    let mut next = async || match Message::decode(peer.next().await.unwrap().unwrap()).unwrap() {
        Message::Reply(reply, _) => reply.xid,
        other => panic!("{other:?}"),
    };
    let mut early = Vec::new();
    for _ in 11..40 {
        early.push(next().await);
    }
    early.sort_unstable();
    assert_eq!(early, (11..40).collect::<Vec<_>>());
    house.gate.add_permits(1);
    assert_eq!(next().await, 10);
}

#[tokio::test]
async fn more_calls_than_allowed_wait_unread() {
    let limits = Limits { calls: 2, ..Limits::default() };
    let house = House::new(limits, 1 << 20).await;
    let client = house.client().await;
    let calls = (0..10).map(|_| client.call(ID, WAIT, b"", PATIENCE));
    let release = async { house.gate.add_permits(10) };
    let (answers, ()) = future::join(future::join_all(calls), release).await;
    assert!(answers.iter().all(Result::is_ok));
}

#[tokio::test]
async fn every_cut_of_a_call_leaves_nothing_behind() {
    let house = House::plain().await;
    let bytes = call(2, ID, ECHO, &"text".to_owned().to_bytes());
    for cut in 0..=bytes.len() {
        let mut stream = house.stream().await;
        stream.write_all(&bytes[..cut]).await.unwrap();
        drop(stream);
    }
    house.check_connections(0).await;
    assert_eq!(house.disconnected.load(Ordering::SeqCst), bytes.len() + 1);
    house.check_serves().await;
}

#[tokio::test]
async fn half_a_record_and_silence_ends_the_connection() {
    let brief = Duration::from_millis(50);
    let limits = Limits { record_time: brief, first_record_time: brief, ..Limits::default() };
    let house = House::new(limits, 1 << 20).await;
    let bytes = call(2, ID, ECHO, &"text".to_owned().to_bytes());
    ended(house.stream().await).await;
    for cut in [1, 4, 30, bytes.len() - 1] {
        let mut first = house.stream().await;
        first.write_all(&bytes[..cut]).await.unwrap();
        ended(first).await;

        let mut later = house.stream().await;
        later.write_all(&[&bytes[..], &bytes[..cut]].concat()).await.unwrap();
        ended(later).await;
    }
    let idle = house.client().await;
    echo(&idle, "x").await;
    tokio::time::sleep(brief * 4).await;
    assert_eq!(echo(&idle, "an idle peer stays").await, "an idle peer stays");
}

#[tokio::test]
async fn a_slow_sender_is_served() {
    let house = House::plain().await;
    let mut peer = Framed::new(house.stream().await, RecordCodec::default());
    for byte in call(2, ID, ECHO, &"slow".to_owned().to_bytes()) {
        peer.get_mut().write_all(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert!(peer.next().await.unwrap().is_ok());
}

#[tokio::test]
async fn announced_and_gathered_lengths_are_bounded() {
    let limits = Limits { record_bytes: 1000, ..Limits::default() };
    let house = House::new(limits, 1 << 20).await;
    for bytes in [vec![0xff; 4], [vec![0, 0, 3, 0], vec![0; 0x300], vec![0, 0, 3, 0]].concat()] {
        let mut stream = house.stream().await;
        stream.write_all(&bytes).await.unwrap();
        ended(stream).await;
    }
    house.check_serves().await;
}

#[tokio::test]
async fn bytes_held_over_all_connections_are_bounded() {
    let house = House::new(Limits::default(), 256 << 10).await;
    let half = [&[0x81, 0, 0, 0][..], &[0; 100 << 10]].concat();
    let mut holding = Vec::new();
    for _ in 0..2 {
        let mut stream = house.stream().await;
        stream.write_all(&half).await.unwrap();
        holding.push(stream);
    }
    let mut over = house.stream().await;
    let _closed_meanwhile = over.write_all(&half).await;
    let _closed_meanwhile = over.write_all(&half).await;
    ended(over).await;
    house.check_serves().await;
    drop(holding);
    house.check_connections(0).await;

    let client = house.client().await;
    let long = "x".repeat(150 << 10);
    for _ in 0..5 {
        assert_eq!(echo(&client, &long).await.len(), long.len());
    }
}

#[tokio::test]
async fn who_does_not_read_is_dropped_and_nobody_waits_for_them() {
    let limits = Limits { write_time: Duration::from_millis(200), ..Limits::default() };
    let house = House::new(limits, 4 << 20).await;
    let mut deaf = house.stream().await;
    for xid in 0..8 {
        deaf.write_all(&call(xid, ID, BIG, &(1u32 << 20).to_bytes())).await.unwrap();
    }
    house.check_serves().await;
    house.check_connections(0).await;
    let client = house.client().await;
    let results = client.call(ID, BIG, &(3u32 << 20).to_bytes(), PATIENCE).await.unwrap();
    assert_eq!(results.len(), 3 << 20);
}

#[tokio::test]
async fn callbacks_reach_everyone_and_count_from_one() {
    let house = House::plain().await;
    let (a, mut heard_by_a) = house.listening().await;
    let (b, mut heard_by_b) = house.listening().await;
    echo(&a, "").await;
    echo(&b, "").await;
    house.connections.push(CallbackProc::FETCHSPEC, b"");
    let first = heard_by_a.recv().await.unwrap();
    assert_eq!(first, heard_by_b.recv().await.unwrap());
    let id_and_body = (first.program, first.procedure, &first.body[..]);
    assert_eq!(id_and_body, (ProgramId::CALLBACK, 1, &b""[..]));
    let oldest = house.connections.list()[0].id();
    let reached =
        house.connections.push_to(CallbackProc::STATEDUMP, &7u32.to_bytes(), |c| c.id() == oldest);
    let second = heard_by_a.recv().await.unwrap();
    assert_eq!((reached, first.xid, second.xid, second.procedure), (1, 1, 2, 9));
    assert!(heard_by_b.try_recv().is_err());
    assert_eq!(echo(&b, "answers go on").await, "answers go on");
}

#[tokio::test]
async fn callbacks_of_a_kind_wait_once_and_many_kinds_close() {
    let connection = Connection::new(crate::supervise::ports::ConnectionId(1), Peer::Unix);
    for _ in 0..1000 {
        connection.push(CallbackProc::FETCHSPEC, b"");
    }
    assert_eq!(connection.next_callback().await, (CallbackProc::FETCHSPEC, Vec::new()));
    assert!(futures_util::FutureExt::now_or_never(connection.next_callback()).is_none());
    for pid in 0..100u32 {
        connection.push(CallbackProc::STATEDUMP, &pid.to_bytes());
    }
    connection.closed().await;
}

#[tokio::test]
async fn a_thousand_connections_are_served_and_called() {
    let mut wanted = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    wanted.current = wanted.maximum;
    rustix::process::setrlimit(rustix::process::Resource::Nofile, wanted).unwrap();
    let house = House::plain().await;
    let mut clients = Vec::new();
    for n in 0..1000 {
        let (client, heard) = house.listening().await;
        clients.push((n.to_string(), client, heard));
    }
    let answers = future::join_all(
        clients.iter().map(|(name, client, _)| async move { echo(client, name).await == *name }),
    );
    assert!(answers.await.into_iter().all(|same| same));
    assert_eq!(house.connections.len(), 1000);
    house.connections.push(CallbackProc::GET_SNAPS, b"");
    for (_, _, heard) in &mut clients {
        assert_eq!(heard.recv().await.unwrap().procedure, 4);
    }
    drop(clients);
    house.check_connections(0).await;
}

#[tokio::test]
async fn connections_past_the_limit_are_closed() {
    let limits = Limits { connections: 2, ..Limits::default() };
    let house = House::new(limits, 1 << 20).await;
    let kept = [house.client().await, house.client().await];
    for client in &kept {
        echo(client, "").await;
    }
    ended(house.stream().await).await;
    let [first, _second] = kept;
    drop(first);
    house.check_connections(1).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    house.check_serves().await;
}

#[tokio::test]
async fn stopping_and_closing() {
    let house = House::plain().await;
    let client = house.client().await;
    echo(&client, "").await;
    house.stop.cancel();
    assert_eq!(echo(&client, "who is connected stays").await, "who is connected stays");
    house.connections.close_all();
    client.closed().await;
    assert!(house.path().exists());
    let again = Listener::unix(&house.path()).await;
    assert!(again.is_ok(), "a path nobody serves is taken over");
}

#[tokio::test]
async fn a_unix_path_is_taken_only_from_the_dead() {
    let house = House::plain().await;
    let mode = fs::metadata(house.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o755);
    assert!(matches!(Listener::unix(&house.path()).await, Err(ListenError::Live(_))));
    house.check_serves().await;

    let file = house.folder.path().join("file");
    fs::write(&file, "not a socket").unwrap();
    assert!(matches!(Listener::unix(&file).await, Err(ListenError::Io { .. })));
    assert_eq!(fs::read(&file).unwrap(), b"not a socket");
}

#[tokio::test]
async fn tcp_serves_in_both_families() {
    let house = House::plain().await;
    for (family, address) in [(Family::Inet, "127.0.0.1"), (Family::Inet6, "::1")] {
        let bind_address = Some(address.to_owned());
        let endpoint = TcpEndpoint { bind_address, family, port: 0, ..TcpEndpoint::default() };
        let listener = match Listener::tcp(endpoint, Arc::new(Plain)).await {
            Ok(listener) => listener,
            // Machines without IPv6 exist.
            Err(error) if family == Family::Inet6 => {
                eprintln!("no IPv6 here: {error}");
                continue;
            }
            Err(error) => panic!("{error}"),
        };
        let port = listener.port().unwrap();
        let stop = house.stop.clone();
        listener.serve(house.table(), house.connections.clone(), Limits::default(), stop);
        let endpoint = Endpoint::Tcp((address.parse::<std::net::IpAddr>().unwrap(), port).into());
        let client = Client::connect(&endpoint, PATIENCE).await.unwrap();
        assert_eq!(echo(&client, address).await, address);
        let peer = house.connections.list().pop().unwrap().peer();
        assert_eq!(peer.ip().unwrap().to_string(), address);
    }
}

#[tokio::test]
async fn a_busy_port_is_tried_twice() {
    let endpoint = |port| TcpEndpoint {
        bind_address: Some("127.0.0.1".into()),
        port,
        ..TcpEndpoint::default()
    };
    let first = Listener::tcp(endpoint(0), Arc::new(Plain)).await.unwrap();
    let port = first.port().unwrap();
    let start = Instant::now();
    let second = Listener::tcp(endpoint(port), Arc::new(Plain)).await;
    assert!(matches!(second, Err(ListenError::Io { .. })));
    assert!(start.elapsed() >= Duration::from_secs(1));
    let third = tokio::spawn(Listener::tcp(endpoint(port), Arc::new(Plain)));
    tokio::time::sleep(Duration::from_millis(200)).await;
    drop(first);
    assert!(third.await.unwrap().is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Whatever comes in, the daemon goes on and the connection is taken off the books.
    #[test]
    fn garbage_harms_only_its_sender(
        streams in prop::collection::vec(
            (any::<bool>(), prop::collection::vec(any::<u8>(), 0..300)), 1..6),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let house = House::plain().await;
            for (is_marked, bytes) in streams {
                let mut stream = house.stream().await;
                let mark = record::mark(bytes.len()).to_be_bytes();
                let prefix = if is_marked { &mark[..] } else { &[][..] };
                let _closed_meanwhile = stream.write_all(&[prefix, &bytes].concat()).await;
            }
            house.check_connections(0).await;
            house.check_serves().await;
        });
    }
}
