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
}

impl Graphs for VolumeGraphs<'_> {
    fn try_option(&self, stored: &Volume, key: &str, value: &str) -> Result<(), String> {
        let wire = Wire::of(stored.transport).first().copied().unwrap_or(Wire::Tcp);
        let healed = stored.layout.kind != Kind::Distribute;
        let bricks = (0..stored.bricks.len()).map(Spec::Brick);
        let client = Spec::Client { trusted: false, wire };
        for spec in bricks.chain([client]).chain(healed.then_some(Spec::Shd)) {
            let graph = trial(stored, &[(key, value)], spec, &self.facts).map_err(shown)?;
            judge(&graph)?;
        }
        Ok(())
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
