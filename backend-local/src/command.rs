//! What goes through the log, and what applying it answers.
//!
//! These are disk and wire types: only append variants, never reorder. Everything a command
//! needs to be applied is inside it: no clock, no randomness, so every member gets the same state.

use crate::codec;
use bytes::Bytes;
use coord_api::{Key, Op, Revision, Space, SpaceKind, TxnOutcome, Version};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::sync::Arc;

/// A command, shared between log, network and state machine without copying.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposal(pub Arc<Command>);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Command {
    EnsureSpace {
        #[serde(with = "codec::space")]
        space: Space,
        kind: Kind,
    },
    /// With `session`, refused unless that session lives.
    Txn {
        session: Option<u64>,
        compares: Vec<Compare>,
        ops: Vec<Write>,
    },
    /// The session's id is [`session_id`] of the salt and this entry's index.
    OpenSession {
        ttl_ms: u64,
        name: String,
        home: Option<Home>,
        salt: u32,
    },
    CloseSession {
        id: u64,
    },
    /// Raises the epoch of each, so that an expiry proposed before is void.
    Heartbeat {
        ids: Vec<u64>,
    },
    /// Ends each session that still has the epoch the proposer saw.
    Expire {
        sessions: Vec<(u64, u64)>,
    },
}

/// The process a session lives in, when that process is a member itself: once the member runs
/// again under a later incarnation, the session's holder is certainly dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Home {
    pub node: u64,
    pub incarnation: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    Persistent,
    Ephemeral,
}

/// [`coord_api::Compare`]; a version is the revision that wrote it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Compare {
    Absent(#[serde(with = "codec::key")] Key),
    Exists(#[serde(with = "codec::key")] Key),
    Modified(#[serde(with = "codec::key")] Key, u64),
    Created(#[serde(with = "codec::key")] Key, u64),
    /// Never holds: a version this store cannot have given.
    Never(#[serde(with = "codec::key")] Key),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Write {
    Put(#[serde(with = "codec::key")] Key, #[serde(with = "codec::blob")] Bytes),
    PutEphemeral(#[serde(with = "codec::key")] Key, #[serde(with = "codec::blob")] Bytes),
    Delete(#[serde(with = "codec::key")] Key),
}

/// What a command did. The revision is the index of its entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    Done {
        revision: u64,
    },
    Committed {
        revision: u64,
        written: Vec<bool>,
    },
    Conflict {
        failed: u32,
    },
    /// For `Heartbeat`: which of the sessions no longer exist.
    Beaten {
        gone: Vec<u64>,
    },
    SessionLost,
    UnknownSpace,
    WrongSpaceKind,
}

impl Command {
    /// Bytes of names and values, about what the entry costs in memory and on disk.
    pub fn weight(&self) -> usize {
        match self {
            Command::Txn { compares, ops, .. } => {
                compares.len() * 64 + ops.iter().map(Write::weight).sum::<usize>() + 64
            }
            Command::Heartbeat { ids } => 64 + ids.len() * 8,
            Command::Expire { sessions } => 64 + sessions.len() * 16,
            _ => 128,
        }
    }
}

impl Write {
    pub fn key(&self) -> &Key {
        match self {
            Write::Put(key, _) | Write::PutEphemeral(key, _) | Write::Delete(key) => key,
        }
    }

    fn weight(&self) -> usize {
        match self {
            Write::Put(key, value) | Write::PutEphemeral(key, value) => {
                key.name().len() + value.len() + 64
            }
            Write::Delete(key) => key.name().len() + 64,
        }
    }
}

impl Compare {
    pub fn key(&self) -> &Key {
        match self {
            Compare::Absent(key)
            | Compare::Exists(key)
            | Compare::Modified(key, _)
            | Compare::Created(key, _)
            | Compare::Never(key) => key,
        }
    }
}

/// Never given twice in a cluster, for the index is not; the salt, 23 bits drawn by whoever
/// opens the session, keeps ids of different clusters apart. An index takes 40 bits.
pub fn session_id(salt: u32, index: u64) -> u64 {
    u64::from(salt & 0x7f_ffff) << 40 | index & 0xff_ffff_ffff
}

/// The version of a key written at a revision.
pub fn version(revision: u64) -> Version {
    Version([revision, 0, 0])
}

impl From<&coord_api::Compare> for Compare {
    fn from(compare: &coord_api::Compare) -> Compare {
        match compare {
            coord_api::Compare::Absent(key) => Compare::Absent(key.clone()),
            coord_api::Compare::Exists(key) => Compare::Exists(key.clone()),
            coord_api::Compare::Version(key, Version([revision, 0, 0])) => {
                Compare::Modified(key.clone(), *revision)
            }
            coord_api::Compare::Version(key, _) => Compare::Never(key.clone()),
            coord_api::Compare::Fence(fence) => Compare::Created(fence.key.clone(), fence.token.0),
        }
    }
}

impl From<&Op> for Write {
    fn from(op: &Op) -> Write {
        match op {
            Op::Put { key, value } => Write::Put(key.clone(), value.clone()),
            Op::PutEphemeral { key, value } => Write::PutEphemeral(key.clone(), value.clone()),
            Op::Delete { key } => Write::Delete(key.clone()),
        }
    }
}

impl From<SpaceKind> for Kind {
    fn from(kind: SpaceKind) -> Kind {
        match kind {
            SpaceKind::Persistent => Kind::Persistent,
            SpaceKind::Ephemeral => Kind::Ephemeral,
        }
    }
}

impl From<Kind> for SpaceKind {
    fn from(kind: Kind) -> SpaceKind {
        match kind {
            Kind::Persistent => SpaceKind::Persistent,
            Kind::Ephemeral => SpaceKind::Ephemeral,
        }
    }
}

impl Reply {
    /// As the caller of a transaction sees it; `None` for a reply no transaction has.
    pub fn outcome(&self) -> Option<coord_api::Result<TxnOutcome>> {
        use coord_api::ErrorKind;
        Some(match self {
            Reply::Committed { revision, written } => Ok(TxnOutcome::Committed {
                revision: Revision(*revision),
                versions: written.iter().map(|put| put.then(|| version(*revision))).collect(),
            }),
            Reply::Conflict { failed } => {
                Ok(TxnOutcome::Conflict { failed: Some(*failed as usize) })
            }
            Reply::SessionLost => Err(ErrorKind::SessionLost.into()),
            Reply::UnknownSpace => Err(ErrorKind::UnknownSpace.into()),
            Reply::WrongSpaceKind => Err(ErrorKind::WrongSpaceKind.into()),
            Reply::Done { .. } | Reply::Beaten { .. } => return None,
        })
    }
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &*self.0 {
            Command::EnsureSpace { .. } => "ensure-space",
            Command::Txn { .. } => "txn",
            Command::OpenSession { .. } => "open-session",
            Command::CloseSession { .. } => "close-session",
            Command::Heartbeat { .. } => "heartbeat",
            Command::Expire { .. } => "expire",
        })
    }
}

impl Serialize for Proposal {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(s)
    }
}

impl<'de> Deserialize<'de> for Proposal {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Proposal, D::Error> {
        Command::deserialize(d).map(|command| Proposal(Arc::new(command)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes are a promise to every later version: a change here needs a new version byte.
    #[test]
    fn the_form_on_disk_is_fixed() {
        let space = Space::new("config").unwrap();
        let key = Key::new(&space, "k").unwrap();
        let check = |command: Command, bytes: &[u8]| {
            assert_eq!(postcard::to_stdvec(&command).unwrap(), bytes, "{command:?}");
            assert_eq!(postcard::from_bytes::<Command>(bytes).unwrap(), command);
        };
        check(
            Command::EnsureSpace { space, kind: Kind::Ephemeral },
            &[0, 6, b'c', b'o', b'n', b'f', b'i', b'g', 1],
        );
        check(
            Command::Txn {
                session: Some(3),
                compares: vec![Compare::Modified(key.clone(), 300)],
                ops: vec![Write::Put(key, Bytes::from_static(b"v"))],
            },
            b"\x01\x01\x03\x01\x02\x06config\x01k\xac\x02\x01\x00\x06config\x01k\x01v",
        );
        check(
            Command::OpenSession {
                ttl_ms: 1,
                name: "n".into(),
                home: Some(Home { node: 2, incarnation: 3 }),
                salt: 4,
            },
            &[2, 1, 1, b'n', 1, 2, 3, 4],
        );
        check(Command::CloseSession { id: 5 }, &[3, 5]);
        check(Command::Heartbeat { ids: vec![5] }, &[4, 1, 5]);
        check(Command::Expire { sessions: vec![(5, 6)] }, &[5, 1, 5, 6]);
    }
}
