//! One option changes what it should and nothing else: every row of the table, on every kind of
//! volume, in every graph.

use crate::sample::{LAYOUTS, facts, legal, some_specs, volume};
use glusterd_core::model::Volume;
use glusterd_core::options::{Opt, TABLE};
use glusterd_core::volgen::{Graph, Node, Spec, graph};
use std::collections::{BTreeMap, BTreeSet};

/// `TYPE.OPTION` for an option that came, went or changed, `+TYPE` and `-TYPE` for nodes.
fn difference(before: &Graph, after: &Graph) -> BTreeSet<String> {
    let by_name = |graph: &Graph| -> BTreeMap<String, (String, BTreeMap<String, String>)> {
        let nodes = graph.nodes().iter();
        let entry = |node: &Node| {
            let pairs = node.options.iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
            (format!("{} {}", node.kind, node.name), (node.kind.to_string(), pairs))
        };
        nodes.map(entry).collect()
    };
    let (old, new) = (by_name(before), by_name(after));
    let mut found = BTreeSet::new();
    for (name, (kind, pairs)) in &new {
        match old.get(name) {
            None => drop(found.insert(format!("+{kind}"))),
            Some((_, earlier)) => {
                let keys = pairs.keys().chain(earlier.keys());
                let differ = keys.filter(|key| pairs.get(*key) != earlier.get(*key));
                found.extend(differ.map(|key| format!("{kind}.{key}")));
            }
        }
    }
    let gone = old.iter().filter(|(name, _)| !new.contains_key(*name));
    found.extend(gone.map(|(_, (kind, _))| format!("-{kind}")));
    found
}

/// A volume, and its graphs before anything is set.
struct Before {
    volume: Volume,
    graphs: Vec<(Spec, Graph)>,
}

fn volumes() -> Vec<Before> {
    // The others have the same translators.
    let before = [0, 2, 3, 4].map(|layout| {
        let layout = LAYOUTS[layout];
        let volume = volume(layout, 2);
        let made = |spec| (spec, graph(&volume, spec, &facts()).unwrap());
        let graphs = some_specs(&volume).map(made).collect();
        Before { volume, graphs }
    });
    before.into()
}

/// Everything the option does anywhere.
fn effects(opt: &Opt, volumes: &[Before]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for Before { volume, graphs } in volumes {
        for value in legal(opt).into_iter().take(2) {
            let mut after = volume.clone();
            after.options.set(opt.key, value);
            for spec in some_specs(&after) {
                let Ok(made) = graph(&after, spec, &facts()) else { continue };
                match graphs.iter().find(|(old, _)| *old == spec) {
                    Some((_, earlier)) if *earlier == made => {}
                    Some((_, earlier)) => found.extend(difference(earlier, &made)),
                    None => drop(found.insert(format!("{spec:?}"))),
                }
            }
        }
    }
    found.iter().map(|effect| without_path(effect)).collect()
}

fn without_path(effect: &str) -> String {
    let Some((before, after)) = effect.split_once("/bricks/b") else { return effect.to_owned() };
    format!("{before}PATH{}", after.trim_start_matches(|c: char| c.is_ascii_digit()))
}

/// Options that do more than set themselves on nodes of their type. The rest is not listed: its
/// only effect is `XLATOR.OPTION`, or none where no graph has the translator.
#[rustfmt::skip]
const BEYOND: &[(&str, &[&str])] = &[
    ("auth.allow", &["protocol/server.auth.addr.PATH.allow"]),
    ("auth.reject", &["protocol/server.auth.addr.PATH.reject"]),
    ("auth.ssl-allow", &["protocol/server.auth.login.PATH.ssl-allow"]),
    ("client.ta-brick-port", &["protocol/client.remote-port"]),
    ("cluster.heal-timeout", &["cluster/replicate.heal-timeout"]),
    ("cluster.nufa", &["+cluster/nufa", "-cluster/distribute"]),
    ("cluster.switch", &["+cluster/switch", "-cluster/distribute"]),
    ("config.brick-threads", &["debug/io-stats.threads"]),
    ("config.client-threads", &["debug/io-stats.threads"]),
    ("diagnostics.brick-log-level", &["debug/io-stats.log-level"]),
    ("diagnostics.client-log-level", &["debug/io-stats.log-level"]),
    ("features.acl", &["-features/access-control"]),
    ("features.bitrot", &["features/bitrot-stub.bitrot", "features/changelog.changelog-notification"]),
    ("features.cloudsync", &["+features/cloudsync"]),
    ("features.ctime", &["-features/utime"]),
    ("features.quota", &["features/quota.server-quota", "storage/posix.update-link-count-parent"]),
    ("features.sdfs", &["+features/sdfs"]),
    ("features.shard", &["+features/shard"]),
    ("features.tag-namespaces", &["+features/namespace"]),
    ("features.trash", &["storage/posix.update-link-count-parent"]),
    ("features.uss", &["+features/snapview-client", "+protocol/client", "Snapd"]),
    ("network.compression", &["+features/cdc"]),
    ("performance.client-io-threads", &["+performance/io-threads", "-performance/io-threads"]),
    ("performance.io-cache", &["+performance/io-cache"]),
    ("performance.nl-cache", &["+performance/nl-cache"]),
    ("performance.open-behind", &["-performance/open-behind"]),
    ("performance.parallel-readdir", &["+performance/readdir-ahead"]),
    ("performance.quick-read", &["-performance/quick-read"]),
    ("performance.read-ahead", &["+performance/read-ahead"]),
    ("performance.readdir-ahead", &["+performance/readdir-ahead"]),
    ("performance.stat-prefetch", &["-performance/md-cache"]),
    ("performance.write-behind", &["-performance/write-behind"]),
    ("server.manage-gids", &["protocol/client.send-gids"]),
    ("server.root-squash", &["performance/open-behind.read-after-open"]),
    ("ssl.ca-list", &["protocol/client.transport.socket.ssl-ca-list", "protocol/server.transport.socket.ssl-ca-list"]),
    ("ssl.certificate-depth", &["protocol/client.transport.socket.ssl-cert-depth", "protocol/server.transport.socket.ssl-cert-depth"]),
    ("ssl.cipher-list", &["protocol/client.transport.socket.ssl-cipher-list", "protocol/server.transport.socket.ssl-cipher-list"]),
    ("ssl.crl-path", &["protocol/client.transport.socket.ssl-crl-path", "protocol/server.transport.socket.ssl-crl-path"]),
    ("ssl.dh-param", &["protocol/client.transport.socket.ssl-dh-param", "protocol/server.transport.socket.ssl-dh-param"]),
    ("ssl.ec-curve", &["protocol/client.transport.socket.ssl-ec-curve", "protocol/server.transport.socket.ssl-ec-curve"]),
    ("ssl.own-cert", &["protocol/client.transport.socket.ssl-own-cert", "protocol/server.transport.socket.ssl-own-cert"]),
    ("ssl.private-key", &["protocol/client.transport.socket.ssl-private-key", "protocol/server.transport.socket.ssl-private-key"]),
    ("transport.address-family", &["protocol/client.transport.address-family", "protocol/server.transport.address-family"]),
];

#[test]
fn every_option_does_what_it_should_and_no_more() {
    let volumes = volumes();
    let mut found = BTreeMap::new();
    for opt in TABLE.iter().filter(|opt| !opt.key.starts_with("debug.")) {
        let own = format!("{}.{}", opt.xlator, opt.option);
        let twin = |effect: &String| {
            TABLE.iter().any(|o| {
                o.key == opt.key && !o.special && *effect == format!("{}.{}", o.xlator, o.option)
            })
        };
        let more =
            effects(opt, &volumes).into_iter().filter(|effect| *effect != own && !twin(effect));
        let more: Vec<String> = more.collect();
        if !more.is_empty() {
            found.insert(opt.key, more);
        }
    }
    let listed: BTreeMap<_, Vec<String>> = BEYOND
        .iter()
        .map(|(key, effects)| (*key, effects.iter().map(|e| e.to_string()).collect()))
        .collect();
    assert_eq!(found, listed);
}
