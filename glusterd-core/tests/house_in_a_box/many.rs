//! More volumes than one change of the coordinator has room for, all changed at once.

use crate::mortal::Fuse;
use crate::world::{Command, Life, World};
use glusterd_core::model::Volume;
use std::sync::Arc;
use std::time::Duration;

const VOLUMES: usize = 105;
const KEY: &str = "client.strict-locks";
const PATIENCE: Duration = Duration::from_secs(60);

fn command(procedure: u32, pairs: &[(&'static str, String)]) -> Command {
    let text = |text: &String| &*Box::leak(text.clone().into_boxed_str());
    let pairs: Vec<(&str, &str)> = pairs.iter().map(|(key, value)| (*key, text(value))).collect();
    Command { procedure, pairs: Box::leak(pairs.into_boxed_slice()) }
}

fn create(number: usize) -> Command {
    let name = format!("v{number}");
    let bricks = format!(" h:/bricks/{name} ");
    let fixed = [("count", "1"), ("type", "0"), ("transport", "tcp"), ("force", "0")];
    let mut pairs: Vec<_> = fixed.map(|(key, value)| (key, value.to_owned())).to_vec();
    pairs.extend([("volname", name), ("bricks", bricks)]);
    command(4, &pairs)
}

fn set(volume: &str, value: &str) -> Command {
    let pairs = [("volname", volume), ("key1", KEY), ("value1", value), ("count", "1")];
    command(12, &pairs.map(|(key, value)| (key, value.to_owned())))
}

fn check(life: &Life<'_>, value: &str, version: u32) {
    let view = life.view();
    assert_eq!(view.volumes.len(), VOLUMES);
    let differs = |volume: &&Arc<Volume>| {
        (volume.options.value(KEY), volume.version) != (Some(value), version)
    };
    let odd: Vec<_> = view.volumes.values().filter(differs).map(|v| (&v.name, v.version)).collect();
    assert_eq!(odd, []);
    assert_eq!(life.faults(), [""; 0]);
}

/// The change is one record; the volumes' own records follow behind it, and nobody can tell.
#[test]
fn a_change_of_every_volume_is_one_change() {
    let world = World::new(5);
    let creates: Vec<Command> = (0..VOLUMES).map(create).collect();
    world.prepare(&creates);
    world.live(&Fuse::new(), async |life| {
        life.run(set("v3", "on")).await.unwrap();
        life.settle().await;
        check(life, "on", 2);
    });
    // A daemon that died right after the commit shows the same, and brings the records up to date.
    world.live(&Fuse::new(), async |life| {
        check(life, "on", 2);
        let mut sights = life.house.store.subscribe();
        let whole = sights.wait_for(|sight| sight.view.global.sweeps.is_empty());
        tokio::time::timeout(PATIENCE, whole).await.expect("records follow").unwrap();
        life.settle().await;
        check(life, "on", 2);
        life.run(set("v7", "off")).await.unwrap();
        life.settle().await;
        check(life, "off", 3);
    });
}
