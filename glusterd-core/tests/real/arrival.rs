//! Pools of several nodes that come to the built-in store: out of stock's daemons, whose package was
//! exchanged, and from etcd. Bricks and a mount notice nothing.

use super::field::{Backend, Field, Plan, SETTLE};

const NODES: [usize; 3] = [1, 2, 3];

/// A running volume over all nodes, mounted.
fn with_volume(field: &Field) {
    field.must(1, "volume create a replica 3 node1:/srv/b/a node2:/srv/b/a node3:/srv/b/a");
    field.must(2, "volume start a");
    field.must(3, "volume set a user.mark before");
    field.mount("a");
}

fn bricks(field: &Field) -> Vec<String> {
    field.each(&NODES, |node| field.node(node).sh("pgrep -x glusterfsd").out)
}

/// One pool, with what it had and what it ran; it can be changed from everywhere, and starts as
/// usual from now on.
fn is_one_pool(field: &Field, ran: &[String]) {
    let agreed = || field.agree(&NODES).unwrap_or_else(|why| panic!("{why}\n{}", field.logs()));
    agreed();
    assert!(field.must(2, "volume info a").contains("user.mark: before"));
    for node in NODES {
        field.must(node, &format!("volume set a user.mark {node}"));
        let used = field.client.sh(&format!("echo {node} > /mnt/m/f && cat /mnt/m/f"));
        assert_eq!(used.out, format!("{node}\n"), "{used:?}");
    }
    let pools = field.each(&NODES, |node| {
        field.node(node).sh("cat /var/lib/glusterd/coordination/pool.info").out
    });
    assert!(pools.iter().all(|pool| *pool == pools[0]), "{pools:?}");
    NODES.iter().for_each(|node| field.node(*node).end("TERM"));
    field.each(&NODES, |node| field.start(node));
    agreed();
    assert!(field.must(1, "volume info a").contains("user.mark: 3"));
    assert_eq!(bricks(field), ran, "bricks run on");
}

/// Three daemons of stock's, with a volume.
fn stock() -> Field {
    let field = Field::new(Plan::of(Backend::Local, 3));
    for node in NODES {
        let started = field.node(node).sh("/usr/sbin/glusterd --pid-file=/run/glusterd.pid");
        assert_eq!(started.exit, 0, "{started:?}");
    }
    for node in [2, 3] {
        field.must(1, &format!("peer probe node{node}"));
    }
    field.until("stock's are connected", SETTLE, |field| {
        NODES.into_iter().all(|node| field.connected(node) == 2)
    });
    with_volume(&field);
    field
}

#[test]
fn a_pool_of_stock_comes_over_at_once() {
    let field = stock();
    let (ran, uuid) = (bricks(&field), field.must(3, "system:: uuid get"));
    NODES.iter().for_each(|node| field.node(*node).end("TERM"));
    field.each(&NODES, |node| field.start(node));
    is_one_pool(&field, &ran);
    assert_eq!(field.must(3, "system:: uuid get"), uuid);
}

/// The first of them finds stock's beside it, which know nothing of it.
#[test]
fn a_pool_of_stock_comes_over_node_by_node() {
    let field = stock();
    let ran = bricks(&field);
    for node in [2, 1, 3] {
        field.node(node).end("TERM");
        field.start(node);
        assert!(field.must(node, "volume info a").contains("user.mark: before"));
    }
    is_one_pool(&field, &ran);
}

#[test]
fn a_pool_moves_from_etcd_to_the_built_in_store() {
    let field = Field::pool(Plan::of(Backend::Etcd, 3), 3);
    with_volume(&field);
    let ran = bricks(&field);
    NODES.iter().for_each(|node| field.node(*node).end("TERM"));
    let from = "sed -n 's/^url = \"\\(.*\\)\"/\\1/p' /etc/glusterfs/glusterd.toml";
    let copied = field.node(2).sh(&format!("glusterd coordinator copy $({from}) local:"));
    assert!(copied.out.contains("compared: equal"), "{copied:?}");
    for node in NODES {
        let changed = "sed -i 's/^url = .*/url = \"local:\"/' /etc/glusterfs/glusterd.toml";
        assert_eq!(field.node(node).sh(changed).exit, 0);
    }
    // The one with the copy first, the others come to it.
    field.start(2);
    field.each(&[1, 3], |node| field.start(node));
    is_one_pool(&field, &ran);
}
