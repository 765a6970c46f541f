//! Serving: sockets, connections, and a file per RPC program.
//!
//! The transport half (`listener`, `connection`, `registry`, `budget`, `dispatch`, `dump`) knows no
//! volume: it takes records in, finds the [`Program`] and carries its answer back. The other files
//! are programs: each turns bodies into calls of the rooms above. A new program is a file and a row
//! in the tables that the daemon hands to its listeners.
//!
//! Bounds, so that no peer can take the daemon down: records, records under way, calls under way
//! per connection and per program, connections per listener, bytes held over all connections, and
//! the time a record, a first call or a write may take.

pub mod budget;
pub mod cli;
pub mod connection;
pub mod dispatch;
pub mod dump;
pub mod handshake;
pub mod join;
pub mod listener;
pub mod portmap;
pub mod registry;
pub mod specs;
pub mod statedump;
pub mod tables;

pub use dispatch::{Narrowed, Program, Reject, Table};
pub use listener::{Listener, TcpEndpoint};
pub use registry::{ClientFacts, Connection, Connections, Peer};

use std::time::Duration;

/// What a connection may use. The same for all of one listener.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// One record, in bytes.
    pub record_bytes: usize,
    /// From the first byte of a record to its last.
    pub record_time: Duration,
    /// From connecting to the first whole record; without one a connection is of no use to anybody.
    pub first_record_time: Duration,
    /// For writing one record, from when its turn comes.
    pub write_time: Duration,
    /// Calls of one connection whose answer is not written yet. More stay unread.
    pub calls: usize,
    /// Connections of one listener. More are closed as they come.
    pub connections: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            record_bytes: crate::rpc::record::RECORD_BYTES_MAX,
            record_time: Duration::from_secs(60),
            first_record_time: Duration::from_secs(120),
            write_time: Duration::from_secs(60),
            // Stock's rpc.outstanding-rpc-limit.
            calls: 64,
            connections: 8192,
        }
    }
}

#[cfg(test)]
mod tests;
