//! Where things lie in etcd: every key string of this backend is made here.
//!
//! `/SEGMENTS/-/SPACE/NAME`, the name last, so that nothing needs escaping. No segment may be `-`,
//! so the first `/-/` ends the namespace and no namespace contains another's keys (K7). Our own
//! keys lie under `_sys`, which no space can be called (K1).

use coord_api::{Key, Prefix, SessionId, Space};

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
        root.push_str("/-/");
        Layout { root }
    }

    /// The cluster's identity, drawn once, for all namespaces (G6).
    pub fn cluster_id() -> String {
        "/-/_sys/id".into()
    }

    /// The identity of this namespace, where the cluster's is out of reach.
    pub fn id(&self) -> String {
        format!("{}_sys/id", self.root)
    }

    /// Written by transactions that would otherwise leave the revision as it is.
    pub fn tick(&self) -> String {
        format!("{}_sys/tick", self.root)
    }

    /// Declares a space; the value is its kind.
    pub fn space(&self, space: &Space) -> String {
        format!("{}_sys/space/{space}", self.root)
    }

    /// All declarations: first key, and the first one beyond the last.
    pub fn spaces(&self) -> (String, String) {
        (format!("{}_sys/space/", self.root), format!("{}_sys/space0", self.root))
    }

    /// Exists while the session does.
    pub fn session(&self, id: SessionId) -> String {
        format!("{}_sys/session/{id}", self.root)
    }

    pub fn key(&self, key: &Key) -> String {
        format!("{}{}/{}", self.root, key.space(), key.name())
    }

    /// First key, and the first one beyond the last.
    pub fn range(&self, prefix: &Prefix) -> (Vec<u8>, Vec<u8>) {
        let start = format!("{}{}/{}", self.root, prefix.space(), prefix.name()).into_bytes();
        let mut end = start.clone();
        // Names are ASCII and the empty one ends in `/`: the last byte is at most 0x7e.
        *end.last_mut().expect("a range has at least the slashes") += 1;
        (start, end)
    }

    /// The inverse of [`Layout::key`] within a space; `None` for keys this layer did not write.
    pub fn parse(&self, space: &Space, raw: &[u8]) -> Option<Key> {
        let text = std::str::from_utf8(raw).ok()?;
        let name = text.strip_prefix(&*self.root)?.strip_prefix(space.as_str())?;
        Key::new(space, name.strip_prefix('/')?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_ranges() {
        let space = Space::new("config").unwrap();
        let layout = Layout::new(&["a".into(), "b".into()]);
        let key = Key::new(&space, "x/y").unwrap();
        assert_eq!(layout.key(&key), "/a/b/-/config/x/y");
        assert_eq!(layout.parse(&space, b"/a/b/-/config/x/y"), Some(key));
        for foreign in ["/a/b/-/config/", "/a/-/config/x", "/a/b/-/other/x", "/a/b/-/config/x y"] {
            assert_eq!(layout.parse(&space, foreign.as_bytes()), None, "{foreign}");
        }
        let (start, end) = layout.range(&Prefix::all(&space));
        assert_eq!((&*start, &*end), (&b"/a/b/-/config/"[..], &b"/a/b/-/config0"[..]));
        let (_, end) = layout.range(&Prefix::new(&space, "v~").unwrap());
        assert_eq!(end, b"/a/b/-/config/v\x7f");
        assert_eq!(Layout::new(&[]).id(), Layout::cluster_id());
    }
}
