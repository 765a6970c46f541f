//! The store after this one: how a node of a store that was given up finds its way into the one
//! that took its place (see `forced.rs`).
//!
//! Whoever answers at a master's address and keeps another cluster's data is asked whether it took
//! this cluster's place. It answers as to an invitation: who proves the old secret gets the new
//! one. What is learnt is written down as a decided exchange and carried out at the next opening.

use crate::exchange;
use crate::layout::replace_file;
use crate::net::Road;
use crate::net::link::Link;
use crate::opening::JOINED;
use crate::pool::{Pool, own_key};
use crate::secure::{Hello, Purpose};
use crate::talk::{Answer, Ask};
use coord_api::{ClusterId, Key};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// One that did not take its place may do so later.
const ASK_AGAIN: Duration = Duration::from_secs(5);
const LIMIT: Duration = Duration::from_secs(3);

/// Under this key a store keeps the secret of one whose place it took.
pub fn former_key(cluster: &[u8; 16]) -> Key {
    let hex: String = cluster.iter().map(|byte| format!("{byte:02x}")).collect();
    own_key("former", &hex).expect("hex is legal")
}

/// Shared by everything of one directory that dials.
#[derive(Debug)]
pub struct Heir {
    dir: PathBuf,
    known: CancellationToken,
    asked: Mutex<HashMap<String, Instant>>,
}

impl Heir {
    pub fn new(dir: PathBuf) -> Arc<Heir> {
        Arc::new(Heir { dir, known: CancellationToken::new(), asked: Mutex::default() })
    }

    /// Cancelled once the directory is to be opened anew.
    pub fn known(&self) -> &CancellationToken {
        &self.known
    }

    /// Asks a stranger at `address`, not too often. `true`: this store has been given up.
    pub async fn is_at(&self, road: &Road, address: &str) -> bool {
        if self.known.is_cancelled() {
            return true;
        }
        {
            let mut asked = self.asked.lock();
            let now = Instant::now();
            asked.retain(|_, at| now.duration_since(*at) < ASK_AGAIN);
            if asked.insert(address.to_owned(), now).is_some() {
                return false;
            }
        }
        let Some(pool) = ask(road, address).await else { return false };
        match self.write(&pool) {
            Ok(()) => {
                let (old, new) = (road.cluster, ClusterId(pool.cluster));
                tracing::warn!(
                    address, %old, %new,
                    "the store was forced to go on without this node, which goes over to it"
                );
                self.known.cancel();
                true
            }
            Err(error) => {
                tracing::error!(%error, "the store that took this one's place is not noted");
                false
            }
        }
    }

    fn write(&self, pool: &Pool) -> io::Result<()> {
        if exchange::is_decided(&self.dir) {
            return Ok(());
        }
        let next = exchange::prepare(&self.dir)?;
        pool.write(&next)?;
        replace_file(&next, JOINED, b"")?;
        exchange::decide(&self.dir)
    }
}

async fn ask(road: &Road, address: &str) -> Option<Pool> {
    let hello = Hello { purpose: Purpose::Join, scope: road.cluster.0 };
    let link = Link::dial_as(road, address, hello, LIMIT).await.ok()?;
    let Ok(Answer::Joined { cluster, salt, veiled, masters }) = link.call(Ask::Join, LIMIT).await
    else {
        return None;
    };
    if cluster == road.cluster.0 {
        return None;
    }
    let mut masters: Vec<String> = masters.into_iter().filter(|at| !at.is_empty()).collect();
    if masters.is_empty() {
        masters.push(address.to_owned());
    }
    Some(Pool { cluster, secret: veiled.veiled(&road.secret, &salt), masters })
}
