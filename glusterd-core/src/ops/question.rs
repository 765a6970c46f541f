//! What a node can be asked, and its answers.
//!
//! Plain data with a serialised form: on the own node a call, on others a key in the coordinator.

use super::quota::QuotaAsk;
use crate::model::VolumeName;
use crate::options::NodeFacts;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Question {
    /// Which of the hosts are this node, and at which addresses are they? Answer: `Located`, in the
    /// order asked.
    Locate { hosts: Vec<String> },
    /// Which running daemon is that, and is it free to join? Answer: `Candidate`.
    FindPeer { host: String },
    /// Wait for a new member to show itself. Answer: `Done`, in any case.
    AwaitPeer { node: Uuid },
    /// Wait for a former member to leave the store, or take it out. Answer: `Done`, in any case.
    AwaitGone { node: Uuid, may_go: bool },
    /// Wait until clients of a daemon that has just gone have had time to find another one.
    /// Answer: `Done`.
    AwaitClients,
    /// Act on that revision for these volumes, after what the node is asked to do `first`, with the
    /// hooks before and after. Answer: `Done`, or `Refused` with what failed.
    Settle {
        revision: u64,
        volumes: Vec<String>,
        hooks: Option<RemoteHooks>,
        #[serde(default)]
        first: Vec<(Uuid, Question)>,
    },
    /// Every node has acted on what made these volumes grow, to that version: tell the clients.
    /// Answer: `Done`.
    TellClients { volumes: Vec<(String, u32)> },
    /// May these paths become bricks? Creates missing directories; leaves no other mark. Answer:
    /// `Bricks`; `Places`, and nothing looked at further, if as far as this node knows one of them
    /// lies in another brick than `instead_of`, and whoever asks has not `compared` them itself.
    CheckBricks {
        volume: String,
        bricks: Vec<(String, String)>,
        force: bool,
        any_device: bool,
        instead_of: Option<String>,
        compared: bool,
    },
    /// Mark the brick roots as the volume's, after the commit. Answer: `Done`.
    MarkBricks { volume_id: Uuid, bricks: Vec<(String, String)>, force: bool },
    /// The change that marked them was taken back. Answer: `Done`.
    UnmarkBricks { volume_id: Uuid, bricks: Vec<(String, String)> },
    /// Are the directories of the local bricks what the volume says? Answer: `Done`.
    CheckStart { volume: String, force: bool },
    /// Rows of `volume status`. Answer: `Status`.
    Status { volume: String, detail: bool },
    /// A call into one brick process. Answer: `Dict`.
    BrickOp { volume: String, path: String, procedure: u32, name: String, input: Vec<u8> },
    /// A call into a node's service of that name (`glustershd`, ...). Answer: `Dict`.
    ServiceOp { service: String, volume: String, procedure: u32, name: String, input: Vec<u8> },
    /// SIGUSR1 with options to the local bricks, or to a service. Answer: `Done`.
    Statedump { volume: String, options: String, count: u32 },
    /// Rename the log, tell the brick. Answer: `Done`.
    RotateLog { volume: String, brick: Option<(String, String)> },
    /// Mount, clear, unmount. Answer: `Text`.
    ClearLocks { volume: String, path: String, kind: String, lock_type: String, opts: String },
    /// What the check of an option's value needs from the node; only what is asked is looked at.
    /// Answer: `OptionFacts`.
    OptionFacts {
        volume: Option<String>,
        directories: Vec<String>,
        trash_dir: Option<String>,
        client_op_version: Option<u32>,
    },
    /// Write a state file; without a name it gets the time's. Answer: `Text` (its path).
    WriteState { dir: String, file: Option<String>, text: String },
    /// Answer: as `ask` says.
    Quota { volume: String, ask: QuotaAsk },
    /// Be another node from now on. Answer: `Done`.
    ChangeIdentity { node: Uuid },
    /// How far is the volume's rebalance process; with `stop` it is told to end after the file it
    /// moves. Answer: `Moving`.
    Rebalance { volume: String, stop: bool },
    /// Stop this brick of a started volume until it is put back. Answer: `Done`.
    RetireBrick { volume: String, path: String },
    /// Mark these brick roots as copies that lack everything. Answer: `Done`.
    MarkEmpty { paths: Vec<String> },
    /// Make the other copies remember, through a mount of `volfile`, that the bricks with these ids
    /// lack everything. Answer: `Done`.
    BlameEmpty { volume: String, volfile: String, ids: Vec<String>, replaced: bool },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Answer {
    Done,
    Text(String),
    /// A serialized dict.
    Dict(Vec<u8>),
    Located(Vec<HostFacts>),
    /// Real paths, in the order asked; a part that does not exist yet stands as given.
    Places(Vec<String>),
    Candidate(Candidate),
    Bricks(Vec<CheckedBrick>),
    Status(NodeStatus),
    OptionFacts(NodeFacts),
    Moving(Moving),
    /// The node says no, in stock's words.
    Refused {
        text: String,
        errno: i32,
    },
    /// The node did not answer in time, or its answer could not be read.
    Silent(String),
}

/// A rebalance or brick removal as one node sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Moving {
    /// `gf_defrag_status_t`.
    pub status: u32,
    pub files: u64,
    pub bytes: u64,
    pub scanned: u64,
    pub failures: u64,
    pub skipped: u64,
    pub seconds: f64,
    pub seconds_left: u64,
}

/// A host as one node sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostFacts {
    pub name: String,
    pub is_me: bool,
    /// Empty when the name does not resolve.
    pub addresses: Vec<String>,
}

/// Hook scripts for other nodes than the one that has the command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteHooks {
    pub event: String,
    pub pre: Vec<String>,
    pub post: Vec<String>,
}

/// What is known of a host that is to become a member.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    pub is_me: bool,
    /// Empty when the name does not resolve.
    pub addresses: Vec<String>,
    /// Whether a daemon takes connections there; what follows is looked at only then.
    pub reached: bool,
    /// This node's address on the way there.
    pub my_address: Option<String>,
    /// Daemons of this ensemble that run at these addresses: one, if all is well.
    pub found: Vec<Found>,
    /// This node was a member there that had lost its store, and has been fetched.
    pub came_home: bool,
}

/// A running daemon and the pool it is in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    pub node: Uuid,
    pub pool: Uuid,
    pub op_version_max: u32,
    /// Version of its member record.
    pub member: [u64; 3],
    /// Other members of its pool.
    pub peers: usize,
    pub volumes: usize,
    /// Everything of its pool: names and versions.
    pub records: Vec<(String, [u64; 3])>,
}

/// A path found fit for a brick.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckedBrick {
    pub real_path: String,
    pub mount_dir: String,
    pub fsid: u64,
    /// Said although the check passed (an old mark under `force`).
    pub warning: Option<String>,
}

/// What a node shows of a volume's processes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeStatus {
    pub bricks: Vec<BrickStatus>,
    pub services: Vec<ServiceStatus>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BrickStatus {
    pub path: String,
    /// 0 when not running.
    pub port: u16,
    /// `None` when not running.
    pub pid: Option<u32>,
    pub online: bool,
    pub detail: Option<BrickDetail>,
}

/// `volume status V detail`; sizes in bytes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BrickDetail {
    pub total: u64,
    pub free: u64,
    pub block_size: u64,
    pub total_inodes: u64,
    pub free_inodes: u64,
    pub device: String,
    pub fs_name: String,
    pub mount_options: String,
    /// Empty where the file system tells none; `N/A` where it has none.
    pub inode_size: String,
}

/// A per-node service as a row of `volume status`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// As printed: `Self-heal Daemon`, `Quota Daemon`, ...
    pub title: String,
    pub port: u16,
    pub pid: Option<u32>,
    pub online: bool,
}

impl Question {
    /// Whether another node may ask it. What writes where it is told, or makes this node another
    /// one, is for its own administrator.
    pub fn may_travel(&self) -> bool {
        use Question::*;
        match self {
            WriteState { .. }
            | ChangeIdentity { .. }
            | FindPeer { .. }
            | AwaitPeer { .. }
            | AwaitGone { .. }
            | AwaitClients => false,
            Settle { first, .. } => {
                let simple = |(_, ask): &(Uuid, Question)| !matches!(ask, Settle { .. });
                first.iter().all(|ask| simple(ask) && ask.1.may_travel())
            }
            _ => true,
        }
    }

    /// The volume it is about, if it is about one.
    pub fn volume(&self) -> Option<VolumeName> {
        use Question::*;
        let name = match self {
            OptionFacts { volume, .. } => volume.as_ref()?,
            CheckStart { volume, .. }
            | Status { volume, .. }
            | BrickOp { volume, .. }
            | ServiceOp { volume, .. }
            | Statedump { volume, .. }
            | RotateLog { volume, .. }
            | Quota { volume, .. }
            | ClearLocks { volume, .. }
            | Rebalance { volume, .. }
            | RetireBrick { volume, .. }
            | BlameEmpty { volume, .. } => volume,
            FindPeer { .. }
            | AwaitPeer { .. }
            | AwaitGone { .. }
            | AwaitClients
            | Settle { .. }
            | TellClients { .. }
            | Locate { .. }
            | MarkBricks { .. }
            | CheckBricks { .. }
            | UnmarkBricks { .. }
            | WriteState { .. }
            | MarkEmpty { .. }
            | ChangeIdentity { .. } => {
                return None;
            }
        };
        VolumeName::parse(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What may not be asked from elsewhere may not be asked inside another question either.
    #[test]
    fn what_is_done_first_may_travel_by_itself() {
        let check = |first: Vec<Question>, want: bool| {
            let first = first.into_iter().map(|question| (Uuid::nil(), question)).collect();
            let settle = Question::Settle { revision: 1, volumes: vec![], hooks: None, first };
            assert_eq!(settle.may_travel(), want);
            settle
        };
        let mark = Question::MarkBricks { volume_id: Uuid::nil(), bricks: vec![], force: false };
        let settle = check(vec![mark.clone()], true);
        check(vec![mark, Question::ChangeIdentity { node: Uuid::nil() }], false);
        check(vec![settle], false);
    }
}
