//! The brick-op program (4867634 version 2): glusterd to the daemons of its node.
//!
//! Numbers, bodies, and [`BrickClient`], which makes the calls.
//!
//! Facts: rpc/xdr/src/glusterd1-xdr.x, enum glusterd_brick_procnum in protocol-common.h (v10.3).

use super::client::{CallError, Client, Endpoint};
use super::dict::Dict;
use super::program::ProgramId;
use super::xdr::Xdr;
use std::time::Duration;

procedures! {
    /// 5 is never on the wire, 13 never from glusterd.
    pub BrickProc {
        0 NULL,
        1 TERMINATE,
        2 XLATOR_INFO,
        3 XLATOR_OP,
        4 STATUS,
        5 OP,
        6 XLATOR_DEFRAG,
        7 NODE_PROFILE,
        8 NODE_STATUS,
        9 VOLUME_BARRIER_OP,
        10 BARRIER,
        11 NODE_BITROT,
        12 ATTACH,
        13 DUMP_METRICS,
        14 SVC_ATTACH,
        15 SVC_DETACH,
    }
}

xdr_struct! {
    /// `op` equals the procedure number. `input`: a dict, volfile text (SVC_ATTACH), or empty.
    pub struct BrickOpReq { name: String, op: i32, input: Vec<u8>, dict: Vec<u8> }

    /// `output`: a dict, or empty. `op_errstr` is kept raw: what a brick says is not ours to refuse.
    pub struct BrickOpRsp { op_ret: i32, op_errno: i32, output: Vec<u8>, op_errstr: Vec<u8> }
}

/// What a daemon answered. `op_ret` other than 0 is its "no", with `op_errstr` if it gave a reason.
#[derive(Debug, Clone, PartialEq)]
pub struct BrickAnswer {
    pub op_ret: i32,
    pub op_errno: i32,
    pub op_errstr: String,
    pub output: Dict,
}

/// A connection to a daemon's `-S` socket.
#[derive(Debug, Clone)]
pub struct BrickClient {
    client: Client,
}

impl BrickClient {
    /// # Errors
    /// [`CallError::Connect`].
    pub async fn connect(endpoint: &Endpoint, timeout: Duration) -> Result<BrickClient, CallError> {
        Client::connect(endpoint, timeout).await.map(BrickClient::over)
    }

    pub fn over(client: Client) -> BrickClient {
        BrickClient { client }
    }

    /// Calls with dicts; an empty one travels as none. Stock waits 600 s for an answer.
    ///
    /// # Errors
    /// See [`CallError`]. A daemon's "no" is no error, look at [`BrickAnswer::op_ret`].
    pub async fn call(
        &self,
        procedure: BrickProc,
        name: &str,
        input: &Dict,
        dict: &Dict,
        timeout: Duration,
    ) -> Result<BrickAnswer, CallError> {
        self.call_raw(procedure, name, encode_or_nothing(input), dict, timeout).await
    }

    /// Adds a volume to a running daemon, or changes it there: SVC_ATTACH carries the volfile.
    ///
    /// # Errors
    /// As [`BrickClient::call`].
    pub async fn attach_service(
        &self,
        name: &str,
        volfile: &[u8],
        dict: &Dict,
        timeout: Duration,
    ) -> Result<BrickAnswer, CallError> {
        self.call_raw(BrickProc::SVC_ATTACH, name, volfile.to_vec(), dict, timeout).await
    }

    /// Asks the process to end one brick. It may go before its answer is out, so a connection that
    /// ends counts as done (glusterd-syncop.c:1003-1015); `None` then.
    ///
    /// # Errors
    /// As [`BrickClient::call`], but never [`CallError::Disconnected`].
    pub async fn terminate(
        &self,
        brick: &str,
        dict: &Dict,
        timeout: Duration,
    ) -> Result<Option<BrickAnswer>, CallError> {
        match self.call(BrickProc::TERMINATE, brick, &Dict::new(), dict, timeout).await {
            Ok(answer) => Ok(Some(answer)),
            Err(CallError::Disconnected) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn call_raw(
        &self,
        procedure: BrickProc,
        name: &str,
        input: Vec<u8>,
        dict: &Dict,
        timeout: Duration,
    ) -> Result<BrickAnswer, CallError> {
        let request = BrickOpReq {
            name: name.to_owned(),
            op: procedure.0.cast_signed(),
            input,
            dict: encode_or_nothing(dict),
        };
        let arguments = request.to_bytes();
        let results = self.client.call(ProgramId::BRICK, procedure.0, &arguments, timeout).await?;
        let BrickOpRsp { op_ret, op_errno, output, op_errstr } = BrickOpRsp::from_bytes(&results)?;
        let output = Dict::decode_or_empty(&output)
            .map_err(|error| CallError::Malformed(Box::new(error)))?;
        let op_errstr = String::from_utf8_lossy(&op_errstr).trim_end_matches('\0').to_owned();
        Ok(BrickAnswer { op_ret, op_errno, op_errstr, output })
    }
}

fn encode_or_nothing(dict: &Dict) -> Vec<u8> {
    if dict.is_empty() { Vec::new() } else { dict.encode() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::header::{Message, Outcome, Reply};
    use crate::rpc::record::RecordCodec;
    use crate::rpc::xdr::tests::check;
    use futures_util::{SinkExt, StreamExt};
    use tokio_util::codec::Framed;

    const PATIENCE: Duration = Duration::from_secs(5);

    /// A daemon that answers one call with `answer`, or closes; what it was asked.
    async fn ask(
        answer: Option<BrickOpRsp>,
        procedure: BrickProc,
        input: &Dict,
    ) -> (Result<BrickAnswer, CallError>, BrickOpReq) {
        let (near, far) = tokio::io::duplex(1 << 16);
        let daemon = tokio::spawn(async move {
            let mut peer = Framed::new(far, RecordCodec::default());
            let record = peer.next().await.unwrap().unwrap();
            let Ok(Message::Call(call, body)) = Message::decode(record) else { panic!("a call") };
            if let Some(answer) = answer {
                let reply = Reply { xid: call.xid, outcome: Outcome::Success };
                peer.send(reply.record(&answer.to_bytes())).await.unwrap();
            }
            BrickOpReq::from_bytes(&body).unwrap()
        });
        let client = BrickClient::over(Client::over(near).0);
        let answer = match procedure {
            BrickProc::TERMINATE => client
                .terminate("/b", &Dict::new(), PATIENCE)
                .await
                .map(|answer| answer.expect("an answer")),
            _ => client.call(procedure, "/b", input, &Dict::new(), PATIENCE).await,
        };
        (answer, daemon.await.unwrap())
    }

    #[tokio::test]
    async fn an_operation_has_its_dicts_carried_both_ways() {
        let input: Dict = [("cmd", "1025")].into_iter().collect();
        let output: Dict = [("mallinfo.arena", "6012928")].into_iter().collect();
        let answer = BrickOpRsp { output: output.encode(), ..BrickOpRsp::default() };
        let (answer, asked) = ask(Some(answer), BrickProc::STATUS, &input).await;
        assert_eq!(answer.unwrap().output, output);
        let expected =
            BrickOpReq { name: "/b".into(), op: 4, input: input.encode(), dict: Vec::new() };
        assert_eq!(asked, expected);
    }

    #[tokio::test]
    async fn a_malformed_output_is_an_error() {
        let answer = BrickOpRsp { output: vec![0, 0, 0, 9], ..BrickOpRsp::default() };
        let (answer, _) = ask(Some(answer), BrickProc::STATUS, &Dict::new()).await;
        assert!(matches!(answer, Err(CallError::Malformed(_))));
    }

    #[tokio::test]
    async fn a_brick_may_go_before_it_has_answered_terminate() {
        let (near, far) = tokio::io::duplex(1 << 16);
        drop(far);
        let client = BrickClient::over(Client::over(near).0);
        assert_eq!(client.terminate("/b", &Dict::new(), PATIENCE).await.unwrap(), None);
        let (answer, asked) =
            ask(Some(BrickOpRsp::default()), BrickProc::TERMINATE, &Dict::new()).await;
        assert_eq!((answer.unwrap().op_ret, asked.op, asked.input.len()), (0, 1, 0));
    }

    #[tokio::test]
    async fn other_operations_need_an_answer() {
        let (answer, _) = ask(None, BrickProc::STATUS, &Dict::new()).await;
        assert!(matches!(answer, Err(CallError::Disconnected)));
    }

    #[test]
    fn bodies_come_back() {
        let dict = b"\0\0\0\0".to_vec();
        check(&BrickOpReq { name: "/b".into(), op: 1, input: Vec::new(), dict: dict.clone() });
        check(&BrickOpRsp { op_ret: -1, op_errno: 2, output: dict, op_errstr: b"no".to_vec() });
    }
}
