//! The two daemons side by side through one sequence, and what differs after a command.

use super::listed::Listed;
use super::side::{Shown, Side, Spent};
use crate::sandbox::Kind;
use std::collections::BTreeMap;
use std::sync::Mutex;

/// How a sequence went.
pub enum Ended {
    /// Equal after `steps` commands: all, or all before one that a row of the list explains.
    Same { steps: usize },
    /// After the command number `after`, counted from 0.
    Differs { after: usize, how: String },
}

/// What all lanes have found together.
#[derive(Default)]
pub struct Tally {
    /// By row of the list: how often it was needed.
    pub rows: Mutex<BTreeMap<usize, usize>>,
    pub spent: Mutex<[Spent; 2]>,
}

/// A first line `@opversion N` says what the pool's op-version is at the start.
const OP_VERSION: &str = "@opversion ";

/// From empty daemons on both sides, up to the first difference.
pub fn run(listed: &Listed, tally: &Tally, lines: &[String]) -> Ended {
    let first = lines.first().and_then(|line| line.strip_prefix(OP_VERSION));
    let version = first.map(|number| number.parse().expect("a number"));
    let (mut stock, mut ours) =
        both(|| Side::new(Kind::Stock, version), || Side::new(Kind::Ours, version));
    let ended = compare(listed, tally, (&mut stock, &mut ours), version, lines);
    let mut spent = tally.spent.lock().unwrap();
    for (sum, side) in spent.iter_mut().zip([&stock, &ours]) {
        sum.starting += side.spent.starting;
        sum.commands += side.spent.commands;
        sum.looking += side.spent.looking;
    }
    ended
}

fn compare(
    listed: &Listed,
    tally: &Tally,
    (stock, ours): (&mut Side, &mut Side),
    version: Option<u32>,
    lines: &[String],
) -> Ended {
    let mut before: Option<Shown> = None;
    for (after, line) in lines.iter().enumerate() {
        if line.starts_with(OP_VERSION) {
            continue;
        }
        let (theirs, mine) = both(|| stock.step(line), || ours.step(line));
        let mut found = differences(listed, &theirs, &mine);
        if version.is_some() {
            found.iter_mut().for_each(|(shown, _)| name_bystander(line, shown));
        }
        let ended = (theirs.is_refusal(), mine.is_refusal());
        let excused: Vec<Option<usize>> = found
            .iter()
            .map(|(shown, _)| {
                let row = listed.row(line, ended, &theirs.said, shown)?;
                // After a refusal ours has to be as before it.
                let touched = mine.is_refusal()
                    && before.as_ref().is_some_and(|old| {
                        old.files.get(path(shown)) != mine.files.get(path(shown))
                    });
                (!touched).then_some(row)
            })
            .collect();
        if excused.contains(&None) {
            let how: Vec<String> = found.into_iter().map(|(_, how)| how).collect();
            return Ended::Differs { after, how: how.join("\n") };
        }
        let unseen = listed.row(line, ended, &theirs.said, UNSEEN);
        // A row for anything that differs says nothing of what does not.
        let unseen = unseen.filter(|row| listed.rows[*row].shown == UNSEEN);
        let mut rows = tally.rows.lock().unwrap();
        excused
            .iter()
            .chain([&unseen])
            .flatten()
            .for_each(|row| *rows.entry(*row).or_default() += 1);
        if unseen.is_some() || found.iter().any(|(shown, _)| shown != WORDS) {
            return Ended::Same { steps: after };
        }
        before = Some(mine);
    }
    Ended::Same { steps: lines.len() }
}

const WORDS: &str = "words";
/// What differs shows after later commands only.
const UNSEEN: &str = "nothing yet";

/// Before the path of a file that only stock has.
const LEFT: &str = "left ";
const BYSTANDER: &str = "bystander ";

/// The file that is shown, whatever is said of it.
fn path(shown: &str) -> &str {
    let bare = shown.strip_prefix(BYSTANDER).unwrap_or(shown);
    bare.strip_prefix(LEFT).unwrap_or(bare)
}

/// In a pool that began with an older op-version, a file of a volume that the command does not name
/// is `bystander PATH` to the list.
fn name_bystander(line: &str, shown: &mut String) {
    if let Some(volume) = path(shown).strip_prefix("vols/").and_then(|path| path.split('/').next())
        && !line.split(' ').any(|word| word == volume)
    {
        *shown = format!("{BYSTANDER}{shown}");
    }
}

/// Where the two differ (`words`, `info`, a path, `left PATH`), each with how.
fn differences(listed: &Listed, stock: &Shown, ours: &Shown) -> Vec<(String, String)> {
    let mut found = Vec::new();
    found.extend(lines_differ(WORDS, &stock.said, &ours.said));
    found.extend(lines_differ("info", &stock.info, &ours.info));
    for (path, theirs) in &stock.files {
        match ours.files.get(path) {
            Some(mine) => found.extend(lines_differ(path, theirs, mine)),
            None if listed.is_stale(path) => {}
            None => found.push((format!("{LEFT}{path}"), format!("  {path}: only stock has it"))),
        }
    }
    let more = ours.files.keys().filter(|path| !stock.files.contains_key(*path));
    found.extend(more.map(|path| (path.clone(), format!("  {path}: only we have it"))));
    found
}

fn both<A: Send, B: Send>(
    stock: impl FnOnce() -> A + Send,
    ours: impl FnOnce() -> B + Send,
) -> (A, B) {
    std::thread::scope(|scope| {
        let stock = scope.spawn(stock);
        let ours = ours();
        (stock.join().expect("no panic"), ours)
    })
}

fn lines_differ(what: &str, stock: &str, ours: &str) -> Option<(String, String)> {
    if stock == ours {
        return None;
    }
    let (theirs, mine): (Vec<&str>, Vec<&str>) = (stock.lines().collect(), ours.lines().collect());
    let mut shown = vec![format!("  {what}:")];
    shown.extend(theirs.iter().filter(|l| !mine.contains(l)).take(6).map(|l| format!("    - {l}")));
    shown.extend(mine.iter().filter(|l| !theirs.contains(l)).take(6).map(|l| format!("    + {l}")));
    if shown.len() == 1 {
        shown.push("    the same lines in another order or number".to_owned());
    }
    Some((what.to_owned(), shown.join("\n")))
}
