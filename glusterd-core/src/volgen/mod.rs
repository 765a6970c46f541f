//! Volfiles: a volume and its options in, translator graphs and their text out.
//!
//! Pure: no I/O, no clock, no Coordinator. Same input, same bytes. It grows by rows: a brick
//! translator in `brick.rs`, an option in the option table. Everything follows glusterd-volgen.c
//! (v10.3) except what docs/differences.md lists.

mod brick;
mod client;
mod cluster;
mod debug;
mod engine;
mod graph;
mod services;
mod spec;

pub use graph::{Graph, Node};
pub use spec::{SHARED_STORAGE, Service, Spec, Target, Wire, file_name, lookup, specs};

use crate::model::{NodeId, Volume, VolumeName};
use engine::Build;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// What volfiles take from the node and the pool, beside the volume.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    pub me: NodeId,
    /// The pool's op-version.
    pub op_version: u32,
    /// The daemon's own `transport.socket.bind-address`, if it was given one.
    pub bind_address: Option<&'a str>,
    pub workdir: &'a Path,
}

/// A graph that cannot be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct VolgenError {
    /// For the log.
    pub reason: String,
    /// Whether stock shows `reason` to the user; otherwise only that it failed.
    pub shown: bool,
}

impl VolgenError {
    fn new(reason: impl Into<String>) -> VolgenError {
        VolgenError { reason: reason.into(), shown: false }
    }

    fn shown(reason: impl Into<String>) -> VolgenError {
        VolgenError { reason: reason.into(), shown: true }
    }
}

/// A volume's graph.
///
/// # Errors
/// Options that exclude each other, or a brick count that its layout does not divide.
pub fn graph(volume: &Volume, spec: Spec, facts: &Facts<'_>) -> Result<Graph, VolgenError> {
    trial(volume, &[], spec, facts)
}

/// The graph as it would be with `changes` over the stored options, to validate them.
///
/// Some choices are made from the stored options alone, as stock does; so this is not the graph of
/// a volume that has the changes (nufa with switch, say, passes here and fails there).
pub fn trial(
    volume: &Volume,
    changes: &[(&str, &str)],
    spec: Spec,
    facts: &Facts<'_>,
) -> Result<Graph, VolgenError> {
    let mut build = Build::new(volume, facts).with(changes);
    match spec {
        Spec::Brick(index) => brick::graph(&build, index),
        Spec::Client { trusted, wire } => {
            build.trusted = trusted;
            build.transport = wire.text();
            client::graph(build, client::Variant::Fuse)
        }
        Spec::GfproxyClient => client::graph(build, client::Variant::GfproxyClient),
        Spec::Gfproxyd => services::gfproxyd(build),
        Spec::Rebalance => services::rebalance(&build),
        Spec::Shd => services::shd(build),
        Spec::Snapd => services::snapd(&build),
        Spec::ClientPerBrick(index) => services::client_per_brick(build, index),
    }
}

/// The graph of a daemon that serves all volumes that ask for it.
///
/// # Errors
/// As [`graph`], of any of these volumes.
pub fn service_graph(
    volumes: &BTreeMap<VolumeName, Arc<Volume>>,
    service: Service,
    facts: &Facts<'_>,
) -> Result<Graph, VolgenError> {
    let served: Vec<&Volume> =
        volumes.values().map(|volume| &**volume).filter(|v| service.serves(v)).collect();
    services::service(service, &served, facts)
}

/// Every volfile of a volume: name inside the volume's directory, and text.
///
/// # Errors
/// As [`graph`]; then none is given, so that a set of files is never half old.
pub fn files(volume: &Volume, facts: &Facts<'_>) -> Result<Vec<(String, String)>, VolgenError> {
    let texts = specs(volume)
        .into_iter()
        .map(|spec| Ok((file_name(volume, spec), graph(volume, spec, facts)?.text())));
    texts.collect()
}

/// The text that an id asks for; see [`lookup`].
///
/// # Errors
/// As [`graph`].
pub fn text(
    volumes: &BTreeMap<VolumeName, Arc<Volume>>,
    target: &Target,
    facts: &Facts<'_>,
) -> Result<String, VolgenError> {
    let graph = match target {
        Target::Service(service) => service_graph(volumes, *service, facts)?,
        Target::Volume { volume, spec, .. } => graph(volume, *spec, facts)?,
    };
    Ok(graph.text())
}
