//! A translator graph and its text.
//!
//! Knows nodes, options and links; nothing of volumes. Nodes are kept in the order in which they
//! are printed: children first, the top last.
//!
//! Facts: libglusterfs/src/graph-print.c:70-125 (text), libglusterfs/src/dict.c:411-490 (option
//! order: newest key first, a changed value keeps its place) (v10.3).

use crate::model::OptionList;
use std::borrow::Cow;
use std::fmt::Write;

/// One translator instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub name: String,
    /// Translator type, such as `cluster/distribute`.
    pub kind: Cow<'static, str>,
    /// As printed: newest key first.
    pub options: OptionList,
    /// Indexes into [`Graph::nodes`], in child order.
    pub children: Vec<usize>,
}

/// The last node is the top.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Graph {
    nodes: Vec<Node>,
}

impl Graph {
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Adds a node that stands alone; returns its index.
    pub(super) fn add(&mut self, kind: impl Into<Cow<'static, str>>, name: String) -> usize {
        self.add_over(kind, name, Vec::new())
    }

    pub(super) fn add_over(
        &mut self,
        kind: impl Into<Cow<'static, str>>,
        name: String,
        children: Vec<usize>,
    ) -> usize {
        self.nodes.push(Node { name, kind: kind.into(), options: OptionList::default(), children });
        self.nodes.len() - 1
    }

    /// Adds a node above the present top (alone, if the graph is empty).
    pub(super) fn stack(&mut self, kind: impl Into<Cow<'static, str>>, name: String) -> &mut Node {
        let below = self.nodes.len().checked_sub(1);
        let at = self.add_over(kind, name, below.into_iter().collect());
        &mut self.nodes[at]
    }

    pub(super) fn node(&mut self, at: usize) -> &mut Node {
        &mut self.nodes[at]
    }

    pub(super) fn nodes_mut(&mut self) -> &mut [Node] {
        &mut self.nodes
    }

    pub(super) fn top(&mut self) -> &mut Node {
        self.nodes.last_mut().expect("a builder adds its top before it uses it")
    }

    /// Puts `below` in front of everything here and hangs its last `links` nodes, in order, under
    /// the top of this graph, behind the children that are there.
    pub(super) fn absorb(&mut self, below: Graph, links: usize) {
        let shift = below.nodes.len();
        let first = shift.saturating_sub(links);
        for node in &mut self.nodes {
            node.children.iter_mut().for_each(|child| *child += shift);
        }
        self.nodes.splice(0..0, below.nodes);
        self.top().children.extend(first..shift);
    }

    /// The volfile.
    pub fn text(&self) -> String {
        let mut out = String::with_capacity(self.nodes.len() * 256);
        for (at, node) in self.nodes.iter().enumerate() {
            if at > 0 {
                out.push('\n');
            }
            let _ = writeln!(out, "volume {}\n    type {}", node.name, node.kind);
            for (key, value) in node.options.iter() {
                let _ = writeln!(out, "    option {key} {value}");
            }
            if !node.children.is_empty() {
                out.push_str("    subvolumes");
                for &child in &node.children {
                    out.push(' ');
                    out.push_str(&self.nodes[child].name);
                }
                out.push('\n');
            }
            out.push_str("end-volume\n");
        }
        out
    }

    /// The graph as a Graphviz picture, top first, options left out.
    pub fn dot(&self) -> String {
        let mut out = String::from("digraph volfile {\n    node [shape=box]\n");
        for (at, node) in self.nodes.iter().enumerate().rev() {
            let label = format!("{}\\n{}", node.name, node.kind).replace('"', "\\\"");
            let _ = writeln!(out, "    n{at} [label=\"{label}\"]");
            for child in &node.children {
                let _ = writeln!(out, "    n{at} -> n{child}");
            }
        }
        out.push_str("}\n");
        out
    }
}

impl Node {
    pub(super) fn set(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.options.set(key, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_bottom_up_and_options_newest_first() {
        let mut graph = Graph::default();
        let node = graph.stack("storage/posix", "v-posix".into());
        node.set("directory", "/b");
        node.set("volume-id", "x");
        node.set("directory", "/c");
        graph.stack("debug/io-stats", "/b".into());
        assert_eq!(
            graph.text(),
            "volume v-posix\n    type storage/posix\n    option volume-id x\n    option directory \
             /c\nend-volume\n\nvolume /b\n    type debug/io-stats\n    subvolumes \
             v-posix\nend-volume\n"
        );
    }

    #[test]
    fn absorbed_graphs_stand_in_front_last_one_first() {
        let part = |name: &str| {
            let mut graph = Graph::default();
            graph.stack("protocol/client", format!("{name}-client-0"));
            graph.stack("cluster/distribute", name.to_owned());
            graph
        };
        let mut graph = Graph::default();
        graph.stack("features/quotad", "quotad".into());
        graph.absorb(part("a"), 1);
        graph.absorb(part("b"), 1);
        let names: Vec<_> = graph.nodes().iter().map(|node| node.name.as_str()).collect();
        assert_eq!(names, ["b-client-0", "b", "a-client-0", "a", "quotad"]);
        assert!(graph.text().ends_with("subvolumes a b\nend-volume\n"));
    }
}
