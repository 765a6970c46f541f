//! A node's place: alone, into another's store by an invitation, back, and through restarts.

mod seats;

use backend_local::Seat;
use coord_api::{ErrorKind, Health, Prefix, Txn, WatchEvent, WatchOpts};
use futures_util::StreamExt;
use seats::{
    SOON, baggage, config, free_port, invited, key, masters, members, opened, put, space, value,
};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Asks again as long as a change of the leader comes between.
async fn leaves(seat: &Arc<Seat>, n: u8) {
    let deadline = Instant::now() + SOON;
    loop {
        match seat.leave(&baggage(&format!("n{n}"))).await {
            Ok(left) => return assert!(left, "it was not alone"),
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_life_in_a_pool_and_out_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let configs: Vec<_> = (1..=3).map(|n| config(dir.path(), n, port)).collect();
    let mut seats = Vec::new();
    for config in &configs {
        seats.push(opened(config).await);
    }
    // Alone nobody listens; a port that is taken is told, and the store is there all the same.
    let taken = std::net::TcpListener::bind(("127.1.2.1", port)).unwrap();
    seats[0].invite("127.1.2.1").await.unwrap_err();
    drop(taken);
    put(&seats[0].handle(), "alone-still").await;
    let (one, two) = (seats[0].handle(), seats[1].handle());
    put(&one, "shared").await;
    put(&two, "n2.own").await;
    let mut watch = two.watch(Prefix::all(&space()), WatchOpts::default());
    while !matches!(watch.next().await.unwrap(), WatchEvent::Synced { .. }) {}

    // Not if there is something to lose.
    put(&two, "n2.volume").await;
    let text = seats[0].invite("127.1.2.1").await.unwrap();
    let refused = seats[1].join(&text, "127.1.2.2", &baggage("n2")).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::PermissionDenied, "{refused}");
    assert!(value(&two, "n2.volume").await.is_some(), "it is where it was");
    two.txn(Txn::new().delete(&key("n2.volume"))).await.unwrap();

    invited(&seats[0], &seats[1], 2).await;
    assert!(seats[1].is_guest() && !seats[0].is_guest());
    assert_eq!(value(&two, "shared").await.as_deref(), Some(&b"x"[..]));
    assert_eq!(value(&one, "n2.own").await.as_deref(), Some(&b"kept"[..]));
    // The stream says that it is elsewhere, and then what is there.
    let mut lost = false;
    loop {
        match tokio::time::timeout(SOON, watch.next()).await.unwrap().unwrap() {
            WatchEvent::Lost { .. } => lost = true,
            WatchEvent::Snapshot { entries, .. }
                if lost && entries.iter().any(|entry| entry.key == key("shared")) =>
            {
                break;
            }
            _ => {}
        }
    }
    invited(&seats[1], &seats[2], 3).await;
    masters(&seats[0], 3).await;
    put(&seats[2].handle(), "from-three").await;
    assert!(value(&one, "from-three").await.is_some());

    // All off, and on again in another order: each waits behind its handle for the others.
    for seat in seats.drain(..) {
        seat.shut_down().await;
    }
    let third = Seat::open(configs[2].clone(), Duration::from_millis(50)).await.unwrap();
    let mut health = third.handle().health();
    let away = health.wait_for(|health| *health != Health::Ok);
    drop(tokio::time::timeout(SOON, away).await.expect("it notices").unwrap());
    let late = Txn::new().put(&key("a"), "x").within(Duration::from_millis(100));
    assert!(third.handle().txn(late).await.is_err());
    let first = opened(&configs[0]).await;
    assert!(value(&third.handle(), "from-three").await.is_some());
    let second = opened(&configs[1]).await;
    masters(&first, 3).await;

    // The founder goes, then another: what is left is the pool's.
    leaves(&first, 1).await;
    assert!(value(&first.handle(), "shared").await.is_none());
    assert_eq!(value(&first.handle(), "n1.own").await.as_deref(), Some(&b"kept"[..]));
    assert!(!first.leave(&baggage("n1")).await.unwrap(), "it is alone");
    members(&second, 2).await;
    masters(&second, 1).await;
    leaves(&second, 2).await;
    members(&third, 1).await;
    masters(&third, 1).await;
    put(&third.handle(), "alone").await;
    assert!(value(&third.handle(), "shared").await.is_some());

    // And back, once more.
    invited(&third, &first, 1).await;
    assert!(value(&first.handle(), "alone").await.is_some());
    members(&third, 2).await;
    // A dead one is taken out by the others.
    invited(&third, &second, 2).await;
    masters(&third, 3).await;
    first.shut_down().await;
    third.remove("n1").await.unwrap();
    members(&third, 2).await;
    put(&second.handle(), "end").await;
    for seat in [second, third] {
        seat.shut_down().await;
    }
}

/// Of two nodes the second may be away, and has everything; the one that votes may leave it to it.
#[tokio::test(flavor = "multi_thread")]
async fn the_second_of_two_follows() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let configs: Vec<_> = (1..=2).map(|n| config(dir.path(), n, port)).collect();
    let (first, second) = (opened(&configs[0]).await, opened(&configs[1]).await);
    invited(&first, &second, 2).await;
    members(&first, 2).await;
    masters(&first, 1).await;
    put(&first.handle(), "both").await;
    second.shut_down().await;
    put(&first.handle(), "one").await;
    first.shut_down().await;
    let first = opened(&configs[0]).await;
    put(&first.handle(), "one-again").await;
    let second = opened(&configs[1]).await;
    assert!(value(&second.handle(), "one-again").await.is_some());
    leaves(&first, 1).await;
    members(&second, 1).await;
    masters(&second, 1).await;
    assert!(value(&second.handle(), "one-again").await.is_some());
    put(&second.handle(), "alone").await;
    for seat in [first, second] {
        seat.shut_down().await;
    }
}
