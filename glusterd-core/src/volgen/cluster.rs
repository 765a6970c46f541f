//! What client-side graphs share: a client per brick, the groups over them, distribution on top.
//!
//! Facts: glusterd-volgen.c:3138 (client), 3241 (clients of a volume), 3352 (groups),
//! 3604 (readdir-ahead), 3623 (distribution), 3720-3900 (replicate, disperse) (v10.3).
//! A thin arbiter is placed behind each subvolume's own bricks, where stock errs from the third
//! subvolume on (docs/differences.md).

use super::VolgenError;
use super::engine::{Build, set_ssl};
use super::graph::Graph;
use crate::model::{Kind, boolean};

/// Adds a `protocol/client` node; `host` is missing where glusterd's portmapper is not asked.
pub(super) fn client(
    graph: &mut Graph,
    build: &Build<'_>,
    name: String,
    host: Option<&str>,
    remote: &str,
    transport: &str,
) -> usize {
    let at = graph.add("protocol/client", name);
    let node = graph.node(at);
    node.set("ping-timeout", "42");
    if let Some(host) = host {
        node.set("remote-host", host);
    }
    node.set("remote-subvolume", remote);
    node.set("transport-type", transport);
    if let Some(family) = build.volume.options.value("transport.address-family") {
        node.set("transport.address-family", family);
    }
    if build.trusted {
        node.set("username", &*build.volume.credentials.username);
        node.set("password", &*build.volume.credentials.password);
    }
    if build.options.value("client.ssl").and_then(boolean) == Some(true) {
        node.set("transport.socket.ssl-enabled", "true");
    }
    set_ssl(node, build);
    at
}

/// A client for every brick of the volume, thin arbiters included; grouped by subvolume.
pub(super) fn clients(
    graph: &mut Graph,
    build: &Build<'_>,
) -> Result<Vec<Vec<usize>>, VolgenError> {
    let volume = build.volume;
    let leaf = volume.layout.leaf();
    if volume.bricks.is_empty() || !volume.bricks.len().is_multiple_of(leaf) {
        return Err(VolgenError::new(format!(
            "volume inconsistency: total number of bricks ({}) is not divisible with number of \
             bricks per cluster ({leaf}) in a multi-cluster setup",
            volume.bricks.len()
        )));
    }
    let mut groups = Vec::new();
    for (subvolume, bricks) in volume.bricks.chunks(leaf).enumerate() {
        let mut group = Vec::new();
        for brick in bricks {
            let (host, path) = (Some(&*brick.host), &brick.path);
            group.push(client(graph, build, brick.id.clone(), host, path, build.transport));
        }
        if let Some(arbiter) = &volume.thin_arbiter {
            let (host, path) = (Some(&*arbiter.host), &arbiter.path);
            let name = thin_arbiter_id(build, subvolume);
            group.push(client(graph, build, name, host, path, build.transport));
        }
        groups.push(group);
    }
    Ok(groups)
}

/// `VOL-ta-N`: N counts the arbiter as one more brick of its subvolume.
fn thin_arbiter_id(build: &Build<'_>, subvolume: usize) -> String {
    let copies = build.volume.layout.leaf();
    build.name(&format!("ta-{}", subvolume * (copies + 1) + copies))
}

/// The replicate or disperse nodes over the clients; for plain bricks the clients themselves.
pub(super) fn subvolumes(
    graph: &mut Graph,
    build: &Build<'_>,
    groups: Vec<Vec<usize>>,
) -> Vec<usize> {
    let volume = build.volume;
    if volume.layout.leaf() == 1 {
        return groups.into_iter().flatten().collect();
    }
    let (kind, part) = match volume.layout.kind {
        Kind::Disperse => ("cluster/disperse", "disperse"),
        _ => ("cluster/replicate", "replicate"),
    };
    let mut made = Vec::new();
    for (subvolume, group) in groups.into_iter().enumerate() {
        let at = graph.add_over(kind, build.name(&format!("{part}-{subvolume}")), group);
        match volume.layout.kind {
            Kind::Disperse => {
                graph.node(at).set("redundancy", volume.layout.redundancy.to_string())
            }
            _ => set_replicate(graph, build, subvolume, at),
        }
        made.push(at);
    }
    made
}

fn set_replicate(graph: &mut Graph, build: &Build<'_>, subvolume: usize, at: usize) {
    let (volume, version) = (build.volume, build.facts.op_version);
    let leaf = volume.layout.leaf();
    let bricks = &volume.bricks[subvolume * leaf..][..leaf];
    let mut pending: Vec<String> = bricks.iter().map(|brick| brick.id.clone()).collect();
    if volume.thin_arbiter.is_some() {
        let id = thin_arbiter_id(build, subvolume);
        pending.push(if version < 70_300 { id } else { format!("{id}.{}", volume.id) });
    }
    let node = graph.node(at);
    if version >= 30_900 {
        node.set("afr-pending-xattr", pending.join(","));
    }
    if version >= 90_000 {
        node.set("volume-id", volume.id.to_string());
    }
    if volume.layout.arbiter > 0 {
        node.set("arbiter-count", volume.layout.arbiter.to_string());
    }
    if let Some(arbiter) = &volume.thin_arbiter {
        node.set("thin-arbiter", format!("{}:{}", arbiter.host, arbiter.path));
    }
}

/// Clients, groups and distribution, the last named `top`; with readdir-ahead below distribution
/// where parallel-readdir asks for it.
pub(super) fn distribute(
    graph: &mut Graph,
    build: &Build<'_>,
    top: String,
    readdir_ahead: bool,
) -> Result<(), VolgenError> {
    let groups = clients(graph, build)?;
    let mut children = subvolumes(graph, build, groups);
    if readdir_ahead && build.stored_on("performance.parallel-readdir")? {
        for (number, child) in children.iter_mut().enumerate() {
            let name = build.name(&format!("readdir-ahead-{number}"));
            *child = graph.add_over("performance/readdir-ahead", name, vec![*child]);
            graph.node(*child).set("performance.readdir-ahead", "on");
        }
    }
    let leaving = leaving(graph, build, &children);
    let at = graph.add_over(distribute_kind(build)?, top, children);
    if !leaving.is_empty() {
        graph.node(at).set("decommissioned-bricks", leaving.join(","));
    }
    Ok(())
}

/// Read from the stored options alone: a `volume set` on trial does not show here (stock). Any
/// text is taken for these two, and one that is no boolean counts as set.
fn distribute_kind(build: &Build<'_>) -> Result<&'static str, VolgenError> {
    let options = &build.volume.options;
    let on = |key| options.value(key).is_some() && options.flag(key) != Some(false);
    match (on("cluster.nufa"), on("cluster.switch")) {
        (true, true) => Err(VolgenError::new("nufa and switch cannot be set together")),
        (true, false) => Ok("cluster/nufa"),
        (false, true) => Ok("cluster/switch"),
        (false, false) => Ok("cluster/distribute"),
    }
}

/// Names of distribution's children below which a brick is being removed.
fn leaving(graph: &Graph, build: &Build<'_>, children: &[usize]) -> Vec<String> {
    let subvolumes = build.volume.bricks.chunks(build.volume.layout.leaf());
    let marked = subvolumes.map(|bricks| bricks.iter().any(|brick| brick.decommissioned));
    let names = children.iter().map(|&child| graph.nodes()[child].name.clone());
    names.zip(marked).filter(|(_, marked)| *marked).map(|(name, _)| name).collect()
}
