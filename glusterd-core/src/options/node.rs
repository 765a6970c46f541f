//! Judging nodes of a graph that is being tried out: every option of every node against what its
//! translator declares.
//!
//! Pure; graphs are built in `volgen`. The declarations are those of the option table and, for
//! names that no row carries, of `BEYOND_THE_MAP`.
//!
//! Facts: xlator_options_validate_list, libglusterfs/src/options.c:890-1010; option tables of the
//! installed translators (v10.3).

use super::opt::{Range, Value};
use super::pattern::fits;
use super::table::TABLE;
use super::value::check_value;
use crate::model::OptionList;
use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

/// A node as far as its options can be wrong.
#[derive(Clone, Copy, Debug)]
pub struct Node<'a> {
    /// Type of the translator.
    pub xlator: &'a str,
    pub name: &'a str,
    /// In the order they are printed.
    pub options: &'a OptionList,
}

/// Options under names of their own that users' values reach.
const BEYOND_THE_MAP: &[(&str, &str, Value)] = &[
    (
        "debug/io-stats",
        "log-level",
        Value::OneOf(&["DEBUG", "WARNING", "ERROR", "INFO", "CRITICAL", "NONE", "TRACE"]),
    ),
    ("debug/io-stats", "threads", Value::Int(Range::Any)),
    ("protocol/client", "remote-port", Value::Int(Range::Any)),
];

/// What the socket transport under a client or server says of its options. Stock asks the translator
/// alone, which lets most of them pass; the brick or mount then does not start
/// (docs/differences.md). Facts: rpc/rpc-transport/socket/src/socket.c:4690-4800 (v10.3).
const SOCKET: &[(&str, Value)] = &[
    ("transport.socket.own-thread", Value::Bool),
    ("transport.socket.ssl-enabled", Value::Bool),
    ("transport.socket.keepalive", Value::Bool),
    ("transport.socket.keepalive-time", Value::Int(Range::Any)),
    ("transport.socket.keepalive-interval", Value::Int(Range::Any)),
    ("transport.socket.keepalive-count", Value::Int(Range::Any)),
    ("transport.tcp-user-timeout", Value::Int(Range::Any)),
];

/// Judges the nodes in the order given, bottom up as they are printed.
///
/// # Errors
/// The text for the user: of the first bad node, its last bad option, as stock has it.
pub fn check_nodes(nodes: &[Node<'_>]) -> Result<(), String> {
    let names: HashSet<&str> = nodes.iter().map(|node| node.name).collect();
    let is_node = |name: &str| names.contains(name);
    for node in nodes {
        let judge = |(name, value)| {
            let declared = declarations(node.xlator, name);
            declared.filter_map(|kind| check_value(kind, name, value, &is_node).err()).next()
        };
        let mut judged = node.options.iter().filter_map(judge);
        if let Some(text) = judged.next_back() {
            return Err(text);
        }
    }
    Ok(())
}

/// Of the translator, then of the transport below it.
fn declarations(xlator: &str, name: &str) -> impl Iterator<Item = &'static Value> {
    let connects = matches!(xlator, "protocol/client" | "protocol/server");
    let below = SOCKET.iter().find(|(option, _)| connects && *option == name);
    declaration(xlator, name).into_iter().chain(below.map(|(_, kind)| kind))
}

/// What the translator says about an option of this name.
pub fn declaration(xlator: &str, name: &str) -> Option<&'static Value> {
    static BY_XLATOR: LazyLock<HashMap<&str, Vec<(&str, &Value)>>> = LazyLock::new(by_xlator);
    let known = BY_XLATOR.get(xlator)?;
    let exact = known.iter().find(|(pattern, _)| *pattern == name);
    exact.or_else(|| known.iter().find(|(pattern, _)| fits(pattern, name))).map(|(_, value)| *value)
}

fn by_xlator() -> HashMap<&'static str, Vec<(&'static str, &'static Value)>> {
    let mut known: HashMap<_, Vec<_>> = HashMap::new();
    for (xlator, name, value) in BEYOND_THE_MAP {
        known.entry(*xlator).or_default().push((*name, value));
    }
    for opt in TABLE {
        let Some(declared) = &opt.declared else { continue };
        let names = known.entry(opt.xlator).or_default();
        names.extend(opt.names.iter().map(|name| (*name, &declared.value)));
        names.push((opt.option, &declared.value));
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes() {
        let check = |xlator: &str, options: &[(&str, &str)], want: &str| {
            let pairs = options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
            let options = OptionList::from_newest_first(pairs.collect());
            let node = Node { xlator, name: "v-node", options: &options };
            assert_eq!(check_nodes(&[node]).err().unwrap_or_default(), want, "{options:?}");
        };
        check("performance/write-behind", &[("no-such", "x")], "");
        check("user/own", &[("cache-size", "x")], "");
        check(
            "performance/write-behind",
            &[("cache-size", "x"), ("window-size", "y")],
            "invalid number format \"y\" in option \"window-size\"",
        );
        check(
            "protocol/server",
            &[("auth.addr./d/b.allow", "a_b")],
            "option auth.addr./d/b.allow a_b: 'a_b' is not a valid internet-address-list",
        );
        check(
            "protocol/client",
            &[("transport.socket.own-thread", "perhaps")],
            "option transport.socket.own-thread perhaps: 'perhaps' is not a valid boolean value",
        );
        check(
            "protocol/server",
            &[("transport.tcp-user-timeout", "1min")],
            "invalid number format \"1min\" in option \"transport.tcp-user-timeout\"",
        );
        check("protocol/client", &[("transport.tcp-user-timeout", "60")], "");
        check("features/other", &[("transport.tcp-user-timeout", "x")], "");
        check(
            "protocol/server",
            &[("transport.listen-backlog", "many"), ("transport.socket.keepalive", "many")],
            "option transport.socket.keepalive many: 'many' is not a valid boolean value",
        );
    }
}
