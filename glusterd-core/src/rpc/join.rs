//! The program by which a node is invited into another one's built-in store (24009062 version 1).
//!
//! Between two daemons of this kind only; GlusterFS knows nothing of it.

procedures! {
    pub JoinProc {
        0 NULL,
        1 LOOK,
        2 JOIN,
        3 KNOCK,
    }
}

xdr_struct! {
    /// `node`: the uuid of who asks; of LOOK, and of KNOCK, by which a member that has lost its store
    /// asks to be fetched.
    pub struct LookReq { node: String }

    /// `ready`, `invitable`: 1 for yes. `peers` without itself.
    pub struct LookRsp {
        node: String,
        op_version_max: u32,
        ready: u32,
        invitable: u32,
        peers: u32,
        volumes: u32,
    }

    /// `host`: how the one who asks reaches the one that is asked. `invitation`: hexadecimal.
    pub struct JoinReq { node: String, host: String, invitation: String }

    pub struct JoinRsp { op_ret: i32, op_errstr: String }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::xdr::tests::check;

    #[test]
    fn bodies_come_back() {
        let text = || "text".to_owned();
        check(&LookReq { node: text() });
        check(&LookRsp {
            node: text(),
            op_version_max: 1,
            ready: 2,
            invitable: 3,
            peers: 4,
            volumes: 5,
        });
        check(&JoinReq { node: text(), host: "h".into(), invitation: "00ff".into() });
        check(&JoinRsp { op_ret: -1, op_errstr: text() });
    }
}
