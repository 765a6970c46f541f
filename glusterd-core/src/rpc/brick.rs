//! The brick-op program (4867634 version 2): glusterd to the daemons of its node.
//!
//! Facts: rpc/xdr/src/glusterd1-xdr.x, enum glusterd_brick_procnum in protocol-common.h (v10.3).

procedures! {
    /// 5 is never on the wire, 13 never from glusterd.
    pub BrickProc {
        0 NULL,
        1 TERMINATE,
        2 XLATOR_INFO,
        3 XLATOR_OP,
        4 STATUS,
        5 OP,
        6 XLATOR_DEFRAG,
        7 NODE_PROFILE,
        8 NODE_STATUS,
        9 VOLUME_BARRIER_OP,
        10 BARRIER,
        11 NODE_BITROT,
        12 ATTACH,
        13 DUMP_METRICS,
        14 SVC_ATTACH,
        15 SVC_DETACH,
    }
}

xdr_struct! {
    /// `op` equals the procedure number. `input`: a dict, volfile text (SVC_ATTACH), or empty.
    pub struct BrickOpReq { name: String, op: i32, input: Vec<u8>, dict: Vec<u8> }

    /// `output`: a dict, or empty. `op_errstr` is kept raw: what a brick says is not ours to refuse.
    pub struct BrickOpRsp { op_ret: i32, op_errno: i32, output: Vec<u8>, op_errstr: Vec<u8> }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::xdr::tests::check;

    #[test]
    fn bodies_come_back() {
        let dict = b"\0\0\0\0".to_vec();
        check(&BrickOpReq { name: "/b".into(), op: 1, input: Vec::new(), dict: dict.clone() });
        check(&BrickOpRsp { op_ret: -1, op_errno: 2, output: dict, op_errstr: b"no".to_vec() });
    }
}
