//! What this daemon was started with that shows in the command lines of its children.
//!
//! Facts: the processes of 10.3 as observed; xlators/mgmt/glusterd/src/glusterd-utils.c:2077-2385,
//! glusterd-svc-mgmt.c:145-250 (v10.3).

use crate::host::{Command, Dirs};
use crate::store::View;
use std::ops::RangeInclusive;

/// Compiled into stock as well.
pub const GLUSTERFSD: &str = "/usr/sbin/glusterfsd";
pub const GLUSTERFS: &str = "/usr/sbin/glusterfs";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Valgrind {
    Memcheck,
    Drd,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `transport.socket.bind-address`.
    pub bind_address: Option<String>,
    /// `transport.address-family`.
    pub address_family: Option<String>,
    /// `base-port` to `max-port`.
    pub ports: RangeInclusive<u16>,
    pub global_threading: bool,
    pub io_engine: Option<String>,
    pub syslog: bool,
    pub valgrind: Option<Valgrind>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            bind_address: None,
            address_family: None,
            ports: 49152..=65535,
            global_threading: false,
            io_engine: None,
            syslog: false,
            valgrind: None,
        }
    }
}

/// Everything a command line is made from, besides the daemon it is for.
#[derive(Clone, Copy, Debug)]
pub struct Cx<'a> {
    pub settings: &'a Settings,
    pub dirs: &'a Dirs,
    pub view: &'a View,
}

impl Cx<'_> {
    /// Where daemons that are not bricks get their volfiles.
    pub fn server(&self) -> &str {
        self.settings.bind_address.as_deref().unwrap_or("localhost")
    }

    pub fn localtime(&self) -> Option<String> {
        let on = self.view.global.options.flag("cluster.localtime-logging") == Some(true);
        on.then(|| "--localtime-logging".to_owned())
    }

    pub fn log_level(&self) -> Option<String> {
        let level = self.view.global.options.value("cluster.daemon-log-level")?;
        Some(format!("--log-level={level}"))
    }

    pub fn global_threading(&self, also: bool) -> Option<String> {
        (self.settings.global_threading || also).then(|| "--global-threading".to_owned())
    }

    pub fn io_engine(&self) -> Vec<String> {
        match &self.settings.io_engine {
            Some(engine) => vec!["--io-engine".to_owned(), engine.clone()],
            None => Vec::new(),
        }
    }

    /// `program`, under valgrind if so configured. `log` is the file name below the log directory.
    pub fn program(&self, program: &str, log: &str) -> Command {
        let log = format!("--log-file={}/{log}", self.dirs.log);
        match self.settings.valgrind {
            None => Command::new(program),
            Some(Valgrind::Memcheck) => Command::new("valgrind")
                .args(["--leak-check=full", "--trace-children=yes", "--track-origins=yes"])
                .arg(log)
                .arg(program),
            Some(Valgrind::Drd) => Command::new("valgrind").arg("--tool=drd").arg(log).arg(program),
        }
    }
}
