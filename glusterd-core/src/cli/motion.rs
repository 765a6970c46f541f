//! What commands that bring, take or refill bricks share.
//!
//! A brick that joins a replica set is empty and must be known as such before clients see it: see
//! `ops/node_motion.rs`. Facts: glusterd-rebalance.c, glusterd-utils.c:12190, :13470 (v10.3).

use super::bricks::{PlacedBrick, staging_failed};
use crate::model::{NodeId, Refusal, Volume};
use crate::ops::{Answer, Answered, Ask, Cx, Question};
use crate::options::OldClient;
use crate::volgen::{Facts, Spec, Wire, graph};
use std::collections::BTreeMap;
use uuid::Uuid;

/// Op-version of GlusterFS 3.6.0: older clients lose data while files move.
const MOVES_SAFELY: u32 = 30_600;

/// What has to be asked before new bricks of a volume may be committed, in rounds. `None`: all is done.
///
/// `after`: the volume with them. `empty`: ids of those that join a set of copies.
pub fn mark_new(
    cx: &Cx<'_>,
    after: &Volume,
    placed: &[PlacedBrick],
    empty: &[String],
    kind: Joining,
) -> Result<Option<Vec<Ask>>, Refusal> {
    let mut marks = cx
        .answers
        .iter()
        .filter(|a| matches!(a.question, Question::MarkBricks { .. } | Question::MarkEmpty { .. }));
    if marks.clone().next().is_none() {
        return Ok(Some(first_marks(after.id.0, placed, !empty.is_empty(), kind)));
    }
    if let Some(a) = marks.find(|a| !matches!(a.answer, Answer::Done)) {
        return Err(staging_failed(cx.view, a.node, &a.answer));
    }
    if empty.is_empty() {
        return Ok(None);
    }
    let blamed = cx.answers.iter().find(|a| matches!(a.question, Question::BlameEmpty { .. }));
    match blamed {
        None => blame(cx, after, empty, kind).map(|ask| Some(vec![ask])),
        Some(a) if a.answer == Answer::Done => Ok(None),
        Some(a) => Err(staging_failed(cx.view, a.node, &a.answer)),
    }
}

/// How bricks come into a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joining {
    Added { force: bool },
    Replacing { force: bool },
}

fn first_marks(volume_id: Uuid, placed: &[PlacedBrick], empty: bool, kind: Joining) -> Vec<Ask> {
    let (Joining::Added { force } | Joining::Replacing { force }) = kind;
    let ours = |bricks| Question::MarkBricks { volume_id, bricks, force };
    let mut asks = super::create::marks(placed, ours);
    if empty {
        let mut paths: BTreeMap<NodeId, Vec<String>> = BTreeMap::new();
        for brick in placed {
            paths.entry(brick.node).or_default().push(brick.spec.path.clone());
        }
        let dirty = |(node, paths)| Ask::new(node, Question::MarkEmpty { paths });
        asks.extend(paths.into_iter().map(dirty));
    }
    asks
}

fn blame(cx: &Cx<'_>, after: &Volume, ids: &[String], kind: Joining) -> Result<Ask, Refusal> {
    let facts = Facts {
        me: cx.view.me,
        op_version: cx.view.op_version(),
        bind_address: cx.site.bind_address.as_deref(),
        workdir: &cx.site.workdir,
    };
    let wire = Wire::of(after.transport).first().copied().unwrap_or(Wire::Tcp);
    let client = graph(after, Spec::Client { trusted: true, wire }, &facts);
    let volfile = client.map_err(|error| Refusal::staged(error.reason))?.text();
    let question = Question::BlameEmpty {
        volume: after.name.to_string(),
        volfile,
        ids: ids.to_vec(),
        replaced: matches!(kind, Joining::Replacing { .. }),
    };
    Ok(Ask::new(cx.view.me, question))
}

/// Asks every living node for clients that are too old to be trusted with moving files.
pub fn client_asks(cx: &Cx<'_>, volume: &Volume) -> Vec<Ask> {
    let question = Question::OptionFacts {
        volume: Some(volume.name.to_string()),
        directories: vec![],
        trash_dir: None,
        client_op_version: Some(MOVES_SAFELY),
    };
    cx.view.alive.iter().map(|node| Ask::new(*node, question.clone())).collect()
}

/// # Errors
/// There is such a client; `starting` is what must not start.
pub fn refuse_old_clients(cx: &Cx<'_>, volume: &Volume, starting: &str) -> Result<(), Refusal> {
    let old = |answered: &Answered| match &answered.answer {
        Answer::OptionFacts(facts) => facts.old_client.as_ref().map(|OldClient { .. }| ()),
        _ => None,
    };
    match cx.answers.iter().find_map(old) {
        None => Ok(()),
        Some(()) => Err(Refusal::staged(format!(
            "Volume {} has one or more connected clients of a version lower than \
             GlusterFS-v3.6.0. Starting {starting} in this state could lead to data loss.\nPlease \
             disconnect those clients before attempting this command again.",
            volume.name
        ))),
    }
}

/// A hash that layouts of this run carry: not 0 and not 1, which mean none and invalid.
pub fn commit_hash(fresh: &Uuid) -> u32 {
    (fresh.as_u128() as u32) | 0x100
}
