//! The directory: which files lie in it, its lock, and the identity drawn when it was made.

use crate::node::storage;
use coord_api::{ClusterId, Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Who this directory belongs to. Drawn once: a member whose directory was lost comes back as
/// another node and cannot vote a second time under the first one's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub cluster: [u8; 16],
    pub node: u64,
}

impl Identity {
    /// A new node, of a new cluster or of that one.
    pub fn draw(cluster: Option<ClusterId>) -> io::Result<Identity> {
        let cluster = cluster.map_or_else(|| *uuid::Uuid::new_v4().as_bytes(), |id| id.0);
        Ok(Identity { cluster, node: Identity::random_id()? })
    }

    /// A random number that is not 0 and fits a signed integer.
    pub fn random_id() -> io::Result<u64> {
        Ok((u64::from_le_bytes(Identity::random_bytes()?) >> 1).max(1))
    }

    /// From the system's generator.
    pub fn random_bytes<const N: usize>() -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    pub fn cluster_id(&self) -> ClusterId {
        ClusterId(self.cluster)
    }

    pub fn cluster_text(&self) -> String {
        self.cluster_id().to_string()
    }
}

pub struct Layout {
    dir: PathBuf,
}

impl Layout {
    pub fn new(dir: &Path) -> Layout {
        Layout { dir: dir.to_owned() }
    }

    pub fn store(&self) -> PathBuf {
        self.dir.join("store.redb")
    }

    /// Makes the directory if need be and locks it, waiting a little for a process that is
    /// just ending.
    ///
    /// # Errors
    /// `Unavailable` while another process holds the lock.
    pub async fn lock(&self, wait: Duration) -> Result<File> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.dir).map_err(storage)?;
        let path = self.dir.join("lock");
        let file = File::options().write(true).create(true).truncate(false).open(path);
        let file = file.map_err(storage)?;
        let deadline = Instant::now() + wait;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::Error(error)) => return Err(storage(error)),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Err(TryLockError::WouldBlock) => {
                    let text = format!("{} is in use by another process", self.dir.display());
                    return Err(Error::none(ErrorKind::Unavailable).because(text));
                }
            }
        }
    }
}

/// Puts a small file in place as a whole: whatever crashes, the old content is there or the new one.
/// Readable by its owner alone.
///
/// # Errors
/// As the system says; the old content is there.
pub fn replace_file(dir: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let aside = dir.join(format!("{name}.new"));
    // One left over may have any mode.
    remove_if_there(&aside)?;
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(&aside)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&aside, dir.join(name))?;
    File::open(dir)?.sync_all()
}

/// # Errors
/// As the system says, but for a file that is not there.
pub fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("f.new"), "left over by a crash").unwrap();
        replace_file(dir.path(), "f", b"one").unwrap();
        replace_file(dir.path(), "f", b"two").unwrap();
        assert_eq!(fs::read(dir.path().join("f")).unwrap(), b"two");
        let mode = |path: &Path| {
            let found = fs::metadata(path).unwrap().permissions();
            std::os::unix::fs::PermissionsExt::mode(&found) & 0o777
        };
        assert_eq!(mode(&dir.path().join("f")), 0o600);
        assert!(!dir.path().join("f.new").exists());
        // What cannot be written leaves what was there.
        fs::create_dir(dir.path().join("f.new")).unwrap();
        replace_file(dir.path(), "f", b"three").unwrap_err();
        assert_eq!(fs::read(dir.path().join("f")).unwrap(), b"two");
    }

    #[tokio::test]
    async fn a_directory_has_one_holder() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(&dir.path().join("deep/store"));
        let held = layout.lock(Duration::ZERO).await.unwrap();
        let error = layout.lock(Duration::ZERO).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unavailable);
        assert!(error.to_string().contains("in use by another process"), "{error}");
        drop(held);
        layout.lock(Duration::ZERO).await.unwrap();
    }
}
