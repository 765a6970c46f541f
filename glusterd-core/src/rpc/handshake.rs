//! The handshake program (14398633 version 2): volfiles and what goes with them.
//!
//! Facts: rpc/xdr/src/glusterfs3-xdr.x, enum gf_handshake_procnum in protocol-common.h (v10.3).

procedures! {
    /// 1, 3 and 4 are for bricks or obsolete; glusterd serves 2, 5, 6 and 7.
    pub HandshakeProc {
        0 NULL,
        1 SETVOLUME,
        2 GETSPEC,
        3 PING,
        4 SET_LK_VER,
        5 EVENT_NOTIFY,
        6 GET_VOLUME_INFO,
        7 GET_SNAPSHOT_INFO,
    }
}

xdr_struct! {
    /// `flags`: bit 0 asks for the server list. `xdata`: dict with min-op-version, max-op-version
    /// and, from server processes, brick_name; or empty.
    pub struct GetspecReq { flags: u32, key: String, xdata: Vec<u8> }

    /// `op_ret`: length of `spec` in bytes, or -1. `xdata`: dict, or empty when there is nothing.
    pub struct GetspecRsp { op_ret: i32, op_errno: i32, spec: Vec<u8>, xdata: Vec<u8> }

    /// `op` 0: progress of a rebalance.
    pub struct EventNotifyReq { op: i32, dict: Vec<u8> }

    pub struct EventNotifyRsp { op_ret: i32, op_errno: i32, dict: Vec<u8> }

    /// Of GET_VOLUME_INFO (flags, volname) and GET_SNAPSHOT_INFO (volname).
    pub struct InfoReq { dict: Vec<u8> }

    pub struct InfoRsp { op_ret: i32, op_errno: i32, op_errstr: String, dict: Vec<u8> }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::xdr::tests::check;

    #[test]
    fn bodies_come_back() {
        let dict = b"\0\0\0\0".to_vec();
        check(&GetspecReq { flags: 1, key: "shd/v1".into(), xdata: dict.clone() });
        let spec = b"volume v1-posix\n".to_vec();
        check(&GetspecRsp { op_ret: 16, op_errno: 0, spec, xdata: Vec::new() });
        check(&EventNotifyReq { op: 0, dict: dict.clone() });
        check(&EventNotifyRsp { op_ret: 0, op_errno: 0, dict: dict.clone() });
        check(&InfoReq { dict: dict.clone() });
        check(&InfoRsp { op_ret: 0, op_errno: 2, op_errstr: String::new(), dict });
    }
}
