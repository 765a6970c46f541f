//! `volume remove-brick … start|commit|force`; status and stop are in `rebalance`.
//!
//! Facts: glusterd-brick-ops.c:640-830 (handler), 1590-2025 (staging), 2270-2590 (commit) (v10.3).

use super::args::Args;
use super::bricks::staging_failed;
use super::motion::{client_asks, commit_hash, refuse_old_clients};
use super::remove_layout::{Leaving, layout_after, leaving};
use crate::model::{BrickSpec, DefragStatus, Kind, Refusal, Task, TaskKind, Volume};
use crate::ops::{Answer, Ask, Commit, Cx, Hooks, Operation, Outcome, Question, Step};
use crate::options::set_client_threads;
use crate::rpc::Dict;
use crate::store::{Edit, View};
use uuid::Uuid;

/// Bricks in one request; the CLI's own word limit is far below.
const BRICKS_MAX: usize = 65_536;

/// `gf1_op_commands` as far as it comes here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Start,
    Commit,
    Force,
}

/// REMOVE_BRICK.
pub struct RemoveBrick {
    volume: String,
    action: Action,
    /// As typed.
    bricks: Vec<String>,
    replica: Option<u32>,
}

impl RemoveBrick {
    pub fn parse(dict: &Dict) -> Result<RemoveBrick, Refusal> {
        let args = Args(dict);
        let volume = args.volname()?;
        let count: usize = args.number("count", "Unable to get brick count")?;
        let action = match args.number("command", "Unable to get cmd ccommand")? {
            1u32 => Action::Start,
            2 => Action::Commit,
            5 => Action::Force,
            _ => return Err(Refusal::staged("no remove-brick command issued")),
        };
        if count > BRICKS_MAX {
            return Err(Refusal::handler("Operation failed"));
        }
        let brick = |n: usize| {
            let key = format!("brick{n}");
            args.text(&key, &format!("Unable to get {key}"))
        };
        let bricks = (1..=count).map(brick).collect::<Result<_, _>>()?;
        Ok(RemoveBrick { volume, action, bricks, replica: dict.int("replica-count") })
    }

    fn check_start(&self, volume: &Volume) -> Result<(), Refusal> {
        let no = |text: String| Err(Refusal::staged(text));
        let name = &volume.name;
        if volume.layout.kind == Kind::Replicate && self.replica.is_some() {
            return no("Migration of data is not needed when reducing replica count. Use the \
                       'force' option"
                .to_owned());
        }
        if !volume.is_started() {
            return no(format!(
                "Volume {name} needs to be started before remove-brick (you can use 'force' or \
                 'commit' to override this behavior)"
            ));
        }
        if volume.task.as_ref().is_some_and(Task::is_open_removal) {
            return no(format!(
                "An earlier remove-brick task exists for volume {name}. Either commit it or stop \
                 it before starting a new task."
            ));
        }
        if volume.is_moving() {
            return no("Rebalance is in progress. Please retry after completion".to_owned());
        }
        Ok(())
    }

    fn check_commit(&self, view: &View, volume: &Volume, leaving: &Leaving) -> Result<(), Refusal> {
        let no = |text: &str| Err(Refusal::staged(text));
        let task = volume.task.as_ref().filter(|task| !task.over);
        match task {
            Some(task) if task.is_open_removal() && task.is_running() => {
                return no("use 'force' option as migration is in progress");
            }
            Some(task) if task.status == DefragStatus::Failed => {
                return no("use 'force' option as migration has failed");
            }
            Some(task) if task.status == DefragStatus::Complete && left_files(view, task) => {
                return no(
                    "use 'force' option as migration of some files might have been skipped \
                           or has failed",
                );
            }
            _ => {}
        }
        for (text, at) in self.bricks.iter().zip(&leaving.positions) {
            if !volume.bricks[*at].decommissioned {
                return Err(Refusal::staged(format!(
                    "Brick {text} is not decommissioned. Use start or force option"
                )));
            }
        }
        Ok(())
    }

    /// All of them must run, or their files cannot be read.
    fn check_bricks(&self, cx: &Cx<'_>, volume: &Volume, leaving: &Leaving) -> Result<(), Refusal> {
        for (text, at) in self.bricks.iter().zip(&leaving.positions) {
            let brick = &volume.bricks[*at];
            let fault = if !cx.view.alive.contains(&brick.node) {
                match brick.node == cx.view.me || cx.view.peers.contains_key(&brick.node) {
                    true => format!("Host node of the brick {text} is down"),
                    false => format!("Host node of the brick {text} is not in cluster"),
                }
            } else if is_online(cx, brick) {
                continue;
            } else {
                format!("Found stopped brick {text}. Use force option to remove the offline brick")
            };
            return Err(Refusal::staged(fault));
        }
        Ok(())
    }

    fn asks(&self, cx: &Cx<'_>, volume: &Volume) -> Vec<Ask> {
        let status = Question::Status { volume: self.volume.clone(), detail: false };
        let holders = super::start::nodes_of(volume).into_iter();
        let living = holders.filter(|node| cx.view.alive.contains(node));
        let mut asks: Vec<Ask> = living.map(|node| Ask::new(node, status.clone())).collect();
        asks.extend(client_asks(cx, volume));
        asks
    }

    fn start(&self, cx: &Cx<'_>, volume: &Volume, leaving: &Leaving) -> Commit {
        let mut after = volume.clone();
        for at in &leaving.positions {
            after.bricks[*at].decommissioned = true;
        }
        let spec = |text: &String| BrickSpec::parse(text).map(|spec| spec.to_string());
        after.task = Some(Task {
            id: cx.fresh[0],
            kind: TaskKind::RemoveBrick,
            command: 5,
            commit_hash: commit_hash(&cx.fresh[1]),
            status: DefragStatus::Started,
            bricks: self.bricks.iter().filter_map(spec).collect(),
            over: false,
        });
        commit(cx, after)
    }

    fn remove(&self, cx: &Cx<'_>, volume: &Volume, leaving: &Leaving) -> Commit {
        let mut after = volume.clone();
        let mut at = 0;
        after.bricks.retain(|_| {
            at += 1;
            !leaving.positions.contains(&(at - 1))
        });
        after.layout = layout_after(volume, leaving.replica);
        after.task = volume.task.as_ref().map(ended);
        commit(cx, after)
    }
}

/// Traces of a task that a removal put an end to, whatever it was: counters gone, the state as it
/// was, and after the next removal none.
fn ended(task: &Task) -> Task {
    let again = task.over && task.bricks.is_empty() && task.id.is_nil();
    let status = match task.status {
        _ if again => DefragStatus::NotStarted,
        DefragStatus::Started => DefragStatus::Complete,
        status => status,
    };
    Task { id: Uuid::nil(), status, bricks: vec![], over: true, ..task.clone() }
}

fn left_files(view: &View, task: &Task) -> bool {
    let of_task = view.progress.iter().filter(|((id, _), _)| *id == task.id);
    of_task.into_iter().any(|(_, p)| p.counts.failures > 0 || p.counts.skipped > 0)
}

fn is_online(cx: &Cx<'_>, brick: &crate::model::Brick) -> bool {
    cx.answers.iter().any(|answered| match &answered.answer {
        Answer::Status(status) if answered.node == brick.node => {
            status.bricks.iter().any(|row| row.path == brick.path && row.online)
        }
        _ => false,
    })
}

fn commit(cx: &Cx<'_>, mut after: Volume) -> Commit {
    if after.layout.kind != Kind::Replicate {
        set_client_threads(&mut after, true, cx.view.op_version());
    }
    after.version += 1;
    let args = vec![format!("--volname={}", after.name)];
    let settle = vec![after.name.clone()];
    let hooks = Some(Hooks { event: "remove-brick", pre: args.clone(), post: args });
    Commit { edits: vec![Edit::PutVolume(Box::new(after))], settle, hooks, ..Commit::default() }
}

impl Operation for RemoveBrick {
    fn plan(&self, cx: &Cx<'_>) -> Result<Step, Refusal> {
        let missing = || Refusal::handler(format!("Volume {} does not exist", self.volume));
        let volume = cx.view.volume(&self.volume).ok_or_else(missing)?;
        let leaving = leaving(volume, &self.bricks, self.replica)?;
        if leaving.positions.len() == volume.bricks.len() {
            let text = "Deleting all the bricks of the volume is not allowed";
            return Err(Refusal::staged(text));
        }
        match self.action {
            Action::Start => {
                self.check_start(volume)?;
                if cx.answers.is_empty() {
                    return Ok(Step::Ask(self.asks(cx, volume)));
                }
                refuse_old_clients(cx, volume, "remove-brick")?;
                let failed = cx.answers.iter().find(|a| matches!(a.answer, Answer::Refused { .. }));
                if let Some(a) = failed {
                    return Err(staging_failed(cx.view, a.node, &a.answer));
                }
                self.check_bricks(cx, volume, &leaving)?;
                Ok(Step::commit(self.start(cx, volume, &leaving)))
            }
            Action::Commit => {
                self.check_commit(cx.view, volume, &leaving)?;
                Ok(Step::commit(self.remove(cx, volume, &leaving)))
            }
            Action::Force => Ok(Step::commit(self.remove(cx, volume, &leaving))),
        }
    }

    fn reply(&self, outcome: &Outcome<'_>, reply: &mut Dict) -> Result<(), Refusal> {
        super::start::echo_id(outcome, &self.volume, reply);
        let view = if self.action == Action::Start { outcome.view } else { outcome.before };
        let task = view.volume(&self.volume).and_then(|volume| volume.task.as_ref());
        if let Some(task) = task.filter(|task| !task.over) {
            reply.set_str("remove-brick-id", task.id.to_string());
        }
        Ok(())
    }

    fn queue(&self) -> Option<String> {
        Some(self.volume.clone())
    }

    fn changes(&self) -> bool {
        true
    }
}
