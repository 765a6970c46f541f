//! Reading requests: the keys most commands share.

use crate::model::{Refusal, Volume};
use crate::rpc::Dict;
use crate::store::View;
use std::sync::Arc;

/// A request dict with stock's words for what is missing.
pub struct Args<'a>(pub &'a Dict);

impl<'a> Args<'a> {
    /// `volname`, as sent: whether such a volume exists is the plan's question.
    pub fn volname(&self) -> Result<String, Refusal> {
        self.text("volname", "Unable to get volume name")
    }

    pub fn text(&self, key: &str, missing: &str) -> Result<String, Refusal> {
        self.0.str(key).map(str::to_owned).ok_or_else(|| Refusal::handler(missing))
    }

    pub fn number<T: TryFrom<i128>>(&self, key: &str, missing: &str) -> Result<T, Refusal> {
        self.0.int(key).ok_or_else(|| Refusal::handler(missing))
    }

    /// Bit 0 of `flags`, or a true `force`.
    pub fn force(&self) -> bool {
        let flags = self.0.int::<u64>("flags").unwrap_or(0) & 1 != 0;
        flags || self.0.str("force").and_then(crate::model::boolean).unwrap_or(false)
    }
}

/// The text of most commands for a volume that is not there; op_errno 30800.
pub fn no_such_volume(name: &str) -> Refusal {
    Refusal::staged(format!("Volume {name} does not exist"))
}

/// Looks a volume up by the name in a request.
pub fn volume<'v>(view: &'v View, name: &str) -> Result<&'v Arc<Volume>, Refusal> {
    view.volume(name).ok_or_else(|| no_such_volume(name))
}
