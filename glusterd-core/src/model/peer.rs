//! Members of the pool and what holds for all of them.

use super::names::NodeId;
use super::op_version::OP_VERSION_MAX;
use super::option_list::OptionList;

/// Where every daemon listens for its peers, clients and mounts, unless a setting says otherwise.
pub const DAEMON_PORT: u16 = 24007;

/// Numbers and texts of `peer status`; xlators/mgmt/glusterd/src/glusterd-sm.c (v10.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerState {
    Befriended,
    Detaching,
}

impl PeerState {
    pub fn code(self) -> u32 {
        match self {
            PeerState::Befriended => 3,
            PeerState::Detaching => 7,
        }
    }

    pub fn text(self) -> &'static str {
        match self {
            PeerState::Befriended => "Peer in Cluster",
            PeerState::Detaching => "Peer detach in progress",
        }
    }
}

/// A member record. The first host name is the one shown; the others are further names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    pub id: NodeId,
    pub hostnames: Vec<String>,
    pub state: PeerState,
}

/// What `volume set all` changes, and the pool's op-version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Global {
    pub op_version: u32,
    /// `global-option-version` of the options file: grows by one at every change.
    pub version: u32,
    pub options: OptionList,
    /// Number of the last sweep that was made.
    pub swept: u64,
    /// Sweeps that some volume's record may lack, oldest first.
    pub sweeps: Vec<Sweep>,
}

/// A change of every volume of the pool in one record, however many volumes there are: whoever
/// reads a volume's record puts the sweeps on top that it has not taken in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sweep {
    pub number: u64,
    pub change: SweepChange,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SweepChange {
    /// Options set in this order.
    Set(Vec<(String, String)>),
    /// What a risen op-version of the pool brings into volumes.
    OpVersion(u32),
}

impl Global {
    /// Adds a sweep.
    pub fn sweep(&mut self, change: SweepChange) {
        self.swept += 1;
        self.sweeps.push(Sweep { number: self.swept, change });
    }
}

impl Default for Global {
    fn default() -> Global {
        Global {
            op_version: OP_VERSION_MAX,
            version: 0,
            options: OptionList::default(),
            swept: 0,
            sweeps: Vec::new(),
        }
    }
}
