//! Files of the tree: written whole or not at all, removed when nothing names them.
//!
//! Knows paths and bytes, nothing of volumes. Files are 0600 as stock's, folders 0755.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// File names in one folder.
pub(super) type Names = BTreeSet<String>;

/// Longest file that is read back.
const BYTES_MAX: u64 = 64 << 20;

/// Makes the file say `text`; whether it did not before. Missing folders are made.
pub(super) fn put(path: &Path, text: impl AsRef<[u8]>) -> io::Result<bool> {
    let text = text.as_ref();
    let same = fs::metadata(path)
        .is_ok_and(|meta| meta.is_file() && meta.len() == text.len() as u64)
        && fs::read(path).is_ok_and(|old| old == text);
    if same {
        return Ok(false);
    }
    let beside = beside(path);
    let open = || {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600).open(&beside)
    };
    let mut file = match open() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make(path.parent().unwrap_or(path))?;
            open()?
        }
        opened => opened?,
    };
    let written = file.write_all(text).and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written.map(|()| true)
}

/// `NAME.tmp` in the same folder.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    PathBuf::from(name)
}

pub(super) fn make(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o755).create(dir)
}

/// Whether there was one.
pub(super) fn remove(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Names in a folder that are text; none if there is no folder. Half-written files are left out.
pub(super) fn names(dir: &Path) -> Names {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| !name.ends_with(".tmp")).collect()
}

/// Removes files that `ours` tells and `keep` does not; whether there were any.
pub(super) fn sweep(dir: &Path, keep: &Names, ours: impl Fn(&str) -> bool) -> io::Result<bool> {
    let mut any = false;
    for name in names(dir).iter().filter(|name| ours(name) && !keep.contains(*name)) {
        any |= remove(&dir.join(name))?;
    }
    Ok(any)
}

/// Moves a folder to `grave` and removes it there.
pub(super) fn bury(dir: &Path, grave: &Path) -> io::Result<()> {
    make(grave.parent().unwrap_or(grave))?;
    if fs::symlink_metadata(grave).is_ok() {
        fs::remove_dir_all(grave)?;
    }
    fs::rename(dir, grave)?;
    fs::remove_dir_all(grave)
}

/// Removes everything that an interrupted [`bury`] left.
pub(super) fn clear(trash: &Path) -> io::Result<()> {
    for name in names(trash).iter().filter(|name| name.ends_with(".deleted")) {
        fs::remove_dir_all(trash.join(name))?;
    }
    Ok(())
}

/// A whole file as text.
///
/// # Errors
/// Also for one that is not text, or too long.
pub(super) fn read(path: &Path) -> io::Result<String> {
    String::from_utf8(read_bytes(path)?).map_err(io::Error::other)
}

/// # Errors
/// Also for a file that is too long.
pub(super) fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let length = fs::File::open(path)?.take(BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if length as u64 > BYTES_MAX {
        return Err(io::Error::other("longer than any file of this kind"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_written_once_and_with_its_folder() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        assert!(put(&path, "x").unwrap());
        assert!(!put(&path, "x").unwrap());
        assert!(put(&path, "y").unwrap());
        assert_eq!(read(&path).unwrap(), "y");
        assert_eq!(names(&dir.path().join("a")).len(), 1);
    }

    #[test]
    fn a_failed_write_leaves_the_old_text_and_no_rest() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("b");
        fs::create_dir(&path).unwrap();
        assert!(put(&path, "x").is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
