//! The CLI program: bodies in, operations run, bodies out.
//!
//! Facts: glusterd-handler.c:6437-6586; glusterd-utils.c:10073 (command log) (v10.3).

use super::dispatch::{Program, Reject};
use super::registry::Connection;
use crate::cli::{NOT_SERVED, ROWS, Row, peers};
use crate::model::{Refusal, errno};
use crate::ops::Engine;
use crate::rpc::cli::{
    CliProc, CliReq, CliRsp, FsmLogReq, FsmLogRsp, GetwdRsp, MountRsp, PeerListReq, PeerListRsp,
    UmountRsp,
};
use crate::rpc::{Dict, ProgramId, Xdr};
use async_trait::async_trait;
use bytes::Bytes;
use std::fmt;
use std::sync::Arc;

/// Where commands and their outcome are written down.
pub trait CommandLog: fmt::Debug + Send + Sync + 'static {
    fn record(&self, command: &str, outcome: Result<(), &str>);
}

/// Program 1238463 version 2.
#[derive(Debug)]
pub struct CliProgram {
    engine: Arc<Engine>,
    log: Arc<dyn CommandLog>,
}

impl CliProgram {
    pub fn new(engine: Arc<Engine>, log: Arc<dyn CommandLog>) -> CliProgram {
        CliProgram { engine, log }
    }

    async fn command(&self, procedure: u32, arguments: &[u8]) -> Result<Vec<u8>, Reject> {
        let request = CliReq::from_bytes(arguments)?;
        let Ok(request) = Dict::decode_or_empty(&request.dict) else {
            let refusal = Refusal::handler("Unable to decode the command");
            return Ok(answer(Err(&refusal), &Dict::new()).to_bytes());
        };
        let mut reply = request.clone();
        let result = match ROWS.iter().find(|row| row.procedure == procedure) {
            Some(row) => self.run(row, &request, &mut reply).await,
            None => Err(not_served(procedure)),
        };
        self.write_down(procedure, &request, &result);
        Ok(answer(result.as_deref(), &reply).to_bytes())
    }

    async fn run(&self, row: &Row, request: &Dict, reply: &mut Dict) -> Result<String, Refusal> {
        let started = std::time::Instant::now();
        let operation = (row.parse)(request)?;
        let result = self.engine.run(&*operation, reply).await;
        tracing::debug!(command = row.name, took = ?started.elapsed(), ok = result.is_ok());
        result
    }

    /// Only commands that say what was typed are written down, and `volume get` is not, as in stock.
    fn write_down(&self, procedure: u32, request: &Dict, result: &Result<String, Refusal>) {
        let logged = CliProc(procedure) != CliProc::GET_VOL_OPT;
        let Some(command) = request.str("cmd-str").filter(|_| logged) else { return };
        match result {
            Ok(_) => self.log.record(command, Ok(())),
            Err(refusal) => self.log.record(command, Err(&refusal.text)),
        }
    }

    fn friends(&self, arguments: &[u8]) -> Result<Vec<u8>, Reject> {
        let request = PeerListReq::from_bytes(arguments)?;
        let view = self.engine.store().view();
        let friends = peers::friends(&view, request.flags == 2).encode();
        Ok(PeerListRsp { op_ret: 0, op_errno: 0, friends }.to_bytes())
    }

    /// Members are records here, not state machines: they make no transitions, and the log of
    /// every one of them is empty.
    fn transitions(&self, arguments: &[u8]) -> Result<Vec<u8>, Reject> {
        let name = FsmLogReq::from_bytes(arguments)?.name;
        let view = self.engine.store().view();
        if !name.is_empty() && !view.others().any(|peer| peer.hostnames.contains(&name)) {
            let op_errstr = format!("{name} is not a peer");
            return Ok(FsmLogRsp { op_ret: -1, op_errstr, ..FsmLogRsp::default() }.to_bytes());
        }
        let mut log = Dict::new();
        log.set_int("count", 0u32);
        Ok(FsmLogRsp { fsm_log: log.encode(), ..FsmLogRsp::default() }.to_bytes())
    }

    fn working_directory(&self) -> Vec<u8> {
        let wd = self.engine.site().workdir.display().to_string();
        GetwdRsp { op_ret: 0, op_errno: 0, wd }.to_bytes()
    }
}

fn answer(result: Result<&str, &Refusal>, dict: &Dict) -> CliRsp {
    let dict = dict.encode();
    match result {
        Ok(note) => CliRsp { op_ret: 0, op_errno: 0, op_errstr: note.to_owned(), dict },
        Err(no) => CliRsp { op_ret: no.ret, op_errno: no.errno, op_errstr: no.text.clone(), dict },
    }
}

fn not_served(procedure: u32) -> Refusal {
    let known = NOT_SERVED.iter().find(|(number, _)| *number == procedure);
    let name = known.map_or(CliProc(procedure).name(), |(_, name)| *name);
    Refusal::handler(format!("{name} is not supported by this glusterd yet"))
        .with_errno(errno::NOT_SUPPORTED)
}

#[async_trait]
impl Program for CliProgram {
    fn id(&self) -> ProgramId {
        ProgramId::CLI
    }

    fn name(&self) -> &str {
        "GlusterD svc cli"
    }

    fn serves(&self, procedure: u32) -> bool {
        procedure > 0 && CliProc::ALL.iter().any(|known| known.0 == procedure)
    }

    async fn call(
        &self,
        _: &Connection,
        procedure: u32,
        arguments: Bytes,
    ) -> Result<Vec<u8>, Reject> {
        let no_such_file = rustix::io::Errno::NOENT.raw_os_error();
        match CliProc(procedure) {
            CliProc::LIST_FRIENDS => self.friends(&arguments),
            CliProc::GETWD => Ok(self.working_directory()),
            CliProc::FSM_LOG => self.transitions(&arguments),
            // No label is configured, so stock finds none; see docs/differences.md.
            CliProc::MOUNT => {
                let rsp = MountRsp { op_ret: -1, op_errno: no_such_file, ..MountRsp::default() };
                Ok(rsp.to_bytes())
            }
            CliProc::UMOUNT => Ok(UmountRsp { op_ret: -1, op_errno: no_such_file }.to_bytes()),
            _ => self.command(procedure, &arguments).await,
        }
    }

    fn disconnected(&self, _: &Connection) {}
}
