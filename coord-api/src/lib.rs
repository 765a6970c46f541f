//! The `Coordinator`: what a coordination service must do for a cluster, and nothing of how.
//!
//! A backend implements [`Backend`], [`Coordinator`] and [`Session`]; everything else (cached
//! view, receipts, election, lock) is written once over these three. The meaning of every method
//! is a list of numbered statements (G1, K1, R1, T1, W1, S1, ...), named where they apply; the
//! conformance suite has a case for each.
//!
//! No backend is named here and no product: keys, values and times only.

mod backend;
mod coordinator;
mod entry;
mod error;
mod feed;
#[cfg(feature = "tls")]
mod handshake;
mod hub;
mod late;
pub mod mem;
mod moving;
mod names;
mod recipes;
mod session;
mod txn;
mod url;
mod watch;
mod worker;

pub use backend::{Backend, OpenOpts};
pub use coordinator::{Caps, ClusterId, Coordinator, CoordinatorExt, Health, Info, Limits, Member};
pub use entry::{Consistency, Entry, ReadOpts, Revision, Snapshot, Version};
pub use error::{Effect, Error, ErrorKind, Retry};
pub use feed::{Feed, FeedStream, Signal, feed};
#[cfg(feature = "tls")]
pub use handshake::tls_or;
pub use hub::{Hub, Ticket, Wants};
pub use late::late;
pub use moving::Moving;
pub use names::{Key, Prefix, Space, SpaceKind, escape, unescape};
pub use recipes::{
    Election, Follow, Freshness, HolderLoss, Image, LeaderView, Leadership, Lock, LockGuard,
    Receipts, Resolved, View, ViewDiff,
};
pub use session::{Session, SessionId, SessionOpts, SessionState, StrictHold};
pub use txn::{Compare, Fence, Op, Txn, TxnOutcome};
pub use url::{Credentials, ServiceUrl, TlsFiles};
pub use watch::{Change, LostReason, WatchEvent, WatchOpts};
pub use worker::{Worker, time_asleep};

/// Every call's answer; the error says whether an effect is possible.
pub type Result<T> = std::result::Result<T, Error>;

/// A boxed stream that may move between threads.
pub type BoxStream<T> = std::pin::Pin<Box<dyn futures_core::Stream<Item = T> + Send + 'static>>;
