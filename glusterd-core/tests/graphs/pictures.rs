//! Pictures of the graphs of representative volumes, for reading.
//!
//! `fixtures/pictures/NAME.dot` holds what `glusterd volfile ID --dot` draws of each graph of one
//! volume, one after the other; `dot -Tsvg -O` makes one picture of each. A change of the graphs
//! shows there as a change of a picture. `PICTURES=write cargo test -p glusterd-core --test graphs
//! pictures` draws them anew, for a look at the difference.

use crate::sample::{facts, some_specs, volume};
use glusterd_core::model::{Kind, Layout, Volume};
use glusterd_core::volgen::{Service, file_name, graph, service_graph};
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

/// What is set on a volume that has everything on.
const EVERYTHING: &[(&str, &str)] = &[
    ("features.quota", "on"),
    ("features.inode-quota", "on"),
    ("features.bitrot", "on"),
    ("features.scrub", "Active"),
    ("features.uss", "on"),
    ("features.shard", "on"),
    ("features.trash", "on"),
    ("features.cloudsync", "on"),
    ("features.sdfs", "on"),
    ("features.tag-namespaces", "on"),
    ("network.compression", "on"),
    ("config.gfproxyd", "on"),
    ("performance.read-ahead", "on"),
    ("performance.readdir-ahead", "on"),
    ("performance.parallel-readdir", "on"),
    ("performance.io-cache", "on"),
    ("performance.nl-cache", "on"),
    ("performance.client-io-threads", "on"),
    ("debug.trace", "client"),
    ("debug.delay-gen", "posix"),
];

fn check(name: &str, layout: Layout, subvolumes: usize, options: &[(&str, &str)]) {
    let mut volume = volume(layout, subvolumes);
    for (key, value) in options {
        volume.options.set(*key, *value);
    }
    let drawn = drawn(&volume);
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/pictures/{name}.dot"));
    if std::env::var("PICTURES").is_ok_and(|wish| wish == "write") {
        std::fs::write(&path, &drawn).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    let odd = kept.lines().zip(drawn.lines()).find(|(kept, drawn)| kept != drawn);
    assert!(
        kept == drawn,
        "{name}.dot is of another graph (PICTURES=write draws it anew): {odd:?}"
    );
}

fn drawn(volume: &Volume) -> String {
    let mut out = String::new();
    for spec in some_specs(volume) {
        let picture = graph(volume, spec, &facts()).unwrap().dot();
        writeln!(out, "// {}\n{picture}", file_name(volume, spec)).unwrap();
    }
    let volumes = [(volume.name.clone(), Arc::new(volume.clone()))].into();
    for service in Service::ALL.into_iter().filter(|service| service.serves(volume)) {
        let picture = service_graph(&volumes, service, &facts()).unwrap().dot();
        writeln!(out, "// {}\n{picture}", service.path()).unwrap();
    }
    out
}

const REPLICATE: Layout = Layout { kind: Kind::Replicate, replica: 3, ..Layout::DISTRIBUTE };

#[test]
fn pictures_of_distribute() {
    check("distribute", Layout::DISTRIBUTE, 3, &[]);
}

#[test]
fn pictures_of_replica() {
    check("replica", REPLICATE, 1, &[]);
}

#[test]
fn pictures_of_distribute_over_replica() {
    check("distribute-replica", REPLICATE, 2, &[]);
}

#[test]
fn pictures_of_arbiter() {
    check("arbiter", Layout { arbiter: 1, ..REPLICATE }, 1, &[]);
}

#[test]
fn pictures_of_thin_arbiter() {
    check("thin-arbiter", Layout { replica: 2, thin_arbiter: 1, ..REPLICATE }, 3, &[]);
}

#[test]
fn pictures_of_disperse() {
    let six = Layout { kind: Kind::Disperse, disperse: 6, redundancy: 2, ..Layout::DISTRIBUTE };
    check("disperse", six, 1, &[]);
}

#[test]
fn pictures_of_nufa_and_switch() {
    check("nufa", Layout::DISTRIBUTE, 2, &[("cluster.nufa", "on")]);
    check("switch", Layout::DISTRIBUTE, 2, &[("cluster.switch", "on")]);
}

#[test]
fn pictures_of_everything_on() {
    check("everything", REPLICATE, 2, EVERYTHING);
}
