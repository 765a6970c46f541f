//! Faults a test can do to an in-memory cluster and its clients.

use super::Mem;
use super::server::{Link, Power, State};
use crate::session::SessionId;
use std::time::{Duration, Instant};

/// What happens to one transaction on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TxnFault {
    /// The server refuses it: effect None.
    Refused,
    /// It never arrives, and the client cannot tell: effect Unknown, not applied.
    RequestLost,
    /// It is applied, its answer is lost: effect Unknown.
    ReplyLost,
}

impl Mem {
    fn change(&self, act: impl FnOnce(&mut State, Instant)) {
        self.cluster.with(|state| {
            let now = Instant::now();
            act(state, now);
            state.refresh_all(now);
        });
    }

    fn change_link(&self, client: usize, act: impl FnOnce(&mut Link, Instant)) {
        self.change(|state, now| act(state.links.entry(client).or_default(), now));
    }

    /// Resets the client's connections and refuses new ones until [`Mem::heal`].
    pub fn cut(&self, client: usize) {
        self.change_link(client, |link, _| link.cut = true);
    }

    /// Drops every byte in both directions and keeps the connections.
    pub fn blackhole(&self, client: usize) {
        self.change_link(client, |link, now| {
            link.drop_requests = true;
            link.silent_since.get_or_insert(now);
        });
    }

    /// Lets requests through and drops the answers.
    pub fn drop_replies(&self, client: usize) {
        self.change_link(client, |link, now| {
            link.drop_replies = true;
            link.silent_since.get_or_insert(now);
        });
    }

    /// Every exchange of that client takes this much longer.
    pub fn delay(&self, client: usize, by: Duration) {
        self.change_link(client, |link, _| link.delay = by);
    }

    /// What will happen to the client's next transactions, in order; then all is well again.
    pub fn fail_next_txns(&self, client: usize, faults: impl IntoIterator<Item = TxnFault>) {
        self.change_link(client, |link, _| link.next_txns = faults.into_iter().collect());
    }

    /// The server ends the session now.
    pub fn expire(&self, session: SessionId) {
        self.change(|state, _| state.end_session(session));
    }

    /// Drops all history before the present revision.
    pub fn compact(&self) {
        self.change(|state, _| state.store.compact());
    }

    /// Kills the server; [`Mem::heal`] starts it again on the same data.
    pub fn stop(&self) {
        self.change(|state, _| state.power = Power::Off);
    }

    /// Freezes the server; what it has received takes effect when it goes on.
    pub fn pause(&self) {
        self.change(|state, since| state.power = Power::Paused { since });
    }

    /// Steps the server's wall clock.
    pub fn step_clock(&self, ms: i64) {
        self.change(|state, _| state.clock_step_ms += ms);
    }

    /// Same address, other cluster: everything is gone.
    pub fn wipe(&self) {
        self.change(|state, now| state.replace_cluster(now));
    }

    /// Ends every fault except a wipe.
    pub fn heal(&self) {
        self.change(|state, now| {
            state.links.clear();
            state.clock_step_ms = 0;
            state.power_on(now);
        });
    }

    /// Ends [`Mem::stop`] and [`Mem::pause`].
    pub fn start(&self) {
        self.change(State::power_on);
    }

    /// Ends the faults of one client.
    pub fn heal_client(&self, client: usize) {
        self.change(|state, _| drop(state.links.remove(&client)));
    }

    /// Forgets everything under a namespace.
    pub fn remove_namespace(&self, namespace: &str) {
        self.change(|state, _| state.store.remove_namespace(namespace));
    }

    pub(super) fn is_cut(&self, client: usize) -> bool {
        let state = self.cluster.state.lock();
        state.route(client) == super::server::Route::Refused
    }
}
