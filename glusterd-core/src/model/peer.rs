//! Members of the pool and what holds for all of them.

use super::names::NodeId;
use super::op_version::OP_VERSION_MAX;
use super::option_list::OptionList;

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
}

impl Default for Global {
    fn default() -> Global {
        Global { op_version: OP_VERSION_MAX, version: 0, options: OptionList::default() }
    }
}
