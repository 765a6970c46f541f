//! Store files against the recordings, and the tree written, read back and swept.

use crate::fixture::{Names, Record, World, records};
use glusterd_core::mirror::{Mirror, Observed, parse, text};
use glusterd_core::model::{Global, NodeId, OptionList, VolumeName};
use glusterd_core::store::{Freshness, View};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;

/// Reading a volume's files and writing them again gives the same bytes.
#[test]
fn store_files_come_back_as_they_were() {
    for record in records() {
        let world = World::of(&record);
        let check = |path: String, ours: String| {
            let mut names = Names(world.names.0.clone());
            let stock = names.fill(&record.store[&path]);
            assert_eq!(ours, stock, "{}: {path}", record.name);
        };
        for (name, volume) in &world.volumes {
            check(format!("vols/{name}/info"), text::info(volume, world.op_version));
            for brick in &volume.bricks {
                let file = text::file_of(&brick.host, &brick.path);
                let path = format!("vols/{name}/bricks/{file}");
                let port = parse::listen_port(&Names::default().fill(&record.store[&path]));
                let mut brick = brick.clone();
                brick.fsid = 1;
                check(path, text::brick(&brick, port.unwrap_or(0)));
            }
            if let Some(arbiter) = &volume.thin_arbiter {
                let file = text::file_of(&arbiter.host, &arbiter.path);
                check(format!("vols/{name}/bricks/{file}"), text::thin_arbiter(volume, arbiter));
            }
        }
        check("glusterd.info".into(), text::glusterd_info(world.me, world.op_version));
        let global = parse::options(&record.store["options"], world.op_version).unwrap();
        // Stock's own order depends on which command wrote last.
        let sorted = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
        let ours = text::options(&global);
        assert_eq!(sorted(&ours), sorted(&record.store["options"]), "{}", record.name);
        let again = parse::options(&ours, world.op_version).unwrap();
        assert_eq!(text::options(&again), ours);
    }
}

fn view(world: &World, record: &Record) -> View {
    let mut view = View::alone(world.me);
    view.freshness = Freshness::Current;
    view.volumes = Arc::new(world.volumes.clone());
    view.global = Arc::new(parse::options(&record.store["options"], world.op_version).unwrap());
    view
}

/// Every file below a folder, with its text.
fn files(dir: &Path) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let mut open = vec![dir.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned();
                all.insert(name, fs::read_to_string(&path).unwrap());
            }
        }
    }
    all
}

/// What goes into the tree comes out of it, and writing it twice writes nothing.
#[test]
fn every_recorded_configuration_survives_the_tree() {
    for record in records().iter().filter(|record| record.name != "type-disperse-counts") {
        let world = World::of(record);
        let view = view(&world, record);
        let dir = tempfile::tempdir().unwrap();
        let mirror = Mirror::new(dir.path(), None);
        let report = mirror.apply(None, &view, |_| Observed::default());
        assert_eq!(report.damage, [], "{}", record.name);
        assert_eq!(report.volumes.len(), view.volumes.len(), "{}", record.name);
        let stock: BTreeSet<_> =
            record.store.keys().filter(|name| !name.ends_with(".vol")).cloned().collect();
        let ours = files(dir.path());
        // Quota's own files and the geo-replication mark are made by what they serve.
        let missing: Vec<_> = stock
            .iter()
            .filter(|name| !ours.contains_key(*name) && !name.contains("/quota."))
            .collect();
        assert!(missing.is_empty(), "{}: {missing:?}", record.name);

        let loaded = mirror.load(world.me);
        assert_eq!(loaded.damage, [], "{}", record.name);
        assert_eq!(loaded.view.volumes, view.volumes, "{}", record.name);
        assert_eq!(loaded.view.global, view.global, "{}", record.name);

        let again = mirror.apply(None, &view, |_| Observed::default());
        assert!(!again.changed_volfiles(), "{}", record.name);
        assert_eq!(files(dir.path()), ours, "{}", record.name);
    }
}

fn sample() -> (tempfile::TempDir, Mirror, View) {
    let record = records().into_iter().find(|record| record.name == "svc-all/on").unwrap();
    let view = view(&World::of(&record), &record);
    let dir = tempfile::tempdir().unwrap();
    let mirror = Mirror::new(dir.path(), None);
    (dir, mirror, view)
}

#[test]
fn what_is_gone_from_the_image_goes_from_the_tree_and_nothing_else_does() {
    let (dir, mirror, view) = sample();
    fs::create_dir_all(dir.path().join("vols/foreign")).unwrap();
    fs::write(dir.path().join("vols/foreign/info"), "x=1\n").unwrap();
    mirror.apply(None, &view, |_| Observed::default());
    assert!(dir.path().join("quotad/quotad.vol").exists());

    let mut later = view.clone();
    Arc::make_mut(&mut later.volumes).clear();
    let report = mirror.apply(Some(&view), &later, |_| Observed::default());
    assert_eq!(report.damage, []);
    assert_eq!(report.services.len(), 3);
    let left = files(dir.path());
    let left: Vec<_> = left.keys().map(String::as_str).collect();
    assert_eq!(
        left,
        [
            "coordination/mirror.info",
            "glusterd.info",
            "glusterd.upgrade",
            "options",
            "vols/foreign/info"
        ]
    );
}

/// The sweep also finds what went while the daemon was down.
#[test]
fn a_restart_finishes_a_delete() {
    let (dir, mirror, view) = sample();
    mirror.apply(None, &view, |_| Observed::default());
    fs::create_dir_all(dir.path().join("trash/some.deleted/bricks")).unwrap();
    let mut later = view.clone();
    let name = later.volumes.keys().next().unwrap().clone();
    Arc::make_mut(&mut later.volumes).remove(&name);
    mirror.apply(None, &later, |_| Observed::default());
    assert!(!dir.path().join("vols").join(name.as_str()).exists());
    assert_eq!(fs::read_dir(dir.path().join("trash")).unwrap().count(), 0);
}

#[test]
fn a_stale_image_changes_nothing() {
    let (dir, mirror, view) = sample();
    mirror.apply(None, &view, |_| Observed::default());
    let before = files(dir.path());
    let loaded = mirror.load(view.me).view;
    let mut empty = View::alone(view.me);
    empty.freshness = Freshness::Stale;
    for stale in [loaded, empty] {
        mirror.apply(None, &stale, |_| Observed::default());
        assert_eq!(files(dir.path()), before);
    }
}

#[test]
fn one_option_rewrites_one_volume() {
    let (_dir, mirror, view) = sample();
    mirror.apply(None, &view, |_| Observed::default());
    let mut later = view.clone();
    let name = VolumeName::parse("v2").unwrap();
    let mut volume = (*later.volumes[&name]).clone();
    volume.options.set("performance.write-behind", "off");
    Arc::make_mut(&mut later.volumes).insert(name.clone(), Arc::new(volume));
    let report = mirror.apply(Some(&view), &later, |_| Observed::default());
    assert_eq!(report.volumes, BTreeSet::from([name]));
    assert_eq!(report.services, []);
}

/// One bad file costs its volume, not the others.
#[test]
fn damage_is_named_and_the_rest_is_read() {
    let check = |file: &str, text: &str, volumes: usize| {
        let (dir, mirror, view) = sample();
        mirror.apply(None, &view, |_| Observed::default());
        fs::create_dir_all(dir.path().join("peers")).unwrap();
        fs::write(dir.path().join(file), text).unwrap();
        let loaded = mirror.load(view.me);
        assert_eq!(loaded.view.volumes.len(), volumes, "{file}");
        assert_eq!(loaded.damage.len(), 1, "{file}: {:?}", loaded.damage);
    };
    check("vols/v1/info", "", 2);
    check("vols/v1/info", "type\n", 2);
    check("vols/v1/info", "count=4000000000\n", 2);
    check("vols/v2/bricks/node1:-mnt-a-b1", "uuid=x\n", 2);
    check("options", "=\n", 3);
    check("glusterd.info", "UUID=\n", 3);
    check("peers/x", "uuid=1\n", 3);
}

#[test]
fn peers_and_ports_show() {
    use glusterd_core::model::{Peer, PeerState};
    let (dir, mirror, mut view) = sample();
    let id = NodeId::fresh();
    let peer = Peer {
        id,
        hostnames: vec!["node2".into(), "10.0.0.2".into()],
        state: PeerState::Befriended,
    };
    Arc::make_mut(&mut view.peers).insert(id, peer.clone());
    let volume = view.volumes.values().next().unwrap().clone();
    let mut observed = Observed::default();
    observed.brick_ports.insert(volume.bricks[0].reference(), 49_155);
    mirror.apply(None, &view, |_| observed.clone());
    assert_eq!(
        fs::read_to_string(dir.path().join(format!("peers/{id}"))).unwrap(),
        format!("uuid={id}\nstate=3\nhostname1=node2\nhostname2=10.0.0.2\n")
    );
    assert_eq!(mirror.load(view.me).view.peers[&id], peer);
    let brick = &volume.bricks[0];
    let file = format!("vols/{}/bricks/{}", volume.name, text::file_of(&brick.host, &brick.path));
    let port = || parse::listen_port(&fs::read_to_string(dir.path().join(&file)).unwrap());
    assert_eq!(port(), Some(49_155));
    mirror.observe(&volume, &Observed::default());
    assert_eq!(port(), None);
    // Only what differs is looked at: a new name is written, a member that left loses its file.
    let before = view.clone();
    assert_eq!(before.freshness, Freshness::Current);
    let renamed = Peer { hostnames: vec!["node3".into()], ..peer };
    Arc::make_mut(&mut view.peers).insert(id, renamed.clone());
    mirror.apply(Some(&before), &view, |_| observed.clone());
    assert_eq!(mirror.load(view.me).view.peers[&id], renamed);
    let named = view.clone();
    Arc::make_mut(&mut view.peers).remove(&id);
    mirror.apply(Some(&named), &view, |_| observed.clone());
    assert_eq!(fs::read_dir(dir.path().join("peers")).unwrap().count(), 0);
    mirror.apply(Some(&view), &named, |_| observed.clone());
    assert_eq!(fs::read_dir(dir.path().join("peers")).unwrap().count(), 1);
    mirror.apply(None, &view, |_| observed.clone());
    assert_eq!(fs::read_dir(dir.path().join("peers")).unwrap().count(), 0);
}

/// Text that no daemon wrote is an error or a value, never a panic; cut anywhere.
#[test]
fn cut_files_do_not_panic() {
    let (dir, mirror, view) = sample();
    mirror.apply(None, &view, |_| Observed::default());
    let info = fs::read_to_string(dir.path().join("vols/v3/info")).unwrap();
    let bricks = BTreeMap::new();
    for cut in 0..info.len() {
        let name = VolumeName::parse("v3").unwrap();
        assert!(parse::volume(&name, &info[..cut], &bricks, None).is_err(), "{cut}");
    }
    let global =
        Global { op_version: 1, version: 7, options: OptionList::default(), ..Global::default() };
    let text = text::options(&global);
    for cut in 0..text.len() {
        let _ = parse::options(&text[..cut], 1);
    }
}
