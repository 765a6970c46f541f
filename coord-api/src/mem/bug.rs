//! Known defects of coordination layers, to be switched on one at a time: `mem://x?bug=NAME`.
//!
//! They measure the conformance suite: it must fail for each. Never part of a product's URL.

/// One seeded defect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bug {
    /// A transaction's writes reach readers and watchers one by one.
    TornMulti,
    /// A key's version counts its changes and starts anew after re-creation.
    Aba,
    /// What happened during a disconnect is not made up for.
    DroppedEventAfterReconnect,
    /// After a reconnect the last change is told again.
    RepeatedEvent,
    /// The snapshot after a reconnect is older than what was shown before.
    BackwardSnapshot,
    /// A session that was reported lost comes back.
    SessionRevivedAfterLoss,
    /// A session's end leaves its keys behind.
    LostEphemeralDeletion,
    /// Creation revisions of ephemeral keys do not tell who came first.
    LockWithoutQueue,
    /// A transaction is answered before it takes effect.
    ReplyBeforeCommit,
    /// A write whose answer was lost is sent again.
    RetryOfUnknownWrite,
    /// Sessions expire by the wall clock.
    WallClockExpiry,
    /// A prefix matches only up to a `/`.
    PrefixByComponent,
    /// Watches are not renewed after the second reconnect.
    WatchDeafAfterSecondReconnect,
    /// A fence holds for any candidate of its election.
    StaleFence,
    /// Reads are answered for a moment as if the last change had not happened.
    StaleRead,
    /// Only the first of a transaction's compares is looked at.
    LostGuard,
    /// The owner of a session trusts it for longer than the servers keep it.
    SessionKeptTooLong,
}

impl Bug {
    /// Every bug with its name in URLs.
    pub const ALL: [(Bug, &'static str); 17] = [
        (Bug::TornMulti, "torn-multi"),
        (Bug::Aba, "aba"),
        (Bug::DroppedEventAfterReconnect, "dropped-event-after-reconnect"),
        (Bug::RepeatedEvent, "repeated-event"),
        (Bug::BackwardSnapshot, "backward-snapshot"),
        (Bug::SessionRevivedAfterLoss, "session-revived-after-loss"),
        (Bug::LostEphemeralDeletion, "lost-ephemeral-deletion"),
        (Bug::LockWithoutQueue, "lock-without-queue"),
        (Bug::ReplyBeforeCommit, "reply-before-commit"),
        (Bug::RetryOfUnknownWrite, "retry-of-unknown-write"),
        (Bug::WallClockExpiry, "wall-clock-expiry"),
        (Bug::PrefixByComponent, "prefix-by-component"),
        (Bug::WatchDeafAfterSecondReconnect, "watch-deaf-after-second-reconnect"),
        (Bug::StaleFence, "stale-fence"),
        (Bug::StaleRead, "stale-read"),
        (Bug::LostGuard, "lost-guard"),
        (Bug::SessionKeptTooLong, "session-kept-too-long"),
    ];

    pub fn named(name: &str) -> Option<Bug> {
        Bug::ALL.iter().find(|(_, text)| *text == name).map(|(bug, _)| *bug)
    }

    pub fn name(self) -> &'static str {
        let row = Bug::ALL.iter().find(|(bug, _)| *bug == self);
        row.expect("every bug is in the table").1
    }
}
