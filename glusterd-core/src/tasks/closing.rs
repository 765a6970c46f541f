//! When is a task over: on this node, and in the pool?
//!
//! Pure. A node writes how a task ended on it, once. Whoever sees that all nodes concerned have
//! written closes the task, in the same change if it is the last one itself. Two nodes that both
//! think so race for the volume's record, and the loser finds it closed.

use crate::model::{Counts, DefragStatus, NodeId, Progress, Task, Volume};
use crate::store::{Edit, View};
use std::collections::BTreeSet;
use uuid::Uuid;

/// What this node saw of its process for a task.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seen {
    pub task: Uuid,
    /// The newest report.
    pub status: DefragStatus,
    pub counts: Counts,
    /// It is gone, and long enough for its last words to have arrived.
    pub is_gone: bool,
}

/// The changes that are due, as this node sees the pool. `seen`: by volume.
pub fn due(view: &View, seen: impl Fn(&Volume) -> Option<Seen>) -> Vec<Edit> {
    let mut edits = Vec::new();
    let mut known = BTreeSet::new();
    for volume in view.volumes.values() {
        let Some(task) = &volume.task else { continue };
        known.insert(task.id);
        let own = ended_here(view, volume, task, seen(volume));
        edits.extend(own.map(Edit::PutProgress));
        edits.extend(closed(view, volume, task, own).map(|v| Edit::PutVolume(Box::new(v))));
    }
    let in_pool = |node: &NodeId| *node != view.me && view.peers.contains_key(node);
    let stale = view.progress.keys().filter(|(task, node)| !known.contains(task) && !in_pool(node));
    edits.extend(stale.map(|(task, node)| Edit::DeleteProgress { task: *task, node: *node }));
    edits
}

/// How the task ended on this node, if it has and nobody knows yet.
fn ended_here(view: &View, volume: &Volume, task: &Task, seen: Option<Seen>) -> Option<Progress> {
    let seen = seen.filter(|seen| seen.task == task.id)?;
    let node = view.me;
    let concerned = volume.nodes_of_task(task).contains(&node);
    if !concerned || view.progress.contains_key(&(task.id, node)) {
        return None;
    }
    let status = match seen.status {
        said if said.is_final() => said,
        _ if !seen.is_gone => return None,
        // Without a last word: it was killed, or ended because it was told to.
        _ if task.is_running() => DefragStatus::Failed,
        _ => DefragStatus::Stopped,
    };
    Some(Progress { task: task.id, node, status, counts: seen.counts })
}

/// The volume with its task closed, when the last node is through.
fn closed(view: &View, volume: &Volume, task: &Task, own: Option<Progress>) -> Option<Volume> {
    if !task.is_running() {
        return None;
    }
    let of_node = |node| match own {
        Some(own) if own.node == node => Some(own.status),
        _ => view.progress.get(&(task.id, node)).map(|progress| progress.status),
    };
    let nodes = volume.nodes_of_task(task);
    let ends: Vec<DefragStatus> = nodes.into_iter().map(of_node).collect::<Option<_>>()?;
    let mut after = volume.clone();
    after.task = Some(Task { status: DefragStatus::of_all(&ends), ..task.clone() });
    Some(after)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        Brick, Credentials, Layout, OptionList, Peer, PeerState, Status, TaskKind, Transport,
        VolumeId, VolumeName,
    };
    use DefragStatus::*;
    use std::sync::Arc;

    const TASK: Uuid = Uuid::from_u128(9);

    fn node(number: u128) -> NodeId {
        NodeId(Uuid::from_u128(number))
    }

    fn brick(number: u128) -> Brick {
        Brick {
            node: node(number),
            host: format!("h{number}"),
            path: "/b".into(),
            real_path: "/b".into(),
            id: String::new(),
            mount_dir: String::new(),
            fsid: 0,
            decommissioned: false,
            snap_status: 0,
            resets: 0,
        }
    }

    fn progress(number: u128, status: DefragStatus) -> Progress {
        Progress { task: TASK, node: node(number), status, counts: Counts::default() }
    }

    /// Two nodes, this is the first; a task in `status`; `others`: how it ended on the second.
    fn pool(status: DefragStatus, other: Option<DefragStatus>) -> View {
        let task = Task {
            id: TASK,
            kind: TaskKind::Rebalance,
            command: 1,
            commit_hash: 7,
            status,
            bricks: vec![],
            over: false,
        };
        let volume = Volume {
            name: VolumeName::parse("v").unwrap(),
            id: VolumeId(Uuid::from_u128(3)),
            layout: Layout::DISTRIBUTE,
            status: Status::Started,
            transport: Transport::Tcp,
            bricks: vec![brick(1), brick(2)],
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
            task: Some(task),
            quota: Default::default(),
        };
        let mut view = View::alone(node(1));
        Arc::make_mut(&mut view.volumes).insert(volume.name.clone(), Arc::new(volume));
        let other = other.map(|status| progress(2, status));
        view.progress.extend(other.map(|p| ((p.task, p.node), p)));
        view
    }

    /// `want`: how it ended here, and the volume's new state.
    fn check(
        view: &View,
        status: DefragStatus,
        is_gone: bool,
        want: (Option<DefragStatus>, Option<DefragStatus>),
    ) {
        let seen = Seen { task: TASK, status, counts: Counts::default(), is_gone };
        let edits = due(view, |_| Some(seen));
        let own = edits.iter().find_map(|edit| match edit {
            Edit::PutProgress(progress) => Some(progress.status),
            _ => None,
        });
        let volume = edits.iter().find_map(|edit| match edit {
            Edit::PutVolume(volume) => Some(volume.task.as_ref().unwrap().status),
            _ => None,
        });
        assert_eq!((own, volume), want);
    }

    #[test]
    fn the_last_node_closes() {
        check(&pool(Started, None), Started, false, (None, None));
        check(&pool(Started, None), Complete, false, (Some(Complete), None));
        check(&pool(Started, Some(Complete)), Complete, false, (Some(Complete), Some(Complete)));
        check(&pool(Started, Some(Failed)), Complete, true, (Some(Complete), Some(Failed)));
        check(&pool(Stopped, None), Stopped, true, (Some(Stopped), None));
    }

    #[test]
    fn a_process_without_last_words_has_failed_unless_it_was_stopped() {
        check(&pool(Started, None), Started, true, (Some(Failed), None));
        check(&pool(Stopped, None), Started, true, (Some(Stopped), None));
    }

    #[test]
    fn what_is_written_stays() {
        let mut view = pool(Started, Some(Complete));
        view.progress.insert((TASK, node(1)), progress(1, Complete));
        check(&view, Failed, true, (None, Some(Complete)));
    }

    #[test]
    fn words_on_another_task_are_not_this_ones() {
        let stale =
            Seen { task: Uuid::nil(), status: Failed, counts: Counts::default(), is_gone: true };
        assert_eq!(due(&pool(Started, None), |_| Some(stale)), []);
    }

    #[test]
    fn rows_of_forgotten_tasks_go() {
        let mut view = pool(Started, None);
        let (id, hostnames) = (node(2), vec!["h2".to_owned()]);
        Arc::make_mut(&mut view.peers)
            .insert(id, Peer { id, hostnames, state: PeerState::Befriended });
        for number in [1, 2, 3] {
            let old = Progress { task: Uuid::nil(), ..progress(number, Complete) };
            view.progress.insert((old.task, old.node), old);
        }
        // A member removes its own; nobody else would those of a node that has left the pool.
        let gone = |number| Edit::DeleteProgress { task: Uuid::nil(), node: node(number) };
        assert_eq!(due(&view, |_| None), [gone(1), gone(3)]);
    }
}
