//! `cmd_history.log`: what administrators did, one line a command.
//!
//! Facts: libglusterfs/src/logging.c `gf_cmd_log`, glusterd-utils.c:10073 (v10.3):
//! `[2026-11-22 19:27:23.835692 +0000]  : volume start v1 : SUCCESS`, or `: FAILED : reason`.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;

use super::log_line::{LINE_BYTES_MAX, shorten, stamp};
use super::log_sink::append_to;

/// The open file; clones share it.
#[derive(Clone, Debug)]
pub struct CmdHistory {
    path: PathBuf,
    file: Arc<Mutex<File>>,
}

impl CmdHistory {
    /// Opens `LOG/cmd_history.log`, mode 0600, making it if there is none.
    ///
    /// # Errors
    /// What opening it gave; the daemon does not start then, as stock's.
    pub fn open(logdir: &Path) -> io::Result<CmdHistory> {
        let path = logdir.join("cmd_history.log");
        let file = append_to(&path)?;
        Ok(CmdHistory { path, file: Arc::new(Mutex::new(file)) })
    }

    /// Appends one line: `command` as the CLI sent it, and why it failed if it did. UTC as in stock.
    ///
    /// The file is followed by name: after a rotation the next line is in the new one.
    ///
    /// # Errors
    /// The line could not be written.
    pub fn record(&self, command: &str, outcome: Result<(), &str>) -> io::Result<()> {
        let stamp = stamp(SystemTime::now(), false);
        let mut line = match outcome {
            Ok(()) => format!("[{stamp}]  : {command} : SUCCESS"),
            Err(reason) => format!("[{stamp}]  : {command} : FAILED : {reason}"),
        };
        shorten(&mut line, LINE_BYTES_MAX);
        line.push('\n');
        let mut file = self.file.lock();
        if !same_file(&file, &self.path) {
            *file = append_to(&self.path)?;
        }
        // One write, so that lines of two daemons that share the file do not mix.
        file.write_all(line.as_bytes())
    }
}

fn same_file(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(ours), Ok(named)) => (ours.dev(), ours.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn lines(path: &Path) -> Vec<String> {
        let text = fs::read_to_string(path).unwrap();
        text.lines().map(|line| line.split_once("+0000]").unwrap().1.to_owned()).collect()
    }

    #[test]
    fn one_line_a_command_in_stocks_form() {
        let dir = tempfile::tempdir().unwrap();
        let history = CmdHistory::open(dir.path()).unwrap();
        history.record("volume start v1", Ok(())).unwrap();
        history.record("volume start v2", Err("Volume v2 does not exist")).unwrap();
        let path = dir.path().join("cmd_history.log");
        assert_eq!(
            lines(&path),
            [
                "  : volume start v1 : SUCCESS",
                "  : volume start v2 : FAILED : Volume v2 does not exist"
            ]
        );
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn it_survives_a_rotation_and_a_removal() {
        let dir = tempfile::tempdir().unwrap();
        let history = CmdHistory::open(dir.path()).unwrap();
        let path = dir.path().join("cmd_history.log");
        history.record("a", Ok(())).unwrap();
        fs::rename(&path, dir.path().join("old")).unwrap();
        history.record("b", Ok(())).unwrap();
        assert_eq!(
            (lines(&path), lines(&dir.path().join("old"))),
            (vec!["  : b : SUCCESS".into()], vec!["  : a : SUCCESS".into()])
        );
        fs::remove_file(&path).unwrap();
        history.record("c", Ok(())).unwrap();
        assert_eq!(lines(&path), ["  : c : SUCCESS"]);
    }
}
