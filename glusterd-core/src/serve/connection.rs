//! One connection: records in, each call in a task of its own, records out.
//!
//! Two loops share the stream: one reads and hands calls out, one writes answers (in whatever order
//! they come) and callbacks. Either one ending ends the connection; calls under way are finished,
//! their answers dropped. Works on any stream, encrypted or not.
//!
//! A call holds a slot of its connection until its answer is written, so a peer that does not read
//! is soon not read either.

use super::Limits;
use super::budget::{Budget, Charge, Exhausted};
use super::dispatch::{Reject, Table, Target};
use super::dump;
use super::registry::{Connection, Connections, Peer};
use crate::rpc::XdrError;
use crate::rpc::callback;
use crate::rpc::header::{Call, Message, Outcome, RPC_VERSION, Reply};
use crate::rpc::record::{self, RecordCodec, RecordError};
use bytes::{Buf, Bytes, BytesMut};
use futures_util::FutureExt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::codec::Decoder;
use tracing::{debug, error};

/// Least room in the buffer before a read.
const READ_BYTES: usize = 4 << 10;

/// Answers handed to the writer; more wait in their tasks.
const ANSWERS_MAX: usize = 16;

/// Why a connection was ended from our side.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("cannot read the stream")]
    Record(#[from] RecordError),
    #[error("a record without an RPC header")]
    Header(#[from] XdrError),
    #[error("a record did not arrive within {0:?}")]
    SlowReading(Duration),
    #[error("an answer could not be written within {0:?}")]
    SlowWriting(Duration),
    #[error(transparent)]
    Memory(#[from] Exhausted),
}

/// A record to be written, and what is held until it is.
struct Answer {
    record: Vec<u8>,
    _slot: Option<OwnedSemaphorePermit>,
    _charge: Charge,
}

/// Serves a stream until it ends.
pub async fn serve<S: AsyncRead + AsyncWrite>(
    stream: S,
    peer: Peer,
    table: Arc<Table>,
    connections: Arc<Connections>,
    limits: Limits,
) {
    let connection = connections.enter(peer);
    let _leave = Leave { connection: &connection, connections: &connections, table: &table };
    let (input, output) = tokio::io::split(stream);
    let (answers, to_write) = mpsc::channel(ANSWERS_MAX);
    let desk = Desk {
        connection: connection.clone(),
        budget: connections.budget().clone(),
        answers,
        slots: Arc::new(Semaphore::new(limits.calls)),
        table: table.clone(),
    };
    let ended = tokio::select! {
        ended = read(input, desk, &limits) => ended,
        ended = write(output, to_write, &connection, limits.write_time) => ended,
        () = connection.closed() => Ok(()),
    };
    if let Err(end) = ended {
        debug!(%peer, reason = %describe(&end), "connection ended");
    }
}

/// Takes the connection off the books, however it ended.
struct Leave<'a> {
    connection: &'a Connection,
    connections: &'a Connections,
    table: &'a Table,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.connections.leave(self.connection);
        self.table.programs().for_each(|program| program.disconnected(self.connection));
    }
}

fn describe(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

async fn read(mut input: impl AsyncRead + Unpin, desk: Desk, limits: &Limits) -> Result<(), End> {
    let mut codec = RecordCodec::new(limits.record_bytes);
    let mut buffer = BytesMut::new();
    let mut held = Charge::default();
    let mut deadline = Some((Instant::now() + limits.first_record_time, limits.first_record_time));
    loop {
        while let Some(record) = codec.decode(&mut buffer)? {
            let charge = held.split(record.len());
            desk.take(record, charge).await?;
            deadline = None;
        }
        let unfinished = buffer.len() + codec.gathered_bytes();
        held.lower(unfinished);
        if buffer.is_empty() {
            // Lets go of what a long record needed.
            buffer = BytesMut::new();
        }
        if (unfinished > 0 || codec.is_inside()) && deadline.is_none() {
            deadline = Some((Instant::now() + limits.record_time, limits.record_time));
        }
        buffer.reserve(READ_BYTES);
        let reading = input.read_buf(&mut buffer);
        let count = match deadline {
            None => reading.await,
            Some((at, allowed)) => {
                timeout_at(at, reading).await.map_err(|_| End::SlowReading(allowed))?
            }
        };
        if count.map_err(RecordError::Io)? == 0 {
            return match unfinished {
                0 => Ok(()),
                _ => Err(RecordError::Cut.into()),
            };
        }
        desk.budget.raise(&mut held, buffer.len() + codec.gathered_bytes())?;
    }
}

async fn write(
    mut output: impl AsyncWrite + Unpin,
    mut answers: mpsc::Receiver<Answer>,
    connection: &Connection,
    allowed: Duration,
) -> Result<(), End> {
    let mut xid = 0u32;
    loop {
        let answer = tokio::select! {
            biased;
            answer = answers.recv() => match answer {
                Some(answer) => answer,
                None => return Ok(()),
            },
            (procedure, body) = connection.next_callback() => {
                xid = xid.wrapping_add(1);
                let record = callback::record(xid, procedure, &body);
                Answer { record, _slot: None, _charge: Charge::default() }
            }
        };
        let mark = record::mark(answer.record.len()).to_be_bytes();
        let mut bytes = Buf::chain(&mark[..], &answer.record[..]);
        let writing = async {
            output.write_all_buf(&mut bytes).await?;
            output.flush().await
        };
        let written = timeout(allowed, writing).await.map_err(|_| End::SlowWriting(allowed))?;
        written.map_err(RecordError::Io)?;
    }
}

/// Where the reader hands its records in.
struct Desk {
    connection: Connection,
    budget: Budget,
    answers: mpsc::Sender<Answer>,
    slots: Arc<Semaphore>,
    table: Arc<Table>,
}

impl Desk {
    /// Answers at once what can be, starts a task for the rest. Waits while the connection has as
    /// many calls under way as it may.
    async fn take(&self, record: Bytes, charge: Charge) -> Result<(), End> {
        let (call, arguments) = match Message::decode(record)? {
            Message::Call(call, arguments) => (call, arguments),
            Message::ForeignCall { xid } => {
                let outcome = Outcome::RpcMismatch { low: RPC_VERSION, high: RPC_VERSION };
                self.answer(Reply { xid, outcome }.record(b"")).await;
                return Ok(());
            }
            // We never ask on this stream: callbacks are not answered.
            Message::Reply(..) => return Ok(()),
        };
        match self.table.target(&call) {
            Ok(Target::Program(row)) => {
                let program = row.program.clone();
                let gate = row.gate.clone();
                let slots = self.slots.clone();
                let slot = slots.acquire_owned().await.expect("slots are never closed");
                let (connection, answers) = (self.connection.clone(), self.answers.clone());
                let budget = self.budget.clone();
                tokio::spawn(async move {
                    let _turn = tokio::select! {
                        // Heard although the caller has gone: a rebalance process says that it is
                        // through, and ends.
                        biased;
                        turn = gate.acquire() => turn,
                        () = connection.closed() => return,
                    };
                    let results = program.call(&connection, call.procedure, arguments);
                    let record = settle(&call, AssertUnwindSafe(results).catch_unwind().await);
                    drop(charge);
                    let sending = async {
                        let charge = budget.wait(record.len()).await;
                        let answer = Answer { record, _slot: Some(slot), _charge: charge };
                        let _caller_gone = answers.send(answer).await;
                    };
                    tokio::select! { () = sending => {}, () = connection.closed() => {} }
                });
            }
            Ok(Target::Dump) => {
                let results = dump::answer(&self.table, call.procedure, &arguments);
                self.answer(reply(&call, results)).await;
            }
            Err(outcome) => self.answer(Reply { xid: call.xid, outcome }.record(b"")).await,
        }
        Ok(())
    }

    async fn answer(&self, record: Vec<u8>) {
        let answer = Answer { record, _slot: None, _charge: Charge::default() };
        let _writer_gone = self.answers.send(answer).await;
    }
}

fn reply(call: &Call, results: Result<Vec<u8>, Reject>) -> Vec<u8> {
    let xid = call.xid;
    match results {
        Ok(results) => Reply { xid, outcome: Outcome::Success }.record(&results),
        Err(reject) => Reply { xid, outcome: reject.into() }.record(b""),
    }
}

/// As [`reply`], where a program that panicked has failed at this call and no other.
fn settle(call: &Call, results: std::thread::Result<Result<Vec<u8>, Reject>>) -> Vec<u8> {
    let results = results.unwrap_or_else(|_panic| {
        let (program, procedure) = (call.program.number, call.procedure);
        error!(program, procedure, "a call failed by a fault in the daemon");
        Err(Reject::SystemError)
    });
    reply(call, results)
}
