//! What users of such a daemon suffered from, one test for each row of that list, named after it.
//!
//! In the gate each runs a small share of its cases; the full count is a number in the environment,
//! named beside each, for example:
//! `PAIN_01_CASES=200 cargo test --release -p glusterd-core --test real pain_01 -- --nocapture`
//!
//! | row | pain | here |
//! |---|---|---|
//! | 1 | nodes reject each other over a checksum | `truth`, `PAIN_01_CASES=200` |
//! | 2 | "Another transaction is in progress", locks that stay | `turns` |
//! | 3 | monitoring makes commands fail | `turns`, `PAIN_03_ROUNDS=100` |
//! | 4 | one silent node blocks everyone | `silence`, on every coordination service |
//! | 5 | a cut-off minority changes the configuration | `silence` |
//! | 6 | operations half done by a crash | `halves`, `PAIN_06_POINTS=200` |
//! | 7 | "already part of a volume" after a failed create | `halves` |
//! | 8 | power cuts | `power`, `PAIN_08_CUTS=50` |
//! | 10 | slow with many volumes | `size`, `PAIN_10_VOLUMES=2000` |
//! | 11 | memory grows with polling | `size`, `PAIN_11_SECONDS=1200` |
//! | 12 | a node's name and address cannot change | `names` |
//! | 13 | a dead server is replaced by hand | `truth` |
//! | 15 | server quorum stops bricks for good | `quorum`, `PAIN_15_CUTS=100` |
//! | 17 | rebalance loses its state | `motion`, `PAIN_17_RESTARTS=50` |
//! | 18 | one volfile server | `volfiles` |
//! | 21 | anybody may speak on port 24007 | `strangers` |
//!
//! The row of more than a hundred nodes (25) is a simulation in one process, with the house in a box: what a change sends to
//! whom is a test there (`behind`), and the benchmark `scale` counts messages. A hundred real daemons: `BENCHMARKS.md`.

mod halves;
mod motion;
mod names;
mod power;
mod quorum;
mod silence;
mod size;
mod strangers;
mod truth;
mod turns;
mod volfiles;
