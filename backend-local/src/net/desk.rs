//! One connection as its listener serves it: calls side by side, streams within their windows.
//!
//! What a dialer can make this end hold is bounded: calls under way by number and bytes, streams
//! by number, events by window. Beyond, a call is refused as `Overloaded`; a breach of the
//! protocol ends the connection.

use super::Pipe;
use super::door::Keys;
use crate::handle::LocalHandle;
use crate::heir::former_key;
use crate::layout::Identity;
use crate::node::Node;
use crate::pool::Invitation;
use crate::secure::{Hello, Purpose, Reader, Secret, Writer};
use crate::talk::{
    Answer, Ask, Down, EventForm, KeyForm, MESSAGE_MAX, MemberForm, REQUEST_MAX, Standing, Up,
    WINDOW, WatchForm,
};
use crate::watching::Watching;
use crate::wire::{Refusal, RefusalKind};
use coord_api::{
    Coordinator, CoordinatorExt, ErrorKind, Health, Key, OpenOpts, Prefix, ReadOpts, Revision, Txn,
    WatchOpts,
};
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{ReadHalf, WriteHalf};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

/// Answers and events waiting to be written.
const QUEUE: usize = 64;
const CALLS_MAX: usize = 1024;
const CALL_BYTES_MAX: usize = 32 << 20;
const STREAMS_MAX: usize = 4096;
/// A dialer pings far more often.
const IDLE: Duration = Duration::from_secs(60);
/// For a message of ordinary length.
const WRITE: Duration = Duration::from_secs(30);
/// Events that go into one message, about, in bytes.
const BATCH_BYTES: usize = 256 << 10;
const BATCH_EVENTS: usize = 512;
/// No call runs longer, whatever its caller says.
const CALL_MAX: Duration = Duration::from_secs(120);

/// Serves until either end has had enough.
pub async fn serve(
    node: Arc<Node>,
    keys: &Keys,
    hello: Hello,
    reader: Reader<ReadHalf<Box<dyn Pipe>>>,
    writer: Writer<WriteHalf<Box<dyn Pipe>>>,
) {
    let (out, outbox) = mpsc::channel(QUEUE);
    let handle = LocalHandle::new(node.clone(), &OpenOpts::default());
    let bytes = AtomicUsize::new(0);
    let guest = Arc::new(Guest { node, handle, keys: keys.clone(), hello, out, bytes });
    let desk = Desk { guest: guest.clone(), tasks: JoinSet::new(), streams: HashMap::new() };
    let ended = tokio::select! {
        read = desk.read(reader) => read,
        written = write(writer, outbox) => written,
        () = guest.tell_standing() => Ok(()),
        () = guest.handle.0.closed.cancelled() => Ok(()),
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection to the store ended");
    }
    guest.handle.close().await.ok();
}

async fn write(
    mut writer: Writer<WriteHalf<Box<dyn Pipe>>>,
    mut outbox: mpsc::Receiver<Down>,
) -> io::Result<()> {
    loop {
        let down = match outbox.try_recv() {
            Ok(down) => down,
            Err(_) => {
                timely(0, writer.flush()).await?;
                let Some(down) = outbox.recv().await else { return Ok(()) };
                down
            }
        };
        let bytes = postcard::to_stdvec(&down).map_err(io::Error::other)?;
        timely(bytes.len(), writer.message(&bytes, || ())).await?;
    }
}

/// A reader that takes less than a megabyte each second is given up.
async fn timely<T>(bytes: usize, writing: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let limit = WRITE + Duration::from_micros(bytes as u64);
    tokio::time::timeout(limit, writing).await.map_err(|_| io::ErrorKind::TimedOut)?
}

/// The connection as its calls and streams see it.
struct Guest {
    node: Arc<Node>,
    handle: LocalHandle,
    keys: Keys,
    hello: Hello,
    out: mpsc::Sender<Down>,
    /// Of calls under way.
    bytes: AtomicUsize,
}

struct Desk {
    guest: Arc<Guest>,
    /// Calls and streams; they end with the connection.
    tasks: JoinSet<()>,
    streams: HashMap<u64, (AbortHandle, Arc<Semaphore>)>,
}

impl Desk {
    async fn read(mut self, mut reader: Reader<ReadHalf<Box<dyn Pipe>>>) -> io::Result<()> {
        let member = self.guest.hello.purpose == Purpose::Member;
        let limit = if member { MESSAGE_MAX } else { REQUEST_MAX };
        loop {
            let message = tokio::time::timeout(IDLE, reader.message(limit, || ())).await;
            let Some(message) = message.map_err(|_| io::ErrorKind::TimedOut)?? else {
                return Ok(());
            };
            while self.tasks.try_join_next().is_some() {}
            match postcard::from_bytes(&message).map_err(io::Error::other)? {
                Up::Call { id, ask } => self.call(id, ask, message.len()).await,
                Up::Watch { id, watch } => self.watch(id, watch)?,
                Up::Credit { id, batches } => {
                    if let Some((_, window)) = self.streams.get(&id) {
                        window.add_permits((batches as usize).min(WINDOW as usize));
                        if window.available_permits() > WINDOW as usize {
                            return Err(io::Error::other("more credit than was used"));
                        }
                    }
                }
                Up::Unwatch { id } => {
                    if let Some((task, _)) = self.streams.remove(&id) {
                        task.abort();
                    }
                }
                Up::Ping => self.guest.say(Down::Pong).await,
            }
        }
    }

    async fn call(&mut self, id: u64, ask: Ask, bytes: usize) {
        let guest = self.guest.clone();
        let calls = self.tasks.len().saturating_sub(self.streams.len());
        let crowded = guest.hello.purpose != Purpose::Member
            && (calls >= CALLS_MAX || guest.bytes.load(Ordering::SeqCst) > CALL_BYTES_MAX);
        if crowded {
            let answer = Answer::Refused(refusal(RefusalKind::Overloaded));
            return guest.say(Down::Answer { id, answer }).await;
        }
        let share = Share::take(guest, bytes);
        self.tasks.spawn(async move {
            let answer = share.0.answer(ask).await;
            share.0.say(Down::Answer { id, answer }).await;
        });
    }

    fn watch(&mut self, id: u64, form: WatchForm) -> io::Result<()> {
        if self.guest.hello.purpose != Purpose::Client || self.streams.len() >= STREAMS_MAX {
            return Err(io::Error::other("more streams than one connection may have"));
        }
        let window = Arc::new(Semaphore::new(WINDOW as usize));
        let prefix = form.prefix.clone().parse().map_err(io::Error::other)?;
        let stream = stream(self.guest.clone(), id, prefix, form, window.clone());
        let task = self.tasks.spawn(stream);
        self.streams.insert(id, (task, window));
        Ok(())
    }
}

/// A call's part of the bytes under way.
struct Share(Arc<Guest>, usize);

impl Share {
    fn take(guest: Arc<Guest>, bytes: usize) -> Share {
        guest.bytes.fetch_add(bytes, Ordering::SeqCst);
        Share(guest, bytes)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.0.bytes.fetch_sub(self.1, Ordering::SeqCst);
    }
}

async fn stream(
    guest: Arc<Guest>,
    id: u64,
    prefix: Prefix,
    form: WatchForm,
    window: Arc<Semaphore>,
) {
    guest.prepare(&prefix, form.floor, form.start_after.unwrap_or(0)).await;
    let opts = WatchOpts {
        start_after: form.start_after.map(Revision),
        keys_only: form.keys_only,
        progress_every: form.progress_ms.map(|ms| Duration::from_millis(ms.max(10))),
        buffer: form.buffer.map(|buffer| buffer as usize),
    };
    let closed = CancellationToken::new();
    let mut watching = Watching::new(guest.node.shared.clone(), prefix, opts, closed);
    loop {
        // Only with room does the stream move on: a slow reader's changes are merged here.
        let Ok(room) = window.acquire().await else { return };
        room.forget();
        let Some(first) = watching.next().await else { return };
        let mut bytes = weight(&first);
        let mut events = vec![EventForm::from(&first)];
        while bytes < BATCH_BYTES && events.len() < BATCH_EVENTS {
            let Some(event) = watching.ready() else { break };
            bytes += weight(&event);
            events.push((&event).into());
        }
        guest.say(Down::Events { id, events }).await;
    }
}

fn weight(event: &coord_api::WatchEvent) -> usize {
    use coord_api::{Change, WatchEvent};
    match event {
        WatchEvent::Snapshot { entries, .. } => {
            entries.iter().map(|entry| entry.value.len() + 64).sum()
        }
        WatchEvent::Changes { changes, .. } => {
            let one = |change: &Change| match change {
                Change::Put(entry) => entry.value.len() + 64,
                Change::Delete { .. } => 64,
            };
            changes.iter().map(one).sum()
        }
        _ => 16,
    }
}

impl Guest {
    /// An error means that the connection is ending.
    async fn say(&self, down: Down) {
        self.out.send(down).await.ok();
    }

    /// Waits until a stream may begin: the member has what the dialer has seen, and knows the
    /// space if any member does.
    async fn prepare(&self, prefix: &Prefix, floor: u64, start_after: u64) {
        let far = Instant::now() + Duration::from_secs(3600);
        self.node.wait_applied(floor, far).await.ok();
        let behind = || {
            let state = self.node.shared.state.read();
            state.kind(prefix.space()).is_none() || state.applied < start_after
        };
        if behind() {
            let deadline = Instant::now() + Duration::from_secs(5);
            if let Ok(index) = self.node.read_index(deadline).await {
                self.node.wait_applied(index, deadline).await.ok();
            }
        }
    }

    async fn answer(&self, ask: Ask) -> Answer {
        match (self.hello.purpose, ask) {
            // What is meant for a member that was here before must not be answered in its name: one
            // that has lost its disk would vote, and be taken to have what the other had.
            (Purpose::Member, Ask::Peer { to, request }) if to == self.node.identity.node => {
                Answer::Peer(self.node.serve(request).await)
            }
            (Purpose::Client, ask) => self.answer_client(ask).await,
            (Purpose::Join, Ask::Join) => match self.join().await {
                Ok(answer) => answer,
                Err(error) => Answer::Refused((&error).into()),
            },
            _ => Answer::Refused(refusal(RefusalKind::PermissionDenied)),
        }
    }

    /// An invitation is used up first: who asks a second time with it gets nothing. The secret of a
    /// store whose place this one took stays good for all of its nodes.
    async fn join(&self) -> coord_api::Result<Answer> {
        let key = Invitation::key(&self.hello.scope);
        let (mut proof, _) = self.handle.get(&key, ReadOpts::default()).await?;
        if let Some(invited) = &proof {
            let used = self.handle.txn(Txn::new().unchanged(invited).delete(&key)).await?;
            used.committed().ok_or(ErrorKind::PermissionDenied)?;
        } else {
            let key = former_key(&self.hello.scope);
            (proof, _) = self.handle.get(&key, ReadOpts::default()).await?;
        }
        let proof = proof.ok_or(ErrorKind::PermissionDenied)?;
        let value = proof.value.as_ref().try_into().map_err(|_| ErrorKind::Corrupt)?;
        let salt: [u8; 16] = Identity::random_bytes().map_err(crate::node::storage)?;
        let veiled = self.keys.secret.veiled(&Secret::new(value), &salt);
        let masters = self.node.members_and_voters().into_iter().filter(|(.., votes)| *votes);
        let masters = masters.map(|(_, member, _)| member.address).collect();
        Ok(Answer::Joined { cluster: self.keys.cluster, salt, veiled, masters })
    }

    async fn answer_client(&self, ask: Ask) -> Answer {
        let core = &self.handle.0;
        match ask {
            Ask::Propose { command, timeout_ms } => {
                let done = core.propose((*command.0).clone(), until(timeout_ms)).await;
                Answer::Proposed(done.map_err(|error| (&error).into()))
            }
            Ask::Read { keys, fresh, timeout_ms } => {
                let keys: Vec<Key> = keys.into_iter().map(|KeyForm(key)| key).collect();
                let read = core.read(&keys, fresh, until(timeout_ms)).await;
                let read = read.map(|snapshot| (snapshot, false).into());
                Answer::Read(read.map_err(|error| (&error).into()))
            }
            Ask::List { prefix, after, limit, fresh, timeout_ms } => {
                let after = after.map(|KeyForm(key)| key);
                let page = async {
                    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
                    let prefix = prefix.parse()?;
                    core.page(&prefix, after.as_ref(), limit, fresh, until(timeout_ms)).await
                };
                Answer::Read(page.await.map(Into::into).map_err(|error| (&error).into()))
            }
            Ask::Touch { session, timeout_ms } => {
                let touched = self.node.touch(session, until(timeout_ms)).await;
                Answer::Beaten(touched.map_err(|error| (&error).into()))
            }
            Ask::Beat { session, timeout_ms } => {
                let beaten = self.node.beat(session, until(timeout_ms)).await;
                Answer::Beaten(beaten.map_err(|error| (&error).into()))
            }
            Ask::Admit { node, member, voter } => Answer::Changed(
                self.node.admit_member(node, member, voter).await.map_err(|e| (&e).into()),
            ),
            Ask::Dismiss { node } => {
                Answer::Changed(self.node.remove_member(node).await.map_err(|e| (&e).into()))
            }
            Ask::Peer { .. } | Ask::Join => Answer::Refused(refusal(RefusalKind::PermissionDenied)),
        }
    }

    /// Tells how things stand, first and whenever it changes; never completes.
    async fn tell_standing(&self) {
        let mut health = self.node.health();
        let mut told = None;
        loop {
            let mut leadership = self.node.leadership();
            let trouble = match &*health.borrow_and_update() {
                Health::Ok => None,
                Health::Degraded { why, .. } => Some(why.clone()),
                Health::Unreachable { .. } | Health::Closed => Some("the store has stopped".into()),
            };
            let members = self.node.members_and_voters();
            let standing = Standing {
                cluster: self.keys.cluster,
                node: self.node.identity.node,
                trouble,
                leader: self.node.leader(),
                members: members
                    .into_iter()
                    .map(|(node, member, voter)| MemberForm { node, member, voter })
                    .collect(),
            };
            if told.as_ref() != Some(&standing) {
                self.say(Down::Standing(standing.clone())).await;
                told = Some(standing);
            }
            tokio::select! {
                changed = health.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                () = leadership.changed() => {}
            }
        }
    }
}

fn until(timeout_ms: u64) -> Instant {
    Instant::now() + Duration::from_millis(timeout_ms).min(CALL_MAX)
}

fn refusal(kind: RefusalKind) -> Refusal {
    Refusal { kind, unknown: false, detail: String::new() }
}

impl From<ErrorKind> for Refusal {
    fn from(kind: ErrorKind) -> Refusal {
        (&coord_api::Error::none(kind)).into()
    }
}
