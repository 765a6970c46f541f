//! The calling side: one connection, many calls under way, answers matched by xid.
//!
//! For calls into bricks and daemons, and for tests of our own daemon. A [`Client`] lives as long as
//! its connection and tells when that ends; it never reconnects ([`super::link`] does). Every wait
//! has a bound: the caller's timeout covers queueing, sending and the answer.
//!
//! Facts: rpc/rpc-lib/src/rpc-clnt.c (v10.3).

use super::header::{Auth, Call, Message, Outcome};
use super::program::ProgramId;
use super::record::{RecordCodec, RecordError};
use super::xdr::XdrError;
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio_util::codec::{FramedRead, FramedWrite};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::debug;

/// What stock's first call on a connection carries.
const FIRST_XID: u32 = 2;

/// Calls queued for sending; more wait in their callers.
const QUEUE_MAX: usize = 64;

/// Calls from the other side kept for someone who listens; more are dropped.
const CALLBACKS_MAX: usize = 64;

/// Where a daemon listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Endpoint {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

/// Why a call has no results.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Nobody there; the call was not sent.
    #[error("cannot connect")]
    Connect(#[source] io::Error),
    /// The connection ended; whether the call took effect is not known.
    #[error("the connection ended before the answer")]
    Disconnected,
    /// No answer in time; whether the call took effect is not known.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// The other side did not take the call: it had no effect.
    #[error("the call was refused: {0:?}")]
    Refused(Outcome),
    /// An answer came but it is not what it should be.
    #[error("the answer is malformed")]
    Malformed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<XdrError> for CallError {
    fn from(error: XdrError) -> CallError {
        CallError::Malformed(Box::new(error))
    }
}

/// A call that came from the other side; it expects no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Callback {
    pub xid: u32,
    pub program: ProgramId,
    pub procedure: u32,
    pub body: Bytes,
}

/// A connection for making calls. Clones share it; dropping the last one closes it.
#[derive(Debug, Clone)]
pub struct Client {
    queue: mpsc::Sender<Vec<u8>>,
    waiting: Arc<Mutex<Waiting>>,
    closed: CancellationToken,
    _close: Arc<DropGuard>,
}

#[derive(Debug)]
struct Waiting {
    next_xid: u32,
    answers: HashMap<u32, oneshot::Sender<(Outcome, Bytes)>>,
}

impl Client {
    /// # Errors
    /// [`CallError::Connect`], also when it takes longer than `timeout`.
    pub async fn connect(endpoint: &Endpoint, timeout: Duration) -> Result<Client, CallError> {
        let (client, _unheard) = Client::connect_listening(endpoint, timeout).await?;
        Ok(client)
    }

    /// As [`Client::connect`], with the calls that come from the other side.
    pub async fn connect_listening(
        endpoint: &Endpoint,
        timeout: Duration,
    ) -> Result<(Client, mpsc::Receiver<Callback>), CallError> {
        let connected = async {
            match endpoint {
                Endpoint::Unix(path) => Ok(Client::over(UnixStream::connect(path).await?)),
                Endpoint::Tcp(address) => {
                    let stream = TcpStream::connect(address).await?;
                    stream.set_nodelay(true)?;
                    Ok(Client::over(stream))
                }
            }
        };
        match tokio::time::timeout(timeout, connected).await {
            Ok(result) => result.map_err(CallError::Connect),
            Err(_) => Err(CallError::Connect(io::ErrorKind::TimedOut.into())),
        }
    }

    /// A client on a stream that is already connected.
    pub fn over<S>(stream: S) -> (Client, mpsc::Receiver<Callback>)
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (queue, queued) = mpsc::channel(QUEUE_MAX);
        let (callbacks, heard) = mpsc::channel(CALLBACKS_MAX);
        let waiting =
            Arc::new(Mutex::new(Waiting { next_xid: FIRST_XID, answers: HashMap::new() }));
        let closed = CancellationToken::new();
        let client = Client {
            queue,
            waiting: waiting.clone(),
            closed: closed.clone(),
            _close: Arc::new(closed.clone().drop_guard()),
        };
        tokio::spawn(run(stream, queued, waiting, callbacks, closed));
        (client, heard)
    }

    /// Calls and waits for the results.
    ///
    /// # Errors
    /// See [`CallError`]; it says whether the call may have taken effect.
    pub async fn call(
        &self,
        program: ProgramId,
        procedure: u32,
        arguments: &[u8],
        timeout: Duration,
    ) -> Result<Bytes, CallError> {
        let (sender, answer) = oneshot::channel();
        let slot = Slot::new(&self.waiting, sender);
        let call = Call {
            xid: slot.xid,
            program,
            procedure,
            credential: Auth::glusterfs_v2(),
            verifier: Auth::default(),
        };
        let exchange = async {
            let sent = self.queue.send(call.record(arguments)).await;
            sent.map_err(|_| CallError::Disconnected)?;
            tokio::select! {
                biased;
                answer = answer => answer.map_err(|_| CallError::Disconnected),
                () = self.closed.cancelled() => Err(CallError::Disconnected),
            }
        };
        match tokio::time::timeout(timeout, exchange).await {
            Ok(Ok((Outcome::Success, results))) => Ok(results),
            Ok(Ok((refused, _))) => Err(CallError::Refused(refused)),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(CallError::TimedOut(timeout)),
        }
    }

    pub fn is_closed(&self) -> bool {
        self.closed.is_cancelled()
    }

    /// Waits until the connection has ended, whoever ended it.
    pub async fn closed(&self) {
        self.closed.cancelled().await;
    }
}

/// A place in the table of calls under way; gives it back however the call ends.
struct Slot<'a> {
    waiting: &'a Mutex<Waiting>,
    xid: u32,
}

impl<'a> Slot<'a> {
    fn new(waiting: &'a Mutex<Waiting>, sender: oneshot::Sender<(Outcome, Bytes)>) -> Slot<'a> {
        let mut table = waiting.lock();
        // Four thousand million numbers: a free one is always near.
        while table.answers.contains_key(&table.next_xid) {
            table.next_xid = table.next_xid.wrapping_add(1);
        }
        let xid = table.next_xid;
        table.next_xid = xid.wrapping_add(1);
        table.answers.insert(xid, sender);
        Slot { waiting, xid }
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.waiting.lock().answers.remove(&self.xid);
    }
}

/// Drives the connection until either direction ends or nobody needs it.
async fn run<S: AsyncRead + AsyncWrite>(
    stream: S,
    mut queued: mpsc::Receiver<Vec<u8>>,
    waiting: Arc<Mutex<Waiting>>,
    callbacks: mpsc::Sender<Callback>,
    closed: CancellationToken,
) {
    let (input, output) = tokio::io::split(stream);
    let reading = async {
        let mut records = FramedRead::new(input, RecordCodec::default());
        while let Some(record) = records.next().await {
            deliver(Message::decode(record?)?, &waiting, &callbacks);
        }
        Ok::<(), BoxError>(())
    };
    let writing = async {
        let mut records = FramedWrite::new(output, RecordCodec::default());
        while let Some(record) = queued.recv().await {
            records.send(record).await?;
        }
        Ok::<(), RecordError>(())
    };
    tokio::select! {
        ended = reading => if let Err(error) = ended {
            debug!(error, "a daemon's connection cannot be read");
        },
        ended = writing => if let Err(error) = ended {
            debug!(%error, "a daemon's connection cannot be written");
        },
        () = closed.cancelled() => {}
    }
    closed.cancel();
    waiting.lock().answers.clear();
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

fn deliver(message: Message, waiting: &Mutex<Waiting>, callbacks: &mpsc::Sender<Callback>) {
    match message {
        Message::Reply(reply, results) => {
            // Absent: its caller gave up. A dropped receiver means the same.
            if let Some(answer) = waiting.lock().answers.remove(&reply.xid) {
                let _caller_gone = answer.send((reply.outcome, results));
            }
        }
        Message::Call(call, body) => {
            let Call { xid, program, procedure, .. } = call;
            let _full_or_unheard = callbacks.try_send(Callback { xid, program, procedure, body });
        }
        Message::ForeignCall { xid } => debug!(xid, "a call in another version of RPC"),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::rpc::callback::{self, CallbackProc};
    use crate::rpc::header::Reply;
    use tokio::io::{AsyncWriteExt, DuplexStream};

    const PATIENCE: Duration = Duration::from_secs(5);

    type Peer = tokio_util::codec::Framed<DuplexStream, RecordCodec>;

    fn pair() -> (Client, mpsc::Receiver<Callback>, Peer) {
        let (near, far) = tokio::io::duplex(1 << 16);
        let (client, callbacks) = Client::over(near);
        (client, callbacks, Peer::new(far, RecordCodec::default()))
    }

    async fn next_call(peer: &mut Peer) -> (Call, Bytes) {
        match Message::decode(peer.next().await.unwrap().unwrap()).unwrap() {
            Message::Call(call, body) => (call, body),
            other => panic!("{other:?}"),
        }
    }

    fn call(client: &Client, procedure: u32) -> tokio::task::JoinHandle<Result<Bytes, CallError>> {
        let client = client.clone();
        tokio::spawn(
            async move { client.call(ProgramId::BRICK, procedure, b"args", PATIENCE).await },
        )
    }

    #[tokio::test]
    async fn answers_find_their_calls_in_any_order() {
        let (client, mut callbacks, mut peer) = pair();
        let calls: Vec<_> = (0..10).map(|procedure| call(&client, procedure)).collect();
        let mut received = Vec::new();
        for _ in 0..10 {
            received.push(next_call(&mut peer).await.0);
        }
        received.reverse();
        for asked in received {
            peer.send(callback::record(1, CallbackProc::FETCHSPEC, b"")).await.unwrap();
            let reply = Reply { xid: asked.xid, outcome: Outcome::Success };
            peer.send(reply.record(&asked.procedure.to_be_bytes())).await.unwrap();
        }
        for (procedure, answer) in calls.into_iter().enumerate() {
            let results = answer.await.unwrap().unwrap();
            assert_eq!(results, (procedure as u32).to_be_bytes()[..]);
        }
        let heard = callbacks.recv().await.unwrap();
        assert_eq!((heard.program, heard.procedure), (ProgramId::CALLBACK, 1));
    }

    #[tokio::test]
    async fn a_refusal_is_told() {
        let (client, _, mut peer) = pair();
        let answer = call(&client, 1);
        let xid = next_call(&mut peer).await.0.xid;
        assert_eq!(xid, 2);
        let outcome = Outcome::ProcedureUnavailable;
        peer.send(Reply { xid, outcome }.record(b"")).await.unwrap();
        assert!(matches!(answer.await.unwrap(), Err(CallError::Refused(o)) if o == outcome));
    }

    #[tokio::test]
    async fn a_lost_connection_ends_calls_under_way_and_is_reported() {
        let (client, _, mut peer) = pair();
        let answer = call(&client, 1);
        next_call(&mut peer).await;
        assert!(!client.is_closed());
        drop(peer);
        assert!(matches!(answer.await.unwrap(), Err(CallError::Disconnected)));
        client.closed().await;
        let late = call(&client, 1).await.unwrap();
        assert!(matches!(late, Err(CallError::Disconnected)));
    }

    #[tokio::test]
    async fn garbage_ends_the_connection() {
        let (client, _, peer) = pair();
        let mut stream = peer.into_inner();
        stream.write_all(&[0x80, 0, 0, 4, 1, 2, 3, 4]).await.unwrap();
        client.closed().await;
    }

    #[tokio::test(start_paused = true)]
    async fn silence_times_out_and_a_late_answer_harms_nobody() {
        let (client, _, mut peer) = pair();
        let first = call(&client, 1);
        let xid = next_call(&mut peer).await.0.xid;
        assert!(matches!(first.await.unwrap(), Err(CallError::TimedOut(PATIENCE))));
        let success = |xid| Reply { xid, outcome: Outcome::Success };
        peer.send(success(xid).record(b"late")).await.unwrap();

        let second = call(&client, 1);
        let xid = next_call(&mut peer).await.0.xid;
        peer.send(success(xid).record(b"good")).await.unwrap();
        assert_eq!(second.await.unwrap().unwrap(), b"good"[..]);
        assert!(client.waiting.lock().answers.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_does_not_read_costs_a_timeout() {
        let (client, _, _peer) = pair();
        let big = vec![0; 1 << 20];
        for _ in 0..QUEUE_MAX + 3 {
            let answer = client.call(ProgramId::BRICK, 1, &big, PATIENCE).await;
            assert!(matches!(answer, Err(CallError::TimedOut(_))));
        }
    }

    #[tokio::test]
    async fn the_last_clone_closes() {
        let (client, _, mut peer) = pair();
        let other = client.clone();
        drop(client);
        assert!(!other.is_closed());
        drop(other);
        assert!(peer.next().await.is_none());
    }

    #[tokio::test]
    async fn nobody_there_is_told_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let endpoint = Endpoint::Unix(folder.path().join("absent"));
        let error = Client::connect(&endpoint, PATIENCE).await.unwrap_err();
        assert!(matches!(error, CallError::Connect(_)));
    }
}
