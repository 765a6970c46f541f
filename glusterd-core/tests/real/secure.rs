//! Management under encryption: our daemons, stock's CLI, bricks and a mount, with certificates as
//! upstream's tests/ssl.rc makes them.

use super::pool::{Pool, host};

/// One certificate for all, its own authority.
const CERTIFICATES: &str = "set -e; mkdir -p /run/ssl; cp -a /usr/lib/ssl/. /run/ssl/; cd /run/ssl; \
    openssl genrsa -out glusterfs.key 2048; \
    openssl req -new -x509 -key glusterfs.key -subj /CN=Anyone -days 2 -out glusterfs.pem; \
    cp glusterfs.pem glusterfs.ca; mount --bind /run/ssl /usr/lib/ssl; \
    touch /var/lib/glusterd/secure-access";

fn encrypted(pool: &Pool, at: &str) -> bool {
    let done = pool.0.sh(&format!(
        "cd /usr/lib/ssl; echo | timeout 10 openssl s_client -brief -connect {at} \
         -cert glusterfs.pem -key glusterfs.key 2>&1"
    ));
    done.out.contains("CONNECTION ESTABLISHED") && done.out.contains("Protocol version: TLSv1.")
}

#[test]
fn a_pool_under_encrypted_management() {
    let pool = Pool::dressed(CERTIFICATES);
    pool.must(1, &format!("peer probe {}", host(2)));
    pool.must(2, &format!("peer probe {}", host(3)));
    for node in [1, 2, 3] {
        pool.until("all connected", |pool| pool.connected(node) == 2);
    }
    for port in [24007, 24009] {
        assert!(encrypted(&pool, &format!("{}:{port}", host(1))), "{port}");
    }
    pool.volume();
    pool.must(1, "volume set v user.mark secret");
    pool.until("the volume is everywhere", |pool| {
        pool.gluster(3, "volume info v").out.contains("user.mark: secret")
    });
    let done = pool.0.sh("echo written > /mnt/m/file && cat /mnt/m/file");
    assert_eq!((done.exit, done.out.as_str()), (0, "written\n"), "{done:?}");
    // Options reach the mount, over its line to the daemon.
    pool.must(2, "volume set v performance.read-ahead off");
    // Who speaks in the clear gets no answer. Stock's CLI does so only where it sees no switch.
    let plain = pool.0.sh("unshare -m sh -c 'mount -t tmpfs none /var/lib/glusterd; \
         timeout 20 gluster --remote-host=127.1.1.1 volume list'");
    assert!(plain.exit != 0 && plain.out.contains("Connection failed"), "{plain:?}");
    let secure = pool.0.sh("timeout 20 gluster --remote-host=127.1.1.1 volume list");
    assert_eq!((secure.exit, secure.out.as_str()), (0, "v\n"), "{secure:?}");
    pool.kill(1);
    pool.until("a change without one of three", |pool| {
        pool.gluster(2, "volume set v user.mark two").exit == 0
    });
    pool.start(1);
    pool.until("it is back", |pool| {
        pool.gluster(1, "volume info v").out.contains("user.mark: two") && pool.connected(1) == 2
    });
    pool.until("the mount is free", |pool| pool.0.sh("umount /mnt/m").exit == 0);
}

/// What is to be encrypted and cannot be does not start in the clear.
#[test]
fn without_certificates_there_is_no_daemon() {
    let sandbox = super::sandbox::Sandbox::new(super::sandbox::Kind::Ours);
    let done = sandbox.sh("mkdir -p /run/none; mount --bind /run/none /usr/lib/ssl; \
         touch /var/lib/glusterd/secure-access; glusterd -N; echo exit $?");
    assert!(!done.out.contains("exit 0"), "{done:?}");
    let log = sandbox.log_tail();
    assert!(log.contains("glusterfs.pem") || done.err.contains("glusterfs.pem"), "{done:?}\n{log}");
}
