//! Volumes and legal values to try graphs on.

use glusterd_core::model::{
    Brick, Credentials, Kind, Layout, NodeId, OP_VERSION_MAX, OptionList, Status, ThinArbiter,
    Transport, Volume, VolumeId, VolumeName, boolean,
};
use glusterd_core::options::{
    Node, Opt, Range, Value, check_nodes, check_value, refresh_op_versions, set_creation_defaults,
};
use glusterd_core::volgen::{Facts, Graph, Spec, graph, specs, trial};
use std::path::Path;
use uuid::Uuid;

pub const ME: NodeId = NodeId(Uuid::from_u128(1));

pub fn facts() -> Facts<'static> {
    Facts {
        me: ME,
        op_version: OP_VERSION_MAX,
        bind_address: None,
        workdir: Path::new("/var/lib/glusterd"),
    }
}

/// Each kind of volume: what a subvolume is made of.
pub const LAYOUTS: &[Layout] = &[
    Layout::DISTRIBUTE,
    Layout { kind: Kind::Replicate, replica: 2, ..Layout::DISTRIBUTE },
    Layout { kind: Kind::Replicate, replica: 3, arbiter: 1, ..Layout::DISTRIBUTE },
    Layout { kind: Kind::Replicate, replica: 2, thin_arbiter: 1, ..Layout::DISTRIBUTE },
    Layout { kind: Kind::Disperse, disperse: 3, redundancy: 1, ..Layout::DISTRIBUTE },
    Layout { kind: Kind::Disperse, disperse: 6, redundancy: 2, ..Layout::DISTRIBUTE },
];

/// A started volume `v` on this node, with the options a new one has.
pub fn volume(layout: Layout, subvolumes: usize) -> Volume {
    let brick = |number: usize| Brick {
        node: ME,
        host: format!("node{}", number % 3 + 1),
        path: format!("/bricks/b{number}"),
        real_path: format!("/bricks/b{number}"),
        id: format!("v-client-{number}"),
        mount_dir: format!("/b{number}"),
        fsid: 1,
        decommissioned: false,
        snap_status: 0,
        resets: 0,
    };
    let arbiter = ThinArbiter { host: "node9".into(), path: "/bricks/ta".into() };
    let mut volume = Volume {
        name: VolumeName::parse("v").unwrap(),
        id: VolumeId(Uuid::from_u128(2)),
        layout,
        status: Status::Started,
        transport: Transport::Tcp,
        bricks: (0..layout.leaf() * subvolumes).map(brick).collect(),
        thin_arbiter: (layout.thin_arbiter > 0).then_some(arbiter),
        options: OptionList::default(),
        credentials: Credentials { username: "user".into(), password: "pass".into() },
        version: 1,
        op_version: 1,
        client_op_version: 1,
        quota_version: 0,
        quota: Default::default(),
        snap_max_hard_limit: 256,
        restored_from_snap: Uuid::nil(),
        start_epoch: 1,
        task: None,
    };
    set_creation_defaults(&mut volume, OP_VERSION_MAX, None);
    volume
}

/// Options whose declaration does not tell what a translator, or the socket below it, takes.
const UNDECLARED: &[(&str, &[&str])] = &[
    ("client.own-thread", &["on"]),
    // Set by `volume bitrot` alone, which takes these.
    ("features.scrub-freq", &["daily", "biweekly", "hourly"]),
    ("features.scrub-throttle", &["lazy", "aggressive", "normal"]),
    ("server.own-thread", &["on"]),
    ("transport.address-family", &["inet6", "inet"]),
    ("transport.keepalive", &["off", "on"]),
];

/// Values that the translator accepts; the default comes last.
pub fn legal(opt: &Opt) -> Vec<String> {
    if let Some((_, words)) = UNDECLARED.iter().find(|(key, _)| *key == opt.key) {
        return of(words);
    }
    let default = opt.map_default.or(opt.declared.and_then(|declared| declared.default));
    let mut values = match opt.declared.map(|declared| declared.value) {
        None => match opt.map_default {
            Some(text) if text.parse::<u32>().is_ok() => of(&["7", "8"]),
            Some(text) if boolean(text).is_some() => of(&["off", "on"]),
            _ if opt.special => of(&["off", "on"]),
            _ => of(&["text"]),
        },
        Some(Value::Bool) => of(&["off", "on"]),
        Some(Value::OneOf(words)) => {
            words.iter().filter(|w| !w.contains(['*', '?', '['])).map(|w| w.to_string()).collect()
        }
        Some(Value::Int(range)) | Some(Value::Time(range)) => numbers(range, ""),
        Some(Value::Size(range)) => numbers(range, "B"),
        Some(Value::Percent) => of(&["11", "12%"]),
        Some(Value::PercentOrSize) => of(&["11%", "3GB"]),
        Some(Value::Path) => of(&["/bricks/some", "/bricks/other"]),
        Some(Value::Translator) => of(&["v-client-0"]),
        Some(Value::AddressList) => of(&["10.0.0.1", "10.0.0.*"]),
        Some(Value::PriorityList) => of(&["*.txt:1"]),
        Some(Value::Text | Value::Anything) => match opt.map_default {
            Some(text) if text.parse::<u32>().is_ok() => of(&["7", "8"]),
            Some(text) if boolean(text).is_some() => of(&["off", "on"]),
            _ => of(&["text"]),
        },
    };
    values.sort_by_key(|value| Some(value.as_str()) == default);
    values
}

fn of(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| word.to_string()).collect()
}

fn numbers(range: Range, unit: &str) -> Vec<String> {
    let (least, most) = match range {
        Range::Any => (1, 1 << 20),
        Range::AtLeast(least) | Range::From(least) => (least, least + 7),
        Range::Within(least, most) => (least, most),
    };
    let middle = least + (most - least) / 3;
    [least, most, middle].iter().map(|number| format!("{number}{unit}")).collect()
}

/// Sets the option as `volume set` would, if its graphs allow it; whether they do.
pub fn try_set(volume: &mut Volume, key: &str, value: &str) -> bool {
    let accepted = some_specs(volume).all(|spec| {
        trial(volume, &[(key, value)], spec, &facts()).is_ok_and(|graph| judged(&graph))
    });
    let mut later = volume.clone();
    later.options.set(key, value);
    refresh_op_versions(&mut later);
    // What a set finds out only at its commit.
    let built = accepted && some_specs(&later).all(|spec| graph(&later, spec, &facts()).is_ok());
    if accepted && built {
        *volume = later;
    }
    accepted && built
}

/// All but bricks that differ from their neighbours in nothing but the path.
pub fn some_specs(volume: &Volume) -> impl Iterator<Item = Spec> + use<> {
    let leaf = volume.layout.leaf();
    specs(volume).into_iter().filter(move |spec| match spec {
        Spec::Brick(at) | Spec::ClientPerBrick(at) => *at == 0 || at + 1 == leaf,
        _ => true,
    })
}

fn judged(graph: &Graph) -> bool {
    let nodes: Vec<Node<'_>> = graph
        .nodes()
        .iter()
        .map(|node| Node { xlator: &node.kind, name: &node.name, options: &node.options })
        .collect();
    check_nodes(&nodes).is_ok()
}

/// Values that `legal` made up and the translator refuses; a test of the tests.
pub fn refused(opt: &Opt, value: &str) -> bool {
    let is_node = |name: &str| name == "v-client-0";
    opt.declared.is_some_and(|d| check_value(&d.value, opt.option, value, &is_node).is_err())
}
