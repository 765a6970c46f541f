//! How the daemon comes up and goes down: arguments, configuration, logging, daemonising, signals, limits.
//!
//! Knows nothing of volumes, RPC or coordination; what it hands on is [`Settings`] and a [`Lifecycle`].
//! A new setting is a field in `file_settings.rs`, its default in `settings.rs` and a commented line in
//! `packaging/glusterd.toml` (a test holds the three together).

mod args;
mod cmd_history;
mod coordinator_args;
mod coordinator_settings;
mod daemonise;
mod directories;
mod file_settings;
mod fork;
mod lifecycle;
mod limits;
mod log_level;
mod log_line;
mod log_sink;
mod logging;
mod option_table;
mod secret;
mod settings;
mod signals;
mod start;
mod volfile;

pub use args::{Args, Invocation, UsageError, XlatorOption, parse};
pub use cmd_history::CmdHistory;
pub use coordinator_args::CoordinatorCommand;
pub use coordinator_settings::CoordinatorSettings;
pub use lifecycle::{Lifecycle, Ready};
pub use log_level::LogLevel;
pub use log_line::stamp;
pub use logging::LogControl;
pub use secret::Secret;
pub use settings::{
    AddressFamily, LogFormat, LogTarget, Logger, Settings, SettingsError, Valgrind,
};
pub use start::start;
