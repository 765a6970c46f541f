//! Random clients that write down what they did, for [`crate::history`].

use crate::case::Client;
use crate::dice::Dice;
use crate::history::{Answer, Call, What};
use coord_api::{CoordinatorExt, Entry, Error, Key, Prefix, ReadOpts, Space, Txn, TxnOutcome};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// What one client does.
#[derive(Clone, Debug)]
pub struct Load {
    pub client: usize,
    pub calls: usize,
    /// For each call; short, so that faults leave unknown outcomes.
    pub timeout: Duration,
    pub keys: Vec<Key>,
    /// Where the marks go; one space for all clients of a run.
    pub marks: Space,
    pub budget: Budget,
}

/// Calls that the clients of a run may make. Faults hand them out, so that some of each share meet
/// the fault and some its end, on a backend of any speed.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Semaphore>);

impl Budget {
    pub fn new(calls: usize) -> Self {
        Budget(Arc::new(Semaphore::new(calls)))
    }

    pub fn grant(&self, calls: usize) {
        self.0.add_permits(calls);
    }

    /// Returns when all granted calls have begun; each ends by its timeout.
    pub async fn spent(&self) {
        while self.0.available_permits() > 0 {
            tokio::time::sleep(Duration::from_micros(500)).await;
        }
    }

    async fn take(&self) {
        self.0.acquire().await.expect("never closed").forget();
    }
}

impl Load {
    /// One call after the other; what the client has read guides what it compares. With the number of
    /// reads that failed: they tell nothing, but that a fault was felt.
    pub async fn run(self, client: Client, mut dice: Dice) -> (Vec<Call>, usize) {
        let mut history = Vec::with_capacity(self.calls);
        let mut seen: HashMap<Key, Entry> = HashMap::new();
        let mut unread = 0;
        for n in 0..self.calls {
            self.budget.take().await;
            let begun = Instant::now();
            let what = if dice.chance(45) {
                self.read(&client, &mut dice, &mut seen).await
            } else {
                Some(self.write(&client, &mut dice, &seen, n).await)
            };
            let ended = Instant::now();
            unread += usize::from(what.is_none());
            history.extend(what.map(|what| Call { client: self.client, begun, ended, what }));
        }
        (history, unread)
    }

    async fn read(
        &self,
        client: &Client,
        dice: &mut Dice,
        seen: &mut HashMap<Key, Entry>,
    ) -> Option<What> {
        let linearizable = dice.chance(60);
        let opts = if linearizable { ReadOpts::default() } else { ReadOpts::session() };
        let keys: Vec<Key> = self.keys.iter().filter(|_| dice.chance(60)).cloned().collect();
        let found = client.get_many(&keys, opts.within(self.timeout)).await.ok()?;
        keys.iter().for_each(|key| drop(seen.remove(key)));
        seen.extend(found.entries.iter().map(|entry| (entry.key.clone(), entry.clone())));
        Some(What::Read { keys, found: found.entries, revision: found.revision, linearizable })
    }

    async fn write(
        &self,
        client: &Client,
        dice: &mut Dice,
        seen: &HashMap<Key, Entry>,
        n: usize,
    ) -> What {
        let id = format!("{}.{n}", self.client);
        let mark = Key::new(&self.marks, &id).expect("digits and a dot");
        let mut txn = Txn::new().within(self.timeout);
        for key in &self.keys {
            if dice.chance(25) {
                txn = match (seen.get(key), dice.below(3)) {
                    (Some(entry), 0 | 1) => txn.unchanged(entry),
                    (None, 0 | 1) => txn.absent(key),
                    _ => txn.exists(key),
                };
            }
            if dice.chance(40) {
                txn = if dice.chance(25) { txn.delete(key) } else { txn.put(key, id.clone()) };
            }
        }
        let txn = txn.put(&mark, id);
        let answer = match client.txn(txn.clone()).await {
            Ok(TxnOutcome::Committed { revision, versions }) => {
                Answer::Committed { revision, versions }
            }
            Ok(TxnOutcome::Conflict { failed }) => Answer::Conflict { failed },
            Err(error) if error.is_unknown() => Answer::Unknown,
            Err(_) => Answer::Refused,
        };
        What::Write { txn, mark, answer }
    }
}

/// All marks, once everything is healed.
pub async fn marks(client: &Client, space: &Space) -> Result<Vec<Entry>, Error> {
    Ok(client.list(&Prefix::all(space), ReadOpts::default()).await?.entries)
}
