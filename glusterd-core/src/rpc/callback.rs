//! The callback program (52743234 version 1): calls from the daemon down a client's connection.
//!
//! Never answered; each connection has its own counter of xids, from 1. glusterd sends 1, 4 and 9;
//! the rest travel between bricks and clients.
//!
//! Facts: enum gf_cbk_procnum in protocol-common.h, rpc/rpc-lib/src/rpcsvc.c:1066-1335 (v10.3).

use super::header::{Auth, Call};
use super::program::ProgramId;

procedures! {
    pub CallbackProc {
        0 NULL,
        1 FETCHSPEC,
        2 INO_FLUSH,
        3 EVENT_NOTIFY,
        4 GET_SNAPS,
        5 CACHE_INVALIDATION,
        6 CHILD_UP,
        7 CHILD_DOWN,
        8 RECALL_LEASE,
        9 STATEDUMP,
        10 INODELK_CONTENTION,
        11 ENTRYLK_CONTENTION,
    }
}

xdr_struct! {
    /// `pid`: the process that should dump its state; others ignore it.
    pub struct StatedumpReq { pid: u32 }
}

/// The record of a callback.
pub fn record(xid: u32, procedure: CallbackProc, body: &[u8]) -> Vec<u8> {
    let call = Call {
        xid,
        program: ProgramId::CALLBACK,
        procedure: procedure.0,
        credential: Auth::default(),
        verifier: Auth::default(),
    };
    call.record(body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::xdr::tests::check;

    #[test]
    fn bodies_come_back() {
        check(&StatedumpReq { pid: 4711 });
    }
}
