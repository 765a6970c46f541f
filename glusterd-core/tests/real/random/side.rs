//! One daemon of the two, and everything it shows after a command.
//!
//! A look costs no process: files are read through the sandbox's root, `volume info` is asked for
//! over the daemon's socket as the CLI does, and what has not changed is not made comparable again.

use super::guest;
use crate::normal::Normaliser;
use crate::sandbox::{Done, Kind, Sandbox};
use glusterd_core::rpc::cli::{CliProc, CliReq, CliRsp};
use glusterd_core::rpc::{Client, Dict, Endpoint, ProgramId, Xdr};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};

/// Everything a daemon shows after a command.
#[derive(Clone, PartialEq, Eq)]
pub struct Shown {
    /// Exit status, standard output and standard error.
    pub said: String,
    /// What `volume info` is made of.
    pub info: String,
    /// Volfiles and the files of volumes, by path below the working directory.
    pub files: BTreeMap<String, String>,
}

impl Shown {
    pub fn is_refusal(&self) -> bool {
        // With --xml a refusal's exit status is 0.
        !self.said.starts_with("exit 0\n") || self.said.contains("<opRet>-1</opRet>")
    }
}

/// How long things took; for saying where the time goes.
#[derive(Clone, Copy, Default)]
pub struct Spent {
    pub starting: Duration,
    pub commands: Duration,
    pub looking: Duration,
}

pub struct Side {
    sandbox: Sandbox,
    names: Normaliser,
    /// By path, a file as it was read and as it is compared.
    known: BTreeMap<String, (String, String)>,
    runtime: Runtime,
    guests: usize,
    pub spent: Spent,
}

/// The daemon and the CLI run it again and again to look for geo-replication, which has no part in
/// this; it is a Python program and takes more time than all else together. The hook scripts of
/// services that this machine does not have take the next most.
const SPARING: &str = r#"
rm -f /var/lib/glusterd/hooks/1/*/*/*{samba,CTDB,ganesha,selinux}*
for real in /usr/lib/*/glusterfs/gsyncd /usr/libexec/glusterfs/gsyncd; do
    [ -e "$real" ] || continue
    printf '#!/bin/sh\necho gsyncd\n' > /run/gsyncd; chmod 755 /run/gsyncd
    mount --bind /run/gsyncd "$real"
done
"#;
const PATIENCE: Duration = Duration::from_secs(60);
/// More volumes than a sequence makes.
const VOLUMES_MAX: usize = 16;

impl Side {
    /// An empty daemon that answers.
    pub fn new(kind: Kind, op_version: Option<u32>) -> Side {
        let began = Instant::now();
        let sandbox = Sandbox::new(kind);
        assert_eq!(sandbox.sh(SPARING).exit, 0);
        if let Some(version) = op_version {
            let script = format!(
                "printf 'UUID=%s\noperating-version={version}\n' $(cat /proc/sys/kernel/random/uuid) \
                 > /var/lib/glusterd/glusterd.info"
            );
            assert_eq!(sandbox.sh(&script).exit, 0);
        }
        sandbox.start();
        sandbox.until("the daemon answers", PATIENCE, |sandbox| {
            sandbox.exec(&["gluster", "--mode=script", "volume", "list"]).exit == 0
        });
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let spent = Spent { starting: began.elapsed(), ..Spent::default() };
        let names = Normaliser::default();
        Side { sandbox, names, known: BTreeMap::new(), runtime, guests: 0, spent }
    }

    pub fn step(&mut self, line: &str) -> Shown {
        let began = Instant::now();
        let done = self.command(line);
        self.spent.commands += began.elapsed();
        let began = Instant::now();
        let (out, err) = (self.names.apply(&done.out), self.names.apply(&done.err));
        let (out, err) = (without_guests_port(&out), without_guests_port(&err));
        let said = format!("exit {}\n{out}\n{err}", done.exit);
        let said = if line.starts_with("volume info") { sorted(&said) } else { said };
        let info = self.info();
        let files = self.files();
        self.spent.looking += began.elapsed();
        Shown { said, info, files }
    }

    /// `@guest VOLUME OP-VERSION` connects a client; anything else is what follows `gluster`.
    fn command(&mut self, line: &str) -> Done {
        let words: Vec<&str> = line.split(' ').filter(|word| !word.is_empty()).collect();
        match words.as_slice() {
            ["@guest", volume, version] => {
                self.guests += 1;
                let out = guest::arrive(&self.sandbox, self.guests, volume, version);
                Done { exit: 0, out, err: String::new() }
            }
            words => self.sandbox.exec(&[&["gluster", "--mode=script"], words].concat()),
        }
    }

    /// One volume after the other, as `volume info` asks for them.
    fn info(&mut self) -> String {
        let endpoint = Endpoint::Unix(self.sandbox.path("/run/glusterd.socket"));
        let all = self.runtime.block_on(async {
            let client = Client::connect(&endpoint, PATIENCE).await.expect("the daemon is there");
            let (mut all, mut last) = (String::new(), None);
            for _ in 0..VOLUMES_MAX {
                let answer = ask(&client, last.as_deref()).await;
                let Some(name) = answer.str("volume0.name") else { break };
                last = Some(name.to_owned());
                all.push_str(&in_order(&answer));
            }
            all
        });
        self.names.apply(&all)
    }

    fn files(&mut self) -> BTreeMap<String, String> {
        let top = self.sandbox.path("/var/lib/glusterd");
        let mut found = BTreeMap::new();
        for folder in ["vols", "quotad", "bitd", "scrub"] {
            read_below(&top, &top.join(folder), &mut found);
        }
        self.known.retain(|path, _| found.contains_key(path));
        for (path, text) in found {
            match self.known.get(&path) {
                Some((raw, _)) if *raw == text => {}
                _ => {
                    let normal = self.names.apply(&text);
                    let normal = if is_sorted(&path) { sorted(&normal) } else { normal };
                    self.known.insert(path, (text, normal));
                }
            }
        }
        self.known.iter().map(|(path, (_, normal))| (path.clone(), normal.clone())).collect()
    }
}

/// By key, so that the order of a hash table is no difference.
fn in_order(dict: &Dict) -> String {
    let pair = |(key, value): (&str, &[u8])| {
        format!("{key}: {}\n", String::from_utf8_lossy(value).trim_end_matches('\0'))
    };
    let mut lines: Vec<String> = dict.iter().map(pair).collect();
    lines.sort_unstable();
    lines.concat()
}

async fn ask(client: &Client, after: Option<&str>) -> Dict {
    let mut dict = Dict::new();
    dict.set_int("flags", 3u32);
    if let Some(name) = after {
        dict.set_str("volname", name);
    }
    let request = CliReq { dict: dict.encode() }.to_bytes();
    let answer = client.call(ProgramId::CLI, CliProc::GET_VOLUME.0, &request, PATIENCE).await;
    let answer = CliRsp::from_bytes(&answer.expect("an answer")).expect("well-formed");
    Dict::decode_or_empty(&answer.dict).expect("a dict")
}

/// Volfiles, and what a volume keeps as text; files that come and go meanwhile are no error.
fn read_below(top: &Path, folder: &Path, found: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() {
            read_below(top, &path, found);
            continue;
        }
        let of_brick = folder.ends_with("bricks");
        if (name.ends_with(".vol") || name == "info" || of_brick)
            && let Ok(text) = fs::read_to_string(&path)
        {
            // What port a brick had or has is the run's; of a stopped one stock keeps it.
            let text = match of_brick {
                true => text
                    .lines()
                    // `rdma.listen-port` too: chosen for a brick that 10.3 cannot run.
                    .filter(|line| !line.contains("listen-port="))
                    .collect::<Vec<_>>()
                    .join("\n"),
                false => text,
            };
            let inside = path.strip_prefix(top).expect("below it").display().to_string();
            found.insert(inside, text);
        }
    }
}

/// A client's port is whatever was free.
fn without_guests_port(text: &str) -> String {
    let address = "One of the client 127.0.0.1:";
    match text.split_once(address) {
        Some((before, after)) => {
            let after = after.trim_start_matches(|c: char| c.is_ascii_digit());
            format!("{before}{address}{{}}{after}")
        }
        None => text.to_owned(),
    }
}

fn is_sorted(path: &str) -> bool {
    path.ends_with("/info")
}

/// Options come in the order of a hash table, which depends on more than their values.
fn sorted(text: &str) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    let is_option = |line: &str| {
        let key = line.split([':', '=']).next().unwrap_or_default();
        key.contains('.') && !key.contains('/') && !key.contains('<')
    };
    for run in lines.chunk_by_mut(|a, b| is_option(a) && is_option(b)) {
        run.sort_unstable();
    }
    lines.join("\n")
}
