//! GF-DUMP: answered by the connection's own task, so that it never waits for an operation. A ping
//! that goes unanswered for 42 s makes a client drop the connection.
//!
//! Facts: rpc/rpc-lib/src/rpcsvc.c:2361-2490 (v10.3).

use super::dispatch::{Reject, Table};
use crate::rpc::dump::{CommonRsp, DumpProc, DumpReq, DumpRsp, ProgramEntry};
use crate::rpc::{ProgramId, Xdr};

/// The results of a call; the list begins with GF-DUMP itself.
pub(super) fn answer(table: &Table, procedure: u32, arguments: &[u8]) -> Result<Vec<u8>, Reject> {
    match DumpProc(procedure) {
        DumpProc::DUMP => {
            DumpReq::from_bytes(arguments)?;
            let own = entry("GF-DUMP", ProgramId::DUMP);
            let others = table.programs().map(|program| entry(program.name(), program.id()));
            let programs = std::iter::once(own).chain(others).collect();
            Ok(DumpRsp { programs, ..DumpRsp::default() }.to_bytes())
        }
        DumpProc::PING => Ok(CommonRsp::default().to_bytes()),
        _ => Err(Reject::ProcedureUnavailable),
    }
}

fn entry(name: &str, id: ProgramId) -> ProgramEntry {
    ProgramEntry { name: name.to_owned(), number: id.number.into(), version: id.version.into() }
}
