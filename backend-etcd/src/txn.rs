//! Transactions: one etcd transaction each, with the cluster's identity and the session among the
//! compares, and the compared keys read in the else branch to name the compare that failed (T9).

use crate::core::{Core, Range, entry_of, raw, take_apart, version};
use crate::fault::Fault;
use crate::pool::Kind;
use coord_api::{
    Compare, Entry, Error, ErrorKind, Key, Op, Result, Revision, SessionId, Txn, TxnOutcome,
};
use etcd_client::{Compare as RawCompare, CompareOp, GetOptions, PutOptions, Txn as RawTxn, TxnOp};

/// The session on whose behalf a transaction runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Author {
    pub id: SessionId,
    /// When its marker was written.
    pub marker: Revision,
}

impl Core {
    pub async fn txn(&self, txn: Txn, author: Option<Author>) -> Result<TxnOutcome> {
        txn.check(&crate::LIMITS, author.map(|author| author.id))?;
        let deadline = self.deadline(txn.timeout);
        let spaces = txn.compares.iter().map(|c| c.key().space());
        let spaces = spaces.chain(txn.ops.iter().map(|op| op.key().space()));
        let kinds = self.kinds_of(spaces, deadline).await?;
        txn.check_spaces(|space| kinds.get(space).copied())?;

        let request = self.request(&txn, author);
        let kind = if txn.ops.is_empty() { Kind::Read } else { Kind::Write };
        let answer = self
            .pool
            .call(kind, deadline, |mut client| {
                let request = request.clone();
                async move { client.txn(request).await.map_err(Fault::from) }
            })
            .await?;
        let (succeeded, revision, responses) = take_apart(answer)?;
        if succeeded {
            self.saw(revision);
            let written = version(raw(revision.0));
            let slot = |op: &Op| (!matches!(op, Op::Delete { .. })).then_some(written);
            let versions = txn.ops.iter().map(slot).collect();
            return Ok(TxnOutcome::Committed { revision, versions });
        }
        let ranges = responses.into_iter().map(|response| response.range()).collect();
        self.why(&txn, author, ranges)
    }

    fn request(&self, txn: &Txn, author: Option<Author>) -> RawTxn {
        let mut when = vec![self.same_cluster()];
        let mut otherwise = vec![self.id_key.clone()];
        if let Some(author) = author {
            let marker = self.layout.session(author.id);
            when.push(created_at(marker.clone(), author.marker));
            otherwise.push(marker);
        }
        when.extend(txn.compares.iter().map(|compare| self.compare(compare)));
        otherwise.extend(txn.compares.iter().map(|compare| self.layout.key(compare.key())));
        let mut ops: Vec<TxnOp> = txn.ops.iter().map(|op| self.op(op, author)).collect();
        if !ops.is_empty() && txn.ops.iter().all(|op| matches!(op, Op::Delete { .. })) {
            // Deleting nothing would leave the revision as it is (T10).
            ops.push(TxnOp::put(self.layout.tick(), "", None));
        }
        let keys_only = |key| TxnOp::get(key, Some(GetOptions::new().with_keys_only()));
        let otherwise: Vec<TxnOp> = otherwise.into_iter().map(keys_only).collect();
        RawTxn::new().when(when).and_then(ops).or_else(otherwise)
    }

    fn compare(&self, compare: &Compare) -> RawCompare {
        let key = self.layout.key(compare.key());
        match compare {
            Compare::Absent(_) => RawCompare::create_revision(key, CompareOp::Equal, 0),
            Compare::Exists(_) => RawCompare::create_revision(key, CompareOp::NotEqual, 0),
            // A foreign version that could mean "absent" must fail.
            Compare::Version(_, version) => {
                let modified = if version.0[0] == 0 { -1 } else { raw(version.0[0]) };
                RawCompare::mod_revision(key, CompareOp::Equal, modified)
            }
            Compare::Fence(fence) => created_at(key, fence.token),
        }
    }

    fn op(&self, op: &Op, author: Option<Author>) -> TxnOp {
        let key = self.layout.key(op.key());
        match op {
            Op::Put { value, .. } => TxnOp::put(key, value.to_vec(), None),
            Op::PutEphemeral { value, .. } => {
                let lease = author.map_or(0, |author| author.id.0.cast_signed());
                TxnOp::put(key, value.to_vec(), Some(PutOptions::new().with_lease(lease)))
            }
            Op::Delete { .. } => TxnOp::delete(key, None),
        }
    }

    /// What the else branch saw, in the order of [`Core::request`].
    fn why(&self, txn: &Txn, author: Option<Author>, ranges: Vec<Range>) -> Result<TxnOutcome> {
        let mut ranges = ranges.into_iter();
        let mut next = || ranges.next().unwrap_or_default().into_iter().next();
        if next().map(|kv| kv.create_revision) != Some(self.id_created) {
            return Err(ErrorKind::ClusterReplaced.into());
        }
        if let Some(author) = author {
            let marker = next().map(|kv| kv.create_revision);
            if marker != Some(raw(author.marker.0)) {
                return Err(Error::none(ErrorKind::SessionLost).because("its marker is gone"));
            }
        }
        let holds = |compare: &Compare, entry: Option<Entry>| compare.holds(entry.as_ref());
        let mut entry = |key: &Key| next().map(|kv| entry_of(key.clone(), kv));
        let failed = txn.compares.iter().position(|compare| {
            let entry = entry(compare.key());
            !holds(compare, entry)
        });
        Ok(TxnOutcome::Conflict { failed })
    }
}

fn created_at(key: String, revision: Revision) -> RawCompare {
    // 0 would mean "absent".
    let created = if revision.0 == 0 { -1 } else { raw(revision.0) };
    RawCompare::create_revision(key, CompareOp::Equal, created)
}
