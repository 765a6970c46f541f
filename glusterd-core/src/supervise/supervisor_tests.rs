use super::*;
use crate::host::fake::{FakeHost, Faults};
use crate::host::{MarkBrick, PrepareBrick, Signal};
use crate::model::Status;
use crate::supervise::sample::{FakeLines, name, view, volume, with_global};

/// A machine, a pool, a supervisor.
struct House {
    host: Arc<FakeHost>,
    lines: Arc<FakeLines>,
    ports: Ports,
    supervisor: Supervisor,
    view: View,
}

impl House {
    /// Volumes of this node alone; their directories are bricks already, their volfiles written.
    async fn new(volumes: Vec<Volume>) -> House {
        let host = Arc::new(FakeHost::new(3));
        for volume in &volumes {
            prepare(&host, volume).await;
        }
        House::on(host, view(volumes))
    }

    fn on(host: Arc<FakeHost>, view: View) -> House {
        let lines = Arc::new(FakeLines::new(host.clone()));
        let ports = Ports::default();
        let settings = Settings { ports: 50000..=50009, ..Settings::default() };
        let supervisor = Supervisor::new(host.clone(), lines.clone(), ports.clone(), settings);
        House { host, lines, ports, supervisor, view }
    }

    /// A new daemon on the same machine.
    fn restart(self) -> House {
        House::on(self.host.clone(), self.view.clone())
    }

    fn change(&mut self, text: &str, change: impl FnOnce(&mut Volume)) {
        let volume = Arc::make_mut(&mut self.view.volumes).get_mut(&name(text)).unwrap();
        change(Arc::make_mut(volume));
    }

    async fn converge(&self) -> Vec<String> {
        let report = self.supervisor.converge(Arc::new(self.view.clone()), &[]).await;
        report.failures.into_iter().map(|failure| failure.text).collect()
    }

    /// `v:/a` for bricks and names of services, of what runs.
    fn running(&self) -> Vec<String> {
        let bricks = self.supervisor.bricks().into_iter();
        let mut rows: Vec<String> = bricks
            .filter(|brick| brick.process.is_some())
            .map(|brick| format!("{}:{}", brick.volume, brick.path))
            .collect();
        for volume in self.view.volumes.values() {
            let services = self.supervisor.services(volume).into_iter();
            let up = services.filter(|service| service.process.is_some());
            rows.extend(up.map(|service| format!("{}:{}", volume.name, service.name)));
        }
        rows
    }

    fn pid(&self, text: &str, path: &str) -> i32 {
        self.supervisor.brick(&name(text), path).unwrap().pid
    }

    /// Waits for the watcher to act on what the test did to a process.
    async fn until(&self, done: impl Fn(&House) -> bool) {
        let mut changes = self.supervisor.changes();
        let wait = async {
            while !done(self) {
                changes.changed().await.unwrap();
            }
        };
        tokio::time::timeout(Duration::from_secs(10), wait).await.expect("it happens");
    }
}

async fn prepare(host: &FakeHost, volume: &Volume) {
    for brick in &volume.bricks {
        let (host_name, path) = (brick.host.clone(), brick.path.clone());
        let ask = PrepareBrick {
            volume: volume.name.to_string(),
            host: host_name.clone(),
            path: path.clone(),
            force: true,
            ignore_partition: false,
        };
        host.check_brick(&ask).await.unwrap();
        let mark = MarkBrick { volume_id: volume.id.0, host: host_name, path, force: true };
        host.mark_brick(&mark).await.unwrap();
    }
    let text = b"volume x\nend-volume\n";
    for file in ["quotad/quotad.vol", "bitd/bitd-server.vol", "scrub/scrub-server.vol"] {
        host.write(&format!("{}/{file}", host.dirs().work), text).await.unwrap();
    }
    host.write(&host.dirs().shd_volfile(&volume.name), text).await.unwrap();
}

#[tokio::test]
async fn a_life() {
    let mut house = House::new(vec![volume("v", &["/bricks/a", "/bricks/b"])]).await;
    assert_eq!(house.converge().await, [""; 0]);
    let all = ["v:/bricks/a", "v:/bricks/b", "v:glustershd"];
    assert_eq!(house.running(), all);
    let first = house.supervisor.brick(&name("v"), "/bricks/a").unwrap();
    assert_eq!(house.ports.port_of("/bricks/a"), Some(first.port));
    assert!(house.supervisor.bricks().iter().all(|brick| brick.port_registered));

    assert_eq!(house.converge().await, [""; 0]);
    assert_eq!(house.supervisor.brick(&name("v"), "/bricks/a"), Some(first));
    assert_eq!(house.host.launched().len(), 3);

    house.change("v", |v| v.status = Status::Stopped);
    assert_eq!(house.converge().await, [""; 0]);
    assert!(house.running().is_empty() && house.host.processes().is_empty());
    assert!(!house.host.has_file("/var/run/gluster/vols/v/h-bricks-a.pid"));
    assert_eq!(house.ports.rows(), []);

    house.change("v", |v| (v.status, v.start_epoch) = (Status::Started, 2));
    house.converge().await;
    assert_eq!(house.running(), all);

    Arc::make_mut(&mut house.view.volumes).clear();
    assert_eq!(house.converge().await, [""; 0]);
    assert!(house.host.processes().is_empty());
    assert_eq!(house.supervisor.bricks(), []);
}

#[tokio::test]
async fn a_brick_that_dies_stays_dead_until_a_forced_start() {
    let mut house = House::new(vec![volume("v", &["/bricks/a"])]).await;
    house.converge().await;
    house.host.kill(house.pid("v", "/bricks/a"));
    house.until(|house| house.running().is_empty()).await;
    assert_eq!(house.ports.rows(), []);
    house.change("v", |v| v.version = 2);
    house.converge().await;
    assert!(house.running().is_empty(), "nothing is respawned");
    house.change("v", |v| v.start_epoch = 2);
    house.converge().await;
    assert_eq!(house.running(), ["v:/bricks/a"]);
}

#[tokio::test]
async fn a_new_daemon_keeps_bricks_and_replaces_services() {
    let house = House::new(vec![volume("v", &["/bricks/a", "/bricks/b"])]).await;
    house.converge().await;
    let brick = house.supervisor.brick(&name("v"), "/bricks/a").unwrap();
    let dead = house.pid("v", "/bricks/b");
    let shd = house.supervisor.service("glustershd", &name("v")).unwrap();
    house.host.kill(dead);

    let house = house.restart();
    assert_eq!(house.converge().await, [""; 0]);
    assert_eq!(house.supervisor.brick(&name("v"), "/bricks/a"), Some(brick.clone()));
    assert_eq!(house.ports.port_of("/bricks/a"), Some(brick.port));
    assert_ne!(house.pid("v", "/bricks/b"), dead);
    assert_ne!(house.supervisor.service("glustershd", &name("v")).unwrap().pid, shd.pid);
    assert_eq!(house.host.processes().len(), 3);
}

/// In the way of the first two is one that a daemon was starting when it was killed.
#[tokio::test(start_paused = true)]
async fn a_self_heal_daemon_that_ends_at_once_is_started_again() {
    let house = House::new(vec![volume("v", &["/bricks/a", "/bricks/b"])]).await;
    let next_exits = [0, 0, 1, 1].into();
    house.host.set_faults(Faults { next_exits, ..Faults::default() });
    assert_eq!(house.converge().await, [""; 0]);
    assert_eq!(house.running(), ["v:/bricks/a", "v:/bricks/b", "v:glustershd"]);
}

/// Stopped from another node while this daemon was away.
#[tokio::test]
async fn a_new_daemon_ends_what_should_not_run() {
    let mut house = House::new(vec![volume("v", &["/bricks/a", "/bricks/b"])]).await;
    house.change("v", |v| v.options.set("features.quota", "on"));
    house.converge().await;
    assert_eq!(house.host.processes().len(), 4);
    house.change("v", |v| v.status = Status::Stopped);
    let house = house.restart();
    assert_eq!(house.converge().await, [""; 0]);
    assert_eq!(house.host.processes(), []);
}

#[tokio::test]
async fn a_taken_port_is_not_the_end() {
    let house = House::new(vec![volume("v", &["/bricks/a"])]).await;
    let taken = nix::libc::EADDRINUSE;
    let next_exits = [taken, taken, 0].into();
    house.host.set_faults(Faults { next_exits, ..Faults::default() });
    assert_eq!(house.converge().await, [""; 0]);
    assert_eq!(house.running(), ["v:/bricks/a"]);
}

#[tokio::test]
async fn no_port_left_is_said() {
    let house = House::new(vec![volume("v", &["/bricks/a"])]).await;
    for port in 50000..=50009 {
        house.host.occupy_port(port);
    }
    let failures = house.converge().await;
    assert_eq!(failures, ["All the ports in the range are exhausted, can't start brick"]);
}

#[tokio::test]
async fn a_brick_that_does_not_start_is_reported_once() {
    let house = House::new(vec![volume("v", &["/bricks/a"])]).await;
    house.host.set_faults(Faults { next_exits: [1].into(), ..Faults::default() });
    assert_eq!(house.converge().await, ["/usr/sbin/glusterfsd ended with status 1"]);
    assert_eq!(house.converge().await, [""; 0]);
    assert!(house.running().is_empty());
}

#[tokio::test]
async fn a_foreign_directory_is_no_brick() {
    let mut house = House::new(vec![volume("v", &["/bricks/a"])]).await;
    house.change("v", |v| v.id = crate::model::VolumeId(uuid::Uuid::from_u128(5)));
    let failures = house.converge().await;
    assert!(failures[0].starts_with("Mismatching trusted.glusterfs.volume-id"), "{failures:?}");
    assert_eq!(house.host.launched(), []);
}

#[tokio::test(start_paused = true)]
async fn a_brick_that_ignores_term_is_killed_in_the_end() {
    let mut house = House::new(vec![volume("v", &["/bricks/a"])]).await;
    house.converge().await;
    let pid = house.pid("v", "/bricks/a");
    house.host.set_faults(Faults { ignores_term: true, ..Faults::default() });
    house.change("v", |v| v.status = Status::Stopped);
    assert_eq!(house.converge().await, [""; 0]);
    assert_eq!(house.host.signals(), [(pid, Signal::Term), (pid, Signal::Kill)]);
}

#[tokio::test]
async fn an_orderly_end_takes_the_pid_file_along() {
    let house = House::new(vec![volume("v", &["/bricks/a"])]).await;
    house.converge().await;
    let port = house.supervisor.brick(&name("v"), "/bricks/a").unwrap().port;
    tokio::task::yield_now().await;
    house.ports.sign_out("/bricks/a", port);
    let pid_file = "/var/run/gluster/vols/v/h-bricks-a.pid";
    house.until(|house| house.running().is_empty() && !house.host.has_file(pid_file)).await;
}

#[tokio::test]
async fn multiplexed_bricks_share_a_process_until_the_last() {
    let mut house =
        House::new(vec![volume("v", &["/bricks/a", "/bricks/b"]), volume("w", &["/bricks/c"])])
            .await;
    house.view = with_global(house.view, "cluster.brick-multiplex", "on");
    assert_eq!(house.converge().await, [""; 0]);
    let pid = house.pid("v", "/bricks/a");
    assert_eq!((house.pid("v", "/bricks/b"), house.pid("w", "/bricks/c")), (pid, pid));
    assert!(house.host.has_file("/var/run/gluster/vols/w/h-bricks-c.pid"));
    let attached = |path: &str| (BrickProc::ATTACH, format!("/var/lib/glusterd/vols/{path}.vol"));
    let mut calls = house.lines.calls();
    calls.sort_by(|a, b| a.1.cmp(&b.1));
    assert_eq!(calls, [attached("v/v.h.bricks-b"), attached("w/w.h.bricks-c")]);

    house.change("v", |v| v.status = Status::Stopped);
    assert_eq!(house.converge().await, [""; 0]);
    assert_eq!(house.running(), ["w:/bricks/c"]);
    let mut ended: Vec<String> = house.lines.calls().into_iter().map(|(_, name)| name).collect();
    ended.sort();
    assert_eq!(ended, ["/bricks/a", "/bricks/b"]);
    house.change("w", |w| w.status = Status::Stopped);
    house.converge().await;
    assert_eq!(house.host.processes(), []);
}

#[tokio::test]
async fn one_dead_process_takes_all_its_bricks() {
    let mut house = House::new(vec![volume("v", &["/bricks/a", "/bricks/b"])]).await;
    house.view = with_global(house.view, "cluster.brick-multiplex", "on");
    house.converge().await;
    house.host.kill(house.pid("v", "/bricks/a"));
    house.until(|house| house.running() == ["v:glustershd"]).await;
}

#[tokio::test]
async fn a_failed_attach_gets_a_process_of_its_own() {
    let mut house =
        House::new(vec![volume("v", &["/bricks/a"]), volume("w", &["/bricks/c"])]).await;
    house.view = with_global(house.view, "cluster.brick-multiplex", "on");
    *house.lines.answer.lock() = -1;
    assert_eq!(house.converge().await, [""; 0]);
    assert_ne!(house.pid("v", "/bricks/a"), house.pid("w", "/bricks/c"));
}

#[tokio::test]
async fn the_self_heal_daemon_takes_volumes_up_and_lets_them_go() {
    let mut house = House::new(vec![
        volume("v", &["/bricks/a", "/bricks/b"]),
        volume("w", &["/bricks/c", "/bricks/d"]),
    ])
    .await;
    assert_eq!(house.converge().await, [""; 0]);
    let shd = |house: &House, text: &str| house.supervisor.service("glustershd", &name(text));
    assert!(shd(&house, "v").is_some() && shd(&house, "v") == shd(&house, "w"));
    assert_eq!(house.lines.calls(), [(BrickProc::SVC_ATTACH, "shd/w".to_owned())]);

    house.change("v", |v| v.status = Status::Stopped);
    assert_eq!(house.converge().await, [""; 0]);
    assert_eq!(house.lines.calls(), [(BrickProc::SVC_DETACH, "shd/v".to_owned())]);
    assert!(shd(&house, "v").is_none() && shd(&house, "w").is_some());
    assert!(!house.host.has_file("/var/run/gluster/shd/v/v-shd.pid"));

    // Dead stays dead, until one of its volumes changes.
    house.host.kill(shd(&house, "w").unwrap().pid);
    house.until(|house| shd(house, "w").is_none()).await;
    house.converge().await;
    assert!(shd(&house, "w").is_none());
    house.change("w", |w| w.start_epoch = 2);
    house.converge().await;
    assert!(shd(&house, "w").is_some());
}

#[tokio::test]
async fn services_follow_their_options() {
    let mut house = House::new(vec![volume("v", &["/bricks/a"])]).await;
    house.change("v", |v| {
        v.options.set("features.quota", "on");
        v.options.set("features.bitrot", "on");
    });
    assert_eq!(house.converge().await, [""; 0]);
    assert_eq!(house.running(), ["v:/bricks/a", "v:quotad", "v:bitd", "v:scrub"]);
    let quotad = house.supervisor.service("quotad", &name("v")).unwrap();
    // A volfile in another shape: the daemon is replaced.
    let volfile = "/var/lib/glusterd/quotad/quotad.vol";
    house.host.write(volfile, b"volume y\nend-volume\n").await.unwrap();
    house.converge().await;
    assert_ne!(house.supervisor.service("quotad", &name("v")).unwrap().pid, quotad.pid);
    house.change("v", |v| {
        v.options.remove("features.quota");
    });
    house.converge().await;
    assert_eq!(house.running(), ["v:/bricks/a", "v:bitd", "v:scrub"]);
    assert!(!house.host.has_file("/var/run/gluster/quotad/quotad.pid"));
}

#[tokio::test]
async fn processes_of_a_volume_deleted_meanwhile_end() {
    let mut house =
        House::new(vec![volume("v", &["/bricks/a"]), volume("w", &["/bricks/b"])]).await;
    house.converge().await;
    Arc::make_mut(&mut house.view.volumes).remove("v");
    let mut house = house.restart();
    house.converge().await;
    assert_eq!(house.host.processes().len(), 2, "a stale view proves nothing");
    house.view.freshness = Freshness::Current;
    house.converge().await;
    assert_eq!(house.running(), ["w:/bricks/b"]);
    assert_eq!(house.host.processes().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_task_has_a_process_until_it_is_over() {
    use crate::model::{DefragStatus, Task, TaskKind};
    let mut house = House::new(vec![volume("v", &["/bricks/a"])]).await;
    let id = Uuid::from_u128(1);
    let status = DefragStatus::Started;
    let kind = TaskKind::Rebalance;
    let task = Task { id, kind, command: 1, commit_hash: 1, status, bricks: vec![], over: false };
    house.change("v", |v| v.task = Some(task));
    assert_eq!(house.converge().await, [""; 0]);
    let rebalance = |house: &House| house.supervisor.rebalance(&name("v")).unwrap();
    let first = rebalance(&house).process.unwrap();

    // A new daemon finds it; one that is through is not started again.
    let house = house.restart();
    house.converge().await;
    assert_eq!(rebalance(&house).process, Some(first.clone()));
    house.host.kill(first.pid);
    house.until(|house| rebalance(house).process.is_none()).await;
    house.converge().await;
    let gone = |adopted| ObservedRebalance { task: id, process: None, launching: false, adopted };
    assert_eq!(rebalance(&house), gone(true));

    // Of the first process is known what it said; the next one counts from zero.
    let counted = async |house: &House, files: Option<u64>| {
        let said = files.map(|files| Counts { files, ..Counts::default() });
        house.supervisor.count(house.view.me, &name("v"), id, said).await.files
    };
    assert_eq!(counted(&house, Some(189)).await, 189);
    let house = house.restart();
    house.converge().await;
    assert_eq!(counted(&house, None).await, 189);
    assert_eq!(counted(&house, Some(2)).await, 191);
    let again = rebalance(&house).process.unwrap();
    let mut house = house.restart();
    house.converge().await;
    assert_eq!(counted(&house, Some(5)).await, 194);
    house.host.kill(again.pid);
    house.until(|house| rebalance(house).process.is_none()).await;
    assert_eq!(rebalance(&house), gone(true));

    // What it said went to the old daemon: once more, and no more than that.
    for _ in 0..2 {
        house.supervisor.resume_rebalance(&Arc::new(house.view.clone()), &name("v")).await.unwrap();
        let Some(again) = rebalance(&house).process else { break };
        house.host.kill(again.pid);
        house.until(|house| rebalance(house).process.is_none()).await;
        assert_eq!(rebalance(&house), gone(false));
    }

    house.change("v", |v| v.task.as_mut().unwrap().id = Uuid::from_u128(2));
    house.converge().await;
    assert!(rebalance(&house).process.is_some());
    house.change("v", |v| v.task.as_mut().unwrap().status = DefragStatus::Stopped);
    let told = |house: &House| {
        let calls = house.lines.calls();
        calls.iter().filter(|call| **call == (BrickProc::XLATOR_DEFRAG, "v-dht".to_owned())).count()
    };
    for times in [1, 0] {
        assert_eq!(house.converge().await, [""; 0]);
        assert_eq!(told(&house), times, "told once, and left to finish the file it moves");
    }
    house.change("v", |v| v.status = Status::Stopped);
    Arc::make_mut(&mut house.view.volumes).remove("v");
    assert_eq!(house.converge().await, [""; 0]);
    assert_eq!(house.host.processes(), [], "nothing outlives the volume");
}

/// As `reset-brick start` does; a daemon that starts brings it back, as in stock.
#[tokio::test(start_paused = true)]
async fn a_retired_brick_waits_for_its_reset() {
    let mut house = House::new(vec![volume("v", &["/bricks/a", "/bricks/b"])]).await;
    house.converge().await;
    house.supervisor.retire_brick(&house.view, &name("v"), "/bricks/a").await.unwrap();
    house.converge().await;
    assert_eq!(house.running(), ["v:/bricks/b", "v:glustershd"]);
    house.change("v", |v| v.bricks[0].resets += 1);
    house.converge().await;
    assert_eq!(house.running(), ["v:/bricks/a", "v:/bricks/b", "v:glustershd"]);
}

/// Whatever fails on the way: a forced start with a healthy machine brings everything up, and a stop
/// leaves nothing behind.
#[tokio::test(start_paused = true)]
async fn faults_leave_nothing_behind() {
    for seed in 0..20 {
        let volumes = vec![
            volume("v", &["/bricks/a", "/bricks/b", "/bricks/c"]),
            volume("w", &["/bricks/d"]),
        ];
        let host = Arc::new(FakeHost::new(seed));
        for volume in &volumes {
            prepare(&host, volume).await;
        }
        let mut house = House::on(host, view(volumes));
        house.host.set_faults(Faults { launch_fails_percent: 40, ..Faults::default() });
        house.converge().await;
        if seed % 2 == 0 {
            house = house.restart();
        }
        house.converge().await;
        house.host.set_faults(Faults::default());
        for text in ["v", "w"] {
            house.change(text, |v| (v.start_epoch, v.version) = (2, 2));
        }
        assert_eq!(house.converge().await, [""; 0], "seed {seed}");
        assert_eq!(house.running().len(), 5, "seed {seed}");
        for text in ["v", "w"] {
            house.change(text, |v| v.status = Status::Stopped);
        }
        assert_eq!(house.converge().await, [""; 0], "seed {seed}");
        assert_eq!(house.host.processes(), [], "seed {seed}");
    }
}
