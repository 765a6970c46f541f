//! What tests of access share: a service behind credentials or TLS, and how its refusals read
//! (A1 to A4).

use crate::certificates::{Authority, Identity};
use crate::servers::Cluster;
use coord_api::{
    Backend, Coordinator, CoordinatorExt, Effect, Error, ErrorKind, Key, OpenOpts, ReadOpts,
    Result, Space, SpaceKind, Txn,
};
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// How long anything may take.
pub const LIMIT: Duration = Duration::from_secs(20);

pub fn space() -> Space {
    Space::new("config").expect("a legal name")
}

pub fn key(name: &str) -> Key {
    Key::new(&space(), name).expect("a legal name")
}

/// Opens a handle. A server's first handshake on a busy processor may take it longer than a client
/// waits, which says nothing yet.
///
/// # Errors
/// What opening is refused with.
pub async fn opened(backend: &dyn Backend, url: &str) -> Result<Arc<dyn Coordinator>> {
    let end = Instant::now() + 6 * LIMIT;
    loop {
        let opts = OpenOpts { connect_timeout: LIMIT, ..OpenOpts::default() };
        let answer = timeout(LIMIT * 2, backend.open(url, opts)).await;
        match answer.expect("an answer in time") {
            Err(error) if error.kind == ErrorKind::Unavailable && Instant::now() < end => {}
            answer => return answer,
        }
    }
}

/// What opening is refused with.
pub async fn refused(backend: &dyn Backend, url: &str) -> Error {
    opened(backend, url).await.expect_err("opened")
}

/// Repeats a call that met a server too slow to answer: any other error is one.
pub async fn patiently<T, F>(mut call: impl FnMut() -> F) -> T
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

/// Writes and reads.
pub async fn works(c: &dyn Coordinator) {
    let (space, k) = (space(), key("k"));
    patiently(|| c.ensure_space(&space, SpaceKind::Persistent)).await;
    patiently(|| c.txn(Txn::new().put(&k, "v"))).await;
    assert!(patiently(|| c.get(&k, ReadOpts::default())).await.0.is_some());
}

/// `SCHEME://HOSTS/PATH` with these credentials, in a file beside the servers.
pub fn as_user(cluster: &Cluster, scheme: &str, path: &str, user: &str, password: &str) -> String {
    let file = cluster.dir().join(format!("{user}-{password}"));
    std::fs::write(&file, format!("{user}:{password}\n")).expect("the servers' folder is ours");
    format!("{scheme}://{}/{path}?credentials={}", cluster.hosts(), file.display())
}

/// Mutual TLS, and every way in which it is refused. `secure` starts a server with this identity, for
/// clients that the authority has signed, and says at which `HOST:PORT`.
pub async fn certificates(
    backend: &dyn Backend,
    secure: fn(&Identity, &Authority) -> (Cluster, String),
) {
    let dir = tempfile::tempdir().expect("a folder");
    let authority = |name| Authority::new(dir.path(), name).expect("openssl works");
    let (ours, other) = (authority("ours"), authority("other"));
    let issue = |by: &Authority, name: &str, address: &str, days: i32| {
        by.issue(name, address, days).expect("openssl works")
    };
    let client = issue(&ours, "client", "127.0.0.1", 10);
    let scheme = backend.schemes()[0];
    let url = |host: &str, ca: &Path, client: Option<&Identity>| {
        let identity = client.map_or(String::new(), |identity| {
            format!("&cert={}&key={}", identity.certificate.display(), identity.key.display())
        });
        format!("{scheme}://{host}/pool?ca={}{identity}", ca.display())
    };

    let server = issue(&ours, "server", "127.0.0.1", 10);
    let (_cluster, host) = secure(&server, &ours);
    let handle = opened(backend, &url(&host, &ours.ca(), Some(&client))).await;
    works(&*handle.expect("both sides trust each other")).await;
    names(&refused(backend, &url(&host, &other.ca(), Some(&client))).await, "unknownissuer");
    names(&refused(backend, &url(&host, &ours.ca(), None)).await, "certificate");
    let foreign = issue(&other, "foreign", "127.0.0.1", 10);
    names(&refused(backend, &url(&host, &ours.ca(), Some(&foreign))).await, "certificate");

    for (name, address, days, word) in
        [("expired", "127.0.0.1", -1, "expired"), ("elsewhere", "192.0.2.1", 10, "name")]
    {
        let (_cluster, host) = secure(&issue(&ours, name, address, days), &ours);
        names(&refused(backend, &url(&host, &ours.ca(), Some(&client))).await, word);
    }
}

/// The cause is in the text, so that an administrator knows which file to look at.
fn names(error: &Error, word: &str) {
    assert_eq!((&error.kind, error.effect), (&ErrorKind::TlsFailed, Effect::None), "{error}");
    let text = format!("{error}: {}", error.detail.as_deref().unwrap_or_default());
    assert!(text.to_lowercase().contains(word), "{text}");
}
