//! Refusals and replies of the commands that move bricks, planned on a pool of two nodes (tests only).
//!
//! Texts and their order: glusterd-brick-ops.c, glusterd-rebalance.c, glusterd-replace-brick.c (v10.3).

use super::add_brick::AddBrick;
use super::rebalance::Defrag;
use super::remove_brick::RemoveBrick;
use super::replace_brick::ReplaceBrick;
use crate::model::{
    Brick, Counts, Credentials, DefragStatus, Kind, Layout, NodeId, OptionList, Peer, PeerState,
    Progress, Status, Task, TaskKind, Transport, Volume, VolumeId, VolumeName,
};
use crate::ops::{
    Answer, Answered, Ask, Cx, HostFacts, Moving, Operation, Outcome, Question, Site, Step,
};
use crate::rpc::Dict;
use crate::store::{Edit, View};
use std::sync::Arc;
use uuid::Uuid;

const TASK: Uuid = Uuid::from_u128(9);
const FRESH: [Uuid; 4] = [TASK; 4];

fn node(number: u128) -> NodeId {
    NodeId(Uuid::from_u128(number))
}

fn site() -> Site {
    Site {
        workdir: "/var/lib/glusterd".into(),
        rundir: "/run/gluster".into(),
        logdir: "/var/log/glusterfs".into(),
        ..Site::sample()
    }
}

/// Bricks `/b0`, `/b1`, ... in turn on `h1` (this node) and `h2`; the volume runs.
fn pool(layout: Layout, bricks: usize, change: impl FnOnce(&mut Volume)) -> View {
    let brick = |at: usize| Brick {
        node: node(1 + at as u128 % 2),
        host: format!("h{}", 1 + at % 2),
        path: format!("/b{at}"),
        real_path: format!("/b{at}"),
        id: format!("v-client-{at}"),
        mount_dir: String::new(),
        fsid: 0,
        decommissioned: false,
        snap_status: 0,
        resets: 0,
    };
    let mut volume = Volume {
        name: VolumeName::parse("v").unwrap(),
        id: VolumeId(Uuid::from_u128(3)),
        layout,
        status: Status::Started,
        transport: Transport::Tcp,
        bricks: (0..bricks).map(brick).collect(),
        thin_arbiter: None,
        options: OptionList::default(),
        credentials: Credentials { username: "u".into(), password: "p".into() },
        version: 1,
        op_version: 1,
        client_op_version: 1,
        quota_version: 0,
        quota: Default::default(),
        snap_max_hard_limit: 256,
        restored_from_snap: Uuid::nil(),
        start_epoch: 1,
        task: None,
    };
    change(&mut volume);
    let mut view = View::alone(node(1));
    for number in [1, 2] {
        let (id, hostnames) = (node(number), vec![format!("h{number}")]);
        Arc::make_mut(&mut view.peers)
            .insert(id, Peer { id, hostnames, state: PeerState::Befriended });
    }
    view.alive = [node(1), node(2)].into();
    Arc::make_mut(&mut view.volumes).insert(volume.name.clone(), Arc::new(volume));
    view
}

fn task(kind: TaskKind, status: DefragStatus) -> impl FnOnce(&mut Volume) {
    move |volume| {
        let leaving = kind == TaskKind::RemoveBrick;
        volume.bricks[0].decommissioned = leaving;
        let bricks = if leaving { vec!["h1:/b0".into()] } else { vec![] };
        let (id, command, commit_hash, over) = (TASK, 1, 7, false);
        volume.task = Some(Task { id, kind, command, commit_hash, status, bricks, over });
    }
}

fn replicated(replica: u32) -> Layout {
    Layout { kind: Kind::Replicate, replica, ..Layout::DISTRIBUTE }
}

fn request(pairs: &[(&str, &str)]) -> Dict {
    let mut request: Dict = pairs.iter().copied().collect();
    request.set_str("volname", "v");
    request
}

fn plan(op: &dyn Operation, view: &View, answers: &[Answered]) -> Result<Step, (String, i32)> {
    let site = site();
    let cx = Cx { view, site: &site, answers, fresh: &FRESH };
    op.plan(&cx).map_err(|no| (no.text, no.errno))
}

fn check(op: &dyn Operation, view: &View, text: &str, errno: i32) {
    match plan(op, view, &[]) {
        Err(no) => assert_eq!(no, (text.to_owned(), errno)),
        Ok(_) => panic!("not refused: {text}"),
    }
}

fn committed(op: &dyn Operation, view: &View, answers: &[Answered]) -> Volume {
    match plan(op, view, answers) {
        Ok(Step::Commit(commit)) => match &commit.edits[..] {
            [Edit::PutVolume(volume)] => (**volume).clone(),
            other => panic!("{other:?}"),
        },
        Ok(_) => panic!("nothing to commit"),
        Err(no) => panic!("{no:?}"),
    }
}

const STAGED: i32 = 30800;

fn remove(action: &str, bricks: &[&str]) -> RemoveBrick {
    let mut dict = request(&[("command", action)]);
    dict.set_int("count", bricks.len() as u32);
    for (at, brick) in bricks.iter().enumerate() {
        dict.set_str(format!("brick{}", at + 1), brick);
    }
    RemoveBrick::parse(&dict).unwrap()
}

#[test]
fn removals_that_may_not_start() {
    let start = remove("1", &["h1:/b0"]);
    let plain = |change: fn(&mut Volume)| pool(Layout::DISTRIBUTE, 4, change);
    check(
        &start,
        &plain(|v| v.status = Status::Stopped),
        "Volume v needs to be started before remove-brick (you can use 'force' or 'commit' to \
         override this behavior)",
        STAGED,
    );
    let removing = pool(Layout::DISTRIBUTE, 4, task(TaskKind::RemoveBrick, DefragStatus::Complete));
    check(
        &start,
        &removing,
        "An earlier remove-brick task exists for volume v. Either commit it or stop it before \
         starting a new task.",
        STAGED,
    );
    let moving = pool(Layout::DISTRIBUTE, 4, task(TaskKind::Rebalance, DefragStatus::Started));
    check(&start, &moving, "Rebalance is in progress. Please retry after completion", STAGED);
    check(
        &remove("1", &["h1:/b0", "h2:/b1", "h1:/b2", "h2:/b3"]),
        &plain(|_| ()),
        "Deleting all the bricks of the volume is not allowed",
        STAGED,
    );
    check(&remove("1", &["h9:/b0"]), &plain(|_| ()), "Incorrect brick h9:/b0 for volume v", 0);
    let set = pool(replicated(2), 2, |_| ());
    check(
        &start,
        &set,
        "Removing bricks from replicate configuration is not allowed without reducing replica \
         count explicitly.",
        0,
    );
}

#[test]
fn removals_that_may_not_be_committed() {
    let commit = remove("2", &["h1:/b0"]);
    let removing = |status| pool(Layout::DISTRIBUTE, 4, task(TaskKind::RemoveBrick, status));
    check(
        &commit,
        &pool(Layout::DISTRIBUTE, 4, |_| ()),
        "Brick h1:/b0 is not decommissioned. Use start or force option",
        STAGED,
    );
    check(
        &commit,
        &removing(DefragStatus::Started),
        "use 'force' option as migration is in progress",
        STAGED,
    );
    check(
        &commit,
        &removing(DefragStatus::Failed),
        "use 'force' option as migration has failed",
        STAGED,
    );
    let mut skipped = removing(DefragStatus::Complete);
    let counts = Counts { skipped: 1, ..Counts::default() };
    let row = Progress { task: TASK, node: node(1), status: DefragStatus::Complete, counts };
    skipped.progress.insert((TASK, node(1)), row);
    check(
        &commit,
        &skipped,
        "use 'force' option as migration of some files might have been skipped or has failed",
        STAGED,
    );
    let after = committed(&commit, &removing(DefragStatus::Complete), &[]);
    let left: Vec<&str> = after.bricks.iter().map(|brick| brick.path.as_str()).collect();
    assert_eq!(left, ["/b1", "/b2", "/b3"]);
    assert!(after.task.is_some_and(|task| task.over && task.id.is_nil()));
    committed(&remove("5", &["h1:/b0"]), &removing(DefragStatus::Started), &[]);
}

/// A copy more, on `host`.
fn copy(host: &str, replica: &str, force: bool) -> AddBrick {
    let brick = format!(" {host}:/new");
    let mut dict = request(&[("count", "1"), ("bricks", &brick), ("replica-count", replica)]);
    dict.set_int("force", u32::from(force));
    AddBrick::parse(&dict).unwrap()
}

/// What this node knows of the hosts.
fn hosts() -> Answered {
    let facts = |number: u32| HostFacts {
        name: format!("h{number}"),
        is_me: number == 1,
        addresses: vec![format!("10.0.0.{number}")],
    };
    let hosts: Vec<HostFacts> = (1..=3).map(facts).collect();
    let names = hosts.iter().map(|host| host.name.clone()).collect();
    Answered {
        node: node(1),
        question: Question::Locate { hosts: names },
        answer: Answer::Located(hosts),
    }
}

#[test]
fn copies_that_may_not_be_added() {
    let refused = |op: &AddBrick, layout: Layout, status: Status, text: &str| {
        let view = pool(layout, layout.leaf(), |volume| volume.status = status);
        assert_eq!(plan(op, &view, &[hosts()]).err(), Some((text.to_owned(), STAGED)));
    };
    let down = "Brick /b0 is down, changing replica count needs all the bricks to be up to avoid \
                data loss";
    for status in [Status::Created, Status::Stopped] {
        refused(&copy("h2", "2", false), Layout::DISTRIBUTE, status, down);
    }
    refused(&copy("h3", "3", false), replicated(2), Status::Created, down);
    let crowded = "Multiple bricks of a replicate volume are present on the same server. This setup \
                   is not optimal. Bricks should be on different nodes to have best fault tolerant \
                   configuration. Use 'force' at the end of the command if you want to override \
                   this behavior. ";
    refused(&copy("h2", "3", false), replicated(2), Status::Created, crowded);
    let stopped = " Volume must not be in stopped state when replica-count needs to  be increased.";
    refused(&copy("h3", "3", true), replicated(2), Status::Stopped, stopped);
    // With force a plain volume that is stopped takes a copy.
    let plain = pool(Layout::DISTRIBUTE, 1, |volume| volume.status = Status::Stopped);
    assert!(matches!(plan(&copy("h2", "2", true), &plain, &[hosts()]), Ok(Step::Ask(_))));
}

fn defrag(action: &str) -> Defrag {
    Defrag::parse(&request(&[("rebalance-command", action)])).unwrap()
}

#[test]
fn rebalances_that_may_not_start() {
    let plain = |change: fn(&mut Volume)| pool(Layout::DISTRIBUTE, 2, change);
    for layout in [Layout::DISTRIBUTE, replicated(2)] {
        check(
            &defrag("1"),
            &pool(layout, layout.leaf(), |_| ()),
            "Volume v is not a distribute volume or contains only 1 brick.\nNot performing \
             rebalance",
            STAGED,
        );
    }
    check(
        &defrag("4"),
        &plain(|v| v.status = Status::Created),
        "Volume v needs to be started to perform rebalance",
        STAGED,
    );
    check(&defrag("3"), &plain(|_| ()), "Rebalance not started for volume v.", STAGED);
    check(&defrag("2"), &plain(|_| ()), "Rebalance not started for volume v.", STAGED);
    let old = Answered {
        node: node(2),
        question: Question::Status { volume: "v".into(), detail: false },
        answer: Answer::Done,
    };
    let moving = pool(Layout::DISTRIBUTE, 2, task(TaskKind::Rebalance, DefragStatus::Started));
    let got = plan(&defrag("1"), &moving, std::slice::from_ref(&old)).err();
    assert_eq!(got, Some(("Rebalance on v is already started".into(), STAGED)));
    let removing = pool(Layout::DISTRIBUTE, 2, task(TaskKind::RemoveBrick, DefragStatus::Complete));
    let got = plan(&defrag("5"), &removing, &[old]).err();
    let text = "A remove-brick task on volume v is not yet committed. Either commit or stop the \
                remove-brick task.";
    assert_eq!(got, Some((text.into(), STAGED)));
}

/// Files that move to bricks which a client does not know are lost from its sight.
#[test]
fn a_rebalance_starts_when_clients_have_a_daemon() {
    let plain = pool(Layout::DISTRIBUTE, 2, |_| ());
    let waited = Answered { node: node(1), question: Question::AwaitClients, answer: Answer::Done };
    for action in ["1", "4", "5"] {
        let op = defrag(action);
        let mut answers = Vec::new();
        if action != "5" {
            let Ok(Step::Ask(asks)) = plan(&op, &plain, &answers) else { panic!("{action}") };
            answers.extend(asks.into_iter().map(|Ask { node, question }| Answered {
                node,
                question,
                answer: Answer::Silent("gone".into()),
            }));
        }
        let Ok(Step::Ask(asks)) = plan(&op, &plain, &answers) else { panic!("{action}") };
        assert_eq!(
            asks.iter().map(|ask| &ask.question).collect::<Vec<_>>(),
            [&Question::AwaitClients]
        );
        answers.push(waited.clone());
        assert!(matches!(plan(&op, &plain, &answers), Ok(Step::Commit(_))), "{action}");
    }
}

#[test]
fn status_of_a_removal_is_asked_by_its_bricks() {
    let typed = |brick: &str| {
        let pairs =
            [("rebalance-command", "3"), ("cmd-str", "volume remove-brick v"), ("brick1", brick)];
        Defrag::parse(&request(&pairs)).unwrap()
    };
    let plain = pool(Layout::DISTRIBUTE, 2, |_| ());
    check(&typed("h1:/b0"), &plain, "remove-brick not started for volume v.", STAGED);
    let removing = pool(Layout::DISTRIBUTE, 2, task(TaskKind::RemoveBrick, DefragStatus::Started));
    check(&typed("h2:/b1"), &removing, "Incorrect brick for volume v", STAGED);
    assert!(
        matches!(plan(&typed("h1:/b0"), &removing, &[]), Ok(Step::Ask(asks)) if asks.len() == 2)
    );
}

/// This node comes last, and its row is `localhost`; a fix of the layout has states of its own.
#[test]
fn a_table_has_a_row_for_each_node() {
    let row = |number: u128, files: u64| Answered {
        node: node(number),
        question: Question::Rebalance { volume: "v".into(), stop: false },
        answer: Answer::Moving(Moving { status: 3, files, ..Moving::default() }),
    };
    let answers = [row(1, 5), row(2, 7)];
    let fixing = pool(Layout::DISTRIBUTE, 2, task(TaskKind::FixLayout, DefragStatus::Started));
    let site = site();
    let outcome = Outcome {
        before: &fixing,
        view: &fixing,
        site: &site,
        answers: &answers,
        fresh: &FRESH,
        unsettled: &[],
    };
    let mut reply = Dict::new();
    defrag("3").reply(&outcome, &mut reply).unwrap();
    let text = |key: &str| reply.str(key).unwrap_or_default().to_owned();
    assert_eq!(text("rebalance-id"), TASK.to_string());
    assert_eq!(reply.int::<u32>("count"), Some(2));
    assert_eq!((text("node-name-1"), reply.int::<u64>("files-1")), ("h2".into(), Some(7)));
    assert_eq!((text("node-name-2"), reply.int::<u64>("files-2")), ("localhost".into(), Some(5)));
    assert_eq!(reply.int::<u32>("status-1"), Some(7));
}

fn replace(operation: &str, source: &str, target: &str) -> ReplaceBrick {
    let pairs = [("operation", operation), ("src-brick", source), ("dst-brick", target)];
    ReplaceBrick::parse(&request(&pairs)).unwrap()
}

#[test]
fn bricks_that_may_not_be_replaced() {
    let op = replace("GF_REPLACE_OP_COMMIT_FORCE", "h1:/b0", "h2:/new");
    let set = |change: fn(&mut Volume)| pool(replicated(2), 4, change);
    check(&op, &set(|v| v.status = Status::Stopped), "volume: v is not started", 0);
    let moving = pool(replicated(2), 4, task(TaskKind::Rebalance, DefragStatus::Started));
    check(&op, &moving, "Volume name v rebalance is in progress. Please retry after completion", 0);
    check(
        &op,
        &pool(Layout::DISTRIBUTE, 4, |_| ()),
        "replace-brick is not permitted on distribute only volumes. Please use add-brick and \
         remove-brick operations instead.",
        0,
    );
    let unknown = replace("GF_RESET_OP_START", "h1:/b9", "h1:/b9");
    check(&unknown, &set(|_| ()), "brick: h1:/b9 does not exist in volume: v", 0);
    let mut none = set(|_| ());
    Arc::make_mut(&mut none.volumes).clear();
    check(&op, &none, "Volume v does not exist", 0);
    assert!(ReplaceBrick::parse(&request(&[("operation", "GF_REPLACE_OP_START")])).is_err());
}
