//! Graphs of the helper daemons: self-heal, rebalance, quotad, bitd, scrub, snapd, gfproxyd, and
//! the single-brick client of quota's crawl. All are trusted clients.
//!
//! Facts: glusterd-volgen.c:4804 (rebalance), 4912 (self-heal), 5287 (quotad), 5500 (single-brick
//! client), 5739 (snapd), 5979 and 6131 (bit-rot), 1590 (gfproxyd) (v10.3).

use super::client::{self, Variant};
use super::cluster::{client, clients, distribute, subvolumes};
use super::engine::{Build, client_logs, plain, rows, server_specials, set_ssl, write};
use super::graph::Graph;
use super::spec::Service;
use super::{Facts, VolgenError};
use crate::model::{Kind, Volume, boolean};

pub(super) fn rebalance(build: &Build<'_>) -> Result<Graph, VolgenError> {
    let mut graph = Graph::default();
    distribute(&mut graph, build, build.name("dht"), true)?;
    graph.stack("debug/io-stats", build.volume.name.to_string());
    client_logs(&mut graph, build);
    plain(&mut graph, build);
    Ok(graph)
}

/// What the self-heal daemon's graph holds whatever the volume says.
const SHD_FORCED: &[(&str, &str)] = &[
    ("cluster.background-self-heal-count", "0"),
    ("cluster.data-self-heal", "on"),
    ("cluster.metadata-self-heal", "on"),
    ("cluster.entry-self-heal", "on"),
];

pub(super) fn shd(mut build: Build<'_>) -> Result<Graph, VolgenError> {
    let switch = match build.volume.layout.kind {
        Kind::Disperse => "cluster.disperse-self-heal-daemon",
        _ => "cluster.self-heal-daemon",
    };
    if !build.options.contains(switch) {
        build.options.set(switch, "enable");
    }
    for (key, value) in SHD_FORCED {
        build.options.set(*key, *value);
    }
    let mut below = Graph::default();
    let groups = clients(&mut below, &build)?;
    let healers = subvolumes(&mut below, &build, groups);
    for (opt, value) in rows(&build.options) {
        if !opt.special || matches!(opt.option, "self-heal-daemon" | "heal-timeout") {
            write(&mut below, &build, opt.xlator, opt.option, value);
        }
    }
    for &healer in &healers {
        below.node(healer).set("iam-self-heal-daemon", "yes");
    }
    let mut graph = Graph::default();
    graph.stack("debug/io-stats", build.volume.name.to_string());
    graph.absorb(below, healers.len());
    client_logs(&mut graph, &build);
    Ok(graph)
}

/// The client graph without its writer's cache, and a server on top of it.
pub(super) fn gfproxyd(build: Build<'_>) -> Result<Graph, VolgenError> {
    let (volume, facts) = (build.volume, build.facts);
    let again = Build { options: build.options.clone(), ..Build::new(volume, facts) };
    let mut graph = client::graph(build, Variant::Gfproxyd)?;
    let own = format!("gfproxyd-{}", volume.name);
    let user = &volume.credentials.username;
    let server = graph.stack("protocol/server", again.name("server"));
    server.set("transport-type", volume.transport.text());
    server.set(format!("auth.login.{own}.allow"), &**user);
    server.set(format!("auth.login.{user}.password"), &*volume.credentials.password);
    server.set("auth-path", own);
    // A second pass, without the rewrites of client graphs: it overwrites some of them.
    plain(&mut graph, &again);
    Ok(graph)
}

pub(super) fn snapd(build: &Build<'_>) -> Result<Graph, VolgenError> {
    let volume = build.volume;
    let own = format!("snapd-{}", volume.name);
    let user = &volume.credentials.username;
    let mut graph = Graph::default();
    let snaps = graph.stack("features/snapview-server", build.name("snapview-server"));
    snaps.set("volname", volume.name.as_str());
    graph.stack("performance/io-threads", build.name("io-threads"));
    graph.stack("debug/io-stats", own.clone());
    let server = graph.stack("protocol/server", build.name("server"));
    server.set("transport-type", "tcp");
    if build.options.value("server.ssl").and_then(boolean) == Some(true) {
        server.set("transport.socket.ssl-enabled", "true");
    }
    set_ssl(server, build);
    server.set(format!("auth.login.{own}.allow"), &**user);
    server.set(format!("auth.login.{user}.password"), &*volume.credentials.password);
    server.set("auth-path", &*own);
    server_specials(&mut graph, build, &own);
    Ok(graph)
}

/// One client, for the quota crawl of one brick; of the options only `client.ssl` counts.
pub(super) fn client_per_brick(mut build: Build<'_>, index: usize) -> Result<Graph, VolgenError> {
    let brick = build.volume.bricks.get(index);
    let brick = brick.ok_or_else(|| VolgenError::new(format!("no brick {index}")))?;
    let ssl = build.options.value("client.ssl").map(str::to_owned);
    build.options = Default::default();
    if let Some(ssl) = ssl {
        build.options.set("client.ssl", ssl);
    }
    let mut graph = Graph::default();
    client(&mut graph, &build, brick.id.clone(), Some(&brick.host), &brick.path, "tcp");
    Ok(graph)
}

/// The graph of a daemon that serves several volumes, given those it serves, in name order.
pub(super) fn service(
    service: Service,
    volumes: &[&Volume],
    facts: &Facts<'_>,
) -> Result<Graph, VolgenError> {
    match service {
        Service::Quotad => quotad(volumes, facts),
        Service::Bitd | Service::Scrub => bit_rot(service, volumes, facts),
    }
}

fn quotad(volumes: &[&Volume], facts: &Facts<'_>) -> Result<Graph, VolgenError> {
    let mut graph = Graph::default();
    graph.stack("features/quotad", "quotad".to_owned());
    for volume in volumes {
        let build = Build::new(volume, facts);
        graph.top().set(format!("{}.volume-id", volume.name), volume.name.as_str());
        let mut below = Graph::default();
        distribute(&mut below, &build, volume.name.to_string(), false)?;
        plain(&mut below, &build);
        graph.absorb(below, 1);
    }
    Ok(graph)
}

/// The signer (bitd) and the scrubber: over the clients of this node's bricks.
fn bit_rot(service: Service, volumes: &[&Volume], facts: &Facts<'_>) -> Result<Graph, VolgenError> {
    let bricks: usize = volumes.iter().map(|volume| volume.local_bricks(facts.me).count()).sum();
    let mut graph = Graph::default();
    graph.stack("debug/io-stats", service.name().to_owned());
    for volume in volumes {
        let build = Build::new(volume, facts);
        let mut below = Graph::default();
        for (_, brick) in volume.local_bricks(facts.me) {
            let (host, path) = (Some(&*brick.host), &brick.path);
            client(&mut below, &build, brick.id.clone(), host, path, build.transport);
        }
        if below.is_empty() {
            continue;
        }
        let children = (0..below.len()).collect();
        let at = below.add_over("features/bit-rot", build.name("bit-rot-0"), children);
        match service {
            Service::Scrub => set_scrub(&mut below, at, &build),
            _ => set_bitd(&mut below, at, &build, bricks),
        }
        graph.absorb(below, 1);
        client_logs(&mut graph, &build);
    }
    Ok(graph)
}

fn set_bitd(graph: &mut Graph, at: usize, build: &Build<'_>, bricks: usize) {
    graph.node(at).set("brick-count", bricks.to_string());
    for (opt, value) in rows(&build.options) {
        if !opt.special && matches!(opt.option, "expiry-time" | "signer-threads") {
            graph.node(at).set(opt.option, value);
        }
    }
}

fn set_scrub(graph: &mut Graph, at: usize, build: &Build<'_>) {
    let node = graph.node(at);
    node.set("scrubber", "true");
    for (opt, value) in rows(&build.options).filter(|(opt, _)| !opt.special) {
        match opt.option {
            "scrub-throttle" => node.set("scrub-throttle", value),
            "scrub-frequency" => node.set("scrub-freq", value),
            "scrubber" if value == "pause" => node.set("scrub-state", value),
            _ => {}
        }
    }
}
