//! The envelope of a message: who calls what, and how a call was taken.
//!
//! Both directions, every state RFC 5531 knows; the body behind it is left alone. Credentials are
//! kept raw: glusterd decides nothing by them, and an unknown flavour is no error.
//!
//! Facts: RFC 5531 section 9; rpc/rpc-lib/src/rpcsvc.c:266-360, xdr-rpc.h:30-33 (v10.3).

use super::program::ProgramId;
use super::xdr::{Reader, Writer, Xdr, XdrError};
use bytes::Bytes;

pub const RPC_VERSION: u32 = 2;

/// The longest credential or verifier (RFC 5531 section 8.2).
const AUTH_BYTES_MAX: usize = 400;

const CALL: u32 = 0;
const REPLY: u32 = 1;
const ACCEPTED: u32 = 0;
const DENIED: u32 = 1;

/// A credential or verifier: its flavour and its bytes as they came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Auth {
    pub flavour: u32,
    pub body: Vec<u8>,
}

impl Auth {
    pub const NONE: u32 = 0;
    pub const UNIX: u32 = 1;
    pub const GLUSTERFS: u32 = 5;
    pub const GLUSTERFS_V2: u32 = 390_039;
    pub const GLUSTERFS_V3: u32 = 390_040;

    /// What stock glusterd and its CLI present: version 2, everything zero, a four-byte lock owner.
    ///
    /// Shape: i32 pid, u32 uid, u32 gid, u32 groups<>, opaque lk_owner<>.
    pub fn glusterfs_v2() -> Auth {
        let mut body = Writer::default();
        for _pid_uid_gid_groups in 0..4 {
            body.u32(0);
        }
        body.opaque(&[0; 4]);
        Auth { flavour: Auth::GLUSTERFS_V2, body: body.into_bytes() }
    }
}

impl Xdr for Auth {
    fn encode(&self, out: &mut Writer) {
        out.u32(self.flavour);
        out.opaque(&self.body);
    }

    fn decode(from: &mut Reader<'_>) -> Result<Auth, XdrError> {
        Ok(Auth { flavour: from.u32()?, body: from.opaque(AUTH_BYTES_MAX)?.to_vec() })
    }
}

/// A call, without its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    pub xid: u32,
    pub program: ProgramId,
    pub procedure: u32,
    pub credential: Auth,
    pub verifier: Auth,
}

/// A reply, without its results. Results follow only [`Outcome::Success`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub xid: u32,
    pub outcome: Outcome,
}

/// How a call was taken. A number we do not know survives in `Other…`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Success,
    ProgramUnavailable,
    ProgramMismatch { low: u32, high: u32 },
    ProcedureUnavailable,
    GarbageArguments,
    SystemError,
    OtherAccepted(u32),
    RpcMismatch { low: u32, high: u32 },
    AuthError(u32),
    OtherDenied(u32),
}

/// What a record holds, its body not yet decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    Call(Call, Bytes),
    Reply(Reply, Bytes),
    /// A call in another version of RPC: nothing behind `xid` can be trusted.
    ForeignCall {
        xid: u32,
    },
}

impl Message {
    /// # Errors
    /// The record does not begin with an envelope; its sender cannot be answered.
    pub fn decode(record: Bytes) -> Result<Message, XdrError> {
        let mut from = Reader::new(&record);
        let xid = from.u32()?;
        match from.u32()? {
            CALL => {
                if from.u32()? != RPC_VERSION {
                    return Ok(Message::ForeignCall { xid });
                }
                let call = decode_call(xid, &mut from)?;
                let body = record.slice(from.position()..);
                Ok(Message::Call(call, body))
            }
            REPLY => {
                let outcome = decode_outcome(&mut from)?;
                let body = record.slice(from.position()..);
                Ok(Message::Reply(Reply { xid, outcome }, body))
            }
            found => Err(XdrError::Unknown { what: "message type", found }),
        }
    }
}

fn decode_call(xid: u32, from: &mut Reader<'_>) -> Result<Call, XdrError> {
    Ok(Call {
        xid,
        program: ProgramId { number: from.u32()?, version: from.u32()? },
        procedure: from.u32()?,
        credential: Auth::decode(from)?,
        verifier: Auth::decode(from)?,
    })
}

fn decode_outcome(from: &mut Reader<'_>) -> Result<Outcome, XdrError> {
    Ok(match from.u32()? {
        ACCEPTED => {
            Auth::decode(from)?;
            match from.u32()? {
                0 => Outcome::Success,
                1 => Outcome::ProgramUnavailable,
                2 => Outcome::ProgramMismatch { low: from.u32()?, high: from.u32()? },
                3 => Outcome::ProcedureUnavailable,
                4 => Outcome::GarbageArguments,
                5 => Outcome::SystemError,
                other => Outcome::OtherAccepted(other),
            }
        }
        DENIED => match from.u32()? {
            0 => Outcome::RpcMismatch { low: from.u32()?, high: from.u32()? },
            1 => Outcome::AuthError(from.u32()?),
            other => Outcome::OtherDenied(other),
        },
        found => return Err(XdrError::Unknown { what: "reply state", found }),
    })
}

impl Call {
    /// The record of this call with `arguments`, ready to be marked and sent.
    pub fn record(&self, arguments: &[u8]) -> Vec<u8> {
        let mut out = Writer::default();
        for word in
            [self.xid, CALL, RPC_VERSION, self.program.number, self.program.version, self.procedure]
        {
            out.u32(word);
        }
        self.credential.encode(&mut out);
        self.verifier.encode(&mut out);
        let mut record = out.into_bytes();
        record.extend_from_slice(arguments);
        record
    }
}

impl Reply {
    /// The record of this reply with `results`, ready to be marked and sent.
    ///
    /// The verifier is empty: stock echoes the caller's, which always is.
    pub fn record(&self, results: &[u8]) -> Vec<u8> {
        let mut out = Writer::default();
        out.u32(self.xid);
        out.u32(REPLY);
        encode_outcome(self.outcome, &mut out);
        let mut record = out.into_bytes();
        record.extend_from_slice(results);
        record
    }
}

fn encode_outcome(outcome: Outcome, out: &mut Writer) {
    let (state, code, range): (u32, u32, &[u32]) = match outcome {
        Outcome::Success => (ACCEPTED, 0, &[]),
        Outcome::ProgramUnavailable => (ACCEPTED, 1, &[]),
        Outcome::ProgramMismatch { low, high } => (ACCEPTED, 2, &[low, high]),
        Outcome::ProcedureUnavailable => (ACCEPTED, 3, &[]),
        Outcome::GarbageArguments => (ACCEPTED, 4, &[]),
        Outcome::SystemError => (ACCEPTED, 5, &[]),
        Outcome::OtherAccepted(code) => (ACCEPTED, code, &[]),
        Outcome::RpcMismatch { low, high } => (DENIED, 0, &[low, high]),
        Outcome::AuthError(why) => (DENIED, 1, &[why]),
        Outcome::OtherDenied(code) => (DENIED, code, &[]),
    };
    out.u32(state);
    if state == ACCEPTED {
        Auth::default().encode(out);
    }
    out.u32(code);
    for word in range {
        out.u32(*word);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(record: Vec<u8>, expected: Message) {
        let body_at = record.len() - 4;
        assert_eq!(Message::decode(Bytes::from(record.clone())).unwrap(), expected);
        for cut in 0..body_at {
            assert!(Message::decode(Bytes::copy_from_slice(&record[..cut])).is_err(), "{cut}");
        }
    }

    #[test]
    fn every_reply_state_comes_back() {
        for outcome in [
            Outcome::Success,
            Outcome::ProgramUnavailable,
            Outcome::ProgramMismatch { low: 0, high: 7 },
            Outcome::ProcedureUnavailable,
            Outcome::GarbageArguments,
            Outcome::SystemError,
            Outcome::OtherAccepted(9),
            Outcome::RpcMismatch { low: 2, high: 2 },
            Outcome::AuthError(5),
            Outcome::OtherDenied(8),
        ] {
            let reply = Reply { xid: 7, outcome };
            check(reply.record(b"body"), Message::Reply(reply, Bytes::from_static(b"body")));
        }
    }

    #[test]
    fn a_call_with_any_credential_comes_back() {
        for flavour in [Auth::NONE, Auth::UNIX, Auth::GLUSTERFS, Auth::GLUSTERFS_V3, 12345] {
            let call = Call {
                xid: 2,
                program: ProgramId { number: 1, version: 2 },
                procedure: 3,
                credential: Auth { flavour, body: vec![1; (flavour % 400) as usize] },
                verifier: Auth::default(),
            };
            check(call.record(b"args"), Message::Call(call, Bytes::from_static(b"args")));
        }
    }

    #[test]
    fn another_rpc_version_keeps_its_xid() {
        let record = Bytes::from_static(&[0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 3]);
        assert_eq!(Message::decode(record), Ok(Message::ForeignCall { xid: 9 }));
    }

    #[test]
    fn a_credential_over_400_bytes_is_refused() {
        let call = Call {
            xid: 2,
            program: ProgramId { number: 1, version: 2 },
            procedure: 3,
            credential: Auth { flavour: 1, body: vec![0; 404] },
            verifier: Auth::default(),
        };
        assert_eq!(
            Message::decode(call.record(b"").into()),
            Err(XdrError::TooLong { len: 404, limit: 400 })
        );
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            let _ = Message::decode(bytes.into());
        }
    }
}
