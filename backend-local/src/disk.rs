//! The file under the log: reads, writes, one sync per commit, and patience when it is full.
//!
//! A full disk is waited out here, below the storage engine, which would otherwise refuse all
//! work until it is reopened: the write is repeated until there is room or the store closes.
//! Meanwhile [`Disk::full`] tells callers to refuse new work. A failed sync is never repeated:
//! what the kernel dropped cannot be told.

use parking_lot::{Condvar, Mutex};
use redb::StorageBackend;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

const RETRY: Duration = Duration::from_millis(200);

/// What the store knows of its disk, and what tests make of it.
#[derive(Debug)]
pub struct Disk {
    full: watch::Sender<bool>,
    state: Mutex<DiskState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct DiskState {
    /// Whether to wait for room; not while opening, when the caller waits for an answer.
    patient: bool,
    closing: bool,
    faults: Faults,
}

/// Damage done on purpose, by tests.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Every sync takes that much longer.
    pub sync_delay: Duration,
    /// Every write fails as on a full disk.
    pub full: bool,
    /// Every sync fails.
    pub sync_fails: bool,
}

impl Disk {
    pub fn new() -> Arc<Disk> {
        Arc::new(Disk {
            full: watch::Sender::new(false),
            state: Mutex::default(),
            changed: Condvar::new(),
        })
    }

    /// Whether writes wait for room just now.
    pub fn full(&self) -> watch::Receiver<bool> {
        self.full.subscribe()
    }

    pub fn is_full(&self) -> bool {
        *self.full.borrow()
    }

    /// From now on a full disk is waited out instead of reported.
    pub fn be_patient(&self) {
        self.state.lock().patient = true;
    }

    /// Ends all waiting; what waits fails.
    pub fn close(&self) {
        self.state.lock().closing = true;
        self.changed.notify_all();
    }

    pub fn inject(&self, faults: Faults) {
        self.state.lock().faults = faults;
        self.changed.notify_all();
    }

    /// Repeats `write` while it fails for lack of room.
    pub fn with_room<T>(&self, mut write: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        loop {
            let pretend = self.state.lock().faults.full;
            let result = if pretend { Err(full_error()) } else { write() };
            match result {
                Err(error) if is_full(&error) => self.wait_for_room(error)?,
                other => {
                    self.full.send_if_modified(std::mem::take);
                    return other;
                }
            }
        }
    }

    fn wait_for_room(&self, error: io::Error) -> io::Result<()> {
        let mut state = self.state.lock();
        if !state.patient || state.closing {
            return Err(error);
        }
        if !self.full.send_replace(true) {
            tracing::error!(%error, "no room for the log: changes wait until there is some");
        }
        self.changed.wait_for(&mut state, RETRY);
        Ok(())
    }

    /// Syncs the file's data.
    pub fn sync(&self, file: &File) -> io::Result<()> {
        let faults = self.state.lock().faults;
        if !faults.sync_delay.is_zero() {
            std::thread::sleep(faults.sync_delay);
        }
        if faults.sync_fails {
            return Err(io::Error::other("injected: sync failed"));
        }
        file.sync_data()
    }
}

/// Whether the error says that there is no room.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn full_error() -> io::Error {
    io::Error::from(io::ErrorKind::StorageFull)
}

/// The storage engine's view of one file on that disk.
#[derive(Debug)]
pub struct DiskFile {
    pub file: File,
    pub disk: Arc<Disk>,
}

impl DiskFile {
    /// Reserves the blocks, so that lack of room shows here and not in the middle of a commit.
    fn grow(&self, from: u64, to: u64) -> io::Result<()> {
        use rustix::fs::{FallocateFlags, fallocate};
        match fallocate(&self.file, FallocateFlags::empty(), from, to - from) {
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => self.file.set_len(to),
            other => other.map_err(io::Error::from),
        }
    }
}

impl StorageBackend for DiskFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let now = self.len()?;
        if len <= now {
            return self.file.set_len(len);
        }
        self.disk.with_room(|| self.grow(now, len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.sync(&self.file)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.disk.with_room(|| self.file.write_all_at(data, offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_impatient_disk_reports_and_a_patient_one_waits() {
        let disk = Disk::new();
        disk.inject(Faults { full: true, ..Faults::default() });
        assert!(is_full(&disk.with_room(|| Ok(())).unwrap_err()));
        disk.be_patient();
        let writer = {
            let disk = disk.clone();
            std::thread::spawn(move || disk.with_room(|| Ok(7)))
        };
        while !disk.is_full() {
            std::thread::yield_now();
        }
        disk.inject(Faults::default());
        assert_eq!(writer.join().unwrap().unwrap(), 7);
        assert!(!disk.is_full());
    }

    #[test]
    fn closing_ends_the_wait() {
        let disk = Disk::new();
        disk.be_patient();
        disk.inject(Faults { full: true, ..Faults::default() });
        disk.close();
        assert!(disk.with_room(|| Ok(())).is_err());
    }
}
