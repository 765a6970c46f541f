//! Options that stock does not know: the way to settings of this daemon through the stock CLI.
//!
//! Apart from `table`, which is stock's map and is walked against it. They are found and completed
//! as all others, are in no volfile and no help, and `volume get all all` lists those that are set.

use super::opt::{OPT, Opt, Scope};

/// Which nodes keep the data of the built-in store: names of peers, comma between them.
pub const MASTERS: &str = "cluster.coordination-masters";

pub const OWN: &[Opt] = &[Opt {
    key: MASTERS,
    xlator: "mgmt/glusterd",
    option: "coordination-masters",
    scope: Scope::Pool,
    map_default: Some("chosen by the nodes"),
    ..OPT
}];

/// Whether it is one of these.
pub fn is_own(opt: &Opt) -> bool {
    OWN.iter().any(|own| own.key == opt.key)
}

#[cfg(test)]
mod tests {
    use super::super::table::TABLE;
    use super::*;

    #[test]
    fn stock_knows_none_of_them() {
        for own in OWN {
            assert!(TABLE.iter().all(|opt| opt.key != own.key), "{}", own.key);
            assert!(own.scope == Scope::Pool && own.map_default.is_some(), "{}", own.key);
        }
    }
}
