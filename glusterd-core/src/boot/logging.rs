//! The `tracing` subscriber: events in, GlusterFS log lines out.
//!
//! Events of our own crates are logged as `management`. Three fields mean something: `msgid` (a number)
//! becomes the MSGID, `critical` (any value) makes an error critical, `domain` replaces `management`.
//! Other crates' events are written one level later, they are chattier than an administrator is patient.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::SystemTime;

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record as SpanRecord};
use tracing::subscriber::{Interest, SetGlobalDefaultError};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

use super::log_level::LogLevel;
use super::log_line::{self, Record};
use super::log_sink::Sink;
use super::settings::{LogFormat, Settings};

/// Targets that begin like this are the project's own.
const OWN: &[&str] = &["glusterd", "coord_api", "backend_", "conformance"];

/// A member that is away is worth a warning with every heartbeat to it.
fn chatters(target: &str) -> bool {
    target.starts_with("openraft")
}

/// Changes the log while the daemon runs; clones share it.
#[derive(Clone, Debug)]
pub struct LogControl {
    sink: Sink,
    level: Arc<AtomicU8>,
    localtime: Arc<AtomicBool>,
}

impl LogControl {
    /// Sets what is written from now on.
    pub fn set_level(&self, level: LogLevel) {
        self.level.store(level as u8, Ordering::Relaxed);
        tracing::callsite::rebuild_interest_cache();
    }

    /// What is written now.
    pub fn level(&self) -> LogLevel {
        LogLevel::from_u8(self.level.load(Ordering::Relaxed))
    }

    /// Local time or UTC in the lines from now on (`cluster.localtime-logging`).
    pub fn set_localtime(&self, localtime: bool) {
        self.localtime.store(localtime, Ordering::Relaxed);
    }

    /// Opens the log file anew after logrotate moved it.
    pub fn reopen(&self) {
        self.sink.reopen();
    }

    /// Waits, two seconds at most, until all is written.
    pub fn flush(&self) {
        self.sink.flush();
    }
}

struct GlusterLog {
    control: LogControl,
    with_msgid: bool,
}

/// Opens the log and makes it the process's subscriber.
///
/// # Errors
/// The log cannot be opened, or there is a subscriber already.
pub fn init(settings: &Settings) -> io::Result<LogControl> {
    let (control, layer) = layer(settings)?;
    let subscriber = tracing_subscriber::registry().with(layer);
    tracing::subscriber::set_global_default(subscriber)
        .map_err(|error: SetGlobalDefaultError| io::Error::other(error))?;
    Ok(control)
}

fn layer(settings: &Settings) -> io::Result<(LogControl, GlusterLog)> {
    let control = LogControl {
        sink: Sink::open(settings.logger, &settings.log_target)?,
        level: Arc::new(AtomicU8::new(settings.log_level as u8)),
        localtime: Arc::new(AtomicBool::new(settings.localtime)),
    };
    let with_msgid = settings.log_format == LogFormat::WithMsgId;
    Ok((control.clone(), GlusterLog { control, with_msgid }))
}

impl GlusterLog {
    fn wanted(&self, metadata: &Metadata<'_>) -> bool {
        let limit = self.control.level() as u8;
        let level = LogLevel::of(*metadata.level());
        if OWN.iter().any(|own| metadata.target().starts_with(own)) {
            // Critical events are error events to tracing; which they are shows with their fields.
            let error = level == LogLevel::Error && limit >= LogLevel::Critical as u8;
            error || level as u8 <= limit
        } else {
            let later = match chatters(metadata.target()) {
                true => 2,
                false => u8::from(level > LogLevel::Warning),
            };
            level as u8 + later <= limit
        }
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for GlusterLog {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.wanted(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        self.wanted(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(match self.control.level() {
            LogLevel::None => LevelFilter::OFF,
            LogLevel::Critical | LogLevel::Error => LevelFilter::ERROR,
            LogLevel::Warning => LevelFilter::WARN,
            LogLevel::Info => LevelFilter::INFO,
            LogLevel::Debug => LevelFilter::DEBUG,
            LogLevel::Trace => LevelFilter::TRACE,
        })
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &SpanRecord<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let metadata = event.metadata();
        let mut fields = Fields::default();
        event.record(&mut fields);
        let level =
            if fields.critical { LogLevel::Critical } else { LogLevel::of(*metadata.level()) };
        if level > self.control.level() {
            return;
        }
        if let Some(scope) = context.event_scope(event) {
            for span in scope {
                if let Some(outer) = span.extensions().get::<Fields>() {
                    fields.others.extend(outer.others.iter().cloned());
                }
            }
        }
        let own = OWN.iter().any(|own| metadata.target().starts_with(own));
        let krate = metadata.target().split("::").next().unwrap_or_default();
        let module = metadata.module_path().unwrap_or_default();
        let record = Record {
            level,
            msgid: fields.msgid,
            file: metadata.file().unwrap_or_default(),
            line: metadata.line().unwrap_or_default(),
            module: module.split_once("::").map_or(module, |(_, rest)| rest),
            domain: fields.domain.as_deref().unwrap_or(if own { "management" } else { krate }),
            text: &fields.message,
            fields: &fields.others,
        };
        let stamp =
            log_line::stamp(SystemTime::now(), self.control.localtime.load(Ordering::Relaxed));
        self.control.sink.line(level, log_line::format(&stamp, &record, self.with_msgid));
    }
}

/// An event's or a span's values, sorted by what they mean to a log line.
#[derive(Default)]
struct Fields {
    message: String,
    msgid: Option<u64>,
    critical: bool,
    domain: Option<String>,
    others: Vec<(&'static str, String)>,
}

impl Fields {
    fn take(&mut self, field: &Field, text: String) {
        match field.name() {
            "message" => self.message = text,
            "critical" => self.critical = true,
            "domain" => self.domain = Some(text),
            name => self.others.push((name, text)),
        }
    }
}

impl Visit for Fields {
    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "msgid" => self.msgid = Some(value),
            _ => self.take(field, value.to_string()),
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        match (field.name(), u64::try_from(value)) {
            ("msgid", Ok(value)) => self.msgid = Some(value),
            _ => self.take(field, value.to_string()),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.take(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.take(field, format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::fs;

    use super::super::args::{self, Invocation};
    use super::super::settings::{self, Sources};
    use super::*;

    /// Runs `body` under a log of its own; the lines without their time stamps and code places.
    fn logged(level: LogLevel, body: impl FnOnce(&LogControl)) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("glusterd.log");
        let words =
            ["glusterd", "-l", path.to_str().unwrap(), "-L", level.name()].map(OsString::from);
        let Ok(Invocation::Run(args)) = args::parse(&words) else { panic!() };
        let (control, layer) = layer(&settings::merge(&args, Sources::default()).unwrap()).unwrap();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            body(&control)
        });
        control.flush();
        let text = fs::read_to_string(&path).unwrap();
        let bare = |line: &str| {
            let (_, rest) = line.split_once("] ").unwrap();
            let (before, after) = rest.split_once("[logging.rs:").unwrap();
            format!("{before}{}", after.split_once("] ").unwrap().1)
        };
        text.lines().map(bare).collect()
    }

    #[test]
    fn fields_find_their_places() {
        let lines = logged(LogLevel::Info, |_| {
            tracing::info!(msgid = 106_479, "Using {} as working directory", "/w");
            tracing::error!(critical = true, volume = "v1", "Server quorum lost");
            tracing::warn!(domain = "cli", count = 3, "text");
        });
        assert_eq!(
            lines,
            [
                "I [MSGID: 106479] 0-management: Using /w as working directory",
                "C 0-management: Server quorum lost [{volume=v1}]",
                "W 0-cli: text [{count=3}]",
            ]
        );
    }

    #[test]
    fn a_level_silences_and_can_be_changed() {
        let lines = logged(LogLevel::Warning, |control| {
            tracing::info!("no");
            tracing::warn!("yes");
            control.set_level(LogLevel::Critical);
            tracing::error!("no");
            tracing::error!(critical = true, "grave");
            control.set_level(LogLevel::None);
            tracing::error!(critical = true, "no");
            control.set_level(LogLevel::Trace);
            tracing::trace!("all");
        });
        assert_eq!(lines, ["W 0-management: yes", "C 0-management: grave", "T 0-management: all"]);
    }

    #[test]
    fn others_speak_one_level_later() {
        let lines = logged(LogLevel::Info, |control| {
            tracing::info!(target: "h2::codec", "no");
            tracing::warn!(target: "h2::codec", "yes");
            tracing::warn!(target: "openraft::replication", "no");
            tracing::error!(target: "openraft::replication", "yes");
            control.set_level(LogLevel::Debug);
            tracing::info!(target: "h2::codec", "now");
        });
        assert_eq!(lines, ["W 0-h2: yes", "E 0-openraft: yes", "I 0-h2: now"]);
    }

    #[test]
    fn a_span_lends_its_fields() {
        let lines = logged(LogLevel::Info, |_| {
            let _span = tracing::info_span!("command", op = 7).entered();
            tracing::info!("inside");
        });
        assert_eq!(lines, ["I 0-management: inside [{op=7}]"]);
    }
}
