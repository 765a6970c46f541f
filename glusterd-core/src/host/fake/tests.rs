//! The machine in memory behaves like one.

use super::*;

#[tokio::test]
async fn a_life() {
    let host = FakeHost::new(1);
    let brick = Command::new("/usr/sbin/glusterfsd").args(["-p", "/p", "--brick-port", "50"]);
    let bound = Duration::from_secs(1);
    assert_eq!(host.run(&brick, bound).await.unwrap(), Exit::Code(0));
    assert_eq!(host.run(&brick, bound).await.unwrap(), Exit::Code(98));
    let pid = host.process_of("/p").await.unwrap().pid;
    let target = ProcessRef { pid, marker: "/p".into() };
    assert!(!host.port_is_free(50));
    assert!(!host.exited(&target, Some(Duration::from_millis(10))).await);
    assert!(host.signal(&target, Signal::Term).await.unwrap());
    assert!(host.exited(&target, None).await);
    assert!(!host.signal(&target, Signal::Term).await.unwrap());
    assert!(host.port_is_free(50) && host.has_file("/p"));
    assert_eq!(host.process_of("/p").await, None);
}

#[tokio::test]
async fn equal_seeds_fail_alike() {
    let history = async |seed| {
        let host = FakeHost::new(seed);
        host.set_faults(Faults { launch_fails_percent: 50, ..Faults::default() });
        let mut exits = Vec::new();
        for _ in 0..32 {
            exits.push(host.run(&Command::new("x"), Duration::ZERO).await.unwrap());
        }
        exits
    };
    let first = history(7).await;
    assert_eq!(first, history(7).await);
    assert_ne!(first, history(8).await);
    assert!(first.contains(&Exit::Code(0)) && first.contains(&Exit::Code(1)));
}
