use super::*;
use crate::model::Status;
use crate::supervise::record::BrickRecord;
use crate::supervise::sample::{ME, OTHER, brick, name, view, volume, with_global};
use crate::supervise::{Settings, Valgrind};

const RUNNING: &str = "running";

/// `what`: running, dead, stopped.
fn record(volume: &Volume, what: &str, epoch: u64, pid: i32) -> BrickRecord {
    let state = match what {
        RUNNING => State::Running(Running { pid, port: 50000, socket: format!("/s{pid}") }),
        "dead" => State::Dead,
        _ => State::Stopped,
    };
    BrickRecord { volume_id: volume.id, pid_file: "/p".into(), epoch, state }
}

/// One local brick `/a` of volume v; `change` shapes the volume, `known` is its record.
fn check(change: impl FnOnce(&mut Volume), known: Option<(&str, u64)>, want: &str) {
    let mut v = volume("v", &["/a"]);
    let record = known.map(|(what, epoch)| record(&v, what, epoch, 7));
    let records = record.map(|r| (BrickKey::new(&v.name, "/a"), r)).into_iter().collect();
    change(&mut v);
    let moves = plan(&view(vec![v]), &BTreeSet::new(), &records, &name("v"));
    let text = |step: &Move| match step {
        Move::Stop(key) => format!("stop {}", key.path),
        Move::Forget(key) => format!("forget {}", key.path),
        Move::Renew(key, epoch) => format!("renew {} {epoch}", key.path),
        Move::Start(key) => format!("start {}", key.path),
    };
    assert_eq!(moves.iter().map(text).collect::<Vec<_>>().join(", "), want);
}

#[test]
fn a_started_volume_wants_its_bricks() {
    check(|_| (), None, "start /a");
    check(|_| (), Some(("stopped", 1)), "start /a");
    check(|_| (), Some((RUNNING, 1)), "");
}

/// As in stock: only a forced start, or a new daemon, brings a dead brick back.
#[test]
fn a_dead_brick_stays_dead_until_the_next_start() {
    check(|_| (), Some(("dead", 1)), "");
    check(|v| v.version = 9, Some(("dead", 1)), "");
    check(|v| v.start_epoch = 2, Some(("dead", 1)), "start /a");
    // A brick that runs has seen the start too: dying later does not make it start again.
    check(|v| v.start_epoch = 2, Some((RUNNING, 1)), "renew /a 2");
}

#[test]
fn what_is_not_wanted_stops() {
    let stopped = |v: &mut Volume| v.status = Status::Stopped;
    check(stopped, Some((RUNNING, 1)), "stop /a");
    check(stopped, Some(("dead", 1)), "stop /a");
    check(stopped, Some(("stopped", 1)), "");
    // Nothing known: it may run since before this daemon.
    check(stopped, None, "stop /a");
    check(|v| v.bricks[0].snap_status = -1, Some((RUNNING, 1)), "stop /a");
}

#[test]
fn bricks_that_left_are_stopped_and_forgotten() {
    let moved = |v: &mut Volume| v.bricks = vec![brick(OTHER, "/a")];
    check(moved, Some((RUNNING, 1)), "stop /a, forget /a");
    check(moved, Some(("stopped", 1)), "forget /a");
    let replaced = |v: &mut Volume| v.bricks = vec![brick(ME, "/b")];
    check(replaced, Some((RUNNING, 1)), "stop /a, forget /a, start /b");
    // Deleted and made again under the same name, while nobody looked.
    let again = |v: &mut Volume| v.id = crate::model::VolumeId(uuid::Uuid::from_u128(99));
    check(again, Some((RUNNING, 1)), "stop /a, forget /a, start /a");
}

#[test]
fn a_volume_that_is_gone_loses_its_bricks() {
    let v = volume("v", &["/a"]);
    let records = [(BrickKey::new(&v.name, "/a"), record(&v, RUNNING, 1, 7))].into();
    let moves = plan(&view(vec![]), &BTreeSet::new(), &records, &v.name);
    let key = BrickKey::new(&v.name, "/a");
    assert_eq!(moves, [Move::Stop(key.clone()), Move::Forget(key)]);
}

#[test]
fn without_quorum_bricks_stop_and_with_it_they_start() {
    let v = volume("v", &["/a"]);
    let key = BrickKey::new(&v.name, "/a");
    let records = BrickRecords::from([(key.clone(), record(&v, RUNNING, 1, 7))]);
    let view = view(vec![v.clone()]);
    let blocked = BTreeSet::from([v.name.clone()]);
    assert_eq!(plan(&view, &blocked, &records, &v.name), [Move::Stop(key.clone())]);
    let records = BrickRecords::from([(key.clone(), record(&v, "stopped", 1, 7))]);
    assert_eq!(plan(&view, &BTreeSet::new(), &records, &v.name), [Move::Start(key)]);
}

/// A daemon that has come up while the coordinator is away, and has not counted yet.
#[test]
fn while_quorum_is_not_known_bricks_stay_as_they_are() {
    let v = volume("v", &["/a"]);
    let view = View { counted: false, ..view(vec![v.clone()]) };
    let blocked = BTreeSet::from([v.name.clone()]);
    let check = |records: BrickRecords, want: &[Move]| {
        assert_eq!(plan(&view, &blocked, &records, &v.name), want);
    };
    check(BrickRecords::new(), &[]);
    let key = |path: &str| BrickKey::new(&v.name, path);
    check([(key("/a"), record(&v, RUNNING, 1, 7))].into(), &[]);
    // What is no longer part of the volume goes all the same.
    let gone = [(key("/b"), record(&v, RUNNING, 1, 7))].into();
    check(gone, &[Move::Stop(key("/b")), Move::Forget(key("/b"))]);
}

fn line(settings: Settings, view: View, volume: &Volume) -> String {
    let dirs = Dirs::default();
    let cx = Cx { settings: &settings, dirs: &dirs, view: &view };
    let command = command(cx, volume, &volume.bricks[0], 49153);
    format!("{} {}", command.program, command.args.join(" "))
}

/// As a stock daemon was seen to start one.
#[test]
fn the_command_line_is_stocks() {
    let mut v = volume("v1", &["/d/b0"]);
    let plain = "/usr/sbin/glusterfsd -s h --volfile-id v1.h.d-b0 \
                 -p /var/run/gluster/vols/v1/h-d-b0.pid -S SOCKET --brick-name /d/b0 \
                 -l /var/log/glusterfs/bricks/d-b0.log \
                 --xlator-option *-posix.glusterd-uuid=00000000-0000-0000-0000-000000000001 \
                 --process-name brick --brick-port 49153 \
                 --xlator-option v1-server.listen-port=49153";
    let socket = Dirs::default().brick_socket(&v.name, &v.bricks[0]);
    let plain = plain.replace("SOCKET", &socket);
    assert_eq!(line(Settings::default(), view(vec![]), &v), plain);

    let mux = with_global(view(vec![]), "cluster.brick-multiplex", "on");
    assert_eq!(line(Settings::default(), mux, &v), format!("{plain} --brick-mux"));

    let settings = Settings { bind_address: Some("127.1.1.1".into()), ..Settings::default() };
    let bound = format!("{plain} --xlator-option transport.socket.bind-address=127.1.1.1");
    assert_eq!(line(settings, view(vec![]), &v), bound);

    v.options.set("config.memory-accounting", "on");
    v.options.set("config.global-threading", "on");
    let settings = Settings {
        address_family: Some("inet6".into()),
        io_engine: Some("legacy".into()),
        syslog: true,
        valgrind: Some(Valgrind::Drd),
        ..Settings::default()
    };
    let local = with_global(view(vec![]), "cluster.localtime-logging", "enable");
    let full = line(settings, local, &v);
    let log = "--log-file=/var/log/glusterfs/bricks/valgrind-v1-d-b0.log";
    assert!(full.starts_with(&format!("valgrind --tool=drd {log} /usr/sbin/glusterfsd -s h")));
    let tail = "--process-name brick --localtime-logging --brick-port 49153 --global-threading \
                --io-engine legacy --logger=syslog --xlator-option v1-server.listen-port=49153 \
                --xlator-option transport.address-family=inet6 --mem-accounting";
    assert!(full.ends_with(tail), "{full}");
}

/// v has one running brick (pid 7); who may join its process?
fn check_companion(change: impl FnOnce(&mut Volume, &mut Volume, &mut View), want: Option<i32>) {
    let (mut v, mut w) = (volume("v", &["/a"]), volume("w", &["/b"]));
    let records = [(BrickKey::new(&v.name, "/a"), record(&v, RUNNING, 1, 7))].into();
    let mut pool = with_global(view(vec![]), "cluster.brick-multiplex", "on");
    change(&mut v, &mut w, &mut pool);
    let both = [v, w.clone()].map(|v| (v.name.clone(), std::sync::Arc::new(v)));
    pool.volumes = std::sync::Arc::new(both.into());
    let found = companion(&pool, &w, "/b", &records);
    assert_eq!(found.map(|(_, running)| running.pid), want);
}

#[test]
fn processes_are_shared_by_volumes_with_equal_options() {
    check_companion(|_, _, _| (), Some(7));
    check_companion(|v, _, _| v.options.set("storage.linux-aio", "on"), None);
    check_companion(|_, w, _| w.options.set("storage.linux-aio", "on"), None);
    check_companion(
        |v, w, _| {
            v.options.set("storage.linux-aio", "on");
            w.options.set("storage.linux-aio", "off");
        },
        None,
    );
    check_companion(
        |v, w, _| {
            v.options.set("auth.allow", "1.2.3.4");
            v.options.set("server.event-threads", "4");
            v.options.set("diagnostics.brick-log-level", "DEBUG");
            w.options.set("user.anything", "x");
        },
        Some(7),
    );
    check_companion(|_, _, pool| *pool = view(vec![]), None);
    let limit = |pool: &mut View, value: &str| {
        *pool = with_global(pool.clone(), "cluster.max-bricks-per-process", value);
    };
    check_companion(|_, _, pool| limit(pool, "1"), None);
    check_companion(|_, _, pool| limit(pool, "2"), Some(7));
    check_companion(|_, _, pool| limit(pool, "0"), Some(7));
    check_companion(|v, _, _| v.name = name("gluster_shared_storage"), None);
}

#[test]
fn a_live_process_is_adopted_only_if_it_is_this_bricks() {
    let args = "/usr/sbin/glusterfsd -p /p -S /s --brick-name /a --brick-port 50001";
    let process = |more: &str| Process {
        pid: 7,
        args: format!("{args}{more}").split(' ').map(str::to_owned).collect(),
    };
    let check = |more: &str, pid_file: &str, path: &str, open: bool, want: bool| {
        assert_eq!(is_adoptable(&process(more), pid_file, path, open), want, "{more} {path}");
    };
    check("", "/p", "/a", true, true);
    check("", "/p", "/a", false, true);
    check("", "/other", "/a", true, false);
    check("", "/p", "/b", true, false);
    check(" --brick-mux", "/other", "/b", true, true);
    check(" --brick-mux", "/p", "/a", false, false);
    let want = Running { pid: 7, port: 50001, socket: "/s".into() };
    assert_eq!(adopted(&process("")), Some(want));
}
