//! From the command line to a running daemon, and out again.
//!
//! The order matters: settings before anything, the fork before any thread, the log before the runtime.

use std::ffi::OsString;
use std::future::Future;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::args::{self, Args, Invocation, UsageError};
use super::cmd_history::CmdHistory;
use super::coordinator_args::CoordinatorCommand;
use super::daemonise::{Side, daemonise};
use super::fork;
use super::lifecycle::{Lifecycle, Ready, Waiting};
use super::settings::{self, LogTarget, Settings, Sources, TOML, VOLFILE};
use super::signals::Signals;
use super::volfile::VOLFILE_BYTES_MAX;
use super::{directories, limits, logging};

/// After TERM the daemon has this long to close its sessions and listeners.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs the daemon in the way the command line says, or `once` what it says instead; the process's
/// exit status.
pub fn start<F, Fut, Once>(
    words: &[OsString],
    run: F,
    once: fn(Settings, CoordinatorCommand) -> Once,
) -> ExitCode
where
    F: FnOnce(Settings, Lifecycle) -> Fut,
    Fut: Future<Output = anyhow::Result<()>> + Send + 'static,
    Once: Future<Output = anyhow::Result<String>>,
{
    match prepare(words) {
        Ok(Prepared::Done(exit)) => ExitCode::from(exit),
        Ok(Prepared::Daemon(settings, ready)) => ExitCode::from(live(*settings, ready, run)),
        Ok(Prepared::Once(settings, command)) => ExitCode::from(tell(once(*settings, command))),
        Err(UsageError { text, exit }) => {
            eprintln!("{text}");
            ExitCode::from(exit)
        }
    }
}

enum Prepared {
    Done(u8),
    Daemon(Box<Settings>, Ready),
    Once(Box<Settings>, CoordinatorCommand),
}

/// Prints what comes of it; the exit status.
fn tell(work: impl Future<Output = anyhow::Result<String>>) -> u8 {
    let done = runtime().map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(work));
    match done {
        Ok(text) => u8::from(io::stdout().write_all(text.as_bytes()).is_err()),
        Err(error) => {
            eprintln!("glusterd: {error:#}");
            1
        }
    }
}

fn prepare(words: &[OsString]) -> Result<Prepared, UsageError> {
    let failure =
        |exit: u8| move |text: String| UsageError { text: format!("glusterd: {text}"), exit };
    let args = match args::parse(words)? {
        Invocation::Run(args) => args,
        Invocation::Coordinator(command) => {
            let settings = load(&Args::default()).map_err(failure(1))?;
            return Ok(Prepared::Once(Box::new(settings), command));
        }
        Invocation::Print(text) => {
            let shown = io::stdout().write_all(text.as_bytes());
            return Ok(Prepared::Done(u8::from(shown.is_err())));
        }
    };
    let settings = load(&args).map_err(failure(1))?;
    if let Some(path) = &settings.pid_file {
        let opened = fs::OpenOptions::new().append(true).create(true).open(path);
        opened
            .map_err(|error| format!("pid file {}: {error}", path.display()))
            .map_err(failure(255))?;
    }
    fork::keep_from_children();
    if settings.foreground {
        let ready = Ready::new(Waiting::Foreground(settings.pid_file.clone()));
        return Ok(Prepared::Daemon(Box::new(settings), ready));
    }
    match daemonise(settings.pid_file.as_deref()).map_err(failure(1))? {
        Side::Parent(exit) => Ok(Prepared::Done(exit)),
        Side::Child(ready) => Ok(Prepared::Daemon(Box::new(settings), ready)),
    }
}

/// Reads the files and merges; a file named on the command line must be there.
fn load(args: &Args) -> Result<Settings, String> {
    let volfile = args.volfile.clone().unwrap_or_else(|| VOLFILE.into());
    let volfile_text = text_of(&volfile, args.volfile.is_some())?;
    let toml_text = text_of(Path::new(TOML), false)?;
    let environment: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let volfile_name = volfile.to_string_lossy();
    let sources = Sources {
        volfile: volfile_text.as_deref().map(|text| (volfile_name.as_ref(), text)),
        toml: toml_text.as_deref().map(|text| (TOML, text)),
        environment: &environment,
    };
    let mut settings = settings::merge(args, sources).map_err(|error| error.to_string())?;
    // The daemon's working directory will be `/`.
    settings.pid_file = settings.pid_file.map(absolute);
    if let LogTarget::File(path) = settings.log_target {
        settings.log_target = LogTarget::File(absolute(path));
    }
    Ok(settings)
}

fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

fn text_of(path: &Path, required: bool) -> Result<Option<String>, String> {
    let name = path.display();
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && !required => return Ok(None),
        Ok(about) if about.len() > VOLFILE_BYTES_MAX as u64 => {
            return Err(format!("{name} is longer than {VOLFILE_BYTES_MAX} bytes"));
        }
        _ => {}
    }
    fs::read_to_string(path).map(Some).map_err(|error| format!("{name}: {error}"))
}

/// The daemon proper, foreground or child; its exit status.
fn live<F, Fut>(settings: Settings, ready: Ready, run: F) -> u8
where
    F: FnOnce(Settings, Lifecycle) -> Fut,
    Fut: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let (runtime, lifecycle) = match equip(&settings, &ready) {
        Ok(equipment) => equipment,
        Err(text) => {
            if !ready.fail(1, &text) {
                eprintln!("glusterd: {text}");
            }
            return 1;
        }
    };
    let exit = runtime.block_on(supervise(run(settings, lifecycle.clone()), &lifecycle));
    // Blocking work still under way (an fsync, a name look-up) is not waited for.
    runtime.shutdown_background();
    lifecycle.log.flush();
    exit
}

fn equip(settings: &Settings, ready: &Ready) -> Result<(Runtime, Lifecycle), String> {
    let log = logging::init(settings).map_err(|error| match &settings.log_target {
        LogTarget::File(path) => format!("log {} cannot be opened: {error}", path.display()),
        LogTarget::Stderr => format!("log cannot be opened: {error}"),
    })?;
    let command: Vec<String> =
        std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    tracing::info!(
        msgid = 100_030,
        domain = "glusterd",
        "Started running version [{{arg=glusterd}}, {{version=10.3}}, {{build={}}}, {{cmdlinestr={}}}]",
        env!("CARGO_PKG_VERSION"),
        command.join(" ")
    );
    tracing::info!(
        domain = "glusterfs",
        "Pid of current running process is {}",
        std::process::id()
    );
    if let Err(text) = limits::raise_open_files() {
        tracing::warn!(msgid = 106_053, "{text}");
    }
    let equipped =
        directories::create(settings).map_err(|error| error.to_string()).and_then(|()| {
            tracing::info!(
                msgid = 106_479,
                "Using {} as working directory",
                settings.workdir.display()
            );
            tracing::info!(
                msgid = 106_479,
                "Using {} as pid file working directory",
                settings.rundir.display()
            );
            let history = CmdHistory::open(&settings.logdir)
                .map_err(|error| format!("cmd_history.log: {error}"))?;
            let runtime = runtime().map_err(|error| format!("runtime: {error}"))?;
            Ok((runtime, history))
        });
    match equipped {
        Ok((runtime, history)) => {
            let (stop, dump) = (CancellationToken::new(), Arc::new(Notify::new()));
            Ok((runtime, Lifecycle { ready: ready.clone(), stop, dump, log, history }))
        }
        Err(text) => {
            tracing::error!(critical = true, "{text}");
            log.flush();
            Err(text)
        }
    }
}

fn runtime() -> io::Result<Runtime> {
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    Builder::new_multi_thread()
        .worker_threads(cores.clamp(2, 8))
        .thread_name("glusterd-work")
        .enable_all()
        .build()
}

/// Runs the daemon until it ends or is told to; the exit status.
async fn supervise(
    daemon: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    lifecycle: &Lifecycle,
) -> u8 {
    let mut signals = match Signals::install() {
        Ok(signals) => signals,
        Err(error) => return give_up(lifecycle, &format!("signals: {error}")),
    };
    let mut daemon = tokio::spawn(daemon);
    let number = tokio::select! {
        ended = &mut daemon => return match ended {
            Ok(Ok(())) => 0,
            Ok(Err(error)) => give_up(lifecycle, &format!("{error:#}")),
            Err(error) => give_up(lifecycle, &error.to_string()),
        },
        number = signals.serve(lifecycle) => number,
    };
    tracing::warn!("received signum ({number}), shutting down");
    lifecycle.stop.cancel();
    match tokio::time::timeout(STOP_TIMEOUT, &mut daemon).await {
        Ok(Ok(Ok(()))) => {}
        Ok(Ok(Err(error))) => tracing::error!("while stopping: {error:#}"),
        Ok(Err(error)) => tracing::error!("while stopping: {error}"),
        Err(_) => {
            tracing::error!("not stopped after {} s, leaving all the same", STOP_TIMEOUT.as_secs())
        }
    }
    number
}

fn give_up(lifecycle: &Lifecycle, text: &str) -> u8 {
    tracing::error!(critical = true, "{text}");
    if !lifecycle.ready.fail(1, text) {
        eprintln!("glusterd: {text}");
    }
    1
}
