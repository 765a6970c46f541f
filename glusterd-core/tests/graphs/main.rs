//! Properties of graphs that hold for every volume and every legal set of options, and what stock's
//! own programs say to them.

mod effects;
mod pictures;
mod sample;
mod stock;

use glusterd_core::options::TABLE;
use glusterd_core::volgen::{Graph, graph};
use proptest::collection::vec;
use proptest::prelude::*;
use sample::{LAYOUTS, facts, legal, some_specs, try_set, volume};

/// A volume with a few options set; row and value are picked by number.
pub fn configured(
    layout: usize,
    subvolumes: usize,
    picks: &[(usize, usize)],
) -> glusterd_core::model::Volume {
    let mut volume = volume(LAYOUTS[layout % LAYOUTS.len()], subvolumes);
    for (row, value) in picks {
        let opt = &TABLE[row % TABLE.len()];
        let values = legal(opt);
        if let Some(value) = values.get(value % values.len().max(1)) {
            try_set(&mut volume, opt.key, value);
        }
    }
    volume
}

/// One top, everything below it is reached, children come first, and the text says the same.
fn check_sound(graph: &Graph) {
    let nodes = graph.nodes();
    let mut parents = vec![0; nodes.len()];
    for (at, node) in nodes.iter().enumerate() {
        for &child in &node.children {
            assert!(child < at, "{} stands above its child", node.name);
            parents[child] += 1;
        }
        for (key, value) in node.options.iter() {
            assert!(
                !key.is_empty() && !key.contains([' ', '\n']) && !value.contains('\n'),
                "{key}"
            );
        }
    }
    let tops = parents.iter().filter(|&&count| count == 0).count();
    assert_eq!((tops, parents.last()), (1, Some(&0)), "one top, printed last");
    assert!(parents.iter().all(|&count| count <= 1), "no node has two parents");
    let text = graph.text();
    assert_eq!(text.matches("end-volume\n").count(), nodes.len());
    assert!(!text.contains("\n\n\n") && text.ends_with("end-volume\n"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn every_graph_is_one_tree(
        layout in 0..LAYOUTS.len(),
        subvolumes in 1usize..4,
        picks in vec((0..TABLE.len(), 0usize..6), 0..14),
    ) {
        let volume = configured(layout, subvolumes, &picks);
        for spec in some_specs(&volume) {
            check_sound(&graph(&volume, spec, &facts()).unwrap());
        }
    }

    /// The order in which options were set is no part of a volfile.
    #[test]
    fn a_restart_changes_no_volfile(
        layout in 0..LAYOUTS.len(),
        picks in vec((0..TABLE.len(), 0usize..6), 0..14),
    ) {
        let volume = configured(layout, 2, &picks);
        let mut other = volume.clone();
        let pairs = volume.options.iter().rev();
        let pairs = pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        other.options = glusterd_core::model::OptionList::from_newest_first(pairs);
        let texts = |volume| glusterd_core::volgen::files(volume, &facts()).unwrap();
        prop_assert_eq!(texts(&volume), texts(&other));
    }
}

/// The samples would be worth nothing if most of their values were refused.
#[test]
fn made_up_values_are_legal() {
    let refused: Vec<_> = TABLE
        .iter()
        .flat_map(|opt| legal(opt).into_iter().map(move |value| (opt, value)))
        .filter(|(opt, value)| sample::refused(opt, value))
        .map(|(opt, value)| format!("{} {value}", opt.key))
        .collect();
    assert_eq!(refused, [] as [String; 0]);
}
