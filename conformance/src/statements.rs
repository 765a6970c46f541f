//! The statements every backend keeps, by number, and the few no case proves.
//!
//! This list is the contract; a case names the statements it proves. A new statement is a row here
//! and a case, or a row in [`UNPROVEN`] with the reason.

use crate::Case;

/// Number and text.
#[rustfmt::skip]
pub const STATEMENTS: &[(&str, &str)] = &[
    ("G1", "all methods may be called at once on one handle from any number of tasks"),
    ("G2", "every call ends within its timeout; none is queued beyond it and sent later"),
    ("G3", "after close, or when everything of a handle is dropped, nothing of it remains"),
    ("G4", "a step of any wall clock changes no result and no validity"),
    ("G5", "after close every method gives Closed, and streams give it once and end"),
    ("G6", "the cluster id is one for all handles and restarts; another cluster gives ClusterReplaced and is never written to"),
    ("K1", "a space is [a-z][a-z0-9]{0,15}"),
    ("K2", "a key is 1-200 bytes of 0x21-0x7e, at most 255 once escaped; / has no meaning"),
    ("K3", "keys are ordered bytewise on the unescaped name"),
    ("K4", "a prefix is a prefix of bytes"),
    ("K5", "declaring a space repeats harmlessly; another kind is refused"),
    ("K6", "an undeclared space gives UnknownSpace; what marks a space is never seen"),
    ("K7", "namespaces never see each other"),
    ("R1", "an absent key reads as none, with a revision"),
    ("R2", "a linearizable read reflects every transaction completed before it began"),
    ("R3", "a session read reflects the handle's own transactions and never goes back"),
    ("R4", "NotOlderThan gives at least that revision; one beyond the present gives FutureRevision"),
    ("R5", "a read of many keys shows one state"),
    ("R6", "a list is complete and sorted; its revision bounds its entries"),
    ("R7", "a later change has a greater revision than the read"),
    ("R8", "without writes two reads are equal"),
    ("R9", "pages ascend without repetition; a key present throughout is in exactly one"),
    ("R10", "entries of ephemeral spaces have an owner, others never"),
    ("R11", "what conflicted or was refused is never read"),
    ("R12", "without quorum a linearizable read fails, effect None"),
    ("R13", "10,000 keys and 4 MiB can be listed"),
    ("T1", "all operations take effect at one revision"),
    ("T2", "transactions are strictly serializable"),
    ("T3", "Absent, Exists, Version and Fence hold exactly when they say"),
    ("T4", "a version never comes back (no ABA)"),
    ("T5", "a put creates or replaces; replacing keeps created"),
    ("T6", "a put of an equal value is a new version and an event"),
    ("T7", "deleting an absent key is no error"),
    ("T8", "a key occurs once among operations and once among compares"),
    ("T9", "a conflict writes nothing and names a compare that did not hold"),
    ("T10", "a write's revision exceeds all completed before it began"),
    ("T11", "returned versions are those a read gives"),
    ("T12", "limits are refused before sending and disturb nobody"),
    ("T13", "a transaction without operations evaluates its compares"),
    ("T14", "only sessions write ephemeral keys; anybody may delete them"),
    ("T15", "a dead session's transaction is refused and never takes effect"),
    ("T16", "calls not awaited one after the other may take effect in either order"),
    ("W1", "a stream begins with a snapshot and Synced, or with a resumption"),
    ("W2", "the folded state equals the prefix at the revision told"),
    ("W3", "one transaction's writes come in one Changes"),
    ("W4", "revisions increase, also across Lost; the state never goes back"),
    ("W5", "a key occurs once in one Changes; a Delete only for what is there"),
    ("W6", "re-creation with an equal value is delivered"),
    ("W7", "what completed before the watch began is in its snapshot"),
    ("W8", "the last version of every key is delivered"),
    ("W9", "after Lost nothing comes before a snapshot or a resumption"),
    ("W10", "a Put carries the full entry"),
    ("W11", "a read after an event reflects it"),
    ("W12", "a lost or silent connection gives Lost within the time to detect"),
    ("W13", "a stream recovers by itself, any number of times"),
    ("W14", "streams are independent and freed when dropped"),
    ("W15", "a slow consumer costs bounded memory and nobody else anything"),
    ("W16", "withdrawn permission is told"),
    ("W17", "compaction leads to Lost and a snapshot"),
    ("W18", "deletions by a session's end are delivered"),
    ("W19", "keys_only has empty values and valid versions"),
    ("W20", "an idle stream tells progress when asked to"),
    ("W21", "what changed during a disconnect is made up for, net"),
    ("W22", "with full_history each revision comes for itself"),
    ("S1", "a session is known to the servers; its TTL is as asked or little more"),
    ("S2", "session ids never repeat"),
    ("S3", "a session writes only names with its suffix"),
    ("S4", "a session lives while heartbeats get through"),
    ("S5", "a reconnect within the TTL keeps it"),
    ("S6", "a dead holder's keys go within 3 TTL + 5 s, and not before valid_until"),
    ("S7", "close completes after the keys are gone"),
    ("S8", "Lost is final"),
    ("S9", "Lost comes at valid_until at the latest"),
    ("S10", "states begin with the present one and never skip Lost"),
    ("S11", "a confirmed valid_until bounds what others can see"),
    ("S12", "a new session works at once after Lost"),
    ("S13", "keys of a ghost session are recognisable"),
    ("S14", "a restart of all servers keeps or ends a session, never both"),
    ("S15", "dropping a session ends it"),
    ("S16", "heartbeats depend on no executor and no future of the caller"),
    ("S17", "confirm needs the quorum"),
    ("E1", "at most one leadership is valid at any instant"),
    ("E2", "tokens increase"),
    ("E3", "a guarded transaction commits only for the leader"),
    ("E4", "candidates lead in the order of their creation"),
    ("E5", "a dropped campaign leaves no candidate"),
    ("E6", "a leader's candidate was there when it was seen to be first"),
    ("E7", "observers see Unknown, then leaders with tokens that never decrease"),
    ("E8", "a dead leader is followed by another"),
    ("E9", "lost resolves at valid_until at the latest, for ever"),
    ("E10", "a proclaimed value keeps the token"),
    ("E11", "deleting the candidate deposes"),
    ("E12", "candidates read only what changed"),
    ("L1", "two guards of one lock are never valid together"),
    ("L2", "first come, first served"),
    ("L3", "try on a held lock gives none and leaves nothing"),
    ("L4", "a wait that ends leaves nothing"),
    ("L5", "a lock is not re-entrant"),
    ("L6", "release completes after the key is gone; drop releases too"),
    ("L7", "a guard whose session is lost says so, and its writes conflict"),
    ("L8", "locks and elections are seen nowhere else"),
    ("L9", "the holder's note and token can be read"),
    ("X1", "effect None: nothing was and nothing will be written"),
    ("X2", "effect Unknown: it may have been, or may still be"),
    ("X3", "no write is sent twice unless the first certainly had no effect"),
    ("X4", "reads have effect None"),
    ("X5", "a false compare is an outcome"),
    ("X6", "kinds suffice for decisions; the retry hint is right"),
    ("X7", "a receipt tells the truth after every Unknown"),
    ("X8", "overload is told and never hangs"),
    ("C1", "a future never polled has no effect"),
    ("C2", "dropping a polled write leaves that one call unknown"),
    ("C3", "dropping at any await leaks nothing"),
    ("C4", "cancellation mixes up no answers"),
    ("H1", "health never blocks and follows the connection in time"),
    ("H2", "Degraded when only linearizable reads fail"),
    ("A1", "wrong credentials are refused when opening"),
    ("A2", "a lack of permission is refused without effect"),
    ("A3", "certificate errors name their cause"),
    ("A4", "expiry of tokens is invisible"),
    ("M1", "each backend counts what it does"),
];

/// Statements without a case in the shared suite.
pub const UNPROVEN: &[(&str, &str)] = &[
    ("W16", "needs a way to withdraw permission; a backend's own tests have it"),
    ("H2", "needs three servers without quorum behind one that answers"),
    ("A1", "needs an account; a backend's own tests have it"),
    ("A2", "needs an account; a backend's own tests have it"),
    ("A3", "needs certificates; a backend's own tests have it"),
    ("A4", "needs tokens that expire; a backend's own tests have it"),
    ("M1", "no counters in the interface yet"),
];

/// The cases that prove a statement.
pub fn proofs(statement: &str) -> Vec<&'static Case> {
    crate::registry().filter(|case| case.statements.contains(&statement)).collect()
}

/// Statements with neither a case nor a reason.
pub fn gaps() -> Vec<&'static str> {
    let excused = |id: &str| UNPROVEN.iter().any(|(unproven, _)| *unproven == id);
    let ids = STATEMENTS.iter().map(|(id, _)| *id);
    ids.filter(|id| proofs(id).is_empty() && !excused(id)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_statement_has_a_case_or_a_reason() {
        assert_eq!(gaps(), [""; 0]);
        for (id, _) in UNPROVEN {
            assert!(proofs(id).is_empty(), "{id} has a case by now");
        }
    }

    #[test]
    fn cases_name_statements_that_exist_and_themselves_once() {
        let known: HashSet<&str> = STATEMENTS.iter().map(|(id, _)| *id).collect();
        assert_eq!(known.len(), STATEMENTS.len(), "a number twice");
        let mut names = HashSet::new();
        for case in crate::registry() {
            assert!(names.insert(case.name), "{} twice", case.name);
            assert!(!case.statements.is_empty(), "{} proves nothing", case.name);
            for id in case.statements {
                assert!(known.contains(id), "{}: {id}", case.name);
            }
        }
    }
}
