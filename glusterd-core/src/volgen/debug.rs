//! Translators for debugging and of the user's own, put between others by name of a position.
//!
//! Facts: glusterd-volgen.c:2533-2760 (v10.3). The three debug keys multiply: each key that names
//! a position puts all of the three there that are not off.

use super::VolgenError;
use super::engine::{Build, rows};
use super::graph::Graph;
use crate::model::boolean;

const KEYS: [&str; 3] = ["debug.trace", "debug.error-gen", "debug.delay-gen"];

/// Adds what the debug keys ask for at `position` (a brick layer's name, or `client`).
pub(super) fn stack(graph: &mut Graph, build: &Build<'_>, position: &str) {
    let times = KEYS.iter().filter(|key| build.options.value(key) == Some(position)).count();
    for _ in 0..times {
        for (opt, value) in rows(&build.options) {
            if opt.special && opt.option == "debug" && boolean(value) != Some(false) {
                let part = opt.xlator.rsplit('/').next().unwrap_or(opt.xlator);
                graph.stack(opt.xlator, build.name(part));
            }
        }
    }
}

const USER: &str = "user.xlator.";

/// `user.xlator.NAME POSITION` pairs, newest first.
fn user_xlators<'a>(build: &'a Build<'_>) -> impl Iterator<Item = (&'a str, &'a str, &'a str)> {
    build.options.iter().filter_map(|(key, position)| {
        let rest = key.strip_prefix(USER).filter(|rest| !rest.contains('.'))?;
        Some((key, rest, position))
    })
}

/// Refuses a user translator at a position that is not in `positions`.
pub(super) fn check_user(
    build: &Build<'_>,
    positions: impl Fn(&str) -> bool,
) -> Result<(), VolgenError> {
    match user_xlators(build).find(|(_, _, position)| !positions(position)) {
        Some((key, _, position)) => {
            Err(VolgenError::new(format!("invalid user xlator position {key} = {position}")))
        }
        None => Ok(()),
    }
}

/// Adds the user's translators at `position`, with their options.
pub(super) fn stack_user(graph: &mut Graph, build: &Build<'_>, position: &str) {
    for (key, name, _) in user_xlators(build).filter(|(_, _, at)| *at == position) {
        let node = graph.stack(format!("user/{name}"), build.name(name));
        let prefix = format!("{key}.");
        for (key, value) in build.options.iter().filter(|(key, _)| key.starts_with(&prefix)) {
            node.set(key.rsplit('.').next().unwrap_or(key), value);
        }
    }
}
