//! What is said over a proven connection: calls and answers, watches, signs of life.
//!
//! One protocol for masters and clients. These are wire types: only append variants, never
//! reorder. A message is one of these in postcard.

use crate::codec;
use crate::command::{Proposal, Reply};
use crate::raft::Member;
use crate::secure::Secret;
use crate::state::{ChangeDump, EntryDump};
use crate::wire::{PeerReply, PeerRequest, Refusal};
use coord_api::{Change, Entry, Key, LostReason, Prefix, Revision, Snapshot, Space, WatchEvent};
use serde::{Deserialize, Serialize};

/// The longest message a listener takes from a client: a transaction and what is around it.
pub const REQUEST_MAX: usize = 2 << 20;
/// The longest message between masters and towards a client: a snapshot, a whole listing.
pub const MESSAGE_MAX: usize = 1 << 30;
/// Batches of events a stream may have under way.
pub const WINDOW: u32 = 4;

/// From the dialer.
#[derive(Debug, Serialize, Deserialize)]
pub enum Up {
    Call {
        id: u64,
        ask: Ask,
    },
    Watch {
        id: u64,
        watch: WatchForm,
    },
    /// So many batches of events have been taken.
    Credit {
        id: u64,
        batches: u32,
    },
    Unwatch {
        id: u64,
    },
    Ping,
}

/// From the listener.
#[derive(Debug, Serialize, Deserialize)]
pub enum Down {
    Answer {
        id: u64,
        answer: Answer,
    },
    Events {
        id: u64,
        events: Vec<EventForm>,
    },
    Pong,
    /// Said first, and whenever it changes.
    Standing(Standing),
}

/// What a call asks for. Times are what is left of the caller's, in milliseconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Ask {
    /// To that member and no other one that may listen at its address by now.
    Peer {
        to: u64,
        request: PeerRequest,
    },
    Propose {
        command: Proposal,
        timeout_ms: u64,
    },
    Read {
        keys: Vec<KeyForm>,
        fresh: Fresh,
        timeout_ms: u64,
    },
    List {
        prefix: PrefixForm,
        after: Option<KeyForm>,
        limit: u64,
        fresh: Fresh,
        timeout_ms: u64,
    },
    /// A heartbeat that is not logged.
    Touch {
        session: u64,
        timeout_ms: u64,
    },
    /// A heartbeat in the log.
    Beat {
        session: u64,
        timeout_ms: u64,
    },
    /// To the leader: take this running, empty member in, or note its new name or address.
    Admit {
        node: u64,
        member: Member,
        voter: bool,
    },
    /// To the leader: let this member go.
    Dismiss {
        node: u64,
    },
    /// With an invitation: the pool's secret, veiled with the invitation's, and who is there.
    Join,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Answer {
    Peer(PeerReply),
    Proposed(Result<Reply, Refusal>),
    Read(Result<SnapshotForm, Refusal>),
    Beaten(Result<(), Refusal>),
    Changed(Result<(), Refusal>),
    Joined {
        cluster: [u8; 16],
        salt: [u8; 16],
        veiled: Secret,
        masters: Vec<String>,
    },
    /// Not served on this connection.
    Refused(Refusal),
}

/// How new an answer must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fresh {
    Linearizable,
    /// Waits until this revision is there.
    Reaches(u64),
    /// The same, and a revision beyond the present is an error.
    NotOlderThan(u64),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyForm(#[serde(with = "codec::key")] pub Key);

/// Space and first bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrefixForm(#[serde(with = "codec::space")] Space, String);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchForm {
    pub prefix: PrefixForm,
    /// Begin no older than this (W7).
    pub floor: u64,
    pub start_after: Option<u64>,
    pub keys_only: bool,
    pub progress_ms: Option<u64>,
    pub buffer: Option<u32>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SnapshotForm {
    pub entries: Vec<EntryDump>,
    pub revision: u64,
    pub more: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum EventForm {
    Snapshot {
        entries: Vec<EntryDump>,
        more: bool,
    },
    Synced {
        revision: u64,
        resumed: bool,
    },
    Changes {
        revision: u64,
        changes: Vec<ChangeDump>,
    },
    Progress {
        revision: u64,
    },
    Compacted,
    Overflow,
    UnknownSpace,
    /// The master stops; go to another.
    Leaving,
}

/// How things stand at the listener.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    pub cluster: [u8; 16],
    pub node: u64,
    /// Why linearizable reads do not work, if so.
    pub trouble: Option<String>,
    pub leader: Option<u64>,
    pub members: Vec<MemberForm>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberForm {
    pub node: u64,
    pub member: Member,
    pub voter: bool,
}

impl PrefixForm {
    pub fn parse(self) -> coord_api::Result<Prefix> {
        Prefix::new(&self.0, &self.1)
    }
}

impl From<&Prefix> for PrefixForm {
    fn from(prefix: &Prefix) -> PrefixForm {
        PrefixForm(prefix.space().clone(), prefix.name().to_owned())
    }
}

impl From<(Snapshot, bool)> for SnapshotForm {
    fn from((snapshot, more): (Snapshot, bool)) -> SnapshotForm {
        let entries = snapshot.entries.iter().map(EntryDump::from).collect();
        SnapshotForm { entries, revision: snapshot.revision.0, more }
    }
}

impl From<SnapshotForm> for (Snapshot, bool) {
    fn from(form: SnapshotForm) -> (Snapshot, bool) {
        let entries = form.entries.into_iter().map(Entry::from).collect();
        (Snapshot { entries, revision: Revision(form.revision) }, form.more)
    }
}

impl From<&WatchEvent> for EventForm {
    fn from(event: &WatchEvent) -> EventForm {
        match event {
            WatchEvent::Snapshot { entries, more } => EventForm::Snapshot {
                entries: entries.iter().map(EntryDump::from).collect(),
                more: *more,
            },
            WatchEvent::Synced { revision, resumed } => {
                EventForm::Synced { revision: revision.0, resumed: *resumed }
            }
            WatchEvent::Changes { revision, changes } => EventForm::Changes {
                revision: revision.0,
                changes: changes.iter().map(ChangeDump::from).collect(),
            },
            WatchEvent::Progress { revision } => EventForm::Progress { revision: revision.0 },
            WatchEvent::Lost { reason: LostReason::Compacted } => EventForm::Compacted,
            WatchEvent::Lost { .. } => EventForm::Overflow,
            WatchEvent::Closed(error) if error.kind == coord_api::ErrorKind::UnknownSpace => {
                EventForm::UnknownSpace
            }
            WatchEvent::Closed(_) => EventForm::Leaving,
        }
    }
}

impl EventForm {
    /// As the consumer sees it; `None` for [`EventForm::Leaving`], which is not for him.
    pub fn event(self) -> Option<WatchEvent> {
        Some(match self {
            EventForm::Snapshot { entries, more } => WatchEvent::Snapshot {
                entries: entries.into_iter().map(Entry::from).collect(),
                more,
            },
            EventForm::Synced { revision, resumed } => {
                WatchEvent::Synced { revision: Revision(revision), resumed }
            }
            EventForm::Changes { revision, changes } => WatchEvent::Changes {
                revision: Revision(revision),
                changes: changes.into_iter().map(Change::from).collect(),
            },
            EventForm::Progress { revision } => {
                WatchEvent::Progress { revision: Revision(revision) }
            }
            EventForm::Compacted => WatchEvent::Lost { reason: LostReason::Compacted },
            EventForm::Overflow => WatchEvent::Lost { reason: LostReason::Overflow },
            EventForm::UnknownSpace => {
                WatchEvent::Closed(coord_api::ErrorKind::UnknownSpace.into())
            }
            EventForm::Leaving => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes<T: Serialize>(value: &T) -> Vec<u8> {
        postcard::to_stdvec(value).unwrap()
    }

    /// Every message cut at every byte is an error, never half of one.
    #[test]
    fn cut_messages_are_errors() {
        let space = Space::new("config").unwrap();
        let key = KeyForm(Key::new(&space, "k").unwrap());
        let prefix = PrefixForm::from(&Prefix::all(&space));
        let watch = WatchForm {
            prefix: prefix.clone(),
            floor: 3,
            start_after: Some(2),
            keys_only: true,
            progress_ms: Some(500),
            buffer: None,
        };
        let fresh = Fresh::NotOlderThan(9);
        let asks = [
            Ask::Read { keys: vec![key.clone()], fresh, timeout_ms: 300 },
            Ask::List { prefix, after: Some(key), limit: 7, fresh, timeout_ms: 300 },
            Ask::Touch { session: 5, timeout_ms: 300 },
            Ask::Admit { node: 1, member: Member::default(), voter: true },
        ];
        let mut all: Vec<Up> = asks.into_iter().map(|ask| Up::Call { id: 1, ask }).collect();
        all.extend([Up::Watch { id: 2, watch }, Up::Credit { id: 2, batches: 1 }]);
        for message in all {
            let whole = bytes(&message);
            let back: Up = postcard::from_bytes(&whole).unwrap();
            assert_eq!(bytes(&back), whole, "{message:?}");
            for cut in 0..whole.len() {
                assert!(postcard::from_bytes::<Up>(&whole[..cut]).is_err(), "{message:?} at {cut}");
            }
        }
    }

    #[test]
    fn a_name_no_space_can_have_is_refused() {
        assert!(postcard::from_bytes::<PrefixForm>(&[1, b'A', 0]).is_err());
        let long = PrefixForm(Space::new("s").unwrap(), "x".repeat(300));
        assert!(long.parse().is_err());
    }
}
