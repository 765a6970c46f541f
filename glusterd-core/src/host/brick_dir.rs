//! May this directory be a brick? The checks, in stock's order, with stock's texts.
//!
//! Facts: xlators/mgmt/glusterd/src/glusterd-utils.c:1202-1625, :8195-8385,
//! glusterd-volume-ops.c:1275-1335 (v10.3). Stock keeps a directory with a volume-id when a later
//! node refuses; so do we: the next create with the same path needs force there and here.

use super::dirs::WORK_DEFAULT;
use super::fs::BrickFs;
use std::io;
use uuid::Uuid;

const VOLUME_ID: &str = "trusted.glusterfs.volume-id";
const GFID: &str = "trusted.gfid";
const TEST: &str = "trusted.glusterfs.test";
/// Its bricks lie inside the working directory, by design of stock's hook script.
const SHARED_STORAGE: &str = "gluster_shared_storage";

/// One brick of a volume about to be created or grown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrepareBrick {
    pub volume: String,
    pub host: String,
    pub path: String,
    pub force: bool,
    /// `--wignore-partition`: a directory on the root file system will do.
    pub ignore_partition: bool,
}

/// A checked directory about to become a brick.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MarkBrick {
    pub volume_id: Uuid,
    pub host: String,
    pub path: String,
    pub force: bool,
}

/// What a node knows about a brick directory and the pool keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrickPlace {
    pub real_path: String,
    /// Path inside its file system, with a leading slash.
    pub mount_dir: String,
    pub fsid: u64,
    /// What would have refused it without force.
    pub overridden: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartBrick {
    pub volume: String,
    pub volume_id: Uuid,
    pub host: String,
    pub path: String,
    pub force: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrickReady {
    Yes,
    /// No directory there; force passes it over.
    Skipped,
}

/// What stands in the brick root's volume-id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VolumeIdCheck {
    Ours,
    /// Not set, or the directory cannot be read; the text says which.
    Missing(String),
    /// Another volume's, or no uuid at all.
    Other(String),
}

/// Makes the directory if it is missing and tells whether it can become a brick. Leaves no mark.
/// Some text: what only force makes good.
pub fn check(fs: &dyn BrickFs, ask: &PrepareBrick) -> Result<Option<String>, String> {
    let created = match fs.mkdir(&ask.path, 0o755) {
        Ok(()) => true,
        Err(err) if err.kind() == io::ErrorKind::AlreadyExists => false,
        Err(err) => {
            let (host, path, why) = (&ask.host, &ask.path, reason(&err));
            return Err(format!(
                "Failed to create brick directory for brick {host}:{path}. Reason : {why} "
            ));
        }
    };
    let outcome = place_checks(fs, ask, created).and_then(|()| content_checks(fs, ask));
    if outcome.is_err()
        && created
        && let Err(err) = fs.remove_tree(&ask.path)
    {
        tracing::warn!(path = ask.path, %err, "a directory made for a refused brick stays");
    }
    outcome
}

/// Is it a directory, and does it lie where bricks should?
fn place_checks(fs: &dyn BrickFs, ask: &PrepareBrick, created: bool) -> Result<(), String> {
    let lstat = |path: &str, shown: &str| {
        fs.lstat(path).map_err(|err| format!("lstat failed on {shown}. Reason : {}", reason(&err)))
    };
    let (host, path) = (&ask.host, &ask.path);
    let brick = lstat(path, path)?;
    if !created && !brick.is_dir {
        return Err(format!(
            "The provided path {path} which is already present, is not a directory"
        ));
    }
    let root = lstat("/", "/")?;
    let above = format!("{path}/..");
    let parent = lstat(&above, &above)?;
    if !ask.volume.starts_with(SHARED_STORAGE) && path.starts_with(WORK_DEFAULT) {
        return Err("Brick isn't allowed to be created inside glusterd's working directory.".into());
    }
    if ask.force {
        return Ok(());
    }
    if brick.dev != parent.dev {
        return Err(format!(
            "The brick {host}:{path} is a mount point. Please create a sub-directory under the \
             mount point and use that as the brick directory. Or use 'force' at the end of the \
             command if you want to override this behavior."
        ));
    }
    if parent.dev == root.dev && !ask.ignore_partition {
        return Err(format!(
            "The brick {host}:{path} is being created in the root partition. It is recommended \
             that you don't use the system's root partition for storage backend. Or use 'force' \
             at the end of the command if you want to override this behavior."
        ));
    }
    Ok(())
}

/// Extended attributes work, and nobody else's brick is here or above.
fn content_checks(fs: &dyn BrickFs, ask: &PrepareBrick) -> Result<Option<String>, String> {
    let (host, path) = (&ask.host, &ask.path);
    fs.set_xattr(path, TEST, b"working\0", false).map_err(|err| {
        format!(
            "Glusterfs is not supported on brick: {host}:{path}.\nSetting extended attributes \
             failed, reason: {}.",
            reason(&err)
        )
    })?;
    fs.remove_xattr(path, TEST).map_err(|err| {
        format!("Removing test extended attribute failed, reason: {}", reason(&err))
    })?;
    let used = in_use(fs, path)?.map(|dir| match dir == *path {
        true => format!("{path} is already part of a volume"),
        false => format!("parent directory {dir} is already part of a volume"),
    });
    if ask.force { Ok(used) } else { used.map_or(Ok(None), Err) }
}

/// Makes a checked directory the volume's: its volume-id, and `.glusterfs`. Doing it twice is
/// harmless; another volume's id is an error unless forced.
pub fn mark(fs: &dyn BrickFs, mark: &MarkBrick) -> Result<(), String> {
    let (host, path, id) = (&mark.host, &mark.path, mark.volume_id.as_bytes());
    match fs.set_xattr(path, VOLUME_ID, id, !mark.force) {
        Err(_) if check_volume_id(fs, path, id) == VolumeIdCheck::Ours => {}
        Err(err) => {
            let why = reason(&err);
            return Err(format!("Failed to set extended attributes {VOLUME_ID}, reason: {why}"));
        }
        Ok(()) => {}
    }
    match fs.mkdir(&format!("{path}/.glusterfs"), 0o600) {
        Err(err) if err.kind() != io::ErrorKind::AlreadyExists => Err(format!(
            "Failed to create .glusterfs directory for brick {host}:{path}. Reason : {} ",
            reason(&err)
        )),
        _ => Ok(()),
    }
}

/// Takes the volume's mark back: its id, and `.glusterfs` if nothing is in it. The directory stays.
pub fn unmark(fs: &dyn BrickFs, path: &str, volume_id: Uuid) -> Result<(), String> {
    if check_volume_id(fs, path, volume_id.as_bytes()) != VolumeIdCheck::Ours {
        return Ok(());
    }
    // In use by a brick if not empty, and then no longer ours to remove.
    let _kept = fs.remove_empty_dir(&format!("{path}/.glusterfs"));
    fs.remove_xattr(path, VOLUME_ID)
        .map_err(|err| format!("Failed to remove {VOLUME_ID} from {path}: {}", reason(&err)))
}

/// The first directory, from `path` up to `/`, that carries a brick's attributes.
fn in_use(fs: &dyn BrickFs, path: &str) -> Result<Option<String>, String> {
    let mut dir = path;
    loop {
        for name in [GFID, VOLUME_ID] {
            let value = fs.xattr(dir, name).map_err(|err| {
                format!("Failed to get extended attribute {name}, reason: {}", reason(&err))
            })?;
            if value.is_some() {
                return Ok(Some(dir.to_owned()));
            }
        }
        if dir == "/" {
            return Ok(None);
        }
        dir = match dir.rfind('/') {
            Some(0) | None => "/",
            Some(at) => &dir[..at],
        };
    }
}

pub fn check_start(fs: &dyn BrickFs, ask: &StartBrick) -> Result<BrickReady, String> {
    let (host, path, volume) = (&ask.host, &ask.path, &ask.volume);
    let found = match fs.lstat(path) {
        Ok(stat) if stat.is_dir => Ok(()),
        Ok(_) => Err(io::Error::from_raw_os_error(nix::libc::ENOTDIR)),
        Err(err) => Err(err),
    };
    if let Err(err) = found {
        if ask.force {
            return Ok(BrickReady::Skipped);
        }
        let why = reason(&err);
        return Err(format!(
            "Failed to find brick directory {path} for volume {volume}. Reason : {why}"
        ));
    }
    let unreadable = |why: String| {
        format!("Failed to get extended attribute {VOLUME_ID} for brick dir {path}. Reason : {why}")
    };
    let value = match fs.xattr(path, VOLUME_ID) {
        Ok(Some(value)) => value,
        Ok(None) | Err(_) if ask.force => {
            fs.set_xattr(path, VOLUME_ID, ask.volume_id.as_bytes(), true).map_err(|err| {
                let why = reason(&err);
                format!("Failed to set extended attribute {VOLUME_ID} on {path}. Reason: {why}")
            })?;
            return Ok(BrickReady::Yes);
        }
        Ok(None) => return Err(unreadable(errno_text(nix::libc::ENODATA))),
        Err(err) => return Err(unreadable(reason(&err))),
    };
    if value == ask.volume_id.as_bytes() {
        return Ok(BrickReady::Yes);
    }
    let found = Uuid::from_slice(&value).unwrap_or_default();
    Err(format!(
        "Volume id mismatch for brick {host}:{path}. Expected volume id {}, volume id {found} found",
        ask.volume_id
    ))
}

pub fn check_volume_id(fs: &dyn BrickFs, path: &str, volume: &[u8; 16]) -> VolumeIdCheck {
    match fs.xattr(path, VOLUME_ID) {
        Ok(Some(value)) if value == volume => VolumeIdCheck::Ours,
        Ok(Some(_)) => VolumeIdCheck::Other(format!(
            "Mismatching {VOLUME_ID} extended attribute on brick root ({path}), brick is deemed \
             not to be a part of the volume"
        )),
        Ok(None) => VolumeIdCheck::Missing(format!(
            "Missing {VOLUME_ID} extended attribute on brick root ({path}), brick is deemed not to \
             be a part of the volume"
        )),
        Err(err) => VolumeIdCheck::Missing(format!("brick root {path}: {}", reason(&err))),
    }
}

/// The path of the mount that holds `path`: walks up until the device changes.
pub fn mount_root(fs: &dyn BrickFs, path: &str) -> io::Result<String> {
    let dev = fs.device(path)?;
    let mut root = path;
    while root != "/" {
        let above = match root.rfind('/') {
            Some(0) | None => "/",
            Some(at) => &root[..at],
        };
        if fs.device(above)? != dev {
            break;
        }
        root = above;
    }
    Ok(root.to_owned())
}

/// `path` as seen from its mount, `/` when it is the mount.
pub fn mount_dir(path: &str, root: &str) -> String {
    let below = path.strip_prefix(root).unwrap_or(path);
    format!("/{}", below.trim_start_matches('/'))
}

/// The system's text for an error, without the number the standard library adds.
pub fn reason(err: &io::Error) -> String {
    err.raw_os_error().map_or_else(|| err.to_string(), errno_text)
}

fn errno_text(errno: i32) -> String {
    let text = io::Error::from_raw_os_error(errno).to_string();
    match text.find(" (os error") {
        Some(at) => text[..at].to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::super::fs::{MemFs, MemNode};
    use super::*;

    const ID: Uuid = Uuid::from_u128(7);

    /// `/` and `/root` on device 1; `/m` a mount on device 2; `/x` one without attributes.
    fn machine() -> MemFs {
        let fs = MemFs::default();
        let dir = |dev| MemNode { dev, ..MemNode::default() };
        fs.put("/root", dir(1));
        fs.put("/m", dir(2));
        fs.put("/m/file", MemNode { is_file: true, dev: 2, ..MemNode::default() });
        for path in ["/var", "/var/lib", "/var/lib/glusterd"] {
            fs.put(path, dir(2));
        }
        fs.put("/x", MemNode { dev: 3, no_xattrs: true, ..MemNode::default() });
        fs
    }

    fn ask(path: &str) -> PrepareBrick {
        PrepareBrick {
            volume: "v".into(),
            host: "h".into(),
            path: path.into(),
            force: false,
            ignore_partition: false,
        }
    }

    /// Check, and mark if that went well.
    fn prepare(fs: &MemFs, ask: &PrepareBrick) -> Result<(), String> {
        let overridden = super::check(fs, ask)?;
        assert!(overridden.is_none() || ask.force, "{overridden:?}");
        let PrepareBrick { host, path, force, .. } = ask.clone();
        mark(fs, &MarkBrick { volume_id: ID, host, path, force })
    }

    fn check(fs: &MemFs, ask: PrepareBrick, want: &str) {
        let got = prepare(fs, &ask).err().unwrap_or_default();
        if want.is_empty() {
            assert_eq!(got, "");
            assert_eq!(check_volume_id(fs, &ask.path, ID.as_bytes()), VolumeIdCheck::Ours);
            assert!(fs.lstat(&format!("{}/.glusterfs", ask.path)).is_ok());
        } else {
            assert!(got.starts_with(want), "{got:?} does not start with {want:?}");
        }
    }

    #[test]
    fn checks_of_create_in_order() {
        let fs = machine();
        let force = |ask: PrepareBrick| PrepareBrick { force: true, ..ask };
        check(&fs, ask("/m/b"), "");
        check(&fs, ask("/m/b"), "/m/b is already part of a volume");
        let used = "/m/b is already part of a volume".to_owned();
        assert_eq!(super::check(&fs, &force(ask("/m/b"))), Ok(Some(used)));
        assert_eq!(super::check(&fs, &force(ask("/m/new"))), Ok(None));
        check(&fs, force(ask("/m/b")), "");
        check(&fs, ask("/m/b/c"), "parent directory /m/b is already part of a volume");
        assert!(fs.lstat("/m/b/c").is_err(), "a directory made for a refused brick is removed");
        check(
            &fs,
            ask("/no/b"),
            "Failed to create brick directory for brick h:/no/b. Reason : No such file or directory ",
        );
        check(
            &fs,
            ask("/m/file"),
            "The provided path /m/file which is already present, is not a directory",
        );
        check(&fs, ask("/m"), "The brick h:/m is a mount point. Please");
        check(&fs, force(ask("/m")), "");
        check(
            &fs,
            ask("/root/b"),
            "The brick h:/root/b is being created in the root partition. It",
        );
        check(&fs, PrepareBrick { ignore_partition: true, ..ask("/root/b") }, "");
        check(&fs, ask("/var/lib/glusterd/b"), "Brick isn't allowed to be created inside");
        check(
            &fs,
            ask("/x/b"),
            "Glusterfs is not supported on brick: h:/x/b.\nSetting extended attributes failed, reason: Operation not supported.",
        );
    }

    #[test]
    fn the_shared_storage_volume_may_lie_in_the_working_directory() {
        let volume = "gluster_shared_storage".to_owned();
        check(&machine(), PrepareBrick { volume, ..ask("/var/lib/glusterd/b") }, "");
    }

    #[test]
    fn a_check_leaves_no_mark_and_a_mark_can_be_taken_back() {
        let fs = machine();
        super::check(&fs, &ask("/m/b")).unwrap();
        assert!(fs.lstat("/m/b").unwrap().is_dir);
        let missing = |fs: &MemFs| {
            matches!(check_volume_id(fs, "/m/b", ID.as_bytes()), VolumeIdCheck::Missing(_))
        };
        assert!(missing(&fs));
        let ours = MarkBrick { volume_id: ID, host: "h".into(), path: "/m/b".into(), force: false };
        mark(&fs, &ours).unwrap();
        mark(&fs, &ours).unwrap();
        let foreign = MarkBrick { volume_id: Uuid::from_u128(9), ..ours };
        assert_eq!(
            mark(&fs, &foreign).unwrap_err(),
            "Failed to set extended attributes trusted.glusterfs.volume-id, reason: File exists"
        );
        unmark(&fs, "/m/b", Uuid::from_u128(9)).unwrap();
        assert!(!missing(&fs), "another volume's id is not ours to take");
        unmark(&fs, "/m/b", ID).unwrap();
        assert!(missing(&fs) && fs.lstat("/m/b/.glusterfs").is_err());
        super::check(&fs, &ask("/m/b")).unwrap();
    }

    #[test]
    fn checks_of_start() {
        let fs = machine();
        prepare(&fs, &ask("/m/b")).unwrap();
        let check = |path: &str, id: u128, force: bool, want: Result<BrickReady, &str>| {
            let (volume, host, path) = ("v".into(), "h".into(), path.into());
            let ask = StartBrick { volume, volume_id: Uuid::from_u128(id), host, path, force };
            assert_eq!(check_start(&fs, &ask), want.map_err(str::to_owned));
        };
        check("/m/b", 7, false, Ok(BrickReady::Yes));
        check(
            "/m/b",
            8,
            false,
            Err(
                "Volume id mismatch for brick h:/m/b. Expected volume id 00000000-0000-0000-0000-000000000008, volume id 00000000-0000-0000-0000-000000000007 found",
            ),
        );
        check("/m/c", 7, true, Ok(BrickReady::Skipped));
        check(
            "/m/c",
            7,
            false,
            Err(
                "Failed to find brick directory /m/c for volume v. Reason : No such file or directory",
            ),
        );
        fs.mkdir("/m/d", 0).unwrap();
        check(
            "/m/d",
            7,
            false,
            Err(
                "Failed to get extended attribute trusted.glusterfs.volume-id for brick dir /m/d. Reason : No data available",
            ),
        );
        check("/m/d", 7, true, Ok(BrickReady::Yes));
        check("/m/d", 7, false, Ok(BrickReady::Yes));
    }

    #[test]
    fn mounts() {
        let fs = machine();
        prepare(&fs, &ask("/m/b")).unwrap();
        let check = |path: &str, root: &str, dir: &str| {
            assert_eq!(mount_root(&fs, path).unwrap(), root);
            assert_eq!(mount_dir(path, root), dir);
        };
        check("/m/b", "/m", "/b");
        check("/m", "/m", "/");
        check("/root", "/", "/root");
    }
}
