//! Faults that need a product's own words: the end of a session, compaction.

use crate::harness::{Fault, Harness, Hooks, Timing};
use async_trait::async_trait;
use coord_api::{Coordinator, Result, SessionId};
use std::sync::Arc;

/// What an administrator of the product can do to it.
#[async_trait]
pub trait Admin: Send + Sync + 'static {
    /// The servers end this session now.
    async fn expire(&self, session: SessionId) -> Result<()>;

    /// Whether the product keeps history that can be dropped.
    fn compacts(&self) -> bool;

    /// The servers drop all history before the present revision.
    async fn compact(&self) -> Result<()>;
}

/// A harness with an administrator.
pub struct Administered<H, A> {
    harness: H,
    admin: A,
}

impl<H: Harness, A: Admin> Administered<H, A> {
    pub fn new(harness: H, admin: A) -> Administered<H, A> {
        Administered { harness, admin }
    }
}

#[async_trait]
impl<H: Harness, A: Admin> Harness for Administered<H, A> {
    fn name(&self) -> &'static str {
        self.harness.name()
    }

    fn hooks(&self) -> Hooks {
        Hooks { expire: true, compact: self.admin.compacts(), ..self.harness.hooks() }
    }

    fn timing(&self) -> Timing {
        self.harness.timing()
    }

    async fn connect(&self, ns: &str, client: usize) -> Result<Arc<dyn Coordinator>> {
        self.harness.connect(ns, client).await
    }

    async fn leader(&self) -> Option<usize> {
        self.harness.leader().await
    }

    async fn inject(&self, fault: &Fault) -> Result<()> {
        match fault {
            Fault::SessionExpiry(session) => self.admin.expire(*session).await,
            Fault::Compact if self.admin.compacts() => self.admin.compact().await,
            other => self.harness.inject(other).await,
        }
    }

    async fn heal(&self, fault: &Fault) -> Result<()> {
        self.harness.heal(fault).await
    }

    async fn destroy(&self, ns: &str) -> Result<()> {
        self.harness.destroy(ns).await
    }
}
