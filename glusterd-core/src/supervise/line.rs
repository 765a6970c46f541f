//! Calls into daemons over their `-S` sockets, one connection kept per socket.
//!
//! The end of a connection means nothing here: a process is watched by its descriptor.

use crate::rpc::Dict;
use crate::rpc::brick::{BrickAnswer, BrickClient, BrickProc};
use crate::rpc::client::{CallError, Client, Endpoint};
use async_trait::async_trait;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

const CONNECT_BOUND: Duration = Duration::from_secs(5);

#[derive(Clone, Debug)]
pub enum Input {
    Dict(Dict),
    /// Volfile text of SVC_ATTACH.
    Text(Vec<u8>),
}

#[derive(Clone, Debug)]
pub struct LineCall {
    pub procedure: BrickProc,
    pub name: String,
    pub input: Input,
    pub dict: Dict,
    pub bound: Duration,
}

impl LineCall {
    /// With a dict, possibly empty, and nothing beside it.
    pub fn new(procedure: BrickProc, name: &str, input: Dict, bound: Duration) -> LineCall {
        let (name, input, dict) = (name.to_owned(), Input::Dict(input), Dict::new());
        LineCall { procedure, name, input, dict, bound }
    }
}

/// Makes calls to whoever listens at a socket.
#[async_trait]
pub trait Lines: fmt::Debug + Send + Sync + 'static {
    /// # Errors
    /// As [`CallError`]; a daemon's "no" is an answer.
    async fn call(&self, socket: &str, call: LineCall) -> Result<BrickAnswer, CallError>;
}

/// Unix sockets of this machine.
#[derive(Debug, Default)]
pub struct SocketLines {
    open: Mutex<HashMap<String, Client>>,
}

impl SocketLines {
    async fn client(&self, socket: &str) -> Result<Client, CallError> {
        if let Some(client) = self.open.lock().get(socket).filter(|client| !client.is_closed()) {
            return Ok(client.clone());
        }
        let client = Client::connect(&Endpoint::Unix(socket.into()), CONNECT_BOUND).await?;
        let mut open = self.open.lock();
        // Closed ones go whenever one comes: the map stays as large as there are daemons.
        open.retain(|_, known| !known.is_closed());
        open.insert(socket.to_owned(), client.clone());
        Ok(client)
    }
}

#[async_trait]
impl Lines for SocketLines {
    async fn call(&self, socket: &str, call: LineCall) -> Result<BrickAnswer, CallError> {
        let line = BrickClient::over(self.client(socket).await?);
        let LineCall { procedure, name, input, dict, bound } = call;
        match input {
            Input::Dict(input) => line.call(procedure, &name, &input, &dict, bound).await,
            Input::Text(text) => line.attach_service(&name, &text, &dict, bound).await,
        }
    }
}
