//! The cases by group.

use crate::case::Case;

mod elect;
mod key;
mod kv;
mod lock;
mod session;
mod txn;
mod watch;

pub const GROUPS: &[&[Case]] =
    &[key::CASES, kv::CASES, txn::CASES, watch::CASES, session::CASES, elect::CASES, lock::CASES];
