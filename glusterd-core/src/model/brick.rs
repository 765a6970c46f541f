//! A brick: one directory of one node that belongs to one volume.

use super::names::{NodeId, strip_dash_path};

/// `HOST:/absolute/path` as the user typed it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BrickSpec {
    pub host: String,
    pub path: String,
}

impl BrickSpec {
    /// Splits at the first `:/`; the path loses doubled and trailing slashes, as stock stores it.
    pub fn parse(text: &str) -> Option<BrickSpec> {
        let (host, path) = text.split_at(text.find(":/")?);
        let parts: Vec<&str> = path[1..].split('/').filter(|part| !part.is_empty()).collect();
        (!host.is_empty())
            .then(|| BrickSpec { host: host.to_owned(), path: format!("/{}", parts.join("/")) })
    }
}

impl std::fmt::Display for BrickSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.path)
    }
}

/// Which brick of which node, without the rest: the key of the uniqueness index.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BrickRef {
    pub node: NodeId,
    pub path: String,
}

/// A brick as the pool knows it. Ports and pids are observed per node and are not here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Brick {
    pub node: NodeId,
    /// Host name as typed at create: it is what clients connect to.
    pub host: String,
    pub path: String,
    pub real_path: String,
    /// Client translator's name, `VOL-client-N`; kept by replace-brick.
    pub id: String,
    /// Path inside the file system that holds the brick (`mount_dir` of the brick file).
    pub mount_dir: String,
    /// `statfs` f_fsid; bricks of one volume with equal ids on a node share a file system.
    pub fsid: u64,
    pub decommissioned: bool,
    /// 0, or -1 when a snapshot brick could not be taken.
    pub snap_status: i32,
    /// Grows when the brick is reset or put in another one's place: a node that sees a new number
    /// starts it anew. Part of [`super::Volume::epoch_of`].
    pub resets: u64,
}

impl Brick {
    pub fn spec(&self) -> BrickSpec {
        BrickSpec { host: self.host.clone(), path: self.path.clone() }
    }

    pub fn reference(&self) -> BrickRef {
        BrickRef { node: self.node, path: self.path.clone() }
    }

    /// Where it really lies, as far as that is known.
    pub fn place(&self) -> &str {
        if self.real_path.is_empty() { &self.path } else { &self.real_path }
    }

    /// `HOST-PATH-`, the stem of the pid file.
    pub fn host_path(&self) -> String {
        format!("{}-{}", self.host, strip_dash_path(&self.path))
    }
}

/// Whether one of two real paths contains or equals the other.
pub fn overlaps(a: &str, b: &str) -> bool {
    let inside = |inner: &str, outer: &str| {
        let outer = outer.trim_end_matches('/');
        inner
            .trim_end_matches('/')
            .strip_prefix(outer)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    inside(a, b) || inside(b, a)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specs() {
        let check = |text: &str, want: Option<&str>| {
            assert_eq!(BrickSpec::parse(text).map(|b| b.to_string()).as_deref(), want, "{text}")
        };
        check("h:/a/b", Some("h:/a/b"));
        check("h:/a//b/", Some("h:/a/b"));
        check("h:/", Some("h:/"));
        check("fe80::1:/a", Some("fe80::1:/a"));
        check("h:a", None);
        check(":/a", None);
    }

    #[test]
    fn overlapping_paths() {
        let check = |a, b, want| assert_eq!(overlaps(a, b), want, "{a} {b}");
        check("/a/b", "/a/b", true);
        check("/a/b", "/a/b/c", true);
        check("/a", "/a/b/c", true);
        check("/a/b", "/a/bc", false);
        check("/a/b/", "/a/b", true);
        check("/", "/a", true);
    }
}
