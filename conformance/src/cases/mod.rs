//! The cases by group.

use crate::case::Case;

mod key;
mod kv;
mod txn;

pub const GROUPS: &[&[Case]] = &[key::CASES, kv::CASES, txn::CASES];
