//! Which bricks may leave a volume together, and what is left then.
//!
//! Pure arithmetic and texts. Facts: glusterd-brick-ops.c:163-225 (replica count), 442-600 (whole
//! sets, arbiters), 640-800 (order of the checks) (v10.3).

use crate::model::{BrickSpec, Kind, Layout, Refusal, Volume};

/// Bricks that leave, by their position, and the replica count afterwards where it shrinks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaving {
    pub positions: Vec<usize>,
    pub replica: Option<u32>,
}

/// # Errors
/// Stock's text, op_errno 0.
pub fn leaving(
    volume: &Volume,
    bricks: &[String],
    replica: Option<u32>,
) -> Result<Leaving, Refusal> {
    let replica = match replica {
        Some(count) => shrunk(volume, count, bricks.len())?,
        None => None,
    };
    if replica.is_none() {
        check_whole(volume, bricks.len())?;
    }
    let find = |text: &String| {
        let spec = BrickSpec::parse(text)?;
        volume.position(&spec.host, &spec.path)
    };
    let mut positions = Vec::new();
    for text in bricks {
        let wrong = || no(format!("Incorrect brick {text} for volume {}", volume.name));
        let at = find(text).ok_or_else(wrong)?;
        // The CLI refuses it too; counted twice it would leave a set of the wrong size.
        if positions.contains(&at) {
            return Err(no(format!("Duplicate brick {text} for volume {}", volume.name)));
        }
        positions.push(at);
    }
    check_sets(volume, &positions, replica)?;
    check_arbiters(volume, &positions, replica)?;
    check_single_set(volume, &positions, replica)?;
    Ok(Leaving { positions, replica })
}

fn no(text: String) -> Refusal {
    Refusal::handler(text)
}

/// The new replica count; `None` where the one given is what the volume has.
fn shrunk(volume: &Volume, count: u32, bricks: usize) -> Result<Option<u32>, Refusal> {
    let Layout { kind, replica, .. } = volume.layout;
    let (name, leaf) = (&volume.name, volume.layout.leaf());
    if kind != Kind::Replicate {
        return Err(no(format!(
            "replica count ({count}) option given for non replicate volume {name}"
        )));
    }
    if count > replica {
        return Err(no(format!(
            "given replica count ({count}) option is more than volume {name}'s replica count \
             ({replica})"
        )));
    }
    if count == replica {
        return match bricks % leaf {
            0 => Ok(None),
            _ => Err(no(format!(
                "number of bricks provided ({bricks}) is not valid. need at least {leaf} (or \
                 {leaf}xN)"
            ))),
        };
    }
    let each = volume.bricks.len() / replica as usize * (replica - count) as usize;
    if each == 0 || !bricks.is_multiple_of(each) {
        return Err(no(format!(
            "need {each}(xN) bricks for reducing replica count of the volume from {replica} to \
             {count}"
        )));
    }
    Ok(Some(count))
}

fn kind_text(kind: Kind) -> &'static str {
    match kind {
        Kind::Distribute => "distribute",
        Kind::Replicate => "replica",
        Kind::Disperse => "disperse",
    }
}

fn check_whole(volume: &Volume, bricks: usize) -> Result<(), Refusal> {
    let (kind, leaf) = (volume.layout.kind, volume.layout.leaf());
    if kind == Kind::Replicate && volume.bricks.len() == leaf {
        return Err(no("Removing bricks from replicate configuration is not allowed without \
                       reducing replica count explicitly."
            .to_owned()));
    }
    if kind != Kind::Distribute && !bricks.is_multiple_of(leaf) {
        let text = kind_text(kind);
        return Err(no(format!(
            "Remove brick incorrect brick count of {bricks} for {text} {leaf}"
        )));
    }
    Ok(())
}

/// `share`: bricks that have to leave each set.
fn uneven(share: usize) -> Refusal {
    no(format!("Remove exactly {share} brick(s) from each subvolume."))
}

fn check_sets(volume: &Volume, positions: &[usize], replica: Option<u32>) -> Result<(), Refusal> {
    let (layout, leaf) = (volume.layout, volume.layout.leaf());
    let sets = layout.subvolumes(volume.bricks.len());
    if layout.kind == Kind::Distribute || sets <= 1 {
        return Ok(());
    }
    let taken = |set: usize| positions.iter().filter(|at| **at / leaf == set).count();
    match replica {
        Some(replica) => {
            let share = (layout.replica - replica) as usize;
            match (0..sets).all(|set| taken(set) == share) {
                true => Ok(()),
                false => Err(uneven(share)),
            }
        }
        None if (0..sets).all(|set| taken(set).is_multiple_of(leaf)) => Ok(()),
        None => {
            let text = kind_text(layout.kind);
            Err(no(format!("Bricks not from same subvol for {text}")))
        }
    }
}

/// Here stock looks at nothing, and stumbles over what is left when it is too late.
fn check_single_set(
    volume: &Volume,
    positions: &[usize],
    replica: Option<u32>,
) -> Result<(), Refusal> {
    let layout = volume.layout;
    let Some(replica) = replica.filter(|_| layout.subvolumes(volume.bricks.len()) == 1) else {
        return Ok(());
    };
    let share = (layout.replica - replica) as usize;
    match positions.len() == share {
        true => Ok(()),
        false => Err(uneven(share)),
    }
}

fn check_arbiters(
    volume: &Volume,
    positions: &[usize],
    replica: Option<u32>,
) -> Result<(), Refusal> {
    let layout = volume.layout;
    let Some(replica) = replica.filter(|_| layout.arbiter > 0) else { return Ok(()) };
    let leaf = layout.leaf();
    let arbiter = |at: &usize| layout.is_arbiter(*at);
    if replica == 2 && !positions.iter().all(arbiter) {
        return Err(no("Remove arbiter brick(s) only when converting from arbiter to replica 2 \
                       subvolume."
            .to_owned()));
    }
    let sets = layout.subvolumes(volume.bricks.len());
    let has_arbiter = |set: usize| positions.iter().any(|at| at / leaf == set && arbiter(at));
    if replica == 1 && !(0..sets).all(has_arbiter) {
        return Err(no(
            "Removed bricks must contain arbiter when converting to plain distribute.".to_owned()
        ));
    }
    Ok(())
}

/// The layout once they are gone.
pub fn layout_after(volume: &Volume, replica: Option<u32>) -> Layout {
    match replica {
        None => volume.layout,
        Some(1) => Layout { replica: 1, arbiter: 0, kind: Kind::Distribute, ..volume.layout },
        Some(replica) => Layout { replica, arbiter: 0, ..volume.layout },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        Brick, Credentials, NodeId, OptionList, Status, Transport, VolumeId, VolumeName,
    };
    use uuid::Uuid;

    fn volume(layout: Layout, count: usize) -> Volume {
        let brick = |at: usize| Brick {
            node: NodeId(Uuid::nil()),
            host: "h".into(),
            path: format!("/b{at}"),
            real_path: String::new(),
            id: String::new(),
            mount_dir: String::new(),
            fsid: 0,
            decommissioned: false,
            snap_status: 0,
            resets: 0,
        };
        Volume {
            name: VolumeName::parse("v").unwrap(),
            id: VolumeId(Uuid::nil()),
            layout,
            status: Status::Started,
            transport: Transport::Tcp,
            bricks: (0..count).map(brick).collect(),
            thin_arbiter: None,
            options: OptionList::default(),
            credentials: Credentials { username: "u".into(), password: "p".into() },
            version: 1,
            op_version: 1,
            client_op_version: 1,
            quota_version: 0,
            snap_max_hard_limit: 256,
            restored_from_snap: Uuid::nil(),
            start_epoch: 1,
            task: None,
            quota: Default::default(),
        }
    }

    /// `bricks`: positions; `want`: the text, or the replica count afterwards.
    fn check(volume: &Volume, bricks: &[usize], replica: u32, want: Result<Option<u32>, &str>) {
        let bricks: Vec<String> = bricks.iter().map(|at| format!("h:/b{at}")).collect();
        let got = leaving(volume, &bricks, (replica > 0).then_some(replica));
        assert_eq!(got.map(|l| l.replica).map_err(|no| no.text), want.map_err(str::to_owned));
    }

    #[test]
    fn replica_counts() {
        let set = |replica, arbiter| Layout {
            kind: Kind::Replicate,
            replica,
            arbiter,
            ..Layout::DISTRIBUTE
        };
        let two_sets = volume(set(3, 0), 6);
        check(&two_sets, &[0, 1, 2], 0, Ok(None));
        check(&two_sets, &[0, 1, 2], 3, Ok(None));
        check(&two_sets, &[2, 5], 2, Ok(Some(2)));
        check(
            &two_sets,
            &[0, 1],
            3,
            Err("number of bricks provided (2) is not valid. need at least 3 (or 3xN)"),
        );
        check(&two_sets, &[0, 1], 2, Err("Remove exactly 1 brick(s) from each subvolume."));
        check(
            &two_sets,
            &[0],
            2,
            Err("need 2(xN) bricks for reducing replica count of the volume from 3 to 2"),
        );
        check(
            &two_sets,
            &[0],
            4,
            Err("given replica count (4) option is more than volume v's replica count (3)"),
        );
        check(&two_sets, &[0], 0, Err("Remove brick incorrect brick count of 1 for replica 3"));
        check(&two_sets, &[0, 1, 3], 0, Err("Bricks not from same subvol for replica"));
        let one_set = volume(set(3, 0), 3);
        check(
            &one_set,
            &[0],
            0,
            Err("Removing bricks from replicate configuration is not allowed without reducing \
                 replica count explicitly."),
        );
        check(&one_set, &[0, 1], 2, Err("Remove exactly 1 brick(s) from each subvolume."));
        check(&one_set, &[0, 0], 1, Err("Duplicate brick h:/b0 for volume v"));
        check(&one_set, &[0, 2], 1, Ok(Some(1)));
        let with_arbiter = volume(set(3, 1), 3);
        check(
            &with_arbiter,
            &[0],
            2,
            Err("Remove arbiter brick(s) only when converting from arbiter to replica 2 \
                 subvolume."),
        );
        check(&with_arbiter, &[2], 2, Ok(Some(2)));
        check(
            &with_arbiter,
            &[0, 1],
            1,
            Err("Removed bricks must contain arbiter when converting to plain distribute."),
        );
        assert_eq!(layout_after(&with_arbiter, Some(1)), Layout::DISTRIBUTE);
    }

    #[test]
    fn other_kinds() {
        let plain = volume(Layout::DISTRIBUTE, 3);
        check(&plain, &[1], 0, Ok(None));
        check(&plain, &[1], 2, Err("replica count (2) option given for non replicate volume v"));
        check(&plain, &[7], 0, Err("Incorrect brick h:/b7 for volume v"));
        let layout =
            Layout { kind: Kind::Disperse, disperse: 3, redundancy: 1, ..Layout::DISTRIBUTE };
        let disperse = volume(layout, 6);
        check(&disperse, &[3, 4, 5], 0, Ok(None));
        check(&disperse, &[3, 4], 0, Err("Remove brick incorrect brick count of 2 for disperse 3"));
        check(&disperse, &[2, 3, 4], 0, Err("Bricks not from same subvol for disperse"));
    }
}
