//! This node: answers questions from its host and its processes, and settles.
//!
//! It does not matter who asks: `pool_nodes` calls it for this node's commands, `post` for those
//! of others.

use super::converge::Converger;
use super::engine::NodeFailed;
use super::marks::Marks;
use super::partings::Partings;
use super::processes::Processes;
use super::question::{Answer, CheckedBrick, HostFacts, Question, RemoteHooks};
use crate::host::{
    HOOK_EVENTS, HookQueue, HookRun, Host, MarkBrick, Phase, PrepareBrick, StartBrick,
};
use crate::membership::OwnStore;
use crate::model::{Brick, BrickRef, NodeId, Refusal, Volume, VolumeName, errno};
use crate::rpc::Dict;
use crate::store::Store;
use coord_api::Revision;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

/// Facts that only the listeners know.
pub trait Clients: std::fmt::Debug + Send + Sync + 'static {
    /// A connected client of the volume below the op-version, as `HOST:ID` and its version.
    fn older_than(&self, volume: &str, op_version: u32) -> Option<(String, u32)>;

    /// Asks the client at `host` with process `pid` for a state dump.
    fn dump_state(&self, volume: &str, host: &str, pid: u32);
}

#[derive(Debug)]
pub struct LocalNode {
    pub store: Arc<Store>,
    pub host: Arc<dyn Host>,
    pub processes: Arc<dyn Processes>,
    pub converger: Arc<Converger>,
    pub post_hooks: HookQueue,
    pub clients: Arc<dyn Clients>,
    pub marks: Arc<Marks>,
    pub partings: Arc<Partings>,
    /// With a bind address only that one is this node, as for several daemons on one machine.
    pub bind_address: Option<String>,
    /// The built-in store, if that is the coordination service.
    pub own_store: Option<Arc<dyn OwnStore>>,
    /// For calls to daemons elsewhere, if management is encrypted.
    pub tls: Option<gluster_tls::Tls>,
}

/// One read, which waits for an election at worst.
pub(super) const CATCH_UP: Duration = Duration::from_secs(2);
/// An event takes milliseconds, and a busy machine its time.
const IMAGE_BOUND: Duration = Duration::from_secs(10);

fn refused(text: impl Into<String>) -> Answer {
    Answer::Refused { text: text.into(), errno: errno::INTERNAL }
}

impl LocalNode {
    pub(super) fn me(&self) -> NodeId {
        self.store.view().me
    }

    pub(super) async fn answer_within(&self, question: &Question, until: Instant) -> Answer {
        let answered = tokio::time::timeout_at(until, self.answer(question, until));
        answered.await.unwrap_or_else(|_| Answer::Silent("This node did not answer in time".into()))
    }

    /// Does what is asked `first`, then waits until this node has acted on `revision` for these volumes.
    pub(super) async fn settle(
        &self,
        revision: Revision,
        volumes: &[VolumeName],
        first: impl Iterator<Item = &Question>,
        until: Instant,
    ) -> Vec<NodeFailed> {
        for question in first {
            match Box::pin(self.answer_within(question, until)).await {
                Answer::Refused { text, .. } | Answer::Silent(text) => {
                    return vec![(self.me(), text)];
                }
                _ => {}
            }
        }
        let mut progress = self.converger.progress();
        let reached = progress.wait_for(|p| p.reached(revision.0, volumes));
        let failed = match tokio::time::timeout_at(until, reached).await {
            Ok(Ok(progress)) => {
                let failure = |name| progress.volumes.get(name)?.1.clone();
                volumes.iter().filter_map(failure).map(|text| (self.me(), text)).collect()
            }
            _ => vec![(self.me(), "This node has not settled in time".to_owned())],
        };
        if failed.is_empty() {
            self.keep_marks(volumes).await;
        }
        failed
    }

    /// Waits until image and files have taken in what other nodes have finished; not for long.
    pub async fn catch_up(&self) {
        let Some(sight) = self.store.caught_up(CATCH_UP).await else { return };
        let mut progress = self.converger.progress();
        let written = progress.wait_for(|progress| progress.files >= sight.view.revision);
        let _either_way_there_is_an_answer = tokio::time::timeout(CATCH_UP, written).await;
    }

    /// As part of another node's command.
    async fn settle_for(
        &self,
        revision: u64,
        volumes: &[String],
        hooks: Option<&RemoteHooks>,
        first: &[(Uuid, Question)],
        until: Instant,
    ) -> Answer {
        let event = |hooks: &RemoteHooks| HOOK_EVENTS.iter().find(|event| **event == hooks.event);
        let hooks = hooks.and_then(|hooks| Some((*event(hooks)?, hooks)));
        if let Some((event, hooks)) = hooks {
            self.pre_hooks(event, &hooks.pre).await;
        }
        let volumes: Vec<VolumeName> =
            volumes.iter().filter_map(|name| VolumeName::parse(name)).collect();
        let me = self.me().0;
        let first = first.iter().filter(|(node, _)| *node == me).map(|(_, question)| question);
        let failed = self.settle(Revision(revision), &volumes, first, until).await;
        if !failed.is_empty() {
            let texts: Vec<String> = failed.into_iter().map(|(_, text)| text).collect();
            return refused(texts.join("\n"));
        }
        if let Some((event, hooks)) = hooks {
            self.post_hooks(event, &hooks.post);
        }
        Answer::Done
    }

    pub(super) fn tell_clients(&self, volumes: &[(String, u32)]) -> Answer {
        for (name, version) in volumes {
            if let Some(name) = VolumeName::parse(name) {
                self.converger.tell_clients(&name, *version);
            }
        }
        Answer::Done
    }

    pub(super) async fn pre_hooks(&self, event: &'static str, args: &[String]) {
        self.host.run_hooks(&HookRun { event, phase: Phase::Pre, args: args.to_vec() }).await;
    }

    pub(super) fn post_hooks(&self, event: &'static str, args: &[String]) {
        self.post_hooks.push(HookRun { event, phase: Phase::Post, args: args.to_vec() });
    }

    async fn answer(&self, question: &Question, until: Instant) -> Answer {
        let bound = until.saturating_duration_since(Instant::now());
        match question {
            Question::Locate { hosts } => self.locate(hosts).await,
            Question::FindPeer { host } => self.find_peer(host).await,
            Question::AwaitPeer { node } => self.await_peer(NodeId(*node), until).await,
            Question::AwaitGone { node, may_go } => {
                self.await_gone(NodeId(*node), *may_go, until).await
            }
            Question::AwaitClients => {
                self.partings.clients_have_settled().await;
                Answer::Done
            }
            Question::Settle { revision, volumes, hooks, first } => {
                self.settle_for(*revision, volumes, hooks.as_ref(), first, until).await
            }
            Question::TellClients { volumes } => {
                // The files of what grew may still be on their way to a node without bricks of it.
                self.catch_up().await;
                self.tell_clients(volumes)
            }
            Question::CheckBricks { volume, bricks, force, any_device, instead_of, compared } => {
                self.marks.swept().await;
                let places = match compared {
                    true => None,
                    false => self.in_the_way(bricks, instead_of.as_deref()).await,
                };
                match places {
                    Some(places) => Answer::Places(places),
                    None => self.check_bricks(volume, bricks, *force, *any_device).await,
                }
            }
            Question::MarkBricks { volume_id, bricks, force } => {
                self.marks.swept().await;
                self.mark(*volume_id, bricks, *force).await
            }
            Question::UnmarkBricks { volume_id, bricks } => self.unmark(*volume_id, bricks).await,
            Question::CheckStart { volume, force } => self.check_start(volume, *force).await,
            Question::Status { volume, detail } => self.status(volume, *detail).await,
            Question::BrickOp { volume, path, procedure, name, input } => {
                let input = Dict::decode_or_empty(input).unwrap_or_default();
                let call = self.processes.call_brick(volume, path, *procedure, name, &input, bound);
                dict_answer(call.await)
            }
            Question::ServiceOp { service, volume, procedure, name, input } => {
                let input = Dict::decode_or_empty(input).unwrap_or_default();
                let call =
                    self.processes.call_service(service, volume, *procedure, name, &input, bound);
                dict_answer(call.await)
            }
            Question::Quota { volume, ask } => self.quota(volume, ask).await,
            other => self.answer_upkeep(other).await,
        }
    }

    async fn locate(&self, hosts: &[String]) -> Answer {
        let mut located = Vec::with_capacity(hosts.len());
        for name in hosts {
            let addresses = self.host.addresses(name).await.unwrap_or_default();
            let is_me = self.is_me(name).await;
            located.push(HostFacts {
                name: name.clone(),
                is_me,
                addresses: addresses.iter().map(ToString::to_string).collect(),
            });
        }
        Answer::Located(located)
    }

    /// Where the bricks lie, if one of them meets another one.
    async fn in_the_way(
        &self,
        bricks: &[(String, String)],
        instead_of: Option<&str>,
    ) -> Option<Vec<String>> {
        let mut places = Vec::with_capacity(bricks.len());
        for (_, path) in bricks {
            let place = self.host.real_path(path).await;
            places.push(place.unwrap_or_else(|_| path.clone()));
        }
        let view = self.store.view();
        let instead_of = instead_of.map(|path| BrickRef { node: view.me, path: path.to_owned() });
        let here: Vec<_> = places.iter().map(|place| (view.me, place.as_str())).collect();
        view.in_the_way(&here, instead_of.as_ref()).map(|_| places)
    }

    async fn is_me(&self, name: &str) -> bool {
        let others: Vec<String> =
            self.store.view().others().flat_map(|peer| peer.hostnames.clone()).collect();
        if others.iter().any(|known| known == name) {
            return false;
        }
        match &self.bind_address {
            Some(mine) if mine == name => true,
            _ => self.host.is_local(name).await.unwrap_or(false),
        }
    }

    async fn check_bricks(
        &self,
        volume: &str,
        bricks: &[(String, String)],
        force: bool,
        any_device: bool,
    ) -> Answer {
        let mut checked = Vec::with_capacity(bricks.len());
        for (host, path) in bricks {
            let ask = PrepareBrick {
                volume: volume.to_owned(),
                host: host.clone(),
                path: path.clone(),
                force,
                ignore_partition: any_device,
            };
            match self.host.check_brick(&ask).await {
                Ok(place) => checked.push(CheckedBrick {
                    real_path: place.real_path,
                    mount_dir: place.mount_dir,
                    fsid: place.fsid,
                    warning: place.overridden,
                }),
                Err(text) => return refused(text),
            }
        }
        Answer::Bricks(checked)
    }

    async fn mark(&self, volume_id: Uuid, bricks: &[(String, String)], force: bool) -> Answer {
        // Read again after a crash, a question may be older than the end of its volume.
        let Some(volume) = self.await_volume(volume_id).await else {
            return refused("The volume is not known here");
        };
        let paths: Vec<&str> = bricks.iter().map(|(_, path)| path.as_str()).collect();
        let local: Vec<&str> =
            volume.local_bricks(self.me()).map(|(_, brick)| brick.path.as_str()).collect();
        let has_all = paths.iter().all(|path| local.contains(path));
        if let Err(error) = self.marks.write(volume_id, &paths, has_all).await {
            return refused(format!("The working directory cannot be written: {error}"));
        }
        for (host, path) in bricks {
            let mark = MarkBrick { volume_id, host: host.clone(), path: path.clone(), force };
            if let Err(text) = self.host.mark_brick(&mark).await {
                return refused(text);
            }
        }
        if self.volume_of(volume_id).is_none() {
            // Taken back meanwhile, and looked for before the last mark was set.
            return self.unmark(volume_id, bricks).await;
        }
        Answer::Done
    }

    fn volume_of(&self, id: Uuid) -> Option<Arc<Volume>> {
        self.store.view().volumes.values().find(|volume| volume.id.0 == id).cloned()
    }

    /// Bricks are marked for volumes that exist; the image may be a little behind who asks.
    async fn await_volume(&self, id: Uuid) -> Option<Arc<Volume>> {
        let mut sights = self.store.subscribe();
        let is_there = |sight: &crate::store::Sight| {
            sight.view.volumes.values().any(|volume| volume.id.0 == id)
        };
        drop(tokio::time::timeout(IMAGE_BOUND, sights.wait_for(is_there)).await);
        self.volume_of(id)
    }

    async fn unmark(&self, volume_id: Uuid, bricks: &[(String, String)]) -> Answer {
        for (_, path) in bricks {
            if let Err(text) = self.host.unmark_brick(path, volume_id).await {
                tracing::warn!(path, text, "a brick mark of a volume that is not to be stays");
            }
        }
        self.marks.forget(volume_id).await;
        Answer::Done
    }

    async fn keep_marks(&self, volumes: &[VolumeName]) {
        let view = self.store.view();
        for volume in volumes.iter().filter_map(|name| view.volumes.get(name)) {
            self.marks.forget(volume.id.0).await;
        }
    }

    async fn check_start(&self, volume: &str, force: bool) -> Answer {
        let view = self.store.view();
        let Some(volume) = view.volume(volume) else { return refused("no such volume") };
        for (_, brick) in volume.local_bricks(self.me()) {
            if brick.snap_status < 0 {
                continue;
            }
            if never_started(volume) {
                self.mark_late(volume, brick).await;
            }
            let ask = StartBrick {
                volume: volume.name.to_string(),
                volume_id: volume.id.0,
                host: brick.host.clone(),
                path: brick.path.clone(),
                force,
            };
            if let Err(text) = self.host.check_brick_start(&ask).await {
                return refused(text);
            }
        }
        Answer::Done
    }

    /// A crash between create's commit and its marks leaves a volume without them. What cannot be
    /// marked is for the check that follows to say.
    async fn mark_late(&self, volume: &Volume, brick: &Brick) {
        let (host, path) = (brick.host.clone(), brick.path.clone());
        let mark = MarkBrick { volume_id: volume.id.0, host, path, force: false };
        if let Err(text) = self.host.mark_brick(&mark).await {
            tracing::debug!(path = brick.path, text, "not marked");
        }
    }

    async fn status(&self, volume: &str, detail: bool) -> Answer {
        let mut status = self.processes.status(&self.store.view(), volume).await;
        if detail {
            for row in &mut status.bricks {
                row.detail = self.detail(&row.path).await;
            }
        }
        Answer::Status(status)
    }
}

fn never_started(volume: &Volume) -> bool {
    volume.start_epoch == 0
}

fn dict_answer(called: Result<Dict, Refusal>) -> Answer {
    match called {
        Ok(dict) => Answer::Dict(dict.encode()),
        Err(Refusal { text, errno, .. }) => Answer::Refused { text, errno },
    }
}
