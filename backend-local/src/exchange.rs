//! What a directory holds is exchanged as a whole: another store for the one that was there.
//!
//! The new files are prepared aside; one rename decides; from then on every opening finishes what
//! is left to do. What was there before is kept, once, in `before`:
//!
//! | folder | holds |
//! |---|---|
//! | `next.new` | what is being prepared, of no meaning yet |
//! | `next` | what is to be in place; its file `moved` says that `before` is complete |
//! | `before` | the store before the last exchange, for people |

use crate::layout::remove_if_there;
use crate::opening::JOINED;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// All that makes a store.
const NAMES: [&str; 4] = ["store.redb", "snapshot", "pool", JOINED];
const PREPARED: &str = "next.new";
const DECIDED: &str = "next";
const BEFORE: &str = "before";
const MOVED: &str = "moved";

/// An empty folder for the new files.
///
/// # Errors
/// As the system says; nothing has changed.
pub fn prepare(dir: &Path) -> io::Result<PathBuf> {
    let aside = dir.join(PREPARED);
    empty(&aside)?;
    Ok(aside)
}

/// Decides for what was prepared: if this returns, or the process dies in the middle, it is that
/// or nothing.
///
/// # Errors
/// As the system says; nothing has changed.
pub fn decide(dir: &Path) -> io::Result<()> {
    empty(&dir.join(BEFORE))?;
    for entry in fs::read_dir(dir.join(PREPARED))? {
        File::open(entry?.path())?.sync_all()?;
    }
    sync(&dir.join(PREPARED))?;
    fs::rename(dir.join(PREPARED), dir.join(DECIDED))?;
    sync(dir)
}

/// Whether an exchange was decided and is not finished.
pub fn is_decided(dir: &Path) -> bool {
    dir.join(DECIDED).is_dir()
}

/// Carries out what was decided, from wherever it was left; nobody may have the directory open.
/// Returns whether there was anything to do.
///
/// # Errors
/// As the system says; to be tried again.
pub fn finish(dir: &Path) -> io::Result<bool> {
    if !is_decided(dir) {
        return Ok(false);
    }
    let (next, before) = (dir.join(DECIDED), dir.join(BEFORE));
    if !next.join(MOVED).exists() {
        for name in NAMES.iter().filter(|name| dir.join(name).exists()) {
            fs::rename(dir.join(name), before.join(name))?;
        }
        sync(&before)?;
        sync(dir)?;
        File::create(next.join(MOVED))?.sync_all()?;
        sync(&next)?;
    }
    for name in NAMES.iter().filter(|name| next.join(name).exists()) {
        fs::rename(next.join(name), dir.join(name))?;
    }
    sync(dir)?;
    remove_if_there(&next.join(MOVED))?;
    fs::remove_dir(&next)?;
    sync(dir)?;
    Ok(true)
}

fn empty(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    DirBuilder::new().mode(0o700).create(folder)
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(path: PathBuf) -> String {
        fs::read_to_string(path).unwrap_or_default()
    }

    fn decided() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for name in ["store.redb", "snapshot", "pool"] {
            fs::write(dir.path().join(name), "old").unwrap();
        }
        let next = prepare(dir.path()).unwrap();
        for name in ["pool", JOINED] {
            fs::write(next.join(name), "new").unwrap();
        }
        assert!(!finish(dir.path()).unwrap(), "not decided yet");
        decide(dir.path()).unwrap();
        dir
    }

    fn check(dir: &Path) {
        assert!(!is_decided(dir));
        for (name, now, before) in [
            ("store.redb", "", "old"),
            ("snapshot", "", "old"),
            ("pool", "new", "old"),
            (JOINED, "new", ""),
        ] {
            assert_eq!(text(dir.join(name)), now, "{name}");
            assert_eq!(text(dir.join(BEFORE).join(name)), before, "{name} before");
        }
    }

    #[test]
    fn everything_is_exchanged_and_the_old_is_kept() {
        let dir = decided();
        assert!(finish(dir.path()).unwrap());
        check(dir.path());
        assert!(!finish(dir.path()).unwrap());
        check(dir.path());
    }

    /// Every place at which a crash can leave it.
    #[test]
    fn a_crash_in_the_middle_is_made_up_for() {
        for moved_away in 0..=3 {
            let dir = decided();
            let path = dir.path();
            for name in NAMES.iter().take(moved_away) {
                fs::rename(path.join(name), path.join(BEFORE).join(name)).unwrap();
            }
            finish(path).unwrap();
            check(path);
        }
        for moved_in in 0..=2 {
            let dir = decided();
            let path = dir.path();
            for name in NAMES.iter().filter(|name| path.join(name).exists()) {
                fs::rename(path.join(name), path.join(BEFORE).join(name)).unwrap();
            }
            fs::write(path.join(DECIDED).join(MOVED), "").unwrap();
            for name in ["pool", JOINED].iter().take(moved_in) {
                fs::rename(path.join(DECIDED).join(name), path.join(name)).unwrap();
            }
            finish(path).unwrap();
            check(path);
        }
    }

    /// What a second exchange keeps is the first one's store, and nothing older among it.
    #[test]
    fn only_the_last_is_kept() {
        let dir = decided();
        finish(dir.path()).unwrap();
        let next = prepare(dir.path()).unwrap();
        fs::write(next.join("pool"), "newest").unwrap();
        decide(dir.path()).unwrap();
        finish(dir.path()).unwrap();
        assert_eq!(text(dir.path().join("pool")), "newest");
        assert_eq!(text(dir.path().join(BEFORE).join("pool")), "new");
        assert!(!dir.path().join(BEFORE).join("store.redb").exists());
    }
}
