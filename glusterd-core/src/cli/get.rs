//! `volume get`.
//!
//! Decided in `options`. Facts: glusterd-handler.c:4670-4950 (v10.3): refusals have op_errno 0.

use super::args::Args;
use crate::model::Refusal;
use crate::ops::{Cx, Operation, Outcome, Step};
use crate::options::{Values, all_of_pool, all_of_volume, one_of_pool, one_of_volume};
use crate::rpc::Dict;
use crate::store::View;

/// GET_VOL_OPT.
pub struct GetOption {
    volume: String,
    key: String,
}

impl GetOption {
    pub fn parse(dict: &Dict) -> Result<GetOption, Refusal> {
        let missing = "Failed to get volume name while handling get volume option command";
        let volume = Args(dict).text("volname", missing)?;
        let missing = format!("Failed to get key while handling get volume option for {volume}");
        Ok(GetOption { key: Args(dict).text("key", &missing)?, volume })
    }

    fn values(&self, view: &View) -> Result<Values, Refusal> {
        let all = self.key == "all";
        if self.volume.eq_ignore_ascii_case("all") {
            return match all {
                true => Ok(all_of_pool(&view.global)),
                false => one_of_pool(&view.global, &self.key),
            };
        }
        let missing = || Refusal::handler(format!("Volume {} does not exist", self.volume));
        let volume = view.volume(&self.volume).ok_or_else(missing)?;
        match all {
            true => Ok(all_of_volume(volume, &view.global)),
            false => one_of_volume(volume, &view.global, &self.key),
        }
    }
}

impl Operation for GetOption {
    fn plan(&self, _: &Cx<'_>) -> Result<Step, Refusal> {
        Ok(Step::Done)
    }

    fn reply(&self, outcome: &Outcome<'_>, reply: &mut Dict) -> Result<(), Refusal> {
        let values = self.values(outcome.view)?;
        if let Some(warning) = &values.warning {
            reply.set_str("warning", warning);
        }
        for (i, (key, value)) in values.pairs.iter().enumerate() {
            reply.set_str(format!("key{}", i + 1), key);
            if let Some(value) = value {
                reply.set_str(format!("value{}", i + 1), value);
            }
        }
        reply.set_int("count", values.pairs.len() as u64);
        Ok(())
    }

    fn queue(&self) -> Option<String> {
        None
    }

    fn changes(&self) -> bool {
        false
    }
}
