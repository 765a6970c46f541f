//! The suite on one master in a process of its own.

mod masters;

fn main() -> std::process::ExitCode {
    masters::conformance("local, one master", 1)
}
