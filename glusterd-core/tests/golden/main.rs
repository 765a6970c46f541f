//! Volfiles and store files against recordings of the stock daemon.
//!
//! A fixture (`tests/fixtures/golden/NAME.txt`, form in `tests/fixtures/pack-golden`) holds what
//! stock 10.3 stored and which volfiles it made of it. The stored text is read into the model;
//! volfiles, ids and store texts are made from that and compared byte for byte. Only what
//! `docs/differences.md` lists may differ, and everything it lists must.

mod fixture;
mod tree;

use fixture::{World, records, root};
use glusterd_core::model::Volume;
use glusterd_core::options::refresh_op_versions;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

/// Rows of the table of recordings in docs/differences.md: record, file; `*` stands for any text.
/// The table of commands, with a column more, is the random comparison's.
fn allowed() -> Vec<(String, String)> {
    let text = fs::read_to_string(root().join("../docs/differences.md")).unwrap();
    let rows = text.lines().filter_map(|line| {
        let cells: Vec<&str> = line.strip_prefix("| `")?.split(" | ").collect();
        let [record, file, _, _] = cells.as_slice() else { return None };
        let bare = |cell: &str| cell.trim().trim_matches('`').to_owned();
        Some((bare(record), bare(file)))
    });
    rows.collect()
}

fn fits(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((before, after)) => text.strip_prefix(before).is_some_and(|rest| {
            (0..=rest.len()).any(|at| rest.is_char_boundary(at) && fits(after, &rest[at..]))
        }),
    }
}

/// Which record and file differ, each with how.
fn differences() -> (usize, BTreeMap<(String, String), String>) {
    let (mut compared, mut found) = (0, BTreeMap::new());
    for record in records() {
        let world = World::of(&record);
        let ours = world.volfiles();
        let names: BTreeSet<&String> = ours.keys().chain(record.volfiles.keys()).collect();
        for name in names {
            compared += 1;
            let how = match (ours.get(name), record.volfiles.get(name)) {
                (Some(ours), Some(stock)) if ours == stock => continue,
                (Some(ours), Some(stock)) => first_difference(ours, stock),
                (Some(_), None) => "stock has no such file".to_owned(),
                (None, _) => "we have no such file".to_owned(),
            };
            found.insert((record.name.clone(), name.clone()), how);
        }
    }
    (compared, found)
}

fn first_difference(ours: &str, stock: &str) -> String {
    let lines = ours.lines().zip(stock.lines()).enumerate();
    match lines.into_iter().find(|(_, (a, b))| a != b) {
        Some((at, (a, b))) => format!("line {}: ours {a:?}, stock {b:?}", at + 1),
        None => "one is longer".to_owned(),
    }
}

#[test]
fn volfiles_are_stocks() {
    let (compared, found) = differences();
    let allowed = allowed();
    let fit = |(record, file): &(String, String)| {
        allowed.iter().any(|(r, f)| fits(r, record) && fits(f, file))
    };
    let odd = found.iter().filter(|(key, _)| !fit(key));
    let odd: Vec<_> =
        odd.map(|((record, file), how)| format!("{record} {file}: {how}\n")).collect();
    assert!(odd.is_empty(), "{} of {compared} files differ:\n{}", odd.len(), odd.concat());
    assert!(compared > 1500, "{compared}");
    for (r, f) in &allowed {
        let used = found.keys().any(|(record, file)| fits(r, record) && fits(f, file));
        assert!(used, "docs/differences.md allows {r} {f}, which does not differ");
    }
}

#[test]
fn ids_lead_to_stocks_files() {
    let allowed = allowed();
    let mut odd = Vec::new();
    for record in records() {
        let world = World::of(&record);
        for (id, local, remote) in &record.getspec {
            for (trusted, stock) in [(true, local), (false, remote)] {
                let ours = world.answer(id, trusted);
                let listed = |file: &str| {
                    allowed.iter().any(|(r, f)| fits(r, &record.name) && fits(f, file))
                };
                if ours != *stock && !listed(stock) && !listed(&ours) {
                    odd.push(format!("{}: {id}: ours {ours}, stock {stock}", record.name));
                }
            }
        }
    }
    assert!(odd.is_empty(), "{odd:#?}");
}

/// Commands other than set and reset leave stock's numbers as they were: bit-rot ones, and raising
/// the pool's op-version, which gives volumes an address family.
const STALE_OP_VERSIONS: [&str; 3] = ["op-version-30712 e", "svc-bitrot v1", "svc-bitrot/tuned v1"];

#[test]
fn op_versions_follow_from_options() {
    let (mut compared, mut odd) = (0, Vec::new());
    for record in records() {
        for volume in World::of(&record).volumes.values() {
            let mut fresh = Volume::clone(volume);
            refresh_op_versions(&mut fresh);
            let ours = (fresh.op_version, fresh.client_op_version);
            let stock = (volume.op_version, volume.client_op_version);
            compared += 1;
            let name = format!("{} {}", record.name, volume.name);
            if (ours != stock) != STALE_OP_VERSIONS.contains(&name.as_str()) {
                odd.push(format!("{name}: ours {ours:?}, stock {stock:?}"));
            }
        }
    }
    assert!(odd.is_empty() && compared > 70, "{odd:#?} of {compared}");
}
