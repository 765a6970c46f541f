//! Signals: TERM and INT stop, HUP opens logs anew, USR1 dumps state, USR2 and PIPE do nothing.
//!
//! Facts: glusterfsd/src/glusterfsd.c:2266-2286 (v10.3). Exit status is the signal's number.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::lifecycle::Lifecycle;

/// The handlers, in force from creation on.
pub struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
    usr1: Signal,
    usr2: Signal,
    pipe: Signal,
}

impl Signals {
    /// Takes the signals over; needs a runtime.
    ///
    /// # Errors
    /// What sigaction gave.
    pub fn install() -> io::Result<Signals> {
        Ok(Signals {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            hup: signal(SignalKind::hangup())?,
            usr1: signal(SignalKind::user_defined1())?,
            usr2: signal(SignalKind::user_defined2())?,
            pipe: signal(SignalKind::pipe())?,
        })
    }

    /// Serves signals until one says stop; its number.
    pub async fn serve(&mut self, lifecycle: &Lifecycle) -> u8 {
        loop {
            tokio::select! {
                _ = self.term.recv() => return 15,
                _ = self.int.recv() => return 2,
                _ = self.hup.recv() => lifecycle.log.reopen(),
                _ = self.usr1.recv() => lifecycle.dump.notify_one(),
                _ = self.usr2.recv() => tracing::info!("SIGUSR2: there is no metrics file to write"),
                _ = self.pipe.recv() => {}
            }
        }
    }
}
