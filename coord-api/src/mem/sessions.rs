//! Sessions: the server's table with its deadlines, and each owner's heartbeats.
//!
//! Both ends are here because both are driven by the cluster's timer; they learn of each other
//! only through [`State::route`], so a cut client and the server part ways as in real life.

use super::bug::Bug;
use super::server::{Power, Route, State};
use crate::Result;
use crate::error::{Error, ErrorKind};
use crate::session::{SessionId, SessionState};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::sync::watch;

#[derive(Default)]
pub(super) struct Sessions {
    table: BTreeMap<SessionId, Session>,
}

struct Session {
    ns: String,
    handle: u64,
    client: usize,
    ttl: Duration,
    // The server's end.
    lives: bool,
    deadline: Instant,
    // The owner's end.
    beats: bool,
    next_beat: Instant,
    /// Guards that ask for heartbeats each TTL/6.
    strict: usize,
    state: watch::Sender<SessionState>,
}

impl Sessions {
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// The server still knows the session.
    pub fn lives(&self, id: SessionId) -> bool {
        self.table.get(&id).is_some_and(|session| session.lives)
    }

    pub fn change_strict(&mut self, id: SessionId, by: isize) {
        if let Some(session) = self.table.get_mut(&id) {
            session.strict = session.strict.saturating_add_signed(by);
            session.next_beat = Instant::now();
        }
    }

    pub fn has(&self, handle: u64) -> bool {
        self.table.values().any(|session| session.handle == handle)
    }

    fn ids(&self) -> Vec<SessionId> {
        self.table.keys().copied().collect()
    }

    fn of(&self, handle: u64) -> Vec<SessionId> {
        let mine = self.table.iter().filter(|(_, session)| session.handle == handle);
        mine.map(|(id, _)| *id).collect()
    }
}

impl Session {
    fn valid_until(&self) -> Option<Instant> {
        self.state.borrow().valid_until()
    }

    fn beat_every(&self) -> Duration {
        self.ttl / if self.strict > 0 { 6 } else { 3 }
    }

    fn lose(&mut self) {
        self.beats = false;
        self.state.send_if_modified(|state| {
            let news = !state.is_lost();
            *state = SessionState::Lost;
            news
        });
    }
}

/// 99 % of the TTL: whatever the server's clock does within 1 %, it ends no session earlier.
fn validity(ttl: Duration, bug: Option<Bug>) -> Duration {
    if bug == Some(Bug::SessionKeptTooLong) { ttl * 2 } else { ttl * 99 / 100 }
}

impl State {
    pub fn open_session(
        &mut self,
        handle: u64,
        ttl: Duration,
    ) -> Result<(SessionId, watch::Receiver<SessionState>)> {
        let rec = self.handles.get(&handle).ok_or(ErrorKind::Closed)?;
        let (ns, client, now) = (rec.ns.clone(), rec.client, Instant::now());
        let id = SessionId(self.fresh());
        let alive = SessionState::Alive { valid_until: now + validity(ttl, self.bug) };
        let (state, receiver) = watch::channel(alive);
        let session = Session {
            ns,
            handle,
            client,
            ttl,
            lives: true,
            deadline: now + ttl,
            beats: true,
            next_beat: now + ttl / 3,
            strict: 0,
            state,
        };
        self.sessions.table.insert(id, session);
        Ok((id, receiver))
    }

    pub fn tick_sessions(&mut self, now: Instant) -> Vec<Instant> {
        let mut due = Vec::new();
        for id in self.sessions.ids() {
            self.tick_owner(id, now);
            self.expire_overdue(id, now);
            let Some(session) = self.sessions.table.get(&id) else { continue };
            if !session.lives && !session.beats {
                let handle = session.handle;
                self.sessions.table.remove(&id);
                self.forget_unused(handle);
                continue;
            }
            due.push(session.deadline.max(now + Duration::from_millis(5)));
            if session.beats {
                due.push(session.next_beat);
                due.extend(session.valid_until());
            }
        }
        due
    }

    fn tick_owner(&mut self, id: SessionId, now: Instant) {
        let revive = self.bug == Some(Bug::SessionRevivedAfterLoss);
        let Some(session) = self.sessions.table.get_mut(&id) else { return };
        if !(session.beats || revive && session.lives) {
            return;
        }
        if session.next_beat <= now {
            session.next_beat = now + session.beat_every();
            // An error here is the state `Lost`, or another beat to come.
            drop(self.beat(id, now));
        }
        let Some(session) = self.sessions.table.get_mut(&id) else { return };
        if session.valid_until().is_some_and(|until| until <= now) {
            session.lose();
        }
    }

    /// One heartbeat as far as the connection lets it through.
    pub fn beat(&mut self, id: SessionId, now: Instant) -> Result<Instant> {
        let lost = || Error::none(ErrorKind::SessionLost);
        let client = self.sessions.table.get(&id).ok_or_else(lost)?.client;
        let route = self.route(client);
        let session = self.sessions.table.get_mut(&id).ok_or_else(lost)?;
        let arrives = matches!(route, Route::Through | Route::NoReply);
        if arrives && session.lives {
            session.deadline = now + session.ttl;
        }
        if route != Route::Through {
            return Err(ErrorKind::Unavailable.into());
        }
        if !session.lives {
            session.lose();
            return Err(lost());
        }
        let valid_until = now + validity(session.ttl, self.bug);
        session.state.send_replace(SessionState::Alive { valid_until });
        session.beats = true;
        Ok(valid_until)
    }

    fn expire_overdue(&mut self, id: SessionId, now: Instant) {
        let Some(session) = self.sessions.table.get(&id) else { return };
        let mut clock = now;
        if self.bug == Some(Bug::WallClockExpiry) {
            clock += Duration::from_millis(self.clock_step_ms.max(0).unsigned_abs());
        }
        if self.power == Power::On && session.lives && session.deadline <= clock {
            self.end_session(id);
        }
    }

    /// The server's end of a session: its keys go at one revision. The owner hears of it if the
    /// connection lets it.
    pub fn end_session(&mut self, id: SessionId) {
        let Some(session) = self.sessions.table.get_mut(&id).filter(|s| s.lives) else { return };
        session.lives = false;
        let (ns, client) = (session.ns.clone(), session.client);
        if self.bug != Some(Bug::LostEphemeralDeletion)
            && let Some(cut) = self.store.remove_owned(&ns, id)
        {
            self.deliver(&ns, &cut);
        }
        if self.route(client) == Route::Through
            && let Some(session) = self.sessions.table.get_mut(&id)
        {
            session.lose();
        }
    }

    /// The owner lets go: no more heartbeats, and the server is told if it can be reached.
    pub fn abandon_session(&mut self, id: SessionId) {
        let Some(session) = self.sessions.table.get_mut(&id) else { return };
        session.lose();
        let client = session.client;
        if matches!(self.route(client), Route::Through | Route::NoReply) {
            self.end_session(id);
        }
    }

    pub fn close_sessions_of(&mut self, handle: u64) {
        self.sessions.of(handle).into_iter().for_each(|id| self.abandon_session(id));
    }

    pub fn suspend_sessions(&mut self, handle: u64) {
        for id in self.sessions.of(handle) {
            let state = &self.sessions.table[&id].state;
            let until = state.borrow().valid_until();
            if let Some(valid_until) = until {
                state.send_replace(SessionState::Suspended { valid_until });
            }
        }
    }

    /// A reconnect: heartbeats are due at once.
    pub fn wake_sessions(&mut self, handle: u64, now: Instant) {
        for id in self.sessions.of(handle) {
            self.sessions.table.get_mut(&id).expect("listed above").next_beat = now;
            self.tick_owner(id, now);
        }
    }

    /// A server that was away gives everybody a full TTL (S6, S14).
    pub fn grant_full_ttl(&mut self, now: Instant) {
        for session in self.sessions.table.values_mut() {
            session.deadline = now + session.ttl;
        }
    }

    pub fn lose_all_sessions(&mut self) {
        self.sessions.table.values_mut().for_each(Session::lose);
        self.sessions.table.clear();
    }
}
