//! The portmap program (34123456 version 1): which TCP port a brick of this node listens on.
//!
//! Facts: rpc/xdr/src/portmap-xdr.x (v10.3).

procedures! {
    /// Stock serves 1, 4 and 5; its handler of 2 never answers.
    pub PortmapProc {
        0 NULL,
        1 PORTBYBRICK,
        2 BRICKBYPORT,
        3 SIGNUP,
        4 SIGNIN,
        5 SIGNOUT,
    }
}

xdr_struct! {
    /// `brick`: a brick path, `snapd-VOL` or `gfproxyd-VOL`.
    pub struct PortByBrickReq { brick: String }

    /// Found: all 0 but `port`. Not found: `op_ret` -1 and the rest 0.
    pub struct PortByBrickRsp { op_ret: i32, op_errno: i32, status: i32, port: i32 }

    pub struct SigninReq { brick: String, port: i32, pid: i32 }

    pub struct SigninRsp { op_ret: i32, op_errno: i32 }

    pub struct SignoutReq { brick: String, port: i32, rdma_port: i32 }

    pub struct SignoutRsp { op_ret: i32, op_errno: i32 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::xdr::tests::check;

    #[test]
    fn bodies_come_back() {
        let brick = || "/d/backends/b0".to_owned();
        check(&PortByBrickReq { brick: brick() });
        check(&PortByBrickRsp { op_ret: -1, op_errno: 0, status: 0, port: 57032 });
        check(&SigninReq { brick: brick(), port: 57032, pid: 90 });
        check(&SigninRsp::default());
        check(&SignoutReq { brick: brick(), port: 57032, rdma_port: 0 });
        check(&SignoutRsp { op_ret: -1, op_errno: 22 });
    }
}
