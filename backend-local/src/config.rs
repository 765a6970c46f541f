//! How to open a store: from a URL or from code.

use crate::disk::Faults;
use crate::raft::Timing;
use coord_api::{ClusterId, Error, ErrorKind, OpenOpts, Result};
use gluster_tls::Tls;
use std::path::PathBuf;
use std::time::Duration;

/// Where a store of which nothing is said lives.
pub const DEFAULT_DIR: &str = "/var/lib/glusterd/coordination";

#[derive(Clone, Debug)]
pub struct LocalConfig {
    pub dir: PathBuf,
    /// This member's name, for people.
    pub name: String,
    /// Where to listen for other nodes (`host:port`; port 0: any); `None`: nowhere, which is for
    /// a store that stays alone.
    pub listen: Option<String>,
    /// `host:port` under which other nodes reach it; empty: where it listens.
    pub address: String,
    /// The cluster an empty directory belongs to from then on; `None` draws a new id.
    pub cluster: Option<ClusterId>,
    /// Whether an empty directory waits to be taken in, instead of founding the cluster.
    pub join: bool,
    /// Entries between two snapshots.
    pub snapshot_every: u64,
    /// A master that nobody has reached for so long is replaced, if there is a node to do so.
    pub lost_after: Duration,
    /// How long to wait for another process to let the directory go.
    pub lock_wait: Duration,
    pub open: OpenOpts,
    pub timing: Timing,
    /// Encrypts connections between nodes; all of a pool have to agree.
    pub tls: Option<Tls>,
    /// For tests only.
    pub faults: Faults,
}

impl LocalConfig {
    pub fn new(dir: impl Into<PathBuf>) -> LocalConfig {
        LocalConfig {
            dir: dir.into(),
            name: "local".into(),
            listen: None,
            address: String::new(),
            cluster: None,
            join: false,
            snapshot_every: 5000,
            lost_after: Duration::from_secs(600),
            lock_wait: Duration::from_secs(2),
            open: OpenOpts::default(),
            timing: Timing::default(),
            tls: None,
            faults: Faults::default(),
        }
    }

    /// Reads `local:` or `local:?dir=PATH`.
    ///
    /// # Errors
    /// `Unsupported` for anything else.
    pub fn parse(url: &str) -> Result<LocalConfig> {
        let unreadable = |what| Error::none(ErrorKind::Unsupported(what)).because(url);
        let rest = url.strip_prefix("local:").ok_or_else(|| unreadable("not a local: URL"))?;
        let rest = rest.strip_prefix("//").unwrap_or(rest);
        let mut config = LocalConfig::new(DEFAULT_DIR);
        if rest.is_empty() {
            return Ok(config);
        }
        let query = rest.strip_prefix('?').ok_or_else(|| unreadable("local: takes no host"))?;
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("dir", dir)) if dir.starts_with('/') => config.dir = dir.into(),
                Some(("dir", _)) => return Err(unreadable("dir must be an absolute path")),
                _ => return Err(unreadable("local: knows only ?dir=PATH")),
            }
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_names_a_directory() {
        let check = |url: &str, dir: Option<&str>| {
            let got = LocalConfig::parse(url).ok().map(|config| config.dir);
            assert_eq!(got.as_deref(), dir.map(std::path::Path::new), "{url}");
        };
        check("local:", Some(DEFAULT_DIR));
        check("local://", Some(DEFAULT_DIR));
        check("local:?dir=/srv/x", Some("/srv/x"));
        check("local:?dir=x", None);
        check("local:/srv/x", None);
        check("local:?path=/srv", None);
        check("etcd://h", None);
    }
}
