//! Reads the store files back into the model.
//!
//! Pure: texts in, values or the reason why not out. Every count is checked against what is there.
//! Only what stock or this daemon writes is understood; one bad line makes the file bad, as in stock.
//!
//! Facts: glusterd-store.c:2700-3200 (info), 2400-2650 (bricks), 2057-2200 (glusterd.info) (v10.3).

use super::text::{OP_REBALANCE, OP_REMOVE_BRICK};
use crate::model::{
    Brick, Credentials, DefragStatus, Global, Kind, Layout, NodeId, OP_VERSION_MAX, OP_VERSION_MIN,
    OptionList, Peer, PeerState, QuotaList, Status, Task, TaskKind, ThinArbiter, Transport, Volume,
    VolumeId, VolumeName,
};
use std::collections::BTreeMap;
use std::str::FromStr;
use uuid::Uuid;

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    #[error("line {0:?} is not KEY=VALUE")]
    Line(String),
    #[error("{0} is missing")]
    Missing(String),
    #[error("{key}={value}: {wrong}")]
    Value { key: String, value: String, wrong: &'static str },
    #[error("brick file {0} is missing")]
    NoBrick(String),
}

/// The lines of one file. Taking a key removes it, so that what is left are the options.
struct Lines<'a> {
    pairs: Vec<(&'a str, &'a str)>,
}

impl<'a> Lines<'a> {
    fn of(text: &'a str) -> Result<Lines<'a>, ParseError> {
        let pair = |line: &'a str| {
            let bad = || ParseError::Line(line.chars().take(200).collect());
            line.split_once('=').filter(|(key, _)| !key.is_empty()).ok_or_else(bad)
        };
        Ok(Lines { pairs: text.lines().map(pair).collect::<Result<_, _>>()? })
    }

    fn take(&mut self, key: &str) -> Option<&'a str> {
        let at = self.pairs.iter().position(|(k, _)| *k == key)?;
        Some(self.pairs.remove(at).1)
    }

    fn need(&mut self, key: &str) -> Result<&'a str, ParseError> {
        self.take(key).ok_or_else(|| ParseError::Missing(key.to_owned()))
    }

    fn number<T: FromStr>(&mut self, key: &str) -> Result<T, ParseError> {
        let value = self.need(key)?;
        value.parse().map_err(|_| bad(key, value, "not a number in range"))
    }

    fn number_or<T: FromStr>(&mut self, key: &str, default: T) -> Result<T, ParseError> {
        match self.take(key) {
            None => Ok(default),
            Some(value) => value.parse().map_err(|_| bad(key, value, "not a number in range")),
        }
    }

    fn known<T>(
        &mut self,
        key: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, ParseError> {
        let value = self.need(key)?;
        read(value).ok_or_else(|| bad(key, value, "not known"))
    }
}

fn bad(key: &str, value: &str, wrong: &'static str) -> ParseError {
    ParseError::Value { key: key.to_owned(), value: value.chars().take(200).collect(), wrong }
}

fn code<T>(text: &str, of: fn(u32) -> Option<T>) -> Option<T> {
    of(text.parse().ok()?)
}

/// A volume from its `info`, the files of its bricks by name (`HOST:-PATH`), and its
/// `node_state.info` if there is one.
///
/// What only the coordinator knows (`start_epoch`) is 0; quota's list has files of its own (`quota`).
///
/// # Errors
/// [`ParseError`]: the first thing that is wrong in any of these files.
pub fn volume(
    name: &VolumeName,
    info: &str,
    bricks: &BTreeMap<String, String>,
    node_state: Option<&str>,
) -> Result<Volume, ParseError> {
    let mut lines = Lines::of(info)?;
    let count: usize = lines.number("count")?;
    let layout = layout(&mut lines)?;
    let mut volume = Volume {
        name: name.clone(),
        id: lines.known("volume-id", VolumeId::parse)?,
        layout,
        status: lines.known("status", |text| code(text, Status::from_code))?,
        transport: lines.known("transport-type", |text| code(text, Transport::from_code))?,
        bricks: Vec::new(),
        thin_arbiter: None,
        options: OptionList::default(),
        credentials: Credentials {
            username: lines.take("username").unwrap_or_default().to_owned(),
            password: lines.take("password").unwrap_or_default().to_owned(),
        },
        version: lines.number("version")?,
        op_version: lines.number_or("op-version", 1)?,
        client_op_version: lines.number_or("client-op-version", 1)?,
        quota_version: lines.number_or("quota-version", 0)?,
        quota: QuotaList::default(),
        snap_max_hard_limit: lines.number_or("snap-max-hard-limit", 256)?,
        restored_from_snap: uuid_or_nil(&mut lines, "restored_from_snap")?,
        start_epoch: 0,
        task: node_state.map(task).transpose()?.flatten(),
    };
    for key in ["sub_count", "stripe_count", "tier-enabled", "parent_volname"] {
        lines.take(key);
    }
    let file = |file: &str| bricks.get(file).ok_or_else(|| ParseError::NoBrick(file.to_owned()));
    // A count that lies ends at the first brick that is missing.
    for number in 0..count {
        volume.bricks.push(brick(file(lines.need(&format!("brick-{number}"))?)?)?);
    }
    if let Some(name) = lines.take("ta-brick-0") {
        let Brick { host, path, .. } = brick(file(name)?)?;
        volume.thin_arbiter = Some(ThinArbiter { host, path });
    }
    let pairs = lines.pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned()));
    volume.options = OptionList::from_newest_first(pairs.collect());
    Ok(volume)
}

fn layout(lines: &mut Lines<'_>) -> Result<Layout, ParseError> {
    let kind = lines.known("type", |text| code(text, Kind::from_code))?;
    Ok(Layout {
        kind,
        replica: lines.number_or("replica_count", 1)?,
        arbiter: lines.number_or("arbiter_count", 0)?,
        thin_arbiter: lines.number_or("thin_arbiter_count", 0)?,
        disperse: lines.number_or("disperse_count", 0)?,
        redundancy: lines.number_or("redundancy_count", 0)?,
    })
}

fn uuid_or_nil(lines: &mut Lines<'_>, key: &str) -> Result<Uuid, ParseError> {
    match lines.take(key) {
        None => Ok(Uuid::nil()),
        Some(text) => Uuid::try_parse(text).map_err(|_| bad(key, text, "not a uuid")),
    }
}

/// One of `bricks/*`.
///
/// # Errors
/// [`ParseError`]
pub fn brick(text: &str) -> Result<Brick, ParseError> {
    let mut lines = Lines::of(text)?;
    let path = lines.need("path")?.to_owned();
    Ok(Brick {
        node: lines.known("uuid", NodeId::parse)?,
        host: lines.need("hostname")?.to_owned(),
        real_path: lines.take("real_path").unwrap_or(&path).to_owned(),
        id: lines.need("brick-id")?.to_owned(),
        mount_dir: lines.take("mount_dir").unwrap_or_default().to_owned(),
        fsid: lines.number_or("brick-fsid", 0)?,
        decommissioned: lines.number_or("decommissioned", 0u8)? != 0,
        snap_status: lines.number_or("snap-status", 0)?,
        resets: 0,
        path,
    })
}

/// The port a brick listened on when its file was written.
pub fn listen_port(text: &str) -> Option<u16> {
    Lines::of(text).ok()?.number("listen-port").ok().filter(|port| *port != 0)
}

fn task(text: &str) -> Result<Option<Task>, ParseError> {
    const FIX_LAYOUT: u32 = 4;
    let mut lines = Lines::of(text)?;
    let command: u32 = lines.number_or("rebalance_status", 0)?;
    let status = lines.known("status", |text| code(text, DefragStatus::from_code))?;
    let kind = match (lines.number_or("rebalance_op", 0u32)?, command) {
        (OP_REMOVE_BRICK, _) => TaskKind::RemoveBrick,
        (OP_REBALANCE, FIX_LAYOUT) => TaskKind::FixLayout,
        (OP_REBALANCE, _) => TaskKind::Rebalance,
        _ => return Ok(None),
    };
    let id = uuid_or_nil(&mut lines, "rebalance-id")?;
    let bricks = (1..).map_while(|at| lines.take(&format!("brick{at}"))).map(str::to_owned);
    let bricks = bricks.collect();
    Ok(Some(Task { id, kind, command, commit_hash: 0, status, bricks, over: false }))
}

/// `glusterd.info`: the node, and the pool's op-version (1 if the file does not say).
///
/// # Errors
/// [`ParseError`]
pub fn glusterd_info(text: &str) -> Result<(NodeId, u32), ParseError> {
    let mut lines = Lines::of(text)?;
    let me = lines.known("UUID", NodeId::parse)?;
    let op_version = lines.number_or("operating-version", OP_VERSION_MIN)?;
    if !(OP_VERSION_MIN..=OP_VERSION_MAX).contains(&op_version) {
        return Err(bad("operating-version", &op_version.to_string(), "not supported"));
    }
    Ok((me, op_version))
}

/// `options`, with the op-version from `glusterd.info`.
///
/// # Errors
/// [`ParseError`]
pub fn options(text: &str, op_version: u32) -> Result<Global, ParseError> {
    let mut lines = Lines::of(text)?;
    let version = lines.number_or("global-option-version", 0)?;
    let pairs = lines.pairs.into_iter().rev();
    let pairs = pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    let options = OptionList::from_newest_first(pairs);
    Ok(Global { op_version, version, options, ..Global::default() })
}

/// One of `peers/*`.
///
/// # Errors
/// [`ParseError`]
pub fn peer(text: &str) -> Result<Peer, ParseError> {
    let mut lines = Lines::of(text)?;
    let id = lines.known("uuid", NodeId::parse)?;
    let state = match lines.number_or("state", 0u32)? {
        state if state == PeerState::Detaching.code() => PeerState::Detaching,
        _ => PeerState::Befriended,
    };
    let hostnames = (1..).map_while(|at| lines.take(&format!("hostname{at}"))).map(str::to_owned);
    let mut hostnames: Vec<String> = hostnames.collect();
    // The key of files written before peers had several names.
    hostnames.extend(lines.take("hostname").map(str::to_owned));
    if hostnames.is_empty() {
        return Err(ParseError::Missing("hostname1".to_owned()));
    }
    Ok(Peer { id, hostnames, state })
}
