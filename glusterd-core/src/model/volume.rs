//! A volume as the pool knows it.

use super::brick::Brick;
use super::layout::Layout;
use super::names::{NodeId, VolumeId, VolumeName};
use super::option_list::OptionList;
use super::quota::QuotaList;
use super::task::{Task, TaskKind};
use std::collections::BTreeSet;
use uuid::Uuid;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Created,
    Started,
    Stopped,
}

impl Status {
    pub fn code(self) -> u32 {
        match self {
            Status::Created => 0,
            Status::Started => 1,
            Status::Stopped => 2,
        }
    }

    pub fn from_code(code: u32) -> Option<Status> {
        [Status::Created, Status::Started, Status::Stopped].into_iter().find(|s| s.code() == code)
    }

    pub fn text(self) -> &'static str {
        match self {
            Status::Created => "Created",
            Status::Started => "Started",
            Status::Stopped => "Stopped",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Tcp,
    Rdma,
    TcpRdma,
}

impl Transport {
    /// Number in `info` files and dicts.
    pub fn code(self) -> u32 {
        match self {
            Transport::Tcp => 0,
            Transport::Rdma => 1,
            Transport::TcpRdma => 2,
        }
    }

    pub fn from_code(code: u32) -> Option<Transport> {
        [Transport::Tcp, Transport::Rdma, Transport::TcpRdma].into_iter().find(|t| t.code() == code)
    }

    pub fn parse(text: &str) -> Option<Transport> {
        match text {
            "tcp" => Some(Transport::Tcp),
            "rdma" => Some(Transport::Rdma),
            "tcp,rdma" | "rdma,tcp" => Some(Transport::TcpRdma),
            _ => None,
        }
    }

    pub fn text(self) -> &'static str {
        match self {
            Transport::Tcp => "tcp",
            Transport::Rdma => "rdma",
            Transport::TcpRdma => "tcp,rdma",
        }
    }
}

/// Random at create, in trusted volfiles and bricks' volfiles; they never change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    pub username: String,
    pub password: String,
}

/// The thin arbiter's brick; one serves every subvolume. It is no brick of the volume's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThinArbiter {
    pub host: String,
    pub path: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    pub name: VolumeName,
    pub id: VolumeId,
    pub layout: Layout,
    pub status: Status,
    pub transport: Transport,
    pub bricks: Vec<Brick>,
    pub thin_arbiter: Option<ThinArbiter>,
    /// Newest key first.
    pub options: OptionList,
    pub credentials: Credentials,
    /// `version` of the info file: grows by one at every change.
    pub version: u32,
    pub op_version: u32,
    pub client_op_version: u32,
    /// Times quota was enabled.
    pub quota_version: u32,
    pub quota: QuotaList,
    pub snap_max_hard_limit: u64,
    pub restored_from_snap: Uuid,
    /// Grows with every start and start force. A node launches missing bricks when it sees a
    /// number it has not acted on; a brick that dies under a number it knows stays dead, as in
    /// stock (users.md row 16).
    pub start_epoch: u64,
    /// The last rebalance or brick removal, if any.
    pub task: Option<Task>,
}

impl Volume {
    pub fn is_started(&self) -> bool {
        self.status == Status::Started
    }

    pub fn local_bricks(&self, node: NodeId) -> impl Iterator<Item = (usize, &Brick)> {
        self.bricks.iter().enumerate().filter(move |(_, brick)| brick.node == node)
    }

    /// What a node compares to tell whether it has acted on the last start of a brick.
    pub fn epoch_of(&self, brick: &Brick) -> u64 {
        self.start_epoch + brick.resets
    }

    /// Data is being moved, or a layout fixed.
    pub fn is_moving(&self) -> bool {
        self.task.as_ref().is_some_and(Task::is_running)
    }

    /// The nodes that work on `task`: those with bricks that are to be emptied, or with any.
    pub fn nodes_of_task(&self, task: &Task) -> BTreeSet<NodeId> {
        let concerned = |brick: &&Brick| match task.kind {
            TaskKind::Rebalance | TaskKind::FixLayout => true,
            TaskKind::RemoveBrick => task.bricks.contains(&brick.spec().to_string()),
        };
        self.bricks.iter().filter(concerned).map(|brick| brick.node).collect()
    }

    /// Index of `host:path`, or `None`.
    pub fn position(&self, host: &str, path: &str) -> Option<usize> {
        self.bricks.iter().position(|b| b.host == host && b.path == path)
    }
}
