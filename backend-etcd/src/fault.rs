//! What etcd's and gRPC's errors mean for us: a kind, whether the request may have had an effect,
//! and whether another server may do better.
//!
//! Facts: api/v3rpc/rpctypes/error.go of etcd 3.4 (codes and texts); tonic gives a status of its
//! own making a source, a status from the server none.

use coord_api::{Error, ErrorKind, Revision};
use etcd_client::Error as Raw;

/// A failed attempt on one server.
#[derive(Debug)]
pub(crate) struct Fault {
    pub kind: ErrorKind,
    pub detail: String,
    /// The request was certainly not carried out and never will be.
    pub harmless: bool,
    /// Another server, or this one a little later, may answer.
    pub elsewhere: bool,
    /// The access token is too old for the server.
    pub stale_token: bool,
}

// gRPC status codes by number: the enum belongs to a crate we do not name.
const CANCELLED: i32 = 1;
const UNKNOWN: i32 = 2;
const INVALID_ARGUMENT: i32 = 3;
const DEADLINE_EXCEEDED: i32 = 4;
const NOT_FOUND: i32 = 5;
const PERMISSION_DENIED: i32 = 7;
const RESOURCE_EXHAUSTED: i32 = 8;
const FAILED_PRECONDITION: i32 = 9;
const OUT_OF_RANGE: i32 = 11;
const UNAVAILABLE: i32 = 14;
const UNAUTHENTICATED: i32 = 16;

impl Fault {
    /// A write's error: the effect is unknown unless it is certain that there is none.
    pub fn of_write(self) -> Error {
        let harmless = self.harmless;
        let error = self.of_read();
        if harmless { error } else { Error::unknown(error.kind.clone()).with(error) }
    }

    /// A read's error: effect None always (X4).
    pub fn of_read(self) -> Error {
        Error::none(self.kind).because(self.detail)
    }

    /// The connection was given up while the request was under way.
    pub fn silence() -> Fault {
        Fault::new(ErrorKind::Unavailable, "the server fell silent").elsewhere()
    }

    pub fn timeout() -> Fault {
        Fault::new(ErrorKind::Timeout, "no answer in time").elsewhere()
    }

    pub fn closed() -> Fault {
        Fault::new(ErrorKind::Closed, "closed while under way")
    }

    pub fn new(kind: ErrorKind, detail: impl Into<String>) -> Fault {
        let detail = detail.into();
        Fault { kind, detail, harmless: false, elsewhere: false, stale_token: false }
    }

    pub fn harmless(mut self) -> Fault {
        self.harmless = true;
        self
    }

    pub fn elsewhere(mut self) -> Fault {
        self.elsewhere = true;
        self
    }
}

/// Keeps the detail of another error.
trait With {
    fn with(self, other: Error) -> Error;
}

impl With for Error {
    fn with(mut self, other: Error) -> Error {
        self.detail = other.detail;
        self
    }
}

impl From<Raw> for Fault {
    fn from(raw: Raw) -> Fault {
        match raw {
            Raw::GRpcStatus(status) => {
                let from_server = std::error::Error::source(&status).is_none();
                let detail = full_text(&status);
                by_status(status.code() as i32, status.message(), detail, from_server)
            }
            Raw::TransportError(error) => by_transport(full_text(&error)),
            Raw::IoError(error) => by_transport(full_text(&error)),
            Raw::LeaseKeepAliveError(text) if text == "lease not found" => lease_gone(text),
            Raw::InvalidArgs(text) => Fault::new(ErrorKind::Internal, text).harmless(),
            Raw::InvalidUri(error) => Fault::new(ErrorKind::Internal, error.to_string()).harmless(),
            other => Fault::new(ErrorKind::Unavailable, other.to_string()).elsewhere(),
        }
    }
}

fn by_status(code: i32, message: &str, detail: String, from_server: bool) -> Fault {
    let says = |text: &str| message.contains(text);
    let fault = |kind| Fault::new(kind, detail.clone());
    if !from_server {
        // Client side: `UNAVAILABLE` is given for failed connects alone.
        if code == UNAVAILABLE {
            return refused(detail);
        }
        if code == OUT_OF_RANGE || says("decoded message length too large") {
            return fault(ErrorKind::TooLarge { limit: 0, got: 0 });
        }
        return by_transport(detail);
    }
    match code {
        UNAVAILABLE if says("no leader") || says("not capable") || says("unhealthy cluster") => {
            fault(ErrorKind::Unavailable).harmless().elsewhere()
        }
        UNAVAILABLE | CANCELLED => fault(ErrorKind::Unavailable).elsewhere(),
        DEADLINE_EXCEEDED => fault(ErrorKind::Timeout).elsewhere(),
        NOT_FOUND if says("lease not found") => lease_gone(detail),
        OUT_OF_RANGE if says("compacted") => {
            fault(ErrorKind::Compacted { oldest: Revision(0) }).harmless()
        }
        OUT_OF_RANGE if says("future revision") => fault(ErrorKind::FutureRevision).harmless(),
        RESOURCE_EXHAUSTED if says("space exceeded") => fault(ErrorKind::StorageFull).harmless(),
        RESOURCE_EXHAUSTED if says("too many requests") => fault(ErrorKind::Overloaded).harmless(),
        RESOURCE_EXHAUSTED => fault(ErrorKind::TooLarge { limit: 0, got: 0 }).harmless(),
        PERMISSION_DENIED => fault(ErrorKind::PermissionDenied).harmless(),
        UNAUTHENTICATED => stale(fault(ErrorKind::Unauthenticated).harmless()),
        INVALID_ARGUMENT | FAILED_PRECONDITION => invalid(message, fault),
        UNKNOWN if says("invalid auth token") => stale(fault(ErrorKind::Unauthenticated)),
        UNKNOWN => fault(ErrorKind::Unavailable).elsewhere(),
        _ => fault(ErrorKind::Internal),
    }
}

fn invalid(message: &str, fault: impl Fn(ErrorKind) -> Fault) -> Fault {
    let says = |text: &str| message.contains(text);
    if says("too many operations") {
        fault(ErrorKind::TooManyOps { limit: 0 }).harmless()
    } else if says("request is too large") {
        fault(ErrorKind::TooLarge { limit: 0, got: 0 }).harmless()
    } else if says("duplicate key") {
        fault(ErrorKind::DuplicateKey).harmless()
    } else if says("revision of auth store is old") {
        stale(fault(ErrorKind::Unauthenticated).harmless())
    } else if says("user name is empty") || says("authentication") || says("user not found") {
        fault(ErrorKind::Unauthenticated).harmless()
    } else {
        fault(ErrorKind::Internal).harmless()
    }
}

fn stale(mut fault: Fault) -> Fault {
    fault.stale_token = true;
    fault
}

fn lease_gone(detail: String) -> Fault {
    Fault::new(ErrorKind::SessionLost, detail).harmless()
}

/// No connection came about: nothing was sent.
fn refused(detail: String) -> Fault {
    let kind = if is_tls(&detail) { ErrorKind::TlsFailed } else { ErrorKind::Unavailable };
    Fault::new(kind, detail).harmless().elsewhere()
}

/// The connection broke, before or after the request went out.
fn by_transport(detail: String) -> Fault {
    if is_tls(&detail) {
        return refused(detail);
    }
    Fault::new(ErrorKind::Unavailable, detail).elsewhere()
}

fn is_tls(detail: &str) -> bool {
    ["certificate", "fatal alert", "HandshakeFailure", "InvalidContentType", "TLS", "tls handshake"]
        .iter()
        .any(|word| detail.contains(word))
}

/// The error and all its causes, each once.
fn full_text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `H` harmless, `E` elsewhere, `S` stale token.
    fn check(code: i32, message: &str, from_server: bool, kind: ErrorKind, flags: &str) {
        let fault = by_status(code, message, message.into(), from_server);
        let mut got = String::new();
        got.extend(fault.harmless.then_some('H'));
        got.extend(fault.elsewhere.then_some('E'));
        got.extend(fault.stale_token.then_some('S'));
        assert_eq!((fault.kind, &*got), (kind, flags), "{message}");
    }

    #[test]
    fn texts_of_etcd_3_4() {
        use ErrorKind::*;
        check(14, "tcp connect error", false, Unavailable, "HE");
        check(14, "invalid peer certificate: UnknownIssuer", false, TlsFailed, "HE");
        // The server's word on ours, which TLS 1.3 says after the handshake.
        check(2, "received fatal alert: BadCertificate", false, TlsFailed, "HE");
        check(
            2,
            "h2 protocol error: error reading a body from connection",
            false,
            Unavailable,
            "E",
        );
        check(1, "operation was canceled", false, Unavailable, "E");
        check(14, "etcdserver: no leader", true, Unavailable, "HE");
        check(14, "etcdserver: leader changed", true, Unavailable, "E");
        check(14, "etcdserver: request timed out", true, Unavailable, "E");
        check(5, "etcdserver: requested lease not found", true, SessionLost, "H");
        check(8, "etcdserver: mvcc: database space exceeded", true, StorageFull, "H");
        check(8, "etcdserver: too many requests", true, Overloaded, "H");
        check(7, "etcdserver: permission denied", true, PermissionDenied, "H");
        check(16, "etcdserver: invalid auth token", true, Unauthenticated, "HS");
        check(3, "etcdserver: user name is empty", true, Unauthenticated, "H");
        check(
            3,
            "etcdserver: authentication failed, invalid user ID or password",
            true,
            Unauthenticated,
            "H",
        );
        check(3, "etcdserver: revision of auth store is old", true, Unauthenticated, "HS");
        check(
            11,
            "etcdserver: mvcc: required revision has been compacted",
            true,
            Compacted { oldest: Revision(0) },
            "H",
        );
    }
}
