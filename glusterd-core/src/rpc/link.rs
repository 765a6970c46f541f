//! A connection kept up to one daemon: connects, tells when it is up and down, connects again.
//!
//! The end of a link is how a dead brick is noticed (glusterd-handler.c:6075, v10.3); what to do
//! about it is decided by whoever watches. Retries begin quickly, because a daemon that was just
//! spawned binds its socket within milliseconds, and settle at stock's interval.

use super::client::{Client, Endpoint};
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

const RETRY_FIRST: Duration = Duration::from_millis(50);

/// Stock's reconnect interval (rpc-clnt.c:393).
const RETRY_MAX: Duration = Duration::from_secs(3);

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Keeps a connection to `endpoint` until dropped.
#[derive(Debug)]
pub struct Link {
    state: watch::Receiver<Option<Client>>,
    _task: AbortOnDropHandle<()>,
}

impl Link {
    pub fn open(endpoint: Endpoint) -> Link {
        let (publish, state) = watch::channel(None);
        let task = tokio::spawn(keep_up(endpoint, publish));
        Link { state, _task: AbortOnDropHandle::new(task) }
    }

    /// The connection as it is now; `None` while down.
    pub fn client(&self) -> Option<Client> {
        self.state.borrow().clone()
    }

    /// Every change of state: `Some` is up, `None` is down. A short outage may be seen only as two
    /// different clients.
    pub fn watch(&self) -> watch::Receiver<Option<Client>> {
        self.state.clone()
    }

    /// Waits for a connection, at most `timeout`.
    pub async fn up(&self, timeout: Duration) -> Option<Client> {
        let mut state = self.state.clone();
        let connected = state.wait_for(|client| client.as_ref().is_some_and(|c| !c.is_closed()));
        tokio::time::timeout(timeout, connected).await.ok()?.ok()?.clone()
    }
}

async fn keep_up(endpoint: Endpoint, publish: watch::Sender<Option<Client>>) {
    let mut pause = RETRY_FIRST;
    loop {
        if let Ok(client) = Client::connect(&endpoint, CONNECT_TIMEOUT).await {
            publish.send_replace(Some(client.clone()));
            client.closed().await;
            publish.send_replace(None);
            pause = RETRY_FIRST;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;
    use tokio::net::UnixListener;

    #[tokio::test]
    async fn goes_up_down_and_up_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let link = Link::open(Endpoint::Unix(path.clone()));
        let mut state = link.watch();
        assert!(link.client().is_none());

        let listener = UnixListener::bind(&path).unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        assert!(link.up(Duration::from_secs(5)).await.is_some());
        state.wait_for(Option::is_some).await.unwrap();

        drop(stream);
        state.wait_for(Option::is_none).await.unwrap();
        let _second = listener.accept().await.unwrap();
        assert!(link.up(Duration::from_secs(5)).await.is_some());
    }

    #[tokio::test]
    async fn dropping_it_closes_the_connection() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let link = Link::open(Endpoint::Unix(path));
        let (mut stream, _) = listener.accept().await.unwrap();
        assert!(link.up(Duration::from_secs(5)).await.is_some());
        drop(link);
        assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
    }
}
