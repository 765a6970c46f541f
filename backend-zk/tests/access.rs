//! Credentials, permissions and certificates on real servers of ZooKeeper (A1-A3, W16).

use backend_zk::ZooKeeper;
use conformance::access::{self, LIMIT, key, space, works};
use conformance::certificates::{Authority, Identity};
use conformance::servers::{Cluster, ZooKeeperOpts};
use coord_api::*;
use futures_util::StreamExt;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;
use zookeeper_client::{Acls, Client, Error as Raw};

async fn opened(url: &str) -> Result<Arc<dyn Coordinator>> {
    access::opened(&ZooKeeper, url).await
}

async fn refused(url: &str) -> Error {
    access::refused(&ZooKeeper, url).await
}

fn as_user(cluster: &Cluster, path: &str, user: &str, password: &str) -> String {
    access::as_user(cluster, "zk", path, user, password)
}

#[tokio::test]
async fn passwords_and_permissions() {
    let cluster = Cluster::zookeeper(1, &ZooKeeperOpts::default()).unwrap();
    let mine = opened(&as_user(&cluster, "mine", "node", "right")).await.unwrap();
    works(&*mine).await;
    let again = opened(&as_user(&cluster, "mine", "node", "right")).await.unwrap();
    works(&*again).await;

    let error = refused(&as_user(&cluster, "mine", "node", "wrong")).await;
    assert_eq!((error.kind, error.effect), (ErrorKind::Unauthenticated, Effect::None));
    let error = refused(&as_user(&cluster, "mine", "other", "right")).await;
    assert_eq!((error.kind, error.effect), (ErrorKind::Unauthenticated, Effect::None));
    // Without any the service knows nobody: that is a lack of permission.
    let error = refused(&format!("zk://{}/mine", cluster.hosts())).await;
    assert_eq!((error.kind, error.effect), (ErrorKind::PermissionDenied, Effect::None));
    // Another user's pool on the same ensemble stands beside it.
    let theirs = opened(&as_user(&cluster, "theirs", "other", "x")).await.unwrap();
    works(&*theirs).await;
    works(&*mine).await;
}

/// Every node that holds anything of ours is closed to everybody else, whatever client they use.
#[tokio::test]
async fn what_we_create_is_ours_alone() {
    let cluster = Cluster::zookeeper(1, &ZooKeeperOpts::default()).unwrap();
    let mine = opened(&as_user(&cluster, "mine", "node", "right")).await.unwrap();
    works(&*mine).await;
    let alive = Space::new("alive").unwrap();
    mine.ensure_space(&alive, SpaceKind::Ephemeral).await.unwrap();
    let session = SessionOpts { ttl: Duration::from_secs(10), name: "s".into() };
    let session = mine.session(session).await.unwrap();
    let here = Key::ephemeral(&alive, "me", session.id(), 0).unwrap();
    session.txn(Txn::new().put_ephemeral(&here, "v")).await.unwrap();

    let owner = Client::connector().with_auth("digest", b"node:right");
    let owner = owner.connect(&cluster.hosts()).await.unwrap();
    let stranger = Client::connect(&cluster.hosts()).await.unwrap();
    let (mut walk, mut seen) = (vec!["/mine".to_owned()], 0);
    while let Some(path) = walk.pop() {
        let children = owner.list_children(&path).await.unwrap();
        walk.extend(children.iter().map(|child| format!("{path}/{child}")));
        seen += 1;
        if path == "/mine" {
            continue;
        }
        let writes = stranger.set_data(&path, b"x", None).await.unwrap_err();
        assert_eq!(writes, Raw::NoAuth, "{path}");
        let (acls, _) = owner.get_acl(&path).await.unwrap();
        assert_eq!(acls.len(), 1, "{path}: {acls:?}");
        assert_eq!(acls[0].auth_id().scheme(), "digest", "{path}: {acls:?}");
        assert_eq!(stranger.get_data(&path).await.unwrap_err(), Raw::NoAuth, "{path}");
    }
    assert!(seen > 5, "the tree holds a space, a key, a session: {seen} nodes");
}

/// A watch ends or says that it is lost; a write is refused and has no effect.
#[tokio::test]
async fn revoked_at_runtime() {
    let cluster = Cluster::zookeeper(1, &ZooKeeperOpts::default()).unwrap();
    let c = opened(&format!("zk://{}/pool", cluster.hosts())).await.unwrap();
    works(&*c).await;
    let quick =
        WatchOpts { progress_every: Some(Duration::from_millis(200)), ..WatchOpts::default() };
    let mut watch = c.watch(Prefix::all(&space()), quick);
    let mut synced = false;
    while !synced {
        let event = timeout(LIMIT, watch.next()).await.expect("in time").expect("an event");
        synced = matches!(event, WatchEvent::Synced { .. });
    }
    let admin = Client::connector().with_auth("digest", b"admin:secret");
    let admin = admin.connect(&cluster.hosts()).await.unwrap();
    close_below(&admin, "/pool").await;
    let error = c.txn(Txn::new().put(&key("late"), "v")).await.unwrap_err();
    assert_eq!((error.kind, error.effect), (ErrorKind::PermissionDenied, Effect::None));
    // A change by somebody who may brings the watch to look, and it may not.
    let touched = nodes_below(&admin, "/pool").await;
    for path in touched.iter().filter(|path| path.ends_with("/k")) {
        admin.set_data(path, b"changed", None).await.unwrap();
    }
    let told = async {
        loop {
            match watch.next().await {
                Some(WatchEvent::Lost { .. }) => {}
                Some(WatchEvent::Closed(error)) => return error.kind,
                None => panic!("W16: ended without a word"),
                Some(_) => {}
            }
        }
    };
    let kind = timeout(LIMIT, told).await.expect("W16: silence with progress");
    assert_eq!(kind, ErrorKind::PermissionDenied);
}

async fn nodes_below(client: &Client, root: &str) -> Vec<String> {
    let (mut walk, mut found) = (vec![root.to_owned()], Vec::new());
    while let Some(path) = walk.pop() {
        let children = client.list_children(&path).await.unwrap();
        walk.extend(children.iter().map(|child| format!("{path}/{child}")));
        found.push(path);
    }
    found
}

async fn close_below(admin: &Client, root: &str) {
    for path in nodes_below(admin, root).await {
        let creator = Acls::creator_all();
        admin.set_acl(&path, &creator, None).await.unwrap();
    }
}

/// ZooKeeper that offers TLS on a port of its own, beside the plain one for its administrator.
fn secure(server: &Identity, clients: &Authority) -> (Cluster, String) {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let store = server.certificate.with_extension("store.pem");
    let text = |file: &Path| std::fs::read_to_string(file).unwrap();
    std::fs::write(&store, text(&server.key) + &text(&server.certificate)).unwrap();
    let lines = vec![
        format!("secureClientPort={port}"),
        "secureClientPortAddress=127.0.0.1".into(),
        format!("ssl.keyStore.location={}", store.display()),
        "ssl.keyStore.type=PEM".into(),
        format!("ssl.trustStore.location={}", clients.ca().display()),
        "ssl.trustStore.type=PEM".into(),
        "ssl.clientAuth=need".into(),
    ];
    let factory = "org.apache.zookeeper.server.NettyServerCnxnFactory";
    let java = vec![format!("-Dzookeeper.serverCnxnFactory={factory}")];
    let opts = ZooKeeperOpts { lines, java, ..ZooKeeperOpts::default() };
    (Cluster::zookeeper(1, &opts).unwrap(), format!("127.0.0.1:{port}"))
}

#[tokio::test]
async fn certificates() {
    access::certificates(&ZooKeeper, secure).await;
}
