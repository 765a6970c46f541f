//! Messages of stock 10.3, byte for byte, through this room and back.
//!
//! Recorded on one node with host name `vm`; record marks are part of the bytes. A new recording is
//! a constant and a line in a test.

use super::brick::{BrickOpReq, BrickProc};
use super::callback::{self, CallbackProc};
use super::cli::{CliProc, CliReq};
use super::dict::Dict;
use super::dump::{CommonRsp, DumpProc, DumpReq, DumpRsp};
use super::handshake::{GetspecReq, HandshakeProc};
use super::header::{Auth, Call, Message, Outcome, Reply};
use super::portmap::{PortByBrickReq, PortByBrickRsp, PortmapProc, SigninReq, SigninRsp};
use super::program::ProgramId;
use super::record::RecordCodec;
use super::xdr::Xdr;
use bytes::{Bytes, BytesMut};
use std::fmt::Debug;
use tokio_util::codec::{Decoder, Encoder};

const VOLUME_INFO: &str = "
    80 00 00 6c 00 00 00 02 00 00 00 00 00 00 00 02 00 12 e5 bf 00 00 00 02 00 00 00 05 00 05 f3 97
    00 00 00 18 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 04 00 00 00 00 00 00 00 00
    00 00 00 00 00 00 00 27 00 00 00 02 00 00 00 05 00 00 00 02 66 6c 61 67 73 00 32 00 00 00 00 07
    00 00 00 03 76 6f 6c 6e 61 6d 65 00 76 31 00 00";

const GETSPEC: &str = "
    80 00 00 c0 00 00 00 02 00 00 00 00 00 00 00 02 00 db b4 a9 00 00 00 02 00 00 00 02 00 05 f3 97
    00 00 00 18 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 04 00 00 00 00 00 00 00 00
    00 00 00 00 00 00 00 00 00 00 00 13 76 31 2e 76 6d 2e 64 2d 62 61 63 6b 65 6e 64 73 2d 62 30 00
    00 00 00 5d 00 00 00 03 00 00 00 0a 00 00 00 0f 62 72 69 63 6b 5f 6e 61 6d 65 00 2f 64 2f 62 61
    63 6b 65 6e 64 73 2f 62 30 00 00 00 00 0e 00 00 00 07 6d 61 78 2d 6f 70 2d 76 65 72 73 69 6f 6e
    00 31 30 30 30 30 30 00 00 00 00 0e 00 00 00 02 6d 69 6e 2d 6f 70 2d 76 65 72 73 69 6f 6e 00 31
    00 00 00 00";

const SIGNIN: &str = "
    80 00 00 5c 00 00 00 03 00 00 00 00 00 00 00 02 02 08 ae c0 00 00 00 01 00 00 00 04 00 05 f3 97
    00 00 00 18 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 04 00 00 00 00 00 00 00 00
    00 00 00 00 00 00 00 0e 2f 64 2f 62 61 63 6b 65 6e 64 73 2f 62 30 00 00 00 00 de c8 00 00 00 5a";

const SIGNIN_REPLY: &str = "
    80 00 00 20 00 00 00 03 00 00 00 01 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
    00 00 00 00";

const DUMP: &str = "
    80 00 00 48 00 00 00 02 00 00 00 00 00 00 00 02 07 5b b8 6d 00 00 00 01 00 00 00 01 00 05 f3 97
    00 00 00 18 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 04 00 00 00 00 00 00 00 00
    00 00 00 00 00 00 00 00 00 00 ca ed";

const PING: &str = "
    80 00 00 40 00 00 00 03 00 00 00 00 00 00 00 02 07 5b b8 6d 00 00 00 01 00 00 00 02 00 05 f3 97
    00 00 00 18 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 04 00 00 00 00 00 00 00 00
    00 00 00 00";

const PING_REPLY: &str = "
    80 00 00 24 00 00 00 03 00 00 00 01 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
    00 00 00 00 00 00 00 00";

const PORTBYBRICK: &str = "
    80 00 00 54 00 00 00 04 00 00 00 00 00 00 00 02 02 08 ae c0 00 00 00 01 00 00 00 01 00 05 f3 97
    00 00 00 18 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 04 00 00 00 00 00 00 00 00
    00 00 00 00 00 00 00 0e 2f 64 2f 62 61 63 6b 65 6e 64 73 2f 62 30 00 00";

const PORTBYBRICK_REPLY: &str = "
    80 00 00 28 00 00 00 04 00 00 00 01 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
    00 00 00 00 00 00 00 00 00 00 de c8";

const PROGRAM_UNAVAILABLE: &str = "
    80 00 00 18 00 00 00 02 00 00 00 01 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 01";

const FETCHSPEC: &str = "
    80 00 00 28 00 00 00 01 00 00 00 00 00 00 00 02 03 24 cc 42 00 00 00 01 00 00 00 01 00 00 00 00
    00 00 00 00 00 00 00 00 00 00 00 00";

const BRICK_STATUS: &str = "
    80 00 01 94 00 00 00 02 00 00 00 00 00 00 00 02 00 4a 46 32 00 00 00 02 00 00 00 04 00 05 f3 97
    00 00 00 18 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 04 00 00 00 00 00 00 00 00
    00 00 00 00 00 00 00 00 00 00 00 04 00 00 01 43 00 00 00 09 00 00 00 0a 00 00 00 0f 62 72 69 63
    6b 2d 6e 61 6d 65 00 2f 64 2f 62 61 63 6b 65 6e 64 73 2f 62 30 00 00 00 00 07 00 00 00 27 63 6d
    64 2d 73 74 72 00 76 6f 6c 75 6d 65 20 73 74 61 74 75 73 20 76 31 20 76 6d 3a 2f 64 2f 62 61 63
    6b 65 6e 64 73 2f 62 30 20 6d 65 6d 00 00 00 00 03 00 00 00 05 63 6d 64 00 31 30 32 35 00 00 00
    00 05 00 00 00 12 62 72 69 63 6b 00 76 6d 3a 2f 64 2f 62 61 63 6b 65 6e 64 73 2f 62 30 00 00 00
    00 07 00 00 00 03 76 6f 6c 6e 61 6d 65 00 76 31 00 00 00 00 13 00 00 00 03 73 79 6e 63 2d 6d 67
    6d 74 2d 6f 70 65 72 61 74 69 6f 6e 00 31 38 00 00 00 00 0e 00 00 00 10 74 72 61 6e 73 61 63 74
    69 6f 6e 5f 69 64 00 1b 8b b2 23 d6 58 49 79 a0 00 19 1c 27 69 73 a5 00 00 00 0f 00 00 00 10 6f
    72 69 67 69 6e 61 74 6f 72 5f 75 75 69 64 00 ea a9 95 d6 14 21 4f 9c a5 c9 56 41 69 7c f3 c5 00
    00 00 06 00 00 00 25 76 6f 6c 2d 69 64 00 61 35 34 38 65 38 31 36 2d 64 65 31 63 2d 34 36 35 66
    2d 61 39 33 62 2d 30 38 30 31 39 32 61 66 63 63 35 39 00 00 00 00 00 00";

const TERMINATE: &str = "
    80 00 00 60 00 00 00 02 00 00 00 00 00 00 00 02 00 4a 46 32 00 00 00 02 00 00 00 01 00 05 f3 97
    00 00 00 18 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 04 00 00 00 00 00 00 00 00
    00 00 00 00 00 00 00 0e 2f 64 2f 62 61 63 6b 65 6e 64 73 2f 62 36 00 00 00 00 00 01 00 00 00 00
    00 00 00 00";

fn bytes(hex: &str) -> Vec<u8> {
    hex.split_ascii_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
}

/// The one record of `stream`; every shorter stream holds none.
fn record(stream: &[u8]) -> Bytes {
    for cut in 1..stream.len() {
        let end = RecordCodec::default().decode_eof(&mut stream[..cut].into());
        assert!(end.is_err(), "cut at {cut}");
    }
    let record = RecordCodec::default().decode_eof(&mut stream.into()).unwrap().unwrap();
    for cut in 0..record.len() {
        let _must_not_panic = Message::decode(record.slice(..cut));
    }
    record
}

fn marked(record: Vec<u8>) -> Vec<u8> {
    let mut stream = BytesMut::new();
    RecordCodec::default().encode(record, &mut stream).unwrap();
    stream.to_vec()
}

/// A body decodes to `expected` and no part of it does.
fn check_body<T: Xdr + PartialEq + Debug>(body: &[u8], expected: &T) {
    assert_eq!(T::from_bytes(body).as_ref(), Ok(expected));
    for cut in 0..body.len() {
        assert!(T::from_bytes(&body[..cut]).is_err(), "cut at {cut}");
    }
}

/// A recorded call decodes to `expected`, and `expected` encodes to the recording.
fn check_call<T: Xdr + PartialEq + Debug>(
    hex: &str,
    program: ProgramId,
    procedure: u32,
    expected: &T,
) {
    let stream = bytes(hex);
    let Ok(Message::Call(call, body)) = Message::decode(record(&stream)) else {
        panic!("not a call")
    };
    assert_eq!((call.program, call.procedure), (program, procedure));
    assert_eq!((&call.credential, &call.verifier), (&Auth::glusterfs_v2(), &Auth::default()));
    check_body(&body, expected);
    assert_eq!(marked(call.record(&expected.to_bytes())), stream);
}

fn check_reply<T: Xdr + PartialEq + Debug>(hex: &str, outcome: Outcome, expected: &T) {
    let stream = bytes(hex);
    let Ok(Message::Reply(reply, body)) = Message::decode(record(&stream)) else {
        panic!("not a reply")
    };
    assert_eq!(reply.outcome, outcome);
    check_body(&body, expected);
    assert_eq!(marked(reply.record(&expected.to_bytes())), stream);
}

#[test]
fn cli_volume_info() {
    let dict: Dict = [("volname", "v1"), ("flags", "2")].into_iter().collect();
    let expected = CliReq { dict: dict.encode() };
    check_call(VOLUME_INFO, ProgramId::CLI, CliProc::GET_VOLUME.0, &expected);
}

#[test]
fn getspec_of_a_brick() {
    let xdata: Dict =
        [("min-op-version", "1"), ("max-op-version", "100000"), ("brick_name", "/d/backends/b0")]
            .into_iter()
            .collect();
    let expected =
        GetspecReq { flags: 0, key: "v1.vm.d-backends-b0".into(), xdata: xdata.encode() };
    check_call(GETSPEC, ProgramId::HANDSHAKE, HandshakeProc::GETSPEC.0, &expected);
}

#[test]
fn portmap() {
    let brick = || "/d/backends/b0".to_owned();
    let signin = SigninReq { brick: brick(), port: 57032, pid: 90 };
    check_call(SIGNIN, ProgramId::PORTMAP, PortmapProc::SIGNIN.0, &signin);
    check_reply(SIGNIN_REPLY, Outcome::Success, &SigninRsp::default());
    let lookup = PortByBrickReq { brick: brick() };
    check_call(PORTBYBRICK, ProgramId::PORTMAP, PortmapProc::PORTBYBRICK.0, &lookup);
    let found = PortByBrickRsp { port: 57032, ..PortByBrickRsp::default() };
    check_reply(PORTBYBRICK_REPLY, Outcome::Success, &found);
}

#[test]
fn dump_and_ping() {
    check_call(DUMP, ProgramId::DUMP, DumpProc::DUMP.0, &DumpReq { gfs_id: 0xcaed });
    check_call(PING, ProgramId::DUMP, DumpProc::PING.0, &());
    check_reply(PING_REPLY, Outcome::Success, &CommonRsp::default());
}

/// The beginning of stock's answer, as far as it was recorded.
#[test]
fn dump_reply_begins_as_recorded() {
    let beginning = "
        00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 01 00 00 00 07 47 46 2d 44 55 4d 50 00
        00 00 00 00 07 5b b8 6d 00 00 00 00 00 00 00 01 00 00 00 01 00 00 00 11 47 6c 75 73 74 65 72 44
        20 73 76 63";
    let entry = |name: &str, number, version| super::dump::ProgramEntry {
        name: name.into(),
        number,
        version,
    };
    let programs = vec![entry("GF-DUMP", 123_451_501, 1), entry("GlusterD svc peer", 1_238_437, 2)];
    let whole = DumpRsp { programs, ..DumpRsp::default() }.to_bytes();
    assert!(whole.starts_with(&bytes(beginning)));
}

#[test]
fn program_unavailable() {
    check_reply(PROGRAM_UNAVAILABLE, Outcome::ProgramUnavailable, &());
    let reply = Reply { xid: 2, outcome: Outcome::ProgramUnavailable };
    assert_eq!(marked(reply.record(b"")), bytes(PROGRAM_UNAVAILABLE));
}

#[test]
fn fetchspec_callback() {
    assert_eq!(marked(callback::record(1, CallbackProc::FETCHSPEC, b"")), bytes(FETCHSPEC));
}

#[test]
fn brick_operations() {
    let expected =
        BrickOpReq { name: "/d/backends/b6".into(), op: 1, input: Vec::new(), dict: Vec::new() };
    check_call(TERMINATE, ProgramId::BRICK, BrickProc::TERMINATE.0, &expected);

    let raw_uuid = |text: &str| uuid::Uuid::try_parse(text).unwrap().into_bytes();
    let mut input: Dict =
        [("vol-id", "a548e816-de1c-465f-a93b-080192afcc59")].into_iter().collect();
    input.set_bytes("originator_uuid", raw_uuid("eaa995d6-1421-4f9c-a5c9-5641697cf3c5"));
    input.set_bytes("transaction_id", raw_uuid("1b8bb223-d658-4979-a000-191c276973a5"));
    input.set_int("sync-mgmt-operation", 18);
    input.set_str("volname", "v1");
    input.set_str("brick", "vm:/d/backends/b0");
    input.set_int("cmd", 0x401);
    input.set_str("cmd-str", "volume status v1 vm:/d/backends/b0 mem");
    input.set_str("brick-name", "/d/backends/b0");
    let expected =
        BrickOpReq { name: String::new(), op: 4, input: input.encode(), dict: Vec::new() };
    check_call(BRICK_STATUS, ProgramId::BRICK, BrickProc::STATUS.0, &expected);
}

#[test]
fn the_first_call_of_a_client_has_68_bytes_before_its_body() {
    let call = Call {
        xid: 2,
        program: ProgramId::CLI,
        procedure: 0,
        credential: Auth::glusterfs_v2(),
        verifier: Auth::default(),
    };
    assert_eq!(marked(call.record(b"")).len(), 68);
}
