//! Reads the tree back when there is nothing better.

use super::disk;
use super::parse;
use super::quota;
use super::tree::{Damage, Mirror, Report};
use crate::model::{NodeId, OP_VERSION_MAX, Peer, PeerState, Volume, VolumeName};
use crate::store::View;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What the tree could still say.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// [`Freshness::Stale`](crate::store::Freshness::Stale); only this node alive.
    pub view: View,
    pub damage: Vec<Damage>,
}

impl Mirror {
    /// Reads the tree. What is damaged is left out and named; a folder that this daemon did not
    /// write is read too, so that a tree of stock's can be looked at.
    pub fn load(&self, me: NodeId) -> Loaded {
        let mut view = View { counted: false, ..View::alone(me) };
        let mut report = Report::default();
        let mut op_version = OP_VERSION_MAX;
        self.read("glusterd.info", &mut report, |text| {
            op_version = parse::glusterd_info(text)?.1;
            Ok(())
        });
        let mut global = crate::model::Global { op_version, ..Default::default() };
        self.read("options", &mut report, |text| {
            global = parse::options(text, op_version)?;
            Ok(())
        });
        view.global = Arc::new(global);
        let own =
            Peer { id: me, hostnames: vec!["localhost".into()], state: PeerState::Befriended };
        Arc::make_mut(&mut view.peers).insert(me, own);
        for name in disk::names(&self.work.join("peers")) {
            self.read(&format!("peers/{name}"), &mut report, |text| {
                let peer = parse::peer(text)?;
                Arc::make_mut(&mut view.peers).insert(peer.id, peer);
                Ok(())
            });
        }
        for name in disk::names(&self.work.join("vols")) {
            let Some(name) = VolumeName::parse(&name) else { continue };
            let dir = self.folder(&name);
            if let Some(volume) = report.note(&dir, load_volume(&dir, &name)) {
                Arc::make_mut(&mut view.volumes).insert(name, Arc::new(volume));
            }
        }
        Loaded { view, damage: report.damage }
    }

    fn read(
        &self,
        name: &str,
        report: &mut Report,
        take: impl FnOnce(&str) -> Result<(), parse::ParseError>,
    ) {
        let path = self.work.join(name);
        let done = match disk::read(&path) {
            Ok(text) => take(&text).map_err(|error| error.to_string()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error.to_string()),
        };
        report.note(&path, done);
    }
}

fn load_volume(dir: &Path, name: &VolumeName) -> Result<Volume, String> {
    let read =
        |path: PathBuf| disk::read(&path).map_err(|error| format!("{}: {error}", path.display()));
    let info = read(dir.join("info"))?;
    let mut bricks = BTreeMap::new();
    for file in disk::names(&dir.join("bricks")) {
        let text = read(dir.join("bricks").join(&file))?;
        bricks.insert(file, text);
    }
    let state = disk::read(&dir.join("node_state.info")).ok();
    let volume = parse::volume(name, &info, &bricks, state.as_deref());
    // Progress of a task is not worth a volume.
    let volume = volume.or_else(|_| parse::volume(name, &info, &bricks, None));
    let mut volume = volume.map_err(|error| error.to_string())?;
    if let Ok(conf) = disk::read_bytes(&dir.join(quota::CONF)) {
        let cksum = disk::read(&dir.join(quota::CKSUM)).unwrap_or_default();
        volume.quota = quota::parse(&conf, &cksum)
            .map_err(|wrong| format!("{}: {wrong}", dir.join(quota::CONF).display()))?;
    }
    Ok(volume)
}
