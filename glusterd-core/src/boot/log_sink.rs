//! Where log lines go: a thread of its own writes them, the daemon never waits for a disk.
//!
//! The queue is bounded; what does not fit is counted and the count is written when there is room.
//! `SIGHUP` makes the thread open the file anew, as logrotate's rule for glusterd expects.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use super::log_level::LogLevel;
use super::settings::{LogTarget, Logger};

/// Lines that may wait for the disk.
const QUEUE_LINES: usize = 4096;
/// Longest wait for queued lines when the daemon ends.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// The queue's near end; clones share it.
#[derive(Clone, Debug)]
pub struct Sink {
    jobs: SyncSender<Job>,
    dropped: Arc<AtomicU64>,
}

enum Job {
    Line(LogLevel, String),
    Reopen,
    Flush(SyncSender<()>),
}

enum Destination {
    Stderr,
    File(PathBuf, File),
    Syslog(UnixDatagram),
}

impl Sink {
    /// Opens the destination and starts the writer thread.
    ///
    /// # Errors
    /// What opening the file or the syslog socket gave.
    pub fn open(logger: Logger, target: &LogTarget) -> io::Result<Sink> {
        let destination = match (logger, target) {
            (Logger::Syslog, _) => {
                let socket = UnixDatagram::unbound()?;
                socket.connect("/dev/log")?;
                socket.set_nonblocking(true)?;
                Destination::Syslog(socket)
            }
            (Logger::File, LogTarget::Stderr) => Destination::Stderr,
            (Logger::File, LogTarget::File(path)) => {
                Destination::File(path.clone(), append_to(path)?)
            }
        };
        let (jobs, queue) = sync_channel(QUEUE_LINES);
        let dropped = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&dropped);
        std::thread::Builder::new()
            .name("glusterd-log".to_owned())
            .spawn(move || write_all(destination, &queue, &counter))?;
        Ok(Sink { jobs, dropped })
    }

    /// Queues one line (with its line end), or counts it as lost.
    pub fn line(&self, level: LogLevel, line: String) {
        if let Err(TrySendError::Full(_)) = self.jobs.try_send(Job::Line(level, line)) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Opens the file again under its name, after the lines queued so far.
    pub fn reopen(&self) {
        self.insist(Job::Reopen);
    }

    /// Waits until everything queued is written, two seconds at most.
    pub fn flush(&self) {
        let (done, wait) = sync_channel(1);
        if self.insist(Job::Flush(done)) {
            let _ = wait.recv_timeout(FLUSH_TIMEOUT);
        }
    }

    fn insist(&self, mut job: Job) -> bool {
        let end = Instant::now() + FLUSH_TIMEOUT;
        loop {
            match self.jobs.try_send(job) {
                Ok(()) => return true,
                Err(TrySendError::Full(back)) if Instant::now() < end => job = back,
                Err(_) => return false,
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Opens a log for appending, mode 0600, making the folders above it.
pub fn append_to(path: &Path) -> io::Result<File> {
    if let Some(parent) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o777).create(parent)?;
    }
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

fn write_all(mut destination: Destination, queue: &Receiver<Job>, dropped: &AtomicU64) {
    loop {
        // A line dropped after the last one written would otherwise wait for the next.
        let job = match queue.recv_timeout(if dropped.load(Ordering::Relaxed) > 0 {
            Duration::ZERO
        } else {
            Duration::MAX
        }) {
            Ok(job) => Some(job),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        match job {
            Some(Job::Line(level, line)) => destination.write(level, &line),
            Some(Job::Reopen) => destination.reopen(),
            Some(Job::Flush(done)) => {
                let _ = done.try_send(());
            }
            None => {
                let lost = dropped.swap(0, Ordering::Relaxed);
                destination.write(LogLevel::Warning, &format!("({lost} log lines were dropped: the log could not be written fast enough)\n"));
            }
        }
    }
}

impl Destination {
    /// A log that cannot be written (disk full, say) is nobody's reason to stop.
    fn write(&mut self, level: LogLevel, line: &str) {
        let _ = match self {
            Destination::Stderr => io::stderr().write_all(line.as_bytes()),
            Destination::File(_, file) => file.write_all(line.as_bytes()),
            Destination::Syslog(socket) => {
                let text = format!(
                    "<{}>glusterd[{}]: {}",
                    priority(level),
                    std::process::id(),
                    line.trim_end()
                );
                socket.send(text.as_bytes()).map(drop)
            }
        };
    }

    fn reopen(&mut self) {
        if let Destination::File(path, file) = self {
            match append_to(path) {
                Ok(fresh) => *file = fresh,
                Err(error) => {
                    let _ = writeln!(
                        file,
                        "log file {} cannot be opened again: {error}",
                        path.display()
                    );
                }
            }
        }
    }
}

/// RFC 5424 section 6.2.1: facility 3 (daemons) times 8, plus the severity.
fn priority(level: LogLevel) -> u8 {
    24 + match level {
        LogLevel::None | LogLevel::Critical => 2,
        LogLevel::Error => 3,
        LogLevel::Warning => 4,
        LogLevel::Info => 6,
        LogLevel::Debug | LogLevel::Trace => 7,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn lines_follow_the_name_after_a_rotation() {
        let dir = tempfile::tempdir().unwrap();
        let (path, old) =
            (dir.path().join("a/b/glusterd.log"), dir.path().join("a/b/glusterd.log.1"));
        let sink = Sink::open(Logger::File, &LogTarget::File(path.clone())).unwrap();
        sink.line(LogLevel::Info, "one\n".to_owned());
        sink.flush();
        fs::rename(&path, &old).unwrap();
        sink.line(LogLevel::Info, "two\n".to_owned());
        sink.reopen();
        sink.line(LogLevel::Info, "three\n".to_owned());
        sink.flush();
        assert_eq!(fs::read_to_string(&old).unwrap(), "one\ntwo\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "three\n");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    /// The reader of a pipe that nobody empties stands for a disk that hangs.
    #[test]
    fn a_hanging_disk_costs_lines_not_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fifo");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let hold = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let sink = Sink::open(Logger::File, &LogTarget::File(path)).unwrap();
        let begin = Instant::now();
        for _ in 0..3 * QUEUE_LINES {
            sink.line(LogLevel::Info, format!("{}\n", "x".repeat(100)));
        }
        assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
        assert!(sink.dropped.load(Ordering::Relaxed) > 0);
        drop(hold);
    }
}
