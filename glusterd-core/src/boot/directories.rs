//! The folders a daemon finds when it starts; which, and with what rights, is a table.
//!
//! Facts: glusterd.c:1477-1800 (v10.3).

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::settings::{Settings, SettingsError};

/// Below the log directory.
const LOGS: &[&str] = &["", "bricks", "geo-replication", "geo-replication-secondaries/mbr"];
/// Below the working directory.
const WORK: &[&str] = &[
    "",
    "vols",
    "snaps",
    "peers",
    "bitd",
    "scrub",
    "glustershd",
    "quotad",
    "groups",
    "geo-replication",
];
/// Below the run directory.
const RUN: &[&str] = &["", "vols", "bitd", "scrub", "quotad"];
/// Below `hooks/1`, each with `pre` and `post`.
const HOOKS: &[&str] = &[
    "create",
    "delete",
    "start",
    "stop",
    "add-brick",
    "remove-brick",
    "set",
    "reset",
    "gsync-create",
];
/// Fixed paths, whatever the settings say (processes.md 18, trap 1 of stock).
const FIXED: &[&str] =
    &["/var/run/gluster", "/var/run/gluster/snaps", "/var/lib/glusterd/ss_brick"];

/// Makes what is missing.
///
/// # Errors
/// The first folder that cannot be made, with the reason.
pub fn create(settings: &Settings) -> Result<(), SettingsError> {
    for path in wanted(settings) {
        make(&path)?;
    }
    Ok(())
}

fn wanted(settings: &Settings) -> Vec<PathBuf> {
    // Through its components a path loses the slash that joining "" leaves behind.
    let path = |root: &Path, name: &str| root.join(name).components().collect::<PathBuf>();
    let below =
        |root: &Path, names: &[&str]| names.iter().map(|name| path(root, name)).collect::<Vec<_>>();
    let hooks = settings.workdir.join("hooks/1");
    let hooks =
        HOOKS.iter().flat_map(|op| [hooks.join(op).join("pre"), hooks.join(op).join("post")]);
    let mut all = below(&settings.logdir, LOGS);
    all.extend(below(&settings.workdir, WORK));
    all.extend(hooks);
    all.extend(below(&settings.rundir, RUN));
    all.extend(settings.sockfile.parent().map(Path::to_path_buf));
    all.extend(FIXED.iter().map(PathBuf::from));
    all
}

fn make(path: &Path) -> Result<(), SettingsError> {
    let made = DirBuilder::new().recursive(true).mode(0o755).create(path);
    made.map_err(|error| {
        SettingsError(format!("directory {} cannot be made: {error}", path.display()))
    })
}

#[cfg(test)]
mod tests {
    use super::super::args::Args;
    use super::super::settings::{self, Sources};
    use super::*;

    #[test]
    fn the_list_covers_what_stock_makes() {
        let all = wanted(&settings::merge(&Args::default(), Sources::default()).unwrap());
        for path in [
            "/var/lib/glusterd/hooks/1/gsync-create/post",
            "/var/lib/glusterd/vols",
            "/var/log/glusterfs/bricks",
            "/var/run/gluster/quotad",
        ] {
            assert!(all.contains(&PathBuf::from(path)), "{path}");
        }
    }

    #[test]
    fn a_file_in_the_way_is_named() {
        let error = make(Path::new("/dev/null/x")).unwrap_err().to_string();
        assert!(error.contains("/dev/null/x"), "{error}");
    }
}
