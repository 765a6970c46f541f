//! A handle on a service that may not be there yet.
//!
//! A program that can do useful work without its coordination service opens it through [`late`]:
//! it gets a handle at once, calls fail with `Unavailable` until a server answers, and watches
//! begin then. Waiting is here and nowhere else; what comes after is the backend's own handle.

use crate::backend::{Backend, OpenOpts};
use crate::coordinator::{Coordinator, Health, Info};
use crate::entry::{ReadOpts, Snapshot};
use crate::error::{Error, ErrorKind, Retry};
use crate::names::{Key, Prefix, Space, SpaceKind};
use crate::session::{Session, SessionOpts};
use crate::txn::{Txn, TxnOutcome};
use crate::watch::{WatchEvent, WatchOpts};
use crate::{BoxStream, Result};
use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// Between two attempts to open. Each has the connect timeout besides.
const PAUSE: Duration = Duration::from_secs(1);

/// Opens `url`; hands out what there is after `patience`: the backend's handle, or one that
/// becomes it once a server answers. Attempts go on until then, or until the handle is closed or
/// dropped; the log says when waiting begins and ends.
///
/// # Errors
/// Those of [`Backend::open`] that waiting does not help against, if they come within `patience`.
pub async fn late(
    backend: impl Backend,
    url: String,
    opts: OpenOpts,
    patience: Duration,
) -> Result<Arc<dyn Coordinator>> {
    let scheme = backend.schemes().first().copied().unwrap_or_default();
    let first = Slot::Empty(None);
    let (slot, mut seen) = watch::channel(first);
    let health = watch::Sender::new(Health::Unreachable { since: Instant::now() });
    let told = health.clone();
    let task = tokio::spawn(open(backend, url, opts, slot, told)).abort_handle();
    let done = seen.wait_for(|slot| match slot {
        Slot::Open(_) => true,
        Slot::Empty(last) => last.as_ref().is_some_and(hopeless),
    });
    match tokio::time::timeout(patience, done).await.map(|slot| slot.map(|slot| slot.clone())) {
        Ok(Ok(Slot::Open(handle))) => return Ok(handle),
        Ok(Ok(Slot::Empty(Some(error)))) => {
            task.abort();
            return Err(error);
        }
        _ => {}
    }
    Ok(Arc::new(Late { scheme, slot: seen, health, closed: watch::Sender::new(false), task }))
}

/// Waiting would not help; what an administrator has to change, they change and start again.
fn hopeless(error: &Error) -> bool {
    error.retry() != Retry::SameHandle
}

#[derive(Clone)]
enum Slot {
    /// Nothing yet, and why the last attempt failed.
    Empty(Option<Error>),
    Open(Arc<dyn Coordinator>),
}

async fn open(
    backend: impl Backend,
    url: String,
    opts: OpenOpts,
    slot: watch::Sender<Slot>,
    health: watch::Sender<Health>,
) {
    let mut said = None;
    let handle = loop {
        match backend.open(&url, opts.clone()).await {
            Ok(handle) => break handle,
            Err(error) => {
                // Once for each kind of trouble: attempts go on for as long as the outage lasts.
                if said.as_ref() != Some(&error.kind) {
                    tracing::warn!(%url, %error, "waiting for the coordination service");
                    said = Some(error.kind.clone());
                }
                slot.send_replace(Slot::Empty(Some(error)));
            }
        }
        tokio::time::sleep(PAUSE).await;
    };
    if said.is_some() {
        tracing::info!(%url, "the coordination service answers");
    }
    let mut inner = handle.health();
    slot.send_replace(Slot::Open(handle));
    loop {
        let now = inner.borrow_and_update().clone();
        let last = now == Health::Closed;
        health.send_replace(now);
        if last || inner.changed().await.is_err() {
            return;
        }
    }
}

struct Late {
    scheme: &'static str,
    slot: watch::Receiver<Slot>,
    health: watch::Sender<Health>,
    closed: watch::Sender<bool>,
    task: AbortHandle,
}

impl Late {
    fn inner(&self) -> Result<Arc<dyn Coordinator>> {
        if *self.closed.borrow() {
            return Err(ErrorKind::Closed.into());
        }
        match &*self.slot.borrow() {
            Slot::Open(handle) => Ok(handle.clone()),
            Slot::Empty(why) => {
                let error = Error::none(ErrorKind::Unavailable);
                Err(match why {
                    Some(why) => error.because(why),
                    None => error.because("no server has answered yet"),
                })
            }
        }
    }
}

#[async_trait]
impl Coordinator for Late {
    fn info(&self) -> Info {
        match self.inner() {
            Ok(inner) => inner.info(),
            Err(_) => Info::unknown(self.scheme),
        }
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    async fn ensure_space(&self, space: &Space, kind: SpaceKind) -> Result<()> {
        self.inner()?.ensure_space(space, kind).await
    }

    async fn get_many(&self, keys: &[Key], opts: ReadOpts) -> Result<Snapshot> {
        self.inner()?.get_many(keys, opts).await
    }

    async fn list_page(
        &self,
        prefix: &Prefix,
        after: Option<&Key>,
        limit: usize,
        opts: ReadOpts,
    ) -> Result<(Snapshot, bool)> {
        self.inner()?.list_page(prefix, after, limit, opts).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome> {
        self.inner()?.txn(txn).await
    }

    fn watch(&self, prefix: Prefix, opts: WatchOpts) -> BoxStream<WatchEvent> {
        if let Ok(inner) = self.inner() {
            return inner.watch(prefix, opts);
        }
        let (mut slot, mut closed) = (self.slot.clone(), self.closed.subscribe());
        let begin = async move {
            let open = async {
                match slot.wait_for(|slot| matches!(slot, Slot::Open(_))).await.as_deref() {
                    Ok(Slot::Open(handle)) => Some(handle.clone()),
                    _ => None,
                }
            };
            let handle = tokio::select! {
                biased;
                _ = closed.wait_for(|closed| *closed) => None,
                handle = open => handle,
            };
            match handle {
                Some(handle) => handle.watch(prefix, opts),
                None => stream::iter([WatchEvent::Closed(ErrorKind::Closed.into())]).boxed(),
            }
        };
        stream::once(begin).flatten().boxed()
    }

    async fn session(&self, opts: SessionOpts) -> Result<Arc<dyn Session>> {
        self.inner()?.session(opts).await
    }

    async fn close(&self) -> Result<()> {
        let inner = self.inner();
        self.closed.send_replace(true);
        self.task.abort();
        self.health.send_replace(Health::Closed);
        match inner {
            Ok(inner) => inner.close().await,
            Err(_) => Ok(()),
        }
    }
}

impl Drop for Late {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.slot.borrow() {
            Slot::Open(handle) => handle.fmt(f),
            Slot::Empty(_) => write!(f, "Late({})", self.scheme),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mem::Mem;
    use std::sync::atomic::{AtomicBool, Ordering};

    /// Refuses with `kind` until the switch is on.
    struct Switched {
        mem: Mem,
        on: Arc<AtomicBool>,
        kind: ErrorKind,
    }

    #[async_trait]
    impl Backend for Switched {
        fn schemes(&self) -> &'static [&'static str] {
            &["switched"]
        }

        async fn open(&self, _: &str, _: OpenOpts) -> Result<Arc<dyn Coordinator>> {
            match self.on.load(Ordering::Relaxed) {
                true => Ok(self.mem.connect("a")),
                false => Err(self.kind.clone().into()),
            }
        }
    }

    async fn opened(kind: ErrorKind, on: &Arc<AtomicBool>) -> Result<Arc<dyn Coordinator>> {
        let backend = Switched { mem: Mem::new(), on: on.clone(), kind };
        late(backend, "switched:".into(), OpenOpts::default(), Duration::from_millis(50)).await
    }

    #[tokio::test]
    async fn what_waiting_does_not_help_against_is_said_at_once() {
        let error = opened(ErrorKind::TlsFailed, &Arc::default()).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::TlsFailed);
    }

    #[tokio::test]
    async fn a_service_that_answers_is_handed_out_itself() {
        let handle = opened(ErrorKind::Unavailable, &Arc::new(AtomicBool::new(true))).await;
        assert_eq!(handle.unwrap().info().backend, "mem");
    }

    #[tokio::test]
    async fn it_becomes_usable_when_the_service_is_there() {
        let on = Arc::new(AtomicBool::new(false));
        let handle = opened(ErrorKind::Unavailable, &on).await.unwrap();
        let space = Space::new("config").unwrap();
        let declared = handle.ensure_space(&space, SpaceKind::Persistent).await;
        assert_eq!(declared.unwrap_err().kind, ErrorKind::Unavailable);
        assert_eq!(handle.info().backend, "switched");
        let mut health = handle.health();
        assert!(matches!(*health.borrow_and_update(), Health::Unreachable { .. }));

        on.store(true, Ordering::Relaxed);
        health.wait_for(|health| *health == Health::Ok).await.unwrap();
        handle.ensure_space(&space, SpaceKind::Persistent).await.unwrap();
        assert_eq!(handle.info().backend, "mem");
    }

    #[tokio::test]
    async fn a_watch_from_before_begins_with_the_service() {
        let on = Arc::new(AtomicBool::new(false));
        let backend = Switched { mem: Mem::new(), on: on.clone(), kind: ErrorKind::Unavailable };
        let space = Space::new("config").unwrap();
        backend.mem.connect("a").ensure_space(&space, SpaceKind::Persistent).await.unwrap();
        let patience = Duration::from_millis(50);
        let handle = late(backend, "switched:".into(), OpenOpts::default(), patience).await;
        let handle = handle.unwrap();
        let mut watch = handle.watch(Prefix::all(&space), WatchOpts::default());
        let mut orphan = handle.watch(Prefix::all(&space), WatchOpts::default());
        on.store(true, Ordering::Relaxed);
        assert!(matches!(watch.next().await, Some(WatchEvent::Snapshot { more: false, .. })));
        assert!(matches!(watch.next().await, Some(WatchEvent::Synced { .. })));
        // Whoever closes before looking gets an end, not a hang.
        handle.close().await.unwrap();
        assert!(matches!(orphan.next().await, Some(WatchEvent::Closed(_))));
    }

    #[tokio::test]
    async fn closing_ends_watches_and_calls() {
        let handle = opened(ErrorKind::Unavailable, &Arc::default()).await.unwrap();
        let space = Space::new("config").unwrap();
        let mut watch = handle.watch(Prefix::all(&space), WatchOpts::default());
        handle.close().await.unwrap();
        assert!(matches!(watch.next().await, Some(WatchEvent::Closed(_))));
        let declared = handle.ensure_space(&space, SpaceKind::Persistent).await;
        assert_eq!(declared.unwrap_err().kind, ErrorKind::Closed);
        assert_eq!(*handle.health().borrow(), Health::Closed);
    }
}
