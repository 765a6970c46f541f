//! A whole backend small enough to read, and its conformance run: `docs/new-backend.md` walks
//! through it.
//!
//! Its "service" is the in-memory cluster of coord-api, taken as a foreign client library would
//! be: every method is one call, checked before it is sent, with errors passed on in the terms of
//! the contract. Run it with `cargo run --example new_backend -p conformance`; options are those of
//! a test program (`--list`, a filter, `--exact NAME`).

use async_trait::async_trait;
use conformance::{Timing, UrlHarness};
use coord_api::mem::Mem;
use coord_api::{
    Backend, BoxStream, Caps, Coordinator, Error, ErrorKind, Health, Info, Key, OpenOpts, Prefix,
    ReadOpts, Result, Session, SessionId, SessionOpts, SessionState, Snapshot, Space, SpaceKind,
    StrictHold, Txn, TxnOutcome, WatchEvent, WatchOpts,
};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// The door: a URL in, a handle out.
struct ExampleBackend {
    service: Mem,
}

#[async_trait]
impl Backend for ExampleBackend {
    fn schemes(&self) -> &'static [&'static str] {
        &["example"]
    }

    async fn open(&self, url: &str, opts: OpenOpts) -> Result<Arc<dyn Coordinator>> {
        let namespace = url
            .strip_prefix("example://")
            .ok_or_else(|| Error::none(ErrorKind::Unsupported("a URL is example://NAMESPACE")))?;
        let client = NEXT_CLIENT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let service = self.service.open(namespace, client, &opts);
        // "Completes after the cluster has answered once."
        service.get_many(&[], ReadOpts::default().within(opts.connect_timeout)).await?;
        Ok(Arc::new(Example { service }))
    }
}

static NEXT_CLIENT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);

#[derive(Debug)]
struct Example {
    service: Arc<dyn Coordinator>,
}

#[async_trait]
impl Coordinator for Example {
    fn info(&self) -> Info {
        // Claim only what the suite has shown: a capability not declared is not asked for.
        let caps = Caps { exact_conflict: true, strict_validity: true, ..Caps::default() };
        Info { backend: "example", caps, ..self.service.info() }
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.service.health()
    }

    async fn ensure_space(&self, space: &Space, kind: SpaceKind) -> Result<()> {
        self.service.ensure_space(space, kind).await
    }

    async fn get_many(&self, keys: &[Key], opts: ReadOpts) -> Result<Snapshot> {
        self.service.get_many(keys, opts).await
    }

    async fn list_page(
        &self,
        prefix: &Prefix,
        after: Option<&Key>,
        limit: usize,
        opts: ReadOpts,
    ) -> Result<(Snapshot, bool)> {
        self.service.list_page(prefix, after, limit, opts).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome> {
        // Limits, doubled keys and ephemeral writes are refused here, before anything is sent.
        txn.check(&self.info().limits, None)?;
        self.service.txn(txn).await
    }

    fn watch(&self, prefix: Prefix, opts: WatchOpts) -> BoxStream<WatchEvent> {
        self.service.watch(prefix, opts)
    }

    async fn session(&self, opts: SessionOpts) -> Result<Arc<dyn Session>> {
        let (session, limits) = (self.service.session(opts).await?, self.info().limits);
        Ok(Arc::new(ExampleSession { session, limits }))
    }

    async fn close(&self) -> Result<()> {
        self.service.close().await
    }
}

#[derive(Debug)]
struct ExampleSession {
    session: Arc<dyn Session>,
    limits: coord_api::Limits,
}

#[async_trait]
impl Session for ExampleSession {
    fn id(&self) -> SessionId {
        self.session.id()
    }

    fn ttl(&self) -> Duration {
        self.session.ttl()
    }

    fn state(&self) -> watch::Receiver<SessionState> {
        self.session.state()
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome> {
        txn.check(&self.limits, Some(self.id()))?;
        self.session.txn(txn).await
    }

    async fn confirm(&self) -> Result<Instant> {
        self.session.confirm().await
    }

    fn hold_strict(&self) -> StrictHold {
        self.session.hold_strict()
    }

    async fn close(&self) -> Result<()> {
        self.session.close().await
    }
}

/// All of the test: a backend and an address of its service. Without hooks, cases with faults are
/// skipped, and the backend is not conformant yet.
pub fn main() -> std::process::ExitCode {
    let backend: Box<dyn Backend> = Box::new(ExampleBackend { service: Mem::new() });
    let timing = Timing { ttl: Duration::from_millis(300), ..Timing::default() };
    conformance::main(UrlHarness::new("example", [backend], "example://").timed(timing))
}
