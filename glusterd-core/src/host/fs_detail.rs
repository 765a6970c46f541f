//! The file system under a brick, as `volume status detail` shows it.
//!
//! Stock runs xfs_info and tune2fs for the inode size; it stands in the superblock, so it is read
//! there. Facts: xlators/mgmt/glusterd/src/glusterd-utils.c:7399-7860 (v10.3); xfs `xfs_dsb`
//! (sb_inodesize, offset 104, big-endian); ext4 `ext4_super_block` (s_inode_size, offset 0x58 from
//! 1024, little-endian).

use super::brick_dir::mount_root;
use super::fs::RealFs;
use std::io;
use std::io::{Read, Seek, SeekFrom};

/// Bytes and counts are plain numbers; `None` where stock leaves the key out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FsDetail {
    pub block_size: u64,
    pub free_bytes: u64,
    pub total_bytes: u64,
    pub total_inodes: Option<u64>,
    pub free_inodes: Option<u64>,
    pub device: String,
    pub fs_name: String,
    pub mount_options: String,
    /// Digits, or `N/A` where a file system has no fixed size.
    pub inode_size: Option<String>,
}

/// One line of the mount table.
#[derive(Clone, Debug, PartialEq, Eq)]
struct MountLine {
    device: String,
    dir: String,
    fs_name: String,
    options: String,
}

pub(super) fn fs_detail(path: &str) -> io::Result<FsDetail> {
    let space = rustix::fs::statvfs(path)?;
    let root = std::fs::canonicalize(mount_root(&RealFs, path)?)?;
    let table = std::fs::read_to_string("/proc/self/mounts")?;
    let mount = mount_of(&table, &root.to_string_lossy())
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no entry in the mount table"))?;
    let some = |count: u64| (count != 0).then_some(count);
    Ok(FsDetail {
        block_size: space.f_bsize,
        free_bytes: space.f_bfree.saturating_mul(space.f_bsize),
        total_bytes: space.f_blocks.saturating_mul(space.f_bsize),
        total_inodes: some(space.f_files),
        free_inodes: some(space.f_ffree),
        inode_size: inode_size(&mount.fs_name, &mount.device),
        device: mount.device,
        fs_name: mount.fs_name,
        mount_options: mount.options,
    })
}

/// The first mount on `dir`, as stock takes it.
fn mount_of(table: &str, dir: &str) -> Option<MountLine> {
    table
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ').map(unescape);
            let (device, dir) = (words.next()?, words.next()?);
            let (fs_name, options) = (words.next()?, words.next()?);
            Some(MountLine { device, dir, fs_name, options })
        })
        .find(|line| line.dir == dir && line.fs_name != "rootfs")
}

/// `\040` and its like back to characters.
fn unescape(word: &str) -> String {
    let mut bytes = Vec::with_capacity(word.len());
    let mut rest = word.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let octal = tail.get(..3).filter(|digits| byte == b'\\' && digits.is_ascii());
        let code = octal.and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(code) => {
                bytes.push(code);
                rest = &tail[3..];
            }
            None => {
                bytes.push(byte);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn inode_size(fs_name: &str, device: &str) -> Option<String> {
    match fs_name {
        "btrfs" | "zfs" => Some("N/A".to_owned()),
        "xfs" | "ext3" | "ext4" => {
            let size = superblock(device).and_then(|block| superblock_inode_size(fs_name, &block));
            if size.is_none() {
                tracing::warn!(device, fs_name, "the superblock tells no inode size");
            }
            size.map(|size| size.to_string())
        }
        _ => None,
    }
}

/// The first 2 KiB of the device: they hold both kinds of superblock.
fn superblock(device: &str) -> Option<[u8; 2048]> {
    let mut block = [0; 2048];
    let mut file = std::fs::File::open(device).ok()?;
    file.seek(SeekFrom::Start(0)).ok()?;
    file.read_exact(&mut block).ok()?;
    Some(block)
}

fn superblock_inode_size(fs_name: &str, block: &[u8; 2048]) -> Option<u16> {
    let two = |at: usize| [block[at], block[at + 1]];
    match fs_name {
        "xfs" => block.starts_with(b"XFSB").then(|| u16::from_be_bytes(two(104))),
        _ => (two(1024 + 0x38) == [0x53, 0xef]).then(|| match two(1024 + 0x4c) {
            // Revision 0 has inodes of 128 bytes and does not say so.
            [0, 0] => 128,
            _ => u16::from_le_bytes(two(1024 + 0x58)),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "rootfs / rootfs rw 0 0\n/dev/a / ext4 rw,relatime 0 0\n\
                         tmpfs /with\\040blank tmpfs rw 0 0\nbad\n";

    #[test]
    fn mount_table() {
        let check = |dir: &str, want: Option<&str>| {
            assert_eq!(mount_of(TABLE, dir).map(|line| line.device).as_deref(), want, "{dir}")
        };
        check("/", Some("/dev/a"));
        check("/with blank", Some("tmpfs"));
        check("/no", None);
        assert_eq!(unescape("a\\134b\\x\\04"), "a\\b\\x\\04");
    }

    #[test]
    fn inode_sizes() {
        let mut block = [0u8; 2048];
        assert_eq!(superblock_inode_size("xfs", &block), None);
        block[..4].copy_from_slice(b"XFSB");
        block[104..106].copy_from_slice(&512u16.to_be_bytes());
        assert_eq!(superblock_inode_size("xfs", &block), Some(512));
        block[1080..1082].copy_from_slice(&[0x53, 0xef]);
        assert_eq!(superblock_inode_size("ext4", &block), Some(128));
        block[1100] = 1;
        block[1112..1114].copy_from_slice(&256u16.to_le_bytes());
        assert_eq!(superblock_inode_size("ext4", &block), Some(256));
        assert_eq!(inode_size("btrfs", "/no").as_deref(), Some("N/A"));
        assert_eq!(inode_size("tmpfs", "tmpfs"), None);
    }

    #[test]
    fn the_file_system_we_stand_on() {
        let dir = tempfile::tempdir().unwrap();
        let detail = fs_detail(dir.path().to_str().unwrap()).unwrap();
        assert!(detail.total_bytes >= detail.free_bytes && detail.block_size > 0);
        assert!(!detail.fs_name.is_empty() && !detail.mount_options.is_empty());
    }
}
