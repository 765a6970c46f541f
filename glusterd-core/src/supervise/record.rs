//! What this daemon knows of its processes: started, found, stopped, dead.

use crate::host::ProcessRef;
use crate::model::{VolumeId, VolumeName};
use std::collections::BTreeMap;

/// A brick of this node.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BrickKey {
    pub volume: VolumeName,
    pub path: String,
}

impl BrickKey {
    pub fn new(volume: &VolumeName, path: &str) -> BrickKey {
        BrickKey { volume: volume.clone(), path: path.to_owned() }
    }
}

/// A live process. Multiplexed bricks share one, and all of this.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Running {
    pub pid: i32,
    /// 0 for daemons without one.
    pub port: u16,
    /// Also the argument by which the process is recognised.
    pub socket: String,
}

impl Running {
    pub fn reference(&self) -> ProcessRef {
        ProcessRef { pid: self.pid, marker: self.socket.clone() }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    Running(Running),
    /// It ended by itself, or could not be started. Stays so until something changes.
    Dead,
    /// Not wanted, and seen not to run.
    Stopped,
}

impl State {
    pub fn running(&self) -> Option<&Running> {
        match self {
            State::Running(running) => Some(running),
            State::Dead | State::Stopped => None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrickRecord {
    pub volume_id: VolumeId,
    pub pid_file: String,
    /// The last start of the volume that was acted on.
    pub epoch: u64,
    pub state: State,
}

pub type BrickRecords = BTreeMap<BrickKey, BrickRecord>;

/// How many bricks the process carries.
pub fn bricks_of(records: &BrickRecords, process: &Running) -> usize {
    records.values().filter(|record| record.state.running() == Some(process)).count()
}
