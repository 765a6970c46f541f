//! From what a user typed to a row: full keys, keys without their domain, near misses.
//!
//! Facts: glusterd_check_option_exists and volopt_trie, xlators/mgmt/glusterd/src/
//! glusterd-volgen.c; order of equally near words, libglusterfs/src/trie.c (v10.3).

use super::opt::Opt;
use super::own::OWN;
use super::table::TABLE;
use std::collections::{BTreeSet, HashMap};
use std::sync::LazyLock;

fn known() -> impl DoubleEndedIterator<Item = &'static Opt> {
    TABLE.iter().chain(OWN)
}

/// The row of a full key; of two the first.
pub fn find(key: &str) -> Option<&'static Opt> {
    static FIRST: LazyLock<HashMap<&str, &Opt>> =
        LazyLock::new(|| known().rev().map(|opt| (opt.key, opt)).collect());
    FIRST.get(key).copied()
}

/// The row of a key that may lack its domain.
///
/// # Errors
/// What stock would suggest instead, if anything.
pub fn resolve(key: &str) -> Result<&'static Opt, Option<String>> {
    let found = if key.contains('.') { find(key) } else { complete(key) };
    found.ok_or_else(|| hint(key))
}

/// `Did you mean` as a second line, or nothing.
pub fn suggestion(hint: Option<String>) -> String {
    hint.map(|hint| format!("\nDid you mean {hint}?")).unwrap_or_default()
}

/// The one key whose part after its first dot is `name`.
fn complete(name: &str) -> Option<&'static Opt> {
    let mut matching = known().filter(|opt| split(opt.key).1 == name);
    let first = matching.next()?;
    matching.all(|opt| opt.key == first.key).then_some(first)
}

fn hint(key: &str) -> Option<String> {
    let Some((domain, name)) = key.split_once('.') else {
        let nearest = nearest(key, known().map(|opt| second_part(opt.key)));
        return joined(&nearest, "");
    };
    let domain = *nearest(domain, known().map(|opt| split(opt.key).0)).first()?;
    let members = known().filter(|opt| split(opt.key).0 == domain);
    let nearest = nearest(name, members.map(|opt| second_part(opt.key)));
    joined(&nearest, "...").map(|hint| format!("{domain}.{hint}"))
}

fn joined(words: &[&str], infix: &str) -> Option<String> {
    match words {
        [] => None,
        [one] => Some((*one).to_owned()),
        [one, two, ..] => Some(format!("{one} or {infix}{two}")),
    }
}

fn split(key: &'static str) -> (&'static str, &'static str) {
    key.split_once('.').expect("every key of the table has a domain")
}

/// Up to the second dot.
fn second_part(key: &'static str) -> &'static str {
    let rest = split(key).1;
    rest.split_once('.').map_or(rest, |(part, _)| part)
}

/// The words with the least distance to `word`, in byte order.
fn nearest(word: &str, words: impl Iterator<Item = &'static str>) -> Vec<&'static str> {
    let mut best = (usize::MAX, Vec::new());
    for candidate in words.collect::<BTreeSet<_>>() {
        let distance = distance(word.as_bytes(), candidate.as_bytes());
        if distance < best.0 {
            best = (distance, vec![candidate]);
        } else if distance == best.0 {
            best.1.push(candidate);
        }
    }
    best.1
}

/// Levenshtein, all three edits cost 1. Linear memory in the longer of both.
fn distance(from: &[u8], to: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=from.len()).collect();
    for (depth, letter) in to.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = depth + 1;
        for (i, mine) in from.iter().enumerate() {
            let replaced = diagonal + usize::from(mine != letter);
            diagonal = row[i + 1];
            row[i + 1] = replaced.min(diagonal + 1).min(row[i] + 1);
        }
    }
    row[from.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hints are recordings of the stock daemon.
    #[test]
    fn keys() {
        let check = |typed: &str, want: Result<&str, &str>| {
            let got = resolve(typed).map(|opt| opt.key).map_err(|hint| hint.unwrap_or_default());
            assert_eq!(got.as_ref().map(|k| *k).map_err(|h| h.as_str()), want, "{typed}");
        };
        check("cluster.lookup-unhashed", Ok("cluster.lookup-unhashed"));
        check("lookup-unhashed", Ok("cluster.lookup-unhashed"));
        check("coordination-masters", Ok("cluster.coordination-masters"));
        check("nosuch.option", Err("auth.allow"));
        check("performance.write-behin", Err("performance.write-behind"));
        check("writebehind", Err("write-behind"));
        check("cluster.lookup", Err("cluster.nufa or ...switch"));
    }

    #[test]
    fn keys_with_two_rows() {
        let mut seen = BTreeSet::new();
        let twice: Vec<_> =
            TABLE.iter().filter(|opt| !seen.insert(opt.key)).map(|opt| opt.key).collect();
        assert_eq!(twice.len(), 6, "{twice:?}");
        assert_eq!(find("cluster.heal-timeout").map(|opt| opt.xlator), Some("cluster/replicate"));
    }
}
