//! `volume create`.
//!
//! Facts: glusterd-volume-ops.c:41-290, 864-1130, 1860-2190 (v10.3).

use super::args::Args;
use super::bricks::{BrickPlan, PlacedBrick, Wanted, overridden, place_bricks};
use crate::model::{
    Brick, BrickSpec, Credentials, Kind, Layout, OptionList, Refusal, Status, ThinArbiter,
    Transport, Volume, VolumeId, VolumeName,
};
use crate::ops::{Ask, Commit, Cx, Hooks, Operation, Outcome, Question, Step};
use crate::rpc::Dict;
use crate::store::Edit;
use std::collections::BTreeMap;
use uuid::Uuid;

/// CREATE_VOLUME.
pub struct Create {
    volume: String,
    layout: Layout,
    transport: Transport,
    bricks: Vec<BrickSpec>,
    thin_arbiter: Option<ThinArbiter>,
    force: bool,
}

impl Create {
    pub fn parse(dict: &Dict) -> Result<Create, Refusal> {
        let args = Args(dict);
        let volume = args.volname()?;
        let missing = |what: &str| format!("Unable to get {what} volume {volume}");
        let count: usize = args.number("count", &missing("brick count for"))?;
        let kind: u32 = args.number("type", &missing("type of"))?;
        let transport = args.text("transport", &missing("transport-type of"))?;
        let bricks = args.text("bricks", &missing("bricks for"))?;
        if !dict.contains("force") {
            return Err(Refusal::handler("Operation failed"));
        }
        let bricks = parse_bricks(&bricks, count)?;
        Ok(Create {
            layout: parse_layout(dict, kind)?,
            transport: Transport::parse(&transport).unwrap_or(Transport::TcpRdma),
            thin_arbiter: parse_thin_arbiter(dict)?,
            force: args.force(),
            volume,
            bricks,
        })
    }
}

fn parse_bricks(text: &str, count: usize) -> Result<Vec<BrickSpec>, Refusal> {
    let wrong = || Refusal::handler("Operation failed");
    let bricks: Option<Vec<BrickSpec>> =
        text.split_ascii_whitespace().take(count).map(BrickSpec::parse).collect();
    bricks.filter(|bricks| bricks.len() == count && count > 0).ok_or_else(wrong)
}

fn parse_layout(dict: &Dict, kind: u32) -> Result<Layout, Refusal> {
    let refused = || Refusal::handler("Operation failed");
    let kind = Kind::from_code(kind).ok_or_else(refused)?;
    let count = |key: &str| dict.int::<u32>(key);
    Ok(match kind {
        Kind::Distribute => Layout::DISTRIBUTE,
        Kind::Replicate => Layout {
            kind,
            replica: count("replica-count").filter(|n| *n > 0).ok_or_else(refused)?,
            arbiter: count("arbiter-count").unwrap_or(0),
            thin_arbiter: count("thin-arbiter-count").unwrap_or(0),
            ..Layout::DISTRIBUTE
        },
        Kind::Disperse => Layout {
            kind,
            disperse: count("disperse-count").filter(|n| *n > 0).ok_or_else(refused)?,
            redundancy: count("redundancy-count").ok_or_else(refused)?,
            ..Layout::DISTRIBUTE
        },
    })
}

fn parse_thin_arbiter(dict: &Dict) -> Result<Option<ThinArbiter>, Refusal> {
    if dict.int::<u32>("thin-arbiter-count").unwrap_or(0) == 0 {
        return Ok(None);
    }
    let text = dict.str("ta-brick").unwrap_or("").trim();
    let spec = BrickSpec::parse(text).ok_or_else(|| Refusal::handler("Operation failed"))?;
    Ok(Some(ThinArbiter { host: spec.host, path: spec.path }))
}

impl Operation for Create {
    fn plan(&self, cx: &Cx<'_>) -> Result<Step, Refusal> {
        if cx.view.volume(&self.volume).is_some() {
            return Err(Refusal::handler(format!("Volume {} already exists", self.volume)));
        }
        let spread = match self.layout.kind {
            Kind::Distribute => None,
            Kind::Replicate => Some(("replicate", self.layout.leaf())),
            Kind::Disperse => Some(("disperse", self.layout.leaf())),
        };
        let wanted = Wanted { spread, ..Wanted::new(&self.volume, &self.bricks, self.force) };
        match place_bricks(cx, wanted)? {
            BrickPlan::Ask(asks) => Ok(Step::Ask(asks)),
            BrickPlan::Ready(placed) => self.commit(cx, placed).map(Step::commit),
        }
    }

    fn reply(&self, outcome: &Outcome<'_>, reply: &mut Dict) -> Result<(), Refusal> {
        if let Some(volume) = outcome.view.volume(&self.volume) {
            reply.set_str("volume-id", volume.id.to_string());
            for (i, brick) in volume.bricks.iter().enumerate() {
                reply.set_str(format!("brick{}.mount_dir", i + 1), &brick.mount_dir);
            }
            reply.set_int("brick_count", volume.bricks.len() as u64);
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

impl Create {
    fn commit(&self, cx: &Cx<'_>, placed: Vec<PlacedBrick>) -> Result<Commit, Refusal> {
        let volume = self.volume(cx, &placed)?;
        // Stock finds this while it builds the volfiles.
        if volume.bricks.len() % self.layout.leaf() != 0 {
            return Err(Refusal::staged("Failed to create volume files"));
        }
        let args = vec![format!("--volname={}", self.volume)];
        let note = overridden(&placed);
        let id = volume.id.0;
        let name = volume.name.clone();
        Ok(Commit {
            edits: vec![Edit::PutVolume(Box::new(volume))],
            first: marks(&placed, |bricks| Question::MarkBricks {
                volume_id: id,
                bricks,
                force: self.force,
            }),
            settle: vec![name.clone()],
            hooks: Some(Hooks { event: "create", pre: args.clone(), post: args }),
            if_unsettled: vec![Edit::DeleteVolume(name)],
            after_take_back: marks(&placed, |bricks| Question::UnmarkBricks {
                volume_id: id,
                bricks,
            }),
            note,
            ..Commit::default()
        })
    }

    fn volume(&self, cx: &Cx<'_>, placed: &[PlacedBrick]) -> Result<Volume, Refusal> {
        let name = VolumeName::parse(&self.volume)
            .ok_or_else(|| Refusal::staged(format!("Volume name {} is not valid", self.volume)))?;
        let [id, user, password, _] = cx.fresh;
        let mut volume = Volume {
            name,
            id: VolumeId(*id),
            layout: self.layout,
            status: Status::Created,
            transport: self.transport,
            bricks: self.bricks_of(placed),
            thin_arbiter: self.thin_arbiter.clone(),
            options: OptionList::default(),
            credentials: Credentials { username: user.to_string(), password: password.to_string() },
            version: 1,
            op_version: 1,
            client_op_version: 1,
            quota_version: 0,
            quota: Default::default(),
            snap_max_hard_limit: 256,
            restored_from_snap: Uuid::nil(),
            start_epoch: 0,
            task: None,
        };
        crate::options::set_creation_defaults(
            &mut volume,
            cx.view.op_version(),
            cx.site.address_family.as_deref(),
        );
        Ok(volume)
    }

    /// Ids count from 0; a thin arbiter takes one number in each subvolume.
    fn bricks_of(&self, placed: &[PlacedBrick]) -> Vec<Brick> {
        let gap = self.thin_arbiter.is_some().then_some(self.layout.leaf() + 1);
        let mut number = 0;
        let mut bricks = Vec::with_capacity(placed.len());
        for brick in placed {
            if gap.is_some_and(|gap| (number + 1) % gap == 0) {
                number += 1;
            }
            bricks.push(Brick {
                node: brick.node,
                host: brick.spec.host.clone(),
                path: brick.spec.path.clone(),
                real_path: brick.checked.real_path.clone(),
                id: format!("{}-client-{number}", self.volume),
                mount_dir: brick.checked.mount_dir.clone(),
                fsid: brick.checked.fsid,
                decommissioned: false,
                snap_status: 0,
                resets: 0,
            });
            number += 1;
        }
        bricks
    }
}

/// One question per node about its bricks.
pub fn marks(
    placed: &[PlacedBrick],
    question: impl Fn(Vec<(String, String)>) -> Question,
) -> Vec<Ask> {
    let mut groups: BTreeMap<_, Vec<(String, String)>> = BTreeMap::new();
    for brick in placed {
        let pair = (brick.spec.host.clone(), brick.spec.path.clone());
        groups.entry(brick.node).or_default().push(pair);
    }
    groups.into_iter().map(|(node, bricks)| Ask::new(node, question(bricks))).collect()
}
