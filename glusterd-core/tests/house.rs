//! The order of the house, read from its sources.
//!
//! Which room may name which, which crate may depend on which, how long a file gets, and what no file
//! may hold. An exception is a row below with its reason.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// From the ground up: a room names rooms before it, never after it.
const ROOMS: &[&str] = &[
    "model",
    "rpc",
    "options",
    "store",
    "volgen",
    "host",
    "membership",
    "mirror",
    "supervise",
    "ops",
    "cli",
    "tasks",
    "serve",
    "boot",
    "daemon",
];

/// Crates of the workspace and the ones they may depend on (tests apart).
const STREETS: &[(&str, &[&str])] = &[
    ("coord-api", &[]),
    ("gluster-tls", &[]),
    ("backend-local/histogram", &[]),
    ("backend-local", &["coord-api", "gluster-tls"]),
    ("backend-etcd", &["coord-api"]),
    ("backend-zk", &["coord-api"]),
    ("conformance", &["coord-api"]),
    ("glusterd-core", &["coord-api", "gluster-tls", "backend-local", "backend-etcd", "backend-zk"]),
];

/// Files of glusterd-core that may name a backend: where a URL becomes a coordinator.
const NAMES_A_BACKEND: &[&str] = &["daemon", "main.rs"];

const LINES_MAX: usize = 400;

/// Longer files that are tables: one row a line, nothing to split.
const TABLES: &[&str] = &["glusterd-core/src/options/table.rs"];

/// Files over the limit that are to be split, and the length until then: they may shrink, not grow.
const TO_BE_SPLIT: &[(&str, usize)] =
    &[("coord-api/src/recipes/tenure.rs", 450), ("glusterd-core/src/cli/status.rs", 480)];

/// Files that may hold `unsafe`.
const UNSAFE: &[&str] = &["glusterd-core/src/boot/fork.rs"];

struct Source {
    /// Relative to the workspace.
    name: String,
    /// Without its tests.
    code: String,
    is_test: bool,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn read(name: impl AsRef<Path>) -> String {
    let path = root().join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every `.rs` file below the `src` of a crate.
fn sources(krate: &str) -> Vec<Source> {
    let mut folders = vec![root().join(krate).join("src")];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    let tests: BTreeSet<PathBuf> = files.iter().flat_map(|path| test_files(path)).collect();
    let source = |path: &PathBuf| Source {
        name: path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned(),
        code: without_tests(&fs::read_to_string(path).unwrap()),
        is_test: tests.contains(path),
    };
    files.iter().map(source).collect()
}

/// Files declared with `#[cfg(test)] mod name;`.
fn test_files(path: &Path) -> Vec<PathBuf> {
    let text = fs::read_to_string(path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let stem = path.file_stem().unwrap().to_str().unwrap();
    let folder = match stem {
        "mod" | "lib" | "main" => path.parent().unwrap().to_path_buf(),
        _ => path.with_extension(""),
    };
    let mut found = Vec::new();
    for (at, _) in lines.iter().enumerate().filter(|(_, line)| line.trim() == "#[cfg(test)]") {
        let mut rest = lines[at + 1..].iter().map(|line| line.trim());
        let given = lines[at + 1].trim().strip_prefix("#[path = \"");
        let declared = rest.find(|line| !line.starts_with("#[path")).unwrap_or_default();
        if let Some(name) = given.and_then(|rest| rest.strip_suffix("\"]")) {
            found.push(path.with_file_name(name));
        } else if let Some((_, name)) = declared.split_once("mod ") {
            let name = name.trim_end_matches(';');
            found.extend([folder.join(format!("{name}.rs")), folder.join(name).join("mod.rs")]);
        }
    }
    found
}

/// Everything before the module of tests at the end of a file.
fn without_tests(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let begins = |pair: &[&str]| {
        pair[0] == "#[cfg(test)]" && pair[1].contains("mod ") && pair[1].ends_with('{')
    };
    let end = lines.windows(2).position(begins).unwrap_or(lines.len());
    lines[..end].iter().map(|line| format!("{line}\n")).collect()
}

/// A line without its comment; good enough for code that does not hide `//` in odd places.
fn code_of(line: &str) -> &str {
    let line = line.trim_start();
    if line.starts_with("//") { "" } else { line.split(" // ").next().unwrap_or_default() }
}

/// Names that follow `crate::` in code.
fn rooms_named(code: &str) -> BTreeSet<String> {
    let mut rooms = BTreeSet::new();
    for line in code.lines().map(code_of) {
        for (at, found) in line.match_indices("crate::") {
            let own = !line[..at].ends_with(|before: char| {
                before.is_alphanumeric() || before == '_' || before == '$'
            });
            let rest = &line[at + found.len()..];
            let name: String =
                rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if own && !name.is_empty() {
                rooms.insert(name);
            }
        }
    }
    rooms
}

fn check(faults: Vec<String>) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

/// `glusterd-core/src/room/file.rs` or `glusterd-core/src/room.rs` is in `room`.
fn room_of(name: &str) -> &str {
    let inside = name.strip_prefix("glusterd-core/src/").unwrap();
    inside.split('/').next().unwrap().trim_end_matches(".rs")
}

#[test]
fn a_room_names_only_rooms_below_it() {
    let floor = |room: &str| ROOMS.iter().position(|known| *known == room);
    let all = sources("glusterd-core");
    // An exported macro lives at the root, whichever room made it.
    let macros: BTreeSet<String> = all
        .iter()
        .flat_map(|source| source.code.lines())
        .filter_map(|line| line.trim_start().strip_prefix("macro_rules! "))
        .filter_map(|rest| rest.split([' ', '{']).next())
        .map(str::to_owned)
        .collect();
    let mut faults = Vec::new();
    for source in all.iter().filter(|source| !source.is_test) {
        let room = room_of(&source.name);
        if ["lib", "main"].contains(&room) {
            continue;
        }
        let Some(own) = floor(room) else {
            faults.push(format!("{}: room {room} is not in ROOMS", source.name));
            continue;
        };
        for named in rooms_named(&source.code).difference(&macros) {
            match floor(named) {
                Some(other) if other <= own => {}
                Some(_) => {
                    faults.push(format!("{}: {room} names {named}, which is above it", source.name))
                }
                None => faults.push(format!("{}: crate::{named} is no room", source.name)),
            }
        }
        if source.code.lines().map(code_of).any(|line| line.starts_with("use crate::{")) {
            faults.push(format!("{}: `use crate::{{` hides which rooms are named", source.name));
        }
    }
    check(faults);
}

#[test]
fn only_the_daemon_names_a_backend() {
    let mut faults = Vec::new();
    for source in sources("glusterd-core").iter().filter(|source| !source.is_test) {
        let inside = source.name.strip_prefix("glusterd-core/src/").unwrap();
        let named = source.code.lines().map(code_of).any(|line| {
            ["backend_local::", "backend_etcd::", "backend_zk::"]
                .iter()
                .any(|name| line.contains(name))
        });
        if named && !NAMES_A_BACKEND.iter().any(|place| inside.starts_with(place)) {
            faults.push(source.name.clone());
        }
    }
    check(faults);
}

#[test]
fn a_crate_depends_only_on_crates_below_it() {
    let known: BTreeSet<&str> = STREETS.iter().map(|(name, _)| *name).collect();
    let mut faults = Vec::new();
    let manifest = read("Cargo.toml");
    let members = manifest.lines().find(|line| line.starts_with("members")).unwrap();
    for member in members.split('"').skip(1).step_by(2) {
        if !known.contains(member) {
            faults.push(format!("{member} is not in STREETS"));
        }
    }
    for (name, allowed) in STREETS {
        let manifest = read(format!("{name}/Cargo.toml"));
        if !manifest.contains("[lints]\nworkspace = true") {
            faults.push(format!("{name} does not take the workspace's lints"));
        }
        let mut section = "";
        for line in manifest.lines() {
            if line.starts_with('[') {
                section = line;
            }
            let dependency = line.split(['.', ' ', '=']).next().unwrap_or_default();
            if section == "[dependencies]"
                && known.contains(dependency)
                && !allowed.contains(&dependency)
            {
                faults.push(format!("{name} depends on {dependency}"));
            }
        }
    }
    check(faults);
}

#[test]
fn files_are_short_and_say_what_they_are() {
    let mut faults = Vec::new();
    for (krate, _) in STREETS {
        for source in sources(krate) {
            let name = source.name.as_str();
            let lines = source.code.lines().count();
            let waiting = TO_BE_SPLIT.iter().find(|(known, _)| *known == name);
            let limit = waiting.map_or(LINES_MAX, |(_, limit)| *limit);
            // The cases of `conformance` are tests, and so are files of tests.
            let counted = krate != &"conformance" && !source.is_test && !TABLES.contains(&name);
            if counted && lines > limit {
                faults.push(format!("{name}: {lines} lines without its tests"));
            }
            if waiting.is_some() && lines <= LINES_MAX {
                faults.push(format!("{name}: short enough now, take it off the list"));
            }
            if !source.is_test && !source.code.starts_with("//!") {
                faults.push(format!("{name}: does not open with //!"));
            }
        }
    }
    for name in TABLES {
        if read(name).lines().count() <= LINES_MAX {
            faults.push(format!("{name} needs no exception any more"));
        }
    }
    check(faults);
}

#[test]
fn nothing_gives_up_in_the_middle() {
    // `conformance` is a test suite in a crate's clothes.
    let crates = STREETS.iter().filter(|(name, _)| *name != "conformance");
    let mut faults = Vec::new();
    for source in crates.flat_map(|(name, _)| sources(name)).filter(|source| !source.is_test) {
        for (number, line) in source.code.lines().enumerate() {
            let line = code_of(line);
            for word in [".unwrap()", "todo!(", "unimplemented!(", "dbg!("] {
                if line.contains(word) {
                    faults.push(format!("{}:{}: {word}", source.name, number + 1));
                }
            }
        }
    }
    check(faults);
}

#[test]
fn no_test_is_ignored_and_unsafe_has_its_places() {
    let mut faults = Vec::new();
    for (krate, _) in STREETS {
        for source in sources(krate) {
            let text = read(&source.name);
            if text.lines().any(|line| line.trim_start().starts_with("#[ignore")) {
                faults.push(format!("{}: an ignored test", source.name));
            }
            if text.contains("allow(unsafe_code)") && !UNSAFE.contains(&source.name.as_str()) {
                faults.push(format!("{}: unsafe", source.name));
            }
        }
    }
    check(faults);
}

/// The tables of ARCHITECTURE.md, first column: crates and rooms, no more and no less.
#[test]
fn the_map_shows_the_house_as_it_is() {
    let text = read("ARCHITECTURE.md");
    let mut tables: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut heading = "";
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            heading = title;
        } else if let Some(row) = line.strip_prefix("| `") {
            let name = row.split('`').next().unwrap().trim_end_matches('/');
            tables.entry(heading).or_default().push(name.to_owned());
        }
    }
    let streets: Vec<String> = STREETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let there = |room: &&&str| {
        let base = root().join("glusterd-core/src");
        base.join(room).is_dir() || base.join(format!("{room}.rs")).is_file()
    };
    let rooms: Vec<String> = ROOMS.iter().filter(there).map(|room| (*room).to_owned()).collect();
    assert_eq!(
        tables.get("Streets"),
        Some(&streets),
        "the streets table lists the crates in order"
    );
    assert_eq!(
        tables.get("Rooms of glusterd-core"),
        Some(&rooms),
        "the rooms table lists the rooms in order"
    );
    let library = read("glusterd-core/src/lib.rs");
    let declared: BTreeSet<&str> = library
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'))
        .collect();
    assert_eq!(declared, rooms.iter().map(String::as_str).collect(), "lib.rs declares the rooms");
}

#[test]
fn the_reader_of_sources_reads() {
    assert_eq!(without_tests("a\n#[cfg(test)]\nmod tests {\nb"), "a\n");
    assert_eq!(without_tests("a\n#[cfg(test)]\nfn x() {}\n"), "a\n#[cfg(test)]\nfn x() {}\n");
    let named = rooms_named(
        "use crate::model::X;\n// crate::cli\nlet a = $crate::b::c; crate::store::y();\n",
    );
    assert_eq!(named.into_iter().collect::<Vec<_>>(), ["model", "store"]);
    assert_eq!(room_of("glusterd-core/src/cli/start.rs"), "cli");
    assert_eq!(room_of("glusterd-core/src/daemon.rs"), "daemon");
}
