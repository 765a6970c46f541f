//! Time that the monotonic clock does not count: the machine was suspended.
//!
//! `Instant` stops in suspend, `/proc/uptime` does not; the difference is time others have seen
//! pass (G4). Where the file is missing nothing is added.

use std::time::{Duration, Instant};

/// Less is the file's resolution, not a suspend.
const NOISE: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub struct Clock {
    monotonic: Instant,
    boot: Option<Duration>,
}

impl Clock {
    pub fn start() -> Clock {
        Clock { monotonic: Instant::now(), boot: uptime() }
    }

    /// How long the machine was suspended since the last call.
    pub fn slept(&mut self) -> Duration {
        let before = std::mem::replace(self, Clock::start());
        let (Some(was), Some(is)) = (before.boot, self.boot) else { return Duration::ZERO };
        uncounted(self.monotonic - before.monotonic, is.saturating_sub(was))
    }
}

fn uncounted(monotonic: Duration, boot: Duration) -> Duration {
    Some(boot.saturating_sub(monotonic)).filter(|gap| *gap > NOISE).unwrap_or_default()
}

fn uptime() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/uptime").ok()?;
    let seconds: f64 = text.split_whitespace().next()?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_gap_between_the_clocks_counts() {
        let s = Duration::from_secs;
        assert_eq!(uncounted(s(5), s(5)), s(0));
        assert_eq!(uncounted(s(5), s(5) + Duration::from_millis(20)), s(0));
        assert_eq!(uncounted(s(5), s(65)), s(60));
        assert_eq!(uncounted(s(5), s(4)), s(0));
    }
}
