//! Credentials, permissions and certificates on real servers of etcd (A1-A4, W16).

use backend_etcd::Etcd;
use conformance::access::{self, LIMIT, key, patiently, space, works};
use conformance::certificates::{Authority, Identity};
use conformance::servers::{Cluster, EtcdOpts};
use coord_api::*;
use etcd_client::{Client, ConnectOptions, Permission, PermissionType};
use futures_util::StreamExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

async fn opened(url: &str) -> Result<Arc<dyn Coordinator>> {
    access::opened(&Etcd, url).await
}

async fn refused(url: &str) -> Error {
    access::refused(&Etcd, url).await
}

/// etcd with users: `root`, and `node`, who may do all below `mine`.
struct Guarded {
    cluster: Cluster,
    root: Client,
}

/// What etcd keeps for a pool: everything below the path of its address.
const PREFIX: &str = "/mine/";

impl Guarded {
    async fn start(args: &[&str]) -> Guarded {
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        let cluster = Cluster::etcd(1, &EtcdOpts { args, ..EtcdOpts::default() }).unwrap();
        let mut first = Client::connect([cluster.hosts()], None).await.unwrap();
        first.user_add("root", "secret", None).await.unwrap();
        first.role_add("root").await.unwrap();
        first.user_grant_role("root", "root").await.unwrap();
        first.role_add("node").await.unwrap();
        let all = Permission::new(PermissionType::Readwrite, PREFIX).with_prefix();
        first.role_grant_permission("node", all).await.unwrap();
        first.user_add("node", "right", None).await.unwrap();
        first.user_grant_role("node", "node").await.unwrap();
        first.auth_enable().await.unwrap();
        let options = ConnectOptions::new().with_user("root", "secret");
        let root = Client::connect([cluster.hosts()], Some(options)).await.unwrap();
        Guarded { cluster, root }
    }

    /// The address with `node`'s credentials and this password.
    fn url(&self, path: &str, password: &str) -> String {
        access::as_user(&self.cluster, "etcd", path, "node", password)
    }
}

#[tokio::test]
async fn wrong_password() {
    let guarded = Guarded::start(&[]).await;
    let error = refused(&guarded.url("mine", "wrong")).await;
    assert_eq!((error.kind, error.effect), (ErrorKind::Unauthenticated, Effect::None));
    let error = refused(&format!("etcd://{}/mine", guarded.cluster.hosts())).await;
    assert_eq!(error.kind, ErrorKind::Unauthenticated, "nobody at all");
    works(&*opened(&guarded.url("mine", "right")).await.unwrap()).await;
}

#[tokio::test]
async fn forbidden_prefix() {
    let guarded = Guarded::start(&[]).await;
    let mine = opened(&guarded.url("mine", "right")).await.unwrap();
    let error = refused(&guarded.url("theirs", "right")).await;
    assert_eq!((error.kind, error.effect), (ErrorKind::PermissionDenied, Effect::None));
    works(&*mine).await;
}

/// A watch ends or says that it is lost; a write is refused and has no effect; others go on.
#[tokio::test]
async fn revoked_at_runtime() {
    let mut guarded = Guarded::start(&[]).await;
    let c = opened(&guarded.url("mine", "right")).await.unwrap();
    works(&*c).await;
    let quick =
        WatchOpts { progress_every: Some(Duration::from_millis(200)), ..WatchOpts::default() };
    let mut watch = c.watch(Prefix::all(&space()), quick);
    let mut synced = false;
    while !synced {
        let event = timeout(LIMIT, watch.next()).await.expect("in time").expect("an event");
        synced = matches!(event, WatchEvent::Synced { .. });
    }
    guarded.root.user_revoke_role("node", "node").await.unwrap();
    let error = c.txn(Txn::new().put(&key("late"), "v")).await.unwrap_err();
    assert_eq!((error.kind, error.effect), (ErrorKind::PermissionDenied, Effect::None));
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
    guarded.root.user_grant_role("node", "node").await.unwrap();
    works(&*c).await;
    assert_eq!(c.get(&key("late"), ReadOpts::default()).await.unwrap().0, None);
}

/// Tokens live for a second here, and none survives its server.
#[tokio::test]
async fn token_expiry_is_invisible() {
    let mut guarded = Guarded::start(&["--auth-token-ttl", "1"]).await;
    let c = opened(&guarded.url("mine", "right")).await.unwrap();
    works(&*c).await;
    let long = SessionOpts { ttl: Duration::from_secs(40), name: "s".into() };
    let session = patiently(|| c.session(long.clone())).await;
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(2500)).await;
        patiently(|| c.txn(Txn::new().put(&key("k"), "v"))).await;
        patiently(|| session.confirm()).await;
    }
    guarded.cluster.kill(0);
    guarded.cluster.restart(0).unwrap();
    patiently(|| session.confirm()).await;
    patiently(|| c.txn(Txn::new().put(&key("k"), "w"))).await;
}

/// etcd behind TLS, for clients that `clients` has signed.
fn secure(server: &Identity, clients: &Authority) -> (Cluster, String) {
    let tls = Some((server.certificate.clone(), server.key.clone(), clients.ca()));
    let cluster = Cluster::etcd(1, &EtcdOpts { tls, ..EtcdOpts::default() }).unwrap();
    let hosts = cluster.hosts();
    (cluster, hosts)
}

#[tokio::test]
async fn certificates() {
    access::certificates(&Etcd, secure).await;
}
