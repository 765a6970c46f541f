//! The graph a mount uses, in its three variants: fuse, the client half of gfproxyd, and the
//! client that talks to gfproxyd.
//!
//! Facts: glusterd-volgen.c:4201 (builder), 2829-2910 (which performance translators),
//! 3996-4085 (readdir-ahead sizes) (v10.3).

use super::VolgenError;
use super::cluster::{client, distribute};
use super::debug;
use super::engine::{Build, bytes, client_logs, plain, rows};
use super::graph::Graph;
use crate::model::{Kind, boolean};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Variant {
    Fuse,
    Gfproxyd,
    GfproxyClient,
}

pub(super) fn graph(mut build: Build<'_>, variant: Variant) -> Result<Graph, VolgenError> {
    let mut graph = Graph::default();
    bottom(&mut graph, &build, variant)?;
    features(&mut graph, &build, variant)?;
    rewrite_root_squash(&mut build)?;
    rewrite_send_gids(&mut build);
    if variant == Variant::Fuse {
        rewrite_readdir_sizes(&mut build)?;
    }
    performance(&mut graph, &build, variant)?;
    if build.on("features.uss")? {
        snapview(&mut graph, &build);
    }
    debug::stack(&mut graph, &build, "client");
    let top = match variant {
        Variant::Gfproxyd => format!("gfproxyd-{}", build.volume.name),
        Variant::Fuse | Variant::GfproxyClient => build.volume.name.to_string(),
    };
    graph.stack("debug/io-stats", top);
    client_logs(&mut graph, &build);
    plain(&mut graph, &build);
    Ok(graph)
}

fn bottom(graph: &mut Graph, build: &Build<'_>, variant: Variant) -> Result<(), VolgenError> {
    if variant != Variant::GfproxyClient {
        return distribute(graph, build, build.name("dht"), true);
    }
    let remote = format!("gfproxyd-{}", build.volume.name);
    client(graph, build, build.name("gfproxy-client"), None, &remote, "tcp");
    Ok(())
}

fn features(graph: &mut Graph, build: &Build<'_>, variant: Variant) -> Result<(), VolgenError> {
    if build.on("features.cloudsync")? {
        graph.stack("features/cloudsync", build.name("cloudsync"));
    }
    if build.on("features.shard")? {
        graph.stack("features/shard", build.name("shard"));
    }
    if build.facts.op_version >= 50_000 && build.options.flag("features.ctime") != Some(false) {
        graph.stack("features/utime", build.name("utime"));
    }
    if build.on("network.compression")? {
        graph.stack("features/cdc", build.name("cdc")).set("mode", "client");
    }
    if variant == Variant::GfproxyClient {
        graph.stack("features/quiesce", build.name("quiesce"));
    }
    Ok(())
}

/// With root-squash, reads must wait for the open that checks the squashed user's rights.
fn rewrite_root_squash(build: &mut Build<'_>) -> Result<(), VolgenError> {
    let stored = &build.volume.options;
    if build.options.contains("performance.read-after-open")
        && stored.flag("server.root-squash") == Some(true)
    {
        return Err(VolgenError::new(
            "root-squash is enabled. Please turn it off to change read-after-open option",
        ));
    }
    let Some(squash) = build.flag("server.root-squash")? else { return Ok(()) };
    let already = stored.flag("performance.read-after-open") == Some(true);
    if squash != already {
        build.options.set("performance.read-after-open", "yes");
    }
    Ok(())
}

/// Clients send groups unless the bricks look them up; a user's own value never shows.
fn rewrite_send_gids(build: &mut Build<'_>) {
    let managed = match build.options.value("server.manage-gids") {
        None => false,
        Some(text) => match boolean(text) {
            Some(managed) => managed,
            None => return,
        },
    };
    build.options.set("client.send-gids", if managed { "false" } else { "true" });
}

const RDA_CACHE: &str = "performance.rda-cache-limit";
const RDA_REQUEST: &str = "performance.rda-request-size";
const RDA_LEAST: u64 = 4096;

/// The cache is divided among the readdir-ahead nodes below distribution.
fn rewrite_readdir_sizes(build: &mut Build<'_>) -> Result<(), VolgenError> {
    let volume = build.volume;
    let children = volume.layout.subvolumes(volume.bricks.len()) as u64;
    if children <= 1
        || !build.stored_on("performance.parallel-readdir")?
        || !build.stored_on("performance.readdir-ahead")?
    {
        return Ok(());
    }
    let size = |key: &str| {
        let text = build.options.value(key).or_else(|| build.stored(key)).unwrap_or("");
        bytes(text)
            .ok_or_else(|| VolgenError::shown(format!("invalid number format in option {key}")))
    };
    let (cache, request) = (size(RDA_CACHE)?, size(RDA_REQUEST)?);
    if cache == 0 || request == 0 {
        return Err(VolgenError::shown("Value cannot be 0"));
    }
    let share = cache / children;
    if share < request {
        build.options.set(RDA_REQUEST, format!("{}B", share.max(RDA_LEAST)));
        build.options.set(RDA_CACHE, format!("{}B", share.max(RDA_LEAST)));
    } else {
        build.options.set(RDA_CACHE, format!("{share}B"));
    }
    Ok(())
}

fn performance(graph: &mut Graph, build: &Build<'_>, variant: Variant) -> Result<(), VolgenError> {
    let volume = build.volume;
    for (opt, value) in rows(&build.options).filter(|(opt, _)| opt.special && opt.option == "perf")
    {
        let write_behind = opt.key == "performance.write-behind";
        if (variant == Variant::Gfproxyd && write_behind)
            || (variant == Variant::GfproxyClient && !write_behind)
        {
            continue;
        }
        let wanted = boolean(value).ok_or_else(|| {
            VolgenError::new(format!("option {} {value}: not a boolean value", opt.key))
        })?;
        let left_out = match opt.key {
            "performance.open-behind" => opt.op_version > volume.client_op_version,
            "performance.client-io-threads" => {
                build.facts.op_version < 31_202 && volume.layout.kind == Kind::Replicate
            }
            "performance.readdir-ahead" => build.stored_on("performance.parallel-readdir")?,
            _ => false,
        };
        if wanted && !left_out {
            let part = opt.xlator.rsplit('/').next().unwrap_or(opt.xlator);
            graph.stack(opt.xlator, build.name(part));
        }
    }
    Ok(())
}

/// Snapshots beside the live tree: what is there so far comes first, snapd second.
fn snapview(graph: &mut Graph, build: &Build<'_>) {
    let live = graph.len() - 1;
    let remote = format!("snapd-{}", build.volume.name);
    let name = build.name("snapd-client");
    let snapd = client(graph, build, name, None, &remote, build.transport);
    graph.add_over("features/snapview-client", build.name("snapview-client"), vec![live, snapd]);
}
