//! Which processes should run on this node, and what is done until they do.
//!
//! What is wanted comes from the view alone; what is, from records of what this daemon started or
//! found. Pure functions compare (`brick`, `service`, `shd`), drivers act (`brick_work`,
//! `service_work`). Nothing is respawned because it died: a change of the volume, a forced start or a
//! new daemon brings it back, as in stock.
//!
//! Facts: xlators/mgmt/glusterd/src/glusterd-utils.c:2077-2712, :6267-7070, glusterd-svc-mgmt.c,
//! glusterd-shd-svc.c, glusterd-svc-helper.c (v10.3).

mod brick;
mod brick_work;
mod launch;
mod line;
pub mod ports;
mod process_work;
mod rebalance;
mod rebalance_work;
mod record;
#[cfg(test)]
pub(crate) mod sample;
mod service;
mod service_work;
mod serving;
mod shd;
mod shd_work;
mod supervisor;
mod tally;

pub use launch::{Settings, Valgrind};
pub use line::{Input, LineCall, Lines, SocketLines};
pub use rebalance::{COMMAND_STATUS, COMMAND_STOP, task_of};
pub use record::{BrickKey, Running};
pub use service::daemons_of;
pub use supervisor::{
    CallFailed, ConvergeReport, Failure, ObservedBrick, ObservedRebalance, ObservedService,
    Supervisor,
};
