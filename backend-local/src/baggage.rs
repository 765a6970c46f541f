//! What a node takes along from one store into another.

use crate::store::LocalStore;
use bytes::Bytes;
use coord_api::{Error, ErrorKind, Key, Prefix, ReadOpts, Result, SpaceKind, Txn};
use std::collections::BTreeSet;

/// What goes along when a node changes stores: these records, written where they are absent.
#[derive(Clone, Debug)]
pub struct Baggage {
    /// The store that is left holds nothing under these: it would be lost.
    pub empty: Vec<Prefix>,
    pub records: Vec<(Key, Bytes)>,
}

impl Baggage {
    /// Whether it is all that there is in the store.
    ///
    /// # Errors
    /// `PermissionDenied` if something would be lost; those of a read.
    pub(crate) async fn is_all_of(&self, store: &LocalStore) -> Result<()> {
        let c = store.handle();
        for prefix in &self.empty {
            let held = match c.list_page(prefix, None, 1, ReadOpts::default()).await {
                Ok((held, _)) => held.entries,
                Err(error) if error.kind == ErrorKind::UnknownSpace => Vec::new(),
                Err(error) => return Err(error),
            };
            if let Some(entry) = held.first() {
                let text = format!("{} would be lost", entry.key.name());
                return Err(Error::none(ErrorKind::PermissionDenied).because(text));
            }
        }
        c.close().await
    }

    /// What is taken along does not stay behind, where it would look as if the node were there.
    ///
    /// # Errors
    /// Those of a write.
    pub(crate) async fn take_out_of(&self, store: &LocalStore) -> Result<()> {
        let c = store.handle();
        let txn = self.records.iter().fold(Txn::new(), |txn, (key, _)| txn.delete(key));
        c.txn(txn).await?;
        c.close().await
    }

    /// Writes it down, before anyone looks.
    ///
    /// # Errors
    /// Those of a write.
    pub(crate) async fn put_into(&self, store: &LocalStore) -> Result<()> {
        let c = store.handle();
        let spaces: BTreeSet<_> = self.records.iter().map(|(key, _)| key.space().clone()).collect();
        for space in spaces {
            c.ensure_space(&space, SpaceKind::Persistent).await?;
        }
        for (key, value) in &self.records {
            c.txn(Txn::new().absent(key).put(key, value.clone())).await?;
        }
        c.close().await
    }
}
