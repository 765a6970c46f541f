//! `volume set`: what is refused.
//!
//! Pure. Pairs are judged one after the other, each against the stored options alone, as stock
//! does. The graphs and the node come in as `Graphs` and `NodeFacts`. What changes is in `apply`.
//!
//! Facts: glusterd_op_stage_set_volume, glusterd_op_set_volume,
//! glusterd_op_set_all_volume_options, xlators/mgmt/glusterd/src/glusterd-op-sm.c:960-1500,
//! 2520-3100 (v10.3).

use super::facts::NodeFacts;
use super::get::POOL_KEYS;
use super::lookup::{resolve, suggestion};
use super::number;
use super::opt::{Opt, Scope};
use super::own::is_own;
use super::rule::{Ground, check_rule, client_op_version, clients_understand, ruled};
use super::value::check_value;
use crate::model::{Global, OP_VERSION_MAX, Refusal, Status, Volume, VolumeName, boolean};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The pool's configuration as far as options depend on it.
#[derive(Clone, Copy, Debug)]
pub struct Pool<'a> {
    pub volumes: &'a BTreeMap<VolumeName, Arc<Volume>>,
    pub global: &'a Global,
    /// Members with a live session, this one included.
    pub nodes_up: usize,
}

/// Which options.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    Volume(&'a Volume),
    Pool,
}

/// The translator graphs an option ends up in.
pub trait Graphs {
    /// Builds every graph of `stored` with one option laid over it and judges all nodes.
    ///
    /// # Errors
    /// The text for the user, empty where stock has none.
    fn try_option(&self, stored: &Volume, key: &str, value: &str) -> Result<(), String>;

    /// Whether every volfile of the volume can be made.
    fn can_build(&self, volume: &Volume) -> bool;
}

/// A request of `volume set`.
#[derive(Clone, Copy, Debug)]
pub struct Set<'a> {
    pub target: Target<'a>,
    /// Keys as typed, in order.
    pub pairs: &'a [(String, String)],
    /// Sent by `volume heal V granular-entry-heal`, for which the key is free.
    pub special: bool,
}

const SHARED_STORAGE: &str = "gluster_shared_storage";
const NO_TEXT: &str = "Error, Validation Failed";

/// What has to be asked of the nodes before `stage_set`, if anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    pub directories: Vec<String>,
    pub trash_dir: Option<String>,
    pub client_op_version: Option<u32>,
    /// Something else of `NodeFacts`.
    pub other: bool,
}

impl Set<'_> {
    pub fn needs(&self) -> Option<Needs> {
        use super::opt::Rule;
        let mut needs = Needs::default();
        let mut clients = self.volume().map_or(0, |volume| volume.client_op_version);
        let known = clients;
        for (key, value) in self.pairs {
            match ruled(key).map(|(_, rule)| rule) {
                Some(Rule::Directory) => needs.directories.push(value.clone()),
                Some(Rule::RebalanceThrottle) => needs.other = true,
                Some(rule) => clients = clients.max(client_op_version(rule, value).unwrap_or(0)),
                None => {}
            }
            let Ok(opt) = resolve(key) else { continue };
            match opt.key {
                "features.trash-dir" => needs.trash_dir = Some(value.clone()),
                "cluster.enable-shared-storage" => needs.other = true,
                _ if opt.client => clients = clients.max(opt.op_version),
                _ => {}
            }
        }
        let newer = self.volume().is_some() && clients > known;
        needs.client_op_version = newer.then_some(clients);
        (needs != Needs::default()).then_some(needs)
    }

    fn volume(&self) -> Option<&Volume> {
        match self.target {
            Target::Volume(volume) => Some(volume),
            Target::Pool => None,
        }
    }
}

/// Judges every pair as one node does.
///
/// # Errors
/// The first refusal; op_errno 30800.
pub fn stage_set(
    pool: &Pool<'_>,
    set: &Set<'_>,
    facts: &NodeFacts,
    graphs: &dyn Graphs,
) -> Result<(), Refusal> {
    if set.pairs.is_empty() {
        return Err(Refusal::staged("Options not specified"));
    }
    let mut clients = set.volume().map_or(0, |volume| volume.client_op_version);
    for (at, (key, value)) in set.pairs.iter().enumerate() {
        let staged = stage_pair(pool, set, facts, graphs, (at, key, value)).map_err(refused)?;
        match staged {
            Staged::Pair(Some(opt)) if opt.client => clients = clients.max(opt.op_version),
            Staged::Pair(_) => {}
            Staged::ClusterVersion => return Ok(()),
        }
    }
    match set.target {
        Target::Volume(_) => clients_understand(facts, clients).map_err(refused),
        Target::Pool => Ok(()),
    }
}

fn refused(text: String) -> Refusal {
    Refusal::staged(if text.is_empty() { NO_TEXT.to_owned() } else { text })
}

enum Staged {
    /// Without a row for a `user.` key.
    Pair(Option<&'static Opt>),
    ClusterVersion,
}

fn stage_pair(
    pool: &Pool<'_>,
    set: &Set<'_>,
    facts: &NodeFacts,
    graphs: &dyn Graphs,
    (at, key, value): (usize, &str, &str),
) -> Result<Staged, String> {
    of_another_command(set, pool, key, value)?;
    if key.starts_with("user.") {
        return Ok(Staged::Pair(None));
    }
    let ground = Ground { volume: set.volume(), global: pool.global, facts };
    check_rule(&ground, key, value)?;
    let opt = resolve(key)
        .map_err(|hint| format!("option : {key} does not exist{}", suggestion(hint)))?;
    let key = opt.key;
    if let Target::Volume(volume) = set.target {
        in_this_state(set, volume, key)?;
    }
    if key == "cluster.op-version" {
        return cluster_version(pool, set, at, value).map(|()| Staged::ClusterVersion);
    }
    scope(set.target, opt)?;
    if matches!(key, "cluster.server-quorum-type" | "cluster.server-quorum-ratio")
        && let Some(declared) = &opt.declared
    {
        check_value(&declared.value, opt.option, value, &|_| false)?;
    }
    match (key, set.target) {
        ("cluster.enable-shared-storage", _) => shared_storage(pool, facts, value)?,
        ("cluster.localtime-logging", _) if !matches!(value, "enable" | "disable") => {
            return Err(enable_or_disable(value));
        }
        ("cluster.daemon-log-level", _) => daemon_log_level(value)?,
        ("features.trash-dir", Target::Volume(volume)) => trash_dir(volume, facts, value)?,
        _ => {}
    }
    match (opt.scope, set.target) {
        (Scope::EveryVolume, Target::Volume(_)) => {
            pool.volumes.values().try_for_each(|v| graphs.try_option(v, key, value))?;
        }
        (_, Target::Volume(volume)) => graphs.try_option(volume, key, value)?,
        (_, Target::Pool) => {}
    }
    Ok(Staged::Pair(Some(opt)))
}

/// Keys that look like options and are commands of their own, and the odd three before them.
fn of_another_command(
    set: &Set<'_>,
    pool: &Pool<'_>,
    key: &str,
    value: &str,
) -> Result<(), String> {
    let known = ["tcp", "rdma", "tcp,rdma", "rdma,tcp"];
    match key {
        "config.memory-accounting" => Ok(()),
        "config.transport" if known.iter().any(|word| value.eq_ignore_ascii_case(word)) => Ok(()),
        "config.transport" => Err(format!("transport-type {value} does not exist")),
        "ganesha.enable" if value == "off" => {
            let exported = set.volume().and_then(|volume| volume.options.value("ganesha.enable"))
                == Some("on");
            if exported {
                ganesha_is_on(pool)
            } else {
                Err("ganesha.enable is already 'off'.".into())
            }
        }
        "ganesha.enable" => Ok(()),
        _ => bitrot_key(key).and_then(|()| quota_key(key, value)),
    }
}

pub(super) fn ganesha_is_on(pool: &Pool<'_>) -> Result<(), String> {
    match pool.global.options.flag("nfs-ganesha") {
        Some(true) => Ok(()),
        _ => Err("The option nfs-ganesha should be enabled before setting ganesha.enable.".into()),
    }
}

fn bitrot_key(key: &str) -> Result<(), String> {
    let instead = match key.strip_prefix("features.").unwrap_or(key) {
        "bitrot" => "{enable|disable}",
        "scrub-freq" => "scrub-frequency {hourly|daily|weekly|biweekly|monthly}",
        "scrub" => "scrub {pause|resume}",
        "scrub-throttle" => "scrub-throttle  {lazy|normal|aggressive}",
        _ => return Ok(()),
    };
    Err(format!(
        " 'gluster volume set <VOLNAME> {key}' is invalid command. Use 'gluster volume bitrot \
         <VOLNAME> {instead}' instead."
    ))
}

fn quota_key(key: &str, value: &str) -> Result<(), String> {
    let enable = match key.strip_prefix("features.").unwrap_or(key) {
        "quota" => "quota <VOLNAME> enable",
        "inode-quota" => "inode-quota <VOLNAME> enable",
        _ => return Ok(()),
    };
    let instead = match boolean(value) {
        Some(true) => enable,
        Some(false) => "quota <VOLNAME> disable",
        None => return Err(String::new()),
    };
    Err(format!(
        " 'gluster volume set <VOLNAME> {key} {value}' is deprecated. Use 'gluster volume \
         {instead}' instead."
    ))
}

fn in_this_state(set: &Set<'_>, volume: &Volume, key: &str) -> Result<(), String> {
    if key == "storage.linux-aio" && volume.is_started() {
        return Err("Changing 'storage.linux-aio' is not supported when the volume is in started \
                    state. Please stop the volume first."
            .into());
    }
    if key == "cluster.granular-entry-heal" && volume.status != Status::Created && !set.special {
        return Err(format!(
            " 'gluster volume set <VOLNAME> {key} {{enable, disable}}' is not supported. Use \
             'gluster volume heal <VOLNAME> granular-entry-heal {{enable, disable}}' instead."
        ));
    }
    Ok(())
}

fn cluster_version(pool: &Pool<'_>, set: &Set<'_>, at: usize, value: &str) -> Result<(), String> {
    let key = "cluster.op-version";
    let now = pool.global.op_version;
    if set.volume().is_some() {
        return Err(format!("Option \"{key}\" is not valid for a single volume"));
    }
    if at != 0 {
        return Err(format!("Option \"{key}\" cannot be set along with other options"));
    }
    match number::unsigned32(value) {
        None => Err(format!("invalid number format \"{value}\" in option \"{key}\"")),
        Some(wanted) if wanted > OP_VERSION_MAX || wanted == 0 => Err(format!(
            "Required op_version ({wanted}) is not supported. Max supported op version is {now}"
        )),
        Some(wanted) if wanted <= now => Err(format!(
            "Required op-version ({wanted}) should not be equal or lower than current cluster \
             op-version ({now})."
        )),
        Some(_) => Ok(()),
    }
}

/// Whether the option belongs to what it is set, or reset, on.
pub fn scope(target: Target<'_>, opt: &Opt) -> Result<(), String> {
    let of_pool = is_own(opt) || POOL_KEYS.iter().any(|(key, _)| *key == opt.key);
    match target {
        _ if opt.key == "cluster.max-op-version" => Err("Not a valid option to set".into()),
        Target::Pool if !of_pool => Err("Not a valid option for all volumes".into()),
        Target::Volume(_) if of_pool => Err("Not a valid option for single volume".into()),
        _ => Ok(()),
    }
}

fn enable_or_disable(value: &str) -> String {
    format!("Invalid option({value}). Valid options are 'enable' and 'disable'")
}

fn shared_storage(pool: &Pool<'_>, facts: &NodeFacts, value: &str) -> Result<(), String> {
    if !matches!(value, "enable" | "disable") {
        return Err(enable_or_disable(value));
    }
    if let Some(script) = &facts.shared_storage_hook_missing {
        return Err(format!(
            "The hook-script ({script}) required for this operation is not present. Please \
             install the hook-script and retry"
        ));
    }
    let there = pool.volumes.contains_key(SHARED_STORAGE);
    let enabled = pool.global.options.value("cluster.enable-shared-storage");
    match value {
        "disable" if matches!(enabled, None | Some("disable")) => {
            Err("Shared storage volume does not exist. Please enable shared storage for creating \
             shared storage volume."
                .into())
        }
        "disable" => Ok(()),
        _ if there => Err(format!("Shared storage volume({SHARED_STORAGE}) already exists.")),
        _ if pool.nodes_up <= 1 => {
            Err("More than one node should be up/present in the cluster to enable this option"
                .into())
        }
        _ => Ok(()),
    }
}

fn daemon_log_level(value: &str) -> Result<(), String> {
    match value {
        "INFO" | "WARNING" | "ERROR" | "DEBUG" | "TRACE" => Ok(()),
        _ => Err(format!(
            "Invalid option({value}). Valid options are 'INFO' or 'WARNING' or 'ERROR' or 'DEBUG' \
             or  'TRACE'"
        )),
    }
}

fn trash_dir(volume: &Volume, facts: &NodeFacts, value: &str) -> Result<(), String> {
    if volume.options.flag("features.trash") != Some(true) {
        return Err(format!(
            "Trash translator is not enabled. Use volume set {} trash on",
            volume.name
        ));
    }
    if value.contains('/') {
        return Err("Path is not allowed as option".into());
    }
    if facts.trash_dir_exists {
        return Err(format!("Path {value} exists"));
    }
    if volume.is_started() && facts.brick_down {
        return Err("One or more bricks are down".into());
    }
    Ok(())
}
