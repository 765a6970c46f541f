//! The log by itself: what is read back, from memory and from disk; damage; the lock.

use super::memory::MEMORY_BYTES_MAX;
use super::*;
use crate::command::{Command, Proposal};
use crate::raft::{Leader, Payload};
use openraft::EntryPayload;
use openraft::storage::RaftLogStorageExt;

fn id(term: u64, index: u64) -> LogId {
    LogId { leader_id: Leader { term, node_id: 1 }, index }
}

fn entry(term: u64, index: u64, weight: usize) -> LogEntry {
    let command = Command::CloseSession { id: index };
    let name = "x".repeat(weight);
    let command = match weight {
        0 => command,
        _ => Command::OpenSession { ttl_ms: index, name, home: None, salt: 0 },
    };
    let payload: Payload = EntryPayload::Normal(Proposal(Arc::new(command)));
    LogEntry { log_id: id(term, index), payload }
}

struct Opened {
    log: Log,
    identity: u32,
    thread: JoinHandle<()>,
    disk: Arc<Disk>,
}

fn open(dir: &Path) -> io::Result<Opened> {
    let lock = Arc::new(File::create(dir.join("lock"))?);
    let disk = Disk::new();
    let founded = std::process::id;
    let (log, identity, thread) =
        Log::open(&dir.join("store.redb"), lock, disk.clone(), || Ok(founded()))?;
    Ok(Opened { log, identity, thread, disk })
}

impl Opened {
    async fn append(&mut self, entries: Vec<LogEntry>) -> io::Result<()> {
        self.log.blocking_append(entries).await.map_err(io::Error::from)
    }

    fn close(self) {
        drop(self.log);
        self.thread.join().unwrap();
    }

    async fn indexes(&mut self) -> Vec<(u64, u64)> {
        let entries = self.log.try_get_log_entries(..).await.unwrap();
        entries.iter().map(|e| (e.log_id.leader_id.term, e.log_id.index)).collect()
    }
}

fn file_of(dir: &Path) -> (std::path::PathBuf, Vec<u8>) {
    let path = dir.join("store.redb");
    let bytes = std::fs::read(&path).unwrap();
    (path, bytes)
}

#[tokio::test]
async fn what_was_appended_is_read_back_and_survives() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path()).unwrap();
    let identity = log.identity;
    log.append((0..5).map(|n| entry(1, n, 0)).collect()).await.unwrap();
    log.log.save_vote(&Vote::new_committed(3, 1)).await.unwrap();
    log.log.save_committed(Some(id(1, 2))).await.unwrap();
    log.append(vec![entry(1, 5, 0)]).await.unwrap();
    log.log.truncate_after(Some(id(1, 3))).await.unwrap();
    log.append(vec![entry(2, 4, 0)]).await.unwrap();
    log.log.purge(id(1, 1)).await.unwrap();
    let expected = vec![(1, 2), (1, 3), (2, 4)];
    assert_eq!(log.indexes().await, expected);
    log.close();

    let mut log = open(dir.path()).unwrap();
    assert_eq!(log.identity, identity, "drawn once");
    assert_eq!(log.indexes().await, expected);
    assert_eq!(log.log.read_vote().await.unwrap(), Some(Vote::new_committed(3, 1)));
    assert_eq!(log.log.read_committed().await.unwrap(), Some(id(1, 2)));
    let state = log.log.get_log_state().await.unwrap();
    assert_eq!((state.last_purged_log_id, state.last_log_id), (Some(id(1, 1)), Some(id(2, 4))));
    log.close();
}

/// More than memory may hold: the oldest come from disk, in one piece with the rest.
#[tokio::test]
async fn memory_is_bounded_and_reads_join_disk_and_memory() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path()).unwrap();
    for n in 0..40 {
        log.append(vec![entry(1, n, 700 << 10)]).await.unwrap();
    }
    let (first, bytes) = {
        let memory = log.log.0.memory.read();
        (memory.first(), memory.bytes)
    };
    // Commands other than transactions weigh little; only what is counted is bounded.
    assert!(bytes <= MEMORY_BYTES_MAX, "{first:?} {bytes}");
    let all: Vec<(u64, u64)> = (0..40).map(|n| (1, n)).collect();
    assert_eq!(log.indexes().await, all);
    let some = log.log.limited_get_log_entries(0, 40).await.unwrap();
    assert_eq!(some[0].log_id, id(1, 0));
    log.close();
}

/// Any byte of the file may be damaged: an error that says so, or the truth; never a panic, and
/// never other entries than were written.
#[tokio::test]
async fn damage_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path()).unwrap();
    log.append((0..50).map(|n| entry(1, n, 100)).collect()).await.unwrap();
    let truth = log.indexes().await;
    log.close();
    let (path, whole) = file_of(dir.path());
    let (mut told, mut harmless) = (0, 0);
    for at in (0..whole.len()).step_by(whole.len() / 97 + 1) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x55;
        std::fs::write(&path, &bytes).unwrap();
        match open(dir.path()) {
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::InvalidData, "byte {at}: {error}");
                told += 1;
            }
            Ok(mut log) => {
                assert_eq!(log.indexes().await, truth, "byte {at}");
                harmless += 1;
                log.close();
            }
        }
    }
    assert!(told > 0, "{told} told, {harmless} harmless");
    for cut in [0, 1, 4096, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&path, &whole[..cut]).unwrap();
        match open(dir.path()) {
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{cut}: {error}"),
            Ok(mut log) => {
                let found = log.indexes().await;
                assert!(found == truth || cut == 0, "cut at {cut}: {found:?}");
                log.close();
            }
        }
    }
}

/// What waits is written together: many appends, few syncs.
#[tokio::test]
async fn waiting_appends_share_a_sync() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path()).unwrap();
    let delay = std::time::Duration::from_millis(20);
    log.disk.inject(crate::disk::Faults { sync_delay: delay, ..Default::default() });
    let begin = std::time::Instant::now();
    let mut appends = Vec::new();
    for n in 0..100 {
        let mut log = log.log.clone();
        // In order: each is queued when its future is first polled.
        let mut append = Box::pin(async move { log.blocking_append([entry(1, n, 0)]).await });
        assert!(futures_util::poll!(&mut append).is_pending());
        appends.push(append);
    }
    for append in appends {
        append.await.unwrap();
    }
    assert!(begin.elapsed() < delay * 50, "{:?}", begin.elapsed());
    assert_eq!(log.indexes().await.len(), 100);
    log.close();
}

#[tokio::test]
async fn after_a_failed_sync_nothing_is_written_any_more() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path()).unwrap();
    log.append(vec![entry(1, 0, 0)]).await.unwrap();
    log.disk.inject(crate::disk::Faults { sync_fails: true, ..Default::default() });
    assert!(log.append(vec![entry(1, 1, 0)]).await.is_err());
    log.disk.inject(Default::default());
    assert!(log.append(vec![entry(1, 2, 0)]).await.is_err());
    log.close();
}
