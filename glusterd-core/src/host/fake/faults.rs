//! What goes wrong on a machine in memory.

use std::collections::VecDeque;

/// What goes wrong, and how often.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Exit codes of the next launches; 0 lets one pass. Afterwards the percentage decides.
    pub next_exits: VecDeque<i32>,
    /// Launches out of a hundred that fail with code 1.
    pub launch_fails_percent: u64,
    /// Processes do not end on TERM.
    pub ignores_term: bool,
}
