//! The command line: words in, an [`Invocation`] or a complaint out.
//!
//! Pure. Options are rows of `option_table.rs`; what they mean for the daemon is decided here, how they
//! weigh against the configuration files in `settings.rs`.
//!
//! Facts: glusterfsd/src/glusterfsd.c (v10.3). Stock parses with argp: long options may be shortened
//! while unambiguous, a repeated option counts last, usage mistakes exit with 64, bad values with 255.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::coordinator_args::{self, CoordinatorCommand};
use super::log_level::LogLevel;
use super::option_table::{OPTIONS, Row, Takes, boolean, complaint};

/// First line of `--version`; scripts parse it, so it is the release we stand in for.
const RELEASE: &str = "glusterfs 10.3";
const LIBRARY_DIR: &str = "/usr/lib/x86_64-linux-gnu/glusterfs";

/// `--xlator-option NAME.KEY=VALUE`; NAME may hold `*` and `?`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XlatorOption {
    pub xlator: String,
    pub key: String,
    pub value: String,
}

/// What the words on the command line asked for, where they asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Args {
    pub volfile: Option<PathBuf>,
    pub log_level: Option<LogLevel>,
    /// `-` is standard error.
    pub log_file: Option<String>,
    pub logger: Option<String>,
    pub log_format: Option<String>,
    pub pid_file: Option<PathBuf>,
    pub no_daemon: bool,
    pub debug: bool,
    pub xlator_options: Vec<XlatorOption>,
    pub localtime_logging: bool,
    pub secure_mgmt: Option<bool>,
    pub global_threading: Option<bool>,
    pub io_engine: Option<String>,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Invocation {
    Run(Box<Args>),
    /// Print this and exit with 0.
    Print(String),
    /// Do this and exit.
    Coordinator(CoordinatorCommand),
}

/// What to say on standard error, and the exit status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageError {
    pub text: String,
    pub exit: u8,
}

/// Reads a command line; `words[0]` is the program.
///
/// # Errors
/// Exit 64 for unknown, ambiguous or incomplete options, 255 for values that cannot be.
pub fn parse(words: &[OsString]) -> Result<Invocation, UsageError> {
    if words.get(1).is_some_and(|word| word == coordinator_args::WORD) {
        return coordinator_args::parse(&words[2..]);
    }
    let mut command = command();
    let matches = command.try_get_matches_from_mut(words).map_err(|error| usage_error(&error))?;
    for row in OPTIONS.iter().filter(|row| row.takes != Takes::Nothing) {
        for text in values(&matches, row.long) {
            if let Some(text) = complaint(row.check, &text) {
                return Err(bad_value(text));
            }
        }
    }
    if let Some(text) = printed(&matches, &mut command)? {
        return Ok(Invocation::Print(text));
    }
    if matches.contains_id("mount-point") {
        return Err(bad_value(
            "glusterd manages volumes, it mounts none: a mount point is not expected".to_owned(),
        ));
    }
    for name in ["print-exports", "print-netgroups"] {
        if matches.contains_id(name) {
            return Err(bad_value(format!(
                "--{name}: the NFS server is not part of this installation"
            )));
        }
    }
    arguments(&matches).map(|args| Invocation::Run(Box::new(args)))
}

fn arguments(matches: &ArgMatches) -> Result<Args, UsageError> {
    let last = |name| values(matches, name).pop();
    let flag = |name| matches.get_flag(name);
    // `--name` alone means on; the values were checked above.
    let switch = |name| {
        let given = matches.value_source(name) == Some(clap::parser::ValueSource::CommandLine);
        given.then(|| last(name).as_deref().and_then(boolean).unwrap_or(true))
    };
    let log_level = match last("log-level") {
        None => None,
        Some(text) => match LogLevel::parse(&text) {
            Some(level) => Some(level),
            None => return Err(bad_value(format!("unknown log level {text}"))),
        },
    };
    let mut xlator_options = Vec::new();
    for text in values(matches, "xlator-option") {
        match xlator_option(&text) {
            Some(option) => xlator_options.push(option),
            None => return Err(bad_value(format!("invalid xlator option  {text}"))),
        }
    }
    Ok(Args {
        volfile: last("volfile").or_else(|| last("spec-file")).map(PathBuf::from),
        log_level,
        log_file: last("log-file"),
        logger: last("logger"),
        log_format: last("log-format"),
        pid_file: last("pid-file").map(PathBuf::from),
        no_daemon: flag("no-daemon"),
        debug: flag("debug"),
        xlator_options,
        localtime_logging: flag("localtime-logging"),
        secure_mgmt: switch("secure-mgmt"),
        global_threading: switch("global-threading"),
        io_engine: last("io-engine"),
    })
}

/// The name ends at the first dot, the key at the next `=`; the value is not empty.
///
/// Source: glusterfsd/src/glusterfsd.c:680-730.
fn xlator_option(text: &str) -> Option<XlatorOption> {
    let (xlator, rest) = text.split_once('.')?;
    let (key, value) = rest.split_once('=')?;
    (!value.is_empty()).then(|| XlatorOption {
        xlator: xlator.to_owned(),
        key: key.to_owned(),
        value: value.to_owned(),
    })
}

fn printed(matches: &ArgMatches, command: &mut Command) -> Result<Option<String>, UsageError> {
    let asked = |name| matches.get_flag(name);
    let text = if asked("help") {
        help()
    } else if asked("usage") {
        format!("{}\n", command.render_usage())
    } else if asked("version") {
        version()
    } else if asked("print-logdir") {
        "/var/log/glusterfs\n".to_owned()
    } else if asked("print-statedumpdir") {
        "/var/run/gluster\n".to_owned()
    } else if asked("print-xlatordir") {
        format!("{LIBRARY_DIR}/10.3/xlator\n")
    } else if asked("print-libexecdir") {
        format!("{LIBRARY_DIR}\n")
    } else {
        return Ok(None);
    };
    Ok(Some(text))
}

fn version() -> String {
    format!(
        "{RELEASE}\nglusterd {}, a management daemon for GlusterFS over a coordination service\n\
         Licensed under MIT or Apache-2.0, at your choice; comes with ABSOLUTELY NO WARRANTY.\n",
        env!("CARGO_PKG_VERSION")
    )
}

fn help() -> String {
    let mut text = String::from("Usage: glusterd [OPTION...]\n\n");
    for row in OPTIONS.iter().filter(|row| !row.help.is_empty()) {
        let short = row.short.map_or("    ".to_owned(), |c| format!("-{c}, "));
        let tail = match row.takes {
            Takes::Nothing => String::new(),
            Takes::Value(name) => format!("={name}"),
            Takes::MaybeValue(name) => format!("[={name}]"),
        };
        let _ = writeln!(text, "  {short}--{:<40} {}", format!("{}{tail}", row.long), row.help);
    }
    text.push_str("\nConfiguration: /etc/glusterfs/glusterd.vol, /etc/glusterfs/glusterd.toml, GLUSTERD_SECTION__KEY in the environment.\n");
    text.push_str("`glusterd coordinator --help': moving and saving what a pool keeps in its coordination service.\n");
    text
}

fn command() -> Command {
    let command = Command::new("glusterd")
        .no_binary_name(false)
        .disable_help_flag(true)
        .disable_version_flag(true)
        .infer_long_args(true)
        .args_override_self(true)
        .arg(Arg::new("mount-point").hide(true));
    OPTIONS.iter().fold(command, |command, row| command.arg(argument(row)))
}

fn argument(row: &'static Row) -> Arg {
    let arg = Arg::new(row.long).long(row.long).hide(row.help.is_empty());
    let arg = match row.short {
        Some(letter) => arg.short(letter),
        None => arg,
    };
    match row.takes {
        Takes::Nothing => arg.action(ArgAction::SetTrue),
        Takes::Value(name) => {
            arg.value_name(name).action(ArgAction::Append).allow_hyphen_values(true)
        }
        Takes::MaybeValue(name) => {
            arg.value_name(name).action(ArgAction::Append).num_args(0..=1).require_equals(true)
        }
    }
}

fn values(matches: &ArgMatches, name: &str) -> Vec<String> {
    matches.get_many::<String>(name).map(|texts| texts.cloned().collect()).unwrap_or_default()
}

fn bad_value(text: String) -> UsageError {
    UsageError { text: format!("glusterd: {text}"), exit: 255 }
}

fn usage_error(error: &clap::Error) -> UsageError {
    let word = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(word)) => word.as_str(),
        _ => "",
    };
    let option = word.split([' ', '=', '[']).next().unwrap_or_default();
    let quoted = match option.strip_prefix("--") {
        Some(_) => format!("'{option}'"),
        None => format!("-- '{}'", option.trim_start_matches('-')),
    };
    let what = match error.kind() {
        ErrorKind::UnknownArgument if option.starts_with("--") => {
            format!("unrecognized option {quoted}")
        }
        ErrorKind::UnknownArgument if option.starts_with('-') => format!("invalid option {quoted}"),
        ErrorKind::UnknownArgument => format!("'{word}' is not expected"),
        ErrorKind::TooManyValues => format!("option {quoted} doesn't allow an argument"),
        ErrorKind::InvalidValue => format!("option {quoted} requires an argument"),
        ErrorKind::InvalidUtf8 => "an argument is not UTF-8 text".to_owned(),
        _ => error.kind().to_string(),
    };
    UsageError {
        text: format!(
            "glusterd: {what}\nTry `glusterd --help' or `glusterd --usage' for more information."
        ),
        exit: 64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Invocation, UsageError> {
        let words: Vec<OsString> = std::iter::once("glusterd")
            .chain(line.split_whitespace())
            .map(OsString::from)
            .collect();
        parse(&words)
    }

    fn check(line: &str, want: Args) {
        assert_eq!(parsed(line), Ok(Invocation::Run(Box::new(want))), "{line}");
    }

    fn refused(line: &str, exit: u8, text: &str) {
        let error = parsed(line).unwrap_err();
        assert_eq!((error.text.lines().next(), error.exit), (Some(text), exit), "{line}");
    }

    fn printed(line: &str, first: &str) {
        match parsed(line) {
            Ok(Invocation::Print(text)) => assert_eq!(text.lines().next(), Some(first), "{line}"),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn the_options_that_matter() {
        check("", Args::default());
        let debug = || Args { log_level: Some(LogLevel::Debug), ..Args::default() };
        check("-LDEBUG", debug());
        check("-L debug", debug());
        check("-L INFO --log-level=DEBUG", debug());
        check("--log-lev DEBUG", debug());
        check("-NLDEBUG", Args { no_daemon: true, ..debug() });
        check(
            "-p /p -l - -f /v",
            Args {
                pid_file: Some("/p".into()),
                log_file: Some("-".into()),
                volfile: Some("/v".into()),
                ..Args::default()
            },
        );
        check("--no-d --debug --debug", Args { no_daemon: true, debug: true, ..Args::default() });
        check(
            "--secure-mgmt --global-threading=off --io-engine=linux_aio",
            Args {
                secure_mgmt: Some(true),
                global_threading: Some(false),
                io_engine: Some("linux_aio".into()),
                ..Args::default()
            },
        );
    }

    #[test]
    fn xlator_options_pile_up_in_order() {
        let option = |xlator: &str, key: &str, value: &str| XlatorOption {
            xlator: xlator.into(),
            key: key.into(),
            value: value.into(),
        };
        check(
            "--xlator-option management.transport.socket.bind-address=127.1.1.1 --xlator-option=*.a=b=c",
            Args {
                xlator_options: vec![
                    option("management", "transport.socket.bind-address", "127.1.1.1"),
                    option("*", "a", "b=c"),
                ],
                ..Args::default()
            },
        );
        check(
            "--xlator-option .a=b",
            Args { xlator_options: vec![option("", "a", "b")], ..Args::default() },
        );
        refused("--xlator-option foo", 255, "glusterd: invalid xlator option  foo");
        refused("--xlator-option foo.bar", 255, "glusterd: invalid xlator option  foo.bar");
        refused("--xlator-option foo=bar", 255, "glusterd: invalid xlator option  foo=bar");
        refused("--xlator-option m.x=", 255, "glusterd: invalid xlator option  m.x=");
    }

    #[test]
    fn options_of_mounts_and_bricks_are_accepted() {
        check(
            "--read-only --acl --worm --brick-port 3 --client-pid=-12 --direct-io-mode=auto",
            Args::default(),
        );
        check(
            "-s 127.0.0.1 --process-name x --run-id=foo --attribute-timeout=x --log-buf-size=7",
            Args::default(),
        );
    }

    #[test]
    fn printing_wins_over_running() {
        printed("--no-d --versi", "glusterfs 10.3");
        printed("-V -N", "glusterfs 10.3");
        printed("-?N", "Usage: glusterd [OPTION...]");
        printed("--print-logdir", "/var/log/glusterfs");
        printed("--print-statedumpdir", "/var/run/gluster");
        printed("--print-xlatordir", "/usr/lib/x86_64-linux-gnu/glusterfs/10.3/xlator");
        printed("--print-libexecdir", "/usr/lib/x86_64-linux-gnu/glusterfs");
    }

    #[test]
    fn usage_mistakes_exit_with_64() {
        refused("--nonsense", 64, "glusterd: unrecognized option '--nonsense'");
        refused("-h", 64, "glusterd: invalid option -- 'h'");
        refused("--log x", 64, "glusterd: unrecognized option '--log'");
        refused("-L", 64, "glusterd: option '--log-level' requires an argument");
        refused("--debug=1", 64, "glusterd: option '--debug' doesn't allow an argument");
        refused("--mem-accounting", 64, "glusterd: unrecognized option '--mem-accounting'");
        refused("a b", 64, "glusterd: 'b' is not expected");
    }

    #[test]
    fn bad_values_exit_with_255() {
        refused("--log-level=BOGUS", 255, "glusterd: unknown log level BOGUS");
        refused("-L_DEBUG_", 255, "glusterd: unknown log level _DEBUG_");
        refused("--log-buf-size=-1", 255, "glusterd: unknown log buf size option -1");
        refused("--logger=foo", 255, "glusterd: unknown logger foo");
        refused("--log-format=foo", 255, "glusterd: unknown log format foo");
        refused("--secure-mgmt=maybe", 255, "glusterd: unknown secure-mgmt setting \"maybe\"");
        refused("--global-threading=x", 255, "glusterd: Invalid value for global threading \"x\"");
        refused("--mac-compat=zz", 255, "glusterd: invalid value \"zz\" for mac-compat");
        refused("--oom-score-adj=99999", 255, "glusterd: unknown oom_score_adj value 99999");
        refused(
            "a -N",
            255,
            "glusterd: glusterd manages volumes, it mounts none: a mount point is not expected",
        );
        refused(
            "-e /x",
            255,
            "glusterd: --print-exports: the NFS server is not part of this installation",
        );
    }
}
