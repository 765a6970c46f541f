//! Masters named by hand, and a pool whose masters are lost for good: one node is forced to go on,
//! the others come over to it; a node that lost everything comes back under its uuid.

use super::pool::{Pool, host};

const MASTERS: &str = "cluster.coordination-masters";

fn refused(pool: &Pool, node: u8, line: &str, part: &str) {
    let done = pool.gluster(node, line);
    assert!(done.exit != 0 && done.err.contains(part), "{line}: {done:?}");
}

/// A change, as soon as there is a quorum.
fn mark(pool: &Pool, node: u8, mark: &str) {
    pool.until(&format!("{mark} through {node}"), |pool| {
        pool.gluster(node, &format!("volume set v user.mark {mark}")).exit == 0
    });
}

fn sees(pool: &Pool, nodes: &[u8], mark: &str) {
    for node in nodes {
        pool.until(&format!("{node} sees {mark}"), |pool| {
            let info = pool.gluster(*node, "volume info v").out;
            info.contains(&format!("user.mark: {mark}\n"))
        });
    }
}

fn connected(pool: &Pool, nodes: &[u8]) {
    for node in nodes {
        pool.until(&format!("all connected at {node}"), |pool| {
            pool.connected(*node) == nodes.len() - 1
        });
    }
}

fn coordinator(pool: &Pool, node: u8, words: &str) -> super::sandbox::Done {
    pool.0.sh(&format!(
        "GLUSTERD_DAEMON__WORKING_DIRECTORY=/srv/{node}/glusterd \
         GLUSTERD_LOG__DIRECTORY=/srv/{node}/log GLUSTERD_NETWORK__BIND_ADDRESS={} \
         glusterd coordinator {words}",
        host(node)
    ))
}

/// Through the stock CLI; the second node of two is made the only master and given back the choice.
fn named_by_hand(pool: &Pool) {
    let shown = pool.must(1, &format!("volume get all {MASTERS}"));
    assert!(shown.contains("chosen by the nodes (DEFAULT)"), "{shown}");
    refused(pool, 1, &format!("volume set all {MASTERS} h9"), "Host h9 is not a peer of this pool");
    let two = format!("volume set all {MASTERS} {},{}", host(1), host(2));
    refused(pool, 1, &two, "2 masters: name 1, 3, 5 or 7");
    let of_volume = format!("volume set v {MASTERS} {}", host(1));
    refused(pool, 1, &of_volume, "Not a valid option for single volume");
    pool.must(1, &format!("volume set all {MASTERS} {}", host(2)));
    for node in [1, 2] {
        let shown = pool.must(node, &format!("volume get all {MASTERS}"));
        assert!(shown.contains(&host(2)), "{shown}");
    }
    // It has taken over when the other one is not missed.
    pool.until("the second node is the master", |pool| {
        let masters = coordinator(pool, 1, "force-new-quorum");
        masters.err.contains("in use by another process")
            && pool
                .0
                .sh("grep -l 'is no master of the store any more' /srv/*/log/glusterd.log")
                .exit
                == 0
    });
    pool.kill(1);
    mark(pool, 2, "second");
    pool.until("the first node is missed", |pool| pool.connected(2) == 0);
    refused(pool, 2, &format!("volume set all {MASTERS} {}", host(1)), "is down");
    pool.start(1);
    sees(pool, &[1, 2], "second");
    connected(pool, &[1, 2]);
    pool.must(2, &format!("volume reset all {MASTERS}"));
    let shown = pool.must(1, &format!("volume get all {MASTERS}"));
    assert!(shown.contains("(DEFAULT)"), "{shown}");
}

/// The master of two is gone; its follower is forced to go on. It returns with what it had.
fn forced(pool: &Pool) {
    mark(pool, 1, "both-of-them");
    // Nobody waits for a follower: its copy may lack what has just been changed.
    pool.until("the follower has a copy", |pool| {
        pool.0.sh("grep -q both-of-them /srv/1/glusterd/coordination/local/store.redb").exit == 0
    });
    pool.kill(2);
    pool.until("the follower misses its master", |pool| {
        let said = "grep 'the configuration cannot be changed' /srv/1/log/glusterd.log";
        pool.0.sh(said).out.contains("24009")
    });
    let done = pool.gluster(1, "volume set v user.mark alone");
    let told = done.err.contains("force-new-quorum") && done.err.contains("24009");
    assert!(done.exit != 0 && told, "{done:?}");
    assert!(pool.must(1, "volume info v").contains("user.mark: both-of-them"));
    let busy = coordinator(pool, 1, "force-new-quorum --yes");
    assert!(busy.exit == 1 && busy.err.contains("in use by another process"), "{busy:?}");
    pool.kill(1);
    let asked = coordinator(pool, 1, "force-new-quorum");
    let told = asked.err.contains("follower, this node") && asked.err.contains("does not answer");
    assert!(asked.exit == 1 && told, "{asked:?}");
    let done = coordinator(pool, 1, "force-new-quorum --yes");
    assert!(done.exit == 0 && done.out.contains("only master of the store now"), "{done:?}");
    let history = pool.0.read("/srv/1/log/cmd_history.log");
    assert!(history.contains("glusterd coordinator force-new-quorum --yes : SUCCESS"), "{history}");
    pool.start(1);
    assert!(pool.must(1, "volume info v").contains("user.mark: both-of-them"));
    let shown = pool.must(1, &format!("volume get all {MASTERS}"));
    assert!(shown.contains("(DEFAULT)"), "{shown}");
    mark(pool, 1, "forced");
    pool.start(2);
    sees(pool, &[1, 2], "forced");
    connected(pool, &[1, 2]);
    mark(pool, 2, "together");
    sees(pool, &[1, 2], "together");
    pool.kill(2);
    let sole = coordinator(pool, 2, "force-new-quorum --yes");
    let log = || pool.0.sh("tail -n 60 /srv/[12]/log/glusterd.log").out;
    assert!(sole.exit == 1 && sole.err.contains("nothing has to be forced"), "{sole:?}\n{}", log());
    pool.start(2);
}

/// Everything of one of three is gone; its uuid is restored as stock's administrators do it.
fn wiped(pool: &Pool) {
    pool.must(1, &format!("peer probe {}", host(3)));
    connected(pool, &[1, 2, 3]);
    mark(pool, 3, "three");
    sees(pool, &[1, 2, 3], "three");
    let uuid = pool.0.sh("sed -n s/^UUID=//p /srv/3/glusterd/glusterd.info").out;
    pool.kill(3);
    assert_eq!(pool.0.sh("rm -rf /srv/3/glusterd; mkdir /srv/3/glusterd").exit, 0);
    pool.start(3);
    pool.kill(3);
    let restored = format!("sed -i s/^UUID=.*/UUID={}/ /srv/3/glusterd/glusterd.info", uuid.trim());
    assert_eq!(pool.0.sh(&restored).exit, 0);
    pool.start(3);
    pool.until("a member fetches the node", |pool| {
        let done = pool.gluster(3, &format!("peer probe {}", host(1)));
        done.exit == 0 && done.out.contains("already in peer list")
    });
    connected(pool, &[1, 2, 3]);
    sees(pool, &[3], "three");
    mark(pool, 3, "back");
    sees(pool, &[1, 2, 3], "back");
    // It keeps the data again: one of the others may be away.
    pool.until("two of three are a quorum", |pool| {
        pool.0.sh("ls /srv/3/glusterd/coordination/local/store.redb").exit == 0
    });
    // Another node under its uuid is nothing that anybody fetches.
    let stranger = pool.gluster(3, "peer probe 127.1.1.99");
    assert_ne!(stranger.exit, 0, "{stranger:?}");
}

#[test]
fn masters_by_hand_and_after_a_loss() {
    let pool = Pool::new();
    pool.must(1, &format!("peer probe {}", host(2)));
    connected(&pool, &[1, 2]);
    pool.must(1, &format!("volume create v {}:/srv/2/b force", host(2)));
    named_by_hand(&pool);
    forced(&pool);
    wiped(&pool);
    // All off, on in another order, and down to one.
    for node in [1, 2, 3] {
        pool.kill(node);
    }
    for node in [3, 1, 2] {
        pool.start(node);
    }
    connected(&pool, &[1, 2, 3]);
    mark(&pool, 2, "again");
    sees(&pool, &[1, 2, 3], "again");
    pool.must(2, &format!("peer detach {}", host(1)));
    pool.must(2, &format!("peer detach {}", host(3)));
    mark(&pool, 2, "one");
}
