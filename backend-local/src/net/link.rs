//! One connection to a listener: many calls and streams at once, and a watch on its silence.
//!
//! A call that was not written when its time is over is never written. When the connection ends,
//! every call on it ends with [`CallError`] and every stream's channel closes; nothing is tried
//! again here.

use super::{HANDSHAKE, Pipe, Road, connect, late};
use crate::secure::{self, Purpose, Reader, Refused, Writer};
use crate::talk::{Answer, Ask, Down, EventForm, MESSAGE_MAX, Standing, Up, WINDOW, WatchForm};
use crate::wire::CallError;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{ReadHalf, WriteHalf};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

/// Messages waiting to be written.
const QUEUE: usize = 256;

const WAITS: u8 = 0;
const WRITTEN: u8 = 1;
const GIVEN_UP: u8 = 2;

/// Ends with its last owner.
#[derive(Debug)]
pub struct Link {
    inner: Arc<Inner>,
    out: mpsc::Sender<Parcel>,
    control: mpsc::UnboundedSender<Up>,
}

#[derive(Debug)]
struct Inner {
    /// Where it leads, for logs.
    address: String,
    over: CancellationToken,
    calls: Mutex<HashMap<u64, oneshot::Sender<Answer>>>,
    streams: Mutex<HashMap<u64, mpsc::Sender<Vec<EventForm>>>>,
    next: AtomicU64,
    standing: watch::Sender<Standing>,
    /// When the listener was last heard of.
    heard: Mutex<Instant>,
}

#[derive(Debug)]
struct Parcel {
    up: Up,
    stage: Arc<AtomicU8>,
}

impl From<Up> for Parcel {
    fn from(up: Up) -> Parcel {
        Parcel { up, stage: Arc::new(AtomicU8::new(WAITS)) }
    }
}

/// What waits to be written; what streams need goes first.
struct Outbox {
    calls: mpsc::Receiver<Parcel>,
    controls: mpsc::UnboundedReceiver<Up>,
}

impl Outbox {
    fn ready(&mut self) -> Option<Parcel> {
        let control = self.controls.try_recv().ok().map(Parcel::from);
        control.or_else(|| self.calls.try_recv().ok())
    }

    async fn next(&mut self) -> Option<Parcel> {
        tokio::select! {
            biased;
            Some(up) = self.controls.recv() => Some(up.into()),
            parcel = self.calls.recv() => parcel,
        }
    }
}

/// A stream's events; dropping it ends the stream at the listener.
#[derive(Debug)]
pub struct Events {
    id: u64,
    from: mpsc::Receiver<Vec<EventForm>>,
    inner: Arc<Inner>,
    control: mpsc::UnboundedSender<Up>,
}

impl Link {
    /// Connects, proves itself and hears how things stand there.
    ///
    /// # Errors
    /// [`Refused`], within `limit`.
    pub async fn dial(
        road: &Road,
        address: &str,
        purpose: Purpose,
        limit: Duration,
    ) -> Result<Link, Refused> {
        Link::dial_as(road, address, road.hello(purpose), limit).await
    }

    pub async fn dial_as(
        road: &Road,
        address: &str,
        hello: secure::Hello,
        limit: Duration,
    ) -> Result<Link, Refused> {
        let deadline = Instant::now() + limit.min(HANDSHAKE);
        let stream = connect(address, road.tls.as_ref(), deadline).await?;
        let meeting = secure::dial(stream, hello, &road.secret);
        let met = tokio::time::timeout_at(deadline.into(), meeting).await;
        let (reader, writer) = met.map_err(|_| late())??;
        let (out, calls) = mpsc::channel(QUEUE);
        // Bounded by the streams there are: each has one window of credit.
        let (control, controls) = mpsc::unbounded_channel();
        let inner = Arc::new(Inner {
            address: address.to_owned(),
            over: CancellationToken::new(),
            calls: Mutex::default(),
            streams: Mutex::default(),
            next: AtomicU64::new(1),
            standing: watch::Sender::default(),
            heard: Mutex::new(Instant::now()),
        });
        let mut standing = inner.standing.subscribe();
        tokio::spawn(inner.clone().run(reader, writer, Outbox { calls, controls }, road.detect));
        let link = Link { inner, out, control };
        let told = tokio::time::timeout_at(deadline.into(), standing.changed()).await;
        told.map_err(|_| late())?.map_err(|_| late())?;
        if link.is_over() {
            return Err(late());
        }
        Ok(link)
    }

    pub fn address(&self) -> &str {
        &self.inner.address
    }

    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.inner.standing.subscribe()
    }

    pub fn is_over(&self) -> bool {
        self.inner.over.is_cancelled()
    }

    /// Completes when the connection has ended.
    pub async fn over(&self) {
        self.inner.over.cancelled().await;
    }

    /// Ends it now.
    pub fn end(&self) {
        self.inner.over.cancel();
    }

    /// Asks, and waits for the answer no longer than `limit`.
    ///
    /// # Errors
    /// `NotSent`: the listener has not seen it and will not. `Lost`: it may have.
    pub async fn call(&self, ask: Ask, limit: Duration) -> Result<Answer, CallError> {
        let id = self.inner.next.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        let stage = Arc::new(AtomicU8::new(WAITS));
        let call = Pending { inner: &self.inner, id, stage: stage.clone() };
        self.inner.calls.lock().insert(id, answer);
        let talking = async {
            let parcel = Parcel { up: Up::Call { id, ask }, stage };
            self.out.send(parcel).await.ok()?;
            answered.await.ok()
        };
        let why = tokio::select! {
            answer = talking => match answer {
                Some(answer) => return Ok(answer),
                None => "the connection has ended",
            },
            () = self.inner.over.cancelled() => "the connection has ended",
            () = tokio::time::sleep(limit) => "no answer in time",
        };
        let why = format!("{}: {why}", self.inner.address);
        Err(if call.give_up() { CallError::NotSent(why) } else { CallError::Lost(why) })
    }

    /// Starts a stream.
    pub fn watch(&self, watch: WatchForm) -> Events {
        let id = self.inner.next.fetch_add(1, Ordering::Relaxed);
        let (to, from) = mpsc::channel(WINDOW as usize);
        if !self.is_over() {
            self.inner.streams.lock().insert(id, to);
        }
        let events = Events { id, from, inner: self.inner.clone(), control: self.control.clone() };
        events.say(Up::Watch { id, watch });
        events
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.end();
    }
}

/// A call's row in the table, gone with its future.
struct Pending<'a> {
    inner: &'a Inner,
    id: u64,
    stage: Arc<AtomicU8>,
}

impl Pending<'_> {
    /// Whether it was certainly not written, and now never will be.
    fn give_up(&self) -> bool {
        let done = self.stage.compare_exchange(WAITS, GIVEN_UP, Ordering::SeqCst, Ordering::SeqCst);
        done.is_ok() || self.stage.load(Ordering::SeqCst) == GIVEN_UP
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.inner.calls.lock().remove(&self.id);
        self.give_up();
    }
}

impl Events {
    /// The next batch; `None` when the connection has ended.
    pub async fn next(&mut self) -> Option<Vec<EventForm>> {
        let batch = tokio::select! {
            biased;
            batch = self.from.recv() => batch?,
            () = self.inner.over.cancelled() => return None,
        };
        self.say(Up::Credit { id: self.id, batches: 1 });
        Some(batch)
    }

    /// Nobody listens any more when the connection has ended.
    fn say(&self, up: Up) {
        self.control.send(up).ok();
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.inner.streams.lock().remove(&self.id);
        self.say(Up::Unwatch { id: self.id });
    }
}

impl Inner {
    async fn run(
        self: Arc<Self>,
        reader: Reader<ReadHalf<Box<dyn Pipe>>>,
        writer: Writer<WriteHalf<Box<dyn Pipe>>>,
        outbox: Outbox,
        detect: Duration,
    ) {
        let ended = tokio::select! {
            read = self.read(reader) => read,
            written = self.write(writer, outbox, detect / 3) => written,
            () = self.silence(detect) => Err(io::ErrorKind::TimedOut.into()),
            () = self.over.cancelled() => Ok(()),
        };
        if let Err(error) = ended {
            tracing::debug!(address = %self.address, %error, "connection to a master ended");
        }
        self.over.cancel();
        self.calls.lock().clear();
        self.streams.lock().clear();
    }

    fn hear(&self) {
        *self.heard.lock() = Instant::now();
    }

    /// Completes when nothing has been heard for `detect`.
    async fn silence(&self, detect: Duration) {
        loop {
            let end = *self.heard.lock() + detect;
            if end <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(end.into()).await;
        }
    }

    async fn read(&self, mut reader: Reader<ReadHalf<Box<dyn Pipe>>>) -> io::Result<()> {
        while let Some(message) = reader.message(MESSAGE_MAX, || self.hear()).await? {
            match postcard::from_bytes(&message).map_err(io::Error::other)? {
                Down::Answer { id, answer } => {
                    if let Some(call) = self.calls.lock().remove(&id) {
                        call.send(answer).ok();
                    }
                }
                Down::Events { id, events } => {
                    let stream = self.streams.lock().get(&id).cloned();
                    // One dropped here is just being ended; more than the window is a breach.
                    if let Some(Err(mpsc::error::TrySendError::Full(_))) =
                        stream.map(|stream| stream.try_send(events))
                    {
                        return Err(io::Error::other("more events than were asked for"));
                    }
                }
                Down::Pong => {}
                Down::Standing(standing) => drop(self.standing.send_replace(standing)),
            }
        }
        Ok(())
    }

    async fn write(
        &self,
        mut writer: Writer<WriteHalf<Box<dyn Pipe>>>,
        mut outbox: Outbox,
        ping_every: Duration,
    ) -> io::Result<()> {
        loop {
            let parcel = match outbox.ready() {
                Some(parcel) => Some(parcel),
                None => {
                    writer.flush().await?;
                    tokio::select! {
                        parcel = outbox.next() => parcel,
                        () = tokio::time::sleep(ping_every) => Some(Parcel::from(Up::Ping)),
                    }
                }
            };
            let Some(Parcel { up, stage }) = parcel else { return Ok(()) };
            let mine =
                stage.compare_exchange(WAITS, WRITTEN, Ordering::SeqCst, Ordering::SeqCst).is_ok();
            if mine {
                let bytes = postcard::to_stdvec(&up).map_err(io::Error::other)?;
                // A long message that is being taken is a sign of life too.
                writer.message(&bytes, || self.hear()).await?;
            }
        }
    }
}
