//! The text of `get-state`: sections, keys and units as tools parse them.
//!
//! Pure: the image and what this node's processes said in, text out.
//! Facts: glusterd-handler.c:5020-5810, glusterd-utils.c:13800-13965 (v10.3), and stock's files.

use crate::model::{DefragStatus, Kind, Peer, TaskKind, Transport, Volume};
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
    rebalance(volume, &mut put);
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

fn rebalance(volume: &Volume, put: &mut Put<'_>) {
    let id = volume.task.as_ref().map_or(Uuid::nil(), |task| task.id);
    put("rebalance.id", &id);
    put("rebalance.status", &rebalance_text(volume));
    for key in ["failures", "skipped", "lookedup", "files"] {
        put(&format!("rebalance.{key}"), &0);
    }
    put("rebalance.data", &"0Bytes");
    put("time_left", &0);
}

fn rebalance_text(volume: &Volume) -> &'static str {
    use DefragStatus::*;
    let Some(task) = &volume.task else { return "not_started" };
    match (task.status, task.kind == TaskKind::FixLayout) {
        (NotStarted, _) => "not_started",
        (Started, false) => "started",
        (Stopped, false) => "stopped",
        (Complete, false) => "completed",
        (Failed, false) => "failed",
        (Started, true) => "layout_fix_started",
        (Stopped, true) => "layout_fix_stopped",
        (Complete, true) => "layout_fix_complete",
        (Failed, true) => "layout_fix_failed",
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
