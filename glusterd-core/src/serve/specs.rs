//! What the handshake program answers from: the cluster image and the mirrored volfiles.
//!
//! Which file an id means is decided by `volgen`; the text is read from the mirror, so that what a
//! brick is given is what hooks and tools see on disk, with or without a coordinator.

use super::handshake::{SnapshotRow, Source, Spec};
use super::registry::Peer;
use crate::host::Host;
use crate::model::DAEMON_PORT;
use crate::rpc::Dict;
use crate::store::View;
use crate::volgen::{self, Target};
use async_trait::async_trait;
use futures_util::future::BoxFuture;
use std::fmt;
use std::io;
use std::sync::Arc;
use tokio::sync::mpsc;
use tracing::{debug, warn};
use uuid::Uuid;

/// Far above the volfile of the largest volume.
const VOLFILE_BYTES_MAX: u64 = 32 << 20;

/// The image as it is now.
pub type CurrentView = Arc<dyn Fn() -> Arc<View> + Send + Sync>;

/// Waits until image and mirror have taken in what other nodes have finished.
pub type CatchUp = Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

/// A [`Source`] on this node's mirror.
pub struct MirrorSpecs {
    view: CurrentView,
    catch_up: CatchUp,
    host: Arc<dyn Host>,
    reports: mpsc::Sender<Dict>,
}

impl fmt::Debug for MirrorSpecs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MirrorSpecs").field("host", &self.host).finish_non_exhaustive()
    }
}

impl MirrorSpecs {
    /// `reports` takes what rebalance processes say; when it is full a report is lost, which costs
    /// nothing: they are asked for their status too.
    pub fn new(
        view: CurrentView,
        catch_up: CatchUp,
        host: Arc<dyn Host>,
        reports: mpsc::Sender<Dict>,
    ) -> MirrorSpecs {
        MirrorSpecs { view, catch_up, host, reports }
    }

    /// Only this node's own processes see the volfiles with the volume's password.
    async fn is_trusted(&self, asker: Peer) -> bool {
        match asker.ip() {
            None => true,
            Some(ip) => self.host.is_local(&ip.to_string()).await.unwrap_or(false),
        }
    }

    fn locate(&self, target: &Target) -> (String, Option<String>) {
        let dirs = self.host.dirs();
        match target {
            Target::Service(service) => (format!("{}/{}", dirs.work, service.path()), None),
            Target::Volume { volume, spec, .. } => {
                let file = volgen::file_name(volume, *spec);
                let is_shd = *spec == volgen::Spec::Shd;
                let pid_file = is_shd.then(|| dirs.shd_pid_file(&volume.name));
                (format!("{}/{file}", dirs.volume(&volume.name)), pid_file)
            }
        }
    }
}

#[async_trait]
impl Source for MirrorSpecs {
    fn client_op_version(&self, volume: &str) -> Option<u32> {
        (self.view)().volume(volume).map(|volume| volume.client_op_version)
    }

    async fn catch_up(&self) {
        (self.catch_up)().await;
    }

    async fn spec(&self, id: &str, asker: Peer) -> Option<Spec> {
        let trusted = self.is_trusted(asker).await;
        let target = volgen::lookup(&(self.view)().volumes, id, trusted)?;
        let (path, pid_file) = self.locate(&target);
        match self.host.read(&path, VOLFILE_BYTES_MAX).await {
            Ok(text) => Some(Spec { text, pid_file }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                debug!(path, "a volfile that is not written yet");
                None
            }
            Err(error) => {
                warn!(path, %error, "cannot read a volfile");
                None
            }
        }
    }

    fn servers(&self) -> Vec<String> {
        let view = (self.view)();
        let alive = view.others().filter(|peer| view.alive.contains(&peer.id));
        alive
            .filter_map(|peer| peer.hostnames.first())
            .map(|host| format!("{host}:{DAEMON_PORT}"))
            .collect()
    }

    fn volume_id(&self, volume: &str) -> Option<Uuid> {
        (self.view)().volume(volume).map(|volume| volume.id.0)
    }

    /// There are no snapshots in the image yet, so none is ever started.
    fn snapshots(&self, volume: &str) -> Option<Vec<SnapshotRow>> {
        (self.view)().volume(volume).map(|_| Vec::new())
    }

    fn rebalance_report(&self, report: Dict) {
        if self.reports.try_send(report).is_err() {
            debug!("a rebalance's report found nobody");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fake::FakeHost;
    use crate::model::{
        Brick, Credentials, Kind, Layout, NodeId, OptionList, Peer as Member, PeerState, Status,
        Transport, Volume, VolumeId, VolumeName,
    };

    const ME: u128 = 1;

    fn node(number: u128) -> NodeId {
        NodeId(Uuid::from_u128(number))
    }

    fn brick(at: u32) -> Brick {
        Brick {
            node: node(ME),
            host: "vm".into(),
            path: format!("/d/b{at}"),
            real_path: format!("/d/b{at}"),
            id: format!("v1-client-{at}"),
            mount_dir: String::new(),
            fsid: 0,
            decommissioned: false,
            snap_status: 0,
            resets: 0,
        }
    }

    fn volume() -> Volume {
        Volume {
            name: VolumeName::parse("v1").unwrap(),
            id: VolumeId(Uuid::from_u128(7)),
            layout: Layout { kind: Kind::Replicate, replica: 2, ..Layout::DISTRIBUTE },
            status: Status::Started,
            transport: Transport::Tcp,
            bricks: vec![brick(0), brick(1)],
            thin_arbiter: None,
            options: OptionList::default(),
            credentials: Credentials { username: "u".into(), password: "p".into() },
            version: 1,
            op_version: 1,
            client_op_version: 70200,
            quota_version: 0,
            quota: Default::default(),
            snap_max_hard_limit: 256,
            restored_from_snap: Uuid::nil(),
            start_epoch: 1,
            task: None,
        }
    }

    /// A node that knows `v1` and two peers, one of them alive, and has written these files.
    async fn source(files: &[&str]) -> (MirrorSpecs, mpsc::Receiver<Dict>) {
        let host = FakeHost::new(1);
        host.add_local("10.0.0.1");
        host.make_dirs("/var/lib/glusterd/vols/v1").await.unwrap();
        for file in files {
            let path = format!("/var/lib/glusterd/vols/v1/{file}");
            host.write(&path, file.as_bytes()).await.unwrap();
        }
        let mut view = View::alone(node(ME));
        for number in 1..=3 {
            let hostnames = vec![format!("h{number}")];
            let member = Member { id: node(number), hostnames, state: PeerState::Befriended };
            Arc::make_mut(&mut view.peers).insert(member.id, member);
        }
        view.alive.insert(node(3));
        Arc::make_mut(&mut view.volumes).insert(volume().name, Arc::new(volume()));
        let view = Arc::new(view);
        let (reports, heard) = mpsc::channel(1);
        let catch_up: CatchUp = Arc::new(|| Box::pin(std::future::ready(())));
        let view: CurrentView = Arc::new(move || view.clone());
        (MirrorSpecs::new(view, catch_up, Arc::new(host), reports), heard)
    }

    async fn check(files: &[&str], id: &str, asker: Peer, expected: Option<&str>) {
        let spec = source(files).await.0.spec(id, asker).await;
        let text = spec.map(|spec| String::from_utf8(spec.text).unwrap());
        assert_eq!(text.as_deref(), expected, "{id}");
    }

    fn tcp(address: &str) -> Peer {
        Peer::Tcp(format!("{address}:49151").parse().unwrap())
    }

    #[tokio::test]
    async fn ids_are_read_from_the_mirror() {
        let client = "v1.tcp-fuse.vol";
        let trusted = "trusted-v1.tcp-fuse.vol";
        let brick = "v1.vm.d-b0.vol";
        let files = [client, trusted, brick, "v1-shd.vol"];
        check(&files, "v1", Peer::Unix, Some(trusted)).await;
        check(&files, "/v1", tcp("10.0.0.1"), Some(trusted)).await;
        check(&files, "v1", tcp("10.0.0.9"), Some(client)).await;
        check(&files, "v1.vm.d-b0", tcp("10.0.0.1"), Some(brick)).await;
        check(&files, "shd/v1", tcp("10.0.0.1"), Some("v1-shd.vol")).await;
        check(&files, "nosuch", Peer::Unix, None).await;
        check(&files, "client_per_brick/v1/../../x", Peer::Unix, None).await;
        check(&[], "v1", Peer::Unix, None).await;
    }

    #[tokio::test]
    async fn a_self_heal_daemon_learns_its_pid_file() {
        let (source, _) = source(&["v1-shd.vol"]).await;
        let spec = source.spec("shd/v1", Peer::Unix).await.unwrap();
        assert_eq!(spec.pid_file.as_deref(), Some("/var/run/gluster/shd/v1/v1-shd.pid"));
    }

    #[tokio::test]
    async fn the_image_is_asked_for_the_rest() {
        let (source, mut heard) = source(&[]).await;
        assert_eq!(source.servers(), ["h3:24007"]);
        assert_eq!(source.client_op_version("v1"), Some(70200));
        assert_eq!(source.client_op_version("v1.vm.d-b0"), None);
        assert_eq!(source.volume_id("v1"), Some(Uuid::from_u128(7)));
        assert_eq!(source.snapshots("nosuch"), None);
        let report: Dict = [("status", "3")].into_iter().collect();
        source.rebalance_report(report.clone());
        source.rebalance_report(Dict::new());
        assert_eq!(heard.recv().await, Some(report));
    }
}
