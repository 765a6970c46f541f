//! `snapshot`: its configuration; without snapshots, what the other forms answer.
//!
//! Snapshots of bricks need LVM thin volumes, which this daemon does not drive: none can be made,
//! so every list is empty and no name is known. Limits and switches are kept for the day they are.
//!
//! Facts: glusterd-snapshot.c:238-440, 1131-1480, 6874-7090 (config), 3400-3440, 3740-3780, 4200-4220,
//! 5490-5510 (lists and look-ups) (v10.3).

use super::args::{self, Args};
use super::start::{nodes_of, refuse_if_any_refused};
use crate::model::{Global, Refusal, Volume, boolean, errno};
use crate::ops::{Answer, Ask, Commit, Cx, Operation, Outcome, Question, Step};
use crate::rpc::Dict;
use crate::store::{Edit, View};

/// `GF_SNAP_OPTION_TYPE_*`.
mod form {
    pub const CREATE: u32 = 1;
    pub const DELETE: u32 = 2;
    pub const ACTIVATE: u32 = 4;
    pub const DEACTIVATE: u32 = 5;
    pub const LIST: u32 = 6;
    pub const STATUS: u32 = 7;
    pub const CONFIG: u32 = 8;
    pub const CLONE: u32 = 9;
    pub const INFO: u32 = 10;
}

const CONFIG_SET: u32 = 1;

const HARD: &str = "snap-max-hard-limit";
const SOFT: &str = "snap-max-soft-limit";
const AUTO_DELETE: &str = "auto-delete";
const ACTIVATE: &str = "snap-activate-on-create";

const HARD_MAX: u64 = 256;
const SOFT_DEFAULT: u64 = 90;
const SOFT_MAX: u64 = 100;

/// "Invalid argument" in replies.
const EINVAL: i32 = 22;
/// Not on thin volumes; glusterd-errno.h.
const NOT_THIN: i32 = 30815;

/// SNAP.
pub struct Snapshot {
    form: u32,
    request: Dict,
}

impl Snapshot {
    pub fn parse(dict: &Dict) -> Result<Snapshot, Refusal> {
        let form = Args(dict).number("type", "Command type not found");
        let form = form.map_err(|refusal| refusal.with_errno(errno::INTERNAL))?;
        Ok(Snapshot { form, request: dict.clone() })
    }

    fn is_set(&self) -> bool {
        self.form == form::CONFIG && self.request.int("config-command") == Some(CONFIG_SET)
    }

    fn number(&self, key: &str) -> u64 {
        self.request.int(key).unwrap_or(0)
    }

    fn config(&self, view: &View) -> Result<Commit, Refusal> {
        let volume = match self.request.str("volname") {
            None => None,
            Some(name) => {
                let text = format!("Volume ({name}) does not exist.");
                let missing = || Refusal::staged(text).with_errno(errno::NO_VOLUME);
                Some(view.volume(name).ok_or_else(missing)?)
            }
        };
        let (hard, soft) = (self.number(HARD), self.number(SOFT));
        check_limits(view, volume.map(AsRef::as_ref), hard, soft)?;
        let mut commit = Commit::default();
        let mut global = (*view.global).clone();
        if let (Some(volume), 1..) = (volume, hard) {
            let mut after = Volume::clone(volume);
            after.snap_max_hard_limit = hard;
            after.version += 1;
            commit.settle = vec![after.name.clone()];
            commit.edits.push(Edit::PutVolume(Box::new(after)));
        }
        let mut set = |key: &str, value: &str| {
            global.options.set(key, value);
            global.version += 1;
        };
        if hard > 0 && volume.is_none() {
            set(HARD, &hard.to_string());
        }
        if soft > 0 {
            set(SOFT, &soft.to_string());
        }
        if hard == 0 && soft == 0 {
            let (key, value) = self.switch(&view.global)?;
            set(key, &value);
        }
        if global != *view.global {
            commit.edits.push(Edit::PutGlobal(global));
        }
        Ok(commit)
    }

    /// The switch that is set, and to what.
    fn switch(&self, global: &Global) -> Result<(&'static str, String), Refusal> {
        let refused = |text: String| Refusal::staged(text).with_errno(EINVAL);
        let switches = [(AUTO_DELETE, "auto-delete"), (ACTIVATE, "activate-on-create")];
        let given = switches
            .iter()
            .find_map(|(key, name)| Some((*key, *name, self.request.str(key)?.to_owned())));
        let (key, name, value) = given.ok_or_else(|| refused("Invalid option".to_owned()))?;
        let wanted = boolean(&value)
            .ok_or_else(|| refused(format!("Please enter a valid boolean value for {name}")))?;
        if global.options.flag(key).unwrap_or(false) == wanted {
            let state = if wanted { "enabled" } else { "disabled" };
            return Err(refused(format!("{name} is already {state}")));
        }
        Ok((key, value))
    }

    /// A snapshot that would have to exist.
    fn needs_a_snapshot(&self) -> Result<Step, Refusal> {
        let name = self.request.str("snapname").unwrap_or_default();
        let (end, errno) = match self.form {
            form::ACTIVATE | form::DEACTIVATE => (".", errno::NO_SNAPSHOT),
            form::INFO => ("", errno::INTERNAL),
            form::CLONE => {
                return Err(Refusal::staged(format!("Failed to find :{name} snap")));
            }
            _ => ("", errno::NO_SNAPSHOT),
        };
        let text = format!("Snapshot ({name}) does not exist{end}");
        Err(Refusal::staged(text).with_errno(errno))
    }

    /// Of one volume, or of all.
    fn lists(&self, view: &View) -> Result<Step, Refusal> {
        let Some(name) = self.request.str("volname") else { return Ok(Step::Done) };
        let errno = if self.form == form::INFO { errno::INTERNAL } else { errno::NO_VOLUME };
        let missing =
            || Refusal::staged(format!("Volume ({name}) does not exist")).with_errno(errno);
        view.volume(name).map(|_| Step::Done).ok_or_else(missing)
    }

    fn create(&self, cx: &Cx<'_>) -> Result<Step, Refusal> {
        let name = self.request.str("volname1").unwrap_or_default();
        let refused = |text: String, errno| Refusal::staged(text).with_errno(errno);
        let missing = || refused(format!("Volume ({name}) does not exist "), errno::NO_VOLUME);
        let volume = cx.view.volume(name).ok_or_else(missing)?;
        if !volume.is_started() {
            let text = format!("volume {name} is not started");
            return Err(refused(text, errno::VOLUME_STOPPED));
        }
        if cx.answers.is_empty() {
            let question = Question::Status { volume: name.to_owned(), detail: true };
            let ask = |node| Ask::new(node, question.clone());
            return Ok(Step::Ask(nodes_of(volume).into_iter().map(ask).collect()));
        }
        refuse_if_any_refused(cx)?;
        let mapped =
            |device: &str| device.starts_with("/dev/mapper/") || device.starts_with("/dev/dm-");
        let bricks = cx.answers.iter().filter_map(|answered| match &answered.answer {
            Answer::Status(status) => Some(&status.bricks),
            _ => None,
        });
        let mut bricks = bricks.flatten();
        if bricks.all(|b| b.detail.as_ref().is_some_and(|detail| mapped(&detail.device))) {
            return Err(Refusal::staged("Snapshots are not supported by this daemon."));
        }
        let text = format!(
            "Snapshot is supported only for thin provisioned LV. Ensure that all bricks of {name} \
             are thinly provisioned LV."
        );
        Err(refused(text, NOT_THIN))
    }
}

fn check_limits(view: &View, volume: Option<&Volume>, hard: u64, soft: u64) -> Result<(), Refusal> {
    let refused = |text: String| Err(Refusal::staged(text).with_errno(EINVAL));
    let max = if volume.is_some() { pool_limit(view, HARD, HARD_MAX) } else { HARD_MAX };
    if hard > max {
        return refused(format!("Invalid {HARD} {hard}. Expected range 1 - {max}"));
    }
    if soft > SOFT_MAX {
        return refused(format!("Invalid {SOFT} {soft}. Expected range 1 - {SOFT_MAX}"));
    }
    Ok(())
}

fn pool_limit(view: &View, key: &str, default: u64) -> u64 {
    view.global.options.value(key).and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// Limits of the pool and of one volume, or of all.
fn show_config(view: &View, name: Option<&str>, reply: &mut Dict) -> Result<(), Refusal> {
    let (hard, soft) = (pool_limit(view, HARD, HARD_MAX), pool_limit(view, SOFT, SOFT_DEFAULT));
    let one = match name {
        None => None,
        Some(name) => {
            let missing = || Refusal::staged(format!("Volume ({name}) does not exist"));
            Some(view.volume(name).ok_or_else(missing)?)
        }
    };
    let shown = view.volumes.values().filter(|v| one.is_none_or(|one| one.name == v.name));
    let mut count = 0u64;
    for volume in shown {
        let active = volume.snap_max_hard_limit.min(hard);
        reply.set_str(format!("volume{count}-volname"), volume.name.as_str());
        reply.set_int(format!("volume{count}-{HARD}"), volume.snap_max_hard_limit);
        reply.set_int(format!("volume{count}-active-hard-limit"), active);
        reply.set_int(format!("volume{count}-{SOFT}"), soft * active / 100);
        count += 1;
    }
    reply.set_int("voldisplaycount", count);
    reply.set_int(HARD, hard);
    reply.set_int(SOFT, soft);
    for key in [AUTO_DELETE, ACTIVATE] {
        reply.set_str(key, view.global.options.value(key).unwrap_or("disable"));
    }
    Ok(())
}

impl Operation for Snapshot {
    fn plan(&self, cx: &Cx<'_>) -> Result<Step, Refusal> {
        match self.form {
            form::CONFIG if self.is_set() => self.config(cx.view).map(Step::commit),
            form::CONFIG => Ok(Step::Done),
            form::CREATE => self.create(cx),
            form::DELETE | form::LIST | form::STATUS | form::INFO
                if !self.request.contains("snapname") =>
            {
                self.lists(cx.view)
            }
            form::DELETE..=form::INFO => self.needs_a_snapshot(),
            _ => Err(Refusal::staged("Operation failed")),
        }
    }

    fn reply(&self, outcome: &Outcome<'_>, reply: &mut Dict) -> Result<(), Refusal> {
        let name = self.request.str("volname");
        match self.form {
            form::CONFIG if !self.is_set() => return show_config(outcome.view, name, reply),
            form::STATUS => reply.set_int("status.snapcount", 0u32),
            form::LIST | form::DELETE | form::INFO => reply.set_int("snapcount", 0u32),
            _ => {}
        }
        if self.form == form::INFO {
            reply.set_int("snap-driven", u32::from(name.is_none()));
            if let Some(name) = name {
                let volume = args::volume(outcome.view, name)?;
                let pool = pool_limit(outcome.view, HARD, HARD_MAX);
                reply.set_str("origin-volname", name);
                reply.set_int("snaps-available", volume.snap_max_hard_limit.min(pool));
            }
        }
        Ok(())
    }

    fn queue(&self) -> Option<String> {
        self.is_set().then(|| "all".to_owned())
    }

    fn changes(&self) -> bool {
        self.is_set()
    }
}
