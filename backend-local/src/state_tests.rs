//! The state machine, command by command.

use super::*;

fn space(name: &str) -> Space {
    Space::new(name).unwrap()
}

fn key(name: &str) -> Key {
    Key::new(&space("config"), name).unwrap()
}

fn node(session: u64) -> Key {
    Key::ephemeral(&space("alive"), "n", SessionId(session), 0).unwrap()
}

fn put(name: &str, value: &'static str) -> Write {
    Write::Put(key(name), Bytes::from_static(value.as_bytes()))
}

fn txn(compares: Vec<Compare>, ops: Vec<Write>) -> Command {
    Command::Txn { session: None, compares, ops }
}

/// Two declared spaces (entries 1 and 2) and one session (entry 3).
fn start() -> State {
    let mut state = State::default();
    let persistent = Command::EnsureSpace { space: space("config"), kind: Kind::Persistent };
    let ephemeral = Command::EnsureSpace { space: space("alive"), kind: Kind::Ephemeral };
    let open = Command::OpenSession { ttl_ms: 1000, name: "t".into(), home: None, salt: 0 };
    for (index, command) in [persistent, ephemeral, open].iter().enumerate() {
        assert_eq!(
            state.apply(index as u64 + 1, command),
            Reply::Done { revision: index as u64 + 1 }
        );
    }
    state
}

fn check(state: &mut State, command: Command, expected: Reply) {
    let index = state.applied + 1;
    assert_eq!(state.apply(index, &command), expected, "{command:?}");
}

#[test]
fn a_key_keeps_its_birth_and_loses_it_with_its_life() {
    let mut state = start();
    let put_a = || txn(vec![], vec![put("a", "1")]);
    check(&mut state, put_a(), Reply::Committed { revision: 4, written: vec![true] });
    check(&mut state, put_a(), Reply::Committed { revision: 5, written: vec![true] });
    let entry = state.entry(&key("a")).unwrap();
    assert_eq!((entry.created.0, entry.modified.0), (4, 5));
    let delete = txn(vec![], vec![Write::Delete(key("a")), Write::Delete(key("b"))]);
    check(&mut state, delete, Reply::Committed { revision: 6, written: vec![false, false] });
    check(&mut state, put_a(), Reply::Committed { revision: 7, written: vec![true] });
    let stale = txn(vec![Compare::Modified(key("a"), 5)], vec![put("a", "2")]);
    check(&mut state, stale, Reply::Conflict { failed: 0 });
    assert_eq!(state.entry(&key("a")).unwrap().value, "1");
}

#[test]
fn the_failing_compare_is_named_and_nothing_is_written() {
    let mut state = start();
    let absent = || Compare::Absent(key("a"));
    let both = txn(vec![absent(), Compare::Exists(key("b"))], vec![put("a", "1")]);
    check(&mut state, both, Reply::Conflict { failed: 1 });
    assert_eq!(state.entry(&key("a")), None);
    check(
        &mut state,
        txn(vec![absent()], vec![put("a", "1")]),
        Reply::Committed { revision: 5, written: vec![true] },
    );
    check(
        &mut state,
        txn(vec![Compare::Created(key("a"), 5), Compare::Never(key("b"))], vec![]),
        Reply::Conflict { failed: 1 },
    );
}

#[test]
fn spaces_must_exist_and_fit() {
    let mut state = start();
    let other = Key::new(&space("other"), "k").unwrap();
    check(&mut state, txn(vec![Compare::Exists(other)], vec![]), Reply::UnknownSpace);
    let persistent = txn(vec![], vec![Write::Put(node(3), Bytes::new())]);
    check(&mut state, persistent, Reply::WrongSpaceKind);
    let sessionless = txn(vec![], vec![Write::PutEphemeral(node(3), Bytes::new())]);
    check(&mut state, sessionless, Reply::WrongSpaceKind);
    let ephemeral = Command::EnsureSpace { space: space("config"), kind: Kind::Ephemeral };
    check(&mut state, ephemeral, Reply::WrongSpaceKind);
}

fn put_node(session: u64) -> Command {
    let ops = vec![Write::PutEphemeral(node(session), Bytes::new())];
    Command::Txn { session: Some(session), compares: vec![], ops }
}

#[test]
fn a_session_takes_its_keys_along() {
    let mut state = start();
    check(&mut state, put_node(3), Reply::Committed { revision: 4, written: vec![true] });
    assert_eq!(state.entry(&node(3)).unwrap().owner, Some(SessionId(3)));
    check(&mut state, Command::CloseSession { id: 3 }, Reply::Done { revision: 5 });
    assert_eq!(state.entry(&node(3)), None);
    check(&mut state, put_node(3), Reply::SessionLost);
    let last = state.history.batches().last().unwrap();
    assert_eq!(last.revision, 5);
    assert_eq!(*last.changes, [Change::Delete { key: node(3) }]);
}

#[test]
fn a_heartbeat_voids_an_expiry_decided_before_it() {
    let mut state = start();
    let beat = Command::Heartbeat { ids: vec![3, 99] };
    check(&mut state, beat, Reply::Beaten { gone: vec![99] });
    check(&mut state, Command::Expire { sessions: vec![(3, 0)] }, Reply::Done { revision: 5 });
    assert!(state.session(3).is_some());
    check(&mut state, Command::Expire { sessions: vec![(3, 1)] }, Reply::Done { revision: 6 });
    assert!(state.session(3).is_none());
}

#[test]
fn a_range_is_a_byte_prefix_in_byte_order() {
    let mut state = start();
    let names = ["b", "a", "ab", "abc", "ac", "B", "a/b"];
    let ops = names.iter().map(|name| put(name, "")).collect();
    state.apply(4, &txn(vec![], ops));
    let check = |prefix: &str, after: Option<&str>, expected: &[&str]| {
        let prefix = Prefix::new(&space("config"), prefix).unwrap();
        let after = after.map(key);
        let got: Vec<&str> = state.range(&prefix, after.as_ref()).map(|e| e.key.name()).collect();
        assert_eq!(got, expected, "{prefix} {after:?}");
    };
    check("", None, &["B", "a", "a/b", "ab", "abc", "ac", "b"]);
    check("a", None, &["a", "a/b", "ab", "abc", "ac"]);
    check("ab", None, &["ab", "abc"]);
    check("a", Some("a/b"), &["ab", "abc", "ac"]);
    check("a", Some("B"), &["a", "a/b", "ab", "abc", "ac"]);
    check("a", Some("b"), &[]);
    check(&"-".repeat(200), None, &[]);
}

#[test]
fn a_dump_restores_everything() {
    let mut state = start();
    state.apply(4, &put_node(3));
    state.apply(5, &txn(vec![], vec![put("a", "1"), put("b", "2")]));
    state.apply(6, &txn(vec![], vec![Write::Delete(key("b"))]));
    let bytes = postcard::to_stdvec(&state.dump()).unwrap();
    let mut again = State::restore(postcard::from_bytes(&bytes).unwrap()).unwrap();
    assert_eq!(postcard::to_stdvec(&again.dump()).unwrap(), bytes);
    again.apply(7, &Command::CloseSession { id: 3 });
    assert_eq!(again.entry(&node(3)), None, "the session's keys are known after a restore");
}
