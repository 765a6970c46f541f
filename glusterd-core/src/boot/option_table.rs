//! Every option of stock's `glusterd` command line, as data.
//!
//! `glusterd` shares its table with bricks, mounts and the self-heal daemon; the rows that mean nothing
//! to a management daemon are accepted, checked as stock checks them, and dropped.
//!
//! Facts: glusterfsd/src/glusterfsd.c:97-295 (names), :790-1410 (checks and their texts), v10.3.

/// What follows an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    Nothing,
    Value(&'static str),
    /// Only in the attached form `--name=VALUE`.
    MaybeValue(&'static str),
}

/// What a value must be; the text is what is wrong otherwise, before the value.
#[derive(Clone, Copy, Debug)]
pub enum Check {
    Any,
    /// on/off, yes/no, true/false, enable/disable, 1/0. The value goes where `{}` is, or to the end.
    Bool(&'static str),
    BoolOrAuto(&'static str),
    /// An unsigned number within bounds; the second text is for one outside of them.
    Within(&'static str, u32, u32, &'static str),
    /// A whole number from the first to the second.
    Number(&'static str, i64, i64),
    Seconds(&'static str),
    OneOf(&'static str, &'static [&'static str]),
}

#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub long: &'static str,
    pub short: Option<char>,
    pub takes: Takes,
    pub check: Check,
    /// Empty: left out of the help, as in stock.
    pub help: &'static str,
}

const ROW: Row = Row { long: "", short: None, takes: Takes::Nothing, check: Check::Any, help: "" };

const fn flag(long: &'static str, help: &'static str) -> Row {
    Row { long, help, ..ROW }
}

const fn value(long: &'static str, name: &'static str, help: &'static str) -> Row {
    Row { long, takes: Takes::Value(name), help, ..ROW }
}

const fn switch(long: &'static str, wrong: &'static str, help: &'static str) -> Row {
    Row { long, takes: Takes::MaybeValue("BOOL"), check: Check::Bool(wrong), help, ..ROW }
}

const I32: (i64, i64) = (i32::MIN as i64, i32::MAX as i64);
const NO_USE: &str = "Accepted; of no effect in a management daemon";

use Check::{BoolOrAuto, Number, OneOf, Seconds, Within};

pub const OPTIONS: &[Row] = &[
    Row { short: Some('s'), ..value("volfile-server", "SERVER", NO_USE) },
    Row {
        short: Some('f'),
        ..value(
            "volfile",
            "VOLFILE",
            "Configuration volfile [default: /etc/glusterfs/glusterd.vol]",
        )
    },
    value("spec-file", "VOLFILE", ""),
    Row {
        short: Some('L'),
        ..value(
            "log-level",
            "LOGLEVEL",
            "DEBUG, INFO, WARNING, ERROR, CRITICAL, TRACE or NONE [default: INFO]",
        )
    },
    Row {
        short: Some('l'),
        ..value(
            "log-file",
            "LOGFILE",
            "Log file, - for standard error [default: /var/log/glusterfs/glusterd.log]",
        )
    },
    Row {
        check: OneOf("unknown logger", &["gluster-log", "syslog"]),
        ..value("logger", "LOGGER", "gluster-log or syslog [default: gluster-log]")
    },
    Row {
        check: OneOf("unknown log format", &["no-msg-id", "with-msg-id"]),
        ..value("log-format", "LOG-FORMAT", "no-msg-id or with-msg-id [default: with-msg-id]")
    },
    Row {
        check: Within("unknown log buf size option", 0, 20, "Invalid log buf size"),
        ..value("log-buf-size", "LOG-BUF-SIZE", "Accepted; lines are never held back")
    },
    Row {
        check: Within("unknown log flush timeout option", 30, 300, "Invalid log flush timeout"),
        ..value("log-flush-timeout", "LOG-FLUSH-TIMEOUT", "Accepted; lines are never held back")
    },
    Row {
        check: Number("unknown volfile server port", 0, 65535),
        ..value("volfile-server-port", "PORT", NO_USE)
    },
    value("volfile-server-transport", "TRANSPORT", NO_USE),
    value("volfile-id", "KEY", NO_USE),
    Row {
        short: Some('p'),
        ..value("pid-file", "PIDFILE", "File that gets the daemon's process id")
    },
    Row { short: Some('S'), ..value("socket-file", "SOCKFILE", NO_USE) },
    Row { short: Some('N'), ..flag("no-daemon", "Run in foreground") },
    value("run-id", "RUN-ID", ""),
    flag("debug", "Same as --no-daemon --log-level=DEBUG --log-file=-"),
    value("volume-name", "XLATOR-NAME", NO_USE),
    value(
        "xlator-option",
        "XLATOR-NAME.OPTION=VALUE",
        "Override an option of the configuration volfile, management.KEY=VALUE; may be repeated",
    ),
    flag("read-only", NO_USE),
    flag("acl", NO_USE),
    flag("selinux", NO_USE),
    flag("capability", NO_USE),
    value("subdir-mount", "SUBDIR-PATH", NO_USE),
    Row {
        short: Some('n'),
        ..value(
            "print-netgroups",
            "NETGROUP-FILE",
            "Not available: stock's packages lack the NFS server as well",
        )
    },
    Row {
        short: Some('e'),
        ..value(
            "print-exports",
            "EXPORTS-FILE",
            "Not available: stock's packages lack the NFS server as well",
        )
    },
    flag("print-xlatordir", "Print the directory of the translators"),
    flag("print-statedumpdir", "Print the directory of state dumps"),
    flag("print-logdir", "Print the default log directory"),
    flag("print-libexecdir", "Print the directory of the helper programs"),
    value("volfile-max-fetch-attempts", "0", ""),
    flag("aux-gfid-mount", NO_USE),
    switch("enable-ino32", "unknown enable-ino32 setting", NO_USE),
    flag("worm", NO_USE),
    switch("mac-compat", "invalid value {} for mac-compat", NO_USE),
    value("brick-name", "BRICK-NAME", ""),
    value("brick-port", "BRICK-PORT", ""),
    switch("fopen-keep-cache", "unknown cache setting", NO_USE),
    Row { takes: Takes::MaybeValue("BOOL"), ..flag("global-timer-wheel", NO_USE) },
    flag("thin-client", NO_USE),
    switch(
        "global-threading",
        "Invalid value for global threading",
        "Handed on to the daemons started",
    ),
    Row {
        takes: Takes::MaybeValue("BOOL|auto"),
        check: BoolOrAuto("unknown direct I/O mode setting"),
        ..flag("direct-io-mode", NO_USE)
    },
    Row { check: Seconds("unknown entry timeout"), ..value("entry-timeout", "SECONDS", NO_USE) },
    Row {
        check: Seconds("unknown negative timeout"),
        ..value("negative-timeout", "SECONDS", NO_USE)
    },
    value("attribute-timeout", "SECONDS", NO_USE),
    Row {
        check: Number("unknown group list timeout", I32.0, I32.1),
        ..value("gid-timeout", "SECONDS", NO_USE)
    },
    flag("resolve-gids", NO_USE),
    Row {
        check: Number("unknown LRU limit option", I32.0, I32.1),
        ..value("lru-limit", "N", NO_USE)
    },
    Row {
        check: Number("unknown invalidate limit option", I32.0, I32.1),
        ..value("invalidate-limit", "N", NO_USE)
    },
    Row {
        check: Number("unknown background qlen option", I32.0, I32.1),
        ..value("background-qlen", "N", NO_USE)
    },
    Row {
        check: Number("unknown congestion threshold option", I32.0, I32.1),
        ..value("congestion-threshold", "N", NO_USE)
    },
    Row {
        check: Number("unknown oom_score_adj value", -1000, 1000),
        ..value("oom-score-adj", "INTEGER", NO_USE)
    },
    Row { check: Number("unknown client pid", I32.0, I32.1), ..value("client-pid", "PID", "") },
    switch("no-root-squash", "unknown no-root-squash setting", NO_USE),
    value("user-map-root", "USER", ""),
    value("dump-fuse", "PATH", NO_USE),
    flag("volfile-check", NO_USE),
    flag("no-mem-accounting", ""),
    value("fuse-mountopts", "OPTIONS", ""),
    switch("use-readdirp", "unknown use-readdirp setting", NO_USE),
    switch("secure-mgmt", "unknown secure-mgmt setting", "TLS on management connections"),
    flag("localtime-logging", "Local time in log lines"),
    value("process-name", "PROCESS-NAME", ""),
    switch("event-history", "unknown event-history setting", NO_USE),
    Row {
        takes: Takes::MaybeValue("INTEGER"),
        check: Within("unknown reader thread count option", 1, 64, "Invalid reader thread count"),
        ..flag("reader-thread-count", NO_USE)
    },
    switch("kernel-writeback-cache", "unknown kernel writeback cache setting", NO_USE),
    Row {
        takes: Takes::MaybeValue("NS"),
        check: Within(
            "unknown attribute times granularity option",
            0,
            1_000_000_000,
            "Invalid attribute times granularity value",
        ),
        ..flag("attr-times-granularity", NO_USE)
    },
    switch("fuse-flush-handle-interrupt", "unknown fuse flush handle interrupt setting", ""),
    switch("auto-invalidation", "unknown auto-invalidation setting", NO_USE),
    Row {
        check: Within(
            "Invalid fuse-dev-eperm-ratelimit-ns option",
            0,
            1_000_000_000,
            "Invalid fuse-dev-eperm-ratelimit-ns value",
        ),
        ..value("fuse-dev-eperm-ratelimit-ns", "NS", "")
    },
    value("fs-display-name", "DISPLAY-NAME", ""),
    flag("brick-mux", NO_USE),
    Row {
        takes: Takes::MaybeValue("ENGINE"),
        ..flag("io-engine", "Handed on to the daemons started")
    },
    Row { short: Some('?'), ..flag("help", "Give this help list") },
    flag("usage", "Give a short usage message"),
    Row { short: Some('V'), ..flag("version", "Print program version") },
];

/// A boolean in the words GlusterFS accepts (libglusterfs/src/common-utils.c:1923).
pub fn boolean(text: &str) -> Option<bool> {
    let is = |words: &[&str]| words.iter().any(|word| word.eq_ignore_ascii_case(text));
    if is(&["1", "on", "yes", "true", "enable"]) {
        Some(true)
    } else if is(&["0", "off", "no", "false", "disable"]) {
        Some(false)
    } else {
        None
    }
}

/// What stock says about a bad value, or nothing.
pub fn complaint(check: Check, text: &str) -> Option<String> {
    match check {
        Check::Any => None,
        Check::Bool(_) if boolean(text).is_some() => None,
        Check::Bool(wrong) if wrong.contains("{}") => {
            Some(wrong.replace("{}", &format!("\"{text}\"")))
        }
        Check::Bool(wrong) => Some(format!("{wrong} \"{text}\"")),
        BoolOrAuto(wrong) => {
            (boolean(text).is_none() && text != "auto").then(|| format!("{wrong} \"{text}\""))
        }
        Within(wrong, min, max, outside) => match text.parse::<u32>() {
            Err(_) => Some(format!("{wrong} {text}")),
            Ok(number) if number < min || number > max => {
                Some(format!("{outside} {text}. Valid range: [\"{min}, {max}\"]"))
            }
            Ok(_) => None,
        },
        Number(wrong, min, max) => match text.parse::<i64>() {
            Ok(number) if (min..=max).contains(&number) => None,
            _ => Some(format!("{wrong} {text}")),
        },
        Seconds(wrong) => match text.parse::<f64>() {
            Ok(number) if number >= 0.0 => None,
            _ => Some(format!("{wrong} {text}")),
        },
        OneOf(wrong, words) => (!words.contains(&text)).then(|| format!("{wrong} {text}")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_name_and_no_letter_twice() {
        let mut longs = HashSet::new();
        let mut shorts = HashSet::new();
        for row in OPTIONS {
            assert!(longs.insert(row.long), "{}", row.long);
            assert!(row.short.is_none_or(|c| shorts.insert(c)), "{:?}", row.short);
        }
        assert_eq!(shorts.len(), 11);
    }

    #[test]
    fn the_words_of_a_boolean() {
        assert_eq!(boolean("ENABLE"), Some(true));
        assert_eq!(boolean("0"), Some(false));
        assert_eq!(boolean("maybe"), None);
        assert_eq!(boolean(""), None);
    }
}
