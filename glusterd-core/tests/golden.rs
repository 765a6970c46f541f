//! Volfiles and store files against recordings of the stock daemon.
//!
//! A fixture (`tests/fixtures/golden/NAME.txt`, form in `tests/fixtures/pack-golden`) holds what
//! stock 10.3 stored and which volfiles it made of it. The stored text is read into the model;
//! volfiles, ids and store texts are made from that and compared byte for byte. Only what
//! `docs/differences.md` lists may differ, and everything it lists must.

use glusterd_core::mirror::{parse, text};
use glusterd_core::model::{NodeId, Volume, VolumeName};
use glusterd_core::volgen::{self, Facts, Service, Target};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use uuid::Uuid;

/// One record point of one configuration.
struct Record {
    /// `CONFIGURATION` or `CONFIGURATION/LABEL`.
    name: String,
    store: BTreeMap<String, String>,
    /// Id, answer to a local caller, answer to a remote one: a file's name or `error N`.
    getspec: Vec<(String, String, String)>,
    volfiles: BTreeMap<String, String>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf()
}

fn records() -> Vec<Record> {
    let mut paths: Vec<_> = fs::read_dir(root().join("tests/fixtures/golden")).unwrap().collect();
    paths.sort_by_key(|entry| entry.as_ref().unwrap().path());
    let mut all = Vec::new();
    for entry in paths {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        all.extend(unpack(&name, &fs::read_to_string(&path).unwrap()));
    }
    all
}

fn unpack(configuration: &str, packed: &str) -> Vec<Record> {
    let (parts, nodes): (Vec<_>, Vec<_>) =
        packed.split("@@ ").skip(1).partition(|part| !part.starts_with("node "));
    let nodes: BTreeMap<&str, &str> =
        nodes.iter().map(|part| part["node ".len()..].split_once('\n').unwrap()).collect();
    let mut all: Vec<Record> = Vec::new();
    for part in parts {
        let (head, body) = part.split_once('\n').unwrap();
        let mut words = head.split(' ');
        match words.next().unwrap() {
            "record" => {
                let label = words.next().unwrap();
                let name = match label {
                    "." => configuration.to_owned(),
                    label => format!("{configuration}/{label}"),
                };
                all.push(Record {
                    name,
                    store: BTreeMap::new(),
                    getspec: Vec::new(),
                    volfiles: BTreeMap::new(),
                });
            }
            "store" => all.last_mut().unwrap().store = sections(body),
            "getspec" => {
                all.last_mut().unwrap().getspec = body
                    .lines()
                    .map(|line| {
                        let mut fields = line.split('\t').map(str::to_owned);
                        let mut next = || fields.next().unwrap();
                        (next(), next(), next())
                    })
                    .collect();
            }
            "volfile" => {
                let name = words.next().unwrap().to_owned();
                let texts: Vec<&str> = words.map(|number| nodes[number]).collect();
                all.last_mut().unwrap().volfiles.insert(name, texts.join("\n"));
            }
            other => panic!("{configuration}: {other}"),
        }
    }
    all
}

/// `== NAME` lines and what follows each.
fn sections(text: &str) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for part in format!("\n{text}").split("\n== ").skip(1) {
        let (name, body) = part.split_once('\n').unwrap_or((part, ""));
        let body =
            if body.is_empty() || body.ends_with('\n') { body.into() } else { format!("{body}\n") };
        all.insert(name.to_owned(), body);
    }
    all
}

/// Stands in for the recording's placeholders, and puts them back.
#[derive(Default)]
struct Names(BTreeMap<String, String>);

impl Names {
    fn fill(&mut self, text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}').expect("a placeholder ends");
            let next = self.0.len() as u128 + 1;
            let value = match name {
                "port" => "49152".to_owned(),
                "sum" => "7".to_owned(),
                "time" => "0.000000".to_owned(),
                "fsid" => "1".to_owned(),
                _ => {
                    let fresh = || Uuid::from_u128(0xfeed << 64 | next).to_string();
                    self.0.entry(name.to_owned()).or_insert_with(fresh).clone()
                }
            };
            out.push_str(before);
            out.push_str(&value);
            rest = after;
        }
        out.push_str(rest);
        out
    }

    fn mask(&self, text: &str) -> String {
        let mut out = text.to_owned();
        for (name, value) in &self.0 {
            out = out.replace(value, &format!("{{{name}}}"));
        }
        out
    }
}

/// A record read into the model.
struct World {
    names: Names,
    me: NodeId,
    op_version: u32,
    volumes: BTreeMap<VolumeName, Arc<Volume>>,
}

impl World {
    fn of(record: &Record) -> World {
        let mut names = Names::default();
        let store: BTreeMap<_, _> =
            record.store.iter().map(|(name, text)| (name.clone(), names.fill(text))).collect();
        let (me, op_version) = parse::glusterd_info(&store["glusterd.info"]).unwrap();
        let mut volumes = BTreeMap::new();
        for (path, info) in &store {
            let Some(name) = path.strip_prefix("vols/").and_then(|p| p.strip_suffix("/info"))
            else {
                continue;
            };
            let name = VolumeName::parse(name).unwrap();
            let prefix = format!("vols/{name}/bricks/");
            let bricks = store.iter().filter_map(|(path, text)| {
                Some((path.strip_prefix(&prefix)?.to_owned(), text.clone()))
            });
            let state = store.get(&format!("vols/{name}/node_state.info")).map(String::as_str);
            let volume = parse::volume(&name, info, &bricks.collect(), state);
            let mut volume = volume.unwrap_or_else(|error| panic!("{}: {error}", record.name));
            // Recorded file system ids are masked; the surroundings say which bricks share one.
            for brick in &mut volume.bricks {
                let parts: Vec<&str> = brick.path.split('/').collect();
                brick.fsid = parts[2].bytes().fold(0, |sum, byte| sum << 8 | u64::from(byte));
            }
            volumes.insert(name, Arc::new(volume));
        }
        World { names, me, op_version, volumes }
    }

    fn facts(&self) -> Facts<'_> {
        Facts {
            me: self.me,
            op_version: self.op_version,
            bind_address: None,
            workdir: Path::new("/var/lib/glusterd"),
        }
    }

    /// A volume that cannot be built (stock leaves one behind when a create fails) has none.
    fn volfiles(&self) -> BTreeMap<String, String> {
        let facts = self.facts();
        let mut all = BTreeMap::new();
        for volume in self.volumes.values() {
            all.extend(volgen::files(volume, &facts).into_iter().flatten());
        }
        for service in Service::ALL {
            if self.volumes.values().any(|volume| service.serves(volume)) {
                let graph = volgen::service_graph(&self.volumes, service, &facts).unwrap();
                all.insert(service.path().rsplit('/').next().unwrap().to_owned(), graph.text());
            }
        }
        all.into_iter().map(|(name, text)| (name, self.names.mask(&text))).collect()
    }

    /// As a fixture says it: the file's name, or the error.
    fn answer(&self, id: &str, trusted: bool) -> String {
        match volgen::lookup(&self.volumes, id, trusted) {
            None => "error 2".to_owned(),
            Some(Target::Service(service)) => service.path().rsplit('/').next().unwrap().to_owned(),
            Some(Target::Volume { volume, spec, .. }) => volgen::file_name(&volume, spec),
        }
    }
}

/// Rows of the table in docs/differences.md: record, file; `*` stands for any text.
fn allowed() -> Vec<(String, String)> {
    let text = fs::read_to_string(root().join("../docs/differences.md")).unwrap();
    let rows = text.lines().filter_map(|line| {
        let mut cells =
            line.strip_prefix("| `")?.split('|').map(|cell| cell.trim().trim_matches('`'));
        Some((cells.next()?.to_owned(), cells.next()?.to_owned()))
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

/// Reading a volume's files and writing them again gives the same bytes.
#[test]
fn store_files_come_back_as_they_were() {
    for record in records() {
        let world = World::of(&record);
        let check = |path: String, ours: String| {
            let mut names = Names(world.names.0.clone());
            let stock = names.fill(&record.store[&path]);
            assert_eq!(ours, stock, "{}: {path}", record.name);
        };
        for (name, volume) in &world.volumes {
            check(format!("vols/{name}/info"), text::info(volume, world.op_version));
            for brick in &volume.bricks {
                let file = text::file_of(&brick.host, &brick.path);
                let path = format!("vols/{name}/bricks/{file}");
                let port = parse::listen_port(&Names::default().fill(&record.store[&path]));
                let mut brick = brick.clone();
                brick.fsid = 1;
                check(path, text::brick(&brick, port.unwrap_or(0)));
            }
            if let Some(arbiter) = &volume.thin_arbiter {
                let file = text::file_of(&arbiter.host, &arbiter.path);
                check(format!("vols/{name}/bricks/{file}"), text::thin_arbiter(volume, arbiter));
            }
        }
        check("glusterd.info".into(), text::glusterd_info(world.me, world.op_version));
        let global = parse::options(&record.store["options"], world.op_version).unwrap();
        // Stock's own order depends on which command wrote last.
        let sorted = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
        let ours = text::options(&global);
        assert_eq!(sorted(&ours), sorted(&record.store["options"]), "{}", record.name);
        let again = parse::options(&ours, world.op_version).unwrap();
        assert_eq!(text::options(&again), ours);
    }
}
