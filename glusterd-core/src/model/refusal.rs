//! A "no" for the user.

/// The text goes out as it stands: scripts match it. `ret` and `errno` are the reply's
/// `op_ret` and `op_errno`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub ret: i32,
    pub errno: i32,
    pub text: String,
}

impl Refusal {
    /// Refused by the handler, before anything was staged: op_errno 0.
    pub fn handler(text: impl Into<String>) -> Refusal {
        Refusal { ret: -1, errno: 0, text: text.into() }
    }

    /// Refused while staging or committing: op_errno 30800.
    pub fn staged(text: impl Into<String>) -> Refusal {
        Refusal { ret: -1, errno: errno::INTERNAL, text: text.into() }
    }

    pub fn with_errno(mut self, errno: i32) -> Refusal {
        self.errno = errno;
        self
    }

    pub fn with_ret(mut self, ret: i32) -> Refusal {
        self.ret = ret;
        self
    }
}

/// GlusterFS's own error numbers; xlators/mgmt/glusterd/src/glusterd-errno.h:12-32 (v10.3).
pub mod errno {
    pub const INTERNAL: i32 = 30800;
    pub const NOT_SUPPORTED: i32 = 30801;
    pub const ANOTHER_TRANSACTION: i32 = 30802;
    pub const BRICK_DOWN: i32 = 30803;
    pub const NODE_DOWN: i32 = 30804;
    pub const HARD_LIMIT: i32 = 30805;
    pub const NO_VOLUME: i32 = 30806;
    pub const NO_SNAPSHOT: i32 = 30807;
    pub const REBALANCE_RUNNING: i32 = 30808;
    pub const VOLUME_RUNNING: i32 = 30809;
    pub const VOLUME_STOPPED: i32 = 30810;
    pub const VOLUME_EXISTS: i32 = 30811;
}
