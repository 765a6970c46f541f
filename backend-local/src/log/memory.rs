//! What the log keeps in memory: its last entries, and marks of what is on disk.

use crate::raft::{LogEntry, LogId, Vote, weight};
use std::collections::VecDeque;

pub const MEMORY_BYTES_MAX: usize = 16 << 20;

#[derive(Default)]
pub struct Memory {
    /// The last entries, contiguous.
    pub entries: VecDeque<LogEntry>,
    pub bytes: usize,
    /// Everything up to this index is on disk.
    pub flushed: Option<u64>,
    pub last: Option<LogId>,
    pub purged: Option<LogId>,
    pub committed: Option<LogId>,
    pub vote: Option<Vote>,
}

impl Memory {
    pub fn first(&self) -> Option<u64> {
        self.entries.front().map(|entry| entry.log_id.index)
    }

    pub fn len(&self) -> u64 {
        self.entries.len() as u64
    }

    pub fn push(&mut self, entry: LogEntry) {
        self.bytes += weight(&entry);
        self.last = Some(entry.log_id);
        self.entries.push_back(entry);
    }

    /// Drops the oldest entries that are on disk while there are too many bytes.
    pub fn shed(&mut self) {
        while self.bytes > MEMORY_BYTES_MAX {
            match self.entries.front() {
                Some(entry) if Some(entry.log_id.index) <= self.flushed => self.drop_front(),
                _ => return,
            }
        }
    }

    pub fn drop_front(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.bytes -= weight(&entry);
        }
    }

    pub fn truncate_after(&mut self, last: Option<LogId>) {
        while self.entries.back().is_some_and(|entry| Some(entry.log_id) > last) {
            if let Some(entry) = self.entries.pop_back() {
                self.bytes -= weight(&entry);
            }
        }
        self.last = self.last.min(last);
        self.flushed = self.flushed.min(last.map(|id| id.index));
    }

    pub fn purge(&mut self, upto: LogId) {
        while self.first().is_some_and(|index| index <= upto.index) {
            self.drop_front();
        }
        self.purged = Some(upto);
        self.last = self.last.max(Some(upto));
    }
}
