//! `volume replace-brick … commit force` and `volume reset-brick … start|commit [force]`.
//!
//! Both put a brick in another one's place: same position, same id. A reset puts it where it was,
//! on what is mounted there now. Every refusal carries op_errno 0.
//!
//! Facts: glusterd-replace-brick.c:160-470, glusterd-reset-brick.c:30-370, glusterd-utils.c
//! `glusterd_brick_op_prerequisites` (v10.3).

use super::args::Args;
use super::bricks::{BrickPlan, PlacedBrick, Wanted, place_bricks};
use super::motion::{Joining, mark_new};
use crate::model::{Brick, BrickSpec, DefragStatus, Kind, Refusal, Volume, overlaps};
use crate::ops::{Answer, Ask, Commit, Cx, Operation, Outcome, Question, Step};
use crate::rpc::Dict;
use crate::store::Edit;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Replace,
    ResetStart,
    Reset,
    ResetForce,
}

/// REPLACE_BRICK, RESET_BRICK.
pub struct ReplaceBrick {
    volume: String,
    action: Action,
    /// As typed.
    source: String,
    target: String,
    any_device: bool,
}

impl ReplaceBrick {
    pub fn parse(dict: &Dict) -> Result<ReplaceBrick, Refusal> {
        let args = Args(dict);
        let volume = args.text("volname", "Could not get volume name")?;
        let action = match args.text("operation", "Could not get operation")?.as_str() {
            "GF_REPLACE_OP_COMMIT_FORCE" => Action::Replace,
            "GF_RESET_OP_START" => Action::ResetStart,
            "GF_RESET_OP_COMMIT" => Action::Reset,
            "GF_RESET_OP_COMMIT_FORCE" => Action::ResetForce,
            _ => return Err(Refusal::handler("Operation failed")),
        };
        let source = args.text("src-brick", "Failed to get src brick")?;
        let target = match action {
            Action::ResetStart => source.clone(),
            _ => args.text("dst-brick", "Failed to getdest brick")?,
        };
        let any_device = dict.int::<i32>("ignore-partition").is_some_and(|flag| flag != 0);
        Ok(ReplaceBrick { volume, action, source, target, any_device })
    }

    fn resets(&self) -> bool {
        self.action != Action::Replace
    }

    fn force(&self) -> bool {
        matches!(self.action, Action::Replace | Action::ResetForce)
    }

    /// The position of the brick in question.
    fn source(&self, volume: &Volume) -> Result<usize, Refusal> {
        if !volume.is_started() {
            return Err(Refusal::handler(format!("volume: {} is not started", volume.name)));
        }
        if volume.is_moving() {
            return Err(Refusal::handler(format!(
                "Volume name {} rebalance is in progress. Please retry after completion",
                volume.name
            )));
        }
        let spec = BrickSpec::parse(&self.source);
        let found = spec.and_then(|spec| volume.position(&spec.host, &spec.path));
        let at = found.ok_or_else(|| {
            let (source, name) = (&self.source, &volume.name);
            Refusal::handler(format!("brick: {source} does not exist in volume: {name}"))
        })?;
        if self.action == Action::Replace && volume.layout.kind == Kind::Distribute {
            return Err(Refusal::handler(
                "replace-brick is not permitted on distribute only volumes. Please use add-brick \
                 and remove-brick operations instead.",
            ));
        }
        Ok(at)
    }

    fn retire(&self, cx: &Cx<'_>, brick: &Brick) -> Result<Step, Refusal> {
        let volume = self.volume.clone();
        let question = Question::RetireBrick { volume, path: brick.path.clone() };
        match cx.answers.first() {
            // A brick of a node that is down is down.
            None if !cx.view.alive.contains(&brick.node) => Ok(Step::Done),
            None => Ok(Step::Ask(vec![Ask::new(brick.node, question)])),
            Some(a) if a.answer == Answer::Done => Ok(Step::Done),
            Some(a) => Err(super::bricks::staging_failed(cx.view, a.node, &a.answer)),
        }
    }

    fn place(&self, cx: &Cx<'_>, volume: &Volume, old: &Brick) -> Result<BrickPlan, Refusal> {
        let wrong = || Refusal::handler("Operation failed");
        let target = [BrickSpec::parse(&self.target).ok_or_else(wrong)?];
        let room = old.reference();
        let wanted = Wanted {
            instead_of: self.resets().then_some(&room),
            any_device: self.any_device,
            ..Wanted::new(volume.name.as_str(), &target, self.force())
        };
        let placed = place_bricks(cx, wanted).map_err(|no| self.unplaceable(cx, &target[0], no))?;
        if let (true, BrickPlan::Ready(placed)) = (self.resets(), &placed) {
            check_same(placed, old)?;
        }
        Ok(placed)
    }

    /// Stock's other words for what is wrong with the target.
    fn unplaceable(&self, cx: &Cx<'_>, target: &BrickSpec, no: Refusal) -> Refusal {
        let unknown = cx.answers.iter().any(|a| match &a.answer {
            Answer::Located(hosts) => hosts
                .iter()
                .any(|host| host.name == target.host && !host.is_me && host.addresses.is_empty()),
            _ => false,
        });
        if unknown {
            return Refusal::staged(
                "Pre-validation failed on localhost. Please check log file for details",
            );
        }
        if self.resets() && no.text.ends_with("is already part of a volume") {
            return Refusal::staged(
                "Brick not available.It may be containing or be contained by an existing \
                 brick.Use 'force' option to override this.",
            );
        }
        no
    }

    /// Asked before a reset: the brick that makes room must not run.
    fn check_stopped(&self, cx: &Cx<'_>, old: &Brick) -> Result<Option<Step>, Refusal> {
        if !self.resets() || !cx.view.alive.contains(&old.node) {
            return Ok(None);
        }
        let status = cx.answers.iter().find_map(|a| match &a.answer {
            Answer::Status(status) => Some(status),
            _ => None,
        });
        let Some(status) = status else {
            let question = Question::Status { volume: self.volume.clone(), detail: false };
            return Ok(Some(Step::Ask(vec![Ask::new(old.node, question)])));
        };
        if status.bricks.iter().any(|row| row.path == old.path && row.online) {
            return Err(Refusal::handler(
                "Source brick must be stopped. Please use gluster volume reset-brick <volname> \
                 <dst-brick> start.",
            ));
        }
        Ok(None)
    }

    fn after(&self, volume: &Volume, at: usize, placed: &PlacedBrick) -> Volume {
        let mut after = volume.clone();
        let old = &volume.bricks[at];
        after.bricks[at] = Brick {
            node: placed.node,
            host: placed.spec.host.clone(),
            path: placed.spec.path.clone(),
            real_path: placed.checked.real_path.clone(),
            id: old.id.clone(),
            mount_dir: placed.checked.mount_dir.clone(),
            fsid: placed.checked.fsid,
            decommissioned: false,
            snap_status: 0,
            resets: old.resets + 1,
        };
        if let Some(task) = after.task.as_mut().filter(|t| t.status != DefragStatus::NotStarted) {
            task.status = match self.action {
                Action::Replace => DefragStatus::ResetByReplace,
                _ => DefragStatus::ResetByReset,
            };
        }
        after.version += 1;
        after
    }
}

/// A reset takes the brick's own directory; anything else is a replacement.
fn check_same(placed: &[PlacedBrick], old: &Brick) -> Result<(), Refusal> {
    let same = |new: &PlacedBrick| new.node == old.node && overlaps(&new.spec.path, &old.path);
    match placed.iter().all(same) {
        true => Ok(()),
        false => Err(Refusal::handler(
            "When destination brick is new, please use gluster volume replace-brick <volname> \
             <src-brick> <dst-brick> commit force",
        )),
    }
}

impl ReplaceBrick {
    fn step(&self, cx: &Cx<'_>) -> Result<Step, Refusal> {
        let missing = || Refusal::handler(format!("Volume {} does not exist", self.volume));
        let volume = cx.view.volume(&self.volume).ok_or_else(missing)?;
        let at = self.source(volume)?;
        let old = &volume.bricks[at];
        if self.action == Action::ResetStart {
            return self.retire(cx, old);
        }
        if let Some(step) = self.check_stopped(cx, old)? {
            return Ok(step);
        }
        let placed = match self.place(cx, volume, old)? {
            BrickPlan::Ask(asks) => return Ok(Step::Ask(asks)),
            BrickPlan::Ready(placed) => placed,
        };
        let Some(new) = placed.first() else { return Err(Refusal::handler("Operation failed")) };
        let after = self.after(volume, at, new);
        let empty = match volume.layout.kind {
            Kind::Replicate => vec![old.id.clone()],
            Kind::Distribute | Kind::Disperse => vec![],
        };
        let joining = Joining::Replacing { force: self.force() };
        if let Some(asks) = mark_new(cx, &after, &placed, &empty, joining)? {
            return Ok(Step::Ask(asks));
        }
        let settle = vec![after.name.clone()];
        let edits = vec![Edit::PutVolume(Box::new(after))];
        Ok(Step::commit(Commit { edits, settle, ..Commit::default() }))
    }
}

impl Operation for ReplaceBrick {
    fn plan(&self, cx: &Cx<'_>) -> Result<Step, Refusal> {
        self.step(cx).map_err(|no| no.with_errno(0))
    }

    fn reply(&self, outcome: &Outcome<'_>, reply: &mut Dict) -> Result<(), Refusal> {
        super::start::echo_id(outcome, &self.volume, reply);
        Ok(())
    }

    fn queue(&self) -> Option<String> {
        Some(self.volume.clone())
    }

    fn changes(&self) -> bool {
        true
    }
}
