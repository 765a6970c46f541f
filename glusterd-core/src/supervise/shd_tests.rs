use super::*;
use crate::host::Dirs;
use crate::supervise::Settings;
use crate::supervise::record::Running;
use crate::supervise::sample::{name, view, volume};

/// `a1 b2`: volumes with the shapes of their volfiles.
fn shapes(text: &str) -> BTreeMap<VolumeName, u64> {
    let pair = |word: &str| (name(&word[..1]), word[1..].parse().unwrap());
    text.split_whitespace().map(pair).collect()
}

/// `state` of the process, what it serves, what is wanted.
fn check(state: &str, served: &str, wanted: &str, want: &str) {
    let now = match state.ends_with(" changed") {
        true => stamp([&volume("v", &["/a"])]),
        false => Stamp::new(),
    };
    let state = match state.split(' ').next().unwrap() {
        "running" => Some(State::Running(Running { pid: 7, port: 0, socket: "/s".into() })),
        "dead" => Some(State::Dead),
        "stopped" => Some(State::Stopped),
        _ => None,
    };
    let record =
        state.map(|state| ShdRecord { state, served: shapes(served), stamp: Stamp::new() });
    let moves = decide(&shapes(wanted), &now, record.as_ref());
    let text = |step: &ShdMove| match step {
        ShdMove::EndOld => "end-old".to_owned(),
        ShdMove::Launch(name) => format!("launch {name}"),
        ShdMove::Attach(name) => format!("attach {name}"),
        ShdMove::Detach(name) => format!("detach {name}"),
        ShdMove::Stop => "stop".to_owned(),
    };
    assert_eq!(moves.iter().map(text).collect::<Vec<_>>().join(", "), want);
}

#[test]
fn moves() {
    check("unknown", "", "", "end-old");
    check("unknown", "", "a1 b1", "end-old, launch a, attach b");
    check("stopped", "", "a1 b1 c1", "launch a, attach b, attach c");
    check("stopped", "", "", "");
    check("running", "a1", "a1", "");
    check("running", "a1", "a1 b1", "attach b");
    check("running", "a1 b1", "b1", "detach a");
    check("running", "a1 b1", "", "stop");
    // A volume in a new shape leaves and comes back; the process lives on with the others.
    check("running", "a1 b1", "a1 b2", "detach b, attach b");
    // One volume for another: the process must not be left without any.
    check("running", "a1", "b1", "attach b, detach a");
    check("running", "a1", "a2", "stop, launch a");
    check("running", "a1 b1", "a2 b2", "stop, launch a, attach b");
    check("dead", "a1", "a1", "");
    check("dead changed", "a1", "a1", "launch a");
}

#[test]
fn started_volumes_that_can_heal_are_served() {
    let check = |v: &Volume, want| assert_eq!(is_served(v), want);
    let mut v = volume("v", &["/a", "/b"]);
    check(&v, true);
    v.options.set("cluster.self-heal-daemon", "off");
    check(&v, true);
    v.status = crate::model::Status::Stopped;
    check(&v, false);
    check(&volume("v", &["/a"]), false);
}

/// As a stock daemon was seen to start it.
#[test]
fn the_command_line_is_stocks() {
    let (settings, dirs) = (Settings::default(), Dirs::default());
    let pool = view(vec![]);
    let cx = Cx { settings: &settings, dirs: &dirs, view: &pool };
    let command = command(cx, &name("v1"));
    let want = "/usr/sbin/glusterfs -s localhost --volfile-id shd/v1 \
                -p /var/run/gluster/shd/v1/v1-shd.pid -l /var/log/glusterfs/glustershd.log \
                -S SOCKET --xlator-option \
                *replicate*.node-uuid=00000000-0000-0000-0000-000000000001 \
                --process-name glustershd --client-pid=-6";
    let want = want.replace("SOCKET", &dirs.shd_socket(&name("v1"), pool.me));
    assert_eq!(format!("{} {}", command.program, command.args.join(" ")), want);
}
