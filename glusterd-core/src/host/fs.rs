//! The few file system calls that brick checks are made of, so that their order can be tested.

use rustix::fs::{AtFlags, CWD, Mode, XattrFlags};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::io;

/// What `lstat` tells a brick check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    pub is_dir: bool,
    pub dev: u64,
}

/// Calls that follow no link at the end of the path, except `device`.
pub trait BrickFs {
    fn mkdir(&self, path: &str, mode: u32) -> io::Result<()>;
    fn lstat(&self, path: &str) -> io::Result<Stat>;
    /// Device number of what the path leads to.
    fn device(&self, path: &str) -> io::Result<u64>;
    /// `f_fsid` of statvfs.
    fn fsid(&self, path: &str) -> io::Result<u64>;
    /// `None`: not set. Values are 16 bytes; a longer one is cut.
    fn xattr(&self, path: &str, name: &str) -> io::Result<Option<Vec<u8>>>;
    /// `create`: an existing one is an error.
    fn set_xattr(&self, path: &str, name: &str, value: &[u8], create: bool) -> io::Result<()>;
    fn remove_xattr(&self, path: &str, name: &str) -> io::Result<()>;
    fn remove_tree(&self, path: &str) -> io::Result<()>;
    fn remove_empty_dir(&self, path: &str) -> io::Result<()>;
}

/// The kernel's.
#[derive(Clone, Copy, Debug)]
pub struct RealFs;

impl BrickFs for RealFs {
    fn mkdir(&self, path: &str, mode: u32) -> io::Result<()> {
        Ok(rustix::fs::mkdir(path, Mode::from_raw_mode(mode))?)
    }

    fn lstat(&self, path: &str) -> io::Result<Stat> {
        let stat = rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW)?;
        let kind = rustix::fs::FileType::from_raw_mode(stat.st_mode);
        Ok(Stat { is_dir: kind.is_dir(), dev: stat.st_dev })
    }

    fn device(&self, path: &str) -> io::Result<u64> {
        Ok(rustix::fs::stat(path)?.st_dev)
    }

    fn fsid(&self, path: &str) -> io::Result<u64> {
        Ok(rustix::fs::statvfs(path)?.f_fsid)
    }

    fn xattr(&self, path: &str, name: &str) -> io::Result<Option<Vec<u8>>> {
        // One byte more than a uuid, so that a longer value is seen to be none.
        let mut value = [0u8; 17];
        match rustix::fs::lgetxattr(path, name, &mut value) {
            Ok(length) => Ok(Some(value[..length].to_vec())),
            Err(Errno::NODATA | Errno::NOTSUP) => Ok(None),
            Err(Errno::RANGE) => Ok(Some(value.to_vec())),
            Err(err) => Err(err.into()),
        }
    }

    fn set_xattr(&self, path: &str, name: &str, value: &[u8], create: bool) -> io::Result<()> {
        let flags = if create { XattrFlags::CREATE } else { XattrFlags::empty() };
        Ok(rustix::fs::lsetxattr(path, name, value, flags)?)
    }

    fn remove_xattr(&self, path: &str, name: &str) -> io::Result<()> {
        Ok(rustix::fs::lremovexattr(path, name)?)
    }

    fn remove_tree(&self, path: &str) -> io::Result<()> {
        std::fs::remove_dir_all(path)
    }

    fn remove_empty_dir(&self, path: &str) -> io::Result<()> {
        std::fs::remove_dir(path)
    }
}

/// A tree in memory: directories with a device number and attributes each.
#[derive(Clone, Debug)]
pub struct MemFs {
    pub(super) nodes: std::sync::Arc<parking_lot::Mutex<BTreeMap<String, MemNode>>>,
}

#[derive(Clone, Debug, Default)]
pub struct MemNode {
    pub is_file: bool,
    pub dev: u64,
    pub no_xattrs: bool,
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

impl Default for MemFs {
    /// `/` on device 1.
    fn default() -> MemFs {
        let fs = MemFs { nodes: Default::default() };
        fs.put("/", MemNode { dev: 1, ..MemNode::default() });
        fs
    }
}

impl MemFs {
    pub fn put(&self, path: &str, node: MemNode) {
        self.nodes.lock().insert(path.to_owned(), node);
    }

    fn with<T>(&self, path: &str, act: impl FnOnce(&mut MemNode) -> T) -> io::Result<T> {
        let path = resolve_parent(path);
        self.nodes.lock().get_mut(&path).map(act).ok_or_else(|| Errno::NOENT.into())
    }
}

/// `/a/b/..` as `/a`: the one relative form the checks use.
fn resolve_parent(path: &str) -> String {
    match path.strip_suffix("/..") {
        Some(child) => match child.rfind('/') {
            Some(0) | None => "/".to_owned(),
            Some(at) => child[..at].to_owned(),
        },
        None => path.to_owned(),
    }
}

impl BrickFs for MemFs {
    fn mkdir(&self, path: &str, _mode: u32) -> io::Result<()> {
        let parent = resolve_parent(&format!("{path}/.."));
        let mut nodes = self.nodes.lock();
        if nodes.contains_key(path) {
            return Err(Errno::EXIST.into());
        }
        let node = nodes.get(&parent).ok_or(Errno::NOENT)?;
        if node.is_file {
            return Err(Errno::NOTDIR.into());
        }
        let child = MemNode { dev: node.dev, no_xattrs: node.no_xattrs, ..MemNode::default() };
        nodes.insert(path.to_owned(), child);
        Ok(())
    }

    fn lstat(&self, path: &str) -> io::Result<Stat> {
        self.with(path, |node| Stat { is_dir: !node.is_file, dev: node.dev })
    }

    fn device(&self, path: &str) -> io::Result<u64> {
        self.with(path, |node| node.dev)
    }

    fn fsid(&self, path: &str) -> io::Result<u64> {
        self.device(path)
    }

    fn xattr(&self, path: &str, name: &str) -> io::Result<Option<Vec<u8>>> {
        self.with(path, |node| node.xattrs.get(name).cloned())
    }

    fn set_xattr(&self, path: &str, name: &str, value: &[u8], create: bool) -> io::Result<()> {
        self.with(path, |node| {
            if node.no_xattrs {
                return Err(Errno::NOTSUP);
            }
            if create && node.xattrs.contains_key(name) {
                return Err(Errno::EXIST);
            }
            node.xattrs.insert(name.to_owned(), value.to_vec());
            Ok(())
        })?
        .map_err(io::Error::from)
    }

    fn remove_xattr(&self, path: &str, name: &str) -> io::Result<()> {
        self.with(path, |node| node.xattrs.remove(name))?.map(drop).ok_or(Errno::NODATA.into())
    }

    fn remove_tree(&self, path: &str) -> io::Result<()> {
        let below = format!("{path}/");
        self.nodes.lock().retain(|known, _| known != path && !known.starts_with(&below));
        Ok(())
    }

    fn remove_empty_dir(&self, path: &str) -> io::Result<()> {
        let below = format!("{path}/");
        let mut nodes = self.nodes.lock();
        if nodes.keys().any(|known| known.starts_with(&below)) {
            return Err(Errno::NOTEMPTY.into());
        }
        nodes.remove(path).map(drop).ok_or(Errno::NOENT.into())
    }
}
