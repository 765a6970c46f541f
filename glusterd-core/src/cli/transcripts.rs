//! Plays recordings of the stock CLI against `volume set`, `reset` and `get` (tests only).
//!
//! A recording is a transcript: `$ gluster volume …` and what was printed. Requests are made as
//! the CLI makes them, planned with real graphs, and applied to an image in memory; what the CLI
//! would print is compared line by line. `create`, `start` and the features that other commands
//! switch are played by hand.

use super::get::GetOption;
use super::reset::ResetVolume;
use super::set::SetVolume;
use crate::model::{
    Brick, BrickSpec, Credentials, Global, Kind, Layout, NodeId, OptionList, Refusal, Status,
    Transport, Volume, VolumeId, VolumeName,
};
use crate::ops::{Answer, Answered, Ask, Cx, Operation, Outcome, Question, Site, Step};
use crate::options::{
    NodeFacts, disable_bitrot, disable_quota, enable_bitrot, enable_quota, set_creation_defaults,
};
use crate::rpc::Dict;
use crate::store::{Edit, View};
use std::fmt::Write;
use std::sync::Arc;
use uuid::Uuid;

const CORES: u32 = 4;

struct Player {
    view: View,
    site: Site,
}

#[test]
fn values() {
    check(include_str!("recorded/set-values.txt"));
}

#[test]
fn keys_of_quota_and_bitrot() {
    check(include_str!("recorded/quota-and-bitrot-keys.txt"));
}

#[test]
fn short_keys() {
    check(include_str!("recorded/short-keys.txt"));
}

#[test]
fn resets() {
    check(include_str!("recorded/reset.txt"));
}

#[test]
fn options_of_the_pool() {
    check(include_str!("recorded/pool-options.txt"));
}

#[test]
fn options_of_every_volume() {
    check(include_str!("recorded/every-volume-options.txt"));
}

#[test]
fn odd_options() {
    check(include_str!("recorded/odd-options.txt"));
}

#[test]
fn effective_values() {
    check(include_str!("recorded/get-all.txt"));
}

fn check(recording: &str) {
    let mut player = Player::new();
    let mut played = 0;
    for block in recording.split("$ gluster ").filter(|block| !block.is_empty()) {
        let (command, printed) = block.split_once('\n').expect("a command ends its line");
        let words: Vec<&str> =
            command.split_whitespace().filter(|word| !word.starts_with("--")).collect();
        let printed = printed.replace("{cores}", &CORES.to_string());
        if let Some(ours) = player.play(&words[1..]) {
            let lines = |text: &str| text.trim_end().lines().map(str::to_owned).collect();
            let (ours, theirs): (Vec<String>, Vec<String>) = (lines(&ours), lines(&printed));
            let differs = ours.iter().zip(&theirs).find(|(a, b)| a.trim_end() != b.trim_end());
            assert_eq!(differs, None, "{command}");
            assert_eq!(ours.len(), theirs.len(), "{command}: {ours:?}");
            played += 1;
        }
    }
    assert!(played > 0);
}

impl Player {
    fn new() -> Player {
        let workdir = "/var/lib/glusterd".into();
        let site = Site {
            workdir,
            rundir: "/run/gluster".into(),
            logdir: "/var/log/glusterfs".into(),
            ..Site::sample()
        };
        let mut view = View::alone(NodeId::fresh());
        view.global = Arc::new(Global::default());
        Player { view, site }
    }

    /// What the CLI prints, or `None` for a command that is played by hand.
    fn play(&mut self, words: &[&str]) -> Option<String> {
        match words {
            ["create", name, rest @ ..] => self.create(name, rest),
            ["start", name] => self.change(name, |v| v.status = Status::Started),
            ["quota", name, "enable"] => self.change(name, enable_quota),
            ["quota", name, "disable"] => self.change(name, disable_quota),
            ["bitrot", name, "enable"] => self.change(name, enable_bitrot),
            ["bitrot", name, "disable"] => self.change(name, disable_bitrot),
            ["set", _, _] => return None,
            ["set", name, pairs @ ..] => return Some(self.set(name, pairs)),
            ["reset", name, rest @ ..] => return Some(self.reset(name, rest)),
            ["get", name, key] => return Some(self.get(name, key)),
            ["info", name] => return Some(self.info(name)),
            other => panic!("{other:?} cannot be played"),
        }
        None
    }

    fn create(&mut self, name: &str, rest: &[&str]) {
        let number = |word: &str| {
            let at = rest.iter().position(|w| *w == word)?;
            rest[at + 1].parse::<u32>().ok()
        };
        let layout = match (number("replica"), number("disperse")) {
            (Some(replica), _) => Layout { kind: Kind::Replicate, replica, ..Layout::DISTRIBUTE },
            (_, Some(disperse)) => Layout {
                kind: Kind::Disperse,
                disperse,
                redundancy: number("redundancy").unwrap_or(1),
                ..Layout::DISTRIBUTE
            },
            _ => Layout::DISTRIBUTE,
        };
        let specs = rest.iter().filter_map(|word| BrickSpec::parse(word));
        let bricks = specs.enumerate().map(|(i, spec)| Brick {
            node: self.view.me,
            host: spec.host,
            real_path: spec.path.clone(),
            path: spec.path,
            id: format!("{name}-client-{i}"),
            mount_dir: String::new(),
            fsid: i as u64,
            decommissioned: false,
            snap_status: 0,
            resets: 0,
        });
        let mut volume = Volume {
            name: VolumeName::parse(name).unwrap(),
            id: VolumeId::fresh(),
            layout,
            status: Status::Created,
            transport: Transport::Tcp,
            bricks: bricks.collect(),
            thin_arbiter: None,
            options: OptionList::default(),
            credentials: Credentials { username: "u".into(), password: "p".into() },
            version: 1,
            op_version: 1,
            client_op_version: 1,
            quota_version: 0,
            quota: Default::default(),
            snap_max_hard_limit: 256,
            restored_from_snap: Uuid::nil(),
            start_epoch: 0,
            task: None,
        };
        set_creation_defaults(&mut volume, self.view.op_version(), None);
        Arc::make_mut(&mut self.view.volumes).insert(volume.name.clone(), Arc::new(volume));
    }

    fn change(&mut self, name: &str, change: impl FnOnce(&mut Volume)) {
        let volume = Arc::make_mut(&mut self.view.volumes).get_mut(name).unwrap();
        change(Arc::make_mut(volume));
    }

    fn set(&mut self, name: &str, pairs: &[&str]) -> String {
        let mut request = Dict::new();
        request.set_str("volname", name);
        request.set_int("count", pairs.len() as u32);
        for (i, pair) in pairs.chunks_exact(2).enumerate() {
            request.set_str(format!("key{}", i + 1), pair[0]);
            request.set_str(format!("value{}", i + 1), pair[1]);
        }
        match SetVolume::parse(&request).and_then(|op| self.run(&op)) {
            Ok(_) => "volume set: success".into(),
            Err(refusal) => format!("volume set: failed: {}\n[exit 1]", refusal.text),
        }
    }

    fn reset(&mut self, name: &str, rest: &[&str]) -> String {
        let (keys, force): (Vec<&str>, Vec<&str>) = rest.iter().partition(|word| **word != "force");
        let mut request = Dict::new();
        request.set_str("volname", name);
        request.set_str("key", keys.first().unwrap_or(&"all"));
        request.set_int("force", force.len() as u32);
        match ResetVolume::parse(&request).and_then(|op| self.run(&op)) {
            Ok((note, _)) => {
                let note = note.unwrap_or_else(|| "reset volume successful".into());
                format!("volume reset: success: {note}")
            }
            Err(refusal) => format!("volume reset: failed: {}\n[exit 1]", refusal.text),
        }
    }

    fn get(&mut self, name: &str, key: &str) -> String {
        let mut request = Dict::new();
        request.set_str("volname", name);
        request.set_str("key", key);
        let reply = match GetOption::parse(&request).and_then(|op| self.run(&op)) {
            Ok((_, reply)) => reply,
            Err(refusal) if refusal.ret == -2 => {
                return "volume get option: failed\n[exit 2]".into();
            }
            Err(refusal) => {
                return format!("volume get option: failed: {}\n[exit 1]", refusal.text);
            }
        };
        let mut out = reply.str("warning").map(|text| format!("{text}\n")).unwrap_or_default();
        let row = |key: &str, value: &str| format!("{key:<40} {value:<39}\n");
        out.push_str(&row("Option", "Value"));
        out.push_str(&row("------", "-----"));
        for i in 1..=reply.int::<u32>("count").unwrap() {
            match reply.str(&format!("value{i}")) {
                Some(value) => {
                    out.push_str(&row(reply.str(&format!("key{i}")).unwrap(), value));
                }
                None => out.push_str(
                    "volume get option failed. Check the cli/glusterd log file for more \
                     details\n[exit 2]\n",
                ),
            }
        }
        out
    }

    /// The options at the end of `volume info`, and the head by which they are found.
    fn info(&self, name: &str) -> String {
        let volume = self.view.volume(name).unwrap();
        let mut out = format!(
            " \nVolume Name: {name}\nType: Distribute\nVolume ID: ID\nStatus: {}\nSnapshot Count: \
             0\nNumber of Bricks: {}\nTransport-type: tcp\nBricks:\n",
            volume.status.text(),
            volume.bricks.len()
        );
        for (i, brick) in volume.bricks.iter().enumerate() {
            let _ = writeln!(out, "Brick{}: {}", i + 1, brick.spec());
        }
        out.push_str("Options Reconfigured:\n");
        let hidden = |key: &str| key == "features.limit-usage";
        let all = volume.options.iter().chain(self.view.global.options.iter());
        for (key, value) in all.filter(|(key, _)| !hidden(key)) {
            let _ = writeln!(out, "{key}: {value}");
        }
        out
    }

    /// Note and reply.
    fn run(&mut self, op: &dyn Operation) -> Result<(Option<String>, Dict), Refusal> {
        let mut answers: Vec<Answered> = Vec::new();
        let fresh = [Uuid::nil(); 4];
        let before = self.view.clone();
        let note = loop {
            let cx = Cx { view: &before, site: &self.site, answers: &answers, fresh: &fresh };
            match op.plan(&cx)? {
                Step::Done => break None,
                Step::Ask(asks) => answers.extend(asks.into_iter().map(answered)),
                Step::Commit(commit) => {
                    for edit in commit.edits {
                        self.apply(edit);
                    }
                    break commit.note;
                }
            }
        };
        let outcome = Outcome {
            before: &before,
            view: &self.view,
            site: &self.site,
            answers: &answers,
            fresh: &fresh,
            unsettled: &[],
        };
        let mut reply = Dict::new();
        op.reply(&outcome, &mut reply)?;
        Ok((note, reply))
    }

    fn apply(&mut self, edit: Edit) {
        match edit {
            Edit::PutVolume(volume) => {
                Arc::make_mut(&mut self.view.volumes)
                    .insert(volume.name.clone(), Arc::new(*volume));
            }
            Edit::PutGlobal(global) => self.view.global = Arc::new(global),
            other => panic!("{other:?} is no change of options"),
        }
    }
}

/// The node of the recordings: `/tmp` is a directory, `abc` is in the way of a trash directory.
fn answered(ask: Ask) -> Answered {
    let Question::OptionFacts { trash_dir, directories, .. } = &ask.question else {
        panic!("{ask:?} is no question about options");
    };
    let facts = NodeFacts {
        cores: CORES,
        directories: directories.iter().filter(|dir| *dir == "/tmp").cloned().collect(),
        trash_dir_exists: trash_dir.as_deref() == Some("abc"),
        ..NodeFacts::default()
    };
    Answered { node: ask.node, question: ask.question, answer: Answer::OptionFacts(facts) }
}
