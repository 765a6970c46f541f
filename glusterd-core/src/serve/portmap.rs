//! The portmap program: bricks say where they listen, clients ask.
//!
//! The registry itself is the supervisor's; TCP only, as in stock.
//!
//! Facts: xlators/mgmt/glusterd/src/glusterd-pmap.c:406-680 (v10.3).

use super::dispatch::{Program, Reject};
use super::registry::Connection;
use crate::rpc::portmap::{
    PortByBrickReq, PortByBrickRsp, PortmapProc, SigninReq, SigninRsp, SignoutReq, SignoutRsp,
};
use crate::rpc::{ProgramId, Xdr};
use crate::supervise::ports::Ports;
use async_trait::async_trait;
use bytes::Bytes;
use tracing::{info, warn};

const FAILED: i32 = -1;

/// Answers from and into the registry.
#[derive(Debug)]
pub struct Portmap {
    ports: Ports,
}

impl Portmap {
    pub fn new(ports: Ports) -> Portmap {
        Portmap { ports }
    }

    fn port_by_brick(&self, asked: &PortByBrickReq) -> PortByBrickRsp {
        match self.ports.port_of(&asked.brick) {
            Some(port) => PortByBrickRsp { port: port.into(), ..PortByBrickRsp::default() },
            None => PortByBrickRsp { op_ret: FAILED, ..PortByBrickRsp::default() },
        }
    }

    fn sign_in(&self, from: &Connection, asked: &SigninReq) -> SigninRsp {
        let SigninReq { brick, port, .. } = asked;
        let Some(number) = u16::try_from(*port).ok().filter(|port| *port != 0) else {
            warn!(brick, port, peer = %from.peer(), "a sign-in at a port that is none");
            return SigninRsp { op_ret: FAILED, op_errno: 0 };
        };
        if let Err(full) = self.ports.sign_in(brick, number, Some(from.id())) {
            warn!(brick, port, peer = %from.peer(), %full, "a sign-in that was not taken");
            return SigninRsp { op_ret: FAILED, op_errno: 0 };
        }
        info!(brick, port, "adding brick on port");
        SigninRsp::default()
    }

    /// Port 0 means wherever the name stands.
    fn sign_out(&self, asked: &SignoutReq) -> SignoutRsp {
        let SignoutReq { brick, port, .. } = asked;
        let Ok(number) = u16::try_from(*port) else {
            return SignoutRsp { op_ret: FAILED, op_errno: 0 };
        };
        self.ports.sign_out(brick, number);
        info!(brick, port, "removing brick on port");
        SignoutRsp::default()
    }
}

#[async_trait]
impl Program for Portmap {
    fn id(&self) -> ProgramId {
        ProgramId::PORTMAP
    }

    fn name(&self) -> &str {
        "Gluster Portmap"
    }

    /// Stock takes BRICKBYPORT too and never answers it; refusing is kinder.
    fn serves(&self, procedure: u32) -> bool {
        matches!(
            PortmapProc(procedure),
            PortmapProc::PORTBYBRICK | PortmapProc::SIGNIN | PortmapProc::SIGNOUT
        )
    }

    async fn call(
        &self,
        from: &Connection,
        procedure: u32,
        arguments: Bytes,
    ) -> Result<Vec<u8>, Reject> {
        Ok(match PortmapProc(procedure) {
            PortmapProc::PORTBYBRICK => {
                self.port_by_brick(&PortByBrickReq::from_bytes(&arguments)?).to_bytes()
            }
            PortmapProc::SIGNIN => {
                self.sign_in(from, &SigninReq::from_bytes(&arguments)?).to_bytes()
            }
            PortmapProc::SIGNOUT => self.sign_out(&SignoutReq::from_bytes(&arguments)?).to_bytes(),
            _ => return Err(Reject::ProcedureUnavailable),
        })
    }

    fn disconnected(&self, from: &Connection) {
        self.ports.disconnected(from.id());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::registry::Peer;
    use crate::supervise::ports::ConnectionId;

    /// One call; the results as words.
    async fn call<T: Xdr>(portmap: &Portmap, procedure: PortmapProc, body: &T) -> Vec<i32> {
        let from = Connection::new(ConnectionId(1), Peer::Unix);
        let results = portmap.call(&from, procedure.0, body.to_bytes().into()).await.unwrap();
        results.chunks(4).map(|word| i32::from_be_bytes(word.try_into().unwrap())).collect()
    }

    fn sign_in(brick: &str, port: i32) -> SigninReq {
        SigninReq { brick: brick.into(), port, pid: 1 }
    }

    #[tokio::test]
    async fn a_brick_is_found_from_sign_in_to_sign_out() {
        let portmap = Portmap::new(Ports::default());
        let lookup = PortByBrickReq { brick: "/d/b0".into() };
        assert_eq!(call(&portmap, PortmapProc::PORTBYBRICK, &lookup).await, [-1, 0, 0, 0]);
        assert_eq!(call(&portmap, PortmapProc::SIGNIN, &sign_in("/d/b0", 57032)).await, [0, 0]);
        assert_eq!(call(&portmap, PortmapProc::SIGNIN, &sign_in("/d/b1", 57032)).await, [0, 0]);
        assert_eq!(call(&portmap, PortmapProc::PORTBYBRICK, &lookup).await, [0, 0, 0, 57032]);
        portmap.disconnected(&Connection::new(ConnectionId(1), Peer::Unix));
        assert_eq!(call(&portmap, PortmapProc::PORTBYBRICK, &lookup).await, [0, 0, 0, 57032]);
        let sign_out = SignoutReq { brick: "/d/b0".into(), port: 57032, rdma_port: 0 };
        assert_eq!(call(&portmap, PortmapProc::SIGNOUT, &sign_out).await, [0, 0]);
        assert_eq!(call(&portmap, PortmapProc::PORTBYBRICK, &lookup).await, [-1, 0, 0, 0]);
    }

    #[tokio::test]
    async fn a_port_that_is_none_is_refused() {
        let portmap = Portmap::new(Ports::default());
        for port in [0, -1, 65536, i32::MAX] {
            assert_eq!(call(&portmap, PortmapProc::SIGNIN, &sign_in("/b", port)).await, [-1, 0]);
        }
    }

    #[tokio::test]
    async fn cut_arguments_are_garbage() {
        let portmap = Portmap::new(Ports::default());
        let from = Connection::new(ConnectionId(1), Peer::Unix);
        let body = sign_in("/d/b0", 1).to_bytes();
        for cut in 0..body.len() {
            let arguments = Bytes::copy_from_slice(&body[..cut]);
            let answer = portmap.call(&from, PortmapProc::SIGNIN.0, arguments).await;
            assert_eq!(answer, Err(Reject::GarbageArguments));
        }
    }
}
