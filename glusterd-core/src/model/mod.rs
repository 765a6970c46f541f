//! What the daemon talks about: volumes, bricks, peers, names, versions.
//!
//! Parsed types only: no I/O, no clock, no serialisation (records live in `store`, texts in `mirror`).

mod brick;
mod layout;
mod names;
mod op_version;
mod option_list;
mod peer;
mod quota;
mod refusal;
mod task;
mod volume;

pub use brick::{Brick, BrickRef, BrickSpec, overlaps};
pub use layout::{Kind, Layout};
pub use names::{NodeId, VolumeId, VolumeName, dash_path, strip_dash_path};
pub use op_version::{OP_VERSION_MAX, OP_VERSION_MIN};
pub use option_list::{OptionList, boolean};
pub use peer::{DAEMON_PORT, Global, Peer, PeerState, Sweep, SweepChange};
pub use quota::{LimitKind, QUOTA_LIMITS_MAX, QuotaLimit, QuotaList};
pub use refusal::{Refusal, errno};
pub use task::{Counts, DefragStatus, Progress, Task, TaskKind};
pub use volume::{Credentials, Status, ThinArbiter, Transport, Volume};
