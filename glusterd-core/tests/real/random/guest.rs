//! A client that is older than the pool: it has fetched a volume's volfile, said which op-versions
//! it understands, and stays connected.
//!
//! Over TCP, as mounts do, since stock keeps an account of those only.

use crate::sandbox::Sandbox;
use glusterd_core::rpc::handshake::{GetspecReq, HandshakeProc};
use glusterd_core::rpc::header::{Auth, Call};
use glusterd_core::rpc::record::mark;
use glusterd_core::rpc::{Dict, ProgramId, Xdr};
use std::time::Duration;

/// Speaks the bytes of one call and notes the head of the answer, `op_ret` at its end. A client
/// that was given its volfile holds the connection, another one goes, as a mount does.
const SCRIPT: &str = r#"
exec 3<>/dev/tcp/127.0.0.1/24007 || exit 1
printf '%b' "$BYTES" >&3
head -c 32 <&3 > /run/guest.new
refused=$(tail -c 4 /run/guest.new | od -An -tx1 | grep -c 'ff ff ff ff')
[ "$refused" = 1 ] && exec 3>&- && sleep 0.3
mv /run/guest.new "$SEEN"
[ "$refused" = 1 ] || sleep 1000
"#;
const PATIENCE: Duration = Duration::from_secs(30);

/// Connects the client number `number` of the sandbox, which stays until the sandbox ends, unless it
/// is given no volfile. Says which.
pub fn arrive(sandbox: &Sandbox, number: usize, volume: &str, op_version_max: &str) -> String {
    let mut xdata = Dict::new();
    xdata.set_str("min-op-version", "1");
    xdata.set_str("max-op-version", op_version_max);
    let request = GetspecReq { flags: 0, key: volume.to_owned(), xdata: xdata.encode() };
    let call = Call {
        xid: 1,
        program: ProgramId::HANDSHAKE,
        procedure: HandshakeProc::GETSPEC.0,
        credential: Auth::glusterfs_v2(),
        verifier: Auth::default(),
    };
    let record = call.record(&request.to_bytes());
    let marked = [&mark(record.len()).to_be_bytes()[..], &record].concat();
    let bytes: String = marked.iter().map(|byte| format!("\\x{byte:02x}")).collect();
    let seen = format!("/run/guest.{number}");
    // The sandbox's end ends it.
    drop(sandbox.spawn(&format!("BYTES='{bytes}'\nSEEN={seen}\n{SCRIPT}")));
    sandbox.until("the client has an answer", PATIENCE, |sandbox| sandbox.path(&seen).exists());
    let head = std::fs::read(sandbox.path(&seen)).unwrap();
    if head.ends_with(&[0xff; 4]) { "refused".to_owned() } else { "served".to_owned() }
}
