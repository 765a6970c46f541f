//! The daemon's own checks of values, made before any graph is tried.
//!
//! Pure: what a check needs of the node is in `NodeFacts`. A new check is a variant of `Rule`, an
//! arm here and a row that names it. Keys stand in the texts as the user typed them.
//!
//! Facts: validate_*, xlators/mgmt/glusterd/src/glusterd-volume-set.c:14-760 (v10.3).

use super::facts::NodeFacts;
use super::number;
use super::opt::{Opt, Rule, Scope};
use super::table::TABLE;
use crate::model::{Global, Kind, Volume, boolean};

/// What a check may look at.
#[derive(Clone, Copy, Debug)]
pub struct Ground<'a> {
    /// `None` for an option of the pool.
    pub volume: Option<&'a Volume>,
    pub global: &'a Global,
    pub facts: &'a NodeFacts,
}

/// Clients up to here cannot take a readdir-ahead cache above 1 GiB.
const LARGE_READDIR_CACHE_OP_VERSION: u32 = 31_100;
const LARGE_READDIR_CACHE_BYTES: u64 = 1 << 30;
const SNAPSHOT_DIRECTORY_BYTES_MAX: usize = 255;

/// The op-version that clients need for this value, where it is not the option's own.
pub fn client_op_version(rule: Rule, value: &str) -> Option<u32> {
    let large = number::size(value).is_some_and(|bytes| bytes > LARGE_READDIR_CACHE_BYTES);
    (rule == Rule::ReaddirCache && large).then_some(LARGE_READDIR_CACHE_OP_VERSION)
}

/// The row whose check a typed key gets: by its full key or by the part after the first dot.
pub fn ruled(key: &str) -> Option<(&'static Opt, Rule)> {
    TABLE.iter().find_map(|opt| {
        let named = opt.key == key || opt.key.split_once('.').is_some_and(|(_, name)| name == key);
        opt.rule.filter(|_| named).map(|rule| (opt, rule))
    })
}

/// # Errors
/// The text for the user, empty where stock has none.
pub fn check_rule(ground: &Ground<'_>, key: &str, value: &str) -> Result<(), String> {
    let Some((opt, rule)) = ruled(key) else { return Ok(()) };
    match ground.volume {
        Some(volume) => on_volume(rule, ground, volume, key, value),
        None if opt.scope == Scope::Volume => Err(String::new()),
        None => on_pool(rule, ground, key, value),
    }
}

fn on_pool(rule: Rule, ground: &Ground<'_>, key: &str, value: &str) -> Result<(), String> {
    match rule {
        Rule::Boolean => flag(key, value),
        Rule::BricksPerProcess => bricks_per_process(ground.global, key, value),
        Rule::VolumesPerThread => volumes_per_thread(ground.global, value),
        // The others look at a volume; their options belong to one.
        _ => Ok(()),
    }
}

fn on_volume(
    rule: Rule,
    ground: &Ground<'_>,
    volume: &Volume,
    key: &str,
    value: &str,
) -> Result<(), String> {
    let layout = &volume.layout;
    match rule {
        Rule::Boolean | Rule::BricksPerProcess | Rule::VolumesPerThread => {
            on_pool(rule, ground, key, value)
        }
        Rule::Backlog => backlog(key, value),
        Rule::CacheFileSizes => cache_file_sizes(volume, key, value),
        Rule::Directory => {
            let known = ground.facts.directories.iter().any(|dir| dir == value);
            unless(known, || format!("Failed: {value} is not a directory"))
        }
        Rule::DisperseHeal => unless(layout.kind == Kind::Disperse, || {
            format!("Volume {} is not of disperse type", volume.name)
        }),
        Rule::DisperseOnly => disperse_only(volume, key),
        Rule::DisperseQuorum => disperse_quorum(volume, key, value),
        Rule::LockMigration => lock_migration(volume, value),
        Rule::MandatoryLocking => {
            unless(matches!(value, "off" | "file" | "forced" | "optimal"), || {
                format!(
                    "Invalid option value '{value}': Available options are 'off', 'file', \
                     'forced' or 'optimal'"
                )
            })
        }
        Rule::ParallelReaddir => {
            flag(key, value)?;
            unless(!volume.is_moving(), || {
                format!("{key} option should be set after rebalance is complete")
            })
        }
        Rule::QuorumCount => quorum_count(volume, key, value),
        Rule::QuotaOn => unless(volume.options.flag("features.quota") == Some(true), || {
            format!("Cannot set {key}. Enable quota first.")
        }),
        Rule::ReaddirCache => {
            unless(number::size(value).is_some(), String::new)?;
            match client_op_version(rule, value) {
                Some(needed) => clients_understand(ground.facts, needed),
                None => Ok(()),
            }
        }
        Rule::RebalanceThrottle => rebalance_throttle(ground.facts.cores, key, value),
        Rule::ReplicaOnly => {
            unless(layout.replica > 1, || format!("Cannot set {key} for a non-replicate volume."))
        }
        Rule::ReplicateHeal => unless(layout.kind == Kind::Replicate, || {
            format!("Volume {} is not of replicate type", volume.name)
        }),
        Rule::RetentionMode => unless(matches!(value, "relax" | "enterprise"), || {
            format!(
                "The value of retention mode should be either relax or enterprise. But the value \
                 of {key} is {value}"
            )
        }),
        Rule::SnapshotDirectory => snapshot_directory(key, value),
        Rule::SubvolsPerDirectory => {
            let wanted = number::leading(value);
            let there = layout.subvolumes(volume.bricks.len());
            unless(usize::try_from(wanted).is_ok_and(|n| n <= there) || wanted < 0, || {
                format!(
                    "subvols-per-directory({wanted}) is greater than the number of \
                     subvolumes({there})."
                )
            })
        }
        Rule::WormPeriod => unless(number::unsigned(value).is_some(), || {
            format!("{value} is not a valid uint64_t value. {key} expects a valid uint64_t value.")
        }),
    }
}

/// A client that is too old for what is wanted.
pub fn clients_understand(facts: &NodeFacts, needed: u32) -> Result<(), String> {
    match &facts.old_client {
        Some(client) if client.op_version_max < needed => Err(format!(
            "One of the client {} is running with op-version {} and doesn't support the required \
             op-version {needed}. This client needs to be upgraded or disconnected before running \
             this command again",
            client.identifier, client.op_version_max
        )),
        _ => Ok(()),
    }
}

fn unless(fine: bool, text: impl FnOnce() -> String) -> Result<(), String> {
    if fine { Ok(()) } else { Err(text()) }
}

fn flag(key: &str, value: &str) -> Result<(), String> {
    unless(boolean(value).is_some(), || {
        format!("{value} is not a valid boolean value. {key} expects a valid boolean value.")
    })
}

fn backlog(key: &str, value: &str) -> Result<(), String> {
    match number::int32(value) {
        None => Err(format!("{value} is not a compatible value. {key} expects an integer value.")),
        Some(n) => unless(n >= 0, || {
            format!("{value} is not a compatible value. {key} expects a positiveinteger value.")
        }),
    }
}

/// Judges the pair only where the other one is set; a value that is no size counts as 0 here.
fn cache_file_sizes(volume: &Volume, key: &str, value: &str) -> Result<(), String> {
    let lower = key.ends_with("cache-min-file-size");
    let other = match lower {
        true => "performance.cache-max-file-size",
        false => "performance.cache-min-file-size",
    };
    let Some(other) = volume.options.value(other) else { return Ok(()) };
    let (min, max) = if lower { (value, other) } else { (other, value) };
    unless(number::size(min).unwrap_or(0) <= number::size(max).unwrap_or(0), || {
        format!("cache-min-file-size ({min}) is greater than cache-max-file-size ({max})")
    })
}

fn bricks_per_process(global: &Global, key: &str, value: &str) -> Result<(), String> {
    multiplexing(global)?;
    match number::unsigned32(value) {
        None => Err(format!("{value} is not a valid count. {key} expects an unsigned integer.")),
        Some(1) => Err("Brick-multiplexing is enabled. Please set this option to a value other \
                        than 1 to make use of the brick-multiplexing feature."
            .to_owned()),
        Some(_) => Ok(()),
    }
}

fn volumes_per_thread(global: &Global, value: &str) -> Result<(), String> {
    multiplexing(global)?;
    let fine = number::unsigned32(value).is_some_and(|n| (5..=200).contains(&n));
    unless(fine, || {
        "Please set this option to a value between 5 and 200 tooptimize processing large numbers \
         of volumes in parallel."
            .to_owned()
    })
}

fn multiplexing(global: &Global) -> Result<(), String> {
    unless(global.options.flag("cluster.brick-multiplex") == Some(true), || {
        "Brick-multiplexing is not enabled. Please enable brick multiplexing before trying to set \
         this option."
            .to_owned()
    })
}

fn disperse_only(volume: &Volume, key: &str) -> Result<(), String> {
    unless(volume.layout.kind == Kind::Disperse, || {
        format!("Cannot set {key} for a non-disperse volume.")
    })
}

fn disperse_quorum(volume: &Volume, key: &str, value: &str) -> Result<(), String> {
    let count = count(key, value)?;
    disperse_only(volume, key)?;
    let all = volume.layout.disperse;
    let data = all.saturating_sub(volume.layout.redundancy);
    unless((i64::from(data)..=i64::from(all)).contains(&count.into()), || {
        format!("{count} for {key} is out of range [{data} - {all}]")
    })
}

fn quorum_count(volume: &Volume, key: &str, value: &str) -> Result<(), String> {
    let count = count(key, value)?;
    let copies = volume.layout.replica;
    unless((1..=i64::from(copies)).contains(&count.into()), || {
        format!("{count} in {key} {count} is out of range [1 - {copies}]")
    })
}

fn count(key: &str, value: &str) -> Result<i32, String> {
    let text = || format!("{value} is not an integer. {key} expects a valid integer value.");
    number::int32(value).ok_or_else(text)
}

fn lock_migration(volume: &Volume, value: &str) -> Result<(), String> {
    unless(volume.layout.kind == Kind::Distribute, || {
        "Lock migration is a experimental feature. Currently works with pure distribute volume only"
            .to_owned()
    })?;
    unless(boolean(value).is_some(), || {
        "Invalid value for volume set command. Use on/off only.".to_owned()
    })
}

fn rebalance_throttle(cores: u32, key: &str, value: &str) -> Result<(), String> {
    if ["lazy", "normal", "aggressive"].iter().any(|word| value.eq_ignore_ascii_case(word)) {
        return Ok(());
    }
    let threads = number::int32(value).ok_or_else(|| {
        format!(
            "{key} should be {{lazy|normal|aggressive}} or a number up to number of cores \
             available (cores available - {cores})"
        )
    })?;
    unless((1..=i64::from(cores)).contains(&threads.into()), || {
        format!(
            "{key} should be within range of 0 and maximum number of cores available (cores \
             available - {cores})"
        )
    })
}

fn snapshot_directory(key: &str, value: &str) -> Result<(), String> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    match value.as_bytes() {
        bytes if bytes.len() > SNAPSHOT_DIRECTORY_BYTES_MAX => {
            Err(format!("value of {key} exceedes {SNAPSHOT_DIRECTORY_BYTES_MAX} characters"))
        }
        [] | [_] => Err(format!("value of {key} too short, expects at least two characters")),
        [b'.', name @ ..] => unless(name.iter().all(|b| legal(*b)), || {
            format!("{key} expects value to contain only '0-9a-z-_'")
        }),
        _ => Err(format!("{key} expects value starting with '.' ")),
    }
}
