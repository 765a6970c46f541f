//! The cases by group.

use crate::case::Case;

mod key;
mod kv;
mod session;
mod txn;
mod watch;

pub const GROUPS: &[&[Case]] = &[key::CASES, kv::CASES, txn::CASES, watch::CASES, session::CASES];
