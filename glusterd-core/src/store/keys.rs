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

/// Longest user text that goes into a name as it stands: three bytes each when escaped, beside a
/// pool's uuid.
const PLAIN_BYTES_MAX: usize = 60;

fn space(name: &str) -> Space {
    Space::new(name).expect("a literal of [a-z]")
}

fn key(space: &Space, name: &str) -> Key {
    Key::new(space, name).expect("uuids, letters and dots within the length limit")
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
    Other,
}

impl Pool {
    pub fn prefix(self) -> Prefix {
        Prefix::new(&CONFIG, &format!("{}.", self.0)).expect("a uuid and a dot")
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
        assert_eq!(pool.holds(&pool.bricks()), Holds::Bricks);
        assert_eq!(Pool(Uuid::nil()).holds(&pool.global()), Holds::Other);
    }
}
