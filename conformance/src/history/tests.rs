//! Small histories that have an order, and one of each kind that has none.

use super::violation::LINES;
use super::*;
use coord_api::Space;
use std::time::Duration;

fn key(name: &str) -> Key {
    Key::new(&Space::new("s").unwrap(), name).unwrap()
}

fn version(n: u64) -> Version {
    Version([n, 0, 0])
}

/// Builds calls with the times given in ms.
struct Build(Instant, Vec<Call>);

impl Build {
    fn call(&mut self, begun: u64, ended: u64, what: What) {
        let at = |ms| self.0 + Duration::from_millis(ms);
        self.1.push(Call { client: 0, begun: at(begun), ended: at(ended), what });
    }

    fn write(&mut self, begun: u64, ended: u64, mark: &str, txn: Txn, answer: Answer) {
        let txn = txn.put(&key(mark), "");
        self.call(begun, ended, What::Write { txn, mark: key(mark), answer });
    }

    fn read(&mut self, begun: u64, ended: u64, found: Option<(&'static str, u64)>, at: u64) {
        let entry = found.map(|(value, n)| entry("k", value, n));
        let (keys, revision) = (vec![key("k")], Revision(at));
        let found = entry.into_iter().collect();
        self.call(begun, ended, What::Read { keys, found, revision, linearizable: true });
    }
}

fn entry(name: &str, value: &'static str, n: u64) -> Entry {
    Entry {
        key: key(name),
        value: value.into(),
        version: version(n),
        created: Revision(1),
        modified: Revision(n),
        owner: None,
    }
}

fn committed(n: u64) -> Answer {
    let versions = vec![Some(version(n)), Some(version(n))];
    Answer::Committed { revision: Revision(n), versions }
}

fn check_that(build: Build, marks: &[(&str, u64)], expected: Result<(), &str>) {
    let mark = |(name, n): &(&str, u64)| Entry { created: Revision(*n), ..entry(name, "", *n) };
    let marks: Vec<Entry> = marks.iter().map(mark).collect();
    match (check(&build.1, &marks), expected) {
        (Ok(_), Ok(())) => {}
        (Err(found), Err(start)) => {
            assert!(found.why.starts_with(start), "{found:?}");
            let told = found.told(&build.1);
            assert!(told.lines().count() <= LINES + 1 && told.starts_with(start), "{told}");
        }
        (got, expected) => panic!("{got:?}, not {expected:?}"),
    }
}

fn start() -> Build {
    let mut build = Build(Instant::now(), Vec::new());
    build.write(0, 10, "m1", Txn::new().put(&key("k"), "a"), committed(1));
    build
}

#[test]
fn what_has_an_order_is_accepted() {
    let mut build = start();
    build.read(20, 30, Some(("a", 1)), 1);
    let cas = Txn::new().version(&key("k"), version(1)).put(&key("k"), "b");
    build.write(40, 60, "m2", cas.clone(), Answer::Unknown);
    build.read(50, 55, Some(("b", 2)), 2);
    build.write(70, 80, "m3", cas, Answer::Conflict { failed: Some(0) });
    check_that(build, &[("m1", 1), ("m2", 2)], Ok(()));
}

#[test]
fn what_has_none_is_not() {
    let mut stale = start();
    stale.read(20, 30, None, 0);
    check_that(stale, &[("m1", 1)], Err("R2"));

    let mut wrong = start();
    wrong.read(20, 30, Some(("b", 1)), 1);
    check_that(wrong, &[("m1", 1)], Err("R5"));

    let mut lost = start();
    lost.write(20, 30, "m2", Txn::new().put(&key("k"), "b"), committed(2));
    check_that(lost, &[("m1", 1)], Err("s/m2 committed at 2"));

    let mut doubled = start();
    let absent = Txn::new().absent(&key("k")).put(&key("k"), "b");
    doubled.write(20, 30, "m2", absent.clone(), committed(2));
    check_that(doubled, &[("m1", 1), ("m2", 2)], Err("committed at 2 although"));

    let mut groundless = start();
    let exists = Txn::new().exists(&key("k")).put(&key("k"), "b");
    groundless.write(20, 30, "m2", exists, Answer::Conflict { failed: Some(0) });
    check_that(groundless, &[("m1", 1)], Err("T9"));

    let mut liar = start();
    liar.write(20, 30, "m2", absent, Answer::Refused);
    check_that(liar, &[("m1", 1), ("m2", 2)], Err("s/m2: Refused"));

    let mut back = start();
    back.write(20, 30, "m2", Txn::new(), committed(5));
    back.write(40, 50, "m3", Txn::new(), committed(3));
    check_that(back, &[("m1", 1), ("m2", 5), ("m3", 3)], Err("T10"));
}
