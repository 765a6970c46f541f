//! The text of `get-state`: sections, keys and units as tools parse them.
//!
//! Pure: the image and what this node's processes said in, text out.
//! Facts: glusterd-handler.c:5020-5810, glusterd-utils.c:13800-13965 (v10.3), and stock's files.

use crate::model::{Counts, DefragStatus, Kind, Peer, Transport, Volume};
use crate::ops::{Answer, Answered, BrickStatus, Cx, NodeStatus, Question};
use crate::options::all_of_volume;
use crate::rpc::Dict;
use crate::store::View;
use std::fmt::Write as _;
use uuid::Uuid;

/// `get-state`, with the bricks' clients if `detail`.
pub fn state(cx: &Cx<'_>, detail: bool) -> String {
    let view = cx.view;
    let mut text = format!("[Global]\nMYUUID: {}\nop-version: {}\n", view.me, view.op_version());
    text += "\n[Global options]\n";
    for (key, value) in view.global.options.iter() {
        text += &format!("{key}: {value}\n");
    }
    text += "\n[Peers]\n";
    for (i, peer) in view.others().enumerate() {
        text += &self::peer(i + 1, peer, view);
    }
    text += "\n[Volumes]\n";
    for (i, volume) in view.volumes.values().enumerate() {
        text += &self::volume(cx, i + 1, volume, detail);
    }
    text += "\n[Services]\n";
    text += &services(cx);
    text += &format!("\n[Misc]\nBase port: {}\n", cx.site.base_port);
    text
}

/// `get-state volumeoptions`: every option with its effective value, the last one first.
pub fn options(view: &View) -> String {
    let mut text = "[Volume Options]\n".to_owned();
    for (i, volume) in view.volumes.values().enumerate() {
        let (n, values) = (i + 1, all_of_volume(volume, &view.global).pairs);
        text += &format!("Volume{n}.name: {}\n", volume.name);
        text += &format!("Volume{n}.options.count: {}\n", values.len());
        for (j, (key, value)) in values.iter().enumerate().rev() {
            let value = value.as_deref().unwrap_or("(null)");
            text += &format!("Volume{n}.options.value{}: {value}\n", j + 1);
            text += &format!("Volume{n}.options.key{}: {key}\n", j + 1);
        }
    }
    text
}

fn peer(n: usize, peer: &Peer, view: &View) -> String {
    let connected = match view.alive.contains(&peer.id) {
        true => "Connected",
        false => "Disconnected",
    };
    let first = peer.hostnames.first().map_or("", String::as_str);
    let others: Vec<&str> =
        peer.hostnames.iter().map(String::as_str).filter(|name| *name != first).collect();
    format!(
        "Peer{n}.primary_hostname: {first}\nPeer{n}.uuid: {}\nPeer{n}.state: {}\n\
         Peer{n}.connected: {connected}\nPeer{n}.othernames: {}\n",
        peer.id,
        peer.state.text(),
        others.join(",")
    )
}

fn volume(cx: &Cx<'_>, n: usize, volume: &Volume, detail: bool) -> String {
    let none = NodeStatus::default();
    let status = status(cx.answers, volume.name.as_str()).unwrap_or(&none);
    let mut text = String::new();
    let mut put = |key: &str, value: &dyn std::fmt::Display| {
        writeln!(text, "Volume{n}.{key}: {value}").expect("a String takes any text");
    };
    put("name", &volume.name);
    put("id", &volume.id);
    put("type", &type_text(volume));
    put("transport_type", &transport_text(volume.transport));
    put("status", &volume.status.text());
    put("profile_enabled", &u8::from(profiled(volume)));
    put("brickcount", &volume.bricks.len());
    for (i, brick) in volume.bricks.iter().enumerate() {
        let mut put = |key: &str, value: &dyn std::fmt::Display| {
            put(&format!("Brick{}.{key}", i + 1), value);
        };
        put("path", &format_args!("{}:{}", brick.host, brick.path));
        put("hostname", &brick.host);
        if volume.layout.is_arbiter(i) {
            put("is_arbiter", &1);
        }
        if brick.node != cx.view.me {
            continue;
        }
        let none = BrickStatus::default();
        let row = status.bricks.iter().find(|row| row.path == brick.path).unwrap_or(&none);
        brick_rows(row, &mut put);
        let called = clients(cx.answers, volume.name.as_str(), &brick.path);
        if let Some(dict) = called.filter(|_| detail && row.online) {
            client_rows(&dict, &mut put);
        }
    }
    counts(volume, &mut put);
    let online = |title: &str| status.services.iter().any(|s| s.title == title && s.online);
    let shd = volume.layout.kind != Kind::Distribute && volume.start_epoch > 0;
    put("snapd_svc.online_status", &online_text(online("Snapshot Daemon")));
    put("snapd_svc.inited", &truth(volume.start_epoch > 0));
    rebalance(cx.view, volume, &mut put);
    put("shd_svc.online_status", &online_text(online("Self-heal Daemon")));
    put("shd_svc.inited", &truth(shd));
    put("gsync_count", &0);
    for (key, value) in volume.options.iter() {
        put(&format!("options.{key}"), &value);
    }
    text.push('\n');
    text
}

type Put<'a> = dyn FnMut(&str, &dyn std::fmt::Display) + 'a;

fn brick_rows(row: &BrickStatus, put: &mut Put<'_>) {
    put("port", &row.port);
    put("rdma_port", &0);
    put("port_registered", &u8::from(row.online));
    put(
        "status",
        &match (row.online, row.port) {
            (true, _) => "Started",
            (false, 0) => "Stopped",
            (false, _) => "Starting",
        },
    );
    let (free, total) = row.detail.as_ref().map_or((0, 0), |detail| (detail.free, detail.total));
    put("spacefree", &format_args!("{free}Bytes"));
    put("spacetotal", &format_args!("{total}Bytes"));
}

/// Clients count from 0 in the brick's answer and from 1 here.
fn client_rows(dict: &Dict, put: &mut Put<'_>) {
    let count: usize = dict.int("clientcount").unwrap_or(0);
    put("client_count", &count);
    for i in 0..count {
        let Some(hostname) = dict.str(&format!("client{i}.hostname")) else { return };
        put(&format!("Client{}.hostname", i + 1), &hostname);
        for key in ["bytesread", "byteswrite", "opversion"] {
            let Some(value) = dict.int::<u64>(&format!("client{i}.{key}")) else { return };
            put(&format!("Client{}.{key}", i + 1), &value);
        }
    }
}

fn counts(volume: &Volume, put: &mut Put<'_>) {
    let layout = &volume.layout;
    put("snap_count", &0);
    put("stripe_count", &1);
    put("replica_count", &layout.replica);
    put("subvol_count", &layout.subvolumes(volume.bricks.len()));
    put("arbiter_count", &layout.arbiter);
    put("disperse_count", &layout.disperse);
    put("redundancy_count", &layout.redundancy);
    put("quorum_status", &"not_applicable");
}

fn rebalance(view: &View, volume: &Volume, put: &mut Put<'_>) {
    let id = volume.task.as_ref().filter(|task| !task.over).map_or(Uuid::nil(), |task| task.id);
    let here = volume.task.as_ref().and_then(|task| view.progress.get(&(task.id, view.me)));
    let counts = here.map_or_else(Counts::default, |here| here.counts);
    put("rebalance.id", &id);
    put("rebalance.status", &rebalance_text(volume));
    put("rebalance.failures", &counts.failures);
    put("rebalance.skipped", &counts.skipped);
    put("rebalance.lookedup", &counts.scanned);
    put("rebalance.files", &counts.files);
    put("rebalance.data", &human(counts.bytes));
    put("time_left", &0);
}

/// Source: libglusterfs/src/common-utils.c `gf_uint64_2human_readable` (v10.3).
fn human(bytes: u64) -> String {
    let units = [(50, "PB"), (40, "TB"), (30, "GB"), (20, "MB"), (10, "KB")];
    match units.into_iter().find(|(shift, _)| bytes >> shift > 0) {
        Some((shift, unit)) => format!("{:.1}{unit}", bytes as f64 / (1u64 << shift) as f64),
        None => format!("{bytes}Bytes"),
    }
}

fn rebalance_text(volume: &Volume) -> &'static str {
    match volume.task.as_ref().map_or(DefragStatus::NotStarted, |task| task.status) {
        DefragStatus::NotStarted => "not_started",
        DefragStatus::Started => "started",
        DefragStatus::Stopped => "stopped",
        DefragStatus::Complete => "completed",
        DefragStatus::Failed => "failed",
        DefragStatus::ResetByReplace | DefragStatus::ResetByReset => "reset",
    }
}

/// Stock lists its three pool-wide daemons once it has looked after them, which it first does when
/// a volume is started.
fn services(cx: &Cx<'_>) -> String {
    if cx.view.volumes.values().all(|volume| volume.start_epoch == 0) {
        return String::new();
    }
    let rows =
        [("bitd", "Bitrot Daemon"), ("scrub", "Scrubber Daemon"), ("quotad", "Quota Daemon")];
    let mut text = String::new();
    for (i, (name, title)) in rows.iter().enumerate() {
        let mut said = cx.answers.iter().filter_map(|answered| match &answered.answer {
            Answer::Status(status) => Some(status),
            _ => None,
        });
        let online = said.any(|s| s.services.iter().any(|row| row.title == *title && row.online));
        let n = i + 1;
        text += &format!("svc{n}.name: {name}\nsvc{n}.online_status: {}\n\n", online_text(online));
    }
    text
}

/// This node's status of a volume among the answers.
pub fn status<'a>(answers: &'a [Answered], volume: &str) -> Option<&'a NodeStatus> {
    answers.iter().find_map(|answered| match (&answered.question, &answered.answer) {
        (Question::Status { volume: asked, .. }, Answer::Status(status)) if asked == volume => {
            Some(status)
        }
        _ => None,
    })
}

fn clients(answers: &[Answered], volume: &str, path: &str) -> Option<Dict> {
    answers.iter().find_map(|answered| match (&answered.question, &answered.answer) {
        (Question::BrickOp { volume: v, path: p, .. }, Answer::Dict(bytes))
            if v == volume && p == path =>
        {
            Dict::decode_or_empty(bytes).ok()
        }
        _ => None,
    })
}

fn profiled(volume: &Volume) -> bool {
    let on = |key| volume.options.flag(key) == Some(true);
    on("diagnostics.count-fop-hits") && on("diagnostics.latency-measurement")
}

fn type_text(volume: &Volume) -> &'static str {
    let many = volume.bricks.len() > volume.layout.leaf();
    match (volume.layout.kind, many) {
        (Kind::Distribute, _) => "Distribute",
        (Kind::Replicate, false) => "Replicate",
        (Kind::Disperse, false) => "Disperse",
        (Kind::Replicate, true) => "Distributed-Replicate",
        (Kind::Disperse, true) => "Distributed-Disperse",
    }
}

fn transport_text(transport: Transport) -> &'static str {
    match transport {
        Transport::Tcp => "tcp",
        Transport::Rdma => "rdma",
        Transport::TcpRdma => "tcp_rdma_both",
    }
}

fn online_text(online: bool) -> &'static str {
    if online { "Online" } else { "Offline" }
}

fn truth(yes: bool) -> &'static str {
    if yes { "True" } else { "False" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        Brick, Credentials, Layout, NodeId, OptionList, Status, VolumeId, VolumeName,
    };
    use crate::ops::{BrickDetail, Site};
    use std::sync::Arc;

    const ME: NodeId = NodeId(Uuid::from_u128(7));

    fn plain() -> Volume {
        let brick = Brick {
            node: ME,
            host: "node1".into(),
            path: "/srv/b/d1".into(),
            real_path: "/srv/b/d1".into(),
            id: "v2-client-0".into(),
            mount_dir: "/b/d1".into(),
            fsid: 0,
            decommissioned: false,
            snap_status: 0,
            resets: 0,
        };
        Volume {
            name: VolumeName::parse("v2").unwrap(),
            id: VolumeId(Uuid::from_u128(5)),
            layout: Layout::DISTRIBUTE,
            status: Status::Started,
            transport: Transport::Tcp,
            bricks: vec![brick],
            thin_arbiter: None,
            options: OptionList::from_newest_first(vec![("nfs.disable".into(), "on".into())]),
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
        }
    }

    fn answers() -> Vec<Answered> {
        let detail = BrickDetail { free: 5, total: 9, ..BrickDetail::default() };
        let row = BrickStatus {
            path: "/srv/b/d1".into(),
            port: 50000,
            pid: Some(9),
            online: true,
            detail: Some(detail),
        };
        let status = NodeStatus { bricks: vec![row], services: vec![] };
        let question = Question::Status { volume: "v2".into(), detail: true };
        let mut clients = Dict::new();
        clients.set_int("clientcount", 1u32);
        clients.set_str("client0.hostname", "127.0.0.1:49146");
        for (key, value) in [("bytesread", 5156u64), ("byteswrite", 5820), ("opversion", 100000)] {
            clients.set_int(format!("client0.{key}"), value);
        }
        let called = Question::BrickOp {
            volume: "v2".into(),
            path: "/srv/b/d1".into(),
            procedure: 4,
            name: String::new(),
            input: vec![],
        };
        vec![
            Answered { node: ME, question, answer: Answer::Status(status) },
            Answered { node: ME, question: called, answer: Answer::Dict(clients.encode()) },
        ]
    }

    /// As stock's daemon wrote it for such a volume, ids and numbers apart.
    const WANT: &str = "[Global]\nMYUUID: 00000000-0000-0000-0000-000000000007\n\
        op-version: 100000\n\n[Global options]\n\n[Peers]\n\n[Volumes]\nVolume1.name: v2\n\
        Volume1.id: 00000000-0000-0000-0000-000000000005\nVolume1.type: Distribute\n\
        Volume1.transport_type: tcp\nVolume1.status: Started\nVolume1.profile_enabled: 0\n\
        Volume1.brickcount: 1\nVolume1.Brick1.path: node1:/srv/b/d1\n\
        Volume1.Brick1.hostname: node1\nVolume1.Brick1.port: 50000\n\
        Volume1.Brick1.rdma_port: 0\nVolume1.Brick1.port_registered: 1\n\
        Volume1.Brick1.status: Started\nVolume1.Brick1.spacefree: 5Bytes\n\
        Volume1.Brick1.spacetotal: 9Bytes\nVolume1.Brick1.client_count: 1\n\
        Volume1.Brick1.Client1.hostname: 127.0.0.1:49146\n\
        Volume1.Brick1.Client1.bytesread: 5156\nVolume1.Brick1.Client1.byteswrite: 5820\n\
        Volume1.Brick1.Client1.opversion: 100000\nVolume1.snap_count: 0\n\
        Volume1.stripe_count: 1\nVolume1.replica_count: 1\nVolume1.subvol_count: 1\n\
        Volume1.arbiter_count: 0\nVolume1.disperse_count: 0\nVolume1.redundancy_count: 0\n\
        Volume1.quorum_status: not_applicable\nVolume1.snapd_svc.online_status: Offline\n\
        Volume1.snapd_svc.inited: True\n\
        Volume1.rebalance.id: 00000000-0000-0000-0000-000000000000\n\
        Volume1.rebalance.status: not_started\nVolume1.rebalance.failures: 0\n\
        Volume1.rebalance.skipped: 0\nVolume1.rebalance.lookedup: 0\n\
        Volume1.rebalance.files: 0\nVolume1.rebalance.data: 0Bytes\nVolume1.time_left: 0\n\
        Volume1.shd_svc.online_status: Offline\nVolume1.shd_svc.inited: False\n\
        Volume1.gsync_count: 0\nVolume1.options.nfs.disable: on\n\n\n[Services]\n\
        svc1.name: bitd\nsvc1.online_status: Offline\n\nsvc2.name: scrub\n\
        svc2.online_status: Offline\n\nsvc3.name: quotad\nsvc3.online_status: Offline\n\n\n\
        [Misc]\nBase port: 49152\n";

    #[test]
    fn the_text_is_stocks() {
        let mut view = View::alone(ME);
        let volume = plain();
        Arc::make_mut(&mut view.volumes).insert(volume.name.clone(), Arc::new(volume));
        let site = Site::sample();
        let answers = answers();
        let cx = Cx { view: &view, site: &site, answers: &answers, fresh: &[Uuid::nil(); 4] };
        assert_eq!(state(&cx, true), WANT);
        let client = |line: &&str| line.contains("lient");
        let plain: Vec<&str> = WANT.lines().filter(|line| !client(line)).collect();
        assert_eq!(state(&cx, false).lines().collect::<Vec<_>>(), plain);
        let options = options(&view);
        let mut lines = options.lines();
        assert_eq!(lines.next(), Some("[Volume Options]"));
        assert_eq!(lines.next(), Some("Volume1.name: v2"));
        assert!(lines.next().unwrap().starts_with("Volume1.options.count: "));
        assert_eq!(lines.next_back(), Some("Volume1.options.key1: cluster.lookup-unhashed"));
        assert_eq!(lines.next_back(), Some("Volume1.options.value1: on (DEFAULT)"));
    }
}
