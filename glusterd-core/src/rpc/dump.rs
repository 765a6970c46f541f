//! GF-DUMP (123451501 version 1): which programs are served here, and is anyone there.
//!
//! Facts: rpc/xdr/src/rpc-common-xdr.x, rpc/rpc-lib/src/rpcsvc.c:2361-2490 (v10.3).

use super::xdr::{Reader, Writer, Xdr, XdrError};

procedures! {
    pub DumpProc {
        0 NULL,
        1 DUMP,
        2 PING,
    }
}

/// More programs than any server has; bounds the list a peer may send us.
const PROGRAMS_MAX: usize = 256;

xdr_struct! {
    /// `gfs_id` says who asks and is ignored.
    pub struct DumpReq { gfs_id: u64 }

    /// Answer to PING, and other answers without content.
    pub struct CommonRsp { op_ret: i32, op_errno: i32, xdata: Vec<u8> }

    pub struct ProgramEntry { name: String, number: u64, version: u64 }
}

/// Shape: u64 gfs_id, i32 op_ret, i32 op_errno, then for each program a 1 and the entry, then a 0.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DumpRsp {
    pub gfs_id: u64,
    pub op_ret: i32,
    pub op_errno: i32,
    pub programs: Vec<ProgramEntry>,
}

impl Xdr for DumpRsp {
    fn encode(&self, out: &mut Writer) {
        self.gfs_id.encode(out);
        self.op_ret.encode(out);
        self.op_errno.encode(out);
        for program in &self.programs {
            out.u32(1);
            program.encode(out);
        }
        out.u32(0);
    }

    fn decode(from: &mut Reader<'_>) -> Result<DumpRsp, XdrError> {
        let (gfs_id, op_ret, op_errno) = (from.u64()?, i32::decode(from)?, i32::decode(from)?);
        let mut programs = Vec::new();
        while from.u32()? != 0 {
            if programs.len() == PROGRAMS_MAX {
                return Err(XdrError::TooLong { len: PROGRAMS_MAX + 1, limit: PROGRAMS_MAX });
            }
            programs.push(ProgramEntry::decode(from)?);
        }
        Ok(DumpRsp { gfs_id, op_ret, op_errno, programs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::xdr::tests::check;

    #[test]
    fn bodies_come_back() {
        check(&DumpReq { gfs_id: 0xcaed });
        check(&CommonRsp::default());
        let entry = |name: &str, number| ProgramEntry { name: name.into(), number, version: 1 };
        let programs = vec![entry("GF-DUMP", 123_451_501), entry("Gluster Portmap", 34_123_456)];
        check(&DumpRsp { programs, ..DumpRsp::default() });
    }

    #[test]
    fn an_endless_list_is_refused() {
        let programs = vec![ProgramEntry::default(); PROGRAMS_MAX + 1];
        let bytes = DumpRsp { programs, ..DumpRsp::default() }.to_bytes();
        assert!(matches!(DumpRsp::from_bytes(&bytes), Err(XdrError::TooLong { .. })));
    }
}
