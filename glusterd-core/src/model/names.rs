//! Names and identities.
//!
//! Facts: cli/src/cli-cmd-parser.c:519-545, xlators/mgmt/glusterd/src/glusterd.h:509,732 (v10.3).

use std::fmt;
use std::sync::Arc;
use uuid::Uuid;

/// Letters, digits, `_` and `-`, not starting with `-`; 1 to 255 bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VolumeName(Arc<str>);

impl VolumeName {
    pub fn parse(text: &str) -> Option<VolumeName> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        let ok =
            (1..=255).contains(&text.len()) && !text.starts_with('-') && text.bytes().all(legal);
        ok.then(|| VolumeName(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for VolumeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for VolumeName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// A node for life: what `UUID=` in glusterd.info says.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub Uuid);

/// A volume for life, also as 16 raw bytes in `trusted.glusterfs.volume-id` of its brick roots.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VolumeId(pub Uuid);

macro_rules! uuid_text {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
        impl $name {
            pub fn fresh() -> $name {
                $name(Uuid::new_v4())
            }
            pub fn parse(text: &str) -> Option<$name> {
                Uuid::try_parse(text).ok().map($name)
            }
        }
    )*};
}
uuid_text!(NodeId, VolumeId);

/// `/a/b` as `-a-b`: the form in `bricks/HOST:-a-b` and `brick-N=`.
pub fn dash_path(path: &str) -> String {
    path.replace('/', "-")
}

/// `/a/b` as `a-b`: the form in volfile, pid file and log names.
pub fn strip_dash_path(path: &str) -> String {
    dash_path(path.strip_prefix('/').unwrap_or(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volume_names() {
        let check =
            |text: &str, ok: bool| assert_eq!(VolumeName::parse(text).is_some(), ok, "{text:?}");
        check("v0", true);
        check("a-b_C9", true);
        check("", false);
        check("-a", false);
        check("a/b", false);
        check("a.b", false);
        check(&"x".repeat(255), true);
        check(&"x".repeat(256), false);
    }

    #[test]
    fn path_forms() {
        assert_eq!(strip_dash_path("/d/b0"), "d-b0");
        assert_eq!(strip_dash_path("/d/b0/"), "d-b0-");
        assert_eq!(dash_path("/d/b0"), "-d-b0");
    }
}
