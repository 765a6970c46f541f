//! Where a graph's options come from, and the passes that put them on nodes.
//!
//! A pass walks the option table in its order and writes values onto nodes of a type; the order
//! of the table is the order of lines in the file. Which nodes there are is the builders' matter.
//!
//! Facts: reference rows of glusterd-volgen.c:509-620 (plain pass), 1221-1580 (special passes),
//! 4100-4190 (log passes of client-side graphs) (v10.3).

use super::graph::{Graph, Node};
use super::{Facts, VolgenError};
use crate::model::{OptionList, Volume, boolean};
use crate::options::{Opt, TABLE};
use std::collections::HashMap;
use std::sync::LazyLock;

/// One graph under construction: the volume as stored, and the options that hold in this graph.
pub(super) struct Build<'a> {
    pub volume: &'a Volume,
    pub facts: &'a Facts<'a>,
    /// Stored options with changes on trial and the graph's own rewrites over them.
    pub options: OptionList,
    /// Whether client nodes carry the volume's credentials.
    pub trusted: bool,
    /// Transport of client nodes: `tcp` or `rdma`.
    pub transport: &'static str,
}

impl<'a> Build<'a> {
    pub fn new(volume: &'a Volume, facts: &'a Facts<'a>) -> Build<'a> {
        let transport = match volume.transport {
            crate::model::Transport::Rdma => "rdma",
            _ => "tcp",
        };
        Build { volume, facts, options: volume.options.clone(), trusted: true, transport }
    }

    pub fn with(mut self, changes: &[(&str, &str)]) -> Build<'a> {
        for (key, value) in changes {
            self.options.set(*key, *value);
        }
        self
    }

    pub fn name(&self, part: &str) -> String {
        format!("{}-{part}", self.volume.name)
    }

    /// A boolean that decides what is built. `None`: not set.
    pub fn flag(&self, key: &str) -> Result<Option<bool>, VolgenError> {
        match self.options.value(key) {
            None => Ok(None),
            Some(text) => boolean(text).map(Some).ok_or_else(|| bad_boolean(key, text)),
        }
    }

    pub fn on(&self, key: &str) -> Result<bool, VolgenError> {
        Ok(self.flag(key)?.unwrap_or(false))
    }

    /// The value as stored (changes on trial left out), or the table's default.
    pub fn stored(&self, key: &str) -> Option<&'a str> {
        let default = || TABLE[*ROWS.get(key)?.first()?].map_default;
        self.volume.options.value(key).or_else(default)
    }

    pub fn stored_on(&self, key: &str) -> Result<bool, VolgenError> {
        match self.stored(key) {
            None => Ok(false),
            Some(text) => boolean(text).ok_or_else(|| bad_boolean(key, text)),
        }
    }
}

fn bad_boolean(key: &str, text: &str) -> VolgenError {
    VolgenError::new(format!("option {key} {text}: not a boolean value"))
}

/// Positions in the table by key; some keys have two rows.
static ROWS: LazyLock<HashMap<&str, Vec<usize>>> = LazyLock::new(|| {
    let mut rows: HashMap<&str, Vec<usize>> = HashMap::new();
    for (at, opt) in TABLE.iter().enumerate() {
        rows.entry(opt.key).or_default().push(at);
    }
    rows
});

/// Rows that have a value here, in the table's order: the option's value, else the table's default.
pub(super) fn rows(options: &OptionList) -> impl Iterator<Item = (&'static Opt, &str)> {
    let mut values: Vec<Option<&str>> = TABLE.iter().map(|opt| opt.map_default).collect();
    for (key, value) in options.iter() {
        ROWS.get(key).into_iter().flatten().for_each(|&at| values[at] = Some(value));
    }
    TABLE.iter().zip(values).filter_map(|(opt, value)| Some((opt, value?)))
}

/// Every plain row, on every node of its translator's type.
pub(super) fn plain(graph: &mut Graph, build: &Build<'_>) {
    for (opt, value) in rows(&build.options).filter(|(opt, _)| !opt.special) {
        write(graph, build, opt.xlator, opt.option, value);
    }
}

/// The translators' bound of `tcp-window-size`.
const WINDOW_BYTES_MAX: u64 = 1 << 20;

/// Writes one option onto all nodes of a type.
///
/// Three options would keep a process from starting if they were written as they are
/// (docs/differences.md).
pub(super) fn write(graph: &mut Graph, build: &Build<'_>, kind: &str, option: &str, value: &str) {
    let strangers = match option {
        "read-subvolume" => strangers(graph, value),
        _ => Vec::new(),
    };
    for (at, node) in graph.nodes_mut().iter_mut().enumerate().filter(|(_, n)| n.kind == kind) {
        match option {
            "ta-remote-port" if is_thin_arbiter(node, build) => node.set("remote-port", value),
            "ta-remote-port" => {}
            // The socket layer knows no units. What is out of range is refused as it was typed.
            "tcp-window-size" => {
                let fits = |bytes: &u64| *bytes <= WINDOW_BYTES_MAX;
                let plain = bytes(value).filter(fits).map(|bytes| bytes.to_string());
                node.set(option, plain.as_deref().unwrap_or(value));
            }
            _ if strangers.contains(&at) => {}
            _ => node.set(option, value),
        }
    }
}

/// Nodes that have no child of this name, where another has one: only the parent can read from it.
/// A name that is no node at all stays, to be refused.
fn strangers(graph: &Graph, child: &str) -> Vec<usize> {
    let nodes = graph.nodes();
    if !nodes.iter().any(|node| node.name == child) {
        return Vec::new();
    }
    let is_child = |&at: &usize| nodes[at].name == child;
    (0..nodes.len()).filter(|&at| !nodes[at].children.iter().any(is_child)).collect()
}

/// `VOL-ta-N`; a volume that has `-ta-` in its own name is not meant.
fn is_thin_arbiter(node: &Node, build: &Build<'_>) -> bool {
    node.name.strip_prefix(build.volume.name.as_str()).is_some_and(|rest| rest.starts_with("-ta-"))
}

/// Special rows that set an option of every io-stats node, in the order of the client-side passes.
///
/// `brick` or `client` in the key says which side a row belongs to.
const LOG_OPTIONS: &[(&[&str], &str)] = &[
    (&["client-log-level", "brick-log-level"], "log-level"),
    (&["sys-log-level"], "sys-log-level"),
    (&["logger"], "logger"),
    (&["log-format"], "log-format"),
    (&["log-buf-size"], "log-buf-size"),
    (&["log-flush-timeout"], "log-flush-timeout"),
    (&["client-threads", "brick-threads"], "threads"),
];

/// Log and thread options of client-side graphs: a pass for each, in fixed order.
pub(super) fn client_logs(graph: &mut Graph, build: &Build<'_>) {
    let specials = rows(&build.options).filter(|(opt, _)| opt.special);
    let rows: Vec<_> = specials.filter(|(opt, _)| opt.key.contains("client")).collect();
    for (specials, option) in LOG_OPTIONS {
        for (opt, value) in rows.iter().filter(|(opt, _)| specials.contains(&opt.option)) {
            write(graph, build, opt.xlator, option, value);
        }
    }
}

/// The special rows of server-side graphs in one pass: log options, and `auth.addr` of the top.
///
/// `auth_path` is the name under which clients attach (the brick's path, `snapd-VOL`).
pub(super) fn server_specials(graph: &mut Graph, build: &Build<'_>, auth_path: &str) {
    for (opt, value) in rows(&build.options).filter(|(opt, _)| opt.special) {
        if opt.option == "server-auth" {
            let what = opt.key.strip_prefix("auth.").unwrap_or(opt.key);
            graph.top().set(format!("auth.addr.{auth_path}.{what}"), value);
        }
        let row = LOG_OPTIONS.iter().find(|(specials, _)| specials.contains(&opt.option));
        if let Some((_, option)) = row
            && opt.key.contains("brick")
        {
            write(graph, build, opt.xlator, option, value);
        }
    }
}

/// `ssl.*` keys and the socket options they become, in the order in which builders set them.
const SSL: &[(&str, &str)] = &[
    ("ssl.own-cert", "ssl-own-cert"),
    ("ssl.private-key", "ssl-private-key"),
    ("ssl.ca-list", "ssl-ca-list"),
    ("ssl.crl-path", "ssl-crl-path"),
    ("ssl.certificate-depth", "ssl-cert-depth"),
    ("ssl.cipher-list", "ssl-cipher-list"),
    ("ssl.dh-param", "ssl-dh-param"),
    ("ssl.ec-curve", "ssl-ec-curve"),
];

pub(super) fn set_ssl(node: &mut Node, build: &Build<'_>) {
    for (key, option) in SSL {
        if let Some(value) = build.options.value(key) {
            node.set(format!("transport.socket.{option}"), value);
        }
    }
}

/// A number with an optional unit (`B`, `KB`, … `PB`, any case), in bytes.
///
/// Source: libglusterfs/src/common-utils.c `gf_string2bytesize_range` (v10.3).
pub(super) fn bytes(text: &str) -> Option<u64> {
    let text = text.trim_start();
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let shift = match unit.to_ascii_uppercase().as_str() {
        "" | "B" => 0,
        "KB" => 10,
        "MB" => 20,
        "GB" => 30,
        "TB" => 40,
        "PB" => 50,
        _ => return None,
    };
    if number.contains('.') {
        let value = number.parse::<f64>().ok()? * (1u64 << shift) as f64;
        return (value < u64::MAX as f64).then_some(value as u64);
    }
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let check = |text: &str, want: Option<u64>| assert_eq!(bytes(text), want, "{text:?}");
        check("10MB", Some(10 << 20));
        check("131072", Some(131_072));
        check("4kb", Some(4096));
        check("1.5KB", Some(1536));
        check("20PB", Some(20 << 50));
        check("99999PB", None);
        check("10X", None);
        check("", None);
        check(".", None);
    }
}
