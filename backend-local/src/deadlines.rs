//! When sessions end: the leader's table of deadlines, and the task that acts on it.
//!
//! Deadlines are on the leader's monotonic clock and in memory only; a new leader gives every
//! session a full TTL from its election. What ends a session is a command in the log.

use crate::state::State;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::time::{Duration, Instant};

#[derive(Debug, Default)]
pub struct Deadlines(Mutex<HashMap<u64, Deadline>>);

#[derive(Clone, Copy, Debug)]
struct Deadline {
    at: Instant,
    /// Its end has been proposed: only a heartbeat in the log can still save it.
    ending: bool,
}

/// What there is to do.
#[derive(Debug, PartialEq)]
pub struct Due {
    /// Sessions to end, with the epochs they have now.
    pub end: Vec<(u64, u64)>,
    /// When to look again; `None` while there is no session.
    pub next: Option<Instant>,
}

impl Deadlines {
    /// Forgets everything: the next look gives each session a full TTL.
    pub fn restart(&self) {
        self.0.lock().clear();
    }

    /// A sign of life. `false`: too late for this path, a heartbeat in the log must decide.
    pub fn touch(&self, session: u64, ttl: Duration, now: Instant) -> bool {
        let mut table = self.0.lock();
        let deadline = table.entry(session).or_insert(Deadline { at: now, ending: false });
        if deadline.ending {
            return false;
        }
        deadline.at = deadline.at.max(now + ttl);
        true
    }

    /// A heartbeat of the session was committed.
    pub fn confirm(&self, session: u64, ttl: Duration, now: Instant) {
        self.0.lock().insert(session, Deadline { at: now + ttl, ending: false });
    }

    /// Compares the table with the sessions there are.
    pub fn due(&self, state: &State, now: Instant) -> Due {
        let mut table = self.0.lock();
        table.retain(|id, _| state.session(*id).is_some());
        let mut due = Due { end: Vec::new(), next: None };
        for (id, record) in state.sessions() {
            let ttl = Duration::from_millis(record.ttl_ms);
            let deadline = table.entry(id).or_insert(Deadline { at: now + ttl, ending: false });
            if deadline.at <= now {
                deadline.ending = true;
                due.end.push((id, record.epoch));
            }
            // One that is being ended is looked at again, should the proposal have failed.
            let again = if deadline.ending { now + Duration::from_secs(1) } else { deadline.at };
            due.next = Some(due.next.map_or(again, |next| next.min(again)));
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Command;

    fn open(state: &mut State, index: u64) {
        let open = Command::OpenSession { ttl_ms: 1000, name: String::new(), home: None, salt: 0 };
        state.apply(index, &open);
    }

    #[test]
    fn a_session_lives_while_it_is_touched() {
        let (mut state, table, start) = (State::default(), Deadlines::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        let ttl = Duration::from_secs(1);
        open(&mut state, 1);
        let due = |ms| table.due(&state, at(ms));
        assert_eq!(due(0), Due { end: vec![], next: Some(at(1000)) });
        assert!(table.touch(1, ttl, at(900)));
        assert_eq!(due(1000), Due { end: vec![], next: Some(at(1900)) });
        assert_eq!(due(1900), Due { end: vec![(1, 0)], next: Some(at(2900)) });
        assert!(!table.touch(1, ttl, at(1901)), "its end is under way");
        table.confirm(1, ttl, at(1950));
        assert_eq!(due(2000), Due { end: vec![], next: Some(at(2950)) });
        table.restart();
        assert_eq!(due(9000), Due { end: vec![], next: Some(at(10_000)) });
    }

    #[test]
    fn without_sessions_there_is_nothing_to_wait_for() {
        let due = Deadlines::default().due(&State::default(), Instant::now());
        assert_eq!(due, Due { end: vec![], next: None });
    }
}
