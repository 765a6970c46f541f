//! `volume rebalance …`, and `volume remove-brick … status|stop`: one procedure.
//!
//! Facts: glusterd-rebalance.c:433-1330; glusterd-op-sm.c:4665-4750 (fix-layout in replies);
//! glusterd-utils.c `glusterd_volume_rebalance_use_rsp_dict` (order of nodes) (v10.3).

use super::args::{self, Args};
use super::motion::{client_asks, commit_hash, refuse_old_clients};
use super::status::shown_host;
use crate::model::{BrickSpec, DefragStatus, NodeId, Refusal, Task, TaskKind, Volume};
use crate::ops::{Answer, Answered, Ask, Commit, Cx, Moving, Operation, Outcome, Question, Step};
use crate::rpc::Dict;
use crate::store::{Edit, View};

/// `gf_cli_defrag_type` as far as it can be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Start,
    Stop,
    Status,
    FixLayout,
    StartForce,
}

const ACTIONS: [(u32, Action); 5] = [
    (1, Action::Start),
    (2, Action::Stop),
    (3, Action::Status),
    (4, Action::FixLayout),
    (5, Action::StartForce),
];

/// From here on this node is the last one in replies, not the first.
const OWN_ROW_LAST: u32 = 60_000;

/// DEFRAG_VOLUME.
pub struct Defrag {
    volume: String,
    action: Action,
    /// Typed as `remove-brick`, about these bricks.
    removal: Option<Vec<String>>,
}

impl Defrag {
    pub fn parse(dict: &Dict) -> Result<Defrag, Refusal> {
        let args = Args(dict);
        let volume = args.text("volname", "Failed to get volume name")?;
        let code: u32 = args.number("rebalance-command", "Failed to get command")?;
        let action = ACTIONS.iter().find(|(known, _)| *known == code).map(|(_, action)| *action);
        let action = action.ok_or_else(|| Refusal::handler("Operation failed"))?;
        let bricks = (1..).map_while(|n| dict.str(&format!("brick{n}"))).map(str::to_owned);
        let typed = dict.str("cmd-str").is_some_and(|text| text.contains("remove-brick"));
        Ok(Defrag { volume, action, removal: typed.then(|| bricks.collect()) })
    }

    fn check(&self, volume: &Volume) -> Result<(), Refusal> {
        let no = |text: String| Err(Refusal::staged(text));
        let name = &volume.name;
        if volume.bricks.len() <= volume.layout.leaf() {
            return no(format!(
                "Volume {name} is not a distribute volume or contains only 1 brick.\nNot \
                 performing rebalance"
            ));
        }
        if !volume.is_started() {
            return no(format!("Volume {name} needs to be started to perform rebalance"));
        }
        match self.action {
            Action::Stop | Action::Status => self.check_task(volume),
            Action::Start | Action::FixLayout | Action::StartForce => Ok(()),
        }
    }

    fn check_start(&self, volume: &Volume) -> Result<(), Refusal> {
        let name = &volume.name;
        if volume.task.as_ref().is_some_and(Task::is_open_removal) {
            return Err(Refusal::staged(format!(
                "A remove-brick task on volume {name} is not yet committed. Either commit or stop \
                 the remove-brick task."
            )));
        }
        if volume.is_moving() {
            return Err(Refusal::staged(format!("Rebalance on {name} is already started")));
        }
        Ok(())
    }

    fn check_task(&self, volume: &Volume) -> Result<(), Refusal> {
        let name = &volume.name;
        let task = volume.task.as_ref().filter(|task| !task.over);
        let removes = task.is_some_and(|task| task.kind == TaskKind::RemoveBrick);
        match &self.removal {
            None if task.is_none() || removes => {
                Err(Refusal::staged(format!("Rebalance not started for volume {name}.")))
            }
            Some(_) if !removes => {
                Err(Refusal::staged(format!("remove-brick not started for volume {name}.")))
            }
            Some(bricks) if !bricks.iter().all(|text| is_leaving(volume, text)) => {
                Err(Refusal::staged(format!("Incorrect brick for volume {name}")))
            }
            _ => Ok(()),
        }
    }

    fn start(&self, cx: &Cx<'_>, volume: &Volume) -> Commit {
        let (kind, command) = match self.action {
            Action::FixLayout => (TaskKind::FixLayout, 4),
            Action::StartForce => (TaskKind::Rebalance, 5),
            Action::Start | Action::Stop | Action::Status => (TaskKind::Rebalance, 1),
        };
        let mut after = volume.clone();
        after.task = Some(Task {
            id: cx.fresh[0],
            kind,
            command,
            commit_hash: commit_hash(&cx.fresh[1]),
            status: DefragStatus::Started,
            bricks: vec![],
            over: false,
        });
        commit(after)
    }

    /// The processes have been told; here their end becomes what the pool wants.
    fn stop(&self, cx: &Cx<'_>, volume: &Volume) -> Commit {
        let mut after = volume.clone();
        let mut marked = false;
        for brick in &mut after.bricks {
            marked |= std::mem::take(&mut brick.decommissioned);
        }
        after.version += u32::from(marked);
        let ends: Vec<DefragStatus> = rows(cx.answers)
            .filter_map(|(_, row)| DefragStatus::from_code(row.status))
            .filter(|status| status.is_final())
            .collect();
        if let Some(task) = &mut after.task {
            task.over = true;
            if task.status == DefragStatus::Started {
                task.status = match DefragStatus::of_all(&ends) {
                    DefragStatus::NotStarted => DefragStatus::Stopped,
                    status => status,
                };
            }
        }
        commit(after)
    }
}

fn commit(after: Volume) -> Commit {
    let settle = vec![after.name.clone()];
    Commit { edits: vec![Edit::PutVolume(Box::new(after))], settle, ..Commit::default() }
}

fn is_leaving(volume: &Volume, text: &str) -> bool {
    let known = BrickSpec::parse(text).and_then(|spec| volume.position(&spec.host, &spec.path));
    known.is_some_and(|index| volume.bricks[index].decommissioned)
}

fn rows(answers: &[Answered]) -> impl Iterator<Item = (NodeId, Moving)> {
    answers.iter().filter_map(|answered| match answered.answer {
        Answer::Moving(row) => Some((answered.node, row)),
        _ => None,
    })
}

impl Operation for Defrag {
    fn plan(&self, cx: &Cx<'_>) -> Result<Step, Refusal> {
        let volume = args::volume(cx.view, &self.volume)?;
        self.check(volume)?;
        match self.action {
            Action::Start | Action::FixLayout if cx.answers.is_empty() => {
                Ok(Step::Ask(client_asks(cx, volume)))
            }
            Action::Start | Action::FixLayout | Action::StartForce => {
                refuse_old_clients(cx, volume, "rebalance")?;
                self.check_start(volume)?;
                let waited = |a: &Answered| a.question == Question::AwaitClients;
                Ok(match cx.answers.iter().any(waited) {
                    true => Step::commit(self.start(cx, volume)),
                    false => Step::Ask(vec![Ask::new(cx.view.me, Question::AwaitClients)]),
                })
            }
            Action::Stop | Action::Status if cx.answers.is_empty() => {
                let stop = self.action == Action::Stop;
                let ask = |node: &NodeId| {
                    Ask::new(*node, Question::Rebalance { volume: self.volume.clone(), stop })
                };
                Ok(Step::Ask(cx.view.alive.iter().map(ask).collect()))
            }
            Action::Stop => Ok(Step::commit(self.stop(cx, volume))),
            Action::Status => Ok(Step::Done),
        }
    }

    fn reply(&self, outcome: &Outcome<'_>, reply: &mut Dict) -> Result<(), Refusal> {
        super::start::echo_id(outcome, &self.volume, reply);
        let volume = args::volume(outcome.view, &self.volume)?;
        let Some(task) = &volume.task else { return Ok(()) };
        let key = match task.kind {
            TaskKind::RemoveBrick => "remove-brick-id",
            TaskKind::Rebalance | TaskKind::FixLayout => "rebalance-id",
        };
        reply.set_str(key, task.id.to_string());
        if matches!(self.action, Action::Stop | Action::Status) {
            table(outcome, task, reply);
        }
        Ok(())
    }

    fn queue(&self) -> Option<String> {
        (self.action != Action::Status).then(|| self.volume.clone())
    }

    fn changes(&self) -> bool {
        self.action != Action::Status
    }
}

/// A row for each node that answered; one that did not leaves its number unused.
fn table(outcome: &Outcome<'_>, task: &Task, reply: &mut Dict) {
    let mut count = 0;
    for (i, node) in in_order(outcome.view).into_iter().enumerate() {
        let Some((_, row)) = rows(outcome.answers).find(|(from, _)| *from == node) else {
            continue;
        };
        count = i + 1;
        let mut int = |key: &str, value: u64| reply.set_int(format!("{key}-{count}"), value);
        int("files", row.files);
        int("size", row.bytes);
        int("lookups", row.scanned);
        int("failures", row.failures);
        int("skipped", row.skipped);
        int("time-left", row.seconds_left);
        // Shown as a fix of the layout: 5 to 8 for 1 to 4.
        let fixes = task.kind == TaskKind::FixLayout && (1..=4).contains(&row.status);
        int("status", u64::from(row.status) + if fixes { 4 } else { 0 });
        reply.set_double(format!("run-time-{count}"), row.seconds);
        reply.set_str(format!("node-uuid-{count}"), node.to_string());
        reply.set_str(format!("node-name-{count}"), shown_host(outcome.view, node));
    }
    reply.set_int("count", count as u64);
}

fn in_order(view: &View) -> Vec<NodeId> {
    let mut nodes: Vec<NodeId> = view.others().map(|peer| peer.id).collect();
    match view.op_version() < OWN_ROW_LAST {
        true => nodes.insert(0, view.me),
        false => nodes.push(view.me),
    }
    nodes
}
