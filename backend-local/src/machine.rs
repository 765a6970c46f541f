//! The state machine as the consensus crate drives it: apply, snapshot to a file, restore.
//!
//! The state lives in memory; the file `snapshot` (one sealed [`Image`]) plus the log after it
//! rebuild it. A snapshot is written aside, synced, renamed: there is always a whole one.

use crate::codec::{corrupt, seal, unseal};
use crate::command::{Command, Reply};
use crate::disk::Disk;
use crate::layout::replace_file;
use crate::log::Log;
use crate::raft::{
    Leader, LogEntry, LogId, LogIdForm, Member, StoredMembers, StoredMembersForm, Types,
};
use crate::shared::{Shared, Touched};
use crate::state::{Dump, State};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use openraft::storage::{ApplyResponder, EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub type SnapshotMeta = openraft::SnapshotMeta<Leader, u64, Member>;
pub type Snapshot = openraft::Snapshot<Leader, u64, Member, Bytes>;

/// Entries applied under one lock, so that a long replay lets readers in.
const APPLY_BATCH: usize = 256;

pub struct Machine {
    shared: Arc<Shared>,
    files: Arc<Files>,
    last: Option<LogId>,
    members: StoredMembers,
}

/// Where the snapshot lies, and which one it is.
struct Files {
    dir: PathBuf,
    /// A snapshot still being written when the store closes keeps the directory from the next.
    _lock: Arc<File>,
    disk: Arc<Disk>,
    current: Mutex<Option<SnapshotMeta>>,
}

/// What the snapshot file holds.
#[derive(Serialize, Deserialize)]
struct Image {
    last: Option<LogIdForm>,
    members: StoredMembersForm,
    state: Dump,
}

impl Machine {
    /// An empty machine over the directory's snapshot, which the consensus crate asks for and
    /// installs before anything else.
    ///
    /// # Errors
    /// `InvalidData` for a damaged snapshot.
    pub fn open(
        dir: &Path,
        lock: Arc<File>,
        shared: Arc<Shared>,
        disk: Arc<Disk>,
    ) -> io::Result<Machine> {
        let files = Files { dir: dir.to_owned(), _lock: lock, disk, current: Mutex::new(None) };
        let image = match files.read() {
            Ok(bytes) => Some(unseal::<Image>(&bytes, "snapshot")?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        *files.current.lock() = image.as_ref().map(Image::meta).transpose()?;
        Ok(Machine { shared, files: Arc::new(files), last: None, members: Default::default() })
    }

    /// Up to where the snapshot on disk goes.
    pub fn snapshot_last(&self) -> Option<LogId> {
        self.files.current.lock().as_ref().and_then(|meta| meta.last_log_id)
    }

    fn apply_batch(&mut self, batch: Vec<(LogEntry, Option<ApplyResponder<Types>>)>) {
        let mut touched = Touched::default();
        let mut replies = Vec::with_capacity(batch.len());
        let mut state = self.shared.state.write();
        for (entry, responder) in batch {
            let index = entry.log_id.index;
            self.last = Some(entry.log_id);
            let reply = match &entry.payload {
                EntryPayload::Normal(proposal) => {
                    let reply = state.apply(index, &proposal.0);
                    touched.by(&proposal.0, &state, index);
                    reply
                }
                EntryPayload::Blank => Reply::Done { revision: index },
                EntryPayload::Membership(members) => {
                    self.members = StoredMembers::new(Some(entry.log_id), members.clone());
                    Reply::Done { revision: index }
                }
            };
            state.applied = index;
            replies.extend(responder.map(|responder| (responder, reply)));
        }
        drop(state);
        self.shared.ring(&touched);
        replies.into_iter().for_each(|(responder, reply)| responder.send(reply));
    }
}

impl Touched {
    fn by(&mut self, command: &Command, state: &State, index: u64) {
        self.sessions |= matches!(
            command,
            Command::OpenSession { .. } | Command::CloseSession { .. } | Command::Expire { .. }
        );
        let changes =
            state.history.last_at(index).into_iter().flat_map(|batch| batch.changes.iter());
        for change in changes {
            if !self.spaces.contains(change.key().space()) {
                self.spaces.insert(change.key().space().clone());
            }
        }
    }
}

impl Image {
    fn meta(&self) -> io::Result<SnapshotMeta> {
        let members = StoredMembers::try_from(self.members.clone()).map_err(corrupt)?;
        Ok(SnapshotMeta { last_log_id: self.last.map(LogId::from), last_membership: members })
    }
}

impl Files {
    fn read(&self) -> io::Result<Bytes> {
        std::fs::read(self.dir.join("snapshot")).map(Bytes::from)
    }

    /// Puts the snapshot in place of an older one.
    fn replace(&self, meta: &SnapshotMeta, bytes: &[u8]) -> io::Result<()> {
        let mut current = self.current.lock();
        if current.as_ref().is_some_and(|c| c.last_log_id >= meta.last_log_id) {
            return Ok(());
        }
        let aside = self.dir.join("snapshot.new");
        let written = self.disk.with_room(|| {
            let mut file = File::create(&aside)?;
            file.write_all(bytes)?;
            file.sync_all()
        });
        if let Err(error) = written {
            std::fs::remove_file(&aside).ok();
            return Err(error);
        }
        std::fs::rename(&aside, self.dir.join("snapshot"))?;
        File::open(&self.dir)?.sync_all()?;
        *current = Some(meta.clone());
        Ok(())
    }
}

/// Holds what a snapshot is made of, taken between two entries.
pub struct Builder {
    image: Option<Image>,
    meta: SnapshotMeta,
    files: Arc<Files>,
}

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = Bytes;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        let image = self.image.take().ok_or_else(|| io::Error::other("snapshot built twice"))?;
        let (files, meta) = (self.files.clone(), self.meta.clone());
        let write = move || -> io::Result<Bytes> {
            let bytes = Bytes::from(seal(&image)?);
            files.replace(&meta, &bytes)?;
            Ok(bytes)
        };
        let bytes = tokio::task::spawn_blocking(write).await.map_err(io::Error::other)??;
        Ok(Snapshot { meta: self.meta.clone(), snapshot: bytes })
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = Bytes;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembers)> {
        Ok((self.last, self.members.clone()))
    }

    async fn apply<S>(&mut self, entries: S) -> io::Result<()>
    where
        S: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        let mut batches = entries.ready_chunks(APPLY_BATCH);
        while let Some(batch) = batches.next().await {
            self.apply_batch(batch.into_iter().collect::<io::Result<Vec<_>>>()?);
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        let state = self.shared.state.read().dump();
        let meta = SnapshotMeta { last_log_id: self.last, last_membership: self.members.clone() };
        let last = self.last.as_ref().map(LogIdForm::from);
        let image = Image { last, members: (&self.members).into(), state };
        Builder { image: Some(image), meta, files: self.files.clone() }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, bytes: Bytes) -> io::Result<()> {
        let (files, meta) = (self.files.clone(), meta.clone());
        let work = move || -> io::Result<(SnapshotMeta, State)> {
            let image: Image = unseal(&bytes, "snapshot")?;
            let found = image.meta()?;
            if found.last_log_id != meta.last_log_id {
                return Err(corrupt("snapshot: not the one it is said to be".into()));
            }
            files.replace(&found, &bytes)?;
            let state = State::restore(image.state).map_err(corrupt)?;
            Ok((found, state))
        };
        let (meta, state) = tokio::task::spawn_blocking(work).await.map_err(io::Error::other)??;
        self.last = meta.last_log_id;
        self.members = meta.last_membership;
        *self.shared.state.write() = state;
        self.shared.ring(&Touched { everything: true, ..Touched::default() });
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        let current = self.files.current.lock();
        let Some(meta) = current.clone() else { return Ok(None) };
        Ok(Some(Snapshot { meta, snapshot: self.files.read()? }))
    }
}

/// All that a directory's snapshot and log say, without a member that runs.
#[derive(Default)]
pub struct Content {
    pub last: Option<LogId>,
    pub members: StoredMembers,
    pub state: State,
}

impl Content {
    /// Has this one member from here on.
    pub fn elect(&mut self, id: u64, member: Member, at: LogId) {
        let nodes = std::collections::BTreeMap::from([(id, member)]);
        let voters = vec![std::collections::BTreeSet::from([id])];
        let members = openraft::Membership::new(voters, nodes).expect("the voter is a member");
        self.members = StoredMembers::new(Some(at), members);
    }

    /// Lays the log over it: all entries, whether they are known to be committed or not.
    fn replay(&mut self, log: &Log) -> io::Result<()> {
        let mut next = self.last.map_or(0, |last| last.index + 1);
        loop {
            let entries = log.page(next)?;
            let Some(last) = entries.last().map(|entry| entry.log_id.index) else { return Ok(()) };
            for entry in entries {
                self.apply(&entry);
            }
            next = last + 1;
        }
    }

    fn apply(&mut self, entry: &LogEntry) {
        let index = entry.log_id.index;
        match &entry.payload {
            EntryPayload::Normal(proposal) => drop(self.state.apply(index, &proposal.0)),
            EntryPayload::Membership(members) => {
                self.members = StoredMembers::new(Some(entry.log_id), members.clone());
            }
            EntryPayload::Blank => {}
        }
        self.state.applied = index;
        self.last = Some(entry.log_id);
    }

    /// Reads snapshot and log of a directory.
    ///
    /// # Errors
    /// `InvalidData` for damaged ones.
    pub fn read(dir: &Path, log: &Log) -> io::Result<Content> {
        let mut content = match std::fs::read(dir.join("snapshot")) {
            Ok(bytes) => {
                let image: Image = unseal(&bytes, "snapshot")?;
                let meta = image.meta()?;
                let state = State::restore(image.state).map_err(corrupt)?;
                Content { last: meta.last_log_id, members: meta.last_membership, state }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Content::default(),
            Err(error) => return Err(error),
        };
        if log.purged() > content.last {
            return Err(corrupt("the log begins after the end of the snapshot".into()));
        }
        content.replay(log)?;
        Ok(content)
    }

    /// Writes it as the snapshot of a directory that has none.
    ///
    /// # Errors
    /// As the system says.
    pub fn write(&self, dir: &Path) -> io::Result<()> {
        let image = Image {
            last: self.last.as_ref().map(LogIdForm::from),
            members: (&self.members).into(),
            state: self.state.dump(),
        };
        replace_file(dir, "snapshot", &seal(&image)?)
    }
}

/// What a snapshot says of itself.
///
/// # Errors
/// `InvalidData` for bytes that are none.
pub fn meta_of(image: &[u8]) -> io::Result<SnapshotMeta> {
    unseal::<Image>(image, "snapshot")?.meta()
}
