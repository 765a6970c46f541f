//! One log record as a line of text, in GlusterFS's form.
//!
//! Pure. `[2026-11-22 19:27:21.584487 +0000] I [MSGID: 106479] [file.rs:12:room::file] 0-management: text [{key=value}]`
//!
//! Facts: libglusterfs/src/logging.c:837 and :1137 (v10.3), and stock's glusterd.log. Where C prints the
//! function's name we print the module's path.

use std::fmt::Write as _;
use std::time::SystemTime;

use chrono::{DateTime, Local, Utc};

use super::log_level::LogLevel;

/// Longest line, in bytes; a record may quote what a user sent.
pub const LINE_BYTES_MAX: usize = 16 * 1024;

/// What a record is made of.
#[derive(Clone, Debug)]
pub struct Record<'a> {
    pub level: LogLevel,
    pub msgid: Option<u64>,
    pub file: &'a str,
    pub line: u32,
    pub module: &'a str,
    /// Who speaks, `management` for the daemon itself.
    pub domain: &'a str,
    pub text: &'a str,
    pub fields: &'a [(&'static str, String)],
}

/// `2026-11-22 19:27:21.584487 +0000`
pub fn stamp(now: SystemTime, localtime: bool) -> String {
    const FORM: &str = "%Y-%m-%d %H:%M:%S%.6f %z";
    let now = DateTime::<Utc>::from(now);
    if localtime {
        now.with_timezone(&Local).format(FORM).to_string()
    } else {
        now.format(FORM).to_string()
    }
}

/// The whole line with its line end, at most [`LINE_BYTES_MAX`] bytes.
pub fn format(stamp: &str, record: &Record<'_>, with_msgid: bool) -> String {
    let file = record.file.rsplit('/').next().unwrap_or_default();
    let mut line = format!("[{stamp}] {} ", record.level.letter());
    if let (Some(msgid), true) = (record.msgid, with_msgid) {
        let _ = write!(line, "[MSGID: {msgid}] ");
    }
    let _ = write!(
        line,
        "[{file}:{}:{}] 0-{}: {}",
        record.line, record.module, record.domain, record.text
    );
    if !record.fields.is_empty() {
        let fields: Vec<String> =
            record.fields.iter().map(|(key, value)| format!("{{{key}={value}}}")).collect();
        let _ = write!(line, " [{}]", fields.join(", "));
    }
    if line.len() >= LINE_BYTES_MAX {
        shorten(&mut line, LINE_BYTES_MAX - 8);
        line.push_str(" ...");
    }
    line.push('\n');
    line
}

/// Cuts a text between two characters, to at most `bytes_max` bytes.
pub fn shorten(text: &mut String, bytes_max: usize) {
    if text.len() > bytes_max {
        let end = (0..=bytes_max).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn check(record: &Record<'_>, with_msgid: bool, want: &str) {
        let stamp =
            stamp(SystemTime::UNIX_EPOCH + Duration::from_micros(1_795_375_641_584_487), false);
        assert_eq!(format(&stamp, record, with_msgid), want);
    }

    const PLAIN: Record<'static> = Record {
        level: LogLevel::Info,
        msgid: Some(106_479),
        file: "glusterd-core/src/boot/start.rs",
        line: 12,
        module: "boot::start",
        domain: "management",
        text: "hello",
        fields: &[],
    };

    #[test]
    fn it_looks_like_stocks() {
        let start = "[2026-11-22 19:27:21.584487 +0000]";
        check(
            &PLAIN,
            true,
            &format!("{start} I [MSGID: 106479] [start.rs:12:boot::start] 0-management: hello\n"),
        );
        check(&PLAIN, false, &format!("{start} I [start.rs:12:boot::start] 0-management: hello\n"));
        let fields = [("errno", "2".to_owned()), ("error", "No such file".to_owned())];
        let record = Record { level: LogLevel::Critical, msgid: None, fields: &fields, ..PLAIN };
        check(
            &record,
            true,
            &format!(
                "{start} C [start.rs:12:boot::start] 0-management: hello [{{errno=2}}, {{error=No such file}}]\n"
            ),
        );
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let text = "é".repeat(LINE_BYTES_MAX);
        let line = format("", &Record { text: &text, ..PLAIN }, true);
        assert!(line.len() <= LINE_BYTES_MAX && line.ends_with(" ...\n"));
    }
}
