//! What the client crate's errors mean for us, and whether a write may have had an effect.

use coord_api::{Error, ErrorKind};
use zookeeper_client::Error as Raw;

/// A write's error. What the server refused had no effect; a lost connection leaves it unknown.
pub(crate) fn of_write(raw: &Raw) -> Error {
    let kind = kind(raw);
    let refused = matches!(
        raw,
        Raw::NoNode
            | Raw::NoAuth
            | Raw::BadVersion
            | Raw::NodeExists
            | Raw::NotEmpty
            | Raw::NoChildrenForEphemerals
            | Raw::InvalidAcl
            | Raw::NotReadOnly
            | Raw::QuotaExceeded
            | Raw::Throttled
            | Raw::MarshallingError
            | Raw::Unimplemented
            | Raw::BadArguments(_)
            | Raw::NoHosts
    );
    let error = if refused { Error::none(kind) } else { Error::unknown(kind) };
    error.because(raw)
}

/// A read's error: effect None always (X4).
pub(crate) fn of_read(raw: &Raw) -> Error {
    Error::none(kind(raw)).because(raw)
}

/// Whether the connection failed, so that a read may be repeated.
pub(crate) fn is_transient(raw: &Raw) -> bool {
    kind(raw) == ErrorKind::Unavailable
}

fn kind(raw: &Raw) -> ErrorKind {
    match raw {
        Raw::NoHosts
        | Raw::Timeout
        | Raw::ConnectionLoss
        | Raw::SessionExpired
        | Raw::SessionMoved
        | Raw::ClientClosed
        // Errors of the transport, and of a stream that makes no sense: the connection is gone.
        | Raw::Custom(_)
        | Raw::UnexpectedError(_)
        | Raw::NotReadOnly => ErrorKind::Unavailable,
        Raw::NoAuth => ErrorKind::PermissionDenied,
        Raw::AuthFailed => ErrorKind::Unauthenticated,
        Raw::QuotaExceeded => ErrorKind::StorageFull,
        Raw::Throttled => ErrorKind::Overloaded,
        Raw::MarshallingError | Raw::UnmarshalError { .. } => ErrorKind::Corrupt,
        Raw::Unimplemented => ErrorKind::Incompatible,
        _ => ErrorKind::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_server_s_refusal_is_without_effect() {
        let check = |raw: Raw, kind: ErrorKind, unknown: bool| {
            let error = of_write(&raw);
            assert_eq!((error.kind.clone(), error.is_unknown()), (kind, unknown), "{raw}");
        };
        check(Raw::ConnectionLoss, ErrorKind::Unavailable, true);
        check(Raw::SessionExpired, ErrorKind::Unavailable, true);
        check(Raw::UnexpectedError("i/o".into()), ErrorKind::Unavailable, true);
        check(Raw::NoAuth, ErrorKind::PermissionDenied, false);
        check(Raw::QuotaExceeded, ErrorKind::StorageFull, false);
        check(Raw::UnexpectedErrorCode(-999), ErrorKind::Internal, true);
        assert!(!of_read(&Raw::ConnectionLoss).is_unknown());
    }
}
