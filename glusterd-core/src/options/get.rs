//! `volume get`: effective values.
//!
//! Pure. A value is the pool's, the volume's, the map's default or the translator's, in this
//! order; only the last is marked as a default.
//!
//! Facts: glusterd_get_default_val_for_volopt, glusterd_get_global_options_for_all_vols,
//! xlators/mgmt/glusterd/src/glusterd-utils.c:13270-13570; glusterd_get_volume_opts,
//! glusterd-handler.c:4670 (v10.3).

use super::lookup::resolve;
use super::opt::{Opt, Scope};
use super::own::{OWN, is_own};
use super::set::{Target, scope};
use super::table::TABLE;
use crate::model::{Global, Kind, OP_VERSION_MAX, Refusal, Volume};

/// Keys of `volume set all` in the order `volume get all all` lists them, with their defaults;
/// the two op-versions are numbers of the pool.
pub const POOL_KEYS: [(&str, &str); 10] = [
    ("cluster.server-quorum-ratio", "51"),
    ("cluster.enable-shared-storage", "disable"),
    ("cluster.op-version", ""),
    ("cluster.max-op-version", ""),
    ("cluster.brick-multiplex", "disable"),
    ("cluster.max-bricks-per-process", "250"),
    ("glusterd.vol_count_per_thread", "100"),
    ("cluster.localtime-logging", "disable"),
    ("cluster.daemon-log-level", "INFO"),
    ("cluster.brick-graceful-cleanup", "disable"),
];

/// Keys of the pool that stock shows for a volume without a warning.
const UNWARNED: [&str; 2] = ["cluster.max-bricks-per-process", "glusterd.vol_count_per_thread"];

/// 41 blanks between the parts, as stock sends it.
const WARNING_PARTS: [&str; 5] = [
    "Warning: support to get",
    "global option value using volume get",
    "<volname>` will be deprecated from",
    "next release. Consider using `volume",
    "get all` instead for global options",
];

/// What `volume get` answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Values {
    /// Without a value where stock has none to show for a key that exists.
    pub pairs: Vec<(String, Option<String>)>,
    pub warning: Option<String>,
}

impl Values {
    fn one(key: &str, value: Option<String>) -> Values {
        Values { pairs: vec![(key.to_owned(), value)], warning: None }
    }
}

/// # Errors
/// op_errno 0; op_ret -2 and no text for a `user.` key that is not set.
pub fn one_of_volume(volume: &Volume, global: &Global, typed: &str) -> Result<Values, Refusal> {
    if typed.starts_with("user.") {
        let missing = || Refusal::handler("").with_ret(-2);
        let value = volume.options.value(typed).ok_or_else(missing)?;
        return Ok(Values::one(typed, Some(value.to_owned())));
    }
    let opt = existing(typed)?;
    let value = match opt.key {
        "cluster.max-op-version" => Some(OP_VERSION_MAX.to_string()),
        "cluster.op-version" => Some(global.op_version.to_string()),
        "config.memory-accounting" => {
            let on = volume.options.flag(opt.key) == Some(true);
            Some(if on { "Enabled" } else { "Disabled" }.to_owned())
        }
        "config.transport" => Some(volume.transport.text().to_owned()),
        _ => effective(opt, volume, global),
    };
    let warned = opt.scope == Scope::Pool && !UNWARNED.contains(&opt.key);
    let warning = warned.then(|| WARNING_PARTS.join(&" ".repeat(41)));
    Ok(Values { warning, ..Values::one(opt.key, value) })
}

pub fn all_of_volume(volume: &Volume, global: &Global) -> Values {
    let shown = TABLE
        .iter()
        .filter_map(|opt| Some((opt.key.to_owned(), Some(effective(opt, volume, global)?))));
    Values { pairs: shown.collect(), warning: None }
}

/// # Errors
/// op_errno 0.
pub fn one_of_pool(global: &Global, typed: &str) -> Result<Values, Refusal> {
    let opt = existing(typed)?;
    if opt.key != "cluster.max-op-version" {
        scope(Target::Pool, opt).map_err(Refusal::handler)?;
    }
    if is_own(opt) {
        let default = format!("{} (DEFAULT)", opt.map_default.unwrap_or_default());
        let value = global.options.value(opt.key).map_or(default, str::to_owned);
        return Ok(Values::one(opt.key, Some(value)));
    }
    let pairs = all_of_pool(global).pairs.into_iter().filter(|(key, _)| key == opt.key).collect();
    Ok(Values { pairs, warning: None })
}

pub fn all_of_pool(global: &Global) -> Values {
    let value = |key: &str, default: &str| match key {
        "cluster.max-op-version" => OP_VERSION_MAX.to_string(),
        "cluster.op-version" => global.op_version.to_string(),
        _ => {
            global.options.value(key).map_or_else(|| format!("{default} (DEFAULT)"), str::to_owned)
        }
    };
    let pairs =
        POOL_KEYS.iter().map(|(key, default)| ((*key).to_owned(), Some(value(key, default))));
    let own = OWN.iter().filter_map(|opt| {
        Some((opt.key.to_owned(), Some(global.options.value(opt.key)?.to_owned())))
    });
    Values { pairs: pairs.chain(own).collect(), warning: None }
}

fn existing(typed: &str) -> Result<&'static Opt, Refusal> {
    resolve(typed).map_err(|hint| {
        Refusal::handler(match hint {
            Some(hint) => format!("Did you mean {hint}?"),
            None => format!("Option with name: {typed} does not exist"),
        })
    })
}

fn effective(opt: &Opt, volume: &Volume, global: &Global) -> Option<String> {
    let set = global.options.value(opt.key).or_else(|| volume.options.value(opt.key));
    let known = set.or_else(|| implied(opt.key, volume)).or(opt.map_default);
    known.map(str::to_owned).or_else(|| {
        let declared = opt.declared?;
        Some(format!("{} (DEFAULT)", declared.default.unwrap_or("(null)")))
    })
}

/// What the daemon says of replicate volumes without storing it.
fn implied(key: &str, volume: &Volume) -> Option<&'static str> {
    let replicate = volume.layout.kind == Kind::Replicate;
    match key {
        "performance.client-io-threads" if replicate => Some("off"),
        "cluster.quorum-type" if replicate && volume.layout.replica % 2 == 1 => Some("auto"),
        _ => None,
    }
}
