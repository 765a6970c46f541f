//! The in-memory cluster under test: the reference for all others, and the one whose seeded
//! defects the suite must find.

use crate::harness::{Fault, Harness, Hooks, Timing};
use async_trait::async_trait;
use coord_api::mem::{Bug, Mem};
use coord_api::{Coordinator, Error, ErrorKind, OpenOpts, Result};
use std::sync::Arc;
use std::time::Duration;

/// One in-memory cluster.
#[derive(Default)]
pub struct MemHarness {
    mem: Mem,
}

impl MemHarness {
    pub fn with_bug(bug: Bug) -> MemHarness {
        MemHarness { mem: Mem::with_bug(bug) }
    }

    /// One whose watches come back by snapshot only.
    pub fn without_history() -> MemHarness {
        MemHarness { mem: Mem::without_history() }
    }
}

#[async_trait]
impl Harness for MemHarness {
    fn name(&self) -> &'static str {
        "mem"
    }

    fn hooks(&self) -> Hooks {
        Hooks {
            servers: 1,
            kill: true,
            pause: true,
            proxy: true,
            expire: true,
            compact: true,
            clock: true,
            wipe: true,
            ..Hooks::default()
        }
    }

    fn timing(&self) -> Timing {
        Timing {
            short: Duration::from_secs(2),
            ttl: Duration::from_millis(300),
            detect: Duration::from_millis(150),
            request: Duration::from_millis(1000),
        }
    }

    async fn connect(&self, ns: &str, client: usize) -> Result<Arc<dyn Coordinator>> {
        let timing = self.timing();
        let opts = OpenOpts {
            detect: timing.detect,
            request_timeout: timing.request,
            ..OpenOpts::default()
        };
        Ok(self.mem.open(ns, client, &opts))
    }

    async fn inject(&self, fault: &Fault) -> Result<()> {
        match fault {
            Fault::KillServer(_) => self.mem.stop(),
            Fault::PauseServer(_) => self.mem.pause(),
            Fault::CutClient(client) => self.mem.cut(*client),
            Fault::BlackholeClient(client) => self.mem.blackhole(*client),
            Fault::DropReplies(client) => self.mem.drop_replies(*client),
            Fault::DelayClient(client, by) => self.mem.delay(*client, *by),
            Fault::SessionExpiry(session) => self.mem.expire(*session),
            Fault::Compact => self.mem.compact(),
            Fault::ClockStep(_, ms) => self.mem.step_clock(*ms),
            Fault::WipeCluster => self.mem.wipe(),
            // It reaches nothing else.
            Fault::PinClient(..) => {}
            Fault::PartitionServers(_) => {
                return Err(Error::none(ErrorKind::Unsupported("one server has no partition")));
            }
        }
        Ok(())
    }

    async fn heal(&self, fault: &Fault) -> Result<()> {
        match fault {
            Fault::CutClient(client)
            | Fault::BlackholeClient(client)
            | Fault::DropReplies(client)
            | Fault::DelayClient(client, _) => self.mem.heal_client(*client),
            Fault::ClockStep(_, ms) => self.mem.step_clock(-ms),
            Fault::KillServer(_) | Fault::PauseServer(_) => self.mem.start(),
            _ => {}
        }
        Ok(())
    }

    async fn destroy(&self, ns: &str) -> Result<()> {
        self.mem.remove_namespace(ns);
        Ok(())
    }
}
