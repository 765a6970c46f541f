//! One answer from five places: defaults, `glusterd.vol`, `glusterd.toml` with the environment, the
//! command line's translator options, the command line.
//!
//! Pure: texts in, [`Settings`] out; `start.rs` reads the files.
//!
//! Facts: glusterd.c:1440-1560 and :1946-1990, glusterfsd.c (v10.3); `glusterd.vol` as shipped.

use std::path::PathBuf;

use super::args::Args;
use super::coordinator_settings::CoordinatorSettings;
use super::file_settings::{self, FileSettings};
use super::log_level::LogLevel;
use super::option_table::boolean;
use super::volfile;

pub const VOLFILE: &str = "/etc/glusterfs/glusterd.vol";
pub const TOML: &str = "/etc/glusterfs/glusterd.toml";

/// Everything the daemon was told at start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// WORK in the references, `/var/lib/glusterd`.
    pub workdir: PathBuf,
    /// RUN, `/var/run/gluster`: pid files. Brick sockets are in `/var/run/gluster` whatever this says.
    pub rundir: PathBuf,
    /// LOG, `/var/log/glusterfs`.
    pub logdir: PathBuf,
    /// The CLI's socket.
    pub sockfile: PathBuf,
    /// Address or host name to listen on; handed on to children.
    pub bind_address: Option<String>,
    pub listen_port: u16,
    pub address_family: Option<AddressFamily>,
    /// First and last port for bricks.
    pub base_port: u16,
    pub max_port: u16,
    /// Whether reading commands from other machines (`gluster --remote-host`) are answered, whoever
    /// sends them.
    pub remote_commands: bool,
    /// Prefix for children (`run-with-valgrind`).
    pub valgrind: Valgrind,
    /// `upgrade` or `downgrade` in the volfile: regenerate files and exit.
    pub regenerate_and_exit: bool,
    /// `rpc-auth-allow-insecure`: clients may call from ports above 1023.
    pub allow_insecure: bool,
    /// `snap-brick-path`.
    pub snap_brick_path: Option<PathBuf>,
    /// Volfile options that other rooms interpret (mountbroker, geo-replication), and those nobody
    /// does, in order; the last of a key counts.
    pub other_options: Vec<(String, String)>,
    pub coordinator: CoordinatorSettings,
    pub log_level: LogLevel,
    pub log_target: LogTarget,
    pub logger: Logger,
    pub log_format: LogFormat,
    pub localtime: bool,
    pub pid_file: Option<PathBuf>,
    /// Stay in the foreground (`-N`, `--debug`).
    pub foreground: bool,
    /// Handed on to children when given.
    pub secure_mgmt: Option<bool>,
    pub global_threading: bool,
    pub io_engine: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressFamily {
    Inet,
    Inet6,
}

impl AddressFamily {
    /// The word stock uses.
    pub fn name(self) -> &'static str {
        match self {
            AddressFamily::Inet => "inet",
            AddressFamily::Inet6 => "inet6",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Valgrind {
    No,
    Memcheck,
    Drd,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    Stderr,
    File(PathBuf),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Logger {
    File,
    Syslog,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    WithMsgId,
    NoMsgId,
}

/// Where it was said, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SettingsError(pub String);

/// The texts found, each with its name; `None` where there is no such file.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sources<'a> {
    pub volfile: Option<(&'a str, &'a str)>,
    pub toml: Option<(&'a str, &'a str)>,
    pub environment: &'a [(String, String)],
}

/// Settings before the log file's default is known.
struct Draft {
    settings: Settings,
    log_file: Option<String>,
}

/// Merges all sources.
///
/// # Errors
/// [`SettingsError`], one sentence for the person who wrote the value.
pub fn merge(args: &Args, sources: Sources<'_>) -> Result<Settings, SettingsError> {
    let mut draft = Draft { settings: Settings::default(), log_file: None };
    if let Some((name, text)) = sources.volfile {
        let wrong = |what: String| SettingsError(format!("{name}: {what}"));
        let sections = volfile::parse(text).map_err(wrong)?;
        let found = sections.into_iter().rfind(|section| section.kind == "mgmt/glusterd");
        let section = found.ok_or_else(|| wrong("no volume of type mgmt/glusterd".to_owned()))?;
        for (key, value) in &section.options {
            draft.volfile_option(key, value).map_err(wrong)?;
        }
    }
    draft.file(file_settings::read(sources.toml, sources.environment).map_err(SettingsError)?)?;
    for option in args.xlator_options.iter().filter(|option| glob(&option.xlator, "management")) {
        let wrong = |what| SettingsError(format!("--xlator-option: {what}"));
        draft.volfile_option(&option.key, &option.value).map_err(wrong)?;
    }
    draft.command_line(args)?;
    finish(draft)
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            workdir: "/var/lib/glusterd".into(),
            rundir: "/var/run/gluster".into(),
            logdir: "/var/log/glusterfs".into(),
            sockfile: "/var/run/glusterd.socket".into(),
            bind_address: None,
            listen_port: 24007,
            address_family: None,
            base_port: 49152,
            max_port: 65535,
            remote_commands: true,
            valgrind: Valgrind::No,
            regenerate_and_exit: false,
            allow_insecure: true,
            snap_brick_path: None,
            other_options: Vec::new(),
            coordinator: CoordinatorSettings::default(),
            log_level: LogLevel::Info,
            log_target: LogTarget::Stderr,
            logger: Logger::File,
            log_format: LogFormat::WithMsgId,
            localtime: false,
            pid_file: None,
            foreground: false,
            secure_mgmt: None,
            global_threading: false,
            io_engine: None,
        }
    }
}

impl Draft {
    /// One option of the management translator, from the volfile or the command line.
    fn volfile_option(&mut self, key: &str, value: &str) -> Result<(), String> {
        let set = &mut self.settings;
        match key {
            "working-directory" => set.workdir = path(key, value)?,
            "run-directory" => set.rundir = path(key, value)?,
            "logging-directory" | "cluster-test-mode" => set.logdir = path(key, value)?,
            "glusterd-sockfile" => set.sockfile = path(key, value)?,
            "transport.socket.bind-address" => set.bind_address = Some(value.to_owned()),
            "transport.socket.listen-port" => set.listen_port = port(key, value)?,
            "transport.address-family" => set.address_family = Some(family(key, value)?),
            "base-port" => set.base_port = port(key, value)?,
            "max-port" => set.max_port = port(key, value)?,
            "run-with-valgrind" => set.valgrind = valgrind(key, value)?,
            "upgrade" | "downgrade" => set.regenerate_and_exit |= switch(key, value)?,
            "rpc-auth-allow-insecure" => set.allow_insecure = switch(key, value)?,
            "snap-brick-path" => set.snap_brick_path = Some(path(key, value)?),
            _ => set.other_options.push((key.to_owned(), value.to_owned())),
        }
        Ok(())
    }

    fn file(&mut self, file: FileSettings) -> Result<(), SettingsError> {
        let wrong =
            |what| SettingsError(format!("glusterd.toml or its environment override: {what}"));
        let set = &mut self.settings;
        let FileSettings { daemon, network, log, coordinator } = file;
        put(&mut set.workdir, daemon.working_directory);
        put(&mut set.rundir, daemon.run_directory);
        put(&mut set.sockfile, daemon.socket_file);
        put(&mut set.listen_port, network.listen_port);
        put(&mut set.base_port, network.base_port);
        put(&mut set.max_port, network.max_port);
        put(&mut set.remote_commands, network.remote_commands);
        set.bind_address = network.bind_address.or(set.bind_address.take());
        if let Some(text) = network.address_family {
            set.address_family = Some(family("network.address_family", &text).map_err(wrong)?);
        }
        put(&mut set.logdir, log.directory);
        put(&mut self.log_file, log.file.map(Some));
        put(&mut set.localtime, log.localtime);
        if let Some(text) = log.level {
            set.log_level = level(&text).map_err(wrong)?;
        }
        if let Some(text) = log.logger {
            set.logger = logger(&text).map_err(wrong)?;
        }
        if let Some(text) = log.format {
            set.log_format = format(&text).map_err(wrong)?;
        }
        set.coordinator.file(coordinator);
        Ok(())
    }

    fn command_line(&mut self, args: &Args) -> Result<(), SettingsError> {
        let set = &mut self.settings;
        if args.debug {
            set.log_level = LogLevel::Debug;
            self.log_file = Some("-".to_owned());
        }
        put(&mut set.log_level, args.log_level);
        put(&mut self.log_file, args.log_file.clone().map(Some));
        if let Some(text) = &args.logger {
            set.logger = logger(text).map_err(SettingsError)?;
        }
        if let Some(text) = &args.log_format {
            set.log_format = format(text).map_err(SettingsError)?;
        }
        set.localtime |= args.localtime_logging;
        set.pid_file = args.pid_file.clone();
        set.foreground = args.no_daemon || args.debug;
        set.secure_mgmt = args.secure_mgmt;
        set.global_threading = args.global_threading.unwrap_or(false);
        set.io_engine = args.io_engine.clone();
        Ok(())
    }
}

fn finish(draft: Draft) -> Result<Settings, SettingsError> {
    let Draft { mut settings, log_file } = draft;
    settings.log_target = match log_file.as_deref() {
        Some("-") => LogTarget::Stderr,
        Some(file) => LogTarget::File(file.into()),
        None => LogTarget::File(settings.logdir.join("glusterd.log")),
    };
    let wrong = |what: &str| Err(SettingsError(what.to_owned()));
    if settings.base_port > settings.max_port {
        return wrong(&format!(
            "base-port {} is above max-port {}",
            settings.base_port, settings.max_port
        ));
    }
    settings.coordinator.check().map_err(SettingsError)?;
    Ok(settings)
}

fn put<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

fn path(key: &str, text: &str) -> Result<PathBuf, String> {
    let legal = text.starts_with('/') && text.len() < 4096;
    legal.then(|| text.into()).ok_or_else(|| format!("{key}: '{text}' is not an absolute path"))
}

fn port(key: &str, text: &str) -> Result<u16, String> {
    text.parse()
        .ok()
        .filter(|port| *port > 0)
        .ok_or_else(|| format!("{key}: '{text}' is not a port number"))
}

fn switch(key: &str, text: &str) -> Result<bool, String> {
    boolean(text).ok_or_else(|| format!("{key}: '{text}' is neither on nor off"))
}

fn family(key: &str, text: &str) -> Result<AddressFamily, String> {
    match text {
        "inet" => Ok(AddressFamily::Inet),
        "inet6" => Ok(AddressFamily::Inet6),
        _ => Err(format!("{key}: '{text}' is neither inet nor inet6")),
    }
}

fn valgrind(key: &str, text: &str) -> Result<Valgrind, String> {
    match (text, boolean(text)) {
        ("memcheck", _) | (_, Some(true)) => Ok(Valgrind::Memcheck),
        ("drd", _) => Ok(Valgrind::Drd),
        (_, Some(false)) => Ok(Valgrind::No),
        _ => Err(format!("{key}: '{text}' is neither on, off, memcheck nor drd")),
    }
}

fn level(text: &str) -> Result<LogLevel, String> {
    LogLevel::parse(text).ok_or_else(|| format!("log.level: '{text}' is not a log level"))
}

fn logger(text: &str) -> Result<Logger, String> {
    match text {
        "gluster-log" => Ok(Logger::File),
        "syslog" => Ok(Logger::Syslog),
        _ => Err(format!("log.logger: '{text}' is neither gluster-log nor syslog")),
    }
}

fn format(text: &str) -> Result<LogFormat, String> {
    match text {
        "with-msg-id" => Ok(LogFormat::WithMsgId),
        "no-msg-id" => Ok(LogFormat::NoMsgId),
        _ => Err(format!("log.format: '{text}' is neither with-msg-id nor no-msg-id")),
    }
}

/// `*` is any run of characters, `?` any one; stock uses fnmatch(3).
fn glob(pattern: &str, text: &str) -> bool {
    match pattern.chars().next() {
        None => text.is_empty(),
        Some('*') => {
            (0..=text.len()).any(|at| text.is_char_boundary(at) && glob(&pattern[1..], &text[at..]))
        }
        Some(want) => text.chars().next().is_some_and(|got| {
            (want == '?' || want == got)
                && glob(&pattern[want.len_utf8()..], &text[got.len_utf8()..])
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::super::args::{self, Invocation};
    use super::*;

    const SHIPPED: &str = "volume management\n type mgmt/glusterd\n option working-directory /var/lib/glusterd\n\
                           option transport-type socket\n option event-threads 1\n option max-port  60999\nend-volume\n";

    fn merged(
        line: &str,
        volfile: &str,
        toml: &str,
        env: &[(&str, &str)],
    ) -> Result<Settings, SettingsError> {
        let words: Vec<OsString> = std::iter::once("glusterd")
            .chain(line.split_whitespace())
            .map(OsString::from)
            .collect();
        let Ok(Invocation::Run(args)) = args::parse(&words) else { panic!("{line}") };
        let environment: Vec<_> =
            env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let sources = Sources {
            volfile: Some(("glusterd.vol", volfile)),
            toml: Some(("glusterd.toml", toml)),
            environment: &environment,
        };
        merge(&args, sources)
    }

    fn check<T: PartialEq + std::fmt::Debug>(
        line: &str,
        toml: &str,
        env: &[(&str, &str)],
        pick: fn(Settings) -> T,
        want: T,
    ) {
        assert_eq!(
            pick(merged(line, SHIPPED, toml, env).unwrap()),
            want,
            "{line} | {toml} | {env:?}"
        );
    }

    fn refused(line: &str, volfile: &str, toml: &str, want: &str) {
        let error = merged(line, volfile, toml, &[]).unwrap_err().to_string();
        assert!(error.contains(want), "{want} in {error}");
    }

    #[test]
    fn the_last_place_wins() {
        let port = |settings: Settings| settings.listen_port;
        let toml = "[network]\nlisten_port = 2\n";
        let env = [("GLUSTERD_NETWORK__LISTEN_PORT", "3")];
        check("", "", &[], port, 24007);
        check("", toml, &[], port, 2);
        check("", toml, &env, port, 3);
        check("--xlator-option *.transport.socket.listen-port=4", toml, &env, port, 4);
        check("--xlator-option manage????.transport.socket.listen-port=5", "", &[], port, 5);
        check("--xlator-option other.transport.socket.listen-port=6", "", &[], port, 24007);
        check("", "", &[], |s| s.max_port, 60999);
        check("", "", &[], |s| s.remote_commands, true);
        check("", "[network]\nremote_commands = false", &[], |s| s.remote_commands, false);
        check("-LERROR", "[log]\nlevel = \"debug\"\n", &[], |s| s.log_level, LogLevel::Error);
        check("", "[log]\nlevel = \"debug\"\n", &[], |s| s.log_level, LogLevel::Debug);
    }

    #[test]
    fn what_the_upstream_clusters_say() {
        let line = "-LDEBUG --xlator-option management.working-directory=/d/1/glusterd \
                    --xlator-option management.transport.socket.bind-address=127.1.1.1 \
                    --xlator-option management.run-directory=/d/1/run/gluster \
                    --xlator-option management.glusterd-sockfile=/d/1/glusterd/gd.sock \
                    --xlator-option management.logging-directory=/var/log/glusterfs/1 \
                    --log-file=/var/log/glusterfs/1/t.log --pid-file=/d/1/glusterd.pid";
        let got = merged(line, SHIPPED, "", &[]).unwrap();
        assert_eq!(got.workdir, PathBuf::from("/d/1/glusterd"));
        assert_eq!(got.rundir, PathBuf::from("/d/1/run/gluster"));
        assert_eq!(got.sockfile, PathBuf::from("/d/1/glusterd/gd.sock"));
        assert_eq!(got.logdir, PathBuf::from("/var/log/glusterfs/1"));
        assert_eq!(got.bind_address.as_deref(), Some("127.1.1.1"));
        assert_eq!(got.log_target, LogTarget::File("/var/log/glusterfs/1/t.log".into()));
        assert_eq!(got.pid_file, Some("/d/1/glusterd.pid".into()));
        assert!(!got.foreground);
    }

    #[test]
    fn the_log_follows_its_directory_unless_told() {
        let target = |settings: Settings| settings.log_target;
        check("", "", &[], target, LogTarget::File("/var/log/glusterfs/glusterd.log".into()));
        check(
            "--xlator-option *.logging-directory=/l",
            "",
            &[],
            target,
            LogTarget::File("/l/glusterd.log".into()),
        );
        check("--debug", "", &[], target, LogTarget::Stderr);
        check("--debug -l /x", "", &[], target, LogTarget::File("/x".into()));
    }

    #[test]
    fn mistakes_are_explained() {
        refused("", "", "", "glusterd.vol: no volume of type mgmt/glusterd");
        refused("", SHIPPED, "[coordinator]\nurl = \"etcd://u:p@h\"\n", "coordinator.url");
        refused("", SHIPPED, "[coordinator]\nurl = \"etcd\"\n", "'etcd' is not like");
        refused("", SHIPPED, "[coordinator]\nuser = \"x\"\n", "go together");
        refused(
            "",
            SHIPPED,
            "[network]\nbase_port = 61000\n",
            "base-port 61000 is above max-port 60999",
        );
        refused(
            "--xlator-option *.transport.socket.listen-port=foo",
            SHIPPED,
            "",
            "'foo' is not a port number",
        );
        refused(
            "--xlator-option *.working-directory=x",
            SHIPPED,
            "",
            "'x' is not an absolute path",
        );
    }

    /// The sample shows the defaults: with all its lines in force nothing but examples changes.
    #[test]
    fn the_sample_shows_the_defaults() {
        let sample = include_str!("../../../packaging/glusterd.toml");
        let examples = [
            "bind_address",
            "address_family",
            "tls_",
            "user",
            "password_file",
            "listen =",
            "address =",
        ];
        let lines = sample.lines().filter_map(|line| match line.strip_prefix('#') {
            Some(rest) if rest.starts_with(' ') || rest.is_empty() => None,
            Some(rest) if examples.iter().any(|example| rest.starts_with(example)) => None,
            Some(rest) => Some(rest),
            None => Some(line),
        });
        let toml: String = lines.map(|line| format!("{line}\n")).collect();
        let empty = "volume management\n type mgmt/glusterd\nend-volume\n";
        assert_eq!(merged("", empty, &toml, &[]), merged("", empty, "", &[]));
    }
}
