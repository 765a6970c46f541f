//! Small pools for tests: volumes from a few words, a host and lines in memory.

use super::line::{Input, LineCall, Lines};
use crate::host::fake::FakeHost;
use crate::model::{
    Brick, Credentials, Kind, Layout, NodeId, OptionList, Status, Transport, Volume, VolumeId,
    VolumeName,
};
use crate::rpc::Dict;
use crate::rpc::brick::{BrickAnswer, BrickProc};
use crate::rpc::client::CallError;
use crate::store::View;
use async_trait::async_trait;
use parking_lot::Mutex;
use std::sync::Arc;
use uuid::Uuid;

pub const ME: NodeId = NodeId(Uuid::from_u128(1));
pub const OTHER: NodeId = NodeId(Uuid::from_u128(2));

pub fn name(text: &str) -> VolumeName {
    VolumeName::parse(text).unwrap()
}

pub fn brick(node: NodeId, path: &str) -> Brick {
    Brick {
        node,
        host: "h".into(),
        path: path.into(),
        real_path: path.into(),
        id: String::new(),
        mount_dir: String::new(),
        fsid: 0,
        decommissioned: false,
        snap_status: 0,
        resets: 0,
    }
}

/// A started volume under start 1; its id follows from its name. More than one brick: replicated.
pub fn volume(text: &str, paths: &[&str]) -> Volume {
    let id = text.bytes().fold(100u128, |sum, byte| sum * 256 + u128::from(byte));
    let layout = match paths.len() {
        0 | 1 => Layout::DISTRIBUTE,
        n => Layout { kind: Kind::Replicate, replica: n as u32, ..Layout::DISTRIBUTE },
    };
    Volume {
        name: name(text),
        id: VolumeId(Uuid::from_u128(id)),
        layout,
        status: Status::Started,
        transport: Transport::Tcp,
        bricks: paths.iter().map(|path| brick(ME, path)).collect(),
        thin_arbiter: None,
        options: OptionList::default(),
        credentials: Credentials { username: "u".into(), password: "p".into() },
        version: 1,
        op_version: 1,
        client_op_version: 1,
        quota_version: 0,
        quota: Default::default(),
        snap_max_hard_limit: 256,
        restored_from_snap: Uuid::nil(),
        start_epoch: 1,
        task: None,
    }
}

pub fn view(volumes: Vec<Volume>) -> View {
    let mut view = View::alone(ME);
    let named = volumes.into_iter().map(|v| (v.name.clone(), Arc::new(v)));
    view.volumes = Arc::new(named.collect());
    view
}

pub fn with_global(mut view: View, key: &str, value: &str) -> View {
    Arc::make_mut(&mut view.global).options.set(key, value);
    view
}

/// Answers every call with success and does what it asks of the fake machine.
#[derive(Debug)]
pub struct FakeLines {
    pub host: Arc<FakeHost>,
    pub calls: Mutex<Vec<(BrickProc, String)>>,
    /// `op_ret` of the answers.
    pub answer: Mutex<i32>,
}

impl FakeLines {
    pub fn new(host: Arc<FakeHost>) -> FakeLines {
        FakeLines { host, calls: Mutex::default(), answer: Mutex::new(0) }
    }

    pub fn calls(&self) -> Vec<(BrickProc, String)> {
        std::mem::take(&mut *self.calls.lock())
    }
}

#[async_trait]
impl Lines for FakeLines {
    async fn call(&self, socket: &str, call: LineCall) -> Result<BrickAnswer, CallError> {
        use crate::host::Host;
        let processes = self.host.processes();
        let Some(process) = processes.into_iter().find(|process| process.has(socket)) else {
            return Err(CallError::Connect(std::io::ErrorKind::ConnectionRefused.into()));
        };
        self.calls.lock().push((call.procedure, call.name.clone()));
        let op_ret = *self.answer.lock();
        if op_ret == 0 && call.procedure == BrickProc::SVC_ATTACH {
            assert!(matches!(&call.input, Input::Text(text) if !text.is_empty()));
            let pid_file = call.dict.str("pidfile").unwrap();
            let text = format!("{}\n", process.pid);
            self.host.write(pid_file, text.as_bytes()).await.unwrap();
        }
        Ok(BrickAnswer { op_ret, op_errno: 0, op_errstr: String::new(), output: Dict::new() })
    }
}
