//! Changes whose request or answer is lost: the command says what really became of them.

use crate::matrix::{Case, POOL_SET, Summary, cases, undisturbed};
use crate::mortal::Fuse;
use crate::world::{CLIENT, World};
use coord_api::mem::TxnFault;

fn check(case: &Case, states: &(Summary, Summary), faults: &[TxnFault], succeeds: bool) {
    let (before, after) = states;
    let world = World::new(3);
    world.prepare(case.before);
    world.live(&Fuse::new(), async |life| {
        let what = format!("{} {faults:?}", case.name);
        // Receipts are opened by the first change of a life.
        life.run(POOL_SET).await.unwrap();
        world.mem.fail_next_txns(CLIENT, faults.iter().copied());
        let answer = life.run(case.command).await;
        assert_eq!(answer.is_ok(), succeeds, "{what}: {answer:?}");
        life.settle().await;
        let expected = if succeeds { after } else { before };
        assert_eq!((&life.summary(), life.faults()), (expected, vec![]), "{what}");
        world.mem.fail_next_txns(CLIENT, []);
        let again = life.run(case.command).await;
        match (again, case.again) {
            (Err(no), Some(text)) if succeeds => assert_eq!(no.text, text, "{what}"),
            (Ok(()), None) => {}
            (Ok(()), Some(_)) if !succeeds => {}
            (again, _) => panic!("{what}: {again:?}"),
        }
    });
}

#[test]
fn the_fate_of_a_change_is_found_out() {
    use TxnFault::{Refused, ReplyLost, RequestLost};
    let lost: [&[TxnFault]; 5] = [
        &[RequestLost],
        &[ReplyLost],
        // The question about it is lost as well.
        &[ReplyLost, RequestLost],
        &[ReplyLost, ReplyLost],
        &[RequestLost, ReplyLost],
    ];
    let all = cases();
    std::thread::scope(|scope| {
        for cases in all.chunks(all.len().div_ceil(4)) {
            scope.spawn(move || {
                for case in cases {
                    let (before, after, _) = undisturbed(case);
                    let states = (before, after);
                    lost.iter().for_each(|faults| check(case, &states, faults, true));
                    check(case, &states, &[Refused], false);
                }
            });
        }
    });
}
