//! `volume add-brick`.
//!
//! Facts: glusterd-brick-ops.c:33-120, 126-470, 965-1340 (v10.3).

use super::args::{self, Args};
use super::bricks::{BrickPlan, PlacedBrick, Wanted, check_hosts, overridden, place_bricks};
use super::graphs::VolumeGraphs;
use super::motion::{Joining, mark_new};
use crate::model::{Brick, BrickSpec, Kind, Layout, NodeId, Refusal, Status, Volume};
use crate::ops::{Answer, Ask, Commit, Cx, Hooks, Operation, Outcome, Question, Step};
use crate::options::set_client_threads;
use crate::rpc::Dict;
use crate::store::Edit;

/// ADD_BRICK.
pub struct AddBrick {
    volume: String,
    bricks: Vec<BrickSpec>,
    replica: u32,
    arbiter: u32,
    force: bool,
}

impl AddBrick {
    pub fn parse(dict: &Dict) -> Result<AddBrick, Refusal> {
        let args = Args(dict);
        let volume = args.volname()?;
        let count: usize = args.number("count", "Unable to get volume brick count")?;
        let text = args.text("bricks", "Unable to get volume bricks")?;
        let bricks: Option<Vec<BrickSpec>> =
            text.split_ascii_whitespace().take(count).map(BrickSpec::parse).collect();
        let bricks = bricks.filter(|bricks| !bricks.is_empty() && bricks.len() == count);
        Ok(AddBrick {
            volume,
            bricks: bricks.ok_or_else(|| Refusal::handler("Operation failed"))?,
            replica: dict.int("replica-count").unwrap_or(0),
            arbiter: dict.int("arbiter-count").unwrap_or(0),
            force: args.force(),
        })
    }

    /// The layout with the new bricks, or why the numbers do not fit.
    fn layout(&self, volume: &Volume) -> Result<Layout, Refusal> {
        let no = |text: String| Err(Refusal::handler(text));
        let (old, new) = (volume.bricks.len(), self.bricks.len());
        let (layout, replica) = (volume.layout, self.replica);
        if replica == 0 {
            return match new % layout.leaf() {
                0 => Ok(layout),
                _ => no(format!(
                    "Incorrect number of bricks supplied {new} with count {}",
                    layout.leaf()
                )),
            };
        }
        match layout.kind {
            Kind::Disperse => no(format!(
                "Volume {} cannot be converted from dispersed to replicated-dispersed",
                volume.name
            )),
            Kind::Distribute if old * replica as usize != old + new => no(format!(
                "Incorrect number of bricks ({new}) supplied for replica count ({replica})."
            )),
            Kind::Replicate if replica < layout.replica => no(format!(
                "Incorrect replica count ({replica}) supplied. Volume already has ({})",
                layout.replica
            )),
            Kind::Replicate if replica == layout.replica => {
                if self.arbiter > 0 && layout.arbiter == 0 {
                    return no("Cannot convert replica 3 volume to arbiter volume.".to_owned());
                }
                if (old + new) % layout.leaf() == 0 {
                    Ok(layout)
                } else {
                    no("Operation failed".to_owned())
                }
            }
            Kind::Replicate if (old + new) * layout.leaf() != old * replica as usize => {
                no("Operation failed".to_owned())
            }
            _ => Ok(Layout { kind: Kind::Replicate, replica, arbiter: self.arbiter, ..layout }),
        }
    }

    fn check(&self, volume: &Volume, layout: &Layout, op_version: u32) -> Result<(), Refusal> {
        let raises = layout.replica > volume.layout.replica;
        let copies = volume.layout.kind == Kind::Replicate;
        if raises && copies && volume.status == Status::Stopped {
            return Err(Refusal::staged(
                " Volume must not be in stopped state when replica-count needs to  be increased.",
            ));
        }
        if raises && copies && layout.arbiter == 1 && layout.replica == 3 && op_version < 30_800 {
            return Err(Refusal::staged(
                "Cluster op-version must be >= 30800 to add arbiter brick to a replica 2 volume.",
            ));
        }
        if raises && volume.layout.arbiter > 0 {
            let text = "Increasing replica count for arbiter volumes is not supported.";
            return Err(Refusal::staged(text));
        }
        if volume.is_moving() {
            return Err(Refusal::staged(format!(
                "Volume name {} rebalance is in progress. Please retry after completion",
                volume.name
            )));
        }
        Ok(())
    }

    fn after(
        &self,
        volume: &Volume,
        layout: Layout,
        placed: &[PlacedBrick],
        op_version: u32,
    ) -> Volume {
        let mut after = volume.clone();
        let turned = volume.layout.kind != Kind::Replicate && layout.kind == Kind::Replicate;
        let new = new_bricks(volume, placed);
        let (old_leaf, new_leaf) = (volume.layout.leaf(), layout.leaf());
        for (k, brick) in new.into_iter().enumerate() {
            let at = match new_leaf > old_leaf {
                true => place(k, old_leaf, new_leaf),
                false => after.bricks.len(),
            };
            after.bricks.insert(at.min(after.bricks.len()), brick);
        }
        after.layout = layout;
        if turned {
            set_client_threads(&mut after, false, op_version);
        }
        after.version += 1;
        after
    }

    /// A copy that is down now would miss being told that the new ones are empty.
    fn check_up(&self, cx: &Cx<'_>, volume: &Volume) -> Result<Option<Step>, Refusal> {
        let down = |brick: &Brick| {
            Err(Refusal::staged(format!(
                "Brick {} is down, changing replica count needs all the bricks to be up to avoid \
                 data loss",
                brick.path
            )))
        };
        if let (false, Some(first)) = (volume.is_started(), volume.bricks.first()) {
            return down(first);
        }
        let row = |brick: &Brick| {
            let found = cx.answers.iter().filter(|a| a.node == brick.node);
            let mut found = found.filter_map(|a| match &a.answer {
                Answer::Status(status) => Some(status),
                _ => None,
            });
            found
                .next()
                .map(|status| status.bricks.iter().any(|row| row.path == brick.path && row.online))
        };
        let nodes = super::start::nodes_of(volume);
        let living = || nodes.iter().filter(|node| cx.view.alive.contains(node));
        if volume.bricks.iter().all(|brick| row(brick).is_none()) && living().next().is_some() {
            let question = Question::Status { volume: self.volume.clone(), detail: false };
            let ask = |node: &NodeId| Ask::new(*node, question.clone());
            return Ok(Some(Step::Ask(living().map(ask).collect())));
        }
        match volume.bricks.iter().find(|brick| row(brick) == Some(false)) {
            None => Ok(None),
            Some(brick) => down(brick),
        }
    }

    /// How the bricks are to be checked. A volume that has copies already wants the new ones on
    /// other hosts.
    fn wanted<'a>(&'a self, volume: &Volume, layout: &Layout, hosts: &'a [String]) -> Wanted<'a> {
        let raises = layout.replica > volume.layout.replica;
        let (spread, copies) = match volume.layout.kind {
            Kind::Distribute => (None, false),
            Kind::Replicate => (Some(("replicate", layout.leaf())), raises && !self.force),
            Kind::Disperse => (Some(("disperse", layout.leaf())), false),
        };
        let beside = if copies { hosts } else { &[] };
        Wanted { spread, beside, ..Wanted::new(&self.volume, &self.bricks, self.force) }
    }
}

fn commit(after: Volume) -> Commit {
    let args = vec![
        format!("--volname={}", after.name),
        "--version=1".to_owned(),
        "--volume-op=add-brick".to_owned(),
    ];
    let settle = vec![after.name.clone()];
    let hooks = Some(Hooks { event: "add-brick", pre: args.clone(), post: args });
    Commit { edits: vec![Edit::PutVolume(Box::new(after))], settle, hooks, ..Commit::default() }
}

/// Where the k-th new brick goes, so that each subvolume gets its share in turn.
fn place(k: usize, old: usize, new: usize) -> usize {
    let added = new - old;
    (k / added) * new + old + k % added
}

/// With ids that no brick of the volume has had while a higher one exists.
fn new_bricks(volume: &Volume, placed: &[PlacedBrick]) -> Vec<Brick> {
    let prefix = format!("{}-client-", volume.name);
    let number = |brick: &Brick| brick.id.strip_prefix(&prefix)?.parse::<u64>().ok();
    let first = volume.bricks.iter().filter_map(number).max().map_or(0, |max| max + 1);
    let brick = |(placed, n): (&PlacedBrick, u64)| Brick {
        node: placed.node,
        host: placed.spec.host.clone(),
        path: placed.spec.path.clone(),
        real_path: placed.checked.real_path.clone(),
        id: format!("{prefix}{n}"),
        mount_dir: placed.checked.mount_dir.clone(),
        fsid: placed.checked.fsid,
        decommissioned: false,
        snap_status: 0,
        resets: 0,
    };
    placed.iter().zip(first..).map(brick).collect()
}

impl Operation for AddBrick {
    fn plan(&self, cx: &Cx<'_>) -> Result<Step, Refusal> {
        let missing = |no: Refusal| Refusal {
            text: format!("Unable to get volinfo for volume name {}", self.volume),
            errno: 0,
            ..no
        };
        let volume = args::volume(cx.view, &self.volume).map_err(missing)?;
        let layout = self.layout(volume)?;
        self.check(volume, &layout, cx.view.global.op_version)?;
        let raises = layout.replica > volume.layout.replica;
        let hosts: Vec<String> = volume.bricks.iter().map(|brick| brick.host.clone()).collect();
        let wanted = self.wanted(volume, &layout, &hosts);
        if raises && !self.force {
            if let Some(asks) = check_hosts(cx, &wanted)? {
                return Ok(Step::Ask(asks));
            }
            if let Some(step) = self.check_up(cx, volume)? {
                return Ok(step);
            }
        }
        let placed = match place_bricks(cx, wanted)? {
            BrickPlan::Ask(asks) => return Ok(Step::Ask(asks)),
            BrickPlan::Ready(placed) => placed,
        };
        let after = self.after(volume, layout, &placed, cx.view.op_version());
        if after.layout.kind != volume.layout.kind {
            VolumeGraphs::new(cx).try_kind(&after).map_err(Refusal::staged)?;
        }
        // Marked before the commit: a started volume's nodes launch new bricks as soon as they see
        // them, and refuse what is not marked.
        let joins = |brick: &&Brick| volume.bricks.iter().all(|old| old.id != brick.id);
        let empty: Vec<String> = match raises && volume.is_started() {
            true => after.bricks.iter().filter(joins).map(|brick| brick.id.clone()).collect(),
            false => vec![],
        };
        match mark_new(cx, &after, &placed, &empty, Joining::Added { force: self.force })? {
            Some(asks) => Ok(Step::Ask(asks)),
            None => {
                let note = overridden(&placed);
                Ok(Step::commit(Commit { note, ..commit(after) }))
            }
        }
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

#[cfg(test)]
mod tests {
    use super::place;

    #[test]
    fn each_subvolume_gets_its_share_in_turn() {
        let grow = |old: usize, new: usize, volumes: usize| {
            let mut list: Vec<String> = (0..old * volumes).map(|n| format!("b{n}")).collect();
            for k in 0..(new - old) * volumes {
                list.insert(place(k, old, new), format!("n{k}"));
            }
            list.join(" ")
        };
        assert_eq!(grow(2, 3, 2), "b0 b1 n0 b2 b3 n1");
        assert_eq!(grow(1, 2, 3), "b0 n0 b1 n1 b2 n2");
        assert_eq!(grow(1, 3, 2), "b0 n0 n1 b1 n2 n3");
    }
}
