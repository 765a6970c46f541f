//! Transactions: read, plan, one multi; again when something moved in between.
//!
//! Cost: one round of cheap reads before each write. A conflict found by reading is believed only
//! after a write of this client, because the server it reads from may lag behind.

use crate::conn::{Conn, newest};
use crate::core::{Core, version};
use crate::fault;
use crate::plan::{Before, Step, plan};
use coord_api::{
    Error, ErrorKind, Op, Result, Revision, SessionId, Space, Txn, TxnOutcome, Version,
};
use futures_util::future::join_all;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use zookeeper_client::{CreateMode, Error as Raw, MultiWriteError, MultiWriteResult, Stat};

/// Rounds that may find something moved, before the service is called overloaded.
const ROUNDS: u32 = 64;

/// How one round ended, short of an error.
enum Round {
    Done(TxnOutcome),
    /// Nothing was written: what was read is outdated.
    Moved,
}

impl Core {
    /// Runs a transaction on the handle's own client, or on a session's.
    pub async fn txn(&self, txn: Txn, session: Option<&Conn>) -> Result<TxnOutcome> {
        let author = session.map(|conn| SessionId(conn.id().cast_unsigned()));
        txn.check(&crate::LIMITS, author)?;
        let deadline = self.deadline(txn.timeout);
        let spaces: BTreeSet<&Space> = txn
            .compares
            .iter()
            .map(|compare| compare.key().space())
            .chain(txn.ops.iter().map(|op| op.key().space()))
            .collect();
        let mut kinds = BTreeMap::new();
        for space in &spaces {
            kinds.insert((*space).clone(), self.kind_of(space, deadline).await?);
        }
        txn.check_spaces(|space| kinds.get(space).copied())?;

        // The client that has written since the call began, so that it reads nothing older.
        let mut fresh = None;
        for round in 0..ROUNDS {
            let ready;
            let conn = match session {
                Some(conn) => conn,
                None => {
                    ready = self.link.ready(deadline).await?;
                    &ready
                }
            };
            if let Some(late) = past(deadline) {
                return Err(late);
            }
            // The first round may go by what is known, as later ones may not.
            let believed = self.known.before(&txn).filter(|_| round == 0);
            let by_belief = believed.is_some();
            let before = match believed {
                Some(before) => before,
                None => match self.before(conn, &spaces, &txn, deadline).await {
                    // Nothing is written yet: another connection may read.
                    Err(error) if error.kind == ErrorKind::Unavailable && session.is_none() => {
                        continue;
                    }
                    other => other?,
                },
            };
            let steps = match plan(&txn, &before) {
                Ok(steps) => steps,
                Err(_) if by_belief => continue,
                Err(failed) if fresh == Some(conn.id()) => {
                    return Ok(TxnOutcome::Conflict { failed: Some(failed) });
                }
                Err(_) => {
                    let now = conn.tick(&self.link.layout, deadline).await?;
                    self.saw(now);
                    fresh = Some(conn.id());
                    continue;
                }
            };
            match self.commit(conn, &txn, &steps, deadline).await? {
                Round::Done(outcome) => return Ok(outcome),
                Round::Moved if by_belief => spaces.iter().for_each(|s| self.known.forget(s)),
                Round::Moved => {
                    // Like the commits it competes with, at most a few milliseconds.
                    let spread = u64::from(uuid::Uuid::new_v4().as_bytes()[0]) % 8 + 1;
                    sleep(Duration::from_millis(spread * u64::from(round.min(8)) / 4)).await;
                }
            }
        }
        Err(Error::none(ErrorKind::Overloaded).because("others were faster again and again"))
    }

    /// The states a plan needs: spaces first, so that keys are at least as new.
    async fn before(
        &self,
        conn: &Conn,
        spaces: &BTreeSet<&Space>,
        txn: &Txn,
        deadline: Instant,
    ) -> Result<Before> {
        let keys: BTreeSet<_> = txn
            .compares
            .iter()
            .map(|compare| compare.key())
            .chain(txn.ops.iter().map(Op::key))
            .collect();
        let paths: Vec<String> = spaces
            .iter()
            .map(|space| self.link.layout.space(space))
            .chain(keys.iter().map(|key| self.link.layout.key(key)))
            .collect();
        // All go out at once and are answered in order.
        let asking =
            async { join_all(paths.iter().map(|path| conn.client.check_stat(path))).await };
        let answers: Vec<_> =
            Conn::wait(deadline, async { Ok::<_, Raw>(asking.await) }).await.map_or_else(
                |_| Err(Error::none(ErrorKind::Timeout)),
                |answers| answers.map_err(|raw| fault::of_read(&raw)),
            )?;
        let mut stats = Vec::with_capacity(answers.len());
        for answer in answers {
            stats.push(answer.map_err(|raw| fault::of_read(&raw))?);
        }
        let mut stats = stats.into_iter();
        let mut before = Before::default();
        for space in spaces {
            let stat: Stat = stats.next().flatten().ok_or(ErrorKind::ClusterReplaced)?;
            before.spaces.insert((*space).clone(), stat.version);
        }
        before.keys = keys.into_iter().cloned().zip(stats).collect();
        for (space, moves) in &before.spaces {
            let here = before.keys.iter().filter(|(key, _)| key.space() == space);
            let created = here.map(|(key, stat)| (key.clone(), stat.map(|stat| stat.czxid)));
            self.known.learn(space, *moves, created);
        }
        Ok(before)
    }

    async fn commit(
        &self,
        conn: &Conn,
        txn: &Txn,
        steps: &[Step],
        deadline: Instant,
    ) -> Result<Round> {
        // A request made while disconnected would be sent later, past every timeout (G2).
        if !conn.is_connected() {
            return Err(Error::none(ErrorKind::Unavailable).because("not connected"));
        }
        let committing = async {
            let mut writer = conn.client.new_multi_writer();
            for step in steps {
                self.add(&mut writer, conn, txn, step).map_err(MultiWriteError::from)?;
            }
            writer.commit().await
        };
        match Conn::wait(deadline, committing).await {
            Ok(Ok(results)) => self.committed(conn, txn, steps, results).map(Round::Done),
            Ok(Err(MultiWriteError::RequestFailed { source })) => Err(fault::of_write(&source)),
            Ok(Err(MultiWriteError::OperationFailed { index, source })) => {
                refused(steps.get(index), &source)
            }
            Err(_) => Err(Error::unknown(ErrorKind::Timeout)),
        }
    }

    fn add(
        &self,
        writer: &mut zookeeper_client::MultiWriter<'_>,
        conn: &Conn,
        txn: &Txn,
        step: &Step,
    ) -> std::result::Result<(), Raw> {
        let layout = &self.link.layout;
        let path = |op: usize| layout.key(txn.ops[op].key());
        match step {
            Step::SameCluster => writer.add_check_version(self.link.witness(), -1),
            Step::Unmoved(space, seen) => writer.add_check_version(&layout.space(space), *seen),
            Step::Holds { key, version, .. } => {
                writer.add_check_version(&layout.key(key), version.unwrap_or(-1))
            }
            Step::Create { op, .. } => {
                let (mode, value) = match &txn.ops[*op] {
                    Op::PutEphemeral { value, .. } => (CreateMode::Ephemeral, &value[..]),
                    Op::Put { value, .. } => (CreateMode::Persistent, &value[..]),
                    Op::Delete { .. } => {
                        return Err(Raw::BadArguments(&"a deletion creates nothing"));
                    }
                };
                writer.add_create(&path(*op), value, &self.link.access.create(mode))
            }
            Step::Set { op } => match &txn.ops[*op] {
                Op::PutEphemeral { value, .. } | Op::Put { value, .. } => {
                    writer.add_set_data(&path(*op), value, None)
                }
                Op::Delete { .. } => Err(Raw::BadArguments(&"a deletion sets nothing")),
            },
            Step::Delete { op } => writer.add_delete(&path(*op), None),
            // The kind stays: a write of the same data.
            Step::Move(space) => {
                let kind = self.known_kind(space);
                writer.add_set_data(&layout.space(space), kind, None)
            }
            Step::Tick => writer.add_set_data(&layout.live(conn.id()), b"", None),
        }
    }

    fn committed(
        &self,
        conn: &Conn,
        txn: &Txn,
        steps: &[Step],
        results: Vec<MultiWriteResult>,
    ) -> Result<TxnOutcome> {
        let mut versions: Vec<Option<Version>> = vec![None; txn.ops.len()];
        let mut zxid = 0;
        for (step, result) in steps.iter().zip(&results) {
            if let MultiWriteResult::SetData { stat } = result {
                zxid = zxid.max(u64::try_from(stat.mzxid).unwrap_or(0));
                conn.saw(newest(stat));
                if let Step::Set { op } = step {
                    versions[*op] = Some(version(stat));
                }
            }
        }
        if zxid == 0 {
            // It is committed, but an answer without a revision is none we can use.
            return Err(Error::unknown(ErrorKind::Corrupt).because("a multi without zxid"));
        }
        for step in steps {
            // The state of a creation within a multi is not told (ZOOKEEPER-4026).
            if let Step::Create { op, .. } = step {
                versions[*op] = Some(Version([zxid, 0, 0]));
            }
        }
        self.note_moves(txn, steps, &results, zxid);
        let revision = Revision(zxid);
        self.saw(revision);
        Ok(TxnOutcome::Committed { revision, versions })
    }
}

impl Core {
    /// Remembers what our own creations and deletions have made of their spaces.
    fn note_moves(&self, txn: &Txn, steps: &[Step], results: &[MultiWriteResult], zxid: u64) {
        let created = i64::try_from(zxid).unwrap_or(i64::MAX);
        for (step, result) in steps.iter().zip(results) {
            let (Step::Move(space), MultiWriteResult::SetData { stat }) = (step, result) else {
                continue;
            };
            let keys = steps.iter().filter_map(|step| match step {
                Step::Create { op, .. } => Some((txn.ops[*op].key(), Some(created))),
                Step::Delete { op } => Some((txn.ops[*op].key(), None)),
                _ => None,
            });
            let keys = keys.filter(|(key, _)| key.space() == space);
            self.known.moved(space, stat.version, keys.map(|(key, at)| (key.clone(), at)));
        }
    }
}

/// What it means that the server refused the multi at this step.
fn refused(step: Option<&Step>, raw: &Raw) -> Result<Round> {
    let conflict = |compare: usize| Ok(Round::Done(TxnOutcome::Conflict { failed: Some(compare) }));
    match (step, raw) {
        (Some(Step::SameCluster), Raw::NoNode) => Err(ErrorKind::ClusterReplaced.into()),
        (Some(Step::Unmoved(..)), Raw::BadVersion) => Ok(Round::Moved),
        (Some(Step::Holds { compare, .. }), Raw::BadVersion | Raw::NoNode) => conflict(*compare),
        (Some(Step::Create { compare: Some(at), .. }), Raw::NodeExists) => conflict(*at),
        (Some(Step::Create { .. }), Raw::NodeExists) => Ok(Round::Moved),
        (Some(Step::Set { .. } | Step::Delete { .. }), Raw::NoNode) => Ok(Round::Moved),
        (Some(Step::Tick), Raw::NoNode) => Err(ErrorKind::ClusterReplaced.into()),
        _ => Err(Error::none(fault::of_read(raw).kind).because(raw)),
    }
}

fn past(deadline: Instant) -> Option<Error> {
    (Instant::now() >= deadline).then(|| ErrorKind::Timeout.into())
}
