//! Every key string of the daemon, in one place.
//!
//! Names are flat and at most 200 bytes; a name built from a user's text is hashed when it is
//! long, and the record carries the text itself. `.` separates because stores never escape it.

use crate::model::{NodeId, VolumeName};
use coord_api::{Key, Prefix, Space};
use std::sync::LazyLock;
use uuid::Uuid;
use xxhash_rust::xxh64::xxh64;

/// Persistent records of all pools on one ensemble.
pub static CONFIG: LazyLock<Space> = LazyLock::new(|| space("config"));
/// Session-bound announcements of running daemons.
pub static ALIVE: LazyLock<Space> = LazyLock::new(|| space("alive"));
/// What became of each node's last changes.
pub static RECEIPTS: LazyLock<Space> = LazyLock::new(|| space("receipts"));
/// Which pool each node belongs to.
pub static MEMBERS: LazyLock<Space> = LazyLock::new(|| space("members"));
/// Session-bound: every daemon that runs on the ensemble, whatever its pool.
pub static REGISTRY: LazyLock<Space> = LazyLock::new(|| space("registry"));
/// Session-bound: questions to nodes, by the session of whoever asks.
pub static QUESTIONS: LazyLock<Space> = LazyLock::new(|| space("questions"));
/// Session-bound: answers, by the session of whoever answers.
pub static ANSWERS: LazyLock<Space> = LazyLock::new(|| space("answers"));

/// Longest user text that goes into a name as it stands: three bytes each when escaped, beside a
/// pool's uuid.
const PLAIN_BYTES_MAX: usize = 60;

fn space(name: &str) -> Space {
    Space::new(name).expect("a literal of [a-z]")
}

fn key(space: &Space, name: &str) -> Key {
    Key::new(space, name).expect("uuids, letters and dots within the length limit")
}

/// The record that says which pool a node belongs to. It names no other key.
pub fn member(node: NodeId) -> Key {
    key(&MEMBERS, &node.to_string())
}

pub fn member_prefix(node: NodeId) -> Prefix {
    Prefix::new(&MEMBERS, &node.to_string()).expect("a uuid")
}

/// What is addressed to a node, or to all of a pool, in [`QUESTIONS`] or [`ANSWERS`].
pub fn letters_to(space: &Space, addressee: Uuid) -> Prefix {
    Prefix::new(space, &format!("{addressee}.")).expect("a uuid and a dot")
}

/// One sheet of a letter, before the session's suffix: addressee, letter, sheet, sheets.
pub fn sheet(addressee: Uuid, letter: Uuid, sheet: usize, sheets: usize) -> String {
    format!("{addressee}.{letter}.{sheet}.{sheets}")
}

/// Letter, sheet and number of sheets of a name that [`sheet`] made.
pub fn read_sheet(stem: &str) -> Option<(Uuid, usize, usize)> {
    let mut parts = stem.split('.').skip(1);
    let letter = Uuid::try_parse(parts.next()?).ok()?;
    let (at, of) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    (at < of).then_some((letter, at, of))
}

/// The names of one pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool(pub Uuid);

/// What a key of [`CONFIG`] holds, told from its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holds {
    Volume,
    Peer,
    Global,
    Bricks,
    Progress,
    Other,
}

impl Pool {
    pub fn prefix(self) -> Prefix {
        Prefix::new(&CONFIG, &format!("{}.", self.0)).expect("a uuid and a dot")
    }

    pub fn volumes_prefix(self) -> Prefix {
        Prefix::new(&CONFIG, &format!("{}.volume.", self.0)).expect("a uuid and a word")
    }

    pub fn peers_prefix(self) -> Prefix {
        Prefix::new(&CONFIG, &format!("{}.peer.", self.0)).expect("a uuid and a word")
    }

    pub fn alive_prefix(self) -> Prefix {
        Prefix::new(&ALIVE, &format!("{}.", self.0)).expect("a uuid and a dot")
    }

    pub fn volume(self, name: &VolumeName) -> Key {
        key(&CONFIG, &format!("{}.volume.{}", self.0, bounded(name.as_str())))
    }

    pub fn peer(self, node: NodeId) -> Key {
        key(&CONFIG, &format!("{}.peer.{node}", self.0))
    }

    pub fn global(self) -> Key {
        key(&CONFIG, &format!("{}.global", self.0))
    }

    /// Changed by every change of the set of bricks: whoever checked the bricks of the whole pool
    /// guards its change with this key's version. See docs/decisions/0004.
    pub fn bricks(self) -> Key {
        key(&CONFIG, &format!("{}.bricks", self.0))
    }

    /// Written by every change: who reads it knows which image has taken in all that was finished.
    pub fn changed(self) -> Key {
        key(&CONFIG, &format!("{}.changed", self.0))
    }

    /// How a task ended on a node; written by that node, and removed by it when the task is of no
    /// volume any more.
    pub fn progress(self, task: Uuid, node: NodeId) -> Key {
        key(&CONFIG, &format!("{}.progress.{task}.{node}", self.0))
    }

    /// Name of this node's announcement, before the session's suffix.
    pub fn alive_name(self, node: NodeId) -> String {
        format!("{}.{node}", self.0)
    }

    pub fn holds(self, key: &Key) -> Holds {
        let pool = self.0.to_string();
        let Some(rest) = key.name().strip_prefix(&pool).and_then(|r| r.strip_prefix('.')) else {
            return Holds::Other;
        };
        match rest.split_once('.').map_or(rest, |(first, _)| first) {
            "volume" => Holds::Volume,
            "peer" => Holds::Peer,
            "global" => Holds::Global,
            "bricks" => Holds::Bricks,
            "progress" => Holds::Progress,
            _ => Holds::Other,
        }
    }
}

/// `~` cannot start a volume name, so a hashed name meets no plain one.
fn bounded(text: &str) -> String {
    if text.len() <= PLAIN_BYTES_MAX {
        return text.to_owned();
    }
    let (a, b) = (xxh64(text.as_bytes(), 0), xxh64(text.as_bytes(), 1));
    format!("~{a:016x}{b:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_names_fit() {
        let pool = Pool(Uuid::max());
        for text in ["a".repeat(255), "_".repeat(255), "-".repeat(60).replacen('-', "x", 1)] {
            let name = VolumeName::parse(&text).unwrap();
            assert_eq!(pool.holds(&pool.volume(&name)), Holds::Volume);
        }
        assert_eq!(pool.holds(&pool.peer(NodeId(Uuid::max()))), Holds::Peer);
        assert_eq!(pool.holds(&pool.global()), Holds::Global);
        assert_eq!(pool.holds(&pool.progress(Uuid::max(), NodeId(Uuid::max()))), Holds::Progress);
        assert_eq!(pool.holds(&pool.bricks()), Holds::Bricks);
        assert_eq!(Pool(Uuid::nil()).holds(&pool.global()), Holds::Other);
    }

    #[test]
    fn a_sheet_is_found_by_its_name() {
        let (node, letter) = (NodeId(Uuid::max()), Uuid::max());
        assert_eq!(read_sheet(&sheet(node.0, letter, 63, 64)), Some((letter, 63, 64)));
        for wrong in ["", "a.b.0.1", "x.ffffffff-ffff-ffff-ffff-ffffffffffff.1.1"] {
            assert_eq!(read_sheet(wrong), None, "{wrong}");
        }
        let session = coord_api::SessionId(u64::MAX);
        assert!(Key::ephemeral(&ANSWERS, &sheet(node.0, letter, 63, 64), session, 0).is_ok());
    }
}
