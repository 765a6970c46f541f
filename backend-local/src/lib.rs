//! The built-in store: a `Coordinator` that needs no other service, kept by Raft on local disks.
//!
//! One member is a cluster; more members are a change of its member table. Every commit is on
//! disk before it is acknowledged.
//!
//! ```text
//! LocalHandle ── Node ── openraft ── Machine ── State ── History ── Watching
//!                 │          │          └── snapshot file
//!                 │          ├── Log ── one writer thread ── store.redb
//!                 │          └── Network ── Mesh ── Link ──┐
//!                 ├── expiry task (the leader ends silent sessions)
//!                 └── Door ── Desk (another node's) <──────┤
//! RemoteHandle ── Remote ── Link ──────────────────────────┘
//! ```
//!
//! A node that is no master has `RemoteHandle`s only. Who is a master is decided in `masters.rs`
//! and done in `tend.rs`; a node comes in by an invitation, `membership.rs`.
//!
//! The directory (mode 0700), `dir` of [`LocalConfig`]:
//!
//! | file | holds |
//! |---|---|
//! | `pool` | cluster, secret and masters, once there is more than one node |
//! | `joined` | nothing; there if the node came by an invitation |
//! | `address` | where others reach the node, unless its configuration says |
//! | `lock` | nothing; locked by the process that uses the directory |
//! | `store.redb` | log, vote, marks, and the identity: cluster id and node id, drawn at creation |
//! | `snapshot` | the last snapshot, replaced by rename; `snapshot.new` while one is written |
//! | `offline/` | a copy for reading while no daemon runs, gone with its reader |
//! | `before/` | the store that was there before the node went over to another, see `exchange.rs` |
//!
//! Whoever loses the directory loses the member: it comes back under another node id, since one
//! that has forgotten its votes must not vote again.
//!
//! This crate alone names the consensus crate and the storage engine. It must not know what its
//! keys mean.

mod baggage;
mod clock;
mod codec;
mod command;
mod config;
mod deadlines;
mod disk;
mod exchange;
mod expiry;
mod forced;
mod handle;
mod heir;
mod history;
mod layout;
mod log;
mod machine;
mod masters;
#[cfg(test)]
mod members_tests;
mod membership;
mod net;
mod network;
mod node;
mod offline;
mod opening;
mod pool;
mod raft;
mod remote;
mod seat;
mod secure;
mod session;
mod shared;
mod state;
#[cfg(test)]
mod storage_suite;
mod store;
mod talk;
mod tend;
mod watching;
mod wire;

pub use baggage::Baggage;
pub use config::{DEFAULT_DIR, LocalConfig};
pub use disk::Faults;
pub use forced::{Prospect, force, prospect};
pub use masters::masters;
pub use membership::StoreMember;
pub use offline::offline;
pub use pool::Invitation;
pub use raft::Timing;
pub use seat::Seat;
pub use store::{LocalBackend, LocalStore};
