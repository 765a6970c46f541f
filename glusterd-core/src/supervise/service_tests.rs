use super::*;
use crate::supervise::Settings;
use crate::supervise::record::Running;
use crate::supervise::sample::{view, volume, with_global};

fn record(what: &str, stamp: &Stamp, topology: u64) -> ServiceRecord {
    let state = match what {
        "running" => State::Running(Running { pid: 7, port: 0, socket: "/s".into() }),
        "dead" => State::Dead,
        _ => State::Stopped,
    };
    ServiceRecord { state, stamp: stamp.clone(), topology, pid_file: "/p".into() }
}

#[test]
fn moves() {
    use ServiceMove::*;
    let old = stamp([&volume("v", &["/a"])]);
    let mut changed = volume("v", &["/a"]);
    changed.version = 2;
    let new = stamp([&changed]);
    let none = Stamp::new();
    // The recorded daemon was started for `old`, with a volfile of shape 1.
    let check = |known: &str, now: &Stamp, shape: u64, want| {
        let record = (!known.is_empty()).then(|| record(known, &old, 1));
        assert_eq!(decide(Scope::Node, now, shape, record.as_ref()), want, "{known} {shape}");
    };
    check("", &new, 1, Replace);
    check("running", &old, 1, Note);
    check("running", &new, 1, Note);
    check("running", &new, 2, Replace);
    check("running", &none, 0, Stop);
    // Dead stays dead until one of its volumes changes.
    check("dead", &old, 1, Nothing);
    check("dead", &new, 1, Start);
    check("dead", &none, 0, Stop);
    check("stopped", &new, 1, Start);
    check("stopped", &none, 0, Nothing);
    // Nothing known and not needed: it may run since before this daemon.
    check("", &none, 0, Stop);
    assert_eq!(decide(Scope::Volume, &new, 1, None), Adopt);
}

fn row(name: &str) -> &'static Kind {
    KINDS.iter().find(|kind| kind.name == name).unwrap()
}

#[test]
fn a_daemon_is_wanted_while_a_started_volume_needs_it() {
    let check = |daemon: &str, of: Option<&str>, option: &str, started: bool, want: usize| {
        let mut v = volume("v", &["/a"]);
        v.options.set(option, "on");
        if !started {
            v.status = crate::model::Status::Stopped;
        }
        let pool = view(vec![v, volume("w", &["/b"])]);
        let service = Service { kind: row(daemon), volume: of };
        assert_eq!(wanted(&pool, service).len(), want, "{daemon} {option}");
    };
    check("quotad", None, "features.quota", true, 1);
    check("quotad", None, "features.quota", false, 0);
    check("quotad", None, "features.bitrot", true, 0);
    check("bitd", None, "features.bitrot", true, 1);
    check("scrub", None, "features.bitrot", true, 1);
    check("snapd", Some("v"), "features.uss", true, 1);
    check("snapd", Some("w"), "features.uss", true, 0);
    check("gfproxyd", Some("v"), "config.gfproxyd", true, 1);
}

#[test]
fn option_values_are_not_shape() {
    let text = "volume a\n    type t\n    option x 1\nend-volume\n";
    let check = |from: &str, to: &str, same: bool| {
        let other = text.replace(from, to);
        assert_eq!(topology(text.as_bytes()) == topology(other.as_bytes()), same, "{from} {to}");
    };
    check("option x 1", "option x 2", true);
    check("    option x 1\n", "", true);
    check("type t", "type u", false);
    check("end-volume", "subvolumes b\nend-volume", false);
    check("option x 1", "option remote-host h", false);
}

/// As a stock daemon was seen to start them.
#[test]
fn command_lines_are_stocks() {
    let (settings, dirs) = (Settings::default(), Dirs::default());
    let check = |view: &View, name: &str, volume: Option<&str>, want: &str| {
        let cx = Cx { settings: &settings, dirs: &dirs, view };
        let service = Service { kind: row(name), volume };
        let command = service.command(cx, 50001);
        let got = format!("{} {}", command.program, command.args.join(" "));
        assert_eq!(got, want.replace("SOCKET", &service.socket(&dirs, view.me)));
    };
    let pool = view(vec![]);
    check(
        &pool,
        "quotad",
        None,
        "/usr/sbin/glusterfs -s localhost --volfile-id gluster/quotad \
         -p /var/run/gluster/quotad/quotad.pid -l /var/log/glusterfs/quotad.log -S SOCKET \
         --process-name quotad",
    );
    check(
        &with_global(pool.clone(), "cluster.daemon-log-level", "DEBUG"),
        "scrub",
        None,
        "/usr/sbin/glusterfs -s localhost --volfile-id gluster/scrub \
         -p /var/run/gluster/scrub/scrub.pid -l /var/log/glusterfs/scrub.log -S SOCKET \
         --log-level=DEBUG --global-timer-wheel --process-name scrub",
    );
    check(
        &pool,
        "snapd",
        Some("v1"),
        "/usr/sbin/glusterfsd -s localhost --volfile-id snapd/v1 \
         -p /var/run/gluster/vols/v1/v1-snapd.pid -l /var/log/glusterfs/snaps/v1/snapd.log \
         --brick-name snapd-v1 -S SOCKET --process-name snapd --brick-port 50001 \
         --xlator-option v1-server.listen-port=50001 --no-mem-accounting",
    );
    check(
        &pool,
        "gfproxyd",
        Some("v1"),
        "/usr/sbin/glusterfsd -s localhost --volfile-id gfproxyd/v1 \
         -p /var/run/gluster/vols/v1/v1.gfproxyd.pid \
         -l /var/log/glusterfs/gfproxy/v1/gfproxyd.log --brick-name gfproxyd-v1 -S SOCKET \
         --brick-port 50001 --xlator-option v1-server.listen-port=50001",
    );
}
