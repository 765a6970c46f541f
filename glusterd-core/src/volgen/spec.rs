//! Which volfiles there are, what they are called, and which one an id asks for.
//!
//! Names and choices only; the graphs are the builders'. Nothing is looked for on disk: what a
//! file's existence decides in stock is decided here from the volume.
//!
//! Facts: glusterd-handshake.c:203-515 (ids), glusterd-volgen.c:5158 (names), 6200 (which are
//! written) (v10.3). Differences from stock: services' files go when nothing needs them any more
//! (docs/differences.md).

use crate::model::{Brick, Kind, Status, Transport, Volume, VolumeName, strip_dash_path};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The volume that carries cluster-wide state: only trusted clients may mount it.
pub const SHARED_STORAGE: &str = "gluster_shared_storage";

/// A volfile of one volume. Bricks are given by their position in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spec {
    Brick(usize),
    Client { trusted: bool, wire: Wire },
    GfproxyClient,
    Gfproxyd,
    Rebalance,
    Shd,
    Snapd,
    ClientPerBrick(usize),
}

/// What client nodes connect over; a volume with both transports has a set of files for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    Tcp,
    Rdma,
}

impl Wire {
    pub fn text(self) -> &'static str {
        match self {
            Wire::Tcp => "tcp",
            Wire::Rdma => "rdma",
        }
    }

    /// The wires of a volume, the one that ids without a transport mean first.
    pub fn of(transport: Transport) -> &'static [Wire] {
        match transport {
            Transport::Tcp => &[Wire::Tcp],
            Transport::Rdma => &[Wire::Rdma],
            Transport::TcpRdma => &[Wire::Tcp, Wire::Rdma],
        }
    }
}

/// A volfile over all volumes: one such process a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    Quotad,
    Bitd,
    Scrub,
}

impl Service {
    pub const ALL: [Service; 3] = [Service::Quotad, Service::Bitd, Service::Scrub];

    pub fn name(self) -> &'static str {
        match self {
            Service::Quotad => "quotad",
            Service::Bitd => "bitd",
            Service::Scrub => "scrub",
        }
    }

    /// Below the working directory.
    pub fn path(self) -> &'static str {
        match self {
            Service::Quotad => "quotad/quotad.vol",
            Service::Bitd => "bitd/bitd-server.vol",
            Service::Scrub => "scrub/scrub-server.vol",
        }
    }

    /// Whether the service works for this volume.
    pub fn serves(self, volume: &Volume) -> bool {
        let key = match self {
            Service::Quotad => "features.quota",
            Service::Bitd | Service::Scrub => "features.bitrot",
        };
        volume.is_started() && volume.options.flag(key) == Some(true)
    }
}

/// Every volfile that the volume should have now.
pub fn specs(volume: &Volume) -> Vec<Spec> {
    let on = |key| volume.options.flag(key) == Some(true);
    let shared = volume.name.as_str() == SHARED_STORAGE;
    let bricks = 0..volume.bricks.len();
    let mut all: Vec<Spec> = bricks.clone().map(Spec::Brick).collect();
    for &wire in Wire::of(volume.transport) {
        all.push(Spec::Client { trusted: true, wire });
        if !shared {
            all.push(Spec::Client { trusted: false, wire });
        }
    }
    if !shared {
        all.push(Spec::GfproxyClient);
    }
    all.push(Spec::Gfproxyd);
    if volume.bricks.len() > volume.layout.leaf() {
        all.push(Spec::Rebalance);
    }
    if volume.layout.kind != Kind::Distribute {
        all.push(Spec::Shd);
    }
    if on("features.uss") && volume.status != Status::Created {
        all.push(Spec::Snapd);
    }
    // Quota's crawl needs them both when it is enabled and when it is disabled.
    if volume.quota_version > 0 {
        all.extend(bricks.map(Spec::ClientPerBrick));
    }
    all
}

/// File name inside the volume's directory.
pub fn file_name(volume: &Volume, spec: Spec) -> String {
    let name = &volume.name;
    let brick = |at: usize, infix: &str| match volume.bricks.get(at) {
        Some(Brick { host, path, .. }) => {
            format!("{name}{infix}.{host}.{}.vol", strip_dash_path(path))
        }
        None => String::new(),
    };
    match spec {
        Spec::Brick(at) => brick(at, ""),
        Spec::ClientPerBrick(at) => brick(at, ".client"),
        Spec::Client { trusted, wire } => {
            let prefix = if trusted { "trusted-" } else { "" };
            format!("{prefix}{name}.{}-fuse.vol", wire.text())
        }
        Spec::GfproxyClient => {
            let wire = Wire::of(volume.transport)[0].text();
            format!("trusted-{name}.{wire}-gfproxy-fuse.vol")
        }
        Spec::Gfproxyd => format!("{name}.gfproxyd.vol"),
        Spec::Rebalance => format!("{name}-rebalance.vol"),
        Spec::Shd => format!("{name}-shd.vol"),
        Spec::Snapd => format!("{name}-snapd.vol"),
    }
}

/// What an id asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Service(Service),
    /// `bare`: the id is nothing but a volume's name, so the caller's op-versions count.
    Volume {
        volume: Arc<Volume>,
        spec: Spec,
        bare: bool,
    },
}

type Volumes = BTreeMap<VolumeName, Arc<Volume>>;

/// Resolves a GETSPEC id; `None` where stock answers ENOENT. `trusted`: the caller sits on this node.
///
/// Prefixes are found anywhere in the id, in this order, as stock does.
pub fn lookup(volumes: &Volumes, id: &str, trusted: bool) -> Option<Target> {
    let after = |prefix: &str| {
        id.find(prefix).and_then(|at| id[at..].split_once('/')).map(|(_, argument)| argument)
    };
    let of = |name: &str, spec: Spec| {
        let volume = volumes.get(name)?;
        let known = specs(volume).contains(&spec);
        known.then(|| Target::Volume { volume: volume.clone(), spec, bare: false })
    };
    if let Some(name) = after("snapd/") {
        return of(name, Spec::Snapd);
    }
    if let Some(name) = after("gluster/") {
        let service = Service::ALL.into_iter().find(|service| service.name() == name)?;
        let serves = volumes.values().any(|volume| service.serves(volume));
        return serves.then_some(Target::Service(service));
    }
    if let Some(name) = after("gfproxy-client/") {
        return of(name, Spec::GfproxyClient);
    }
    if let Some(name) = after("gfproxyd/") {
        return of(name, Spec::Gfproxyd);
    }
    if let Some(name) = after("shd/") {
        return of(name, Spec::Shd);
    }
    if id.contains("/snaps/") {
        return None;
    }
    if let Some(name) = after("rebalance/") {
        return of(name, Spec::Rebalance);
    }
    if let Some(file) = after("client_per_brick/") {
        let volume = volumes.get(file.split('.').next()?)?;
        return by_file(volume, file, false);
    }
    by_rest(volumes, id.strip_prefix('/').unwrap_or(id), trusted)
}

/// Bricks and mounts: a file's name without `.vol`, or a volume's name.
fn by_rest(volumes: &Volumes, rest: &str, trusted: bool) -> Option<Target> {
    let whole = volumes.get(rest);
    let volume = whole.or_else(|| volumes.get(rest.split('.').next()?))?;
    if let Some(found) = by_file(volume, &format!("{rest}.vol"), whole.is_some()) {
        return Some(found);
    }
    let prefix = if trusted { "trusted-" } else { "" };
    let wire = Wire::of(volume.transport)[0].text();
    let suffix = if rest.contains('.') { String::new() } else { format!(".{wire}") };
    by_file(volume, &format!("{prefix}{rest}{suffix}-fuse.vol"), whole.is_some())
}

fn by_file(volume: &Arc<Volume>, file: &str, bare: bool) -> Option<Target> {
    let spec = specs(volume).into_iter().find(|&spec| file_name(volume, spec) == file)?;
    Some(Target::Volume { volume: volume.clone(), spec, bare })
}
