//! Where things lie in ZooKeeper: every path of this backend is made here.
//!
//! `/CHROOT/-/SPACE/ESCAPED`: one node a space, its children the keys. No segment of a chroot may
//! be `-`, so no namespace lies within another's spaces (K7). Our own nodes lie under `_sys`,
//! which no space can be called (K1).

use coord_api::{ClusterId, Key, Space, escape, unescape};

#[derive(Clone, Debug)]
pub(crate) struct Layout {
    root: String,
}

impl Layout {
    pub fn new(path: &[String]) -> Layout {
        let mut root = String::new();
        for segment in path {
            root.push('/');
            root.push_str(segment);
        }
        root.push_str("/-");
        Layout { root }
    }

    /// The namespace's nodes above the root, outermost first: they belong to whoever was first.
    pub fn ancestors(&self) -> Vec<String> {
        let ends = self.root.match_indices('/').map(|(at, _)| at).filter(|at| *at > 0);
        ends.map(|at| self.root[..at].to_owned()).collect()
    }

    /// Nodes that everything else needs, parents first.
    pub fn skeleton(&self) -> Vec<String> {
        let sys = format!("{}/_sys", self.root);
        vec![self.root.clone(), sys.clone(), format!("{sys}/live")]
    }

    pub fn root(&self) -> &str {
        &self.root
    }

    /// Above the identity, outermost first.
    pub fn parents(&self) -> [String; 2] {
        [self.root.clone(), format!("{}/_sys", self.root)]
    }

    /// Holds the identity of the namespace or, in the root one, of the cluster: a UUID.
    pub fn id(&self) -> String {
        format!("{}/_sys/id", self.root)
    }

    /// Exists as long as the cluster is the one with this identity: a check can compare existence
    /// but not content.
    pub fn witness(&self, id: ClusterId) -> String {
        format!("{}/_sys/is-{id}", self.root)
    }

    /// A client's own ephemeral node: written to find the present revision.
    pub fn live(&self, session: i64) -> String {
        format!("{}/_sys/live/{session:x}", self.root)
    }

    /// The node of a space; its data is the kind, its version counts creations and deletions.
    pub fn space(&self, space: &Space) -> String {
        format!("{}/{space}", self.root)
    }

    pub fn key(&self, key: &Key) -> String {
        format!("{}/{}/{}", self.root, key.space(), escape(key.name()))
    }

    /// The key of a child; `None` for nodes this layer did not make.
    pub fn child(&self, space: &Space, name: &str) -> Option<Key> {
        Key::new(space, &unescape(name)?).ok()
    }

    /// The key of an event's path; `None` for the space itself and for foreign nodes.
    pub fn parse(&self, space: &Space, path: &str) -> Option<Key> {
        let name = path.strip_prefix(&*self.root)?.strip_prefix('/')?;
        self.child(space, name.strip_prefix(space.as_str())?.strip_prefix('/')?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let space = Space::new("config").unwrap();
        let layout = Layout::new(&["a".into(), "b".into()]);
        let key = Key::new(&space, "x/y").unwrap();
        assert_eq!(layout.key(&key), "/a/b/-/config/x_2fy");
        assert_eq!(layout.parse(&space, "/a/b/-/config/x_2fy"), Some(key));
        for foreign in ["/a/b/-/config", "/a/b/-/config/x-y", "/a/b/-/other/x", "/a/-/config/x"] {
            assert_eq!(layout.parse(&space, foreign), None, "{foreign}");
        }
        assert_eq!(layout.ancestors(), ["/a", "/a/b"]);
        assert_eq!(Layout::new(&[]).ancestors(), Vec::<String>::new());
        assert_eq!(Layout::new(&[]).id(), "/-/_sys/id");
    }
}
