//! Brings another node into this one's store: over its port for peers, before a probe takes it into
//! the pool.

use super::own_store::OwnStore;
use crate::model::NodeId;
use crate::rpc::join::{JoinProc, JoinReq, JoinRsp, LookReq, LookRsp};
use crate::rpc::{CallError, Client, Endpoint, ProgramId, Xdr};
use bytes::Bytes;
use coord_api::{Error, ErrorKind, Result};
use gluster_tls::Tls;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;

const CONNECT: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_secs(10);
const JOIN: Duration = Duration::from_secs(40);
/// The other one dials back and invites.
const FETCH: Duration = Duration::from_secs(60);

async fn connect(at: SocketAddr, tls: Option<&Tls>) -> std::result::Result<Client, CallError> {
    let Some(tls) = tls else { return Client::connect(&Endpoint::Tcp(at), CONNECT).await };
    let secured = async { tls.connect(TcpStream::connect(at).await?).await };
    match tokio::time::timeout(CONNECT, secured).await {
        Ok(stream) => Ok(Client::over(stream.map_err(CallError::Connect)?).0),
        Err(_) => Err(CallError::Connect(std::io::ErrorKind::TimedOut.into())),
    }
}

/// A daemon like this one, found at an address.
#[derive(Debug)]
pub struct Stranger {
    client: Client,
    pub about: LookRsp,
}

impl Stranger {
    /// `None`: a daemon that does not know of invitations.
    ///
    /// # Errors
    /// Nobody answers.
    pub async fn meet(at: SocketAddr, me: NodeId, tls: Option<&Tls>) -> Result<Option<Stranger>> {
        let failed = |error: CallError| Error::none(ErrorKind::Unavailable).because(error);
        let client = connect(at, tls).await.map_err(failed)?;
        let asked = LookReq { node: me.to_string() }.to_bytes();
        match client.call(ProgramId::JOIN, JoinProc::LOOK.0, &asked, LOOK).await {
            Ok(answer) => {
                let about = LookRsp::from_bytes(&answer);
                let about =
                    about.map_err(|error| Error::none(ErrorKind::Corrupt).because(error))?;
                Ok(Some(Stranger { client, about }))
            }
            Err(CallError::Refused(_)) => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    pub fn node(&self) -> Option<NodeId> {
        NodeId::parse(&self.about.node)
    }

    /// Whether it may be asked to come.
    pub fn is_free(&self) -> bool {
        let LookRsp { ready, invitable, peers, volumes, .. } = self.about;
        (ready, invitable, peers, volumes) == (1, 1, 0, 0)
    }

    /// Asks it to fetch this node, which it may know as a member that has lost its store.
    ///
    /// # Errors
    /// It did not; the detail says why.
    pub async fn knock(&self, me: NodeId) -> Result<()> {
        let asked = LookReq { node: me.to_string() }.to_bytes();
        let call = self.client.call(ProgramId::JOIN, JoinProc::KNOCK.0, &asked, FETCH);
        done(call.await)
    }

    /// Hands it an invitation, and waits until it has come. `mine`: where it reaches this node;
    /// `host`: where others reach it.
    ///
    /// # Errors
    /// It did not come; the detail says why.
    pub async fn bring(
        &self,
        own: &dyn OwnStore,
        me: NodeId,
        mine: &str,
        host: &str,
    ) -> Result<()> {
        let invitation = own.invite(mine).await?;
        let asked = JoinReq { node: me.to_string(), host: host.to_owned(), invitation }.to_bytes();
        let call = self.client.call(ProgramId::JOIN, JoinProc::JOIN.0, &asked, JOIN);
        done(call.await)
    }
}

fn done(answer: std::result::Result<Bytes, CallError>) -> Result<()> {
    let answer = answer.map_err(|error| Error::none(ErrorKind::Unavailable).because(error))?;
    let answer = JoinRsp::from_bytes(&answer)
        .map_err(|error| Error::none(ErrorKind::Corrupt).because(error))?;
    match answer.op_ret {
        0 => Ok(()),
        _ => Err(Error::none(ErrorKind::PermissionDenied).because(answer.op_errstr)),
    }
}
