//! The handshake program: volfiles for every process, and small questions of clients and daemons.
//!
//! Decides what an answer looks like; what there is to answer comes from a [`Source`].
//!
//! Facts: xlators/mgmt/glusterd/src/glusterd-handshake.c:520-590, 896-1225, 1533-1787 (v10.3).

use super::dispatch::{Program, Reject};
use super::registry::{ClientFacts, Connection, Peer};
use crate::rpc::handshake::{
    EventNotifyReq, EventNotifyRsp, GetspecReq, GetspecRsp, HandshakeProc, InfoReq, InfoRsp,
};
use crate::rpc::{Dict, ProgramId, Xdr};
use async_trait::async_trait;
use bytes::Bytes;
use std::fmt;
use std::sync::Arc;
use tracing::{debug, info};
use uuid::Uuid;

const KEY_BYTES_MAX: usize = 254;
const FAILED: i32 = -1;
const ENOENT: i32 = 2;
const EINVAL: i32 = 22;
const ENOTSUP: i32 = 95;
const EVENT_DEFRAG_STATUS: i32 = 0;
const FLAG_VOLUME_ID: i32 = 1;

/// A volfile, and what goes with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    pub text: Vec<u8>,
    /// Where the process keeps its pid: told to a self-heal daemon that serves many volumes.
    pub pid_file: Option<String>,
}

/// A started snapshot of a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotRow {
    pub name: String,
    pub id: Uuid,
    pub volume: String,
}

/// What the program asks of the rest of the daemon.
#[async_trait]
pub trait Source: Send + Sync + 'static {
    /// The op-version that clients of the volume need; `None` if there is no such volume.
    fn client_op_version(&self, volume: &str) -> Option<u32>;

    /// Waits, not long, until this node knows what other nodes have told of before.
    async fn catch_up(&self);

    /// The volfile of an id; `None` where stock answers ENOENT.
    async fn spec(&self, id: &str, asker: Peer) -> Option<Spec>;

    /// `HOST:PORT` of every other member that is alive: where clients may go when we are gone.
    fn servers(&self) -> Vec<String>;

    fn volume_id(&self, volume: &str) -> Option<Uuid>;

    /// Started snapshots; `None` if there is no such volume.
    fn snapshots(&self, volume: &str) -> Option<Vec<SnapshotRow>>;

    /// What a rebalance process of this node says of itself. Must not block.
    fn rebalance_report(&self, report: Dict);
}

/// Answers from a [`Source`].
pub struct Handshake {
    source: Arc<dyn Source>,
}

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handshake").finish_non_exhaustive()
    }
}

impl Handshake {
    pub fn new(source: Arc<dyn Source>) -> Handshake {
        Handshake { source }
    }

    async fn getspec(&self, from: &Connection, asked: GetspecReq) -> GetspecRsp {
        info!(key = asked.key, peer = %from.peer(), "received mount request");
        match self.spec(from, &asked).await {
            Ok((spec, extra)) => {
                let xdata = if extra.is_empty() { Vec::new() } else { extra.encode() };
                let length = i32::try_from(spec.len()).expect("a volfile is shorter than 2 GiB");
                GetspecRsp { op_ret: length, op_errno: 0, spec, xdata }
            }
            Err(op_errno) => {
                info!(key = asked.key, peer = %from.peer(), op_errno, "no volfile given");
                GetspecRsp { op_ret: FAILED, op_errno, ..GetspecRsp::default() }
            }
        }
    }

    /// The text and its companions, or an errno.
    async fn spec(&self, from: &Connection, asked: &GetspecReq) -> Result<(Vec<u8>, Dict), i32> {
        if asked.key.len() > KEY_BYTES_MAX {
            return Err(EINVAL);
        }
        let name = asked.key.strip_prefix('/').unwrap_or(&asked.key);
        let versions = op_versions(&asked.xdata);
        let (min, max) = versions.unwrap_or((1, 1));
        from.set_facts(ClientFacts {
            volname: Some(name.to_owned()),
            min_op_version: min,
            max_op_version: max,
        });
        if versions.is_none() {
            return Err(ENOENT);
        }
        let spec = match self.supported(from, name, asked, (min, max)).await? {
            Some(spec) => spec,
            None => {
                // Of a volume that another node has just made, maybe.
                self.source.catch_up().await;
                self.supported(from, name, asked, (min, max)).await?.ok_or(ENOENT)?
            }
        };
        let mut extra = Dict::new();
        if let Some(pid_file) = spec.pid_file {
            extra.set_str("pidfile", pid_file);
        }
        let servers = self.source.servers();
        if !servers.is_empty() {
            let listed: String = servers.iter().map(|server| format!("{server} ")).collect();
            // The second name is the one that libgfapi knows; stock sends the first alone.
            extra.set_str("cluster.brick-vol-servers", &listed);
            extra.set_str("servers-list", listed);
        }
        Ok((spec.text, extra))
    }

    /// The volfile, if the asker is of the volume's op-version.
    async fn supported(
        &self,
        from: &Connection,
        name: &str,
        asked: &GetspecReq,
        (min, max): (i32, i32),
    ) -> Result<Option<Spec>, i32> {
        if let Some(needed) = self.source.client_op_version(name) {
            let needed = i32::try_from(needed).unwrap_or(i32::MAX);
            if !(min..=max).contains(&needed) {
                let peer = from.peer();
                info!(%peer, min, max, needed, "client does not support the volume's op-version");
                return Err(ENOTSUP);
            }
        }
        Ok(self.source.spec(&asked.key, from.peer()).await)
    }

    /// Stock leaves a rebalance's report unanswered; it ignores the answer.
    fn event(&self, asked: &EventNotifyReq) -> EventNotifyRsp {
        let report = Dict::decode_or_empty(&asked.dict);
        match (asked.op, report) {
            (EVENT_DEFRAG_STATUS, Ok(report)) => {
                if !report.is_empty() {
                    self.source.rebalance_report(report);
                }
                EventNotifyRsp::default()
            }
            (op, _) => {
                debug!(op, "an event that is not understood");
                EventNotifyRsp { op_ret: FAILED, ..EventNotifyRsp::default() }
            }
        }
    }

    /// `op_errno` is ENOENT even when all is well, as in stock.
    fn volume_info(&self, asked: &InfoReq) -> InfoRsp {
        let Some(dict) = Dict::decode_or_empty(&asked.dict).ok() else {
            return refused(EINVAL);
        };
        let Some(flags) = dict.int::<i32>("flags") else { return refused(ENOENT) };
        if flags == 0 {
            return InfoRsp { op_errno: ENOENT, ..InfoRsp::default() };
        }
        let Some(id) = dict.str("volname").and_then(|name| self.source.volume_id(name)) else {
            return refused(EINVAL);
        };
        let mut found = Dict::new();
        if flags & FLAG_VOLUME_ID != 0 {
            found.set_uuid_text("volume_id", &id);
        }
        InfoRsp { op_errno: ENOENT, dict: found.encode(), ..InfoRsp::default() }
    }

    fn snapshot_info(&self, asked: &InfoReq) -> InfoRsp {
        let dict = Dict::decode_or_empty(&asked.dict).unwrap_or_default();
        let found = dict.str("volname").and_then(|name| self.source.snapshots(name));
        let Some(snapshots) = found else { return refused(EINVAL) };
        let mut rows = Dict::new();
        for (at, snapshot) in (1..).zip(&snapshots) {
            rows.set_str(format!("snapname.{at}"), &snapshot.name);
            rows.set_uuid_text(format!("snap-id.{at}"), &snapshot.id);
            rows.set_str(format!("snap-volname.{at}"), &snapshot.volume);
        }
        rows.set_int("snap-count", snapshots.len());
        InfoRsp { op_errno: ENOENT, dict: rows.encode(), ..InfoRsp::default() }
    }
}

fn refused(op_errno: i32) -> InfoRsp {
    InfoRsp { op_ret: FAILED, op_errno, ..InfoRsp::default() }
}

/// What the asker understands, lowest and highest. Very old ones say nothing: 1 and 1. `None` if
/// it says something else than both.
fn op_versions(xdata: &[u8]) -> Option<(i32, i32)> {
    if xdata.is_empty() {
        return Some((1, 1));
    }
    let said = Dict::decode(xdata).ok()?;
    Some((said.int("min-op-version")?, said.int("max-op-version")?))
}

#[async_trait]
impl Program for Handshake {
    fn id(&self) -> ProgramId {
        ProgramId::HANDSHAKE
    }

    fn name(&self) -> &str {
        "Gluster Handshake"
    }

    fn serves(&self, procedure: u32) -> bool {
        matches!(
            HandshakeProc(procedure),
            HandshakeProc::GETSPEC
                | HandshakeProc::EVENT_NOTIFY
                | HandshakeProc::GET_VOLUME_INFO
                | HandshakeProc::GET_SNAPSHOT_INFO
        )
    }

    async fn call(
        &self,
        from: &Connection,
        procedure: u32,
        arguments: Bytes,
    ) -> Result<Vec<u8>, Reject> {
        Ok(match HandshakeProc(procedure) {
            HandshakeProc::GETSPEC => {
                self.getspec(from, GetspecReq::from_bytes(&arguments)?).await.to_bytes()
            }
            HandshakeProc::EVENT_NOTIFY => {
                self.event(&EventNotifyReq::from_bytes(&arguments)?).to_bytes()
            }
            HandshakeProc::GET_VOLUME_INFO => {
                self.volume_info(&InfoReq::from_bytes(&arguments)?).to_bytes()
            }
            HandshakeProc::GET_SNAPSHOT_INFO => {
                self.snapshot_info(&InfoReq::from_bytes(&arguments)?).to_bytes()
            }
            _ => return Err(Reject::ProcedureUnavailable),
        })
    }

    fn disconnected(&self, _from: &Connection) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervise::ports::ConnectionId;
    use parking_lot::Mutex;

    /// One volume `v1` at op-version 70200.
    #[derive(Default)]
    struct Fixed {
        servers: Vec<String>,
        snapshots: Vec<SnapshotRow>,
        reports: Mutex<Vec<Dict>>,
        /// Only then there is `late`.
        caught_up: Mutex<bool>,
    }

    const ID: Uuid = Uuid::from_u128(0xa548_e816_de1c_465f_a93b_0801_92af_cc59);

    #[async_trait]
    impl Source for Fixed {
        fn client_op_version(&self, volume: &str) -> Option<u32> {
            (volume == "v1").then_some(70200)
        }

        async fn catch_up(&self) {
            *self.caught_up.lock() = true;
        }

        async fn spec(&self, id: &str, asker: Peer) -> Option<Spec> {
            let pid_file = (id == "shd/v1").then(|| "/run/v1-shd.pid".to_owned());
            let late = id == "late" && *self.caught_up.lock();
            let known = late || ["v1", "/v1", "shd/v1"].contains(&id);
            known.then(|| Spec { text: format!("volume {asker:?}\n").into_bytes(), pid_file })
        }

        fn servers(&self) -> Vec<String> {
            self.servers.clone()
        }

        fn volume_id(&self, volume: &str) -> Option<Uuid> {
            (volume == "v1").then_some(ID)
        }

        fn snapshots(&self, volume: &str) -> Option<Vec<SnapshotRow>> {
            (volume == "v1").then(|| self.snapshots.clone())
        }

        fn rebalance_report(&self, report: Dict) {
            self.reports.lock().push(report);
        }
    }

    fn here() -> Connection {
        Connection::new(ConnectionId(1), Peer::Unix)
    }

    fn versions(min: i32, max: i32) -> Vec<u8> {
        let mut said = Dict::new();
        said.set_int("min-op-version", min);
        said.set_int("max-op-version", max);
        said.encode()
    }

    async fn ask<A: Xdr, R: Xdr>(source: Fixed, procedure: HandshakeProc, asked: &A) -> R {
        let program = Handshake::new(Arc::new(source));
        assert!(program.serves(procedure.0));
        let bytes = program.call(&here(), procedure.0, asked.to_bytes().into()).await.unwrap();
        R::from_bytes(&bytes).unwrap()
    }

    async fn getspec(source: Fixed, key: &str, xdata: Vec<u8>) -> GetspecRsp {
        let asked = GetspecReq { flags: 0, key: key.into(), xdata };
        ask(source, HandshakeProc::GETSPEC, &asked).await
    }

    async fn check_refused(key: &str, xdata: Vec<u8>, op_errno: i32) {
        let expected = GetspecRsp { op_ret: -1, op_errno, ..GetspecRsp::default() };
        assert_eq!(getspec(Fixed::default(), key, xdata).await, expected, "{key}");
    }

    #[tokio::test]
    async fn a_volfile_comes_with_its_length() {
        let expected = GetspecRsp {
            op_ret: 12,
            op_errno: 0,
            spec: b"volume Unix\n".to_vec(),
            xdata: Vec::new(),
        };
        assert_eq!(getspec(Fixed::default(), "v1", versions(1, 100_000)).await, expected);
        assert_eq!(getspec(Fixed::default(), "/v1", versions(1, 100_000)).await, expected);
        // Of a volume that this node did not know before it caught up.
        assert_eq!(getspec(Fixed::default(), "late", versions(1, 100_000)).await, expected);
    }

    #[tokio::test]
    async fn companions_travel_when_there_are_any() {
        let servers = vec!["h2:24007".to_owned(), "h3:24007".to_owned()];
        let source = Fixed { servers, ..Fixed::default() };
        let answer = getspec(source, "shd/v1", versions(1, 1)).await;
        let extra = Dict::decode(&answer.xdata).unwrap();
        assert_eq!(extra.str("pidfile"), Some("/run/v1-shd.pid"));
        for key in ["cluster.brick-vol-servers", "servers-list"] {
            assert_eq!(extra.str(key), Some("h2:24007 h3:24007 "), "{key}");
        }
    }

    #[tokio::test]
    async fn refusals_carry_stocks_numbers() {
        check_refused("nosuch", versions(1, 100_000), ENOENT).await;
        check_refused(&"x".repeat(255), versions(1, 100_000), EINVAL).await;
        check_refused("v1", versions(1, 70199), ENOTSUP).await;
        check_refused("v1", versions(70201, 100_000), ENOTSUP).await;
        check_refused("v1", Vec::new(), ENOTSUP).await;
        check_refused("v1", vec![0, 0, 0, 9], ENOENT).await;
        let half: Dict = [("min-op-version", "1")].into_iter().collect();
        check_refused("v1", half.encode(), ENOENT).await;
        check_refused("", Vec::new(), ENOENT).await;
    }

    #[tokio::test]
    async fn the_connection_remembers_who_asked() {
        let program = Handshake::new(Arc::new(Fixed::default()));
        let from = here();
        let asked = GetspecReq { flags: 1, key: "/v1".into(), xdata: versions(1, 100_000) };
        let arguments = asked.to_bytes().into();
        program.call(&from, HandshakeProc::GETSPEC.0, arguments).await.unwrap();
        let facts = from.facts();
        assert_eq!(facts.volname.as_deref(), Some("v1"));
        assert_eq!((facts.min_op_version, facts.max_op_version), (1, 100_000));
    }

    #[tokio::test]
    async fn a_volumes_id() {
        let check = async |pairs: &[(&str, &str)], expected: (i32, i32, Option<&str>)| {
            let dict: Dict = pairs.iter().copied().collect();
            let asked = InfoReq { dict: dict.encode() };
            let rsp: InfoRsp = ask(Fixed::default(), HandshakeProc::GET_VOLUME_INFO, &asked).await;
            let found = Dict::decode_or_empty(&rsp.dict).unwrap();
            assert_eq!((rsp.op_ret, rsp.op_errno, found.str("volume_id")), expected);
        };
        let id = Some("a548e816-de1c-465f-a93b-080192afcc59");
        check(&[("flags", "1"), ("volname", "v1")], (0, 2, id)).await;
        check(&[("flags", "1"), ("volname", "nosuch")], (-1, 22, None)).await;
        check(&[("flags", "1")], (-1, 22, None)).await;
        check(&[("flags", "0")], (0, 2, None)).await;
        check(&[], (-1, 2, None)).await;
    }

    #[tokio::test]
    async fn snapshots_are_counted_and_listed() {
        let asked = InfoReq { dict: [("volname", "v1")].into_iter().collect::<Dict>().encode() };
        let none: InfoRsp = ask(Fixed::default(), HandshakeProc::GET_SNAPSHOT_INFO, &asked).await;
        let expected: Dict = [("snap-count", "0")].into_iter().collect();
        assert_eq!((none.op_ret, none.op_errno, none.dict), (0, 2, expected.encode()));

        let row = SnapshotRow { name: "s".into(), id: ID, volume: "abc".into() };
        let source = Fixed { snapshots: vec![row], ..Fixed::default() };
        let one: InfoRsp = ask(source, HandshakeProc::GET_SNAPSHOT_INFO, &asked).await;
        let listed = Dict::decode(&one.dict).unwrap();
        let row = ["snap-count", "snapname.1", "snap-volname.1"].map(|key| listed.str(key));
        assert_eq!(row, [Some("1"), Some("s"), Some("abc")]);
        assert_eq!(listed.uuid("snap-id.1"), Some(ID));

        let unknown: InfoRsp =
            ask(Fixed::default(), HandshakeProc::GET_SNAPSHOT_INFO, &InfoReq::default()).await;
        assert_eq!((unknown.op_ret, unknown.op_errno), (-1, 22));
    }

    #[tokio::test]
    async fn a_rebalance_is_heard() {
        let source = Arc::new(Fixed::default());
        let program = Handshake::new(source.clone());
        let report: Dict = [("volname", "rebalance/v1"), ("status", "3")].into_iter().collect();
        let check = async |op, dict: Vec<u8>, op_ret| {
            let arguments = EventNotifyReq { op, dict }.to_bytes().into();
            let bytes =
                program.call(&here(), HandshakeProc::EVENT_NOTIFY.0, arguments).await.unwrap();
            assert_eq!(EventNotifyRsp::from_bytes(&bytes).unwrap().op_ret, op_ret);
        };
        check(0, report.encode(), 0).await;
        check(0, Vec::new(), 0).await;
        check(0, vec![1], -1).await;
        check(7, report.encode(), -1).await;
        assert_eq!(*source.reports.lock(), [report]);
    }
}
