//! A watch as a member serves it: a position in the history, moved when its space is touched.
//!
//! The history is the buffer of every stream at once; a stream holds a position and at most one
//! look's events. A slow one gets its changes merged, then a snapshot (W15).

use crate::history::Since;
use crate::shared::Shared;
use coord_api::{
    Change, Entry, Error, ErrorKind, LostReason, Prefix, Revision, WatchEvent, WatchOpts,
};
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Entries, and bytes of values, in one part of a snapshot.
const PART_ENTRIES: usize = 1000;
const PART_BYTES: usize = 1 << 20;

pub struct Watching {
    shared: Arc<Shared>,
    bell: watch::Receiver<u64>,
    prefix: Prefix,
    opts: WatchOpts,
    closed: CancellationToken,
    stage: Stage,
    /// Everything up to here has been looked at.
    position: u64,
    pending: VecDeque<WatchEvent>,
    last_event: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Stage {
    Start,
    Following,
    Over,
}

impl Watching {
    /// A stream that ends with `Closed` once `closed` is cancelled.
    pub fn new(
        shared: Arc<Shared>,
        prefix: Prefix,
        opts: WatchOpts,
        closed: CancellationToken,
    ) -> Watching {
        Watching {
            bell: shared.space(prefix.space()),
            shared,
            prefix,
            opts,
            closed,
            stage: Stage::Start,
            position: 0,
            pending: VecDeque::new(),
            last_event: Instant::now(),
        }
    }

    /// The next event; `None` after `Closed`.
    pub async fn next(&mut self) -> Option<WatchEvent> {
        loop {
            if self.stage == Stage::Over {
                return None;
            }
            if self.closed.is_cancelled() {
                return self.end(ErrorKind::Closed);
            }
            if let Some(event) = self.pending.pop_front() {
                self.last_event = Instant::now();
                return Some(event);
            }
            if self.stage == Stage::Following {
                self.look();
            } else if self.begin() {
                self.stage = Stage::Following;
            } else {
                return self.end(ErrorKind::UnknownSpace);
            }
            if self.pending.is_empty() {
                self.wait().await;
            }
        }
    }

    /// The next event if it is there already.
    pub fn ready(&mut self) -> Option<WatchEvent> {
        self.pending.pop_front()
    }

    fn end(&mut self, kind: ErrorKind) -> Option<WatchEvent> {
        self.stage = Stage::Over;
        Some(WatchEvent::Closed(Error::none(kind)))
    }

    async fn wait(&mut self) {
        let progress = self.opts.progress_every.map(|every| self.last_event + every);
        let timer = async {
            match progress {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.closed.cancelled() => {}
            _ = self.bell.changed() => {}
            () = timer => {
                let revision = Revision(self.shared.state.read().applied);
                self.look();
                if self.pending.is_empty() {
                    self.pending.push_back(WatchEvent::Progress { revision });
                }
            }
        }
    }

    /// The stream's first events; `false` if the space is unknown.
    fn begin(&mut self) -> bool {
        let shared = self.shared.clone();
        let state = shared.state.read();
        if state.kind(self.prefix.space()).is_none() {
            return false;
        }
        match self.opts.start_after.map(|revision| revision.0) {
            Some(after) if after <= state.applied => {
                if state.history.resumes(after, self.prefix.space()) {
                    self.position = after;
                    let revision = Revision(after);
                    self.pending.push_back(WatchEvent::Synced { revision, resumed: true });
                } else {
                    let reason = LostReason::Compacted;
                    self.pending.push_back(WatchEvent::Lost { reason });
                    self.snapshot(&state);
                }
            }
            _ => self.snapshot(&state),
        }
        true
    }

    /// Takes up what happened since the last look.
    fn look(&mut self) {
        let shared = self.shared.clone();
        let state = shared.state.read();
        let buffer = self.opts.buffer.unwrap_or(WatchOpts::BUFFER).max(1);
        match state.history.since(self.position, &self.prefix, buffer) {
            Since::Each(batches) => {
                for (revision, changes) in batches {
                    self.changes(revision, changes);
                }
                self.position = state.applied;
            }
            Since::Merged(revision, changes) => {
                if !changes.is_empty() {
                    self.changes(revision, changes);
                }
                self.position = state.applied;
            }
            Since::Overflow => self.lose(LostReason::Overflow, &state),
            // Connected all the while: only a slow reader falls out of the history.
            Since::Compacted => self.lose(LostReason::Overflow, &state),
        }
    }

    fn changes(&mut self, revision: u64, changes: Vec<Change>) {
        let bare = self.opts.keys_only;
        let changes = changes.into_iter().map(|change| match change {
            Change::Put(entry) => Change::Put(bared(entry, bare)),
            delete => delete,
        });
        let (revision, changes) = (Revision(revision), changes.collect());
        self.pending.push_back(WatchEvent::Changes { revision, changes });
    }

    fn lose(&mut self, reason: LostReason, state: &crate::state::State) {
        self.pending.push_back(WatchEvent::Lost { reason });
        self.snapshot(state);
    }

    fn snapshot(&mut self, state: &crate::state::State) {
        let mut part = Vec::new();
        let mut bytes = 0;
        for entry in state.range(&self.prefix, None) {
            if part.len() >= PART_ENTRIES || bytes >= PART_BYTES {
                let entries = std::mem::take(&mut part);
                self.pending.push_back(WatchEvent::Snapshot { entries, more: true });
                bytes = 0;
            }
            let entry = bared(entry.clone(), self.opts.keys_only);
            bytes += entry.value.len();
            part.push(entry);
        }
        self.pending.push_back(WatchEvent::Snapshot { entries: part, more: false });
        let revision = Revision(state.applied);
        self.pending.push_back(WatchEvent::Synced { revision, resumed: false });
        self.position = state.applied;
    }
}

fn bared(mut entry: Entry, bare: bool) -> Entry {
    if bare {
        entry.value = bytes::Bytes::new();
    }
    entry
}
