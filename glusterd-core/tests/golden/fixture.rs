//! The recordings, read into the model.

use glusterd_core::mirror::parse;
use glusterd_core::model::{NodeId, Volume, VolumeName};
use glusterd_core::volgen::{self, Facts, Service, Target};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use uuid::Uuid;

/// One record point of one configuration.
pub struct Record {
    /// `CONFIGURATION` or `CONFIGURATION/LABEL`.
    pub name: String,
    pub store: BTreeMap<String, String>,
    /// Id, answer to a local caller, answer to a remote one: a file's name or `error N`.
    pub getspec: Vec<(String, String, String)>,
    pub volfiles: BTreeMap<String, String>,
}

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf()
}

pub fn records() -> Vec<Record> {
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
pub struct Names(pub BTreeMap<String, String>);

impl Names {
    pub fn fill(&mut self, text: &str) -> String {
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

    pub fn mask(&self, text: &str) -> String {
        let mut out = text.to_owned();
        for (name, value) in &self.0 {
            out = out.replace(value, &format!("{{{name}}}"));
        }
        out
    }
}

/// A record read into the model.
pub struct World {
    pub names: Names,
    pub me: NodeId,
    pub op_version: u32,
    pub volumes: BTreeMap<VolumeName, Arc<Volume>>,
}

impl World {
    pub fn of(record: &Record) -> World {
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

    pub fn facts(&self) -> Facts<'_> {
        Facts {
            me: self.me,
            op_version: self.op_version,
            bind_address: None,
            workdir: Path::new("/var/lib/glusterd"),
        }
    }

    /// A volume that cannot be built (stock leaves one behind when a create fails) has none.
    pub fn volfiles(&self) -> BTreeMap<String, String> {
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
    pub fn answer(&self, id: &str, trusted: bool) -> String {
        match volgen::lookup(&self.volumes, id, trusted) {
            None => "error 2".to_owned(),
            Some(Target::Service(service)) => service.path().rsplit('/').next().unwrap().to_owned(),
            Some(Target::Volume { volume, spec, .. }) => volgen::file_name(&volume, spec),
        }
    }
}
