//! GlusterFS's log levels: names, letters, and where tracing's levels fall among them.
//!
//! Facts: names and their order, libglusterfs/src/logging.c and glusterfs/logging.h (v10.3).

use std::fmt;

use tracing::Level;

/// From silent to loud; a record is written when its level is at or below the one set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum LogLevel {
    None,
    Critical,
    Error,
    Warning,
    Info,
    Debug,
    Trace,
}

const NAMES: &[(&str, LogLevel)] = &[
    ("NONE", LogLevel::None),
    ("CRITICAL", LogLevel::Critical),
    ("ERROR", LogLevel::Error),
    ("WARNING", LogLevel::Warning),
    ("INFO", LogLevel::Info),
    ("DEBUG", LogLevel::Debug),
    ("TRACE", LogLevel::Trace),
];

impl LogLevel {
    /// The name in any case, as the `--log-level` option takes it.
    pub fn parse(text: &str) -> Option<LogLevel> {
        NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, level)| *level)
    }

    /// The upper-case name.
    pub fn name(self) -> &'static str {
        NAMES[self as usize].0
    }

    /// The letter in a log line.
    pub fn letter(self) -> char {
        match self {
            LogLevel::None => 'N',
            LogLevel::Critical => 'C',
            LogLevel::Error => 'E',
            LogLevel::Warning => 'W',
            LogLevel::Info => 'I',
            LogLevel::Debug => 'D',
            LogLevel::Trace => 'T',
        }
    }

    /// Where one of tracing's levels belongs; critical records are errors with a `critical` field.
    pub fn of(level: Level) -> LogLevel {
        match level {
            Level::ERROR => LogLevel::Error,
            Level::WARN => LogLevel::Warning,
            Level::INFO => LogLevel::Info,
            Level::DEBUG => LogLevel::Debug,
            Level::TRACE => LogLevel::Trace,
        }
    }

    pub(super) fn from_u8(number: u8) -> LogLevel {
        NAMES.get(usize::from(number)).map_or(LogLevel::Trace, |(_, level)| *level)
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_comes_back_in_any_case() {
        for (name, level) in NAMES {
            assert_eq!(LogLevel::parse(name), Some(*level));
            assert_eq!(LogLevel::parse(&name.to_lowercase()), Some(*level));
            assert_eq!((level.name(), LogLevel::from_u8(*level as u8)), (*name, *level));
        }
        assert_eq!(LogLevel::parse("BOGUS"), None);
        assert_eq!(LogLevel::parse("_DEBUG_"), None);
    }
}
