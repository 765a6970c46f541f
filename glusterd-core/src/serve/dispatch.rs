//! Which program answers a call, and what is said when none does.
//!
//! A listener has a [`Table`]; GF-DUMP is in every one and answers from the table itself.
//!
//! Facts: rpc/rpc-lib/src/rpcsvc.c:266-360 and :2361-2490 (v10.3).

use super::registry::Connection;
use crate::rpc::header::{Call, Outcome};
use crate::rpc::{ProgramId, XdrError};
use async_trait::async_trait;
use bytes::Bytes;
use std::fmt;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Calls that one program serves at a time, over all connections of a listener. Each program has
/// its own, so that slow ones do not keep volfiles and ports from being served.
const CALLS_PER_PROGRAM: usize = 256;

/// Why a call has no results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reject {
    GarbageArguments,
    ProcedureUnavailable,
    SystemError,
}

impl From<XdrError> for Reject {
    fn from(_: XdrError) -> Reject {
        Reject::GarbageArguments
    }
}

impl From<Reject> for Outcome {
    fn from(reject: Reject) -> Outcome {
        match reject {
            Reject::GarbageArguments => Outcome::GarbageArguments,
            Reject::ProcedureUnavailable => Outcome::ProcedureUnavailable,
            Reject::SystemError => Outcome::SystemError,
        }
    }
}

/// A program: answers calls, each in a task of its own.
#[async_trait]
pub trait Program: Send + Sync + 'static {
    fn id(&self) -> ProgramId;

    /// What GF-DUMP calls it.
    fn name(&self) -> &str;

    fn serves(&self, procedure: u32) -> bool;

    /// The results of one call, encoded. Only called with procedures that it serves.
    ///
    /// Not cancelled when the caller goes away: an operation begun is finished.
    async fn call(
        &self,
        from: &Connection,
        procedure: u32,
        arguments: Bytes,
    ) -> Result<Vec<u8>, Reject>;

    /// A connection has ended, whether or not it ever called this program.
    fn disconnected(&self, from: &Connection);
}

/// A program with fewer procedures and another name, as stock has them per listener.
pub struct Narrowed {
    pub program: Arc<dyn Program>,
    pub name: &'static str,
    pub procedures: Vec<u32>,
}

#[async_trait]
impl Program for Narrowed {
    fn id(&self) -> ProgramId {
        self.program.id()
    }

    fn name(&self) -> &str {
        self.name
    }

    fn serves(&self, procedure: u32) -> bool {
        self.procedures.contains(&procedure) && self.program.serves(procedure)
    }

    async fn call(
        &self,
        from: &Connection,
        procedure: u32,
        arguments: Bytes,
    ) -> Result<Vec<u8>, Reject> {
        self.program.call(from, procedure, arguments).await
    }

    fn disconnected(&self, from: &Connection) {
        self.program.disconnected(from);
    }
}

/// The programs of a listener, in the order in which GF-DUMP lists them.
pub struct Table {
    rows: Vec<Row>,
}

pub(super) struct Row {
    pub(super) program: Arc<dyn Program>,
    pub(super) gate: Arc<Semaphore>,
}

/// Who answers a call.
pub(super) enum Target<'a> {
    Dump,
    Program(&'a Row),
}

impl Table {
    pub fn new(programs: Vec<Arc<dyn Program>>) -> Table {
        let row = |program| Row { program, gate: Arc::new(Semaphore::new(CALLS_PER_PROGRAM)) };
        Table { rows: programs.into_iter().map(row).collect() }
    }

    pub fn programs(&self) -> impl Iterator<Item = &Arc<dyn Program>> {
        self.rows.iter().map(|row| &row.program)
    }

    /// Who answers `call`, or how it is refused. Stock names no versions in a mismatch.
    pub(super) fn target(&self, call: &Call) -> Result<Target<'_>, Outcome> {
        if call.program == ProgramId::DUMP {
            return Ok(Target::Dump);
        }
        if let Some(row) = self.rows.iter().find(|row| row.program.id() == call.program) {
            return match row.program.serves(call.procedure) {
                true => Ok(Target::Program(row)),
                false => Err(Outcome::ProcedureUnavailable),
            };
        }
        let number = call.program.number;
        let known = self.programs().any(|program| program.id().number == number);
        if known || number == ProgramId::DUMP.number {
            return Err(Outcome::ProgramMismatch { low: 0, high: 0 });
        }
        Err(Outcome::ProgramUnavailable)
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.programs().map(|program| program.name())).finish()
    }
}
