//! A pool's records on the move: all of them as one value, its text as a backup, and the changes
//! that make another store equal to it.
//!
//! What is bound to sessions stays behind, and so do receipts: they mean nothing in another store.
//! Nothing here knows what a record says; a newer daemon's records move as they are.

use super::keys::{ALIVE, CONFIG, Pool};
use crate::model::NodeId;
use bytes::Bytes;
use coord_api::{
    Coordinator, CoordinatorExt, Entry, ErrorKind, Key, Prefix, ReadOpts, Snapshot, SpaceKind, Txn,
    TxnOutcome,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// What a dump calls itself.
const FORMAT: &str = "glusterd coordinator dump";
const VERSION: u32 = 1;
/// Records, and bytes of their values, in one change: each record is a guard and a write.
const TXN_RECORDS: usize = 50;
const TXN_BYTES: usize = 384 << 10;
/// A change whose fate is unknown is found out by reading and planning again.
const ATTEMPTS: usize = 5;

/// Everything a pool has, by the keys' names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Records {
    pub pool: Pool,
    pub values: BTreeMap<String, Bytes>,
}

/// Why records were not moved.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    #[error(transparent)]
    Service(#[from] coord_api::Error),
    #[error("the target has other records of this pool, {0} first; --replace overwrites them")]
    Differs(String),
    #[error("somebody else changes the pool at the same time")]
    Moving,
    #[error("not a dump: {0}")]
    NoDump(String),
    #[error("the dump is of version {0}, this glusterd knows {VERSION}")]
    Newer(u32),
}

#[derive(Serialize, Deserialize)]
struct Header {
    format: String,
    version: u32,
}

#[derive(Serialize, Deserialize)]
struct Dump {
    format: String,
    version: u32,
    pool: String,
    records: Vec<Row>,
}

/// One of `value` and `hex`, which is for bytes that are no text.
#[derive(Serialize, Deserialize)]
struct Row {
    key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hex: Option<String>,
}

impl Records {
    /// The pool's records as of one revision; none where the store has never heard of it.
    ///
    /// # Errors
    /// Those of a listing.
    pub async fn read(store: &dyn Coordinator, pool: Pool) -> coord_api::Result<Records> {
        Ok(Records::of(pool, &listed(store, &pool.prefix()).await?))
    }

    fn of(pool: Pool, found: &Snapshot) -> Records {
        let value = |entry: &Entry| (entry.key.name().to_owned(), entry.value.clone());
        Records { pool, values: found.entries.iter().map(value).collect() }
    }

    /// Makes the store's records of the pool equal to these; says how many it changed. What is
    /// equal already is left alone, so an attempt that broke off may be repeated.
    ///
    /// # Errors
    /// [`TransferError`]; changes made before it stay.
    pub async fn write(
        &self,
        store: &dyn Coordinator,
        replace: bool,
    ) -> Result<usize, TransferError> {
        store.ensure_space(&CONFIG, SpaceKind::Persistent).await?;
        store.ensure_space(&ALIVE, SpaceKind::Ephemeral).await?;
        let mut written = 0;
        'attempts: for _ in 0..ATTEMPTS {
            let there = listed(store, &self.pool.prefix()).await?;
            for txn in self.changes(&there, replace)? {
                let records = txn.ops.len();
                match store.txn(txn).await {
                    Ok(TxnOutcome::Committed { .. }) => written += records,
                    Ok(TxnOutcome::Conflict { .. }) => return Err(TransferError::Moving),
                    Err(error) if error.is_unknown() => continue 'attempts,
                    Err(error) => return Err(error.into()),
                }
            }
            return Ok(written);
        }
        Err(coord_api::Error::unknown(ErrorKind::Unavailable).into())
    }

    fn changes(&self, there: &Snapshot, replace: bool) -> Result<Vec<Txn>, TransferError> {
        let mut changes = Changes::default();
        for (name, value) in &self.values {
            let key = Key::new(&CONFIG, name)?;
            match there.entry(&key) {
                Some(entry) if entry.value == *value => {}
                Some(_) if !replace => return Err(TransferError::Differs(name.clone())),
                found => {
                    let put = |txn: Txn| txn.as_read(&key, found).put(&key, value.clone());
                    changes.add(value.len(), put);
                }
            }
        }
        for entry in there.entries.iter().filter(|e| !self.values.contains_key(e.key.name())) {
            if !replace {
                return Err(TransferError::Differs(entry.key.name().to_owned()));
            }
            changes.add(0, |txn| txn.unchanged(entry).delete(&entry.key));
        }
        Ok(changes.txns)
    }

    /// The text of a backup: JSON, one object, readable by people.
    pub fn to_json(&self) -> String {
        let row = |(key, value): (&String, &Bytes)| match std::str::from_utf8(value) {
            Ok(text) => Row { key: key.clone(), value: Some(text.to_owned()), hex: None },
            Err(_) => Row { key: key.clone(), value: None, hex: Some(hex(value)) },
        };
        let dump = Dump {
            format: FORMAT.to_owned(),
            version: VERSION,
            pool: self.pool.0.to_string(),
            records: self.values.iter().map(row).collect(),
        };
        serde_json::to_string_pretty(&dump).expect("text and numbers only") + "\n"
    }

    /// # Errors
    /// `NoDump` and `Newer`.
    pub fn from_json(text: &str) -> Result<Records, TransferError> {
        let wrong = |what: &dyn std::fmt::Display| TransferError::NoDump(what.to_string());
        let header: Header = serde_json::from_str(text).map_err(|error| wrong(&error))?;
        if header.format != FORMAT {
            return Err(wrong(&format!("it calls itself {:?}", header.format)));
        }
        if header.version != VERSION {
            return Err(TransferError::Newer(header.version));
        }
        let dump: Dump = serde_json::from_str(text).map_err(|error| wrong(&error))?;
        let pool = Uuid::try_parse(&dump.pool).map_err(|error| wrong(&error))?;
        let mut records = Records { pool: Pool(pool), values: BTreeMap::new() };
        for Row { key, value, hex } in dump.records {
            let bytes = match (value, hex) {
                (Some(text), None) => Some(text.into_bytes()),
                (None, Some(digits)) => unhex(&digits),
                _ => None,
            };
            let Some(bytes) =
                bytes.filter(|bytes| bytes.len() <= coord_api::Limits::CONTRACT.value)
            else {
                return Err(wrong(&format!("no value for {key}")));
            };
            let legal =
                Key::new(&CONFIG, &key).is_ok_and(|key| records.pool.prefix().matches(&key));
            if !legal {
                return Err(wrong(&format!("{key:?} is no key of the pool")));
            }
            if records.values.insert(key.clone(), bytes.into()).is_some() {
                return Err(wrong(&format!("{key} twice")));
            }
        }
        Ok(records)
    }
}

/// Transactions being filled.
#[derive(Default)]
struct Changes {
    txns: Vec<Txn>,
    bytes: usize,
}

impl Changes {
    fn add(&mut self, bytes: usize, change: impl FnOnce(Txn) -> Txn) {
        let full = |txn: &Txn| txn.ops.len() >= TXN_RECORDS;
        let txn = match self.txns.pop() {
            Some(txn) if full(&txn) || self.bytes + bytes > TXN_BYTES => {
                self.txns.push(txn);
                None
            }
            other => other,
        };
        self.bytes = bytes + if txn.is_some() { self.bytes } else { 0 };
        self.txns.push(change(txn.unwrap_or_default()));
    }
}

/// The pools that have records in a store.
///
/// # Errors
/// Those of a listing.
pub async fn pools(store: &dyn Coordinator) -> coord_api::Result<BTreeSet<Uuid>> {
    let found = listed(store, &Prefix::all(&CONFIG)).await?;
    let pool = |entry: &Entry| Uuid::try_parse(entry.key.name().split_once('.')?.0).ok();
    Ok(found.entries.iter().filter_map(pool).collect())
}

/// The pool's nodes whose daemons are announced in a store.
///
/// # Errors
/// Those of a listing.
pub async fn alive(store: &dyn Coordinator, pool: Pool) -> coord_api::Result<BTreeSet<NodeId>> {
    let prefix = pool.alive_prefix();
    let found = listed(store, &prefix).await?;
    let node = |entry: &Entry| {
        NodeId::parse(entry.key.stem().strip_prefix(prefix.name()).unwrap_or_default())
    };
    Ok(found.entries.iter().filter_map(node).collect())
}

async fn listed(store: &dyn Coordinator, prefix: &Prefix) -> coord_api::Result<Snapshot> {
    match store.list(prefix, ReadOpts::default()).await {
        Err(error) if error.kind == ErrorKind::UnknownSpace => Ok(Snapshot::default()),
        other => other,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(digits: &str) -> Option<Vec<u8>> {
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|pair| byte(pair)).collect())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use coord_api::mem::Mem;

    fn pool() -> Pool {
        Pool(Uuid::from_u128(7))
    }

    fn records(values: &[(&str, &[u8])]) -> Records {
        let pair = |(name, value): &(&str, &[u8])| {
            (format!("{}.{name}", pool().0), Bytes::copy_from_slice(value))
        };
        Records { pool: pool(), values: values.iter().map(pair).collect() }
    }

    #[test]
    fn a_dump_is_read_as_it_was_written() {
        let all = records(&[("global", b"{\"a\": 1}"), ("volume.v", b"\xff\x00"), ("bricks", b"")]);
        let text = all.to_json();
        assert_eq!(Records::from_json(&text).unwrap(), all);
        let check = |from: &str, to: &str, complaint: &str| {
            assert!(text.contains(from), "{from}");
            let error = Records::from_json(&text.replace(from, to)).unwrap_err().to_string();
            assert!(error.contains(complaint), "{error}");
        };
        check("\"version\": 1", "\"version\": 2", "of version 2");
        check("coordinator dump", "x", "calls itself");
        check("ff00", "ff0", "no value for");
        check("ff00", "f\u{fc}0", "no value for");
        check(".bricks", ".global", "twice");
        check("\"pool\": \"00", "\"pool\": \"10", "no key of the pool");
        assert!(Records::from_json(&text[..text.len() / 2]).is_err());
    }

    #[tokio::test]
    async fn another_store_becomes_equal() {
        let store = Mem::new().connect("a");
        let other = Pool(Uuid::from_u128(8));
        let many: Vec<(String, Vec<u8>)> =
            (0..130).map(|i| (format!("volume.v{i}"), vec![b'x'; 9000])).collect();
        let many: Vec<(&str, &[u8])> = many.iter().map(|(n, v)| (n.as_str(), &v[..])).collect();
        let all = records(&many);
        assert_eq!(all.write(&*store, false).await.unwrap(), 130);
        assert_eq!(Records::read(&*store, pool()).await.unwrap(), all);
        assert_eq!(all.write(&*store, false).await.unwrap(), 0);
        assert!(Records::read(&*store, other).await.unwrap().values.is_empty());
        assert_eq!(pools(&*store).await.unwrap(), [pool().0].into());

        let fewer = records(&[("volume.v1", b"new"), ("global", b"g")]);
        let error = fewer.write(&*store, false).await.unwrap_err();
        assert!(matches!(error, TransferError::Differs(_)), "{error}");
        assert_eq!(Records::read(&*store, pool()).await.unwrap(), all);
        assert_eq!(fewer.write(&*store, true).await.unwrap(), 131);
        assert_eq!(Records::read(&*store, pool()).await.unwrap(), fewer);
    }

    /// An answer that is lost leaves a doubt, which reading ends.
    #[tokio::test]
    async fn lost_answers_are_found_out() {
        use coord_api::OpenOpts;
        use coord_api::mem::TxnFault;
        let mem = Mem::new();
        let store = mem.open("a", 3, &OpenOpts::default());
        store.ensure_space(&CONFIG, SpaceKind::Persistent).await.unwrap();
        mem.fail_next_txns(3, [TxnFault::ReplyLost, TxnFault::RequestLost]);
        let all = records(&[("global", b"g")]);
        all.write(&*store, false).await.unwrap();
        assert_eq!(Records::read(&*store, pool()).await.unwrap(), all);
    }
}
