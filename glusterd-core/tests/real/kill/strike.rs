//! One strike: a command on one node, and at a moment of it a node that dies or falls silent.

use std::fmt;
use std::time::{Duration, Instant};

use super::super::dice::Random;
use super::super::field::Field;
use super::super::sandbox::Done;
use super::operations::{Asked, Operation};
use super::{GUEST, MEMBERS};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blow {
    /// SIGKILL to the daemon.
    Kill,
    /// Every packet dropped.
    Silence,
}

/// A silent node shall not hold up a change for longer.
const CHANGE_MAX: Duration = Duration::from_secs(45);
/// A node is silent for as long as the command waits, but not longer.
const SILENCE_MAX: Duration = Duration::from_secs(50);

#[derive(Clone, Debug)]
pub struct Strike {
    /// The node that runs the command.
    pub server: usize,
    pub victim: usize,
    pub blow: Blow,
    /// Between the command's begin and the blow.
    pub delay: Duration,
    /// Back after this time; unset: after the command has ended.
    pub back: Option<Duration>,
}

impl fmt::Display for Strike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Strike { server, victim, blow, delay, back } = self;
        let back = back.map_or("after it".to_owned(), |back| format!("after {back:?}"));
        write!(f, "node{server} asked, {blow:?} of node{victim} at {delay:?}, back {back}")
    }
}

impl Strike {
    pub fn draw(random: &mut Random, op: &Operation, delay: Duration) -> Strike {
        let server = *random.of(&MEMBERS);
        let victim = match op.moves_guest && random.one_in(4) {
            true => GUEST,
            false => *random.of(&MEMBERS),
        };
        let blow = if random.one_in(2) { Blow::Silence } else { Blow::Kill };
        let short = Duration::from_millis(100 + random.below(3000));
        let back = random.one_in(3).then_some(short);
        Strike { server, victim, blow, delay, back }
    }
}

/// What the CLI said, and when.
#[derive(Debug)]
pub struct Said {
    pub exit: i32,
    text: String,
    took: Duration,
}

/// Runs the command under the strike; everything is back afterwards.
pub fn struck(field: &Field, strike: &Strike, asked: &Asked) -> Result<Said, String> {
    if let Some(line) = &asked.first {
        let done = field.gluster(strike.server, line);
        if done.exit != 0 {
            return Err(format!("before it: {line}: {done:?}"));
        }
    }
    if let Some((node, until)) = &asked.until {
        field.until(until, super::super::field::SETTLE, |field| {
            field.node(*node).sh(until).exit == 0
        });
    }
    let (done, took) = std::thread::scope(|scope| {
        let command = scope.spawn(|| {
            let begun = Instant::now();
            (field.gluster(strike.server, &asked.line), begun.elapsed())
        });
        std::thread::sleep(strike.delay);
        match strike.blow {
            Blow::Kill => field.kill(strike.victim),
            Blow::Silence => field.cut_off(strike.victim),
        }
        let begun = Instant::now();
        let longest = strike.back.unwrap_or(SILENCE_MAX);
        while begun.elapsed() < longest && (strike.back.is_some() || !command.is_finished()) {
            std::thread::sleep(Duration::from_millis(20));
        }
        match strike.blow {
            Blow::Kill => field.start(strike.victim),
            Blow::Silence => field.heal(),
        }
        command.join().unwrap()
    });
    let Done { exit, out, err } = done;
    Ok(Said { exit, text: format!("{out}{err}"), took })
}

impl Said {
    /// `done`: the operation was; `same`: nothing has changed.
    pub fn judge(&self, strike: &Strike, done: bool, same: bool) -> Result<(), String> {
        if self.exit == 0 && !done {
            return Err(format!("reported as done, and is not: {self:?}"));
        }
        let struck_itself = strike.server == strike.victim;
        if !struck_itself && self.took > CHANGE_MAX {
            return Err(format!("a change that took {:?}: {self:?}", self.took));
        }
        // Whoever does not know has to say so.
        let open = self.text.contains("Whether the change was made shows");
        if self.exit != 0 && !struck_itself && done && !same && !open {
            return Err(format!("reported as failed, and was done: {self:?}"));
        }
        Ok(())
    }
}
