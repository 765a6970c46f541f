//! The conformance suite: what every Coordinator must do, as named cases any backend can run.
//!
//! A backend's test file is a [`Harness`] and `conformance::main(...)`. No backend is named here.
//! A new case is an entry in its group's file under `cases`; it names the statements it proves.

pub mod access;
mod bench;
mod case;
mod cases;
pub mod certificates;
mod cli;
mod dice;
mod extra;
mod fold;
mod harness;
pub mod history;
mod load;
mod mem;
mod namespaced;
pub mod network;
mod process;
mod proxy;
mod report;
mod run;
pub mod servers;
mod soak;
pub mod statements;
mod url;

pub use case::{Case, Client, Ctx, Stop, Verdict};
pub use cli::cli;
pub use dice::Dice;
pub use extra::{Admin, Administered};
pub use fold::Fold;
pub use harness::{Fault, Harness, Hooks, Need, Timing};
pub use mem::MemHarness;
pub use namespaced::Namespaced;
pub use process::ProcessHarness;
pub use proxy::{ProxyHarness, Tcp};
pub use run::{Outcome, Runner, main, seed};
pub use url::UrlHarness;

/// Every case, in the order of its group.
pub fn registry() -> impl Iterator<Item = &'static Case> {
    cases::GROUPS.iter().flat_map(|group| group.iter())
}
