//! `volume quota` and `volume inode-quota`: limits of directories.
//!
//! A limit is set in two places: as an attribute on the bricks, through a mount of the node that was
//! asked, and in the volume's list, which `list` walks. The attribute comes first: repeating a
//! command that was cut off in between completes it. Listing itself is the CLI's work.
//!
//! Facts: glusterd-quota.c:490-1380, 1597-1760, 2027-2190; glusterd-utils.c:12700-12830 (v10.3).

use super::args::{self, Args};
use super::start::{nodes_of, refuse_if_any_refused};
use crate::model::{LimitKind, QUOTA_LIMITS_MAX, QuotaLimit, Refusal, Volume};
use crate::ops::{Answer, Ask, Commit, Cx, Operation, Outcome, Question, QuotaAsk, Step};
use crate::options::{self, declaration, number};
use crate::rpc::Dict;
use crate::store::Edit;
use uuid::Uuid;

/// `gf_quota_type` (cli1-xdr.x).
mod form {
    pub const ENABLE: u32 = 1;
    pub const DISABLE: u32 = 2;
    pub const LIMIT_USAGE: u32 = 3;
    pub const REMOVE: u32 = 4;
    pub const LIST: u32 = 5;
    pub const LIMIT_OBJECTS: u32 = 12;
    pub const LIST_OBJECTS: u32 = 13;
    pub const REMOVE_OBJECTS: u32 = 14;
    pub const ENABLE_OBJECTS: u32 = 15;
}

/// Names in texts, by number.
const NAMES: [&str; 17] = [
    "none",
    "enable",
    "disable",
    "limit-usage",
    "remove",
    "list",
    "version",
    "alert-time",
    "soft-timeout",
    "hard-timeout",
    "default-soft-limit",
    "version-objects",
    "limit-objects",
    "list-objects",
    "remove-objects",
    "enable-objects",
    "upgrade",
];

/// Forms that store one value under `features.` and their name.
const TUNABLES: std::ops::RangeInclusive<u32> = 7..=10;
/// Forms from here on need inode quota.
const OBJECTS_FROM: u32 = 12;
/// Stock knows quota's present shape since then (3.7.12).
const OP_VERSION_MIN: u32 = 30_712;

/// QUOTA.
pub struct Quota {
    volume: String,
    form: u32,
    request: Dict,
}

impl Quota {
    pub fn parse(dict: &Dict) -> Result<Quota, Refusal> {
        Ok(Quota {
            volume: Args(dict).volname()?,
            form: Args(dict).number("type", "Unable to get type of command")?,
            request: dict.clone(),
        })
    }

    fn is_list(&self) -> bool {
        matches!(self.form, form::LIST | form::LIST_OBJECTS)
    }

    fn is_removal(&self) -> bool {
        matches!(self.form, form::REMOVE | form::REMOVE_OBJECTS)
    }

    fn is_limit(&self) -> bool {
        self.is_removal() || matches!(self.form, form::LIMIT_USAGE | form::LIMIT_OBJECTS)
    }

    fn check(&self, cx: &Cx<'_>, volume: &Volume) -> Result<(), Refusal> {
        let no = |text: &str| Err(Refusal::staged(text));
        let now = cx.view.op_version();
        if now < OP_VERSION_MIN {
            let name = NAMES.get(self.form as usize).unwrap_or(&"");
            return Err(Refusal::handler(format!(
                "Volume quota failed. The cluster is operating at version {now}. Quota command \
                 {name} is unavailable in this version."
            )));
        }
        if !volume.is_started() {
            return no("Volume is stopped, start volume before executing quota command.");
        }
        let on = |key| volume.options.flag(key) == Some(true);
        let (quota, objects) = (on("features.quota"), on("features.inode-quota"));
        match self.form {
            form::ENABLE if quota => no("Quota is already enabled"),
            form::ENABLE => Ok(()),
            _ if !quota => no("Quota is disabled, please enable quota"),
            form::ENABLE_OBJECTS if objects => no("Inode Quota is already enabled"),
            form::ENABLE_OBJECTS => Ok(()),
            OBJECTS_FROM.. if !objects => no("Inode Quota is disabled, please enable inode quota"),
            _ => Ok(()),
        }
    }

    fn text(&self, key: &str) -> Result<&str, Refusal> {
        let missing = || Refusal::staged("Quota command failed");
        self.request.str(key).ok_or_else(missing)
    }

    fn ask(&self, ask: QuotaAsk) -> Question {
        Question::Quota { volume: self.volume.clone(), ask }
    }

    /// Enable and disable: the options, and a visit of every file.
    fn switch(&self, cx: &Cx<'_>, volume: &Volume) -> Commit {
        let mut after = volume.clone();
        match self.form {
            form::ENABLE => options::enable_quota(&mut after),
            form::ENABLE_OBJECTS => options::enable_inode_quota(&mut after),
            _ => options::disable_quota(&mut after),
        }
        let enabled = self.form != form::DISABLE;
        let nodes = nodes_of(volume).into_iter().filter(|node| cx.view.alive.contains(node));
        let mut first = Vec::new();
        for node in nodes {
            first.push(Ask::new(node, self.ask(QuotaAsk::Crawl { enabled })));
            if !enabled {
                first.push(Ask::new(node, self.ask(QuotaAsk::EndMounts)));
            }
        }
        Commit { first, ..committed(after) }
    }

    fn tune(&self, volume: &Volume) -> Result<Commit, Refusal> {
        let (name, value) = (NAMES[self.form as usize], self.text("value")?);
        if let Some(kind) = declaration("features/quota", name) {
            options::check_value(kind, name, value, &|_| false).map_err(Refusal::staged)?;
        }
        let mut after = volume.clone();
        after.options.set(format!("features.{name}"), value);
        Ok(committed(after))
    }

    fn objects(&self) -> bool {
        self.form >= OBJECTS_FROM
    }

    fn limit(&self, gfid: Uuid) -> QuotaLimit {
        let kind = if self.objects() { LimitKind::Objects } else { LimitKind::Usage };
        QuotaLimit { gfid, kind }
    }

    /// Three steps: whose directory, the attribute, the list.
    fn change_limit(&self, cx: &Cx<'_>, volume: &Volume) -> Result<Step, Refusal> {
        let path = self.text("path")?;
        let wanted = self.limits(path)?;
        if cx.answers.is_empty() {
            let question = self.ask(QuotaAsk::Gfids { path: path.to_owned() });
            let nodes = nodes_of(volume).into_iter().filter(|node| cx.view.alive.contains(node));
            return Ok(Step::Ask(nodes.map(|node| Ask::new(node, question.clone())).collect()));
        }
        refuse_if_any_refused(cx)?;
        let gfid = one_gfid(&gfids(cx.answers.iter().map(|a| &a.answer)), path)?;
        let limit = self.limit(gfid);
        let listed = volume.quota.contains(limit);
        if !self.is_removal() && !listed && volume.quota.limits.len() >= QUOTA_LIMITS_MAX {
            return Err(Refusal::staged(format!(
                "Volume {} has {QUOTA_LIMITS_MAX} quota limits already, which is as many as a \
                 volume can have",
                volume.name
            )));
        }
        if !cx.answers.iter().any(|a| matches!(a.answer, Answer::Done)) {
            let ask = match (&wanted, path.to_owned(), self.objects()) {
                (Some((hard, soft)), path, objects) => {
                    QuotaAsk::SetLimit { path, objects, hard: *hard, soft: *soft }
                }
                (None, path, objects) => QuotaAsk::RemoveLimit { path, objects, listed },
            };
            return Ok(Step::Ask(vec![Ask::new(cx.view.me, self.ask(ask))]));
        }
        let mut after = volume.clone();
        if !self.is_removal() {
            after.quota.add(limit);
        } else if !listed {
            return Err(Refusal::staged(self.not_listed(volume, gfid, path)));
        }
        if self.is_removal() {
            after.quota.remove(limit);
        }
        if after == *volume {
            return Ok(Step::Done);
        }
        Ok(Step::commit(Commit {
            edits: vec![Edit::PutVolume(Box::new(after))],
            settle: vec![volume.name.clone()],
            ..Commit::default()
        }))
    }

    fn not_listed(&self, volume: &Volume, gfid: Uuid, path: &str) -> String {
        match volume.quota.limits.is_empty() {
            true => format!(
                "Cannot remove limit on {path}. The quota configuration file for volume {} is \
                 empty.",
                volume.name
            ),
            false => format!("Error. gfid {gfid} for path {path} not found in store"),
        }
    }

    /// Hard and soft limit; `None` for a removal.
    fn limits(&self, path: &str) -> Result<Option<(i64, Option<i64>)>, Refusal> {
        if self.is_removal() {
            return Ok(None);
        }
        let failed = || {
            let volume = &self.volume;
            Refusal::staged(format!("Failed to set hard limit on path {path} for volume {volume}"))
        };
        let text = self.text("hard-limit")?;
        let hard = number::size(text).ok_or_else(failed)?;
        let hard = i64::try_from(hard).map_err(|_| {
            let max = i64::MAX;
            Refusal::staged(format!("Hard-limit value out of range (0 - {max}): {text}"))
        })?;
        let soft = match self.request.str("soft-limit") {
            Some(text) => Some(number::percent(text).ok_or_else(failed)? as i64),
            None => None,
        };
        Ok(Some((hard, soft)))
    }
}

fn committed(mut after: Volume) -> Commit {
    after.version += 1;
    Commit {
        settle: vec![after.name.clone()],
        edits: vec![Edit::PutVolume(Box::new(after))],
        ..Commit::default()
    }
}

/// Every id the nodes found, in the order asked.
fn gfids<'a>(answers: impl Iterator<Item = &'a Answer>) -> Vec<Uuid> {
    let texts = answers.filter_map(|answer| match answer {
        Answer::Text(text) => Some(text.as_str()),
        _ => None,
    });
    texts.flat_map(str::lines).filter_map(|line| Uuid::try_parse(line).ok()).collect()
}

fn one_gfid(found: &[Uuid], path: &str) -> Result<Uuid, Refusal> {
    /// The CLI adds a hint to a refusal with this number.
    const NO_SUCH_PATH: i32 = -2;
    let Some(first) = found.first() else {
        let text = format!(
            "Failed to get trusted.gfid attribute on path {path}. Reason : No such file or \
             directory"
        );
        return Err(Refusal::staged(text).with_ret(NO_SUCH_PATH));
    };
    match found.iter().find(|other| *other != first) {
        Some(other) => Err(Refusal::staged(format!(
            "gfid mismatch between {first} and {other} for path {path}"
        ))),
        None => Ok(*first),
    }
}

impl Operation for Quota {
    fn plan(&self, cx: &Cx<'_>) -> Result<Step, Refusal> {
        let volume = args::volume(cx.view, &self.volume)?;
        self.check(cx, volume)?;
        match self.form {
            form::ENABLE | form::ENABLE_OBJECTS | form::DISABLE => {
                Ok(Step::commit(self.switch(cx, volume)))
            }
            _ if self.is_limit() => self.change_limit(cx, volume),
            _ if self.is_list() && cx.answers.is_empty() => {
                let mount = self.ask(QuotaAsk::MountForList);
                Ok(Step::Ask(vec![Ask::new(cx.view.me, mount)]))
            }
            _ if self.is_list() => refuse_if_any_refused(cx).map(|()| Step::Done),
            tunable if TUNABLES.contains(&tunable) => self.tune(volume).map(Step::commit),
            _ => Err(Refusal::staged("Quota command failed. Invalid opcode")),
        }
    }

    fn reply(&self, outcome: &Outcome<'_>, reply: &mut Dict) -> Result<(), Refusal> {
        super::start::echo_id(outcome, &self.volume, reply);
        if self.is_list() {
            let volume = args::volume(outcome.view, &self.volume)?;
            let soft = volume.options.value("features.default-soft-limit").unwrap_or("80%");
            reply.set_str("default-soft-limit", soft);
        }
        if self.is_limit() {
            let found = gfids(outcome.answers.iter().map(|a| &a.answer));
            for (at, gfid) in found.iter().enumerate() {
                reply.set_str(format!("gfid{at}"), gfid.to_string());
            }
            reply.set_int("count", found.len() as u32);
        }
        Ok(())
    }

    fn queue(&self) -> Option<String> {
        (!self.is_list()).then(|| self.volume.clone())
    }

    fn changes(&self) -> bool {
        !self.is_list()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_must_agree() {
        let (a, b) = (Uuid::from_u128(1), Uuid::from_u128(2));
        assert_eq!(one_gfid(&[a, a], "/d").unwrap(), a);
        let check = |found: &[Uuid], ret: i32, want: &str| {
            let refusal = one_gfid(found, "/d").unwrap_err();
            assert_eq!((refusal.ret, refusal.text.as_str()), (ret, want));
        };
        check(
            &[],
            -2,
            "Failed to get trusted.gfid attribute on path /d. Reason : No such file or directory",
        );
        check(
            &[a, a, b],
            -1,
            "gfid mismatch between 00000000-0000-0000-0000-000000000001 and \
             00000000-0000-0000-0000-000000000002 for path /d",
        );
        let answers = [Answer::Text(format!("{a}\n{b}\n")), Answer::Done];
        assert_eq!(gfids(answers.iter()), [a, b]);
    }
}
