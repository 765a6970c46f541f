//! Reads: one revision for all keys of an answer, whatever its size.
//!
//! The first page fixes the revision, the following ones ask for it. Compaction between two pages
//! of one listing starts it anew, a few times.

use crate::core::{ANSWER_MAX, Core, Range, entry_of, raw};
use crate::fault::Fault;
use crate::pool::Kind;
use coord_api::{
    Consistency, Entry, Error, ErrorKind, Key, Prefix, ReadOpts, Result, Revision, Snapshot,
};
use etcd_client::{GetOptions, TxnOp};
use tokio::time::Instant;

/// Keys of one transaction; etcd allows 128 operations.
const KEYS_AT_ONCE: usize = 100;
/// Keys of the first page; later ones are sized by what the last one weighed.
const FIRST_PAGE: usize = 128;
const PAGE: (usize, usize) = (16, 4096);
/// Bytes a page should have.
const PAGE_BYTES: usize = 4 << 20;
/// Listings begun anew because of compaction.
const RESTARTS: usize = 4;

impl Core {
    pub async fn get_many(&self, keys: &[Key], opts: ReadOpts) -> Result<Snapshot> {
        let deadline = self.deadline(opts.timeout);
        for key in keys {
            self.kind_of(key.space(), deadline).await?;
        }
        let mut sorted: Vec<&Key> = keys.iter().collect();
        sorted.sort();
        sorted.dedup();
        for _ in 0..RESTARTS {
            match self.get_sorted(&sorted, opts.consistency, deadline).await {
                Err(error) if is_compacted(&error) => continue,
                other => return other,
            }
        }
        Err(Error::none(ErrorKind::Overloaded).because("compacted again and again"))
    }

    async fn get_sorted(
        &self,
        keys: &[&Key],
        consistency: Consistency,
        deadline: Instant,
    ) -> Result<Snapshot> {
        let mut entries = Vec::new();
        let mut chunks = keys.chunks(KEYS_AT_ONCE);
        let first = chunks.next().unwrap_or(&[]);
        let ops = |keys: &[&Key], options: GetOptions| -> Vec<(Vec<u8>, GetOptions)> {
            keys.iter().map(|key| (self.layout.key(key).into_bytes(), options.clone())).collect()
        };
        let (ranges, revision) =
            self.consistent(ops(first, GetOptions::new()), consistency, deadline).await?;
        gather(&mut entries, first, ranges);
        for chunk in chunks {
            let fixed = GetOptions::new().with_revision(raw(revision.0));
            let ranges = ops(chunk, fixed).into_iter().map(to_op).collect();
            let (ranges, _) = self.read(Kind::Read, ranges, deadline).await?;
            gather(&mut entries, chunk, ranges);
        }
        self.saw(revision);
        Ok(Snapshot { entries, revision })
    }

    /// Reads as fresh as asked for: from one server's own state if that is fresh enough.
    async fn consistent(
        &self,
        gets: Vec<(Vec<u8>, GetOptions)>,
        consistency: Consistency,
        deadline: Instant,
    ) -> Result<(Vec<Range>, Revision)> {
        let floor = match consistency {
            Consistency::Linearizable => None,
            Consistency::Session => Some(self.highest()),
            Consistency::NotOlderThan(revision) => Some(revision),
        };
        if let Some(floor) = floor {
            let local =
                gets.iter().cloned().map(|(key, get)| to_op((key, get.with_serializable())));
            // An empty transaction would go through the quorum: read anything.
            let anything =
                (self.id_key.clone().into_bytes(), GetOptions::new().with_serializable());
            let local = local.chain([to_op(anything)]).collect();
            match self.read(Kind::Local, local, deadline).await {
                Ok((mut ranges, revision)) if revision >= floor => {
                    ranges.pop();
                    return Ok((ranges, revision));
                }
                Err(error) if error.kind != ErrorKind::Unavailable => return Err(error),
                _ => {}
            }
        }
        let anything = (self.id_key.clone().into_bytes(), GetOptions::new().with_count_only());
        let ops = gets.into_iter().chain([anything]).map(to_op).collect();
        let (mut ranges, revision) = self.read(Kind::Read, ops, deadline).await?;
        ranges.pop();
        match consistency {
            Consistency::NotOlderThan(wanted) if revision < wanted => {
                Err(ErrorKind::FutureRevision.into())
            }
            _ => Ok((ranges, revision)),
        }
    }

    pub async fn list_page(
        &self,
        prefix: &Prefix,
        after: Option<&Key>,
        limit: usize,
        opts: ReadOpts,
    ) -> Result<(Snapshot, bool)> {
        let deadline = self.deadline(opts.timeout);
        self.kind_of(prefix.space(), deadline).await?;
        for _ in 0..RESTARTS {
            match self.list_once(prefix, after, limit, opts.consistency, deadline).await {
                Err(error) if is_compacted(&error) => continue,
                other => {
                    other.iter().for_each(|(snapshot, _)| self.saw(snapshot.revision));
                    return other;
                }
            }
        }
        Err(Error::none(ErrorKind::Overloaded).because("compacted again and again"))
    }

    async fn list_once(
        &self,
        prefix: &Prefix,
        after: Option<&Key>,
        limit: usize,
        consistency: Consistency,
        deadline: Instant,
    ) -> Result<(Snapshot, bool)> {
        let (mut start, end) = self.layout.range(prefix);
        if let Some(after) = after {
            start = start.max(beyond(self.layout.key(after).as_bytes()));
        }
        if start >= end || limit == 0 {
            let (_, revision) = self.consistent(Vec::new(), consistency, deadline).await?;
            return Ok((Snapshot { entries: Vec::new(), revision }, limit == 0 && start < end));
        }
        // One key more than asked for tells whether there are more.
        let mut room = limit.saturating_add(1);
        let page = FIRST_PAGE.min(room);
        let first = GetOptions::new().with_range(end.clone()).with_limit(page as i64);
        let (ranges, revision) =
            self.consistent(vec![(start, first)], consistency, deadline).await?;
        let mut entries: Vec<Entry> = Vec::new();
        let mut range = ranges.into_iter().next().unwrap_or_default();
        let mut page = page;
        loop {
            let full = range.len() >= page;
            let weight: usize = range.iter().map(|kv| kv.key.len() + kv.value.len() + 64).sum();
            let last = range.last().map(|kv| beyond(&kv.key));
            room = room.saturating_sub(range.len());
            let count = range.len();
            entries.extend(range.into_iter().filter_map(|kv| self.entry(prefix.space(), kv)));
            let (Some(next), true) = (last, full && room > 0) else { break };
            page = (PAGE_BYTES / (weight / count).max(1)).clamp(PAGE.0, PAGE.1).min(room);
            range = self.page_at(next, end.clone(), page, revision, deadline).await?;
        }
        let more = entries.len() > limit;
        entries.truncate(limit);
        Ok((Snapshot { entries, revision }, more))
    }

    /// A page as of an older revision, from whichever server.
    async fn page_at(
        &self,
        start: Vec<u8>,
        end: Vec<u8>,
        page: usize,
        revision: Revision,
        deadline: Instant,
    ) -> Result<Range> {
        let options = GetOptions::new()
            .with_range(end)
            .with_limit(page as i64)
            .with_revision(raw(revision.0));
        let answer = self
            .pool
            .call(Kind::Read, deadline, |client| {
                let (start, options) = (start.clone(), options.clone());
                let mut kv = client.kv_client().max_decoding_message_size(ANSWER_MAX);
                async move { kv.get(start, Some(options)).await.map_err(Fault::from) }
            })
            .await?;
        Ok(answer.0.kvs)
    }
}

/// The least key greater than this one.
fn beyond(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

fn to_op((key, options): (Vec<u8>, GetOptions)) -> TxnOp {
    TxnOp::get(key, Some(options))
}

fn gather(entries: &mut Vec<Entry>, keys: &[&Key], ranges: Vec<Range>) {
    for (key, range) in keys.iter().zip(ranges) {
        entries.extend(range.into_iter().map(|kv| entry_of((*key).clone(), kv)));
    }
}

fn is_compacted(error: &Error) -> bool {
    matches!(error.kind, ErrorKind::Compacted { .. })
}
