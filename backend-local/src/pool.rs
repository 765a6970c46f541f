//! What a node keeps about its pool, and what it hands to a node that is to join.
//!
//! The file `pool` (sealed, mode 0600, replaced by rename): the cluster, its secret, where its
//! masters were last. A directory with this file and no `store.redb` is a client's.

use crate::codec::{seal, unseal};
use crate::layout::{Identity, replace_file};
use crate::secure::Secret;
use coord_api::{ClusterId, Error, ErrorKind, Key, Result, Space};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs::File;
use std::io;
use std::path::Path;

const FILE: &str = "pool";
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Longer is no invitation of ours.
const TEXT_MAX: usize = 16 << 10;

/// The keys the store keeps about itself: `node/NAME` (address), `invite/ID` (secret),
/// `wish/masters` (names, fixed by hand), `lost/NAME` (not to be a master while it is away),
/// `former/CLUSTER` (secret of a store whose place this one took).
pub fn own_space() -> Space {
    Space::new("coordlocal").expect("a legal name")
}

pub fn own_key(kind: &str, name: &str) -> Result<Key> {
    Key::new(&own_space(), &format!("{kind}/{name}"))
}

/// What a node must know to come back to its pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    pub cluster: [u8; 16],
    pub secret: Secret,
    /// `host:port`.
    pub masters: Vec<String>,
}

impl Pool {
    /// `None` where no node has been part of a pool yet.
    pub fn read(dir: &Path) -> io::Result<Option<Pool>> {
        let file = match File::open(dir.join(FILE)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut io::Read::take(file, FILE_BYTES_MAX), &mut bytes)?;
        unseal(&bytes, FILE).map(Some)
    }

    pub fn write(&self, dir: &Path) -> io::Result<()> {
        replace_file(dir, FILE, &seal(self)?)
    }
}

/// Lets one node join, once. Whoever has it can: it goes to that node and nowhere else, and not
/// into logs.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invitation {
    pub(crate) cluster: [u8; 16],
    pub(crate) id: [u8; 16],
    pub(crate) secret: Secret,
    pub(crate) masters: Vec<String>,
}

impl Invitation {
    pub(crate) fn draw(cluster: ClusterId, masters: Vec<String>) -> io::Result<Invitation> {
        let id = Identity::random_bytes()?;
        Ok(Invitation { cluster: cluster.0, id, secret: Secret::draw()?, masters })
    }

    /// The cluster it leads into.
    pub fn cluster(&self) -> ClusterId {
        ClusterId(self.cluster)
    }

    /// `host:port` of the masters.
    pub fn masters(&self) -> &[String] {
        &self.masters
    }

    /// For the way to the node that is to join: lower-case hex.
    pub fn to_text(&self) -> String {
        let bytes = seal(self).expect("a small value can be written");
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The inverse of [`Invitation::to_text`].
    ///
    /// # Errors
    /// `Corrupt` for anything else.
    pub fn parse(text: &str) -> Result<Invitation> {
        let corrupt = || Error::none(ErrorKind::Corrupt).because("this is no invitation");
        if text.len() > TEXT_MAX || !text.is_ascii() || !text.len().is_multiple_of(2) {
            return Err(corrupt());
        }
        let byte = |at| u8::from_str_radix(&text[at..at + 2], 16);
        let bytes: std::result::Result<Vec<u8>, _> = (0..text.len()).step_by(2).map(byte).collect();
        unseal(&bytes.map_err(|_| corrupt())?, "invitation").map_err(|_| corrupt())
    }

    pub(crate) fn key(id: &[u8; 16]) -> Key {
        let text: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
        own_key("invite", &text).expect("hex is legal")
    }
}

impl fmt::Debug for Invitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Invitation({}, {:?})", self.cluster(), self.masters)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invitation_survives_the_way_and_damage_is_seen() {
        let masters = vec!["h1:24009".to_owned()];
        let invitation = Invitation::draw(ClusterId([5; 16]), masters).unwrap();
        let text = invitation.to_text();
        assert_eq!(Invitation::parse(&text).unwrap(), invitation);
        for broken in ["", "0", "zz", &text[2..], &text[..text.len() - 2], &text.replace('0', "1")]
        {
            assert!(Invitation::parse(broken).is_err(), "{broken}");
        }
        assert!(!format!("{invitation:?}").contains(&text[40..60]));
    }

    #[test]
    fn the_file_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Pool::read(dir.path()).unwrap(), None);
        let pool = Pool {
            cluster: [1; 16],
            secret: Secret::new([2; 32]),
            masters: vec!["h1:1".into(), "h2:2".into()],
        };
        pool.write(dir.path()).unwrap();
        assert_eq!(Pool::read(dir.path()).unwrap(), Some(pool));
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &std::fs::metadata(dir.path().join(FILE)).unwrap().permissions(),
        );
        assert_eq!(mode & 0o777, 0o600);
    }
}
