//! A password that cannot be logged by accident.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::{fmt, str};

/// Longest password file we read, in bytes.
const FILE_BYTES_MAX: u64 = 4096;

/// Text that shows as `***` wherever it is formatted.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text; nothing is checked.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// The first line of a file, at most 4096 bytes, without its line end.
    ///
    /// # Errors
    /// What opening and reading gave; `InvalidData` when it is too long, empty or not UTF-8.
    pub fn read(path: &Path) -> io::Result<Secret> {
        let mut bytes = Vec::new();
        File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
        let bad = |text: &str| io::Error::new(io::ErrorKind::InvalidData, text.to_owned());
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(bad("password file is longer than 4096 bytes"));
        }
        let text = str::from_utf8(&bytes).map_err(|_| bad("password file is not UTF-8 text"))?;
        match text.lines().next() {
            Some(line) if !line.is_empty() => Ok(Secret(line.to_owned())),
            _ => Err(bad("password file is empty")),
        }
    }

    /// The text itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(content: &[u8], want: Option<&str>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        std::fs::write(&path, content).unwrap();
        assert_eq!(Secret::read(&path).ok().map(|s| s.expose().to_owned()).as_deref(), want);
    }

    #[test]
    fn the_first_line_is_the_password() {
        check(b"hunter2\n", Some("hunter2"));
        check(b"hunter2", Some("hunter2"));
        check(b"a b \r\nrest", Some("a b "));
    }

    #[test]
    fn nothing_long_empty_or_binary_passes() {
        check(b"", None);
        check(b"\n", None);
        check(&[0xff, 0xfe], None);
        check(&[b'x'; 5000], None);
    }

    #[test]
    fn it_never_shows() {
        assert_eq!(format!("{:?} {}", Secret::new("hunter2"), Secret::new("hunter2")), "*** ***");
    }
}
