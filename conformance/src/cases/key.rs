//! Names and spaces (K1-K7).

use crate::case::{Client, cases, ephemeral, key, persistent, prefix, refused};
use coord_api::{
    CoordinatorExt, Error, ErrorKind, Key, Prefix, ReadOpts, Space, SpaceKind, Txn, WatchEvent,
    WatchOpts,
};
use futures_util::StreamExt;
use std::collections::BTreeSet;

async fn put(client: &Client, key: &Key) -> Result<(), Error> {
    let outcome = client.txn(Txn::new().put(key, key.name().to_owned())).await?;
    assert!(outcome.committed().is_some(), "{outcome:?}");
    Ok(())
}

async fn names(client: &Client, prefix: &Prefix) -> Result<Vec<String>, Error> {
    let found = client.list(prefix, ReadOpts::default()).await?;
    Ok(found.entries.iter().map(|entry| entry.key.name().to_owned()).collect())
}

cases! { key;
    /// The longest and the shortest name are usable, not only well-formed.
    [K1] fn space_name_rules(cx) {
        let client = cx.open().await?;
        for name in ["a", "a1", "abcdefghijklmnop"] {
            let space = persistent(&client, name).await?;
            put(&client, &key(&space, "k")).await?;
        }
        for name in ["", "A", "1a", "a-b", "a_b", "abcdefghijklmnopq"] {
            refused(Space::new(name), ErrorKind::InvalidKey("a space is [a-z][a-z0-9]{0,15}"));
        }
    }

    [K2] fn name_charset_and_length_limits(cx) {
        let (client, space) = cx.start().await?;
        let every: String = (0x21..=0x7e_u8).map(char::from).collect();
        let (longest, bad) = ("x".repeat(200), "x".repeat(201));
        let singles = every.chars().map(String::from);
        let all: BTreeSet<String> = singles.chain([every.clone(), longest]).collect();
        for name in &all {
            put(&client, &key(&space, name)).await?;
        }
        assert_eq!(names(&client, &Prefix::all(&space)).await?, Vec::from_iter(all));
        for name in ["", " ", "a b", "\t", "\u{7f}", "é", &bad] {
            assert!(Key::new(&space, name).is_err(), "{name:?}");
        }
    }

    /// A store that escapes must have room for the longest escaped name.
    [K2] fn escaped_length_limit_uuid_200(cx) {
        let (client, space) = cx.start().await?;
        let uuid = "6f2b5bd7-3d4c-4e7d-9d52-1d2f8b7f4a11";
        let widest = format!("{}{}", "-".repeat(27), "a".repeat(173));
        let all_escaped = "-".repeat(85);
        for name in [uuid, widest.as_str(), &all_escaped] {
            put(&client, &key(&space, name)).await?;
        }
        assert_eq!(names(&client, &Prefix::all(&space)).await?.len(), 3);
        for name in ["-".repeat(86), format!("{}{}", "-".repeat(28), "a".repeat(172))] {
            assert!(Key::new(&space, &name).is_err(), "{} bytes", name.len());
        }
    }

    /// Paths would make a parent of `a`, or climb out.
    [K2 K4] fn slash_and_dots_are_plain(cx) {
        let (client, space) = cx.start().await?;
        let all = [".", "..", "../x", "/", "//", "a", "a/", "a//b", "a/b"];
        for name in all {
            put(&client, &key(&space, name)).await?;
        }
        assert_eq!(names(&client, &Prefix::all(&space)).await?, all);
        client.txn(Txn::new().delete(&key(&space, "a"))).await?;
        assert_eq!(names(&client, &prefix(&space, "a")).await?, ["a/", "a//b", "a/b"]);
    }

    /// What an escaping store uses as its mark must not be taken for one.
    [K2] fn percent_dash_underscore_roundtrip(cx) {
        let (client, space) = cx.start().await?;
        let all = ["%", "%2d", "%%", "-", "--", "_", "_2d", "__", "_2e", "a%41", "a-b", "a_5fb"];
        for name in all {
            put(&client, &key(&space, name)).await?;
            let (found, _) = client.get(&key(&space, name), ReadOpts::default()).await?;
            assert_eq!(found.map(|entry| entry.value), Some(name.into()));
        }
        assert_eq!(names(&client, &Prefix::all(&space)).await?.len(), all.len());
    }

    [K3] fn order_is_bytewise(cx) {
        let (client, space) = cx.start().await?;
        let mut all = ["a", "B", "aa", "a-", "a.", "a/", "a0", "aA", "a_", "~", "!", "Z", "b"];
        for name in all {
            put(&client, &key(&space, name)).await?;
        }
        all.sort();
        assert_eq!(names(&client, &Prefix::all(&space)).await?, all);
    }

    [K4] fn prefix_is_bytewise_not_component(cx) {
        let (client, space) = cx.start().await?;
        for name in ["ab", "abc", "ab/c", "a", "b", "aB"] {
            put(&client, &key(&space, name)).await?;
        }
        assert_eq!(names(&client, &prefix(&space, "ab")).await?, ["ab", "ab/c", "abc"]);
        assert_eq!(names(&client, &prefix(&space, "ab/")).await?, ["ab/c"]);
        assert_eq!(names(&client, &prefix(&space, "abcd")).await?, [""; 0]);
    }

    [K5] fn ensure_space_idempotent_parallel(cx) {
        let clients = [cx.open().await?, cx.open().await?, cx.open().await?];
        let space = Space::new("many")?;
        let calls = (0..30).map(|i| clients[i % 3].ensure_space(&space, SpaceKind::Persistent));
        for answer in futures_util::future::join_all(calls).await {
            answer?;
        }
        put(&clients[1], &key(&space, "k")).await?;
    }

    [K5] fn ensure_space_kind_mismatch(cx) {
        let (a, b) = (cx.open().await?, cx.open().await?);
        let space = persistent(&a, "one").await?;
        let other = ephemeral(&a, "two").await?;
        refused(b.ensure_space(&space, SpaceKind::Ephemeral).await, ErrorKind::WrongSpaceKind);
        refused(b.ensure_space(&other, SpaceKind::Persistent).await, ErrorKind::WrongSpaceKind);
        b.ensure_space(&space, SpaceKind::Persistent).await?;
        refused(b.txn(Txn::new().put(&key(&other, "k"), "")).await, ErrorKind::WrongSpaceKind);
    }

    [K6] fn undeclared_space_everywhere(cx) {
        let client = cx.open().await?;
        let space = Space::new("nowhere")?;
        let (k, all) = (key(&space, "k"), Prefix::all(&space));
        let opts = ReadOpts::default();
        refused(client.get(&k, opts).await, ErrorKind::UnknownSpace);
        refused(client.list(&all, opts).await, ErrorKind::UnknownSpace);
        refused(client.txn(Txn::new().put(&k, "v")).await, ErrorKind::UnknownSpace);
        refused(client.txn(Txn::new().delete(&k)).await, ErrorKind::UnknownSpace);
        refused(client.txn(Txn::new().absent(&k)).await, ErrorKind::UnknownSpace);
        let mut events = client.watch(all, WatchOpts::default());
        let event = cx.promptly("the end of the watch", events.next()).await;
        assert_eq!(event, Some(WatchEvent::Closed(ErrorKind::UnknownSpace.into())));
        persistent(&client, "nowhere").await?;
        put(&client, &k).await?;
    }

    /// Another handle declares the space; this one has never heard of it.
    [K5 K6] fn spaces_are_shared_between_handles(cx) {
        let (a, b) = (cx.open().await?, cx.open().await?);
        let space = Space::new("late")?;
        refused(b.txn(Txn::new().put(&key(&space, "k"), "")).await, ErrorKind::UnknownSpace);
        persistent(&a, "late").await?;
        put(&b, &key(&space, "k")).await?;
    }

    [K6] fn space_marker_never_listed(cx) {
        let (client, space) = cx.start().await?;
        assert_eq!(names(&client, &Prefix::all(&space)).await?, [""; 0]);
        let mut events = client.watch(Prefix::all(&space), WatchOpts::default());
        let first = cx.promptly("a snapshot", events.next()).await;
        assert_eq!(first, Some(WatchEvent::Snapshot { entries: vec![], more: false }));
        persistent(&client, "conf").await?;
        persistent(&client, "other").await?;
        assert_eq!(names(&client, &Prefix::all(&space)).await?, [""; 0]);
    }

    [K7] fn two_namespaces_isolated(cx) {
        let (a, b) = (cx.open_in("-x").await?, cx.open_in("-y").await?);
        let space = persistent(&a, "conf").await?;
        put(&a, &key(&space, "k")).await?;
        refused(b.get(&key(&space, "k"), ReadOpts::default()).await, ErrorKind::UnknownSpace);
        persistent(&b, "conf").await?;
        let (found, _) = b.get(&key(&space, "k"), ReadOpts::default()).await?;
        assert_eq!(found, None);
        // The same name may be of another kind next door.
        let elsewhere = ephemeral(&a, "kind").await?;
        b.ensure_space(&elsewhere, SpaceKind::Persistent).await?;
    }

    [K7] fn namespace_prefix_of_other(cx) {
        let (a, ab) = (cx.open_in("-a").await?, cx.open_in("-ab").await?);
        let space = persistent(&a, "conf").await?;
        persistent(&ab, "conf").await?;
        let mut fold = crate::Fold::new(&a, Prefix::all(&space), cx.timing.short);
        fold.synced().await;
        put(&ab, &key(&space, "theirs")).await?;
        assert_eq!(names(&a, &Prefix::all(&space)).await?, [""; 0]);
        put(&a, &key(&space, "ours")).await?;
        fold.settle(&a).await?;
        assert!(fold.log.iter().all(|word| !word.contains("theirs")), "{:?}", fold.log);
        assert_eq!(names(&ab, &Prefix::all(&space)).await?, ["theirs"]);
    }
}
