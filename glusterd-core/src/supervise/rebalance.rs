//! The rebalance process: one per volume and node while the volume's task runs.
//!
//! Pure. A task is worked on once per node: a process that has ended, well or not, is not started
//! again for the same task. What it achieved is reported by the process itself and kept elsewhere.
//! Over tasks leave their process to itself once it is told: it finishes the file it moves.
//!
//! Facts: xlators/mgmt/glusterd/src/glusterd-rebalance.c:94-345, glusterd-utils.c:9546 (v10.3).

use super::launch::{Cx, GLUSTERFS};
use super::record::State;
use crate::host::Command;
use crate::model::{NodeId, Task, Volume};
use uuid::Uuid;

/// `rebalance-command` of XLATOR_DEFRAG that makes the process end.
pub const COMMAND_STOP: u32 = 2;
/// Likewise, that makes it tell how far it is.
pub const COMMAND_STATUS: u32 = 3;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RebalanceRecord {
    pub task: Uuid,
    pub state: State,
    /// It knows that its work is no longer wanted.
    pub told: bool,
    /// It was started and has not been seen yet.
    pub launching: bool,
    /// An earlier daemon started it: its last words may have gone there.
    pub adopted: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RebalanceMove {
    /// Ends what runs for this volume, known or left by an earlier daemon, and waits for that.
    End,
    /// Tells it to stop after the file it moves.
    Tell,
    /// Takes over what runs, else starts.
    Start,
    Forget,
}

/// The task this node works on now.
pub fn task_of(volume: &Volume, me: NodeId) -> Option<&Task> {
    let task = volume.task.as_ref().filter(|task| task.is_running())?;
    (volume.is_started() && volume.nodes_of_task(task).contains(&me)).then_some(task)
}

/// `is_finished`: whether the pool knows that this node is through with a task.
pub fn decide(
    volume: Option<&Volume>,
    me: NodeId,
    record: Option<&RebalanceRecord>,
    is_finished: impl Fn(Uuid) -> bool,
) -> Vec<RebalanceMove> {
    use RebalanceMove::*;
    let runs = record.is_some_and(|record| record.state.running().is_some());
    let Some(volume) = volume else {
        return match record {
            None => vec![],
            Some(_) if runs => vec![End, Forget],
            Some(_) => vec![Forget],
        };
    };
    match (task_of(volume, me), record) {
        (Some(task), Some(record)) if record.task == task.id => vec![],
        (Some(task), None) if is_finished(task.id) => vec![],
        (Some(_), None) => vec![Start],
        (Some(_), Some(_)) => vec![End, Start],
        (None, Some(record)) if runs && !record.told => vec![Tell],
        // An earlier daemon may have left one.
        (None, None) if volume.task.is_some() => vec![Tell],
        (None, _) => vec![],
    }
}

pub fn command(cx: Cx<'_>, volume: &Volume, task: &Task) -> Command {
    let Cx { dirs, view, .. } = cx;
    let name = &volume.name;
    let options = [
        "*dht.use-readdirp=no".to_owned(),
        "*dht.lookup-unhashed=yes".to_owned(),
        "*dht.assert-no-child-down=yes".to_owned(),
        "*dht.readdir-optimize=on".to_owned(),
    ];
    let own = [
        format!("*dht.rebalance-cmd={}", task.command),
        format!("*dht.node-uuid={}", view.me),
        format!("*dht.commit-hash={}", task.commit_hash),
    ];
    let option = |text: String| ["--xlator-option".to_owned(), text];
    let memory = volume.options.flag("config.memory-accounting") == Some(true);
    cx.program(GLUSTERFS, &format!("valgrind-{name}-rebalance.log"))
        .args(["-s", cx.server(), "--volfile-id", &format!("rebalance/{name}")])
        .args(options.into_iter().flat_map(option))
        .args(["--process-name", "rebalance"])
        .args(own.into_iter().flat_map(option))
        .args(["--socket-file", &dirs.rebalance_socket(name, view.me)])
        .args(["--pid-file", &dirs.rebalance_pid_file(name, view.me)])
        .args(["-l", &format!("{}/{name}-rebalance.log", dirs.log)])
        .args(memory.then_some("--mem-accounting"))
        .args(cx.localtime())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Dirs;
    use crate::model::{DefragStatus, TaskKind};
    use crate::supervise::Settings;
    use crate::supervise::record::Running;
    use crate::supervise::sample::{ME, OTHER, view, volume};

    fn task(id: u128, kind: TaskKind) -> Task {
        let status = DefragStatus::Started;
        let id = Uuid::from_u128(id);
        let bricks = vec!["h:/a".into()];
        Task { id, kind, command: 1, commit_hash: 77, status, bricks, over: false }
    }

    /// `change` shapes a volume with bricks `/a`, `/b` and task 1; `known`: task and state recorded.
    fn check(
        change: impl FnOnce(&mut Volume),
        known: Option<(u128, bool)>,
        want: &[RebalanceMove],
    ) {
        let mut v = volume("v", &["/a", "/b"]);
        v.task = Some(task(1, TaskKind::Rebalance));
        change(&mut v);
        let record = known.map(|(id, runs)| RebalanceRecord {
            task: Uuid::from_u128(id),
            state: match runs {
                true => State::Running(Running { pid: 7, port: 0, socket: "/s".into() }),
                false => State::Dead,
            },
            told: false,
            launching: false,
            adopted: false,
        });
        let finished = |id| id == Uuid::from_u128(9);
        assert_eq!(decide(Some(&v), ME, record.as_ref(), finished), want);
    }

    #[test]
    fn a_task_is_worked_on_once() {
        use RebalanceMove::*;
        check(|_| (), None, &[Start]);
        check(|_| (), Some((1, true)), &[]);
        check(|_| (), Some((1, false)), &[]);
        check(|_| (), Some((5, false)), &[End, Start]);
        check(|v| v.task = Some(task(9, TaskKind::Rebalance)), None, &[]);
    }

    #[test]
    fn what_is_over_ends() {
        use RebalanceMove::*;
        let stopped = |v: &mut Volume| v.task.as_mut().unwrap().status = DefragStatus::Stopped;
        check(stopped, Some((1, true)), &[Tell]);
        check(stopped, Some((1, false)), &[]);
        check(stopped, None, &[Tell]);
        check(|v| v.task.as_mut().unwrap().over = true, Some((1, true)), &[Tell]);
        check(|v| v.task = None, None, &[]);
        let record = RebalanceRecord {
            task: Uuid::from_u128(1),
            state: State::Dead,
            told: false,
            launching: false,
            adopted: false,
        };
        assert_eq!(decide(None, ME, Some(&record), |_| false), [Forget]);
    }

    #[test]
    fn nodes_without_concerned_bricks_do_nothing() {
        use RebalanceMove::*;
        check(|v| v.bricks.iter_mut().for_each(|b| b.node = OTHER), None, &[Tell]);
        check(|v| v.task = Some(task(1, TaskKind::RemoveBrick)), None, &[Start]);
        let elsewhere = |v: &mut Volume| {
            v.task = Some(Task { bricks: vec!["h:/c".into()], ..task(1, TaskKind::RemoveBrick) });
        };
        check(elsewhere, None, &[Tell]);
    }

    /// As a stock daemon was seen to start it.
    #[test]
    fn the_command_line_is_stocks() {
        let (settings, dirs, pool) = (Settings::default(), Dirs::default(), view(vec![]));
        let cx = Cx { settings: &settings, dirs: &dirs, view: &pool };
        let v = volume("v1", &["/a"]);
        let command = command(cx, &v, &task(1, TaskKind::Rebalance));
        let want = "/usr/sbin/glusterfs -s localhost --volfile-id rebalance/v1 \
                    --xlator-option *dht.use-readdirp=no --xlator-option *dht.lookup-unhashed=yes \
                    --xlator-option *dht.assert-no-child-down=yes \
                    --xlator-option *dht.readdir-optimize=on --process-name rebalance \
                    --xlator-option *dht.rebalance-cmd=1 --xlator-option \
                    *dht.node-uuid=00000000-0000-0000-0000-000000000001 \
                    --xlator-option *dht.commit-hash=77 --socket-file SOCKET \
                    --pid-file /var/lib/glusterd/vols/v1/rebalance/\
                    00000000-0000-0000-0000-000000000001.pid \
                    -l /var/log/glusterfs/v1-rebalance.log";
        let want = want.replace("SOCKET", &dirs.rebalance_socket(&v.name, pool.me));
        assert_eq!(format!("{} {}", command.program, command.args.join(" ")), want);
    }
}
