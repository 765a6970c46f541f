//! Which procedure is which command; what is not served says so.

use super::{
    add_brick, bitrot, create, delete, detach, get, heal, info, probe, quota, rebalance,
    remove_brick, replace_brick, reset, set, small, snapshot, start, state, stats, status, stop,
    sync, upkeep,
};
use crate::model::Refusal;
use crate::ops::Operation;
use crate::rpc::Dict;

/// How a procedure of program 1238463 is parsed. Numbers: rpc/rpc-lib/src/protocol-common.h.
pub struct Row {
    pub procedure: u32,
    /// As stock names it, for logs.
    pub name: &'static str,
    pub parse: fn(&Dict) -> Result<Box<dyn Operation>, Refusal>,
}

/// A row whose parser returns the request type itself.
#[macro_export]
macro_rules! command_row {
    ($procedure:expr, $name:literal, $request:ty) => {
        $crate::cli::Row {
            procedure: $procedure,
            name: $name,
            parse: |args| Ok(Box::new(<$request>::parse(args)?)),
        }
    };
}
pub use crate::command_row as row;

/// Every served procedure with a gf_cli_req; the five odd ones are in `serve/cli.rs`.
pub const ROWS: &[Row] = &[
    row!(1, "PROBE", probe::Probe),
    row!(2, "DEPROBE", detach::Detach),
    row!(4, "CREATE_VOLUME", create::Create),
    row!(5, "GET_VOLUME", info::Info),
    row!(7, "DELETE_VOLUME", delete::Delete),
    row!(8, "START_VOLUME", start::Start),
    row!(9, "STOP_VOLUME", stop::Stop),
    row!(11, "DEFRAG_VOLUME", rebalance::Defrag),
    row!(12, "SET_VOLUME", set::SetVolume),
    row!(13, "ADD_BRICK", add_brick::AddBrick),
    row!(14, "REMOVE_BRICK", remove_brick::RemoveBrick),
    row!(15, "REPLACE_BRICK", replace_brick::ReplaceBrick),
    row!(16, "LOG_ROTATE", upkeep::LogRotate),
    row!(19, "SYNC_VOLUME", sync::SyncVolume),
    row!(20, "RESET_VOLUME", reset::ResetVolume),
    row!(23, "PROFILE_VOLUME", stats::Stats),
    row!(24, "QUOTA", quota::Quota),
    row!(27, "STATUS_VOLUME", status::Status),
    row!(31, "HEAL_VOLUME", heal::Heal),
    row!(32, "STATEDUMP_VOLUME", upkeep::Statedump),
    row!(33, "LIST_VOLUME", info::List),
    row!(34, "CLRLOCKS_VOLUME", upkeep::ClearLocks),
    row!(35, "UUID_RESET", small::UuidReset),
    row!(36, "UUID_GET", small::UuidGet),
    row!(39, "SNAP", snapshot::Snapshot),
    row!(40, "BARRIER_VOLUME", upkeep::Barrier),
    row!(41, "GET_VOL_OPT", get::GetOption),
    row!(43, "BITROT", bitrot::Bitrot),
    row!(46, "GET_STATE", state::GetState),
    row!(47, "RESET_BRICK", replace_brick::ReplaceBrick),
];

/// Known procedures without an implementation, with the command a user typed to get there.
pub const NOT_SERVED: &[(u32, &str)] = &[
    (22, "volume geo-replication"),
    (37, "system:: copy file"),
    (38, "system:: execute"),
    (42, "nfs-ganesha"),
    (44, "volume attach-tier"),
    (45, "volume tier"),
    (48, "volume detach-tier"),
    (49, "volume attach-tier"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Procedures of the CLI program that a stock CLI can send, but for the five with own
    /// messages (LIST_FRIENDS, FSM_LOG, GETWD, MOUNT, UMOUNT) where they are served.
    #[test]
    fn each_procedure_is_served_or_listed_once() {
        let unsendable = [6, 10, 17, 18, 25, 28];
        let own_messages = [3, 21, 26, 29, 30];
        let mut seen: BTreeSet<u32> = BTreeSet::new();
        let numbers = ROWS.iter().map(|r| r.procedure).chain(NOT_SERVED.iter().map(|r| r.0));
        for number in numbers.chain(unsendable).chain(own_messages) {
            assert!(seen.insert(number), "{number} stands twice");
        }
        assert_eq!(seen, (1..=49).collect());
    }
}
