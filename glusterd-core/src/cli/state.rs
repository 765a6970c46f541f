//! `get-state`: the daemon's state in a file, for tools.
//!
//! This node alone: its own processes are looked at, its members and volumes are the pool's. What
//! the file says is in `state_text`. Facts: glusterd-handler.c:5305-5890 (v10.3): refusals have
//! op_errno 0.

use super::state_text;
use crate::model::Refusal;
use crate::ops::{Answer, Answered, Ask, Cx, Operation, Outcome, Question, Step};
use crate::rpc::Dict;

/// Where stock writes without `odir`, whatever the run directory is.
const DIR_DEFAULT: &str = "/var/run/gluster/";
const DETAIL: u32 = 1;
const VOLUME_OPTIONS: u32 = 2;

const BRICK_STATUS: u32 = 4;
/// `GF_CLI_STATUS_CLIENTS`, cli1-xdr.x.
const CLIENTS: u32 = 0x2;

/// GET_STATE.
pub struct GetState {
    dir: String,
    file: Option<String>,
    form: u32,
}

impl GetState {
    pub fn parse(dict: &Dict) -> Result<GetState, Refusal> {
        Ok(GetState {
            dir: dict.str("odir").unwrap_or(DIR_DEFAULT).to_owned(),
            file: dict.str("filename").map(str::to_owned),
            form: dict.int("getstate-cmd").unwrap_or(0),
        })
    }

    /// What the processes say, in rounds; `None` when everything is known.
    fn looks(&self, cx: &Cx<'_>) -> Option<Vec<Ask>> {
        if self.form == VOLUME_OPTIONS || cx.view.volumes.is_empty() {
            return None;
        }
        let asked = |kind: fn(&Question) -> bool| cx.answers.iter().any(|a| kind(&a.question));
        if !asked(|question| matches!(question, Question::Status { .. })) {
            let status =
                |name| Ask::new(cx.view.me, Question::Status { volume: name, detail: true });
            return Some(cx.view.volumes.keys().map(|name| status(name.to_string())).collect());
        }
        let clients = match self.form == DETAIL
            && !asked(|question| matches!(question, Question::BrickOp { .. }))
        {
            true => clients(cx),
            false => vec![],
        };
        (!clients.is_empty()).then_some(clients)
    }
}

/// Asks each running local brick for its clients.
fn clients(cx: &Cx<'_>) -> Vec<Ask> {
    let online = |volume: &str, path: &str| {
        let rows = state_text::status(cx.answers, volume).into_iter().flat_map(|s| &s.bricks);
        rows.clone().any(|row| row.path == path && row.online)
    };
    let mut asks = Vec::new();
    for volume in cx.view.volumes.values() {
        for (_, brick) in volume.local_bricks(cx.view.me) {
            if !online(volume.name.as_str(), &brick.path) {
                continue;
            }
            let mut input = Dict::new();
            input.set_str("brick-name", &brick.path);
            input.set_int("cmd", CLIENTS);
            input.set_str("volname", volume.name.as_str());
            let question = Question::BrickOp {
                volume: volume.name.to_string(),
                path: brick.path.clone(),
                procedure: BRICK_STATUS,
                name: String::new(),
                input: input.encode(),
            };
            asks.push(Ask::new(cx.view.me, question));
        }
    }
    asks
}

fn written(answers: &[Answered]) -> Option<&Answer> {
    let wrote = |a: &&Answered| matches!(a.question, Question::WriteState { .. });
    answers.iter().find(wrote).map(|a| &a.answer)
}

impl Operation for GetState {
    fn plan(&self, cx: &Cx<'_>) -> Result<Step, Refusal> {
        match written(cx.answers) {
            Some(Answer::Refused { text, .. } | Answer::Silent(text)) => {
                return Err(Refusal::handler(text.clone()));
            }
            Some(_) => return Ok(Step::Done),
            None => {}
        }
        if let Some(looks) = self.looks(cx) {
            return Ok(Step::Ask(looks));
        }
        let text = match self.form {
            VOLUME_OPTIONS => state_text::options(cx.view),
            form => state_text::state(cx, form == DETAIL),
        };
        let (dir, file) = (self.dir.clone(), self.file.clone());
        Ok(Step::Ask(vec![Ask::new(cx.view.me, Question::WriteState { dir, file, text })]))
    }

    fn reply(&self, outcome: &Outcome<'_>, reply: &mut Dict) -> Result<(), Refusal> {
        if let Some(Answer::Text(path)) = written(outcome.answers) {
            reply.set_str("ofilepath", path);
        }
        Ok(())
    }

    fn queue(&self) -> Option<String> {
        None
    }

    fn changes(&self) -> bool {
        false
    }
}
