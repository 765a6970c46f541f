//! The log on disk: entries, vote, commit mark, identity; one writer thread, one sync per batch.
//!
//! Everything that must be durable goes through one queue to one thread, which puts all that
//! waits into one transaction of the engine: that is the group commit. Entries are readable from
//! memory as soon as they are queued; the oldest leave memory once they are on disk.
//!
//! Tables of `store.redb`: `log` (index -> sealed [`EntryForm`]), `meta` (`identity`, `vote`,
//! `committed`, `purged`; sealed forms).

mod file;
mod memory;

use crate::disk::{Disk, DiskFile};
use crate::raft::{LogEntry, LogId, Types, Vote, weight};
use file::{engine, founding, from_disk, guarded, load, write_batch};
use memory::Memory;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::{LogState, OptionalSend, RaftLogReader};
use parking_lot::RwLock;
use redb::Database;
use serde::{Serialize, de::DeserializeOwned};
use std::fmt::Debug;
use std::fs::File;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use tokio::sync::{oneshot, watch};

const ENGINE_CACHE_BYTES: usize = 16 << 20;
const BATCH_BYTES_MAX: usize = 8 << 20;
const GROWTH_BYTES: usize = 32 << 20;
const READ_BYTES_MAX: usize = 1 << 20;

/// The engine's file and the lock on the directory, which is let go after it.
struct Store {
    db: Database,
    _lock: Arc<File>,
}

/// A handle on the log; clones are the same log.
#[derive(Clone)]
pub struct Log(Arc<Inner>);

struct Inner {
    store: Arc<Store>,
    grown: watch::Receiver<u64>,
    jobs: mpsc::Sender<Job>,
    memory: Arc<RwLock<Memory>>,
}

struct Job {
    write: Write,
    done: Done,
}

enum Write {
    Append(Vec<LogEntry>),
    Vote(Vote),
    TruncateAfter(Option<u64>),
    Purge(LogId),
}

enum Done {
    Flushed(IOFlushed<Types>),
    Told(oneshot::Sender<io::Result<()>>),
}

impl Log {
    /// Opens or creates the log in `file`. `identity` is called once in the life of the file, to
    /// make the record that is stored with it; returns that record.
    ///
    /// The thread ends, and the lock falls, when the last clone is gone; join to wait for that.
    ///
    /// # Errors
    /// `InvalidData`: damaged or foreign. `StorageFull`. Others: as the system says.
    pub fn open<I: Serialize + DeserializeOwned>(
        path: &Path,
        lock: Arc<File>,
        disk: Arc<Disk>,
        identity: impl FnOnce() -> io::Result<I>,
    ) -> io::Result<(Log, I, JoinHandle<()>)> {
        let file =
            File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        let backend = DiskFile { file, disk: disk.clone() };
        let (db, memory, identity) = guarded(|| {
            let db = Database::builder()
                .set_cache_size(ENGINE_CACHE_BYTES)
                .set_check_integrity_on_open(true)
                .create_with_backend(backend)
                .map_err(engine)?;
            let identity = founding(&db, identity)?;
            let memory = load(&db)?;
            Ok((db, memory, identity))
        })?;
        disk.be_patient();
        let store = Arc::new(Store { db, _lock: lock });
        let memory = Arc::new(RwLock::new(memory));
        let (jobs, queue) = mpsc::channel();
        let (growth, grown) = watch::channel(0);
        let thread = {
            let (store, memory) = (store.clone(), memory.clone());
            std::thread::Builder::new()
                .name("coord-log".into())
                .spawn(move || write_loop(&store, &memory, &queue, &growth))?
        };
        Ok((Log(Arc::new(Inner { store, grown, jobs, memory })), identity, thread))
    }

    /// Whether the log has ever held anything.
    pub fn is_empty(&self) -> bool {
        let memory = self.0.memory.read();
        memory.last.is_none() && memory.vote.is_none()
    }

    /// Rings each time the log has grown by [`GROWTH_BYTES`].
    pub fn grown(&self) -> watch::Receiver<u64> {
        self.0.grown.clone()
    }

    /// Everything up to here is gone from the log.
    pub fn purged(&self) -> Option<LogId> {
        self.0.memory.read().purged
    }

    pub fn vote(&self) -> Option<Vote> {
        self.0.memory.read().vote
    }

    /// The entries from `from` on, about a megabyte of them; none at the end.
    ///
    /// # Errors
    /// `InvalidData` for damaged ones.
    pub fn page(&self, from: u64) -> io::Result<Vec<LogEntry>> {
        self.read(from, u64::MAX, READ_BYTES_MAX)
    }

    /// Makes an empty log one that goes on after `last`, in the term of `vote`.
    ///
    /// # Errors
    /// Those of writing.
    pub async fn begin_after(&self, last: LogId, vote: Vote) -> io::Result<()> {
        self.write(Write::Vote(vote)).await?;
        self.write(Write::Purge(last)).await
    }

    async fn write(&self, write: Write) -> io::Result<()> {
        let (tell, told) = oneshot::channel();
        self.queue(Job { write, done: Done::Told(tell) })?;
        told.await.map_err(|_| stopped())?
    }

    fn queue(&self, job: Job) -> io::Result<()> {
        self.0.jobs.send(job).map_err(|_| stopped())
    }

    fn read(&self, from: u64, to: u64, bytes_max: usize) -> io::Result<Vec<LogEntry>> {
        let memory = self.0.memory.read();
        let first = memory.first().unwrap_or(u64::MAX);
        let mut out = Vec::new();
        let mut bytes = 0;
        if from < first {
            let purged = memory.purged.map_or(0, |id| id.index + 1);
            let upto = to.min(first);
            drop(memory);
            for entry in from_disk(&self.0.store.db, from.max(purged), upto)? {
                bytes += weight(&entry);
                out.push(entry);
                if bytes >= bytes_max {
                    return Ok(out);
                }
            }
            return if to <= first { Ok(out) } else { self.read_on(out, first, to, bytes_max) };
        }
        for entry in memory.entries.range((from - first).min(memory.len()) as usize..) {
            if entry.log_id.index >= to || bytes >= bytes_max {
                break;
            }
            bytes += weight(entry);
            out.push(entry.clone());
        }
        Ok(out)
    }

    /// Goes on after a part that came from disk.
    fn read_on(
        &self,
        mut head: Vec<LogEntry>,
        from: u64,
        to: u64,
        bytes_max: usize,
    ) -> io::Result<Vec<LogEntry>> {
        let used = head.iter().map(weight).sum::<usize>();
        head.extend(self.read(from, to, bytes_max.saturating_sub(used).max(1))?);
        Ok(head)
    }
}

/// Takes all that waits, up to a bound, writes it in one transaction, then tells everybody.
/// After a failure nothing is written any more: what is on disk then is not known.
fn write_loop(
    store: &Store,
    memory: &RwLock<Memory>,
    queue: &mpsc::Receiver<Job>,
    growth: &watch::Sender<u64>,
) {
    let mut grown = 0;
    let mut failed: Option<String> = None;
    let mut committed = memory.read().committed;
    while let Ok(first) = queue.recv() {
        let mut bytes = first.write.weight();
        let mut batch = vec![first];
        while bytes < BATCH_BYTES_MAX {
            let Ok(next) = queue.try_recv() else { break };
            bytes += next.write.weight();
            batch.push(next);
        }
        let mark = memory.read().committed;
        let mark = mark.filter(|_| mark != committed);
        let result = match &failed {
            Some(text) => Err(io::Error::other(text.clone())),
            None => guarded(|| write_batch(&store.db, &batch, mark)),
        };
        match &result {
            Ok(()) => committed = mark.or(committed),
            Err(error) if failed.is_none() => {
                tracing::error!(%error, "the log cannot be written; the store stops");
                failed = Some(error.to_string());
            }
            Err(_) => {}
        }
        finish(batch, memory, &result);
        grown += bytes;
        if grown >= GROWTH_BYTES {
            grown = 0;
            growth.send_modify(|times| *times += 1);
        }
    }
}

fn finish(batch: Vec<Job>, memory: &RwLock<Memory>, result: &io::Result<()>) {
    let again = |error: &io::Error| io::Error::new(error.kind(), error.to_string());
    if result.is_ok() {
        let mut memory = memory.write();
        for job in &batch {
            if let Write::Append(entries) = &job.write {
                let last = entries.last().map(|entry| entry.log_id.index);
                // A later truncation may already have taken these entries back.
                memory.flushed = memory.flushed.max(last).min(memory.last.map(|id| id.index));
            }
        }
        memory.shed();
    }
    for job in batch {
        let result = result.as_ref().map_err(again).copied();
        match job.done {
            Done::Flushed(callback) => callback.io_completed(result),
            Done::Told(tell) => drop(tell.send(result)),
        }
    }
}

impl Write {
    fn weight(&self) -> usize {
        match self {
            Write::Append(entries) => entries.iter().map(weight).sum(),
            Write::Vote(_) | Write::TruncateAfter(_) | Write::Purge(_) => 64,
        }
    }
}

fn stopped() -> io::Error {
    io::Error::other("the log is closed")
}

impl RaftLogReader<Types> for Log {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<LogEntry>> {
        let from = match range.start_bound() {
            Bound::Included(from) => *from,
            Bound::Excluded(before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(last) => last.saturating_add(1),
            Bound::Excluded(to) => *to,
            Bound::Unbounded => u64::MAX,
        };
        self.read(from, to, usize::MAX)
    }

    async fn limited_get_log_entries(&mut self, from: u64, to: u64) -> io::Result<Vec<LogEntry>> {
        self.read(from, to, READ_BYTES_MAX)
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.0.memory.read().vote)
    }
}

impl RaftLogStorage<Types> for Log {
    type LogReader = Log;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types>> {
        let memory = self.0.memory.read();
        Ok(LogState { last_purged_log_id: memory.purged, last_log_id: memory.last })
    }

    async fn get_log_reader(&mut self) -> Log {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        self.write(Write::Vote(*vote)).await?;
        self.0.memory.write().vote = Some(*vote);
        Ok(())
    }

    /// Kept in memory and written along with the next batch: it only shortens recovery.
    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        self.0.memory.write().committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(self.0.memory.read().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> io::Result<()>
    where
        I: IntoIterator<Item = LogEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<LogEntry> = entries.into_iter().collect();
        {
            let mut memory = self.0.memory.write();
            entries.iter().for_each(|entry| memory.push(entry.clone()));
        }
        self.queue(Job { write: Write::Append(entries), done: Done::Flushed(callback) })
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        self.0.memory.write().truncate_after(last);
        self.write(Write::TruncateAfter(last.map(|id| id.index))).await
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        self.0.memory.write().purge(upto);
        self.write(Write::Purge(upto)).await
    }
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
