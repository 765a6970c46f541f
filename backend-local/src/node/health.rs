//! How a member feels: whether its reads are linearizable, and if not, whom it would take.

use super::Node;
use crate::raft::{self, Member};
use crate::wire::Silence;
use coord_api::{Error, ErrorKind, Health};
use openraft::errors::Fatal;
use std::sync::Weak;
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::watch;

impl Node {
    /// Notes that linearizable reads work; a stopped core stays stopped.
    pub fn feel_well(&self) {
        self.health.send_if_modified(|health| {
            let was = matches!(health, Health::Degraded { .. });
            if was {
                *health = Health::Ok;
            }
            was
        });
    }

    /// Notes that they do not, and whom it would take.
    pub fn feel_alone(&self) {
        let now = self.missing();
        self.health.send_if_modified(|health| {
            let next = match &health {
                Health::Ok => Health::Degraded { since: Instant::now(), why: now },
                Health::Degraded { since, why } if *why != now => {
                    Health::Degraded { since: *since, why: now }
                }
                _ => return false,
            };
            *health = next;
            true
        });
    }

    /// The core has stopped for good: say so, here and in the health.
    pub(super) fn broken(&self, fatal: &Fatal<raft::Types>) -> Error {
        if self.stopping.is_cancelled() {
            return Error::unknown(ErrorKind::Closed);
        }
        self.health.send_if_modified(|health| {
            let was_ok = !matches!(health, Health::Unreachable { .. } | Health::Closed);
            if was_ok {
                *health = Health::Unreachable { since: Instant::now() };
            }
            was_ok
        });
        Error::unknown(ErrorKind::Unavailable).because(fatal)
    }

    /// Since when there has been no way to this member, if so.
    pub fn silence(&self, of: u64) -> Option<Silence> {
        self.transport.silence(of)
    }

    /// Which masters it would take to have a quorum, for people.
    fn missing(&self) -> String {
        let me = self.identity.node;
        let voters = self.members_and_voters().into_iter().filter(|(.., votes)| *votes);
        let voters: Vec<(u64, Member, bool)> = voters.collect();
        let silent = voters.iter().filter(|(id, ..)| *id != me).filter_map(|(id, member, _)| {
            let since = utc(self.silence(*id)?.time);
            Some(format!("{} (not reached since {since})", member.address))
        });
        let silent: Vec<String> = silent.collect();
        let (needed, all) = (voters.len() / 2 + 1, voters.len());
        match silent.is_empty() {
            true => format!("no quorum: {needed} of {all} masters have to agree on a leader"),
            false => {
                let silent = silent.join(", ");
                format!("no quorum: {needed} of {all} masters are needed, missing: {silent}")
            }
        }
    }
}

/// How long a member without a quorum waits for one at a time, and the pause between.
const CONTACT: Duration = Duration::from_millis(1500);
const PAUSE: Duration = Duration::from_millis(200);

/// Finds out when a member that feels alone is so no more: it may go on believing in the leader it
/// had, and only an answer shows that there is one. Sleeps while all is well.
pub async fn keep_true(node: Weak<Node>, mut health: watch::Receiver<Health>) {
    loop {
        let degraded = |health: &Health| matches!(health, Health::Degraded { .. });
        if health.wait_for(degraded).await.is_err() {
            return;
        }
        let Some(node) = node.upgrade().filter(|node| !node.is_stopping()) else { return };
        match node.read_index(Instant::now() + CONTACT).await {
            Ok(_) => node.feel_well(),
            Err(_) => node.feel_alone(),
        }
        drop(node);
        tokio::time::sleep(PAUSE).await;
    }
}

/// `2026-01-31 23:59:59 UTC`.
fn utc(time: SystemTime) -> String {
    let s = time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    // Days since 0000-03-01, in eras of 400 years; after Hinnant's civil_from_days.
    let days = s / 86400 + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * month + 2) / 5 + 1;
    let (month, turn) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = era * 400 + year + turn;
    let (h, m) = (s / 3600 % 24, s / 60 % 60);
    format!("{year:04}-{month:02}-{of_month:02} {h:02}:{m:02}:{:02} UTC", s % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_in_utc() {
        let check = |s: u64, text: &str| {
            assert_eq!(utc(SystemTime::UNIX_EPOCH + Duration::from_secs(s)), text);
        };
        check(0, "1970-01-01 00:00:00 UTC");
        check(951_827_696, "2000-02-29 12:34:56 UTC");
        check(1_735_689_599, "2024-12-31 23:59:59 UTC");
        check(4_107_542_400, "2100-03-01 00:00:00 UTC");
    }
}
