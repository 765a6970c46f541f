//! What GlusterFS programs say to glusterd and glusterd to them, as bytes and as structs.
//!
//! ONC RPC version 2 over streams, with the program numbers and bodies of GlusterFS 10.3. This room
//! knows no volume: a body is a struct of numbers, texts and [`Dict`]s, never more. A new program is
//! a file of its own with a number table (`procedures!`) and its bodies (`xdr_struct!`).
//!
//! Facts: RFC 5531 (RPC), RFC 4506 (XDR); rpc/xdr/src/*.x, rpc/rpc-lib/src/protocol-common.h (v10.3).

#[macro_use]
pub mod xdr;
#[macro_use]
pub mod program;

pub mod brick;
pub mod callback;
pub mod cli;
pub mod client;
pub mod dict;
pub mod dump;
pub mod handshake;
pub mod header;
pub mod join;
pub mod link;
pub mod portmap;
pub mod record;

pub use client::{CallError, Client, Endpoint};
pub use dict::Dict;
pub use program::ProgramId;
pub use xdr::{Xdr, XdrError};

#[cfg(test)]
mod captures;
