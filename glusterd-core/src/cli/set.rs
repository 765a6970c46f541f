//! `volume set`, `volume set all`, `volume set help`.
//!
//! What is legal and what changes is decided in `options`; here requests are read, graphs and
//! nodes are brought in. Facts: glusterd-handler.c:1900-2010; glusterd-hooks.c:150-215 (v10.3).

use super::args::{self, Args};
use super::graphs::VolumeGraphs;
use super::masters;
use super::start::echo_id;
use crate::model::{Global, NodeId, Refusal};
use crate::ops::{Answer, Ask, Commit, Cx, Hooks, Operation, Outcome, Question, Step};
use crate::options::{
    Change, Needs, NodeFacts, Pool, Set, Target, apply_set, help_text, help_xml, stage_set,
};
use crate::rpc::Dict;
use crate::store::{Edit, View};

/// Pairs in one request; the CLI's own word limit is far below.
const PAIRS_MAX: usize = 4096;

/// SET_VOLUME.
pub enum SetVolume {
    Help { xml: bool },
    Set { volume: String, pairs: Vec<(String, String)>, special: bool },
}

impl SetVolume {
    pub fn parse(dict: &Dict) -> Result<SetVolume, Refusal> {
        let volume = Args(dict)
            .text("volname", "Failed to get volume name while handling volume set command")?;
        if volume == "help" || volume == "help-xml" {
            return Ok(SetVolume::Help { xml: volume == "help-xml" });
        }
        let mut pairs = Vec::new();
        while let Some(key) = dict.str(&format!("key{}", pairs.len() + 1)) {
            let value = dict.str(&format!("value{}", pairs.len() + 1));
            let missing = || {
                Refusal::handler(format!(
                    "Failed to get value while handling volume set for {volume}"
                ))
            };
            pairs.push((key.to_owned(), value.ok_or_else(missing)?.to_owned()));
            if pairs.len() > PAIRS_MAX {
                return Err(Refusal::handler("Too many options in one command"));
            }
        }
        if pairs.is_empty() {
            let text = format!("Failed to get key while handling volume set for {volume}");
            return Err(Refusal::handler(text));
        }
        Ok(SetVolume::Set { volume, pairs, special: dict.contains("is-special-key") })
    }
}

impl SetVolume {
    /// One option, for a command that has its own name for it.
    pub fn switch(volume: &str, key: &str, value: &str) -> SetVolume {
        let pairs = vec![(key.to_owned(), value.to_owned())];
        SetVolume::Set { volume: volume.to_owned(), pairs, special: true }
    }
}

impl Operation for SetVolume {
    fn plan(&self, cx: &Cx<'_>) -> Result<Step, Refusal> {
        let SetVolume::Set { volume, pairs, special } = self else { return Ok(Step::Done) };
        let target = target(cx.view, volume)?;
        if matches!(target, Target::Pool) {
            masters::check(cx.view, cx.site.built_in_store, pairs)?;
        }
        let set = Set { target, pairs, special: *special };
        let pool = pool(cx.view);
        let graphs = VolumeGraphs::new(cx);
        match set.needs() {
            Some(needs) if cx.answers.is_empty() => {
                return Ok(Step::Ask(questions(cx, volume, target, &needs)));
            }
            Some(_) => stage_everywhere(cx, &pool, &set, &graphs)?,
            None => stage_set(&pool, &set, &NodeFacts::default(), &graphs)?,
        }
        let change = apply_set(&pool, &set, &graphs)?;
        let hooks = hooks(cx, volume, pairs);
        Ok(Step::commit(Commit { hooks: Some(hooks), ..commit(cx, change) }))
    }

    fn reply(&self, outcome: &Outcome<'_>, reply: &mut Dict) -> Result<(), Refusal> {
        match self {
            SetVolume::Help { xml: false } => reply.set_str("help-str", help_text()),
            SetVolume::Help { xml: true } => reply.set_str("help-str", help_xml()),
            SetVolume::Set { volume, .. } => echo_id(outcome, volume, reply),
        }
        Ok(())
    }

    fn queue(&self) -> Option<String> {
        match self {
            SetVolume::Help { .. } => None,
            SetVolume::Set { volume, .. } => Some(volume.clone()),
        }
    }

    fn changes(&self) -> bool {
        matches!(self, SetVolume::Set { .. })
    }

    fn ignores_quorum(&self) -> bool {
        let lifts = |(key, _): &(String, String)| {
            let key = key.strip_prefix("cluster.").unwrap_or(key);
            matches!(key, "server-quorum-type" | "server-quorum-ratio")
        };
        matches!(self, SetVolume::Set { pairs, .. } if pairs.iter().all(lifts))
    }
}

/// `all` in any case is the pool.
pub fn target<'v>(view: &'v View, volume: &str) -> Result<Target<'v>, Refusal> {
    if volume.eq_ignore_ascii_case("all") {
        return Ok(Target::Pool);
    }
    args::volume(view, volume).map(|volume| Target::Volume(volume))
}

pub fn pool(view: &View) -> Pool<'_> {
    Pool { volumes: &view.volumes, global: &view.global, nodes_up: view.alive.len() }
}

/// Records to write and volumes to settle. A change of the pool's op-version, or one that sweeps
/// them, concerns all.
pub fn commit(cx: &Cx<'_>, change: Change) -> Commit {
    let now = &cx.view.global;
    let of_all = |g: &Global| (g.op_version, g.swept) != (now.op_version, now.swept);
    let settle = match change.global.as_ref().is_some_and(of_all) {
        true => cx.view.volumes.keys().cloned().collect(),
        false => change.volumes.iter().map(|volume| volume.name.clone()).collect(),
    };
    let volumes = change.volumes.into_iter().map(|volume| Edit::PutVolume(Box::new(volume)));
    Commit {
        edits: volumes.chain(change.global.map(Edit::PutGlobal)).collect(),
        settle,
        ..Commit::default()
    }
}

/// To every living node, this one first: its words go out as they are.
fn questions(cx: &Cx<'_>, name: &str, target: Target<'_>, needs: &Needs) -> Vec<Ask> {
    let me = cx.view.me;
    let others = cx.view.alive.iter().copied().filter(|node| *node != me);
    let of_volume = matches!(target, Target::Volume(_));
    let question = Question::OptionFacts {
        volume: of_volume.then(|| name.to_owned()),
        directories: needs.directories.clone(),
        trash_dir: needs.trash_dir.clone(),
        client_op_version: needs.client_op_version,
    };
    std::iter::once(me).chain(others).map(|node| Ask::new(node, question.clone())).collect()
}

fn stage_everywhere(
    cx: &Cx<'_>,
    pool: &Pool<'_>,
    set: &Set<'_>,
    graphs: &VolumeGraphs<'_>,
) -> Result<(), Refusal> {
    for answered in cx.answers {
        let staged = match &answered.answer {
            Answer::OptionFacts(facts) => stage_set(pool, set, facts, graphs),
            Answer::Refused { text, .. } => Err(Refusal::staged(text.clone())),
            _ => Err(Refusal::staged("")),
        };
        staged.map_err(|refusal| of_node(cx, answered.node, refusal))?;
    }
    Ok(())
}

/// A refusal in the words of whoever refused.
fn of_node(cx: &Cx<'_>, node: NodeId, refusal: Refusal) -> Refusal {
    let host = match cx.view.peers.get(&node).and_then(|peer| peer.hostnames.first()) {
        _ if node == cx.view.me => "localhost".to_owned(),
        Some(host) => host.clone(),
        None => node.to_string(),
    };
    let text = match refusal.text.as_str() {
        "" => format!("Staging failed on {host}. Please check log file for details."),
        _ if node == cx.view.me => return refusal,
        text => format!("Staging failed on {host}. Error: {text}"),
    };
    Refusal { text, ..refusal }
}

fn hooks(cx: &Cx<'_>, volume: &str, pairs: &[(String, String)]) -> Hooks {
    let mut arguments = vec![format!("--volname={volume}"), "-o".to_owned()];
    arguments.extend(pairs.iter().map(|(key, value)| format!("{key}={value}")));
    arguments.push(format!("--gd-workdir={}", cx.site.workdir.display()));
    Hooks { event: "set", pre: arguments.clone(), post: arguments }
}
