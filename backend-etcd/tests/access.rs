//! Credentials, permissions and certificates on real servers of etcd (A1-A4, W16).

use backend_etcd::Etcd;
use conformance::certificates::{Authority, Identity};
use conformance::servers::{Cluster, EtcdOpts};
use coord_api::*;
use etcd_client::{Client, ConnectOptions, Permission, PermissionType};
use futures_util::StreamExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(20);

fn opts() -> OpenOpts {
    OpenOpts { connect_timeout: LIMIT, ..OpenOpts::default() }
}

/// What opening is refused with; a server too slow to say anything says nothing yet.
async fn refused(url: &str) -> Error {
    opened(url).await.expect_err("opened")
}

async fn opened(url: &str) -> Result<Arc<dyn Coordinator>> {
    let end = Instant::now() + 6 * LIMIT;
    loop {
        let answer = timeout(LIMIT * 2, Etcd.open(url, opts())).await;
        match answer.expect("an answer in time") {
            Err(error) if error.kind == ErrorKind::Unavailable && Instant::now() < end => {}
            answer => return answer,
        }
    }
}

fn space() -> Space {
    Space::new("config").unwrap()
}

fn key(name: &str) -> Key {
    Key::new(&space(), name).unwrap()
}

async fn works(c: &dyn Coordinator) {
    let space = space();
    patiently(|| c.ensure_space(&space, SpaceKind::Persistent)).await;
    patiently(|| c.txn(Txn::new().put(&key("k"), "v"))).await;
    let k = key("k");
    assert!(patiently(|| c.get(&k, ReadOpts::default())).await.0.is_some());
}

/// Repeats a call that met a server too slow to answer: any other error is one.
async fn patiently<T, F>(mut call: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T>>,
{
    let end = Instant::now() + LIMIT;
    loop {
        match call().await {
            Ok(value) => return value,
            Err(error) if error.kind == ErrorKind::Unavailable && Instant::now() < end => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
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
        let file = self.cluster.dir().join(format!("credentials-{password}"));
        std::fs::write(&file, format!("node:{password}\n")).unwrap();
        format!("etcd://{}/{path}?credentials={}", self.cluster.hosts(), file.display())
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
fn secure(server: &Identity, clients: &Authority) -> Cluster {
    let tls = Some((server.certificate.clone(), server.key.clone(), clients.ca()));
    Cluster::etcd(1, &EtcdOpts { tls, ..EtcdOpts::default() }).unwrap()
}

fn url(cluster: &Cluster, ca: &Path, client: Option<&Identity>) -> String {
    let identity = client.map_or(String::new(), |identity| {
        format!("&cert={}&key={}", identity.certificate.display(), identity.key.display())
    });
    format!("etcd://{}/pool?ca={}{identity}", cluster.hosts(), ca.display())
}

/// The cause is in the text, so that an administrator knows which file to look at.
fn names(error: &Error, word: &str) {
    assert_eq!((&error.kind, error.effect), (&ErrorKind::TlsFailed, Effect::None), "{error}");
    let text = format!("{error}: {}", error.detail.as_deref().unwrap_or_default());
    assert!(text.to_lowercase().contains(word), "{text}");
}

#[tokio::test]
async fn certificates() {
    let dir = tempfile::tempdir().unwrap();
    let ours = Authority::new(dir.path(), "ours").unwrap();
    let other = Authority::new(dir.path(), "other").unwrap();
    let server = ours.issue("server", "127.0.0.1", 10).unwrap();
    let client = ours.issue("client", "127.0.0.1", 10).unwrap();
    let cluster = secure(&server, &ours);
    let c = opened(&url(&cluster, &ours.ca(), Some(&client))).await.unwrap();
    works(&*c).await;

    names(&refused(&url(&cluster, &other.ca(), Some(&client))).await, "unknownissuer");
    names(&refused(&url(&cluster, &ours.ca(), None)).await, "certificate");
    let foreign = other.issue("foreign", "127.0.0.1", 10).unwrap();
    names(&refused(&url(&cluster, &ours.ca(), Some(&foreign))).await, "certificate");

    let expired = ours.issue("expired", "127.0.0.1", -1).unwrap();
    let cluster = secure(&expired, &ours);
    names(&refused(&url(&cluster, &ours.ca(), Some(&client))).await, "expired");

    let elsewhere = ours.issue("elsewhere", "192.0.2.1", 10).unwrap();
    let cluster = secure(&elsewhere, &ours);
    names(&refused(&url(&cluster, &ours.ca(), Some(&client))).await, "name");
}
