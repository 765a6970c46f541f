//! Transactions whose outcome can always be found out (X7).
//!
//! Each process owns a few slot keys. A transaction also writes a fresh id into a slot, guarded
//! by the slot's version. After an unknown outcome the slot is voided under the same guard: if
//! that commits, the transaction has not and never will; if it conflicts, the slot tells who won.

use crate::coordinator::CoordinatorExt;
use crate::entry::{Entry, ReadOpts, Revision, Version};
use crate::error::{Error, ErrorKind};
use crate::names::{Key, Space, SpaceKind};
use crate::txn::{Txn, TxnOutcome};
use crate::{Coordinator, Result};
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout_at};

const VOID: &str = "void ";
const RETRY_LEAST: Duration = Duration::from_millis(20);
const RETRY_MOST: Duration = Duration::from_secs(1);
/// One attempt to find out takes at most this part of the patience: its answer may be lost too,
/// and must not cost all the others.
const ATTEMPTS: u32 = 10;

/// The slots of one process, which alone may use that owner name.
pub struct Receipts {
    coordinator: Arc<dyn Coordinator>,
    /// How long a call goes on finding out.
    patience: Duration,
    free: Arc<Semaphore>,
    slots: Arc<Mutex<VecDeque<Slot>>>,
    found: Vec<String>,
}

/// A transaction's outcome, once known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolved {
    Committed {
        revision: Revision,
    },
    /// Its request or its answer was lost, and it certainly has not and will not commit.
    NotCommitted,
    /// As [`TxnOutcome::Conflict`].
    Conflict {
        failed: Option<usize>,
    },
}

#[derive(Clone, Debug)]
struct Slot {
    key: Key,
    /// `None`: not yet written, or not known since a call was given up.
    version: Option<Version>,
    /// The guard of the call given up; its transaction may yet commit.
    doubt: Option<Option<Version>>,
}

/// Puts the slot back however the call ends, also when its future is dropped (C3).
struct Lease<'a> {
    owner: &'a Receipts,
    slot: Slot,
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let mut slots = self.owner.slots.lock();
        // A slot in doubt is used last, when its doubt is oldest.
        if self.slot.doubt.is_some() {
            slots.push_back(self.slot.clone());
        } else {
            slots.push_front(self.slot.clone());
        }
        self.owner.free.add_permits(1);
    }
}

impl Receipts {
    /// Takes over the slots `OWNER.0` to `OWNER.(slots - 1)` of the space, which is declared if
    /// need be. What an earlier process of that name still has in flight can no longer commit.
    ///
    /// # Errors
    /// Those of reading and writing; effect None as far as the caller is concerned.
    pub async fn open(
        coordinator: &Arc<dyn Coordinator>,
        space: &Space,
        owner: &str,
        slots: usize,
        patience: Duration,
    ) -> Result<Receipts> {
        coordinator.ensure_space(space, SpaceKind::Persistent).await?;
        let names = (0..slots.max(1)).map(|n| Key::new(space, &format!("{owner}.{n}")));
        let keys = names.collect::<Result<Vec<Key>>>()?;
        let mut receipts = Receipts {
            coordinator: coordinator.clone(),
            patience,
            free: Arc::new(Semaphore::new(keys.len())),
            slots: Arc::default(),
            found: Vec::new(),
        };
        let deadline = Instant::now() + patience;
        for key in keys {
            let mut slot = Slot { key, version: None, doubt: None };
            if let Some(id) = receipts.take_over(&mut slot, deadline).await? {
                receipts.found.push(id);
            }
            receipts.slots.lock().push_back(slot);
        }
        Ok(receipts)
    }

    /// The ids of transactions that an earlier process of that owner name saw to, or did not live
    /// to see: each has committed. For resolving after a restart.
    pub fn found(&self) -> &[String] {
        &self.found
    }

    /// Commits, and finds out whether it did. Takes one compare and one operation of the
    /// transaction's limits, so 99 of each are left. Waits for a free slot.
    ///
    /// # Errors
    /// Effect None: nothing was written. Effect Unknown: not found out within the patience given
    /// to [`Receipts::open`]; the slot stays blocked until it is.
    pub async fn txn(&self, txn: Txn) -> Result<Resolved> {
        self.txn_as(&uuid::Uuid::new_v4().to_string(), txn).await
    }

    /// As [`Receipts::txn`] under an id of the caller's, which must be fresh and is what
    /// [`Receipts::found`] will show to the next process.
    pub async fn txn_as(&self, id: &str, txn: Txn) -> Result<Resolved> {
        let deadline = Instant::now() + self.patience;
        let mut lease = self.lease(deadline).await?;
        let slot = &mut lease.slot;
        let compares = txn.compares.len();
        let txn = guarded(txn, slot).put(&slot.key, id.to_owned());
        txn.check(&self.coordinator.info().limits, None)?;
        slot.doubt = Some(slot.version);
        match self.coordinator.txn(txn).await {
            Ok(TxnOutcome::Committed { revision, versions }) => {
                slot.settle(versions.last().copied().flatten());
                Ok(Resolved::Committed { revision })
            }
            Ok(TxnOutcome::Conflict { failed }) => {
                // Its own guard can only fail if somebody else uses the slot.
                slot.doubt = (failed == Some(compares)).then_some(slot.version);
                Ok(Resolved::Conflict { failed: failed.filter(|at| *at != compares) })
            }
            Err(error) if !error.is_unknown() => {
                slot.doubt = None;
                Err(error)
            }
            // The transaction's own timeout does not count against the patience for finding out.
            Err(_) => self.find_out(slot, id, Instant::now() + self.patience).await,
        }
    }

    async fn lease(&self, deadline: Instant) -> Result<Lease<'_>> {
        let timeout = || Error::none(ErrorKind::Timeout);
        let permit = timeout_at(deadline, self.free.acquire()).await.map_err(|_| timeout())?;
        permit.expect("the semaphore is never closed").forget();
        let slot = self.slots.lock().pop_front().expect("a permit is a slot");
        let mut lease = Lease { owner: self, slot };
        if lease.slot.doubt.is_some() {
            self.take_over(&mut lease.slot, deadline).await?;
        }
        Ok(lease)
    }

    /// Ends the doubt about transaction `id`.
    async fn find_out(&self, slot: &mut Slot, id: &str, deadline: Instant) -> Result<Resolved> {
        match self.void(slot, deadline).await? {
            None => Ok(Resolved::NotCommitted),
            Some(entry) if entry.value == id.as_bytes() => {
                Ok(Resolved::Committed { revision: entry.modified })
            }
            Some(entry) if entry.value.starts_with(VOID.as_bytes()) => Ok(Resolved::NotCommitted),
            // Excluded by ownership of the slot.
            Some(_) => Err(Error::unknown(ErrorKind::Corrupt)),
        }
    }

    /// Makes the slot usable whatever is in flight; the id of the transaction it told of.
    async fn take_over(&self, slot: &mut Slot, deadline: Instant) -> Result<Option<String>> {
        let none = |error: Error| Error { effect: crate::Effect::None, ..error };
        let id = |value: &Bytes| Some(String::from_utf8_lossy(value).into_owned());
        let fresh = slot.doubt.is_none();
        let mut told = None;
        if fresh {
            let (entry, _) = self.coordinator.get(&slot.key, ReadOpts::default()).await?;
            told = entry.as_ref().map(|entry| entry.value.clone());
            slot.doubt = Some(entry.map(|entry| entry.version));
        }
        if let Some(entry) = self.void(slot, deadline).await.map_err(none)? {
            // What was in flight has won the race against the void.
            told = Some(entry.value);
        }
        Ok(told.filter(|value| !value.starts_with(VOID.as_bytes())).as_ref().and_then(id))
    }

    /// Writes a void under the guard in doubt, until an answer comes. `None`: the void stands.
    /// `Some`: something under that guard had won, and this is what the slot holds.
    async fn void(&self, slot: &mut Slot, deadline: Instant) -> Result<Option<Entry>> {
        slot.version = slot.doubt.expect("only a slot in doubt is voided");
        let mark = format!("{VOID}{}", uuid::Uuid::new_v4());
        let mut pause = RETRY_LEAST;
        loop {
            let rest = deadline.saturating_duration_since(Instant::now());
            let rest = rest.min(self.patience / ATTEMPTS);
            let txn = guarded(Txn::new(), slot).put(&slot.key, mark.clone()).within(rest);
            match self.coordinator.txn(txn).await {
                Ok(TxnOutcome::Committed { versions, .. }) => {
                    slot.settle(versions.last().copied().flatten());
                    return Ok(None);
                }
                Ok(TxnOutcome::Conflict { .. }) => {
                    let opts = ReadOpts::default().within(rest);
                    if let Ok((entry, _)) = self.coordinator.get(&slot.key, opts).await {
                        let entry = entry.ok_or(Error::unknown(ErrorKind::Corrupt))?;
                        slot.settle(Some(entry.version));
                        let own = entry.value == mark.as_bytes();
                        return Ok(Some(entry).filter(|_| !own));
                    }
                }
                Err(error) if error.retry() != crate::Retry::SameHandle => {
                    return Err(Error::unknown(error.kind));
                }
                Err(_) => {}
            }
            if Instant::now() + pause >= deadline {
                return Err(Error::unknown(ErrorKind::Timeout));
            }
            sleep(pause).await;
            pause = (pause * 2).min(RETRY_MOST);
        }
    }
}

impl Slot {
    fn settle(&mut self, version: Option<Version>) {
        self.version = version;
        self.doubt = None;
    }
}

fn guarded(txn: Txn, slot: &Slot) -> Txn {
    match slot.version {
        Some(version) => txn.version(&slot.key, version),
        None => txn.absent(&slot.key),
    }
}

impl fmt::Debug for Receipts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Receipts({} free)", self.free.available_permits())
    }
}
