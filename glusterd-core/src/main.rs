//! `glusterd`: the program.

use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    glusterd_core::boot::start(&words, glusterd_core::daemon::run)
}
