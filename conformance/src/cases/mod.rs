//! The cases by group.

use crate::case::Case;

mod cancel;
mod elect;
mod error;
mod health;
mod key;
mod kv;
mod lock;
mod quorum;
pub(crate) mod random;
mod resync;
mod session;
mod txn;
mod view;
mod watch;

pub const GROUPS: &[&[Case]] = &[
    key::CASES,
    kv::CASES,
    txn::CASES,
    watch::CASES,
    resync::CASES,
    session::CASES,
    elect::CASES,
    lock::CASES,
    quorum::CASES,
    error::CASES,
    cancel::CASES,
    health::CASES,
    view::CASES,
    random::CASES,
];
