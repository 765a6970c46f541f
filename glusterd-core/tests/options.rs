//! Walks every row of the daemon's map as recorded in `fixtures/options.tsv` (one line an option, from
//! the map and from the translators' own tables), and compares the table with it.
//!
//! Columns: n, key, voltype, option, special, type, flags, op_version, default, map_default, xl_default,
//! value_type, min, max, validate, allowed, xl_aliases, validate_fn, in_help, in_get.

use glusterd_core::model::{Credentials, QuotaList, Status, Transport, VolumeId};
use glusterd_core::model::{Global, Kind, Layout, NodeId, OptionList, Volume, VolumeName};
use glusterd_core::options::{
    Help, Opt, Range, Reset, Scope, TABLE, Value, all_of_volume, check_value, help_text, resolve,
};
use std::collections::BTreeMap;
use std::fs;

/// A line by column name.
struct Row(BTreeMap<String, String>);

impl Row {
    fn text(&self, column: &str) -> &str {
        &self.0[column]
    }

    fn optional(&self, column: &str) -> Option<&str> {
        Some(self.text(column)).filter(|text| !text.is_empty())
    }

    fn has_flag(&self, flag: &str) -> bool {
        self.text("flags").split(',').any(|known| known == flag)
    }
}

fn rows() -> Vec<Row> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/options.tsv");
    let text = fs::read_to_string(path).unwrap();
    let mut lines = text.lines().map(|line| line.split('\t').map(unescaped));
    let names: Vec<String> = lines.next().unwrap().collect();
    let row = |cells| Row(names.iter().cloned().zip(cells).collect());
    lines.map(row).collect()
}

fn unescaped(cell: &str) -> String {
    cell.replace("\\t", "\t").replace("\\n", "\n").replace("\\\\", "\\")
}

/// Calls `check` with each line and the row of the table in its place; panics with all that differ.
fn walk(check: impl Fn(&Row, &Opt) -> Vec<String>) {
    let rows = rows();
    assert_eq!(rows.len(), TABLE.len());
    assert!(rows.len() >= 395, "{}", rows.len());
    let odd = |(row, opt): (&Row, &Opt)| -> Vec<String> {
        check(row, opt).into_iter().map(|how| format!("{}: {how}", row.text("key"))).collect()
    };
    let odd: Vec<String> = rows.iter().zip(TABLE).flat_map(odd).collect();
    assert!(odd.is_empty(), "{} differ:\n{}", odd.len(), odd.join("\n"));
}

fn differs<T: PartialEq + std::fmt::Debug>(what: &str, ours: T, stock: T) -> Option<String> {
    (ours != stock).then(|| format!("{what}: ours {ours:?}, stock {stock:?}"))
}

#[test]
fn keys_flags_and_versions() {
    walk(|row, opt| {
        let scope = match (row.has_flag("all-volumes"), row.has_flag("global")) {
            (true, _) => Scope::Pool,
            (false, true) => Scope::EveryVolume,
            (false, false) => Scope::Volume,
        };
        let reset = match (row.has_flag("never-reset"), row.has_flag("force")) {
            (true, _) => Reset::Never,
            (false, true) => Reset::Forced,
            (false, false) => Reset::Free,
        };
        let op_version = row.text("op_version").parse::<u32>().unwrap();
        [
            differs("key", opt.key, row.text("key")),
            differs("translator", opt.xlator, row.text("voltype")),
            differs("option", opt.option, row.text("option")),
            differs("special", opt.special, row.text("special") == "!"),
            differs("client", opt.client, row.has_flag("client")),
            differs("switch", opt.switch, row.has_flag("xlator")),
            differs("scope", opt.scope, scope),
            differs("reset", opt.reset, reset),
            differs("op-version", opt.op_version, op_version),
            differs("default of the map", opt.map_default, row.optional("map_default")),
        ]
        .into_iter()
        .flatten()
        .collect()
    });
}

#[test]
fn translators_declarations() {
    walk(|row, opt| {
        let declared = opt.declared.as_ref();
        let kind = declared.map_or("", |declared| kind(&declared.value));
        // The recording does not tell an empty text from none.
        let default =
            declared.and_then(|declared| declared.default).filter(|text| !text.is_empty());
        let aliases = opt.names.join("|");
        let words = declared.and_then(|declared| match declared.value {
            Value::OneOf(words) => Some(words.join("|")),
            _ => None,
        });
        [
            differs("kind", kind, row.text("value_type")),
            differs("default", default, row.optional("xl_default")),
            differs("allowed", words.as_deref(), row.optional("allowed")),
            differs("names", aliases.as_str(), row.text("xl_aliases")),
            differs("range", range_of(opt), recorded_range(row)),
        ]
        .into_iter()
        .flatten()
        .collect()
    });
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Anything => "ANY",
        Value::Text | Value::OneOf(_) => "STR",
        Value::Bool => "BOOL",
        Value::Int(_) => "INT",
        Value::Size(_) => "SIZET",
        Value::Time(_) => "TIME",
        Value::Percent => "PERCENT",
        Value::PercentOrSize => "PERCENT_OR_SIZET",
        Value::Path => "PATH",
        Value::Translator => "XLATOR",
        Value::AddressList => "INTERNET_ADDRESS_LIST",
        Value::PriorityList => "PRIORITY_LIST",
    }
}

/// Least and most; without the most for those bounded below only.
type Bounds = Option<(i64, Option<String>)>;

fn range_of(opt: &Opt) -> Bounds {
    match opt.declared.as_ref()?.value {
        Value::Int(range) | Value::Size(range) | Value::Time(range) => match range {
            Range::Any => None,
            Range::AtLeast(least) => Some((least, None)),
            Range::Within(least, most) => Some((least, Some(most.to_string()))),
            Range::From(least) => Some((least, Some("inf".to_owned()))),
        },
        _ => None,
    }
}

fn recorded_range(row: &Row) -> Bounds {
    let numeric = matches!(row.text("value_type"), "INT" | "SIZET" | "TIME");
    let least = || row.text("min").parse().unwrap();
    match row.text("validate") {
        "both" if numeric => Some((least(), Some(row.text("max").to_owned()))),
        "min" if numeric => Some((least(), None)),
        _ => None,
    }
}

/// A value, and whether the translator takes it.
type Sample = (String, bool);

/// What follows from the recorded kind and bounds alone.
fn samples(row: &Row) -> Vec<Sample> {
    let texts = |fine: &[&str], bad: &[&str]| -> Vec<Sample> {
        let fine = fine.iter().map(|text| ((*text).to_owned(), true));
        fine.chain(bad.iter().map(|text| ((*text).to_owned(), false))).collect()
    };
    if let Some(words) = row.optional("allowed") {
        let words: Vec<&str> = words.split('|').filter(|word| !word.contains('*')).collect();
        return texts(&words, &["no-such-word", " "]);
    }
    match row.text("value_type") {
        "BOOL" => texts(&["on", "off", "Yes", "0", "enable"], &["maybe", "2", ""]),
        "INT" => numbers(row, &["x", "1x"]),
        "SIZET" => numbers(row, &["x", "1 KB", "-1"]),
        "TIME" => numbers(row, &["x", "1y", "-1"]),
        "PERCENT" => texts(&["0", "100", "50%", "33.3%"], &["101", "-1", "x", "1%%"]),
        "PERCENT_OR_SIZET" => texts(&["0%", "100%", "1GB"], &["101%", "-1", "x", "1.5GB"]),
        "PATH" => texts(&["/", "/some/where"], &["some/where", "/a/../b"]),
        "XLATOR" => texts(&["v-client-0"], &["v-client-9"]),
        "INTERNET_ADDRESS_LIST" => {
            texts(&["*", "10.0.0.1", "host.example", "10.0.0.0/8,::1"], &["a_b", "10.0.0.1,a_b"])
        }
        "PRIORITY_LIST" => texts(&["*.txt:2", "a:1,b:2"], &["a", "a:x", ""]),
        _ => texts(&["anything at all"], &[]),
    }
}

/// Both bounds and their neighbours outside.
fn numbers(row: &Row, bad: &[&str]) -> Vec<Sample> {
    let mut all: Vec<Sample> = bad.iter().map(|text| ((*text).to_owned(), false)).collect();
    match recorded_range(row) {
        None => all.push(("7".to_owned(), true)),
        Some((least, most)) => {
            all.push((least.to_string(), true));
            all.push(((least - 1).to_string(), false));
            match most.as_deref() {
                None | Some("inf") => all.push(((least + 1_000_000).to_string(), true)),
                Some(most) => {
                    let most: i64 = most.parse().unwrap();
                    all.push((most.to_string(), true));
                    all.push(((most + 1).to_string(), false));
                }
            }
        }
    }
    all
}

#[test]
fn values_at_the_bounds() {
    walk(|row, opt| {
        let Some(declared) = &opt.declared else {
            return differs("declared", "", row.text("value_type")).into_iter().collect();
        };
        let judged = |(value, fine): Sample| {
            let is_node = |name: &str| name == "v-client-0";
            let got = check_value(&declared.value, opt.option, &value, &is_node);
            differs(&format!("{value:?}, {got:?}"), got.is_ok(), fine)
        };
        samples(row).into_iter().filter_map(judged).collect()
    });
}

/// The daemon's own checks by stock's names for them.
#[rustfmt::skip]
const CHECKS: &[(&str, &str)] = &[
    ("validate_boolean", "Boolean"),
    ("validate_cache_max_min_size", "CacheFileSizes"),
    ("validate_defrag_throttle_option", "RebalanceThrottle"),
    ("validate_disperse", "DisperseOnly"),
    ("validate_disperse_heal_enable_disable", "DisperseHeal"),
    ("validate_disperse_quorum_count", "DisperseQuorum"),
    ("validate_lock_migration_option", "LockMigration"),
    ("validate_mandatory_locking", "MandatoryLocking"),
    ("validate_mux_limit", "BricksPerProcess"),
    ("validate_parallel_readdir", "ParallelReaddir"),
    ("validate_quorum_count", "QuorumCount"),
    ("validate_quota", "QuotaOn"),
    ("validate_rda_cache_limit", "ReaddirCache"),
    ("validate_replica", "ReplicaOnly"),
    ("validate_replica_heal_enable_disable", "ReplicateHeal"),
    ("validate_reten_mode", "RetentionMode"),
    ("validate_server_options", "Backlog"),
    ("validate_statedump_path", "Directory"),
    ("validate_subvols_per_directory", "SubvolsPerDirectory"),
    ("validate_uss", "Boolean"),
    ("validate_uss_dir", "SnapshotDirectory"),
    ("validate_volume_per_thread_limit", "VolumesPerThread"),
    ("validate_worm_period", "WormPeriod"),
];

#[test]
fn the_daemons_own_checks() {
    walk(|row, opt| {
        let rule = opt.rule.map(|rule| format!("{rule:?}"));
        let stock = row.optional("validate_fn").map(|name| {
            CHECKS.iter().find(|(known, _)| *known == name).map_or(name, |(_, rule)| rule)
        });
        differs("check", rule.as_deref(), stock).into_iter().collect()
    });
}

fn volume() -> Volume {
    Volume {
        name: VolumeName::parse("v").unwrap(),
        id: VolumeId(NodeId::parse("00000000-0000-0000-0000-000000000002").unwrap().0),
        layout: Layout {
            kind: Kind::Distribute,
            replica: 1,
            arbiter: 0,
            thin_arbiter: 0,
            disperse: 0,
            redundancy: 0,
        },
        status: Status::Created,
        transport: Transport::Tcp,
        bricks: vec![],
        thin_arbiter: None,
        options: OptionList::default(),
        credentials: Credentials { username: String::new(), password: String::new() },
        version: 1,
        op_version: 1,
        client_op_version: 1,
        quota_version: 0,
        quota: QuotaList::default(),
        snap_max_hard_limit: 256,
        restored_from_snap: Default::default(),
        start_epoch: 0,
        task: None,
    }
}

#[test]
fn help_and_get_show_them() {
    let help = help_text();
    let mut volume = volume();
    // Without a value of its own it is not shown, and every volume gets one when it is created.
    volume.options.set("transport.address-family", "inet");
    let values = all_of_volume(&volume, &Global::default());
    walk(|row, opt| {
        let yes = |column: &str| row.text(column) == "y";
        let helped = help.contains(&format!("Option: {}\n", opt.key));
        let got = values.pairs.iter().any(|(key, _)| key == opt.key);
        // Another row of the same key may be the one that is shown.
        let twins = TABLE.iter().filter(|other| other.key == opt.key).count();
        let documented = !matches!(opt.help, Help::None);
        [
            differs("help", documented, yes("in_help")),
            (twins == 1).then(|| differs("shown by help", helped, yes("in_help"))).flatten(),
            (twins == 1).then(|| differs("shown by get", got, yes("in_get"))).flatten(),
        ]
        .into_iter()
        .flatten()
        .collect()
    });
}

/// A full key is found; its last part as well, unless another key ends the same.
#[test]
fn keys_resolve() {
    let rows = rows();
    let last = |key: &str| key.split_once('.').unwrap().1.to_owned();
    walk(|row, opt| {
        let key = row.text("key");
        let short = last(key);
        let alone =
            rows.iter().all(|other| last(other.text("key")) != short || other.text("key") == key);
        // What has a dot is taken for a full key.
        let resolves = alone && !short.contains('.');
        [
            differs("full", resolve(key).ok().map(|found| found.key), Some(opt.key)),
            differs("short", resolve(&short).is_ok_and(|found| found.key == key), resolves),
        ]
        .into_iter()
        .flatten()
        .collect()
    });
}
