//! Writes volumes anew that lack a sweep of the pool, and forgets sweeps that no record lacks.
//!
//! Pure. Nothing that anyone sees changes: the view shows the sweeps on top of the records already.
//! See docs/decisions/0022.

use crate::model::Global;
use crate::store::{Edit, Sight};

/// Some of the changes that are due; none when the records say it all.
pub fn due(sight: &Sight, at_most: usize) -> Vec<Edit> {
    let view = &sight.view;
    if view.global.sweeps.is_empty() {
        return Vec::new();
    }
    let volumes = sight.behind.iter().filter_map(|name| view.volumes.get(name)).take(at_most);
    let edits: Vec<Edit> =
        volumes.map(|volume| Edit::PutVolume(Box::new((**volume).clone()))).collect();
    match edits.is_empty() {
        false => edits,
        true => vec![Edit::PutGlobal(Global { sweeps: vec![], ..(*view.global).clone() })],
    }
}
