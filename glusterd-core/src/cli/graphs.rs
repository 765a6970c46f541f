//! A volume's graphs on trial: built with one option laid over the stored ones, then judged.
//!
//! Pure. Stock tries every brick, the untrusted client and the self-heal daemon, in this order.
//! Facts: glusterd_validate_reconfopts, xlators/mgmt/glusterd/src/glusterd-volgen.c:6300-6600
//! (v10.3).

use crate::model::{Kind, Volume};
use crate::ops::Cx;
use crate::options::{Graphs, Node, check_nodes};
use crate::volgen::{Facts, Graph, Spec, VolgenError, Wire, graph, specs, trial};

pub struct VolumeGraphs<'a> {
    facts: Facts<'a>,
}

impl<'a> VolumeGraphs<'a> {
    pub fn new(cx: &Cx<'a>) -> VolumeGraphs<'a> {
        VolumeGraphs {
            facts: Facts {
                me: cx.view.me,
                op_version: cx.view.op_version(),
                bind_address: cx.site.bind_address.as_deref(),
                workdir: &cx.site.workdir,
            },
        }
    }

    /// Judges what clients and the self-heal daemon are given once a volume is of another kind: options
    /// that meant nothing before are read then.
    ///
    /// # Errors
    /// The text of the translator that would refuse to start.
    pub fn try_kind(&self, after: &Volume) -> Result<(), String> {
        clients(after).try_for_each(|spec| self.try_one(after, &[], spec))
    }

    fn try_one(&self, volume: &Volume, more: &[(&str, &str)], spec: Spec) -> Result<(), String> {
        judge(&trial(volume, more, spec, &self.facts).map_err(shown)?)
    }
}

/// The untrusted client, and the self-heal daemon where there is one.
fn clients(volume: &Volume) -> impl Iterator<Item = Spec> {
    let wire = Wire::of(volume.transport).first().copied().unwrap_or(Wire::Tcp);
    let healed = volume.layout.kind != Kind::Distribute;
    [Spec::Client { trusted: false, wire }].into_iter().chain(healed.then_some(Spec::Shd))
}

impl Graphs for VolumeGraphs<'_> {
    fn try_option(&self, stored: &Volume, key: &str, value: &str) -> Result<(), String> {
        let bricks = (0..stored.bricks.len()).map(Spec::Brick);
        bricks
            .chain(clients(stored))
            .try_for_each(|spec| self.try_one(stored, &[(key, value)], spec))
    }

    fn can_build(&self, volume: &Volume) -> bool {
        specs(volume).into_iter().all(|spec| graph(volume, spec, &self.facts).is_ok())
    }
}

fn shown(error: VolgenError) -> String {
    if error.shown { error.reason } else { String::new() }
}

fn judge(graph: &Graph) -> Result<(), String> {
    let nodes: Vec<Node<'_>> = graph
        .nodes()
        .iter()
        .map(|node| Node { xlator: &node.kind, name: &node.name, options: &node.options })
        .collect();
    check_nodes(&nodes)
}
