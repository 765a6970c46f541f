//! The log's file: tables, records, one transaction per batch, and what its errors mean.

use super::memory::Memory;
use super::{Job, Write};
use crate::codec::{corrupt, seal, unseal};
use crate::disk::is_full;
use crate::raft::{EntryForm, LogEntry, LogId, LogIdForm, VoteForm};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use serde::{Serialize, de::DeserializeOwned};
use std::io;

const LOG: TableDefinition<u64, &[u8]> = TableDefinition::new("log");
const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");

/// The identity of a file: written by whoever creates it, read by everybody after.
pub fn founding<I: Serialize + DeserializeOwned>(
    db: &Database,
    identity: impl FnOnce() -> io::Result<I>,
) -> io::Result<I> {
    let txn = db.begin_write().map_err(engine)?;
    let found = {
        txn.open_table(LOG).map_err(engine)?;
        let mut meta = txn.open_table(META).map_err(engine)?;
        let stored = meta.get("identity").map_err(engine)?.map(|guard| guard.value().to_vec());
        match stored {
            Some(record) => return unseal(&record, "identity"),
            None => {
                let identity = identity()?;
                meta.insert("identity", seal(&identity)?.as_slice()).map_err(engine)?;
                identity
            }
        }
    };
    txn.commit().map_err(engine)?;
    Ok(found)
}

/// Reads vote, marks and all entries, and checks that the log has no hole.
pub fn load(db: &Database) -> io::Result<Memory> {
    let mut memory = Memory::default();
    let txn = db.begin_read().map_err(engine)?;
    let meta = txn.open_table(META).map_err(engine)?;
    let record = |name: &str| -> io::Result<Option<Vec<u8>>> {
        Ok(meta.get(name).map_err(engine)?.map(|guard| guard.value().to_vec()))
    };
    let mark = |name| -> io::Result<Option<LogId>> {
        record(name)?.map(|r| unseal::<LogIdForm>(&r, name).map(LogId::from)).transpose()
    };
    if let Some(vote) = record("vote")? {
        memory.vote = Some(unseal::<VoteForm>(&vote, "vote")?.into());
    }
    memory.committed = mark("committed")?;
    memory.purged = mark("purged")?;
    memory.last = memory.purged;
    let first = memory.purged.map_or(0, |id| id.index + 1);
    let log = txn.open_table(LOG).map_err(engine)?;
    for (next, item) in (first..).zip(log.iter().map_err(engine)?) {
        let (index, record) = item.map_err(engine)?;
        let entry = decode(index.value(), record.value())?;
        if index.value() != next {
            return Err(corrupt(format!("log: entry {next} is missing")));
        }
        memory.flushed = Some(index.value());
        memory.push(entry);
        memory.shed();
    }
    Ok(memory)
}

pub fn from_disk(db: &Database, from: u64, to: u64) -> io::Result<Vec<LogEntry>> {
    if from >= to {
        return Ok(Vec::new());
    }
    guarded(|| {
        let txn = db.begin_read().map_err(engine)?;
        let log = txn.open_table(LOG).map_err(engine)?;
        let range = log.range(from..to).map_err(engine)?;
        let one = |item: Result<_, redb::StorageError>| {
            let (index, record): (redb::AccessGuard<u64>, redb::AccessGuard<&[u8]>) =
                item.map_err(engine)?;
            decode(index.value(), record.value())
        };
        range.map(one).collect()
    })
}

fn decode(index: u64, record: &[u8]) -> io::Result<LogEntry> {
    let form: EntryForm = unseal(record, "log entry")?;
    if form.id.index != index {
        return Err(corrupt(format!("log entry {index} says it is {}", form.id.index)));
    }
    LogEntry::try_from(form).map_err(corrupt)
}

pub fn write_batch(db: &Database, batch: &[Job], committed: Option<LogId>) -> io::Result<()> {
    let txn = db.begin_write().map_err(engine)?;
    {
        let mut log = txn.open_table(LOG).map_err(engine)?;
        let mut meta = txn.open_table(META).map_err(engine)?;
        for job in batch {
            match &job.write {
                Write::Append(entries) => {
                    for entry in entries {
                        let record = seal(&EntryForm::from(entry))?;
                        log.insert(entry.log_id.index, record.as_slice()).map_err(engine)?;
                    }
                }
                Write::Vote(vote) => {
                    let record = seal(&VoteForm::from(vote))?;
                    meta.insert("vote", record.as_slice()).map_err(engine)?;
                }
                Write::TruncateAfter(last) => {
                    let from = last.map_or(0, |last| last + 1);
                    log.retain_in(from.., |_, _| false).map_err(engine)?;
                }
                Write::Purge(upto) => {
                    log.retain_in(..=upto.index, |_, _| false).map_err(engine)?;
                    let record = seal(&LogIdForm::from(upto))?;
                    meta.insert("purged", record.as_slice()).map_err(engine)?;
                }
            }
        }
        if let Some(committed) = committed {
            let record = seal(&LogIdForm::from(&committed))?;
            meta.insert("committed", record.as_slice()).map_err(engine)?;
        }
    }
    txn.commit().map_err(engine)
}

/// Runs engine code; a panic of its is damage to the file it did not expect.
pub fn guarded<T>(work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let run = std::panic::AssertUnwindSafe(work);
    std::panic::catch_unwind(run)
        .unwrap_or_else(|_| Err(corrupt("the storage engine gave up on the file".into())))
}

pub fn engine(error: impl Into<redb::Error>) -> io::Error {
    match error.into() {
        redb::Error::Io(error) if is_full(&error) => io::Error::from(error.kind()),
        redb::Error::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            corrupt("log: the file is cut short".into())
        }
        redb::Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => {
            corrupt(format!("log: {error}"))
        }
        error @ (redb::Error::Corrupted(_)
        | redb::Error::UpgradeRequired(_)
        | redb::Error::RepairAborted
        | redb::Error::TableTypeMismatch { .. }
        | redb::Error::TableDoesNotExist(_)) => corrupt(format!("log: {error}")),
        error => io::Error::other(format!("log: {error}")),
    }
}
