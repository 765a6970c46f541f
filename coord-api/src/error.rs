//! Errors: what went wrong, whether anything may have been written, what helps.
//!
//! Backends translate into [`ErrorKind`]; their own words go to [`Error::detail`], which is for
//! logs and never needed for a decision (X6).

use crate::entry::Revision;
use std::fmt;
use std::sync::Arc;

/// Why a call failed. A false compare is no error (X5), see [`crate::TxnOutcome::Conflict`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    pub kind: ErrorKind,
    pub effect: Effect,
    /// The backend's own words, for logs only.
    pub detail: Option<Arc<str>>,
}

/// Whether the call may have written something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing was and nothing will be written (X1). Reads always say this (X4).
    None,
    /// It may have been written, or may still be (X2). Only a receipt ends the doubt (X7).
    Unknown,
}

/// What makes another try sensible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// The same call can never succeed.
    Never,
    /// The same call on the same handle succeeds once the fault is over.
    SameHandle,
    /// Only after opening a new session.
    NewSession,
    /// Something outside must change first: credentials, space on disk, another revision.
    AfterCallerAction,
}

/// What a caller can act on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// No server, no quorum or no connection.
    Unavailable,
    /// The call's own time ran out.
    Timeout,
    /// The service refuses work for now.
    Overloaded,
    StorageFull,
    /// The session has ended on the server; its keys are gone or going.
    SessionLost,
    /// A guarded transaction found that its leadership or lock has passed on.
    Fenced,
    Compacted {
        oldest: Revision,
    },
    /// `NotOlderThan` a revision the store has not reached (R4).
    FutureRevision,
    /// The name breaks the rule quoted (K1, K2, S3).
    InvalidKey(&'static str),
    UnknownSpace,
    WrongSpaceKind,
    DuplicateKey,
    TooLarge {
        limit: usize,
        got: usize,
    },
    TooManyOps {
        limit: usize,
    },
    Unauthenticated,
    PermissionDenied,
    TlsFailed,
    /// The server lacks something the backend cannot do without.
    Incompatible,
    /// The servers behind the address carry another cluster id (G6).
    ClusterReplaced,
    /// Stored bytes are not what this layer writes.
    Corrupt,
    Unsupported(&'static str),
    /// `close()` was called on the handle.
    Closed,
    /// A broken invariant in the backend itself.
    Internal,
}

impl Error {
    /// An error after which certainly nothing was written.
    pub fn none(kind: ErrorKind) -> Error {
        Error { kind, effect: Effect::None, detail: None }
    }

    /// An error of a write that may have happened all the same.
    pub fn unknown(kind: ErrorKind) -> Error {
        Error { kind, effect: Effect::Unknown, detail: None }
    }

    /// The same error with the backend's own words.
    pub fn because(mut self, detail: impl fmt::Display) -> Error {
        self.detail = Some(detail.to_string().into());
        self
    }

    pub fn is_unknown(&self) -> bool {
        self.effect == Effect::Unknown
    }

    /// What helps; depends on the kind alone, so no two backends can disagree (X6).
    pub fn retry(&self) -> Retry {
        use ErrorKind::*;
        match self.kind {
            Unavailable | Timeout | Overloaded | Compacted { .. } => Retry::SameHandle,
            SessionLost => Retry::NewSession,
            StorageFull | Fenced | FutureRevision | UnknownSpace | Unauthenticated
            | PermissionDenied | TlsFailed | ClusterReplaced => Retry::AfterCallerAction,
            InvalidKey(_)
            | WrongSpaceKind
            | DuplicateKey
            | TooLarge { .. }
            | TooManyOps { .. }
            | Incompatible
            | Corrupt
            | Unsupported(_)
            | Closed
            | Internal => Retry::Never,
        }
    }
}

impl From<ErrorKind> for Error {
    fn from(kind: ErrorKind) -> Error {
        Error::none(kind)
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use ErrorKind::*;
        match self {
            Unavailable => f.write_str("the coordination service cannot be reached"),
            Timeout => f.write_str("the coordination service did not answer in time"),
            Overloaded => f.write_str("the coordination service is overloaded"),
            StorageFull => f.write_str("the coordination service is out of space"),
            SessionLost => f.write_str("the session has ended"),
            Fenced => f.write_str("leadership or lock has passed to another holder"),
            Compacted { oldest } => {
                write!(f, "history before revision {} is gone", oldest.0)
            }
            FutureRevision => f.write_str("the store has not reached that revision"),
            InvalidKey(rule) => write!(f, "invalid name: {rule}"),
            UnknownSpace => f.write_str("the space was not declared"),
            WrongSpaceKind => f.write_str("the space is of the other kind"),
            DuplicateKey => f.write_str("a key occurs twice in one transaction"),
            TooLarge { limit, got } => write!(f, "{got} bytes where {limit} are allowed"),
            TooManyOps { limit } => write!(f, "more than {limit} compares or operations"),
            Unauthenticated => f.write_str("the coordination service refused the credentials"),
            PermissionDenied => f.write_str("the coordination service denies permission"),
            TlsFailed => f.write_str("the TLS connection failed"),
            Incompatible => f.write_str("the server lacks a needed feature"),
            ClusterReplaced => f.write_str("another cluster answers at this address"),
            Corrupt => f.write_str("the store holds data this layer did not write"),
            Unsupported(what) => write!(f, "not supported by this backend: {what}"),
            Closed => f.write_str("the handle is closed"),
            Internal => f.write_str("internal error of the backend"),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)?;
        if let Some(detail) = &self.detail {
            write!(f, " ({detail})")?;
        }
        if self.is_unknown() {
            f.write_str("; the outcome is unknown")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(error: Error, text: &str, retry: Retry) {
        assert_eq!(error.to_string(), text);
        assert_eq!(error.retry(), retry);
    }

    #[test]
    fn an_error_names_kind_detail_and_doubt() {
        check(
            Error::none(ErrorKind::TooLarge { limit: 5, got: 6 }),
            "6 bytes where 5 are allowed",
            Retry::Never,
        );
        check(
            Error::unknown(ErrorKind::Unavailable).because("h2 protocol error"),
            "the coordination service cannot be reached (h2 protocol error); \
             the outcome is unknown",
            Retry::SameHandle,
        );
        check(ErrorKind::SessionLost.into(), "the session has ended", Retry::NewSession);
    }
}
