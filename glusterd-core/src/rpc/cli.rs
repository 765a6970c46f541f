//! The CLI program (1238463 version 2): numbers and bodies.
//!
//! All but five procedures take [`CliReq`] and answer [`CliRsp`]. What is in the dicts is the
//! business of the command families, not of this file.
//!
//! Facts: rpc/xdr/src/cli1-xdr.x, enum gluster_cli_procnum in protocol-common.h (v10.3).

procedures! {
    /// Numbers 6, 10, 17, 18, 25 and 28 are never sent; 44, 45, 48 and 49 are remnants of tiering.
    pub CliProc {
        0 NULL,
        1 PROBE,
        2 DEPROBE,
        3 LIST_FRIENDS,
        4 CREATE_VOLUME,
        5 GET_VOLUME,
        6 GET_NEXT_VOLUME,
        7 DELETE_VOLUME,
        8 START_VOLUME,
        9 STOP_VOLUME,
        10 RENAME_VOLUME,
        11 DEFRAG_VOLUME,
        12 SET_VOLUME,
        13 ADD_BRICK,
        14 REMOVE_BRICK,
        15 REPLACE_BRICK,
        16 LOG_ROTATE,
        17 GETSPEC,
        18 PMAP_PORTBYBRICK,
        19 SYNC_VOLUME,
        20 RESET_VOLUME,
        21 FSM_LOG,
        22 GSYNC_SET,
        23 PROFILE_VOLUME,
        24 QUOTA,
        25 TOP_VOLUME,
        26 GETWD,
        27 STATUS_VOLUME,
        28 STATUS_ALL,
        29 MOUNT,
        30 UMOUNT,
        31 HEAL_VOLUME,
        32 STATEDUMP_VOLUME,
        33 LIST_VOLUME,
        34 CLRLOCKS_VOLUME,
        35 UUID_RESET,
        36 UUID_GET,
        37 COPY_FILE,
        38 SYS_EXEC,
        39 SNAP,
        40 BARRIER_VOLUME,
        41 GET_VOL_OPT,
        42 GANESHA,
        43 BITROT,
        44 ATTACH_TIER,
        45 TIER,
        46 GET_STATE,
        47 RESET_BRICK,
        48 REMOVE_TIER_BRICK,
        49 ADD_TIER_BRICK,
    }
}

impl CliProc {
    /// The procedures stock answers over TCP as well (glusterd-handler.c:6556-6575).
    pub const READ_ONLY: &'static [CliProc] = &[
        CliProc::LIST_FRIENDS,
        CliProc::GET_VOLUME,
        CliProc::GETWD,
        CliProc::STATUS_VOLUME,
        CliProc::MOUNT,
        CliProc::UMOUNT,
        CliProc::LIST_VOLUME,
        CliProc::UUID_GET,
    ];
}

xdr_struct! {
    /// Question of almost every command; `dict` is a serialised dict, or empty for none.
    pub struct CliReq { dict: Vec<u8> }

    /// Answer of almost every command.
    ///
    /// `dict` should always be one (several callbacks of the CLI insist), best the request's with
    /// the results added.
    pub struct CliRsp { op_ret: i32, op_errno: i32, op_errstr: String, dict: Vec<u8> }

    /// `flags`: 1 peers, 2 pool (adds the answering node).
    pub struct PeerListReq { flags: i32, dict: Vec<u8> }

    pub struct PeerListRsp { op_ret: i32, op_errno: i32, friends: Vec<u8> }

    pub struct FsmLogReq { name: String }

    pub struct FsmLogRsp { op_ret: i32, op_errno: i32, op_errstr: String, fsm_log: Vec<u8> }

    pub struct GetwdReq { unused: i32 }

    pub struct GetwdRsp { op_ret: i32, op_errno: i32, wd: String }

    pub struct MountReq { label: String, dict: Vec<u8> }

    pub struct MountRsp { op_ret: i32, op_errno: i32, path: String }

    pub struct UmountReq { lazy: i32, path: String }

    pub struct UmountRsp { op_ret: i32, op_errno: i32 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::xdr::tests::check;

    #[test]
    fn bodies_come_back() {
        let dict = b"\0\0\0\0".to_vec();
        check(&CliReq { dict: dict.clone() });
        let op_errstr = "Volume nosuch does not exist".to_owned();
        check(&CliRsp { op_ret: -1, op_errno: 30800, op_errstr, dict: dict.clone() });
        check(&PeerListReq { flags: 2, dict: dict.clone() });
        check(&PeerListRsp { op_ret: 0, op_errno: 0, friends: dict.clone() });
        check(&FsmLogReq { name: "vm".into() });
        check(&FsmLogRsp { fsm_log: dict.clone(), ..FsmLogRsp::default() });
        check(&GetwdReq { unused: 0 });
        check(&GetwdRsp { wd: "/var/lib/glusterd".into(), ..GetwdRsp::default() });
        check(&MountReq { label: "l".into(), dict });
        check(&MountRsp { path: "/m".into(), ..MountRsp::default() });
        check(&UmountReq { lazy: 1, path: "/m".into() });
        check(&UmountRsp::default());
    }

    #[test]
    fn numbers_are_in_order_and_named() {
        let numbers: Vec<u32> = CliProc::ALL.iter().map(|procedure| procedure.0).collect();
        assert_eq!(numbers, (0..=49).collect::<Vec<u32>>());
        assert_eq!(CliProc(47).name(), "RESET_BRICK");
        assert_eq!(CliProc(50).name(), "unknown");
    }
}
