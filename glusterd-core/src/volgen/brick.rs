//! The brick graph: what a brick process runs, network first.
//!
//! Pure: no I/O, no clock, no Coordinator. Same input, same bytes.
//! A new translator is a row in [`BRICK_LAYERS`]; the code below should not grow for it.
//!
//! Facts: glusterd-volgen.c:2500 (order), 1660-2490 (each layer), 2735-2800 (passes);
//! glusterd-utils.c:391 (shared-brick-count) (v10.3).

use super::VolgenError;
use super::debug;
use super::engine::{Build, plain, server_specials, set_ssl};
use super::graph::{Graph, Node};
use super::spec::SHARED_STORAGE;
use crate::model::{Brick, Kind};

/// One brick's graph under construction.
struct Ctx<'a> {
    build: &'a Build<'a>,
    /// Position of the brick in its volume.
    index: usize,
    brick: &'a Brick,
}

/// One translator of a brick. Its name is also the position that debug keys use.
struct Layer {
    name: &'static str,
    xlator: &'static str,
    when: When,
    /// The builder's own options; the table's are written over them later.
    sets: fn(&mut Node, &Ctx<'_>) -> Result<(), VolgenError>,
}

enum When {
    Always,
    On(&'static str),
    UnlessOff(&'static str),
    /// Set to anything but off, a text that is no boolean included.
    SetUnlessOff(&'static str),
    Brick(fn(&Ctx<'_>) -> bool),
}

const LAYER: Layer = Layer { name: "", xlator: "", when: When::Always, sets: |_, _| Ok(()) };

/// A brick's translators, network first.
const BRICK_LAYERS: &[Layer] = &[
    // `server` is no position for debug and user translators.
    Layer { xlator: "protocol/server", sets: server, ..LAYER },
    Layer { name: "io-stats", xlator: "debug/io-stats", sets: io_stats, ..LAYER },
    Layer {
        name: "sdfs",
        xlator: "features/sdfs",
        when: When::SetUnlessOff("features.sdfs"),
        sets: |node, _| fixed(node, &[("pass-through", "false")]),
    },
    Layer {
        name: "namespace",
        xlator: "features/namespace",
        when: When::On("features.tag-namespaces"),
        ..LAYER
    },
    Layer {
        name: "cdc",
        xlator: "features/cdc",
        when: When::On("network.compression"),
        sets: |node, _| fixed(node, &[("mode", "server")]),
    },
    Layer { name: "quota", xlator: "features/quota", sets: quota, ..LAYER },
    Layer { name: "index", xlator: "features/index", sets: index, ..LAYER },
    Layer { name: "barrier", xlator: "features/barrier", ..LAYER },
    Layer { name: "marker", xlator: "features/marker", sets: marker, ..LAYER },
    Layer { name: "selinux", xlator: "features/selinux", ..LAYER },
    Layer { name: "io-threads", xlator: "performance/io-threads", ..LAYER },
    Layer { name: "upcall", xlator: "features/upcall", ..LAYER },
    Layer { name: "leases", xlator: "features/leases", ..LAYER },
    Layer { name: "read-only", xlator: "features/read-only", sets: read_only, ..LAYER },
    Layer { name: "worm", xlator: "features/worm", ..LAYER },
    Layer { name: "locks", xlator: "features/locks", ..LAYER },
    Layer {
        name: "access-control",
        xlator: "features/access-control",
        when: When::UnlessOff("features.acl"),
        ..LAYER
    },
    Layer { name: "bitrot-stub", xlator: "features/bitrot-stub", sets: bitrot_stub, ..LAYER },
    Layer { name: "changelog", xlator: "features/changelog", sets: changelog, ..LAYER },
    Layer { name: "trash", xlator: "features/trash", sets: trash, ..LAYER },
    Layer {
        name: "arbiter",
        xlator: "features/arbiter",
        when: When::Brick(|ctx| ctx.build.volume.layout.is_arbiter(ctx.index)),
        ..LAYER
    },
    Layer { name: "posix", xlator: "storage/posix", sets: posix, ..LAYER },
];

/// # Errors
/// No such brick, options that exclude each other, a bad boolean that decides about a layer, a
/// user translator at an unknown position.
pub(super) fn graph(build: &Build<'_>, index: usize) -> Result<Graph, VolgenError> {
    let brick = build.volume.bricks.get(index);
    let brick = brick.ok_or_else(|| VolgenError::new(format!("no brick {index}")))?;
    let ctx = Ctx { build, index, brick };
    debug::check_user(build, |at| BRICK_LAYERS.iter().any(|l| !at.is_empty() && l.name == at))?;
    let mut graph = Graph::default();
    for layer in BRICK_LAYERS.iter().rev() {
        if loaded(layer, &ctx)? {
            let name = match layer.xlator {
                "debug/io-stats" => brick.path.clone(),
                "protocol/server" => build.name("server"),
                _ => build.name(layer.name),
            };
            (layer.sets)(graph.stack(layer.xlator, name), &ctx)?;
        }
        if !layer.name.is_empty() {
            debug::stack(&mut graph, build, layer.name);
            debug::stack_user(&mut graph, build, layer.name);
        }
    }
    // Nothing here depends on them, but stock refuses a bad value of these two while it builds.
    build.flag("changelog.changelog")?;
    build.flag("geo-replication.indexing")?;
    server_specials(&mut graph, build, &brick.path);
    plain(&mut graph, build);
    Ok(graph)
}

fn loaded(layer: &Layer, ctx: &Ctx<'_>) -> Result<bool, VolgenError> {
    match layer.when {
        When::Always => Ok(true),
        When::On(key) => ctx.build.on(key),
        When::UnlessOff(key) => Ok(ctx.build.options.flag(key) != Some(false)),
        When::SetUnlessOff(key) => {
            let options = &ctx.build.options;
            Ok(options.value(key).is_some() && options.flag(key) != Some(false))
        }
        When::Brick(check) => Ok(check(ctx)),
    }
}

fn fixed(node: &mut Node, pairs: &[(&str, &str)]) -> Result<(), VolgenError> {
    pairs.iter().for_each(|(key, value)| node.set(*key, *value));
    Ok(())
}

fn server(node: &mut Node, ctx: &Ctx<'_>) -> Result<(), VolgenError> {
    let (volume, path) = (ctx.build.volume, &ctx.brick.path);
    node.set("transport-type", volume.transport.text());
    // Several daemons on one machine keep apart by address, so their bricks must too.
    if ctx.build.facts.bind_address.is_some() {
        node.set("transport.socket.bind-address", &*ctx.brick.host);
    }
    set_ssl(node, ctx.build);
    if let Some(family) = volume.options.value("transport.address-family") {
        node.set("transport.address-family", family);
    }
    let user = &volume.credentials.username;
    node.set(format!("auth.login.{path}.allow"), &**user);
    node.set(format!("auth.login.{user}.password"), &*volume.credentials.password);
    node.set("auth-path", &**path);
    if volume.name.as_str() == SHARED_STORAGE {
        node.set("strict-auth-accept", "true");
    }
    if let Some(users) = volume.options.value("auth.ssl-allow") {
        node.set(format!("auth.login.{path}.ssl-allow"), users);
    }
    Ok(())
}

fn io_stats(node: &mut Node, ctx: &Ctx<'_>) -> Result<(), VolgenError> {
    node.set("unique-id", &*ctx.brick.path);
    if ctx.build.facts.op_version >= 70_100 {
        node.set("volume-id", ctx.build.volume.id.to_string());
    }
    Ok(())
}

fn quota(node: &mut Node, ctx: &Ctx<'_>) -> Result<(), VolgenError> {
    // The name, not the id: quotad answers by name.
    node.set("volume-uuid", ctx.build.volume.name.as_str());
    if let Some(value) = ctx.build.stored("features.quota") {
        node.set("server-quota", value);
    }
    Ok(())
}

fn index(node: &mut Node, ctx: &Ctx<'_>) -> Result<(), VolgenError> {
    node.set("index-base", format!("{}/.glusterfs/indices", ctx.brick.path));
    match ctx.build.volume.layout.kind {
        Kind::Disperse => node.set("xattrop64-watchlist", "trusted.ec.dirty"),
        // Plain bricks too: they may become copies one day.
        Kind::Replicate | Kind::Distribute => {
            node.set("xattrop-dirty-watchlist", "trusted.afr.dirty");
            let pending = format!("trusted.afr.{}-", ctx.build.volume.name);
            node.set("xattrop-pending-watchlist", pending);
        }
    }
    Ok(())
}

fn marker(node: &mut Node, ctx: &Ctx<'_>) -> Result<(), VolgenError> {
    let volume = ctx.build.volume;
    node.set("volume-uuid", volume.id.to_string());
    let workdir = ctx.build.facts.workdir.display();
    node.set("timestamp-file", format!("{workdir}/vols/{}/marker.tstamp", volume.name));
    node.set("quota-version", volume.quota_version.to_string());
    Ok(())
}

fn read_only(node: &mut Node, ctx: &Ctx<'_>) -> Result<(), VolgenError> {
    let on = |key| ctx.build.options.flag(key) == Some(true);
    if on("features.read-only") && (on("features.worm") || on("features.worm-file-level")) {
        return Err(VolgenError::new("read-only and worm cannot be set together"));
    }
    fixed(node, &[("read-only", "off")])
}

fn bitrot_stub(node: &mut Node, ctx: &Ctx<'_>) -> Result<(), VolgenError> {
    node.set("export", &*ctx.brick.path);
    if let Some(value) = ctx.build.stored("features.bitrot") {
        node.set("bitrot", value);
    }
    Ok(())
}

fn changelog(node: &mut Node, ctx: &Ctx<'_>) -> Result<(), VolgenError> {
    let path = &ctx.brick.path;
    node.set("changelog-brick", &**path);
    node.set("changelog-dir", format!("{path}/.glusterfs/changelogs"));
    let bitrot = ctx.build.stored_on("features.bitrot")?;
    node.set("changelog-notification", if bitrot { "on" } else { "off" });
    Ok(())
}

fn trash(node: &mut Node, ctx: &Ctx<'_>) -> Result<(), VolgenError> {
    node.set("trash-dir", ".trashcan");
    node.set("brick-path", &*ctx.brick.path);
    node.set("trash-internal-op", "off");
    Ok(())
}

fn posix(node: &mut Node, ctx: &Ctx<'_>) -> Result<(), VolgenError> {
    let build = ctx.build;
    node.set("directory", &*ctx.brick.path);
    node.set("volume-id", build.volume.id.to_string());
    // Quota and trash find a file's parents through its link counts.
    if build.stored_on("features.quota")? || build.stored_on("features.trash")? {
        node.set("update-link-count-parent", "on");
    }
    if build.facts.op_version >= 70_000 {
        node.set("fips-mode-rchecksum", "on");
    }
    node.set("shared-brick-count", shared_bricks(ctx).to_string());
    Ok(())
}

/// How many of the volume's bricks on this node share the brick's file system, so that statfs can
/// divide; 0 for another node's brick.
fn shared_bricks(ctx: &Ctx<'_>) -> usize {
    let me = ctx.build.facts.me;
    if ctx.brick.node != me {
        return 0;
    }
    ctx.build.volume.local_bricks(me).filter(|(_, other)| other.fsid == ctx.brick.fsid).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_named_once_and_after_their_translator() {
        for (at, layer) in BRICK_LAYERS.iter().enumerate() {
            let part = layer.xlator.rsplit('/').next();
            assert!(layer.name.is_empty() || part == Some(layer.name), "{}", layer.xlator);
            assert!(!BRICK_LAYERS[..at].iter().any(|other| other.xlator == layer.xlator));
        }
    }
}
